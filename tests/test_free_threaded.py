"""What `make test-free-threaded` relies on: its check for the GIL, and what it installs."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmarks import free_threaded

ROOT = Path(__file__).resolve().parent.parent

# Runs one passing test under this repository's conftest, in an interpreter whose answer to whether
# it has a GIL is `{}`; PYTHON_GIL is set from within, since an ordinary Python would not start.
RUN = """
import os, sys
import pytest
os.environ["PYTHON_GIL"] = "0"
os.environ.pop("PYTEST_CURRENT_TEST", None)
sys._is_gil_enabled = {}
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", {!r}]))
"""
ONE_TEST = f"{__file__}::test_one_that_passes"


def test_one_that_passes() -> None:
    """Run by the others in here."""


def run(is_gil_enabled: str) -> subprocess.CompletedProcess[str]:
    plugins = (
        "pytest_benchmark.plugin,pytest_timeout"  # those whose options stand in pyproject.toml
    )
    return subprocess.run(
        [sys.executable, "-c", RUN.format(is_gil_enabled, ONE_TEST)],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": plugins},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


@pytest.mark.slow
def test_run_that_is_to_be_without_the_gil_and_is_passes() -> None:
    done = run("lambda: False")
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout


@pytest.mark.slow
def test_run_that_is_to_be_without_the_gil_and_is_not_fails() -> None:
    done = run("lambda: True")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "the GIL is on" in done.stdout + done.stderr


@pytest.mark.slow
def test_test_that_brings_the_gil_back_fails() -> None:
    done = run("lambda: 'PYTEST_CURRENT_TEST' in os.environ")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "the GIL is on" in done.stdout


def test_free_threaded_run_has_the_versions_that_the_other_tests_have() -> None:
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = tables["project"]
    extras = project["optional-dependencies"]
    known = [*project["dependencies"], *extras["dev"], *extras["examples"], *extras["cron"]]
    known = [requirement.partition(";")[0] for requirement in known]
    wanted = set(tables["dependency-groups"]["free-threaded"]) - set(known)
    # Where the newest has no wheel for such a Python, there may be a bound from above.
    assert {requirement.rpartition(",<")[0] for requirement in wanted} <= set(known)


@pytest.mark.slow
def test_benchmark_of_what_the_queue_costs_runs() -> None:
    rows = free_threaded.table_of_costs(free_threaded.own_costs(jobs=4, pairs=1)).splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| in memory", '| `durability="write"`']


@pytest.mark.slow
def test_benchmark_for_it_runs_and_names_each_contender() -> None:
    rows = free_threaded.table(free_threaded.measure(jobs=4, pairs=1)).splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        f"| {name}"
        for name in (
            "2 bare threads",
            "`Config(num_workers=2)`",
            "`ThreadPoolExecutor(2)`",
            "1 bare thread",
        )
    ]
