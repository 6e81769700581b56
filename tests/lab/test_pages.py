from __future__ import annotations

from pathlib import Path

import pytest

from lab.pages import blocks, pages_around, table, update, with_block

PAGE = """\
# A page

<!-- lab:crash -->
old
<!-- /lab -->

between

<!-- lab:memory -->
<!-- /lab -->
"""


def test_the_blocks_of_a_page_are_found_with_their_names() -> None:
    assert list(blocks(PAGE)) == [("crash", "old"), ("memory", "")]


def test_a_block_is_written_anew_and_nothing_else() -> None:
    assert with_block(PAGE, "crash", "new") == PAGE.replace("\nold\n", "\n\nnew\n\n")


def test_what_is_written_is_read_again() -> None:
    assert dict(blocks(with_block(PAGE, "memory", "a\n\nb")))["memory"] == "a\n\nb"


def test_writing_the_same_again_changes_nothing() -> None:
    once = with_block(PAGE, "crash", "new")
    assert with_block(once, "crash", "new") == once


def test_a_text_with_backslashes_is_written_as_it_is() -> None:
    assert r"\1 \g<0>" in with_block(PAGE, "crash", r"\1 \g<0>")


def test_only_pages_that_changed_are_named(tmp_path: Path) -> None:
    with_it, without = tmp_path / "a.md", tmp_path / "b.md"
    with_it.write_text(PAGE, encoding="utf-8")
    without.write_text("# Nothing\n", encoding="utf-8")
    assert update([with_it, without], "crash", "new") == [with_it]
    assert update([with_it, without], "crash", "new") == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("README.md", "docs/index.md", "docs/lab/crash.md", "other/a.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_data_in_docs_are_told_of_in_all_docs_and_the_readme(project: Path) -> None:
    found = pages_around(project / "docs" / "lab")
    assert [page.relative_to(project).as_posix() for page in found] == [
        "README.md",
        "docs/index.md",
        "docs/lab/crash.md",
    ]


def test_data_elsewhere_are_told_of_beside_them(project: Path) -> None:
    assert pages_around(project / "other") == [project / "other" / "a.md"]


def test_a_table_has_its_numbers_to_the_right() -> None:
    assert table(["tier", "jobs"], [["naive", 12345], ["final", None]]).splitlines() == [
        "| tier | jobs |",
        "|---|---:|",
        "| naive | 12,345 |",
        "| final |  |",
    ]


def test_a_tables_columns_may_be_told_where_to_stand() -> None:
    assert table(["a", "b"], [], "rl").splitlines()[1] == "|---:|---|"
