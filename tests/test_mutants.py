"""`make mutants` takes out what it says, and tells who dies from who survives.

That each mutant dies is not shown here but by `make mutants`, since it takes minutes.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.mutants import ROOT, UntellableError, main, run
from tests.support.guards import (
    FINAL,
    NOTICED_BY,
    SLOW,
    MisplacedGuardError,
    all_guards,
    guards_in,
)

GUARDS_MIN = 163


@cache
def _code(file: str) -> str:
    """What a file says, without comments."""
    return ast.dump(ast.parse((ROOT / FINAL / file).read_text(encoding="utf-8")))


@pytest.mark.usefixtures("no_tracer")
def test_each_guard_can_be_taken_out() -> None:
    stay = [each for each in all_guards() if ast.dump(ast.parse(each.text)) == _code(each.file)]
    assert stay == []


def test_tests_of_each_guard_are_there() -> None:
    assert [each.name for each in all_guards() if not each.tests] == []
    missing = {test for each in all_guards() for test in each.tests if not (ROOT / test).is_file()}
    assert missing == set()


def test_names_of_guards_differ_and_the_tables_know_no_others() -> None:
    names = [guard.name for guard in all_guards()]
    assert len(set(names)) == len(names)
    assert {*NOTICED_BY, *SLOW} <= set(names)


def test_no_guard_goes_without_a_word() -> None:
    assert len(all_guards()) >= GUARDS_MIN


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("f()  # guard: a\ng()\n", "pass\ng()\n"),
        ("if f():  # guard: a\n    g()\n", "if False:\n    g()\n"),
        (
            "if x:\n    f()\nelif y:  # guard: a\n    g()\nelse:\n    h()\n",
            "if x:\n    f()\nelif False:\n    g()\nelse:\n    h()\n",
        ),
        ("# guard: a\n# why\nf(\n    1\n)\n", "# guard: a\n# why\npass\n"),
        ("# guard: a\n#   without: g()\nf()\n", "# guard: a\n#   without: g()\ng()\n"),
        ("# guard: a\n#   without:\nf()\n", "# guard: a\n#   without:\n"),
        (
            "# guard: a\n#   without: if x:\n#   without:     g()\nf()\n",
            "# guard: a\n#   without: if x:\n#   without:     g()\nif x:\n    g()\n",
        ),
    ],
)
def test_what_a_guard_says_is_taken_out(text: str, without: str) -> None:
    (guard,) = guards_in(text, "room/file.py")
    assert (guard.name, guard.text) == ("a", without)
    assert guard.tests == ("tests/final/room/test_file.py",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("f(\n    1,  # guard: a\n)\n", r"file\.py:2: a: no statement begins there"),
        ("f()\n# guard: a\n", r"file\.py:2: a: no code directly below"),
        ("# guard: a\n#   without: g()\n\nf()\n", r"file\.py:1: a: no code directly below"),
        ("f()  # guard: a\n#   without: g()\n", r"file\.py:2: `without` is not below"),
        ("# guard: a\n# why\n#   without: g()\nf()\n", r"file\.py:3: `without` is not below"),
        ("#   without: g()\nf()\n", r"file\.py:1: `without` is not below"),
    ],
)
def test_guard_that_is_misplaced_is_told(text: str, told: str) -> None:
    with pytest.raises(MisplacedGuardError, match=told):
        guards_in(text, "file.py")


def test_text_that_looks_like_a_guard_is_none() -> None:
    assert guards_in('f("# guard: a")\ng("""\n# guard: a\n#   without: b\n""")\n', "file.py") == []


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
