"""The active segment, the log's end: how far it is written and fsynced, and how it is sealed.

Guarantees: `number` and `synced` tell the truth whenever the lock is free. Numbers go up by one a
batch, across segments.
Relies on: `lock` of the writer. It is held for `copy`; everything else is called without it, by
one thread at a time, and makes system calls: the log's, or for `sync` a caller that leads. While
that thread appends, no other calls `copy`.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from typing import TYPE_CHECKING

from ...errors import LogWriteError
from ..appender import open_appender
from ..files import path_in
from ..format.base import HAVE_MSGSPEC
from ..format.codec import BATCH_BYTES_MAX, UnencodableError, encode_batch, encode_header
from ..libc import error_of
from ..names import segment_name
from ..reading.closed import write_closed
from ..room import Room
from .batch import FSYNC_BOUNDS, LogStats, is_joined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import RLock

    from ..appender import Appender
    from ..files import Files, Problem
    from ..format.record import Record
    from .batch import LogOptions, OpenBatch

INLINE_BYTES_MAX = 256 * 1024
INLINE_RECORDS_MAX = 2_000 if HAVE_MSGSPEC else 200
"""A larger batch is the log's thread's: the lock is held for as long as one is encoded."""


class ActiveSegment:
    """The segment that batches are appended to, and its successors.

    Raises:
        OSError: the first segment cannot be started.
    """

    def __init__(
        self,
        files: Files,
        directory: str,
        options: LogOptions,
        lock: RLock,
        monotonic: Callable[[], float],
        room: Room | None = None,
    ) -> None:
        self.room = Room(files, directory) if room is None else room
        self._files = files
        self._directory = directory
        self._lock = lock
        self._monotonic = monotonic
        self._segment_bytes = options.segment_bytes
        self._mapped = options.durability != "async"  # which has large batches, and no hurry
        self._map_log = options.map_log
        self.segment = options.segment
        """Number of the active segment."""
        self.sealed_bytes = options.bytes_before
        self.sealed_files = options.files_before
        self.on_sealed: Callable[[], None] = _nothing
        """Called when the active segment is sealed and no other is begun; without the lock."""
        self._is_sealed = False  # the active segment, while the next one cannot be started
        self.number = options.batch
        """Of the last batch written."""
        self.synced = options.batch
        """Of the last batch known to be fsynced."""
        self.unsynced_records = 0
        self.batches = 0
        self.fsyncs = 0
        self.last_fsync_seconds = 0.0
        self.fsync_seconds = 0.0
        self.fsyncs_by_time = [0] * (len(FSYNC_BOUNDS) + 1)
        self.fsync_errno = 0
        """Why an fsync failed; the kernel would not tell of it twice."""
        self._appender: Appender = self._start(self.segment)
        self._header_bytes = self._appender.position

    def stats(self, waiting_records: int, error: LogWriteError | None) -> LogStats:
        """Figures for the metrics; `waiting_records` have not been written yet."""
        return LogStats(
            bytes=self.bytes,
            batches=self.batches,
            fsyncs=self.fsyncs,
            last_fsync_seconds=self.last_fsync_seconds,
            lag_records=self.unsynced_records + waiting_records,
            error=None if error is None else str(error),
            fsync_seconds=self.fsync_seconds,
            fsyncs_by_time=tuple(self.fsyncs_by_time),
        )

    def copy(self, batch: OpenBatch) -> bool:
        """With the lock: store the batch in the segment, if that hands over to no other thread.

        That is a copy into the segment's map, or one call that keeps the GIL. Then the batch is
        empty again, and its records are in `copied`. If the call fails the batch is the log's
        thread's, which cuts off what is left of it, tries again, and tells why it cannot.
        """
        appender = self._appender
        window = appender.window
        if self._is_sealed or self.room.is_short or appender.is_torn:
            return False
        if len(batch.records) > INLINE_RECORDS_MAX:
            return False
        number = self.number + 1
        try:
            data = encode_batch(batch.records, number, self.synced)
        except UnencodableError:
            return False  # the log's thread sorts it out
        size = len(data)
        end = appender.position + size
        if size > INLINE_BYTES_MAX or end > self._segment_bytes:
            return False
        count = len(batch.records)
        empty: list[Record] = []
        if window.is_memory:
            place = window.place(appender.position, size)
            if place is None:
                return False
            memory, start = place
            stop = start + size
            # No call from here on. So an asynchronous exception finds the batch in the log, with
            # all that tells of it, or not there, and nothing between.
            memory[start:stop] = data
        else:
            appender.is_torn = True  # until it is known that all of the batch is there
            if not window.store_now(appender.position, data):
                return False
            # No call from here on, likewise.
            appender.is_torn = False
        appender.position = end
        self.number = number
        self.batches += 1
        self.unsynced_records += count
        self.copied = batch.records
        batch.records = empty
        return True

    copied: Sequence[Record] = ()
    """What `copy` copied last and its caller has not told the owner of yet."""

    def write(self, records: Sequence[Record]) -> None:
        """Append a batch, in a new segment if this one is full.

        Records that are more than any reader takes for one batch become several.

        Raises:
            UnencodableError: some records cannot be encoded; nothing was written.
            OSError: as on a full disk; nothing of the batch is left.
            LogWriteError: some of it may be left, or an fsync failed: the end of this log.
        """
        data = encode_batch(records, self.number + 1, self.synced)
        if len(data) > BATCH_BYTES_MAX and _middle(records):
            self._write_halves(records)
            return
        end = self._appender.position + len(data)
        is_full = end > self._segment_bytes and self._appender.position > self._header_bytes
        if is_full or self._is_sealed:
            self._next_segment()
            data = encode_batch(records, self.number + 1, self.synced)
        self._append(data, len(records))

    def encoded(self, records: Sequence[Record]) -> bytes:
        """Return about what `write` would write.

        Raises:
            UnencodableError: some records cannot be encoded.
        """
        return encode_batch(records, self.number + 1, self.synced)

    def free_bytes(self) -> int:
        """Return how many bytes are free where the log is."""
        return self._files.free(self._directory)[0]

    def _write_halves(self, records: Sequence[Record]) -> None:
        middle = _middle(records)
        self.write(records[:middle])
        try:
            self.write(records[middle:])
        except LogWriteError:
            raise
        except OSError as error:
            raise LogWriteError(
                error.errno, f"half of a large batch could not be written: {error}", self._directory
            ) from error

    def _append(self, data: bytes, records: int) -> None:
        if not self._appender.fits(len(data)):
            self._appender.reserve(len(data))
        self._appender.append(data)
        with self._lock:
            self.number += 1
            self.batches += 1
            self.unsynced_records += records

    def sync(self) -> None:
        """Fsync what is written.

        Raises:
            FsyncError: it failed, or one before did, so that nobody can tell what is on the disk.
        """
        if self.fsync_errno:
            raise FsyncError(self.fsync_errno)
        with self._lock:
            number, records = self.number, self.unsynced_records
        start = self._monotonic()
        # guard: a failed fsync is remembered
        #   without: if number := self._appender.sync():
        #   without:     raise FsyncError(number)
        self.fsync_errno = self._appender.sync()  # at once: no interruption of a caller hides it
        if self.fsync_errno:
            raise FsyncError(self.fsync_errno)
        seconds = self._monotonic() - start
        with self._lock:
            self.synced = number
            self.unsynced_records -= records
            self.fsyncs += 1
            self.last_fsync_seconds = seconds
            self.fsync_seconds += seconds
            self.fsyncs_by_time[bisect_left(FSYNC_BOUNDS, seconds)] += 1

    @property
    def bytes(self) -> int:
        """Size of all files of the log, as far as they are written."""
        return self.sealed_bytes + self._appender.position

    def rotate(self) -> None:
        """Start the next segment if there is a batch in this one, for a compaction; see `write`.

        Relies on: the log is short, so that no caller copies meanwhile.
        """
        if self._appender.position > self._header_bytes or self._is_sealed:
            self._next_segment()

    def _next_segment(self) -> None:
        """Seal the active segment and start another.

        The header of the new one says that all before it is on the disk; that is so by then. It
        may be on the disk too, even if it could not be started and was unlinked: so a sealed
        segment takes no more batches.
        """
        self.seal()
        self.on_sealed()
        sealed = self._appender
        appender = self._start(self.segment + 1)
        with self._lock:
            self._is_sealed = False
            self.segment += 1
            self.sealed_bytes += sealed.position
            self.sealed_files += 1
            self._appender = appender
        sealed.finish()

    def _start(self, segment: int) -> Appender:
        header = encode_header(segment, self.number + 1)
        return open_appender(
            self._files,
            self._path_of(segment),
            header,
            mapped=self._mapped,
            map_log=self._map_log,
        )

    def _path_of(self, segment: int) -> str:
        return path_in(self._directory, segment_name(segment))

    def seal(self) -> None:
        """Fsync all, and write that down in a batch of its own."""
        if self._is_sealed:
            with contextlib.suppress(FileNotFoundError):  # what the last attempt may have left
                self._files.unlink(self._path_of(self.segment + 1))
            return
        self.sync()  # guard: first fsync of sealing
        self._append(encode_batch([], self.number + 1, self.synced), 0)
        self.sync()  # guard: second fsync of sealing
        self._is_sealed = True

    def astray(self) -> Problem | None:
        """Tell what has become of the log, if its path, lock or end is no longer in its place."""
        return self._appender.astray()

    def compacted(self, files: int, bytes_before: int, bytes_after: int) -> None:
        """A snapshot has replaced so many sealed files. Any thread, without the lock."""
        with self._lock:
            self.sealed_bytes += bytes_after - bytes_before
            self.sealed_files += 1 - files

    def finish(self) -> None:
        """Cut the active segment to its length, fsync and close it. Nothing may follow."""
        self._appender.finish()

    def write_closed(self) -> None:
        """Write down how far the log goes; after `finish`."""
        write_closed(self._files, self._directory, self.segment, self.number)

    def discard(self) -> None:
        """Close the active segment, in which there are no batches, and remove it."""
        self._appender.abandon()
        with contextlib.suppress(OSError):  # then it stays, and does no harm
            self._files.unlink(self._path_of(self.segment))
            self._files.sync_directory(self._directory)

    def abandon(self) -> None:
        """Close the active segment as it is. Nothing may follow."""
        self._appender.abandon()


def _middle(records: Sequence[Record]) -> int:
    """How many of the records may be written by themselves, about half; 0 for none."""
    half = len(records) // 2
    places = [*range(half, 0, -1), *range(half + 1, len(records))]
    return next((each for each in places if not is_joined(records, each)), 0)


def _nothing() -> None:
    """Nobody wants to know."""


class FsyncError(Exception):
    """An fsync failed.

    Attributes:
        error: the same as an `OSError`.
    """

    def __init__(self, number: int) -> None:
        self.error = error_of(number)
        super().__init__(self.error)
