"""The interpreter's exit without `close`: the process ends, and nothing accepted is lost."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from jobqueue.final import Config, JobQueue, Status
from tests.support.children import Child, read_acks, run
from tests.support.handlers import Recorder
from tests.support.waiting import PATIENCE

CODES = {"exit": 3, "error": 1}
NO_THREADS_AT_EXIT = sys.version_info[:2] == (3, 12)  # and neither before nor after
"""Whether the interpreter starts no thread any more once the main one has ended."""
EXPECTED = {"end": 50, "exit": 50, "error": 50, "executor": 50} | dict.fromkeys(
    ["several", "stages"], 100
)
EXPECTED["late"] = 0 if NO_THREADS_AT_EXIT else 50


def _leave_open(tmp_path: Path, durability: str, how: str) -> tuple[set[str], set[str]]:
    """Run the program to its end; returns the ids of jobs accepted, and of jobs run."""
    acks = tmp_path / "acks"
    start = time.monotonic()
    with Child("leave_open", tmp_path, acks, durability, how) as child:
        assert child.end() == CODES.get(how, 0), child.stderr
        if how != "error":
            assert child.stderr == ""
    assert time.monotonic() - start < PATIENCE
    lines = read_acks(acks)
    return _ids(lines, "accepted"), _ids(lines, "ran")


def _ids(lines: list[str], what: str) -> set[str]:
    return {line.split()[1] for line in lines if line.startswith(f"{what} ")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["end", "exit", "error", "thread", "executor", "several", "stages", "late"]
)
def test_in_memory_all_jobs_that_were_accepted_run_before_the_process_ends(
    tmp_path: Path, how: str
) -> None:
    """Faults 17 and 53 of docs/reliability.md."""
    accepted, ran = _leave_open(tmp_path, "memory", how)

    assert len(accepted) == EXPECTED.get(how, len(accepted))
    assert ran == accepted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("durability", "how"),
    [
        ("async", "end"),
        ("async", "exit"),
        ("write", "error"),
        ("write", "thread"),
        ("fsync", "executor"),
        ("async", "several"),
        ("async", "late"),
    ],
)
def test_with_a_log_all_jobs_that_were_accepted_have_run_or_run_at_the_next_start(
    tmp_path: Path, durability: str, how: str
) -> None:
    """Fault 17 of docs/reliability.md."""
    accepted, ran = _leave_open(tmp_path, durability, how)

    assert len(accepted) == EXPECTED.get(how, len(accepted))
    assert ran | _run_the_rest(tmp_path) >= accepted


def _run_the_rest(directory: Path) -> set[str]:
    """Open what the program left; returns the ids of the jobs that ran now."""
    recorder = Recorder()
    for log in (path for path in directory.iterdir() if path.is_dir()):
        with JobQueue(Config(persist_path=log, num_workers=1), handler=recorder) as jq:
            assert jq.join(PATIENCE)
    return set(recorder.ids())


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["memory", "write"])
def test_a_handler_that_never_ends_does_not_keep_the_process_from_ending(
    tmp_path: Path, durability: str
) -> None:
    accepted, ran = _leave_open(tmp_path, durability, "stuck")

    assert "stuck" in accepted - ran
    if durability != "memory":
        with JobQueue(Config(persist_path=tmp_path / "0"), handler=len) as jq:
            assert jq.join(PATIENCE)
            assert jq.status("stuck") is Status.COMPLETED


@pytest.mark.slow
def test_a_package_that_is_imported_after_the_main_threads_end_closes_its_queues(
    tmp_path: Path,
) -> None:
    refused = ["RuntimeError: can't create new thread at interpreter shutdown"]
    ran = ["accepted 3", "ran", "ran", "ran"]
    assert run("import_late") == (refused if NO_THREADS_AT_EXIT else ran)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["block", "exit"])
def test_a_second_ctrl_c_ends_a_program_whose_handler_never_does(how: str) -> None:
    """Fault 55 of docs/reliability.md."""
    with Child("interrupted_block", how) as child:
        assert child.line() == "running"
        if how == "block":
            child.signal(signal.SIGINT)
        assert child.line() == "closing"
        start = time.monotonic()
        child.signal(signal.SIGINT)
        assert child.end() == {"block": -signal.SIGINT, "exit": 0}[how], child.stderr
    assert time.monotonic() - start < PATIENCE
