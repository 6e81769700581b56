"""Holds a real log, after a real crash, to what `programs/work_until_killed` wrote beside it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jobqueue.final import Config, LogCorruptError
from jobqueue.final.life.recovery import LockedLog, open_log
from jobqueue.final.wal.reading.fold import CANCELLED, COMPLETED, FAILED, JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.support.ledger import Crash, Durability


def problems_of(
    log: Path, lines: Sequence[str], durability: Durability, crash: Crash
) -> Iterator[str]:
    """Recover a log, twice, and tell of the promises that are broken.

    Args:
        log: its directory.
        lines: the acks of the program, up to the crash.
        durability: of the queues that wrote it.
        crash: what happened to the last of them.
    """
    keeps_all = durability == "fsync" or (durability == "write" and crash == "kill -9")
    promised = list(lines) if keeps_all else _flushed(lines)
    try:
        jobs = {state.enqueued.id: state for state in _open(log).state.jobs.values()}
        again = {state.enqueued.id: state for state in _open(log).state.jobs.values()}
    except LogCorruptError as error:
        yield f"it looks corrupt: {error}"
        return
    if again != jobs:
        yield "opened again it holds other jobs"
    yield from _compare(jobs, lines, promised)


def _open(log: Path) -> LockedLog:
    opened = open_log(log, Config())
    opened.files.unlock(opened.lock)
    return opened


def _compare(
    jobs: dict[str, JobState], lines: Iterable[str], promised: Iterable[str]
) -> Iterator[str]:
    statuses = {job_id: state.status for job_id, state in jobs.items()}
    cancelled = _ids(promised, "cancelled")
    for job_id in _ids(promised, "accepted") - jobs.keys():
        yield f"job {job_id!r} was acknowledged and is lost"
    for job_id in jobs.keys() - _ids(lines, "tried"):
        yield f"job {job_id!r} was never enqueued"
    for job_id in cancelled & jobs.keys():
        if statuses[job_id] != CANCELLED:
            yield f"job {job_id!r} was cancelled and is {statuses[job_id]}"
    ran = _ids(lines, "ran")
    for job_id, status in statuses.items():
        if status == FAILED or (status == COMPLETED and job_id not in ran):
            yield f"job {job_id!r} is {status}, which cannot be"
    yield from _compare_ties(jobs, list(lines))


def _compare_ties(jobs: dict[str, JobState], lines: Sequence[str]) -> Iterator[str]:
    """A job is there exactly if its parent has completed; none has run before those it waits for.

    What was forgotten is not looked at: a child ends after its parent, so it is later forgotten.
    """
    for parent in _ids(lines, "parent") & jobs.keys():
        has_completed = jobs[parent].status == COMPLETED
        if has_completed != (f"{parent}.child" in jobs):
            yield f"job {parent!r} is {jobs[parent].status}, and its child is there or is not"
    for line in _ids(lines, "after"):
        job_id, _, before = line.partition(":")
        if job_id not in jobs or before not in jobs or jobs[job_id].status != COMPLETED:
            continue
        if jobs[before].status != COMPLETED:
            yield f"job {job_id!r} ran before {before!r}, which is {jobs[before].status}"


def _ids(lines: Iterable[str], what: str) -> set[str]:
    return {line.split()[1] for line in lines if line.startswith(f"{what} ")}


def _flushed(lines: Sequence[str]) -> list[str]:
    """Of each of the program's runs, the lines before its last flush that returned began."""
    flushed = _ids(lines, "flushed")
    last = {}
    for index, line in enumerate(lines):
        what, name = line.split()
        if what == "flushing" and name in flushed:
            last[_run_of(name)] = index
    return [line for i, line in enumerate(lines) if i < last.get(_run_of(line.split()[1]), 0)]


def _run_of(name: str) -> str:
    """The run that a job or a flush is of: it stands first in its name."""
    match = re.match(r"[^-]+", name)
    assert match is not None
    return match[0]
