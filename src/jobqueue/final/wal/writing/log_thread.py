"""The log's thread: it writes, fsyncs, seals and makes room, and never sees a signal.

Guarantees: the owner is told of records once they have reached the level of durability. After a
failed fsync nothing is written any more.
Relies on: `lock`, an RLock of the owner's; `on_durable` does nothing for a record that it was told
of before. `LogWriter` is what callers' threads see of it.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

from ...errors import LogWriteError
from ..format.codec import UnencodableError
from .active_segment import ActiveSegment, FsyncError
from .batch import LogOptions, OpenBatch, as_write_error
from .compactor import Compactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..files import Files, Problem
    from ..format.record import Record
    from .callbacks import OnDurable, OnEnded, OnFailed, Parker

ASYNC_LINGER_SECONDS = 0.002
FSYNC_LINGER_SECONDS = 0.05
RETRY_SECONDS = 0.1
LOOK_SECONDS = 0.5
"""How often it is looked whether the log is still there: what was taken away shows within 1 s."""
NEVER = float("inf")
_DIED = LogWriteError(errno.EIO, "the log's thread died")


class LogThread:
    """Writes one log, whose directory the caller has locked; see `LogWriter`.

    Args:
        files: the file system.
        directory: the log's directory.
        options: how to write, and where the log stands.
        lock: the owner's; an RLock.
        on_durable: told what becomes of the records of each batch.
        on_failed: told that the log has failed for good.
        on_ended: told that nothing will touch the log any more.
        needed: estimates the bytes of what the log is still needed for.
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
        self._linger = options.fsync_interval  # until a batch is written that no caller asks for
        if self.is_async:
            self._linger = ASYNC_LINGER_SECONDS
        elif self._is_fsync:  # a caller that was interrupted may have left it
            self._linger = min(self._linger, FSYNC_LINGER_SECONDS)
        self._open = OpenBatch()
        # While set, the segment is the thread's alone, or the leader's. If there is neither, a
        # leader was interrupted: its records are in `_active.copied` if it was copied by then.
        self._writing: OpenBatch | None = None
        self._leader: int | None = None  # the thread that may fsync: the log's, or a caller's
        self._flushes: list[OpenBatch] = []  # done when all that came before them is fsynced
        self._write_due = NEVER  # when the open batch is to be written at the latest
        self._sync_due = NEVER  # when what is written is to be fsynced at the latest
        self._look_due = monotonic() + LOOK_SECONDS  # when to look where the log is
        self._asleep_until = 0.0
        self._closing = False
        self._give_up_at = 0.0  # until then a log that closes waits for space
        self._end_of_all = OpenBatch()  # without records; done when the thread has ended
        self._given_up: list[Record] = []  # what a log that failed had not written
        self.failure: LogWriteError | None = None
        """Why the log has failed for good."""
        self.problem: Problem | None = None
        """What became of a log that was taken away."""
        self.refusal: LogWriteError | None = None
        """Why the last batch could not be written; the next one that can be clears it."""
        self._active = ActiveSegment(files, directory, options, lock, monotonic)
        self.is_start_undone = False
        """Set by a start that fails, before it closes the log: its segment need not stay."""
        self._compactor = Compactor(
            files, directory, options, self._active, needed=needed, report=report
        )
        self._thread = threading.Thread(target=self._run, name="jobqueue-log", daemon=True)

    def start(self) -> None:
        """Start the thread. No lock needed."""
        self._thread.start()

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

    # ── the log's thread, without the lock unless it says so ─────────────────────────────────

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as error:
            self._break(as_write_error(error, self._directory), self._writing)
            raise
        finally:
            self._end()

    def _step(self) -> bool:
        """Wait for something to do and do it; `False` when that was the last."""
        with self._lock:
            self._sleep()
            if self.failure is not None:
                return False
            now = self._monotonic()
            must_look = self._look_due <= now or bool(self._flushes)
            left, closing, flushes = self._writing, False, list[OpenBatch]()
            if left is None:
                closing = self._closing
                flushes, self._flushes = self._flushes, []
            batch = left or self._begin(now, everything=closing or bool(flushes))
            must_sync = left is not None or bool(flushes) or self._sync_due <= now
            self._leader = self._thread.ident  # of two fsyncs at once only one would tell of EIO
        error: LogWriteError | None = _DIED  # unless it comes out of this
        try:
            error = self._look(now) if must_look else None
            if error is None:
                error = self._carry_out(batch, must_sync)
        finally:
            with self._lock:
                if self._leader == self._thread.ident:  # or a caller has led since the fsync
                    self._leader = None
                for flush in flushes:
                    self._finish(flush, error)
        if closing:
            # guard: close waits for space for accepted jobs
            #   without: return False
            return self._awaits_space()
        self._compactor.step(now, wrote=batch is not None or must_sync)
        return True

    def _awaits_space(self) -> bool:
        """Whether there are still accepted jobs to write; then a while has passed, too."""
        with self._lock:
            if self._open.has_calls() and self._monotonic() < self._give_up_at:
                self._work.wait(RETRY_SECONDS)
                return True
        return False

    def _sleep(self) -> None:
        """With the lock: wait until something is due or a caller asks, and no caller leads."""
        # `_writing` is what a leader left that was interrupted, or whose fsync failed.
        while self._leader is not None or not (self._is_wanted() or self._writing):
            now = self._monotonic()
            until = self._next_due()
            if self._leader is not None:  # interrupted at its very end, it could not tell
                until = now + FSYNC_LINGER_SECONDS
            seconds = until - now
            if seconds <= 0:
                break
            self._asleep_until = until
            self._work.wait(None if until == NEVER else min(seconds, threading.TIMEOUT_MAX))
        self._asleep_until = 0.0

    def _is_wanted(self) -> bool:
        """With the lock: whether there is something to do whatever the time."""
        # guard: look before the wait of the log's thread
        #   without: return bool(self._closing or self.failure)
        return bool(self._open.urgent or self._flushes or self._closing or self.failure)

    def _next_due(self) -> float:
        return min(self._write_due, self._sync_due, self._compactor.due, self._look_due)

    def _begin(self, now: float, *, everything: bool) -> OpenBatch | None:
        """With the lock: take the open batch, if it is to be written now."""
        due = self._write_due <= now
        if due:
            self._write_due = NEVER
        batch = self._open
        if not (due or everything or batch.urgent):
            return None
        self._open = OpenBatch()
        if not batch.records:
            self._finish(batch, None)
            return None
        self._writing = batch
        return batch

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
            if (taken := self._look(self._monotonic())) is not None:
                return taken
            refusal = as_write_error(error, self._directory)
            self._refuse(batch, refusal)
            return refusal
        return None

    def _write(self, batch: OpenBatch) -> None:
        try:
            self._active.write(batch.records)
        except UnencodableError as error:
            self._sort_out(batch, error)  # guard: what cannot be encoded fails alone
            self._active.write(batch.records)

    def _sort_out(self, batch: OpenBatch, error: UnencodableError) -> None:
        with self._lock:
            for record in batch.sort_out(error.errors, fail_calls=not self.is_async):
                self._on_durable([record], batch.refused[record.job], False)

    def _look(self, now: float) -> LogWriteError | None:
        """Look whether the log still is where its path leads; if not, that is its end."""
        self._look_due = now + LOOK_SECONDS
        self.problem = self._active.astray()
        # guard: a log that was taken away has failed
        #   without: if True:
        if self.problem is None:
            return None
        text = f"the log was taken away while the queue had it open: {self.problem.text}"
        failure = LogWriteError(errno.ESTALE, text, self._directory)
        self._break(failure, self._writing)
        return failure

    def _written(self, batch: OpenBatch) -> bool:
        """A batch is written: end it, unless it needs an fsync first: then return `True`."""
        with self._lock:
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
            self._compactor.wrote(self._monotonic())
            if self._is_wanted():
                self._work.notify()
            else:
                self._wake_for(self._next_due())
            self._writing = self._leader = None  # last, so that an interruption loses no wake-up

    def _end(self) -> None:
        """Close the segment for good; after a failed fsync without another one."""
        with self._lock:
            self._await_leader()
        if self.failure is None:
            self._look(self._monotonic())
        untouched = not (self._active.batches or self._compactor.has_begun or self.failure)
        if self.is_start_undone and untouched:
            self._active.discard()
        else:
            self._close_segment()
        self._compactor.stop(None)
        self._on_ended()
        with self._lock:
            self._finish(self._end_of_all, None)

    def _close_segment(self) -> None:
        try:
            if self.failure is None:
                self._active.seal()
        except OSError as error:  # a full disk: the next start finds a torn end at worst
            self.refusal = as_write_error(error, self._directory)
        except FsyncError as error:
            self._break(as_write_error(error.error, self._directory), None)
        try:
            (self._active.finish if self.failure is None else self._active.abandon)()
        except OSError as error:
            self._break(as_write_error(error, self._directory), None)
        if self.failure is None:
            self._active.write_closed()

    def _await_leader(self) -> None:
        """With the lock: wait for a caller that leads, if the thread dies beside it."""
        while self._leader is not None:
            self._work.wait(FSYNC_LINGER_SECONDS)

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
