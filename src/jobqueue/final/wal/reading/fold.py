"""Folds records into jobs: what a replay leaves, and what a snapshot must hold.

The fold is forgiving. A record about a job that is not known changes nothing. Neither does one
that does not follow from the job's status: completed after cancelled, an accepted job accepted
again. So a finished job never runs again and each job is there once, whatever was repeated.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..format.base import Struct
from ..format.record import (
    Cancelled,
    Completed,
    Crashed,
    Discarded,
    Doomed,
    Enqueued,
    Failed,
    Hastened,
    Record,
    Requeued,
    Retried,
    Revoked,
    Ticked,
    result_fields,
    result_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["CANCELLED", "COMPLETED", "FAILED", "QUEUED", "SCHEDULES_MAX", "JobState", "LogState"]

QUEUED: Final = "queued"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
SCHEDULES_MAX: Final = 10_000
"""Of how many schedules the last tick is kept: those that have ticked last."""


ATTEMPTS_MAX = 10
"""How many attempts of a job are kept, the last ones."""

Ended: TypeAlias = tuple[int, float | None, float, str]
"""An attempt: its number, 0 for the first, when it started and ended, its error."""


class JobState(Struct, gc=False):
    """What the log knows of one job.

    Attributes:
        enqueued: how it was accepted; without its payload once it is completed or cancelled.
        status: `QUEUED` (waiting, scheduled or interrupted), `COMPLETED`, `FAILED`, `CANCELLED`.
        retries: failed attempts that were followed by another one; of a failed job, all of them.
        due: Unix time before which it must not run, or `None`.
        delay: the delay in seconds that `due` came from, to clamp it.
        crashes: process deaths in a row while it was running.
        crashed_run: the run whose death was counted last.
        error, traceback: of the last failed attempt, or why it was cancelled before its first one;
            or `None`.
        started: Unix time of the last attempt that ended, or `None`.
        finished: Unix time at which it was completed, failed or cancelled, or `None`.
        result: what it returned, if that is kept, and whether its handler's own codec wrote it.
        attempts: the last that failed and did not fail the job for good.
    """

    enqueued: Enqueued
    due: float | None = None
    delay: float = 0.0
    status: str = QUEUED
    retries: int = 0
    crashes: int = 0
    crashed_run: int = 0
    error: str | None = None
    traceback: str | None = None
    started: float | None = None
    finished: float | None = None
    result: tuple[bytes, bool] | None = None
    attempts: tuple[Ended, ...] = ()


class LogState:
    """The jobs of a log, by number, in the order in which they were accepted.

    Memory is that of the unfinished and failed jobs and of the `status_retention` last finished
    ones. Not thread-safe.

    Attributes:
        jobs: all jobs that are not forgotten, by number.
        next_number: above all numbers seen; the number of the next new job.
        revoked: the jobs whose handlers were asked to stop, and when; some may have ended.
        doomed: the jobs that waited for one which was not completed, and the id of that; likewise.
        ticks: the last tick of each schedule, by name; the one that came last is last.
        working_ticks: of those whose last tick was left out, the last one that enqueued a job.
    """

    def __init__(self, status_retention: int) -> None:
        self.jobs: dict[int, JobState] = {}
        self._retention = status_retention
        self._finished: deque[int] = deque()  # completed and cancelled jobs, oldest first
        self._failed: dict[int, None] = {}  # failed jobs, oldest first
        self.revoked: dict[int, float] = {}
        self.doomed: dict[int, str] = {}
        self._dependents: dict[int, list[int]] = {}  # by the job that they wait for
        self.ticks: dict[str, Ticked] = {}
        self.working_ticks: dict[str, Ticked] = {}
        self.next_number = 1
        # Numbers below that were not seen, as ranges: where each begins and ends. What is neither
        # there nor in `jobs` is forgotten. Jobs come in order, so there are few.
        self._gap_starts = array("Q")
        self._gap_ends = array("Q")

    def apply(self, record: Record) -> None:
        """Fold one record in, and take it over: it may be changed later."""
        self.apply_all((record,))

    def apply_all(self, records: Iterable[Record]) -> None:
        """Fold records in, in order, and take them over."""
        jobs = self.jobs
        for record in records:
            number = record.job
            if type(record) is Enqueued:
                if number == self.next_number:
                    self.next_number = number + 1
                elif not self._is_new(number):  # guard: a number that was seen is no new job
                    continue
                if record.due is None:
                    jobs[number] = JobState(record)
                else:
                    jobs[number] = JobState(record, record.due, record.delay or 0.0)
                if record.after:
                    self._await(number, record)
            elif (state := jobs.get(number)) is not None:
                _APPLY[type(record)](self, state, record)
            elif type(record) is Ticked:  # its job has been forgotten, or there is none
                self._ticked(None, record)

    def _await(self, number: int, record: Enqueued) -> None:
        """Note what a job waits for. What is no longer known, or never was, is not waited for."""
        awaited = []
        for each in record.after:
            state = self.jobs.get(each)
            if state is not None and state.status == QUEUED and each != number:
                self._dependents.setdefault(each, []).append(number)
                awaited.append(each)
                continue
            # guard: a job after one that had failed is doomed
            if state is not None and state.status in (FAILED, CANCELLED):
                self.doomed[number] = state.enqueued.id
        record.after = tuple(awaited)

    def _ended(self, state: JobState, number: int) -> None:
        """A job has ended: those that wait for it do so no more, or are doomed."""
        for each in self._dependents.pop(number, ()):
            dependent = self.jobs.get(each)
            if dependent is not None and dependent.status == QUEUED:
                after = dependent.enqueued.after
                dependent.enqueued.after = tuple(each for each in after if each != number)
                # guard: a job after one that fails is doomed
                if state.status != COMPLETED:
                    self.doomed.setdefault(each, state.enqueued.id)

    def _is_new(self, number: int) -> bool:
        """Note a number that did not come in order; tell whether it is seen for the first time."""
        if number >= self.next_number:
            self._add_gap(self.next_number, number)
            self.next_number = number + 1
            return True
        index = bisect_right(self._gap_starts, number) - 1
        if index < 0 or number >= self._gap_ends[index]:
            return False
        start, end = self._gap_starts.pop(index), self._gap_ends.pop(index)
        self._add_gap(number + 1, end, index)
        self._add_gap(start, number, index)
        return True

    def _add_gap(self, start: int, end: int, index: int | None = None) -> None:
        if start < end:
            where = len(self._gap_starts) if index is None else index
            self._gap_starts.insert(where, start)
            self._gap_ends.insert(where, end)

    def _finish(self, state: JobState, record: Completed | Cancelled) -> None:
        """End a job: its payload goes, and the oldest job that ended is forgotten."""
        if state.status != QUEUED:
            return
        if isinstance(record, Completed):
            state.status = COMPLETED
            if record.result is not None or record.binary:
                state.result = result_of(record)
            # guard: a completion brings its children
            if record.children:
                self.apply_all(record.children)
        else:
            state.status = CANCELLED
            if record.error is not None:
                state.error, state.traceback = record.error, record.traceback
                # guard: a job that has never started has had no attempt
                #   without: if True:
                if record.started is not None:
                    _add_attempt(state, record.retries, record, record.error)
        state.started = record.started
        state.retries = record.retries
        state.finished = record.at
        enqueued = state.enqueued
        enqueued.payload = ""
        if enqueued.binary:
            enqueued.binary = b""
        if state.due is not None:
            state.due = None
            state.delay = 0.0
        if state.crashes:
            state.crashes = state.crashed_run = 0
        if self._dependents:
            self._ended(state, record.job)
        self.doomed.pop(record.job, None)
        finished = self._finished
        finished.append(record.job)
        if len(finished) > self._retention:
            del self.jobs[finished.popleft()]

    def _retried(self, state: JobState, record: Retried) -> None:
        if state.status == QUEUED:
            _add_attempt(state, record.retries - 1, record, record.error)
            state.retries = record.retries
            state.due = record.due
            state.delay = record.delay
            state.error = record.error
            state.traceback = record.traceback
            state.started = record.started
            state.crashes = state.crashed_run = 0

    def _fail(self, state: JobState, record: Failed) -> None:
        if state.status == QUEUED:
            self._failed[record.job] = None
            self.revoked.pop(record.job, None)
            state.status = FAILED
            state.retries = record.retries
            state.due = None
            state.delay = 0.0
            state.error = record.error
            state.traceback = record.traceback
            state.started = record.started
            state.finished = record.at
            state.crashes = state.crashed_run = 0
            if self._dependents:
                self._ended(state, record.job)

    def _requeued(self, state: JobState, record: Requeued) -> None:
        if state.status == FAILED:
            del self._failed[record.job]
            enqueued = state.enqueued
            enqueued.due = enqueued.delay = enqueued.expires = enqueued.within = None
            self.jobs[record.job] = JobState(enqueued)

    def _hastened(self, state: JobState, record: Hastened) -> None:
        del record
        if state.status == QUEUED:
            state.due = state.enqueued.due = state.enqueued.delay = None
            state.delay = 0.0

    def _discarded(self, state: JobState, record: Discarded) -> None:
        if state.status == FAILED:
            del self._failed[record.job]
            del self.jobs[record.job]

    def _revoked(self, state: JobState, record: Revoked) -> None:
        if state.status == QUEUED:
            self.revoked[record.job] = record.at

    def _doomed(self, state: JobState, record: Doomed) -> None:
        if state.status == QUEUED:
            self.doomed[record.job] = record.by

    def _crashed(self, state: JobState, record: Crashed) -> None:
        if state.status == QUEUED:
            state.crashes = record.crashes
            state.crashed_run = record.run

    def _ticked(self, state: JobState | None, record: Ticked) -> None:
        del state  # what becomes of the tick's job does not matter
        ticks = self.ticks
        before = ticks.pop(record.name, None)
        ticks[record.name] = record
        if record.job:
            self.working_ticks.pop(record.name, None)
        elif before is not None and before.job:
            self.working_ticks[record.name] = before
        # guard: the schedules that a log remembers are bounded
        if len(ticks) > SCHEDULES_MAX:
            forgotten = next(iter(ticks))
            del ticks[forgotten]
            self.working_ticks.pop(forgotten, None)

    def finished(self) -> list[JobState]:
        """The completed and cancelled jobs, oldest first, whatever the clock said at their end."""
        return [self.jobs[number] for number in self._finished]

    def failed(self) -> list[JobState]:
        """The failed jobs, oldest first."""
        return [self.jobs[number] for number in self._failed]

    def records(self) -> Iterator[Record]:
        """Yield records that would rebuild this state; those of type `Enqueued` are its own.

        Jobs come in their order, and what ended in the order in which it did.
        """
        yield from self.working_ticks.values()  # each comes before the last tick of its schedule
        yield from self.ticks.values()  # guard: a snapshot keeps the ticks
        for number, state in self.jobs.items():
            yield from _rebuild(state)
            if number in self.revoked and state.status == QUEUED:
                yield Revoked(number, self.revoked[number])
        for state in (*self.failed(), *self.finished()):
            yield _end(state)
        for number, by in self.doomed.items():
            doomed = self.jobs.get(number)
            if doomed is not None and doomed.status == QUEUED:
                yield Doomed(number, by)  # guard: a snapshot keeps what is doomed


def _add_attempt(state: JobState, number: int, record: Retried | Cancelled, error: str) -> None:
    """Note an attempt that failed, once."""
    kept = state.attempts[1 - ATTEMPTS_MAX :]
    if not kept or kept[-1][0] < number:
        state.attempts = (*kept, (number, record.started, record.at, error))


_APPLY: Final[dict[type[Any], Callable[[LogState, JobState, Any], None]]] = {
    Retried: LogState._retried,
    Completed: LogState._finish,
    Failed: LogState._fail,
    Cancelled: LogState._finish,
    Revoked: LogState._revoked,
    Requeued: LogState._requeued,
    Hastened: LogState._hastened,
    Discarded: LogState._discarded,
    Doomed: LogState._doomed,
    Crashed: LogState._crashed,
    Ticked: LogState._ticked,
}


def _rebuild(state: JobState) -> Iterator[Record]:
    """Yield the records from which `LogState` makes an equal state, but for a job's end."""
    yield state.enqueued
    job = state.enqueued.job
    last = len(state.attempts) - 1
    for place, (number, began, ended, error) in enumerate(state.attempts):
        trace = state.traceback or "" if place == last and state.status != FAILED else ""
        due = ended if state.due is None else state.due
        yield Retried(job, ended, began or 0.0, number + 1, due, state.delay, error, trace)
    if state.crashes:
        yield Crashed(job, state.crashes, state.crashed_run)


def _end(state: JobState) -> Record:
    """Return the record that ended a job."""
    job, at, retries = state.enqueued.job, state.finished or 0.0, state.retries
    if state.status == FAILED:
        return Failed(job, at, state.started, retries, state.error or "", state.traceback or "")
    if state.status == COMPLETED:
        if state.result is None:
            return Completed(job, at, state.started or 0.0, retries)
        return Completed(job, at, state.started or 0.0, retries, *result_fields(*state.result))
    if state.started is None:  # no attempt tells why
        return Cancelled(job, at, None, retries, state.error, state.traceback)
    return Cancelled(job, at, state.started, retries)
