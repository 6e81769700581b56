"""docs/postgres.md and the tests tell the same story: each row has its tests."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = (ROOT / "docs" / "postgres.md").read_text(encoding="utf-8")
ROWS = {
    row.split("|")[1].strip(): re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
    for row in re.findall(r"^\|.*\|$", TABLE, flags=re.MULTILINE)[2:]
}


@cache
def _tests(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_table_is_found() -> None:
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS)
def test_each_difference_has_a_test(row: str) -> None:
    assert ROWS[row]
    for path, name in ROWS[row]:
        assert name in _tests(ROOT / path), f"{path} has no {name}"
