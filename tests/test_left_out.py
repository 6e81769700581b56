"""The tests of the lab are left out only if lab and tests are as they were when these passed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.left_out import REASON, ROOT, RUN_ALL, digest, is_lab_left_out

PLUGINS = "pytest_benchmark.plugin,pytest_timeout"
"""Those whose options stand in pyproject.toml: others take longer to import than pytest to run."""
PYPROJECT = '[project.optional-dependencies]\ndev = ["matplotlib>=3.10", "ruff>=0.17"]\n'


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose lab has been tested."""
    monkeypatch.delenv(RUN_ALL, raising=False)
    put(tmp_path, "lab/one.py", "one = 1\n")
    put(tmp_path, "lab/two/deep.py", "two = 2\n")
    put(tmp_path, "tests/lab/test_one.py", "def test_one() -> None: ...\n")
    put(tmp_path, "tests/test_other.py", "def test_other() -> None: ...\n")
    put(tmp_path, "pyproject.toml", PYPROJECT)
    put(tmp_path, "lab/tested.sha256", f"{digest(tmp_path)}\n")
    return tmp_path


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_what_was_tested_and_has_not_changed_is_left_out(tree: Path) -> None:
    assert is_lab_left_out(tree, [tree / "tests", tree / "benchmarks"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lab/one.py", "one = 11\n"),
        ("lab/two/deep.py", ""),
        ("lab/three.py", ""),
        ("tests/lab/test_one.py", "def test_one(): assert False\n"),
        ("tests/lab/conftest.py", "\n"),
        ("pyproject.toml", PYPROJECT.replace("3.10", "3.11")),
        ("lab/tested.sha256", ""),
    ],
)
def test_whatever_has_changed_the_lab_is_tested(tree: Path, name: str, text: str) -> None:
    put(tree, name, text)
    assert not is_lab_left_out(tree, [tree / "tests"])


@pytest.mark.parametrize("name", ["lab/one.py", "tests/lab/test_one.py", "lab/tested.sha256"])
def test_whatever_is_gone_the_lab_is_tested(tree: Path, name: str) -> None:
    (tree / name).unlink()
    assert not is_lab_left_out(tree, [tree / "tests"])


def test_a_file_with_another_name_is_a_change(tree: Path) -> None:
    (tree / "lab" / "one.py").rename(tree / "lab" / "only.py")
    assert not is_lab_left_out(tree, [tree / "tests"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tests/test_other.py", "def test_other(): assert False\n"),
        ("lab/__pycache__/one.cpython-311.pyc", "compiled"),
        ("pyproject.toml", PYPROJECT.replace("0.17", "0.18")),
    ],
)
def test_what_has_nothing_to_do_with_the_lab_is_no_change(tree: Path, name: str, text: str) -> None:
    put(tree, name, text)
    assert is_lab_left_out(tree, [tree / "tests"])


@pytest.mark.parametrize("named", ["tests/lab", "tests/lab/test_one.py"])
def test_who_names_tests_of_the_lab_gets_them(tree: Path, named: str) -> None:
    assert not is_lab_left_out(tree, [tree / "tests" / "final", tree / named])


def test_who_wants_all_tests_gets_all(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_ALL, "1")
    assert not is_lab_left_out(tree, [tree / "tests"])


@pytest.mark.slow
def test_a_run_says_that_it_has_left_them_out_and_after_a_change_runs_them(tree: Path) -> None:
    support = ("gil", "left_out", "postgres")
    for name in ("tests/conftest.py", *(f"tests/support/{each}.py" for each in support)):
        put(tree, name, (ROOT / name).read_text(encoding="utf-8"))
    shutil.copy2(ROOT / "pyproject.toml", tree)
    put(tree, "lab/tested.sha256", f"{digest(tree)}\n")

    left_out = pytest_in(tree)
    assert "1 passed, 1 skipped" in left_out
    assert REASON in left_out
    assert "2 passed" in pytest_in(tree, "tests/test_other.py", "tests/lab/test_one.py::test_one")

    put(tree, "lab/one.py", "one = 11\n")
    assert "2 passed" in pytest_in(tree)


def pytest_in(tree: Path, *arguments: str) -> str:
    """Run pytest as `make test` does; returns what it says."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=tree,
        env=os.environ
        | {
            "COLUMNS": "250",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": PLUGINS,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
