"""What happened to jobs, told to the log.

Relies on: the queue's mutex, held by the caller of every method.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..model.job import NO_HEADERS
from ..wal.format.record import (
    Cancelled,
    Completed,
    Crashed,
    Discarded,
    Enqueued,
    Failed,
    Requeued,
    Retried,
    Ticked,
    payload_fields,
    result_fields,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..model.handle import JobHandle
    from ..model.results import StoredResult
    from ..runtime.reporting import Failure
    from ..wal.format.record import Record
    from ..wal.writing.batch import OpenBatch
    from ..wal.writing.writer import LogWriter

LARGE_PAYLOAD_BYTES = 32 * 1024


class Journal:
    """Turns changes of jobs into records.

    Args:
        writer: the log.
        next_number: the number of the next new job.
    """

    def __init__(self, writer: LogWriter, next_number: int) -> None:
        self.writer = writer
        self.is_async = writer.is_async
        """Whether a job may run as soon as its record is in the open batch."""
        self._next_number = self._first_number = next_number
        # What `free` has counted last, and `once` has added last: either may be broken off.
        self._counted: object = None
        self._added: Record | None = None
        self.payload_bytes = 0
        """Of the jobs that are unfinished or failed."""
        self.schedules: set[str] = set()
        """Those whose last tick the log remembers."""

    def enqueued(
        self,
        handle: JobHandle,
        due: float | None = None,
        delay: float | None = None,
        expires: float | None = None,
        *,
        is_added: bool = True,
    ) -> Enqueued:
        """A job was accepted; returns its record.

        Args:
            due: the Unix time before which it must not run.
            delay: the seconds that this came from.
            expires: the Unix time by which it has to have started.
            is_added: whether its record is added to the log here.
        """
        job = handle._job
        text, binary = payload_fields(job._payload)
        number = self._next_number
        record = Enqueued(
            number,
            job._id,
            job._priority._value_,
            job._created,
            job._handler,
            job._max_retries,
            None if job._headers is NO_HEADERS else dict(job._headers),
            text,
            binary,
            due,
            delay,
            job._store_result,
            None if job._plan is None else job._plan.key,
        )
        if job._plan is not None:
            _tell_plan(record, handle, expires)
        self._next_number = number + 1
        self.payload_bytes += len(job._payload)
        handle._number = number
        if is_added:
            self.writer.add(record)
        return record

    def ticked(self, name: str, at: float, number: int = 0) -> None:
        """A schedule's ticks up to this Unix time are dealt with.

        Args:
            number: of the job that was just accepted for it, if one was.
        """
        self.schedules.add(name)
        self.writer.add(Ticked(name, at, number))

    def commit(self, handle: JobHandle) -> OpenBatch | None:
        """Bring the last record to its level; returns the batch to wait for, if there is one."""
        return self.writer.commit(inline=len(handle._job._payload) < LARGE_PAYLOAD_BYTES)

    def born(
        self, handle: JobHandle, due: float | None, delay: float | None, expires: float | None
    ) -> Enqueued:
        """The record of a job that is added to the log with others, or within another record."""
        return self.enqueued(handle, due, delay, expires, is_added=False)

    def together(self, records: Sequence[Enqueued]) -> None:
        """Add the records of jobs that are accepted in one. Again, it does nothing."""
        last = records[-1]
        if self._added is not last:
            if not self.writer.ends_with(last):
                self.writer.add_all(records)
            self._added = last

    def completed(
        self,
        handle: JobHandle,
        wall: float,
        stored: StoredResult | None,
        children: list[Enqueued] | None = None,
    ) -> None:
        """Its handler returned.

        Args:
            stored: what is kept of what it returned.
            children: the jobs that it has enqueued by that.
        """
        record, payload_bytes = completed(handle, wall, stored), len(handle._job._payload)
        if children:
            record.children = tuple(children)
        self._counted = record  # one step
        self.payload_bytes -= payload_bytes
        self.writer.add(record)

    def completed_rest(
        self,
        handle: JobHandle,
        wall: float,
        stored: StoredResult | None,
        children: list[Enqueued] | None = None,
    ) -> None:
        """Do what is left of `completed` if that was broken off."""
        record = self._counted
        if not (isinstance(record, Completed) and record.job == handle._number):
            record = completed(handle, wall, stored)
            if children:
                record.children = tuple(children)
        self.once(record, len(handle._job._payload))

    def free(self, what: object, payload_bytes: int) -> None:
        """A payload is needed no more. Again, for the same record or handle, it does nothing."""
        if self._counted is not what:
            self._counted = what  # one step
            self.payload_bytes -= payload_bytes

    def once(self, record: Record, freed_bytes: int = 0) -> None:
        """Add the record of a caller's change, which may be asked for again with the same record.

        Args:
            record: told from others by being the same object.
            freed_bytes: of the job's payload, if that goes.
        """
        self.free(record, freed_bytes)
        if self._added is not record:
            if not self.writer.ends_with(record):
                self.writer.add(record)
            self._added = record

    def crashed(self, number: int, crashes: int, run: int) -> None:
        """The process died while it ran."""
        self.writer.add(Crashed(number, crashes, run))

    def poisoned(
        self, number: int, error: str, wall: float, started: float | None, retries: int
    ) -> Failed:
        """It is given up because the process keeps dying while it runs; returns the record."""
        record = Failed(number, wall, started, retries, error, "")
        self.writer.add(record)
        return record

    def stopped(
        self,
        number: int,
        wall: float,
        started: float | None,
        retries: int,
        why: str | None = None,
    ) -> Cancelled:
        """It is cancelled before it is there again; returns the record.

        Args:
            why: what `last_error` says. `None`: its handler was asked to stop, and the process
                ended before that did.
        """
        record = Cancelled(number, wall, started, retries, why, why and "")
        self.writer.add(record)
        return record

    def lost(self, numbers: Iterable[int]) -> set[int]:
        """Tell which of these jobs' acceptance, or requeueing, is not in the log.

        Those are that "async" accepted and that could not be written, and at any level those that
        have been removed with the log's directory, or with the file that this run wrote last. (Of
        that file nobody knows its first job. So all of this run's are taken to be in it.)
        """
        records = self.writer.unwritten() if self.is_async else ()
        unwritten = {record.job for record in records if isinstance(record, (Enqueued, Requeued))}
        for record in records:
            if isinstance(record, Completed):
                unwritten.update(child.job for child in record.children)
        first: float = math.inf
        if (problem := self.writer.problem) is not None and problem.file_gone:
            first = 0 if problem.directory_gone else self._first_number
        return {number for number in numbers if number in unwritten or number >= first}

    def repeated(self) -> int:
        """How many jobs have ended that the log says are unfinished: the next start runs them."""
        if (problem := self.writer.problem) is not None and problem.file_gone:
            return 0  # nobody knows what is left to be run
        records = self.writer.unwritten()
        ended = {each.job for each in records if isinstance(each, (Completed, Failed, Cancelled))}
        return len(ended.difference(e.job for e in records if isinstance(e, (Enqueued, Requeued))))

    def dropped(self, number: int) -> None:
        """A failed job that was never counted in here was dropped."""
        self.writer.add(Discarded(number))


def _tell_plan(record: Enqueued, handle: JobHandle, expires: float | None) -> None:
    """Put into a new record what the job asks for besides its lane."""
    plan, ties = handle._job._plan, handle._ties
    assert plan is not None  # its caller looks
    record.key = plan.key
    if plan.unique is not None:
        record.unique = plan.unique.by
        record.until_started = plan.unique.until == "started"
    if ties is not None and ties.waits_for:
        record.after = tuple(each._number for each in ties.waits_for)
    record.expires, record.within = expires, plan.expires


# ── the records of attempts that ended ───────────────────────────────────────────────────────────


def completed(handle: JobHandle, wall: float, stored: StoredResult | None) -> Completed:
    """Its handler returned."""
    started = handle._started
    record = Completed(
        handle._number, wall, wall if started is None else started, handle._job._retries
    )
    if stored is not None:
        record.result, record.binary, record.coded = result_fields(*stored)
    return record


def retried(handle: JobHandle, failure: Failure, wall: float, delay: float) -> Retried:
    """An attempt failed; the next is due after so many seconds."""
    started = handle._started
    return Retried(
        handle._number,
        wall,
        wall if started is None else started,
        handle._job._retries,
        wall + delay,
        delay,
        *failure,
    )


def failed(handle: JobHandle, failure: Failure, wall: float) -> Failed:
    """It failed for good."""
    return Failed(handle._number, wall, handle._started, handle._job._retries, *failure)


def cancelled(handle: JobHandle, failure: Failure, wall: float) -> Cancelled:
    """It was cancelled; `failure` is what its handler raised when it was asked to stop."""
    return Cancelled(handle._number, wall, handle._started, handle._job._retries, *failure)
