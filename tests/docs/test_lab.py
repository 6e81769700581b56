"""The pages say what the committed data say, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import NAMES, load_experiment
from lab.pages import block_text, blocks, pages_around
from lab.record import Record

ROOT = Path(__file__).resolve().parent.parent.parent
LAB = ROOT / "docs" / "lab"
BLOCKS = [
    pytest.param(name, body, id=f"{page.relative_to(ROOT)}-{name}")
    for page in pages_around(LAB)
    for name, body in blocks(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("name", "body"), BLOCKS)
def test_a_block_says_what_the_data_say(name: str, body: str) -> None:
    assert name in NAMES
    record = Record.read(LAB / f"{name}.json")
    assert body.strip() == block_text(load_experiment(name), record)


@pytest.mark.parametrize("name", NAMES)
def test_each_experiment_has_its_page_with_its_block_and_its_picture(name: str) -> None:
    page = (LAB / f"{name}.md").read_text(encoding="utf-8")
    assert [block for block, _ in blocks(page)] == [name]
    assert f"({name}.svg)" in page
    assert (LAB / f"{name}.svg").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_data_are_of_a_full_run(name: str) -> None:
    record = Record.read(LAB / f"{name}.json")
    assert record.experiment == name
    assert not record.quick


def test_the_index_links_to_each_page() -> None:
    index = (LAB / "index.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"({name}.md)" not in index] == []
