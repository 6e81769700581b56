"""Programs of the lab. `closing` with wrong settings is one that ends at once."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from lab.processes import Program, ProgramError, resident_bytes, run_each, search_path
from tests.support.waiting import PATIENCE


@pytest.mark.slow
def test_a_program_that_fails_is_an_error_with_what_it_wrote() -> None:
    with Program("closing", {}) as program, pytest.raises(ProgramError, match="KeyError"):
        program.line()


@pytest.mark.slow
def test_a_killed_program_is_gone_and_its_exit_code_says_so(tmp_path: Path) -> None:
    settings = {"tier": "naive", "log": False, "drain": None, "timeout": 1.0}
    job = {"manner": settings, "home": str(tmp_path), "jobs": 1, "seconds": 0.0}
    with Program("closing", job) as program:
        assert program.line() == "full"
        assert program.is_running()
        program.kill()
        assert not program.is_running()
        assert program.wait() == -9


@pytest.mark.slow
def test_a_program_is_found_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # nothing is found because it is called from there
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with Program("closing", {}) as program, pytest.raises(ProgramError, match="KeyError"):
        program.line()


def test_what_stands_in_the_search_path_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "there")
    assert search_path(Path("first"), Path("next")) == os.pathsep.join(["first", "next", "there"])
    monkeypatch.delenv("PYTHONPATH")
    assert search_path(Path("first")) == "first"


def test_this_process_occupies_some_memory() -> None:
    assert 1_000_000 < resident_bytes(os.getpid()) < 100_000_000_000


def test_without_proc_the_memory_is_asked_of_ps(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told:
        stdout = " 2048\n"

    monkeypatch.setattr(Path, "exists", lambda _path: False)
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: Told())
    assert resident_bytes(1) == 2048 * 1024


def test_results_come_in_the_order_of_the_calls() -> None:
    assert list(run_each([lambda: 1, lambda: 2, lambda: 3], 1)) == [1, 2, 3]


def test_several_calls_may_run_at_a_time() -> None:
    both = threading.Barrier(2, timeout=PATIENCE)
    assert sorted(run_each([both.wait, both.wait], 2)) == [0, 1]
