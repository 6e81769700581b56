"""Brings batches to their level of durability, and tells what has become of them.

Guarantees: the owner is told of records once they have reached the level of durability. After a
failed fsync nothing is written any more. On a full disk what no call waits for is written into the
reserve, and new jobs are refused.
Relies on: `lock`, an RLock of the owner's; `on_durable` does nothing for a record that it was told
of before. One thread at a time delivers: the log's, or a caller that leads.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import LogWriteError
from ..format.codec import UnencodableError
from .active_segment import ActiveSegment, FsyncError
from .batch import LogOptions, OpenBatch, as_write_error
from .upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..files import Files
    from ..format.record import Record
    from ..room import Room
    from .callbacks import OnDurable, OnEnded, OnFailed, Parker

ASYNC_LINGER_SECONDS = 0.002
FSYNC_LINGER_SECONDS = 0.05
RETRY_SECONDS = 0.1
FREE_BYTES_MIN = 64 << 10
"""With less room than this a disk is full, whatever the log does."""
NEVER = float("inf")


def _linger(options: LogOptions) -> float:
    if options.durability == "async":
        return ASYNC_LINGER_SECONDS
    if options.durability == "fsync":  # a caller that was interrupted may have left it
        return min(options.fsync_interval, FSYNC_LINGER_SECONDS)
    return options.fsync_interval


class Delivery(ABC):
    """What `LogThread` and `LogWriter` have in common: the log, and how batches get into it.

    Args:
        files: the file system.
        directory: the log's directory.
        options: how to write, and where the log stands.
        lock: the owner's; an RLock.
        on_durable: told what becomes of the records of each batch.
        on_failed: told that the log has failed for good.
        on_ended: told that nothing will touch the log any more.
        needed: estimates the bytes of what the log is still needed for.
        ends: estimates the bytes of all unfinished jobs' ends.
        room: what holds it; `None` makes one.
        report: called if a compaction failed.
        monotonic: real time in seconds.
        new_parker: makes what a caller's thread sleeps in.

    Raises:
        OSError: the first segment cannot be started.
    """

    def __init__(
        self,
        files: Files,
        directory: str,
        options: LogOptions,
        *,
        lock: threading.RLock,
        on_durable: OnDurable,
        on_failed: OnFailed,
        on_ended: OnEnded,
        needed: Callable[[], int],
        ends: Callable[[], int],
        room: Room | None = None,
        report: Callable[[BaseException], None],
        monotonic: Callable[[], float],
        new_parker: Callable[[], Parker],
    ) -> None:
        self._directory = directory
        self._lock = lock
        self._work = threading.Condition(lock)  # notified when the thread has something to do
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._on_ended = on_ended
        self._monotonic = monotonic
        self._new_parker = new_parker
        self._fsync_interval = options.fsync_interval
        self.is_async = options.durability == "async"
        self._is_fsync = options.durability == "fsync"
        self._linger = _linger(options)  # until a batch is written that no caller asks for
        self._open = OpenBatch()
        # While set, the segment is the thread's alone, or the leader's. If there is neither, a
        # leader was interrupted: its records are in `_active.copied` if it was copied by then.
        self._writing: OpenBatch | None = None
        self._leader: int | None = None  # the thread that may fsync: the log's, or a caller's
        self._flushes: list[OpenBatch] = []  # done when all that came before them is fsynced
        self._write_due = NEVER  # when the open batch is to be written at the latest
        self._sync_due = NEVER  # when what is written is to be fsynced at the latest
        self._asleep_until = 0.0
        self._closing = False
        self._give_up_at = 0.0  # until then a log that closes waits for space
        self._end_of_all = OpenBatch()  # has no records; done when the thread has ended
        self._given_up: list[Record] = []  # what a log that failed had not written
        self.failure: LogWriteError | None = None
        """Why the log has failed for good."""
        self.refusal: LogWriteError | None = None
        """Why the last batch could not be written; the next one that can be clears it."""
        self.forgotten = 0  # jobs that ended before they were written, and never are
        self._active = ActiveSegment(files, directory, options, lock, monotonic, room)
        self.is_start_undone = False  # set if a start fails, before it closes: no segment stays
        self._upkeep = Upkeep(
            files,
            directory,
            options,
            self._active,
            needed=needed,
            ends=ends,
            report=report,
            now=monotonic(),
        )
        self._thread = threading.Thread(target=self._run, name="jobqueue-log", daemon=True)

    @abstractmethod
    def _run(self) -> None:
        """The log's thread; see `LogThread`."""

    # ── any thread, with the lock ────────────────────────────────────────────────────────────

    def _tell_copied(self) -> None:
        """What was copied is told. If this is broken off, the next call tells it again."""
        if self._sync_due == NEVER:
            self._sync_due = self._monotonic() + self._fsync_interval
            self._wake_for(self._sync_due)
        self._on_durable(self._active.copied, None, True)
        self._active.copied = ()

    def _wake_for(self, due: float) -> None:
        if due < self._asleep_until:
            self._work.notify()

    def unwritten(self) -> list[Record]:
        """With the lock: the records that are not in the log. After its end they never will be."""
        writing = [] if self._writing is None else self._writing.records
        return [*self._given_up, *writing, *self._open.records]

    def _is_wanted(self) -> bool:
        """With the lock: whether there is something to do whatever the time."""
        # guard: look before the wait of the log's thread
        #   without: return bool(self._closing or self.failure)
        return bool(self._open.urgent or self._flushes or self._closing or self.failure)

    def _next_due(self) -> float:
        return min(self._write_due, self._sync_due, self._upkeep.due)

    # ── the thread that delivers, without the lock unless it says so ─────────────────────────

    def _carry_out(self, batch: OpenBatch | None, must_sync: bool) -> LogWriteError | None:
        """Write the batch and fsync what is to be; returns what went wrong."""
        try:
            if batch is not None and batch.records:  # or a leader has copied it
                self._write(batch)
                must_sync = self._written(batch) or must_sync
            if must_sync:
                self._active.sync()
                self._synced()
        except (LogWriteError, FsyncError) as error:
            cause = error.error if isinstance(error, FsyncError) else error
            failure = as_write_error(cause, self._directory)
            self._break(failure, self._writing)
            return failure
        except OSError as error:
            assert batch is not None  # only a write raises this
            # In a directory that is gone no segment can be made.
            if (taken := self._look()) is not None:
                return taken
            refusal = as_write_error(error, self._directory)
            self._refuse(batch, refusal)
            return refusal
        return None

    def _write(self, batch: OpenBatch) -> None:
        try:
            self._write_or_refuse(batch)
        except UnencodableError as error:
            self._sort_out(batch, error)  # guard: what cannot be encoded fails alone
            self._write_or_refuse(batch)

    def _write_or_refuse(self, batch: OpenBatch) -> None:
        """Write a batch. If the disk is full the reserve is for what no call waits for, only."""
        room = self._active.room
        if batch.is_backlog:
            self._forget_ended(batch)
            if not batch.records:
                return
        if not batch.has_calls():
            self._write_outcomes(batch)
            return
        if room.is_short:
            self._write_early(batch)
            self._upkeep.take_again()  # guard: no job is written into the reserve
        try:
            if batch.is_backlog:
                self._write_in_pieces(batch)
            else:
                # guard: many jobs are not written if there would be no room for their ends
                self._upkeep.check_room_for(batch.records)
                self._active.write(batch.records)
        except OSError as error:
            if room.notes(error):
                self._write_early(batch)
            raise

    def _write_outcomes(self, batch: OpenBatch) -> None:
        """Write what no call waits for: if there is no room for all of it, what there is room for.

        It would only grow until then, and a compaction frees nothing of what is not recorded.
        """
        room = self._active.room
        try:
            room.provide(lambda: self._active.write(batch.records))
        except OSError as error:
            if batch.awaited or not room.notes(error):
                raise
            self._write_in_pieces(batch)

    def _write_early(self, batch: OpenBatch) -> None:
        """Write what must not wait for the room that the rest of the batch lacks."""
        with self._lock:
            records, early = batch.records, batch.take_early()
        try:
            if early:
                self._active.room.provide(lambda: self._active.write(early))
        except BaseException:
            with self._lock:
                batch.records = records
            raise
        with self._lock:
            if self._sync_due == NEVER:
                self._sync_due = self._monotonic() + self._fsync_interval

    def _forget_ended(self, batch: OpenBatch) -> None:
        """Forget the oldest jobs that ended before they were written, if they would fill the disk.

        All of them may be within `status_retention`, and yet more than the disk could ever hold:
        then no job would be taken any more. On a disk that others have filled they are kept.
        """
        free = self._active.free_bytes()

        def afford(ended: list[list[Record]]) -> int:
            count = len(ended)
            # guard: what has ended is forgotten only if there is room to gain
            #   without: while count:
            while count and free >= FREE_BYTES_MIN:
                records = [each for job in ended[-count:] for each in job]
                if len(self._active.encoded(records)) <= free // 4:
                    break
                count //= 2
            return count

        try:
            records, forgotten = batch.without_some_ended(afford)
        except UnencodableError:
            return  # the write that follows sorts it out
        with self._lock:
            batch.records = records
            self.forgotten += forgotten

    def _write_in_pieces(self, batch: OpenBatch) -> None:
        """Write as much of a batch as there is room for. The reserve grows with it."""
        for count in batch.pieces():
            piece = batch.records[:count]
            self._active.write(piece)
            with self._lock:
                del batch.records[:count]
                self._on_durable(piece, None, True)
            self._upkeep.grow()

    def _take_again(self) -> None:
        """Look whether there is room again, if there was none."""
        if self._active.room.is_short:
            with suppress(OSError):  # not yet: it is tried again at the next look
                self._upkeep.take_again()
                with self._lock:
                    if not (self.is_async and self._open.has_calls()):  # these go first
                        self.refusal = None

    def _rotate(self) -> LogWriteError | None:
        """Seal the active segment, so that a compaction may free what is in it."""
        try:
            self._active.room.provide(self._active.rotate)
            self._upkeep.compactor.start()
        except (LogWriteError, FsyncError) as error:
            cause = error.error if isinstance(error, FsyncError) else error
            failure = as_write_error(cause, self._directory)
            self._break(failure, self._writing)
            return failure
        except OSError as error:
            self.refusal = as_write_error(error, self._directory)
        return None

    def _sort_out(self, batch: OpenBatch, error: UnencodableError) -> None:
        with self._lock:
            for record in batch.sort_out(error.errors, fail_calls=not self.is_async):
                self._on_durable([record], batch.refused[record.job], False)

    def _look(self) -> LogWriteError | None:
        """Look whether the log still is where its path leads; if not, that is its end."""
        failure = self._upkeep.look()
        if failure is not None:
            self._break(failure, self._writing)
        return failure

    def _written(self, batch: OpenBatch) -> bool:
        """A batch is written: end it, unless it needs an fsync first: then return `True`."""
        with self._lock:
            if not self._active.room.is_short:
                self.refusal = None
            if self._is_fsync:
                # guard: acknowledgement only after the fdatasync
                if batch.awaited or batch.has_calls():  # of a caller that was interrupted
                    return True
            elif self._sync_due == NEVER:
                self._sync_due = self._monotonic() + self._fsync_interval
            self._writing = None
            self._finish(batch, None)
        return False

    def _synced(self) -> None:
        """What is written is fsynced; so is the batch that waited for it.

        A leader may be interrupted in here: then the log's thread does it once more.
        """
        with self._lock:
            behind = self._active.number > self._active.synced  # copied meanwhile
            self._sync_due = self._monotonic() + self._fsync_interval if behind else NEVER
            if self._writing is not None:
                self._finish(self._writing, None)
            self._upkeep.compactor.wrote(self._monotonic())
            if self._is_wanted():
                self._work.notify()
            else:
                self._wake_for(self._next_due())
            self._writing = self._leader = None  # last, so that an interruption loses no wake-up

    # How batches end. With the lock, but for `_refuse` and `_break`.

    def _finish(
        self, batch: OpenBatch, error: LogWriteError | None, *, written: bool = True
    ) -> None:
        """Tell of a batch and wake its waiters. Twice does no harm."""
        if self._is_fsync and batch is self._writing:
            self._on_durable(self._active.copied, error, True)
            self._active.copied = ()
        self._on_durable(batch.records, error, written)
        batch.end(error)

    def _refuse(self, batch: OpenBatch, error: LogWriteError) -> None:
        """A batch could not be written, as on a full disk, and nothing of it is left.

        Calls that wait for it fail. What no call waits for goes into the next batch; under
        "async" that is all of it.
        """
        with self._lock:
            self._writing = None
            self.refusal = error
            self._write_due = self._monotonic() + RETRY_SECONDS
            if self.is_async:
                batch.records += self._open.records
                batch.told = 0
                batch.thin()
                batch.is_backlog = True
                self._open = batch
                return
            self._finish(batch, error, written=False)
            # guard: outcomes move on from a batch that failed
            self._open.records[:0] = batch.outcomes()

    def _break(self, error: LogWriteError, batch: OpenBatch | None) -> None:
        """The log has failed for good: write nothing any more, and tell all waiting threads."""
        with self._lock:
            if self.failure is not None:
                return
            self.failure = error  # guard: a failed log takes nothing more
            self._on_failed(error)  # first: nothing starts any more when waiting threads hear of it
            self._given_up = self.unwritten()
            if batch is not None:
                self._finish(batch, error)
            self._writing = None
            self._finish(self._open, error, written=False)
            self._open = OpenBatch()
            for flush in self._flushes:
                self._finish(flush, error)
            self._flushes = []
