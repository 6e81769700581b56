"""A log of a million finished jobs opens in the memory of what is unfinished and retained.

In each run it is one of fewer jobs that is even larger.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from jobqueue.final.wal.format.codec import encode_batch, encode_header
from jobqueue.final.wal.format.record import Completed, Enqueued, Record
from jobqueue.final.wal.names import segment_name
from tests.support.children import run_json

JOBS_PER_BATCH = 1000
UNFINISHED = 5
RETENTION = 1000
BYTES_MAX = 48 << 20


def write_log(directory: Path, jobs: int, payload: str) -> int:
    """Write so many jobs that were completed, and a few that were not; returns its size."""
    directory.mkdir(mode=0o700)
    with (directory / segment_name(1)).open("wb") as file:
        file.write(encode_header(1, 1))
        for number, first in enumerate(range(1, jobs + 1, JOBS_PER_BATCH), start=1):
            records: list[Record] = []
            for job in range(first, first + JOBS_PER_BATCH):
                records.append(Enqueued(job, f"job-{job}", 1, 1.5, payload=payload))
                records.append(Completed(job, 3.5, 2.5, 0))
            file.write(encode_batch(records, number, number - 1))
        left: list[Record] = [
            Enqueued(jobs + n, f"left-{n}", 1, 1.5) for n in range(1, UNFINISHED + 1)
        ]
        file.write(encode_batch(left, number + 1, number))
        return file.tell()


@pytest.mark.slow
@pytest.mark.usefixtures("no_tracer")
@pytest.mark.timeout(600)  # the standard library's codec takes a minute, alone on the machine
@pytest.mark.parametrize(
    ("jobs", "payload_bytes"),
    [(250_000, 500), pytest.param(1_000_000, 50, marks=pytest.mark.daily)],
)
def test_a_log_of_a_million_finished_jobs_opens_in_little_memory(
    tmp_path: Path, jobs: int, payload_bytes: int
) -> None:
    """Fault 23 of docs/reliability.md."""
    size = write_log(tmp_path / "jobs.db", jobs, "x" * payload_bytes)

    found = run_json("open_and_measure", tmp_path / "jobs.db", RETENTION)

    assert found["known"] == RETENTION + UNFINISHED
    assert found["queued"] == UNFINISHED
    assert found["raised"] < BYTES_MAX < size / 3
