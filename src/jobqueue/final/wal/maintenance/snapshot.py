"""Compaction: what is still needed of the sealed segments goes into one snapshot.

Safe to be killed at any step: the snapshot appears under its name only when it is whole and on
the disk. What it replaces is removed only after that. What is left over by a death in between
(a temporary file, replaced segments) is removed at the next start.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..files import directory_of, path_in
from ..format.codec import encode_batch, encode_header
from ..format.record import length_of
from ..names import list_log, snapshot_name
from ..reading.fold import LogState
from ..reading.replay import Replay
from ..room import RESERVE_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..files import Files
    from ..format.record import Record
    from ..room import Room

RECORDS_PER_BATCH = 500
PAYLOAD_BYTES_PER_BATCH = 1 << 20
"""About: a batch is held in memory, and a reader takes one of absurd size for garbage."""

_FILES_TO_MERGE = 3


class CompactionStoppedError(Exception):
    """It was told to stop; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """What was done.

    Attributes:
        through: the last segment that the snapshot replaces.
        files: how many files it replaced.
        bytes_before: their size.
        bytes_after: size of the snapshot.
    """

    through: int
    files: int
    bytes_before: int
    bytes_after: int


def compact(
    files: Files,
    directory: str,
    through: int,
    status_retention: int,
    must_stop: Callable[[], bool] = lambda: False,
) -> Compaction:
    """Replace the segments up to `through`, all of them sealed, by one snapshot.

    Memory is that of the jobs that are unfinished, failed or retained.

    Args:
        status_retention: how many finished jobs the snapshot remembers.
        must_stop: asked after each batch.

    Raises:
        LogCorruptError: a segment is damaged; nothing was changed.
        OSError: as `ENOSPC`; nothing was changed.
        CompactionStoppedError: `must_stop` said so; nothing was changed.
    """
    state = LogState(status_retention)
    reading = Replay(files, directory, through)
    for records in reading:
        state.apply_all(records)
        _ask(must_stop)
    path = path_in(directory, snapshot_name(through))
    header = encode_header(through, 1, reading.last + 1)
    size = write_snapshot(files, path, header, state.records(), must_stop)
    removed = _remove_replaced(files, directory)
    return Compaction(through, len(removed), sum(removed), size)


def free_inodes(files: Files, directory: str, status_retention: int, room: Room) -> None:
    """If there are few inodes, have one file instead of all but the last one.

    Each start leaves a file, and needs some. If there is no room even for this, nothing happens.

    Relies on: the log is sound; what was torn is cut off, and nobody appends.
    """
    present = list_log(files, directory).files
    # guard: a start frees inodes if there are few
    #   without: if True:
    if len(present) < _FILES_TO_MERGE or files.has_inodes(directory, len(RESERVE_NAMES)):
        return
    through = present[-2].number
    with contextlib.suppress(OSError):
        room.provide(lambda: compact(files, directory, through, status_retention))


def _ask(must_stop: Callable[[], bool]) -> None:
    if must_stop():
        raise CompactionStoppedError


def write_snapshot(
    files: Files,
    path: str,
    header: bytes,
    records: Iterator[Record],
    must_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Write a snapshot of `records`, fsync, rename, fsync the directory; returns its size.

    Raises:
        OSError: as `ENOSPC`; the snapshot is not there.
        CompactionStoppedError: `must_stop` said so; neither is it then.
    """
    temporary = f"{path}.tmp"
    with contextlib.suppress(FileNotFoundError):
        files.unlink(temporary)  # of an attempt that found the disk full
    fd = files.create(temporary)
    try:
        size = _write_batches(files, fd, header, records, must_stop)
        files.sync_or_raise(fd)  # guard: fsync of a snapshot before its rename
    except BaseException:
        with contextlib.suppress(OSError):  # the failure that led here is the one to tell of
            files.unlink(temporary)
        raise
    finally:
        files.close(fd)
    files.rename(temporary, path)
    files.sync_directory(directory_of(path))  # guard: directory fsync after a snapshot's rename
    return size


def _write_batches(
    files: Files,
    fd: int,
    header: bytes,
    records: Iterator[Record],
    must_stop: Callable[[], bool],
) -> int:
    position = 0
    for data in encode_snapshot(header, records):
        files.write(fd, data, position)
        position += len(data)
        _ask(must_stop)
    return position


def encode_snapshot(header: bytes, records: Iterator[Record]) -> Iterator[bytes]:
    """Yield what stands in a snapshot: its header, and batches one by one."""
    yield header
    for number, batch in enumerate(_cut_into_batches(records), start=1):
        yield encode_batch(batch, number, number - 1)


def _cut_into_batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Batches that are neither long nor large; the empty one at the end is the mark of the end."""
    batch: list[Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += length_of(record)
        if len(batch) == RECORDS_PER_BATCH or size >= PAYLOAD_BYTES_PER_BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
    yield []


def _remove_replaced(files: Files, directory: str) -> list[int]:
    """Unlink what the snapshot has replaced; returns the sizes."""
    removed = []
    for path in list_log(files, directory).stale:
        if path.endswith(".tmp"):
            continue  # not ours: a start may be writing its slots just now
        removed.append(files.size_of(path))
        files.unlink(path)
    files.sync_directory(directory)
    return removed
