"""Group commit: records gather in the open batch, and one write carries them all.

A record is added under the same lock that guards the change it tells of. So the log's order is the
order of the changes. A caller's thread then stores the batch in the segment by itself: by a copy
into a map, or by one call that keeps the GIL, so that no other thread is handed over to and there
is nothing to wait for. If that fails the log's thread tries again. Under "fsync" a caller leads if
no other thread is at it: it stores the open batch and fsyncs it on its own thread. That saves two
hand-overs between threads. Everything else (writes of large batches, most fsyncs, sealing,
reserving room) is done by one thread, which never sees a signal.

Guarantees: the owner is told of records once they have reached the level of durability. A caller
that is interrupted anywhere loses nothing: what it left in the open batch, or did not tell of, is
carried on by the next caller or the log's thread. After a failed fsync nothing is written any more.
Relies on: `lock`, an RLock of the owner's, is held by the caller of every method unless it says
otherwise. `on_durable` does nothing for a record that it was told of before.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

from ...errors import LogWriteError, again, reentered
from ..format.record import Enqueued
from .active_segment import FsyncError
from .batch import LogStats, OpenBatch
from .log_thread import NEVER, LogThread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..files import Problem
    from ..format.record import Record
    from .callbacks import Waiter


class LogWriter(LogThread):
    """What callers do with the log: add records, bring them to their level, wait for that."""

    @property
    def problem(self) -> Problem | None:
        """What became of a log that was taken away."""
        return self._upkeep.problem

    def take_reserve(self) -> None:
        """Have the reserve be as large as is needed now. Before `start`, without the lock."""
        self._upkeep.take()

    # ── callers' threads, with the lock ──────────────────────────────────────────────────────

    def check(self) -> None:
        """Raises `LogWriteError` if a new job would not be taken."""
        if self.failure is not None:
            raise again(self.failure)
        if self._leader is not None:
            self.refuse_leader()
        if self.is_async and self.refusal is not None:
            raise again(self.refusal)

    def leads(self) -> bool:
        """Whether the calling thread leads: it was interrupted in `wait`. No lock needed."""
        return self._leader == threading.get_ident()

    def refuse_leader(self) -> None:
        """Raises `RuntimeError` if the calling thread leads. No lock needed."""
        if self.leads():  # guard: a signal handler above a caller that leads does not wait for it
            raise reentered()

    def add(self, record: Record) -> None:
        """Add a record. If the log has failed it goes nowhere."""
        if self.failure is None:
            self._open.records.append(record)
            if self._write_due == NEVER:
                self._write_due = self._monotonic() + self._linger
                self._wake_for(self._write_due)

    def add_all(self, records: Sequence[Record]) -> None:
        """Add records that belong together: all of them, or none if this is broken off."""
        if self.failure is None:
            self._open.records += records  # one step
            if self._write_due == NEVER:
                self._write_due = self._monotonic() + self._linger
                self._wake_for(self._write_due)

    def commit(self, *, inline: bool = True) -> OpenBatch | None:
        """Bring what has been added to its level of durability, as far as no system call is needed.

        Args:
            inline: `False` if the records are known to be large.

        Returns:
            `None` if they are there and the owner knows; else the batch to `wait` for, without
            the lock.
        """
        batch = self._open
        if self.is_async:
            count = len(batch.records)
            self._on_durable(batch.records[batch.told : count], None, False)
            batch.told = count
            return None
        if self._is_fsync:
            batch.awaited = True
            if inline:
                return batch  # `wait` sees to it
        elif self._active.copied:  # a caller was interrupted
            self._tell_copied()
        if (
            inline
            and not batch.urgent
            # guard: nobody copies beside the log's thread
            #   without:
            and self._writing is None
            and self.failure is None
            and self._active.copy(batch)
        ):
            self.refusal = None
            self._tell_copied()
            return None
        batch.urgent = True
        self._work.notify()
        return batch

    def hurry(self) -> None:
        """Bring what has been added to its level of durability, though no call waits for it."""
        if self._is_fsync:
            self._open.awaited = True
        self.commit(inline=not self._is_fsync)

    def holds(self, number: int) -> bool:
        """Whether the `Enqueued` of this job was added, and the owner has yet to be told of it."""
        writing = () if self._writing is None else self._writing.records
        for record in (*self._open.records, *self._active.copied, *writing):
            if type(record) is Enqueued and record.job == number:
                return True
        return False

    def batch_with(self, number: int) -> OpenBatch | None:
        """The batch that this job's `Enqueued` is on its way in; `None`: it has been told of."""
        for batch in (self._writing, self._open):
            if batch is not None and any(
                type(each) is Enqueued and each.job == number for each in batch.records
            ):
                return batch
        return None

    def ends_with(self, record: Record) -> bool:
        """Whether this very record was the last to be added, and has yet to be told of."""
        added = self._open.records or self._active.copied
        return bool(added) and added[-1] is record

    @property
    def waiting_records(self) -> int:
        """How many records no thread has begun to write."""
        return len(self._open.records)

    def stats(self) -> LogStats:
        """Figures for the metrics."""
        return self._active.stats(self.waiting_records, self.failure or self.refusal)

    # ── callers' threads, without the lock ───────────────────────────────────────────────────

    def wait(self, batch: OpenBatch, number: int = 0) -> None:
        """Wait until the batch is done; see `OpenBatch.wait`."""
        if not (self._is_fsync and self._lead(batch)):
            batch.wait(self._lock, self._new_parker(), number=number)

    def hand_over(self, batch: OpenBatch, waiter: Waiter) -> bool:
        """Have the log's thread see to a batch and wake `waiter` then; `False`: it is done.

        For callers that must not sleep, nor make a system call that takes its time.
        """
        with self._lock:
            if batch.done:
                return False
            batch.waiters.append(waiter)
            batch.urgent = True
            self._work.notify()
            return True

    def _lead(self, batch: OpenBatch) -> bool:
        """Bring the batch to the disk on its caller's thread, if no other thread is at it.

        Returns:
            Whether it is there; otherwise the log's thread sees to it.
        """
        me = threading.get_ident()
        try:
            with self._lock:
                if not self._take_lead(batch, me):
                    return False
            # guard: acknowledgement by a caller that leads only after its fdatasync
            self._active.sync()
            self._synced()
        except FsyncError:  # the segment knows, and the log's thread tells all
            return False
        else:
            return batch.error is None  # the log's thread may have died meanwhile
        finally:
            if self._leader == me:
                # guard: a caller that led and was interrupted hands over to the log's thread
                self._leader = None  # at once: from here on it is the log's thread's
                with self._lock:
                    self._work.notify()

    def _take_lead(self, batch: OpenBatch, me: int) -> bool:
        """With the lock: copy the batch into the log; `False` if the log's thread has to do it."""
        if batch is not self._open or batch.urgent:
            return False
        # guard: no caller leads beside the log's thread
        #   without: is_free = self._writing is None
        is_free = self._leader is None and self._writing is None
        if is_free and not (self._flushes or self._closing or self.failure):
            rest = OpenBatch()
            self._leader, self._writing, self._open = me, batch, rest
            if self._active.copy(batch):
                self._write_due = NEVER
                self.refusal = None
                return True
            self._leader, self._writing, self._open = None, None, batch
        batch.urgent = True
        self._work.notify()
        return False

    def why_unwritten(self) -> str:
        """Why there still are records that are not in the log, after its end. With the lock."""
        cause = self.failure or self.refusal
        if cause is None:
            return "the log's thread did not get to it in time"
        return cause.strerror or str(cause)

    def loss(self, jobs: int) -> LogWriteError:
        """The error that tells that so many accepted jobs are not in the log. With the lock."""
        cause = self.failure or self.refusal
        number = errno.EIO if cause is None else cause.errno
        count = f"{jobs} accepted {'job is' if jobs == 1 else 'jobs are'} lost"
        error = LogWriteError(number, f"{count}, for {self.why_unwritten()}", self._directory)
        error.__cause__ = cause
        return error

    def flush(self) -> None:
        """Return when everything added so far is fsynced. Without the lock.

        Raises:
            LogWriteError: that could not be done.
        """
        request = OpenBatch()
        with self._lock:
            if self.failure is not None:
                raise again(self.failure)
            if self._closing:
                request = self._end_of_all
            else:
                self._flushes.append(request)
                self._work.notify()
        self.wait(request)

    def close(self, timeout: float) -> bool:
        """Write and fsync what is open, seal the segment, end the thread. Without the lock.

        Half of the time is for accepted jobs that find the disk full; the thread goes on after it.

        Returns:
            Whether that is done: nothing touches the log any more.
        """
        with self._lock:
            self._closing = True
            self._give_up_at = self._monotonic() + timeout / 2
            self._work.notify()
        self._upkeep.compactor.stop(0.0)
        if self._thread.ident is None:  # it was never started
            self._end()
        self._end_of_all.wait(self._lock, self._new_parker(), timeout)
        if self._end_of_all.done and self._thread.ident is not None:
            self._thread.join(timeout)  # not alone: interrupted, it takes the thread for ended
        return self._end_of_all.done
