"""`make mutants` takes out what it says, and tells who dies from who survives.

That each mutant dies is not shown here but by `make mutants`, since it takes minutes.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants import FINAL, ROOT, UntellableError, main, run, without
from tests.support.guards import GUARDS, Guard


def _name(guard: Guard) -> str:
    return guard.name


@pytest.mark.parametrize("guard", GUARDS, ids=_name)
def test_guard_is_where_the_list_says_and_can_be_taken_out(guard: Guard) -> None:
    text = (ROOT / FINAL / guard.file).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(without(guard, text))) != ast.dump(ast.parse(text))


@pytest.mark.parametrize("guard", GUARDS, ids=_name)
def test_tests_of_a_guard_are_there(guard: Guard) -> None:
    assert guard.tests
    assert all((ROOT / test).is_file() for test in guard.tests)


def test_names_of_guards_differ() -> None:
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)


@pytest.mark.parametrize("text", ["", "twice twice"])
def test_guard_that_is_not_there_exactly_once_is_told(text: str) -> None:
    guard = Guard("a guard", "files.py", "twice", "", ())
    with pytest.raises(UntellableError, match=r"a guard: (0|2) times"):
        without(guard, text)


def test_a_word_that_no_guard_has_in_its_name_is_a_failure() -> None:
    assert main(["no guard is called this"]) == 2


def _tree(path: Path, test: str) -> Path:
    (path / "tests").mkdir()
    (path / "tests/test_it.py").write_text(test, encoding="utf-8")
    (path / "pyproject.toml").write_text(
        '[tool.pytest]\nmarkers = ["slow: slow"]\n', encoding="utf-8"
    )
    return path


@pytest.mark.slow
def test_tests_that_pass_are_told_from_one_that_fails(tmp_path: Path) -> None:
    test = """
import pytest
def test_one(): pass
@pytest.mark.slow
def test_two(): assert 0
def test_three(): pass
"""
    tree = _tree(tmp_path, test)
    assert run(tree, ["tests/test_it.py"]).failed is None
    assert run(tree, ["tests/test_it.py"], slow=True).failed == "tests/test_it.py::test_two"


@pytest.mark.slow
def test_a_test_that_ends_its_process_has_failed(tmp_path: Path) -> None:
    tree = _tree(tmp_path, "import os\ndef test_one(): pass\ndef test_two(): os._exit(1)\n")
    assert run(tree, ["tests/test_it.py"]).failed == "tests/test_it.py::test_two"


@pytest.mark.slow
def test_tests_that_cannot_be_run_tell_nothing(tmp_path: Path) -> None:
    tree = _tree(tmp_path, "import nothing_of_this_name\n")
    with pytest.raises(UntellableError, match="pytest ended with 2"):
        run(tree, ["tests/test_it.py"])
