"""The log's thread: it writes, fsyncs, seals and makes room, and never sees a signal.

Guarantees: the owner is told of records once they have reached the level of durability. After a
failed fsync nothing is written any more.
Relies on: `lock`, an RLock of the owner's; `on_durable` does nothing for a record that it was told
of before. `LogWriter` is what callers' threads see of it.
"""

from __future__ import annotations

import errno
import threading

from ...errors import LogWriteError
from .active_segment import FsyncError
from .batch import OpenBatch, as_write_error
from .delivery import FSYNC_LINGER_SECONDS, NEVER, RETRY_SECONDS, Delivery

__all__ = ["NEVER", "LogThread"]

_DIED = LogWriteError(errno.EIO, "the log's thread died; close the queue, and open it again")


class LogThread(Delivery):
    """Writes one log, whose directory the caller has locked; see `LogWriter`."""

    def start(self) -> None:
        """Start the thread. No lock needed."""
        self._thread.start()

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
            must_look = self._upkeep.looks(now) or bool(self._flushes)
            is_short = self._active.room.is_short  # then no caller copies from here on
            left, closing, flushes = self._writing, False, list[OpenBatch]()
            if left is None:
                closing = self._closing
                flushes, self._flushes = self._flushes, []
            batch = left or self._begin(now, everything=closing or bool(flushes))
            must_sync = left is not None or bool(flushes) or self._sync_due <= now
            self._leader = self._thread.ident  # of two fsyncs at once only one would tell of EIO
        error: LogWriteError | None = _DIED  # unless it comes out of this
        try:
            error = self._look() if must_look else None
            if error is None:
                error = self._carry_out(batch, must_sync)
            rotates = must_look and is_short and self._upkeep.compactor.gains_by_rotation()
            if rotates and self.failure is None:
                error = self._rotate() or error
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
        self._upkeep.step(now, looked=must_look, wrote=batch is not None or must_sync)
        if must_look:
            self._take_again()
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

    def _end(self) -> None:
        """Close the segment for good; after a failed fsync without another one."""
        with self._lock:
            self._await_leader()
        if self.failure is None:
            self._look()
        untouched = not (self._active.batches or self._upkeep.compactor.has_begun or self.failure)
        if self.is_start_undone and untouched:
            self._active.discard()
        else:
            self._close_segment()
        self._upkeep.compactor.stop(None)
        self._on_ended()
        with self._lock:
            self._finish(self._end_of_all, None)

    def _close_segment(self) -> None:
        try:
            if self.failure is None:
                self._active.room.provide(self._active.seal)
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
            self._active.room.keep_files()

    def _await_leader(self) -> None:
        """With the lock: wait for a caller that leads, if the thread dies beside it."""
        while self._leader is not None:
            self._work.wait(FSYNC_LINGER_SECONDS)
