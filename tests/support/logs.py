"""Builds logs byte by byte, and reads them back, for tests that damage them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jobqueue.final.wal.appender import open_appender
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.format.codec import encode_batch, encode_header
from jobqueue.final.wal.format.record import Completed, Enqueued, Record
from jobqueue.final.wal.names import segment_name, snapshot_name
from jobqueue.final.wal.reading.cut import Torn, recover
from jobqueue.final.wal.reading.replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class HastyFiles(Files):
    """Does all but the waiting for the disk: for tests that open hundreds of logs."""

    def sync(self, fd: int) -> int:
        """Return at once."""
        return 0

    def sync_directory(self, path: str) -> None:
        """Return at once."""


@dataclass
class Image:
    """The bytes of a log file, and where each of its batches starts."""

    name: str
    data: bytes
    starts: list[int] = field(default_factory=list)

    def batch(self, index: int) -> bytes:
        """Return the bytes of one batch."""
        ends = [*self.starts[1:], len(self.data)]
        return self.data[self.starts[index] : ends[index]]

    def add(self, data: bytes) -> None:
        """Append a batch."""
        self.starts.append(len(self.data))
        self.data += data


def previous(number: int) -> int:
    """Tell of each batch that the one before it was fsynced."""
    return number - 1


def nothing(_number: int) -> int:
    """Tell of no batch that anything was fsynced."""
    return 0


def segment(
    number: int,
    first: int,
    batches: Sequence[Sequence[Record]],
    synced: Callable[[int], int] = previous,
) -> Image:
    """Return a segment that holds `batches`, numbered from `first` on."""
    image = Image(segment_name(number), encode_header(number, first))
    for index, records in enumerate(batches, start=first):
        image.add(encode_batch(records, index, synced(index)))
    return image


def snapshot(number: int, next_batch: int, batches: Sequence[Sequence[Record]]) -> Image:
    """Return a snapshot that holds `batches`, and the empty one at its end."""
    image = Image(snapshot_name(number), encode_header(number, 1, next_batch))
    for index, records in enumerate([*batches, []], start=1):
        image.add(encode_batch(records, index, 0))
    return image


def job(number: int) -> Enqueued:
    """Return a record of a job."""
    return Enqueued(number, f"job-{number}", 1, 1.5, payload=f"payload of {number}")


def done(number: int) -> Completed:
    """Return the record of its completion."""
    return Completed(number, 3.0, 2.0, 0)


@dataclass
class Reading:
    """What a replay found."""

    records: list[Record]
    last: int
    next_segment: int
    torn: Torn | None


@dataclass
class LogDirectory:
    """A directory with a log in it."""

    path: Path
    files: Files = field(default_factory=HastyFiles)

    def put(self, *images: Image) -> None:
        """Write files as they are, over what is there."""
        for image in images:
            (self.path / image.name).write_bytes(image.data)

    def content(self) -> dict[str, bytes]:
        """Return all files."""
        return {path.name: path.read_bytes() for path in self.path.iterdir()}

    def read(self) -> Reading:
        """Replay the log; raises `LogCorruptError`."""
        reading = replay(self.files, str(self.path))
        records = [record for records in reading for record in records]
        return Reading(records, reading.last, reading.next_segment, reading.torn)

    def open(self) -> Reading:
        """Replay the log and recover it, as a start does."""
        reading = self.read()
        recover(self.files, str(self.path), reading.torn)
        return reading

    def append(self, reading: Reading, *records: Record) -> None:
        """Start the next segment and write one batch into it, as a start does that follows."""
        number, first = reading.next_segment, reading.last + 1
        path = str(self.path / segment_name(number))
        appender = open_appender(self.files, path, encode_header(number, first), mapped=False)
        appender.append(encode_batch(records, first, reading.last))
        appender.finish()
