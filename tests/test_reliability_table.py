"""docs/reliability.md and the tests tell the same story: each fault has its test, by number."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = {
    int(number): re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
    for number, row in re.findall(r"^\| (\d+) \|(.*)$", TABLE, flags=re.MULTILINE)
}


@cache
def _docstrings(path: Path) -> dict[str, str]:
    """Docstrings of the module (under "") and of the functions in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {"": ast.get_docstring(tree) or ""} | {
        node.name: ast.get_docstring(node) or "" for node in functions
    }


def test_the_faults_are_in_the_table_in_order() -> None:
    assert list(ROWS) == sorted(ROWS)
    assert ROWS.keys() >= set(range(1, 28))


@pytest.mark.parametrize("number", ROWS)
def test_each_fault_has_a_test_that_carries_its_number(number: int) -> None:
    assert ROWS[number]
    for path, name in ROWS[number]:
        docstring = _docstrings(ROOT / path).get(name)
        assert docstring is not None, f"{path} has no {name}"
        assert re.search(rf"\bFaults? .*\b{number}\b", docstring), f"{path}::{name}"
