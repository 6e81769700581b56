"""Writes logs of any size, batch by batch as a queue would, and reads them as plain JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jobqueue.final.wal.format.codec import encode_batch, encode_header
from jobqueue.final.wal.format.record import Completed, Enqueued, Record
from jobqueue.final.wal.names import segment_name

from .loads import PAYLOAD

SEGMENT_BYTES = 64 << 20
JOBS_IN_BATCH = 100
SECONDS_TO_ENQUEUE = 2e-5
START = 1_764_000_000.0


def write_log(directory: Path, jobs: int, *, finished: bool) -> Path:
    """Write a log of so many jobs, each of which completed in the batch after its own."""
    directory.mkdir(mode=0o700)
    segment = 0
    size = SEGMENT_BYTES
    file = None
    for number, records in enumerate(_batches(jobs, finished=finished), start=1):
        if size >= SEGMENT_BYTES:
            if file is not None:
                file.close()
            segment += 1
            file = (directory / segment_name(segment)).open("wb")
            size = file.write(encode_header(segment, number))
        assert file is not None
        size += file.write(encode_batch(records, number, number - 1))
    if file is not None:
        file.close()
    return directory


def _batches(jobs: int, *, finished: bool) -> Iterator[Sequence[Record]]:
    ended: list[Record] = []
    for first in range(1, jobs + 1, JOBS_IN_BATCH):
        numbers = range(first, min(first + JOBS_IN_BATCH, jobs + 1))
        yield [*map(_enqueued, numbers), *ended]
        ended = [_completed(number) for number in numbers] if finished else []
    yield ended


def _enqueued(number: int) -> Enqueued:
    created = START + number * SECONDS_TO_ENQUEUE
    return Enqueued(number, f"job-{number}", 1, created, payload=PAYLOAD.decode())


def _completed(number: int) -> Completed:
    started = START + number * SECONDS_TO_ENQUEUE + 1e-3
    return Completed(number, started + 1e-5, started, 0)


def decode_all(directory: Path) -> None:
    """One pass of msgspec through all lines: what reading a log costs at the very least."""
    from msgspec import json  # not to be had for each Python that runs the other benchmarks

    decode = json.Decoder().decode
    for path in sorted(directory.glob("*.jsonl")):
        with path.open("rb") as lines:
            for line in lines:
                if line[0]:  # the end of an active segment is reserved space, NULs
                    decode(line)


def size_of(directory: Path) -> int:
    """Bytes in the log's segments."""
    return sum(path.stat().st_size for path in directory.glob("*.jsonl"))
