"""The page on how the final tier works tells of each of its modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import ROOT

FINAL = ROOT / "src/jobqueue/final"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
ROOMS = sorted(path.parent for path in FINAL.glob("*/__init__.py"))


def modules_in(room: Path) -> set[str]:
    return {path.stem for path in room.glob("*.py")} - {"__init__"}


def test_the_page_names_each_module_of_the_door() -> None:
    assert {each for each in modules_in(FINAL) if f"`{each}.py`" not in PAGE} == set()


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_the_page_names_each_module_of_a_room(room: Path) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{room.name}/` |")]
    assert len(rows) == 1
    named = set(re.findall(r"`(\w+)`", rows[0]))
    assert modules_in(room) - named == set()
