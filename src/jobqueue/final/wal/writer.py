"""Group commit: records gather in the open batch, and one write carries them all.

A record is added under the same lock that guards the change it tells of, so that the log's order
is the order of the changes. Where the segment is a shared map, a caller's thread then copies the
batch into it by itself (`commit_inline`: no system call, so nothing to wait for). Everything else
(writes, fsyncs, sealing, reserving room ahead) is done by one thread, which never sees a signal.

Guarantees: a batch is settled (`settle` called, its waiters woken) exactly once, after it reached
the level of durability; a caller that is interrupted anywhere loses nothing, since what it left
in the open batch is carried by the next commit. After a failed fsync nothing is written any more.
Relies on: `lock`, an RLock of the owner, held by the caller of every method that says so.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Literal, Protocol

from ..errors import LogWriteError
from .codec import encode_batch, encode_header
from .segment import open_appender, segment_name

if TYPE_CHECKING:
    from _thread import RLock
    from collections.abc import Callable

    from .files import Files
    from .record import Record
    from .segment import Appender

ASYNC_LINGER_SECONDS = 0.002
RETRY_SECONDS = 0.1
INLINE_BYTES_MAX = 64 * 1024
OPEN_RECORDS_MAX = 50_000


class Settle(Protocol):
    """What the owner does with the items of a batch that is done. Called with the lock held."""

    def __call__(self, items: list[object], error: LogWriteError | None, /) -> None: ...


class OpenBatch:
    """The records that go to the kernel together, and who waits for them.

    Its lock is the writer's; `wait` is called without it.
    """

    __slots__ = ("done", "error", "items", "records", "urgent", "waiters")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.items: list[object] = []
        """What the owner handed in with those records that somebody waits for."""
        self.waiters: list[threading.Lock] = []
        self.urgent = False
        """Whether somebody waits, so that it is not to linger."""
        self.done = False
        self.error: LogWriteError | None = None


class LogWriter:
    """Writes one log. See the module for what is called by whom.

    Args:
        files: the file system.
        directory: the log's directory, locked by the caller.
        lock: guards the open batch and all else in here but the appender; held by the caller of
            `add`, `open_batch`, `commit_inline`, `stats`.
        settle: told of each item when its batch is done.
        failed: told once, without the lock, when the log has failed for good.
        monotonic: real time, in seconds.
        segment: number of the first segment to open.
        batch: number of the last batch in the log.
    """

    def __init__(
        self,
        files: Files,
        directory: str,
        *,
        lock: RLock,
        settle: Settle,
        failed: Callable[[LogWriteError], None],
        monotonic: Callable[[], float],
        durability: Literal["async", "write", "fsync"],
        fsync_interval: float,
        segment_bytes: int,
        segment: int,
        batch: int,
        sealed_bytes: int,
    ) -> None:
        self._files = files
        self._directory = directory
        self._lock = lock
        self._work = threading.Condition(lock)  # notified when the thread has something to do
        self._settle = settle
        self._failed = failed
        self._monotonic = monotonic
        self._durability = durability
        self._fsync_interval = fsync_interval
        self._segment_bytes = segment_bytes
        self._linger = ASYNC_LINGER_SECONDS if durability == "async" else fsync_interval
        self._segment = segment
        self._number = batch  # of the last batch that was written
        self._synced = batch  # of the last batch known to be fsynced
        self._unsynced_records = 0
        self._open = OpenBatch()
        self._writing: OpenBatch | None = None  # while set, the thread has the appender to itself
        self._flush_to = 0  # fsync at least up to this batch, soon
        self._write_due: float | None = None  # when the open batch is written at the latest
        self._sync_due: float | None = None  # when what is written is fsynced at the latest
        self._flushers: list[tuple[int, threading.Lock]] = []
        self._asleep = False
        self._closing = False
        self.closed = False
        self.failure: LogWriteError | None = None
        """Why the log has failed for good."""
        self.refusal: LogWriteError | None = None
        """Why the last batch could not be written; cleared by the next that can."""
        self._sealed_bytes = sealed_bytes
        self._batches = 0
        self._fsyncs = 0
        self._last_fsync_seconds = 0.0
        self._appender: Appender = self._open_segment()
        self._thread = threading.Thread(target=self._run, name="jobqueue-log", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    # Callers' threads, with the lock held.

    def add(self, record: Record) -> None:
        """Add a record that nobody waits for."""
        self._open.records.append(record)
        if self._write_due is None:
            self._schedule_write()

    def add_waited(self, record: Record, item: object) -> OpenBatch:
        """Add a record that somebody waits for; `item` is settled with it.

        Call `commit_inline` next, and where that returns `False`, `wait` without the lock.

        Raises:
            LogWriteError: the log has failed, or cannot take more for now.
        """
        self.check()
        batch = self._open
        batch.items.append(item)
        batch.records.append(record)  # last: this makes the item part of the batch
        return batch

    def check(self) -> None:
        """Raises `LogWriteError` where a new record would not be taken."""
        if self.failure is not None:
            raise self.failure
        if self._closing:
            raise LogWriteError(errno.EBADF, "the log is closed")
        if self.refusal is not None and self._durability == "async":
            raise self.refusal

    def commit_inline(self) -> bool:
        """Copy the open batch into the map, where that needs no system call.

        Returns:
            Whether the batch is done. If not it is the thread's to write, and is marked so.
        """
        if self._durability == "async":
            return self._commit_later()
        if self._durability == "write" and self._writing is None and self.failure is None:
            batch = self._open
            data = encode_batch(batch.records, self._number + 1, self._synced)
            appender = self._appender
            if (
                len(data) <= INLINE_BYTES_MAX
                and appender.fits(len(data))
                and appender.position + len(data) <= self._segment_bytes
            ):
                appender.append(data)
                self._committed(batch)
                return True
        self._open.urgent = True
        self._work.notify()
        return False
