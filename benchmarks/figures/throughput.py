"""Jobs a second, end to end: by durability, by producers, in batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from unittest.mock import patch

from benchmarks import loads
from benchmarks.loads import PAYLOAD, config_for, drive, drive_in_batches
from benchmarks.measure import Figure, Findings, Samples, alternate, rate, scratch
from jobqueue.final.config import Durability
from jobqueue.final.wal.files import Files

JOBS = 10_000
BATCH = 100
ROUNDS = 7
LEVELS: dict[str, Durability | None] = {
    "memory": None,
    "async": "async",
    "write": "write",
    "fsync": "fsync",
}
JOBS_FSYNCED = {1: 1_500, 4: 3_000, 64: 6_400}
"""By producers: what is fsynced one by one is slow."""

EXECUTOR = "ThreadPoolExecutor"
QUEUE = "queue.Queue(1000)"
SIMPLE_QUEUE = "queue.SimpleQueue"
BARE_FSYNC = "write + fdatasync, no queue"

Contenders = dict[str, Callable[[], float]]


def producers() -> Findings:
    """Memory and each level of durability with 1, 4 and 64 producers, against the yardsticks."""
    with new_paths() as paths:
        one, four, many = (alternate(_contenders(each, paths), ROUNDS) for each in (1, 4, 64))
    return Findings(
        [
            _figure("in memory", one, "memory", EXECUTOR, 2.6),
            _figure("in memory", one, "memory", QUEUE, None),
            _figure("in memory, 4 producers", four, "memory", EXECUTOR, 2.5),
            _figure("in memory, 64 producers", many, "memory", EXECUTOR, 4),
            _figure('"async" log, flushed', one, "async", "memory", None),
            _figure('"write" log', one, "write", EXECUTOR, 1.2),
        ],
        {"throughput": {"1": _medians(one), "4": _medians(four), "64": _medians(many)}},
    )


def _contenders(producers: int, paths: Iterator[Path]) -> Contenders:
    def yardstick(load: loads.Load) -> Callable[[], float]:
        return lambda: rate(JOBS, lambda: load(JOBS, producers))

    def ours(level: Durability | None) -> Callable[[], float]:
        jobs = JOBS_FSYNCED[producers] if level == "fsync" else JOBS
        return lambda: rate(jobs, lambda: drive(config_for(level, next(paths)), jobs, producers))

    return {
        EXECUTOR: yardstick(loads.executor),
        QUEUE: yardstick(loads.bare_queue),
        SIMPLE_QUEUE: yardstick(loads.bare_simple_queue),
        **{name: ours(level) for name, level in LEVELS.items()},
    }


def batches() -> Findings:
    """`enqueue_many` of 100, by durability."""
    with new_paths() as paths:

        def ours(level: Durability | None) -> Callable[[], float]:
            return lambda: rate(
                JOBS, lambda: drive_in_batches(config_for(level, next(paths)), JOBS, BATCH)
            )

        samples = alternate({name: ours(level) for name, level in LEVELS.items()}, ROUNDS)
    return Findings(
        [
            _figure('"write" log, batches of 100', samples, "write", "memory", 0.75),
            _figure('"fsync" log, batches of 100', samples, "fsync", "memory", 0.6),
        ],
        {"batches of 100": _medians(samples)},
    )


def group_commit() -> Findings:
    """How many producers share an fsync, against one producer and against no queue at all."""
    jobs_per_sync: list[float] = []

    with new_paths() as paths:

        def many() -> float:
            jobs = JOBS_FSYNCED[64]
            with counted_syncs() as syncs:
                result = rate(jobs, lambda: drive(config_for("fsync", next(paths)), jobs, 64))
            jobs_per_sync.append(jobs / len(syncs))
            return result

        def one() -> float:
            jobs = JOBS_FSYNCED[1]
            return rate(jobs, lambda: drive(config_for("fsync", next(paths)), jobs))

        def bare() -> float:
            return rate(JOBS_FSYNCED[1], lambda: write_and_sync(next(paths), JOBS_FSYNCED[1]))

        samples = alternate({"64 producers": many, "1 producer": one, BARE_FSYNC: bare}, ROUNDS)
    shared = Samples({"": jobs_per_sync}).median("")
    return Findings(
        [
            Figure('"fsync" log, 64 producers: jobs per fdatasync', shared, 24, unit=""),
            _figure('"fsync" log, 64 producers', samples, "64 producers", "1 producer", 5),
            _figure('"fsync" log', samples, "1 producer", BARE_FSYNC, 0.85),
        ],
        {"fsync": _medians(samples)},
    )


@contextmanager
def counted_syncs() -> Iterator[list[int]]:
    """The descriptors that logs have the disk keep while the block runs, one by one."""
    real = Files.sync
    syncs: list[int] = []

    def counting(files: Files, fd: int) -> int:
        syncs.append(fd)
        return real(files, fd)

    with patch.object(Files, "sync", counting):
        yield syncs


def write_and_sync(path: Path, jobs: int) -> None:
    """What putting each payload on the disk costs by itself."""
    line = PAYLOAD + b"\n"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for _ in range(jobs):
            os.write(fd, line)
            os.fdatasync(fd)
    finally:
        os.close(fd)


@contextmanager
def new_paths() -> Iterator[Iterator[Path]]:
    """Paths on the disk that are not there yet, one for each log; removed at the end."""
    with scratch() as directory:
        yield map(directory.joinpath, map(str, count()))


def _medians(samples: Samples) -> dict[str, float]:
    return {name: samples.median(name) for name in samples}


def _figure(what: str, samples: Samples, ours: str, other: str, wanted: float | None) -> Figure:
    detail = f"{samples.median(ours):,.0f} against {samples.median(other):,.0f} jobs/s"
    return Figure(f"{what}, against {other}", samples.ratio(ours, other), wanted, detail=detail)
