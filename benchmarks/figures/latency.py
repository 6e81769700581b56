"""From the call of `enqueue` to the start of the handler, while jobs come at a steady pace."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.loads import WORKERS, config_for
from benchmarks.measure import Figure, Findings, Samples, scratch
from jobqueue.final import Job, JobQueue
from jobqueue.final.config import Durability

JOBS_PER_SECOND = 5_000
SECONDS = 2.0
TURNS = 5  # ten seconds each, all in all
QUANTILES = [each / 1000 for each in range(1000)] + [0.9995, 0.9999]

_STAMP = struct.Struct("d")

Enqueue = Callable[[bytes], object]
Seconds = list[float]


class Stamps:
    """A handler whose payload says when it was enqueued."""

    def __init__(self) -> None:
        self.waits: Seconds = []

    def __call__(self, payload: bytes) -> None:
        self.waits.append(time.perf_counter() - _STAMP.unpack(payload)[0])


def latency() -> Findings:
    """Memory and "write" log, against ThreadPoolExecutor."""
    contenders = {"ThreadPoolExecutor": _executor, "memory": _ours(None), "write": _ours("write")}
    waits: dict[str, list[Seconds]] = {name: [] for name in contenders}
    for turn in range(TURNS + 1):
        for name, opened in contenders.items():
            measured = _paced(opened)
            if turn:  # the first warms up
                waits[name].append(measured)
    return Findings(
        [
            figure
            for name in ("memory", "write")
            for figure in _figures(name, waits[name], waits["ThreadPoolExecutor"])
        ],
        {"latency": {name: _distribution(turns) for name, turns in waits.items()}},
    )


def _figures(name: str, ours: list[Seconds], other: list[Seconds]) -> Iterator[Figure]:
    goals = {"p50": 1.0 if name == "memory" else 1.4, "p99": None}
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        samples = Samples(
            ours=[quantile(turn, share) for turn in ours],
            other=[quantile(turn, share) for turn in other],
        )
        mine, others = samples.median("ours") * 1e3, samples.median("other") * 1e3
        where = "in memory" if name == "memory" else f'"{name}" log'
        yield Figure(
            f"latency at {JOBS_PER_SECOND:,} jobs/s, {where}, {label}, against ThreadPoolExecutor",
            samples.ratio("ours", "other"),
            goals[label],
            at_most=True,
            detail=f"{mine:.3f} against {others:.3f} ms",
        )
    yield Figure(
        f"latency at {JOBS_PER_SECOND:,} jobs/s, {where}, p99", mine, 0.1, at_most=True, unit="ms"
    )


def _distribution(turns: list[Seconds]) -> list[tuple[float, float]]:
    together = [wait for turn in turns for wait in turn]
    return [(share, quantile(together, share)) for share in QUANTILES]


def quantile(values: Seconds, share: float) -> float:
    """The smallest value that is not exceeded by that share of them."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _paced(opened: Callable[[Stamps], Iterator[Enqueue]]) -> Seconds:
    """Offer jobs at a steady pace; after falling behind, catch up."""
    stamps = Stamps()
    jobs = round(JOBS_PER_SECOND * SECONDS)
    with contextmanager(opened)(stamps) as enqueue:
        start = time.perf_counter()
        for number in range(jobs):
            early = start + number / JOBS_PER_SECOND - time.perf_counter()
            if early > 0:
                time.sleep(early)
            enqueue(_STAMP.pack(time.perf_counter()))
    assert len(stamps.waits) == jobs
    return stamps.waits


def _executor(handler: Stamps) -> Iterator[Enqueue]:
    with ThreadPoolExecutor(WORKERS) as pool:
        yield lambda payload: pool.submit(handler, payload)


def _ours(level: Durability | None) -> Callable[[Stamps], Iterator[Enqueue]]:
    def opened(handler: Stamps) -> Iterator[Enqueue]:
        with scratch() as directory:
            config = config_for(level, Path(directory) / "log")
            with JobQueue(config, handler=handler) as jq:
                yield lambda payload: jq.enqueue(Job(payload))
                jq.join()

    return opened
