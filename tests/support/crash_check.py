"""Recovers what a crash has left and holds it to what was promised."""

from __future__ import annotations

import re
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest.mock import patch

from jobqueue.final import Config, Job, JobContext, JobQueue, LogCorruptError, Status
from jobqueue.final.life import recovery
from jobqueue.final.life.recovery import LockedLog, open_log
from jobqueue.final.testing import ManualClock
from jobqueue.final.wal.format.record import payload_bytes
from jobqueue.final.wal.reading.fold import CANCELLED, COMPLETED, QUEUED, JobState
from tests.support.disk_tree import Image, SyncFailed, Tree
from tests.support.ledger import Durability, Expected, Standing
from tests.support.power_cut import Remains
from tests.support.recording_files import LOG, RecordingFiles

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

RETENTION = 10_000
WALL = 1_000_000_000.0
"""Unix time at which the clocks of the recorded queues start."""

_LOG_FILE = re.compile(r".*/(\d+)(\.snapshot)?\.jsonl")
_FINISHED = (COMPLETED, CANCELLED)


@dataclass
class Verdict:
    """What came of a recovery.

    Attributes:
        problems: the broken promises.
        jobs: the jobs that are there, by id.
        standings: where they stand.
        was_torn: whether something was cut off and kept.
    """

    problems: list[str] = field(default_factory=list)
    jobs: dict[str, JobState] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    was_torn: bool = False


@contextmanager
def on_disk(files: RecordingFiles) -> Iterator[None]:
    """Have the queues that are made here use this disk."""
    with patch.object(recovery, "Files", lambda: files):
        yield


def examine(
    remains: Remains,
    expected: Mapping[str, Expected],
    *,
    running: Collection[str] = (),
    forgetful: bool = False,
) -> Verdict:
    """Recover a disk twice and compare what is there with what must be and what may be.

    Args:
        remains: what the crash left; it is not changed.
        expected: what may be found of each job that was ever mentioned to the queue.
        running: jobs that must be known to have been running, if the log has them.
        forgetful: whether finished jobs may have been forgotten.
    """
    verdict = Verdict()
    files = remains.files(maps=False)
    before = files.image()
    try:
        first = _open(files)
        once = files.image()
        again = _open(files)
    except LogCorruptError as error:
        verdict.problems.append(f"it looks corrupt: {error}")
        return verdict
    except Exception as error:
        verdict.problems.append(f"it cannot be opened: {type(error).__name__}: {error}")
        return verdict
    _compare_openings(first, once, again, files.image(), verdict)
    verdict.was_torn = any(".torn" in path for path in once.keys() - before.keys())
    if not any(isinstance(event, SyncFailed) for event in remains.unsynced):
        verdict.problems += _compare_cuts(before, once)
    _read_jobs(first, verdict)
    verdict.problems += _compare_jobs(verdict.jobs, expected, forgetful)
    verdict.problems += _compare_slots(first, set(running) & verdict.jobs.keys())
    return verdict


def _open(files: RecordingFiles) -> LockedLog:
    log = open_log(LOG, Config(status_retention=RETENTION), files)
    files.unlock(log.lock)
    return log


def _compare_openings(
    first: LockedLog, once: Image, again: LockedLog, twice: Image, verdict: Verdict
) -> None:
    if again.state.jobs != first.state.jobs or again.state.next_number < first.state.next_number:
        verdict.problems.append("opened again it holds other jobs")
    if (again.last_batch, again.next_segment) != (first.last_batch, first.next_segment):
        verdict.problems.append("opened again it ends elsewhere")
    if twice != once:
        changed = [p for p in twice.keys() | once.keys() if twice.get(p, b"?") != once.get(p, b"?")]
        verdict.problems.append(f"opened again it was changed: {changed}")


def _compare_cuts(before: Image, after: Image) -> Iterator[str]:
    """What was cut off must be kept beside it, but for NULs and what a snapshot has replaced."""
    found = [match for path in before if (match := _LOG_FILE.fullmatch(path))]
    replaced = max((int(match[1]) for match in found if match[2]), default=0)
    for match in found:
        path, data = match[0], before[match[0]] or b""
        if int(match[1]) < replaced + (not match[2]):
            continue
        left = after.get(path) or b""
        cut = data[len(left) :]
        kept = [after[other] for other in after if other.startswith(f"{path}.torn")]
        if not data.startswith(left) or (cut.strip(b"\0") and cut not in kept):
            yield f"{len(data)} bytes of {path} were cut to {len(left)}, and not kept"


def _read_jobs(log: LockedLog, verdict: Verdict) -> None:
    states = log.state.jobs.values()
    for job_id, count in Counter(state.enqueued.id for state in states).items():
        if count > 1:
            verdict.problems.append(f"job {job_id!r} is there {count} times")
    verdict.jobs = {state.enqueued.id: state for state in states}
    verdict.standings = {job_id: Standing.of(state) for job_id, state in verdict.jobs.items()}


def _compare_slots(log: LockedLog, running: Collection[str]) -> Iterator[str]:
    jobs = log.state.jobs
    named = {jobs[number].enqueued.id for number in log.interrupted.jobs & jobs.keys()}
    for job_id in running:
        if job_id not in named:
            yield f"job {job_id!r} was running and is not in the slots"


def _compare_jobs(
    jobs: Mapping[str, JobState], expected: Mapping[str, Expected], forgetful: bool
) -> Iterator[str]:
    for job_id in jobs.keys() - expected.keys():
        yield f"job {job_id!r} was never enqueued"
    for job_id, each in expected.items():
        yield from _compare(job_id, each, jobs.get(job_id), forgetful)


def _compare(
    job_id: str, expected: Expected, state: JobState | None, forgetful: bool
) -> Iterator[str]:
    if expected.find(Standing.of(state)) is None:
        steps = expected.history.steps[expected.first : expected.last + 1]
        may_be_gone = forgetful and any(step.standing.status in _FINISHED for step in steps)
        if state is not None or not may_be_gone:
            yield f"job {job_id!r} stands at {Standing.of(state)}, not at {expected}"
    if state is not None and expected.history.job is not None:
        yield from _compare_job(expected.history.job, state)


def _compare_job(job: Job, state: JobState) -> Iterator[str]:
    was = state.enqueued
    found = (was.priority, was.handler, was.max_retries, was.headers or {}, was.created)
    wanted = (int(job.priority), job.handler, job.max_retries, dict(job.headers), job.created)
    if found != wanted:
        yield f"job {job.id!r} is another one: {found}, not {wanted}"
    if state.status not in _FINISHED and payload_bytes(was) != job.payload:
        yield f"job {job.id!r} has another payload: {payload_bytes(was)!r}"


class Revival:
    """A queue that is opened over what a crash has left, runs all that is there, and is closed.

    Attributes:
        problems: the broken promises.
    """

    def __init__(
        self, remains: Remains, found: Verdict, durability: Durability, *, maps: bool
    ) -> None:
        self.problems: list[str] = []
        self._found = found
        self._files = remains.files(maps=maps)
        self._ran: dict[str, bytes] = {}
        self._lock = threading.Lock()  # guards `_ran`
        self._config = Config(
            persist_path=LOG, durability=durability, num_workers=2, jitter=0, max_crashes=1000
        )

    def run(self) -> list[str]:
        """Do it; returns the problems."""
        clock = ManualClock(WALL)
        handlers = {"work": self._work, "absent": self._work}
        with on_disk(self._files):
            jq = JobQueue(self._config, handlers=handlers, start=False, clock=clock)
        with jq:
            self._check_statuses(jq)
            jq.start()
            new = jq.enqueue(Job(b"new", id="new one", handler="work"))
            clock.advance(1e6)
            if not jq.join(30):
                self.problems.append("the jobs do not come to an end")
            if new.status is not Status.COMPLETED:
                self.problems.append("a new job is not run")
        self._check_runs()
        self._check_end()
        return self.problems

    def _work(self, payload: bytes, context: JobContext) -> None:
        with self._lock:
            self._ran[context.job.id] = payload

    def _check_statuses(self, jq: JobQueue) -> None:
        for job_id, standing in self._found.standings.items():
            info = jq.info(job_id)
            is_open = info.status in (Status.QUEUED, Status.SCHEDULED)
            status = QUEUED if is_open else info.status.value
            if (status, info.retries, info.last_error) != (
                standing.status,
                standing.retries,
                standing.error,
            ):
                self.problems.append(f"the queue tells of {job_id!r} as {info}, not {standing}")

    def _check_runs(self) -> None:
        jobs = self._found.jobs
        wanted = {i: payload_bytes(s.enqueued) for i, s in jobs.items() if s.status == QUEUED}
        wanted["new one"] = b"new"
        if self._ran != wanted:
            self.problems.append(f"{sorted(self._ran)} ran, not {sorted(wanted)}")

    def _check_end(self) -> None:
        end = examine(Remains(Tree(self._files.image())), {})
        for job_id, standing in self._found.standings.items():
            status = COMPLETED if standing.status == QUEUED else standing.status
            if job_id not in end.standings or end.standings[job_id].status != status:
                self.problems.append(f"job {job_id!r} is not {status} after that")
