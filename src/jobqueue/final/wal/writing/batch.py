"""What callers, the writer and its owner hand to each other."""

from __future__ import annotations

import errno
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...errors import LogWriteError, again
from ..format.record import (
    Cancelled,
    Completed,
    Discarded,
    Enqueued,
    Requeued,
    Ticked,
    length_of,
    made_plain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..format.record import Record
    from .callbacks import Parker, Waiter

_CALLS = (Enqueued, Requeued)
"""Records of calls that are undone when their batch cannot be written."""
_ENDS = (Completed, Cancelled)
PIECE_RECORDS = 2_000
PIECE_BYTES = 1 << 18
"""A batch that found no room is written in pieces that are about as large as this."""


class OpenBatch:
    """The records that are written together, and the threads that wait for them."""

    __slots__ = (
        *("awaited", "done", "error", "is_backlog", "records"),
        *("refused", "told", "urgent", "waiters"),
    )

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.told = 0
        """Of how many of them the owner was told before they are written (under "async")."""
        self.awaited = False
        """Whether a call waits for its fsync (under "fsync")."""
        self.urgent = False
        """Whether it is the thread's to write, at once."""
        self.is_backlog = False
        """Whether it found no room, and is kept until it does (under "async")."""
        self.waiters: list[Waiter] = []
        self.done = False
        self.error: LogWriteError | None = None
        self.refused: dict[int, LogWriteError] = {}
        """Why single calls of it failed, by the numbers of their jobs."""

    def has_calls(self) -> bool:
        """Whether it holds more than outcomes."""
        return any(isinstance(record, _CALLS) for record in self.records)

    def outcomes(self) -> list[Record]:
        """The records that no call waits for. The tick of a job belongs to the job's call."""
        calls = {record.job for record in self.records if isinstance(record, _CALLS)}
        return [
            record
            for record in self.records
            if not isinstance(record, _CALLS)
            # guard: a tick whose job was not taken is not taken either
            #   without:
            and not (type(record) is Ticked and record.job in calls)
        ]

    def sort_out(self, errors: Mapping[int, Exception], *, fail_calls: bool) -> list[Record]:
        """With the lock: make the batch one that can be encoded.

        A call fails for its records, alone. What has happened, as an outcome has, is recorded as
        far as can be.

        Args:
            errors: what is wrong with the records that cannot be encoded, by their places.
            fail_calls: whether calls wait for it. If not (under "async"), their jobs are accepted.

        Returns:
            The records of the calls that fail.
        """
        failed: list[Record] = []
        kept: list[Record] = []
        if fail_calls:
            errors = _with_joined(self.records, errors)
        for place, record in enumerate(self.records):
            error = errors.get(place)
            if error is None:
                kept.append(record)
            elif fail_calls and isinstance(record, _CALLS):
                failed.append(record)
                self.refused[record.job] = _unencodable(error)
            else:
                kept.append(made_plain(record))
        self.records = kept
        return failed

    def thin(self) -> None:
        """With the lock: drop what the log has no use for of jobs of which all is in this batch.

        Of one that has ended that is its payload; of one that was discarded, all. There is no end
        to what "async" may accept and run while its batch finds no room.
        """
        begun = {each.job for each in self.records if type(each) is Enqueued}
        gone = begun & {each.job for each in self.records if type(each) is Discarded}
        ended = {each.job for each in self.records if isinstance(each, _ENDS)}
        self.records = [
            _without_payload(each) if type(each) is Enqueued and each.job in ended else each
            for each in self.records
            if each.job not in gone or type(each) is Ticked
        ]

    def without_some_ended(
        self, afford: Callable[[list[list[Record]]], int]
    ) -> tuple[list[Record], int]:
        """Its records with only some of the jobs of which all is in it, end included.

        The others are as if the log had forgotten them, which it does with the oldest ones. What
        is kept of a job stands where it has ended, all together. One that others wait for, or that
        enqueued some by its end, stays where it is. Changes nothing.

        Args:
            afford: told their records, job by job, those that ended first coming first; returns
                how many of the last ones are to be kept.

        Returns:
            The records, and how many jobs are not among them.
        """
        jobs: dict[int, list[Record]] = {}
        ended: list[list[Record]] = []
        awaited = {n for each in self.records if type(each) is Enqueued for n in each.after}
        for each in self.records:
            if type(each) is Enqueued:
                jobs[each.job] = [each]
            elif (job := jobs.get(each.job)) is not None and type(each) is not Ticked:
                job.append(each)
                is_needed = each.job in awaited or (type(each) is Completed and each.children)
                # guard: a job is not forgotten whose end says what becomes of others
                #   without: if isinstance(each, _ENDS):
                if isinstance(each, _ENDS) and not is_needed:
                    ended.append(job)
        if not ended:
            return self.records, 0
        count = len(ended) - afford(ended)
        numbers = {job[0].job for job in ended}
        kept = {job[0].job: job for job in ended[count:]}
        # guard: a tick is remembered longer than its job
        #   without: moves = [each.job in numbers for each in self.records]
        moves = [each.job in numbers and type(each) is not Ticked for each in self.records]
        records: list[Record] = []
        for each, is_moved in zip(self.records, moves, strict=True):
            if not is_moved:
                records.append(each)
            elif isinstance(each, _ENDS):
                records += kept.get(each.job, ())
        return records, count

    def pieces(self) -> Iterator[int]:
        """Yield how many records, from the first on, may be written first; then of the rest.

        A job that has ended has no payload here: nothing may come between it and its end, or it
        would run again without. Nor between jobs that were accepted in one.
        """
        records = self.records.copy()
        begun = {each.job for each in self.records if type(each) is Enqueued}
        ended = begun & {each.job for each in self.records if isinstance(each, _ENDS)}
        count = size = halfway = 0
        for place, each in enumerate(records):
            count += 1
            size += length_of(each)
            if type(each) is Enqueued:
                halfway += each.job in ended
            elif each.job in ended and isinstance(each, _ENDS):
                halfway -= 1
            is_enough = count >= PIECE_RECORDS or size >= PIECE_BYTES
            # guard: what was accepted in one is written in one
            #   without: if not halfway and is_enough:
            if not halfway and is_enough and not is_joined(records, place + 1):
                yield count
                count = size = 0
        if count:
            yield count

    def take_early(self) -> list[Record]:
        """Take out the records that do not depend on a call's being carried out by this batch."""
        calls = {record.job for record in self.records if isinstance(record, _CALLS)}
        early = [record for record in self.records if record.job not in calls]
        self.records = [record for record in self.records if record.job in calls]
        return early

    def end(self, error: LogWriteError | None) -> None:
        """With the lock: wake the threads that wait. Twice does no harm."""
        self.error = error
        self.done = True
        for waiter in self.waiters:
            waiter.unpark()

    def wait(
        self,
        lock: threading.RLock,
        parker: Parker,
        timeout: float | None = None,
        number: int = 0,
    ) -> None:
        """Wait until the batch is done, at most so many seconds. Without the lock, which guards it.

        Args:
            parker: a new one, in which the calling thread sleeps.
            number: names the job that the caller waits for, if it is one.

        Raises:
            LogWriteError: it could not be brought to its level of durability.
        """
        with lock:
            # guard: look before the wait for a batch
            #   without: if True:
            if not self.done:
                self.waiters.append(parker)
            else:
                parker.unpark()
        parker.park(timeout)
        error = self.error or self.refused.get(number)
        if error is not None:
            raise again(error)


FSYNC_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Of the buckets that fsyncs are counted in, in seconds."""


@dataclass(frozen=True, slots=True)
class LogStats:
    """What `JobQueue.metrics` shows of the log.

    Attributes:
        fsync_seconds: how long all fsyncs took together.
        fsyncs_by_time: how many took at most as long as each of `FSYNC_BOUNDS`, and longer.
    """

    bytes: int
    batches: int
    fsyncs: int
    last_fsync_seconds: float
    lag_records: int
    error: str | None
    fsync_seconds: float
    fsyncs_by_time: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """How to write, as in `Config`, and where the log stands.

    Attributes:
        segment: number of the segment to start.
        batch: number of the last batch in the log.
        bytes_before: size of the files that are there already.
        files_before: how many they are.
        status_retention: how many finished jobs compaction keeps.
        map_log: as in `Config`.
    """

    durability: Literal["async", "write", "fsync"]
    fsync_interval: float
    segment_bytes: int
    segment: int
    batch: int
    bytes_before: int
    files_before: int
    status_retention: int
    map_log: bool | None = None


def _without_payload(each: Enqueued) -> Enqueued:
    if not (each.payload or each.binary):
        return each
    return Enqueued(
        each.job,
        each.id,
        each.priority,
        each.created,
        each.handler,
        each.max_retries,
        each.headers,
        due=each.due,
        delay=each.delay,
        joined=each.joined,
        key=each.key,
    )


def is_joined(records: Sequence[Record], place: int) -> bool:
    """Whether the record at this place is of a job that was accepted in one with the one before."""
    record = records[place] if place < len(records) else None
    return type(record) is Enqueued and record.joined


def _with_joined(
    records: Sequence[Record], errors: Mapping[int, Exception]
) -> Mapping[int, Exception]:
    """The same errors, also for the records of the jobs that were accepted in one with those."""
    spread = dict(errors)
    for place, error in errors.items():
        first, last = place, place
        while is_joined(records, first):
            first -= 1
        while is_joined(records, last + 1):
            last += 1
        for each in range(first, last + 1):
            spread.setdefault(each, error)  # guard: jobs that are accepted in one fail in one
    return spread


def _unencodable(error: Exception) -> LogWriteError:
    return LogWriteError(
        errno.EINVAL,
        f"the record of this job cannot be encoded ({type(error).__name__}: {error}); "
        f"its call alone has failed",
    )


def as_write_error(error: BaseException, directory: str) -> LogWriteError:
    """The error that callers see for whatever went wrong with a write."""
    if isinstance(error, LogWriteError):
        return error
    number = error.errno if isinstance(error, OSError) else None
    wrapped = LogWriteError(
        number or errno.EIO, f"the log could not be written: {error}", directory
    )
    wrapped.__cause__ = error
    return wrapped
