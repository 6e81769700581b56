"""Crowds: handlers of different lengths, from one producer to a thousand, beside the yardstick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import handlers, loads
from benchmarks.figures.throughput import EXECUTOR, LEVELS, new_paths
from benchmarks.handlers import Handler
from benchmarks.loads import config_for, drive
from benchmarks.measure import ROUNDS, Figure, Findings, Samples, alternate, seconds
from jobqueue.final.config import Durability

CROWDS = (1, 8, 64, 1_000)
CROWD_WORKERS = (4, 10)
CROWD_JOBS: dict[Handler, int] = {
    handlers.nothing: 20_000,
    handlers.compute_30_us: 50_000,
    handlers.compute_1_ms: 1_000,
}
"""The collapse that this is to tell of came with 50,000 jobs, and hardly with 30,000."""
JOBS_FSYNCED_MAX = 2_000
TIMES_MAX = 1.3


def crowds() -> Findings:
    """Time against `ThreadPoolExecutor`: every handler, workers, producers and log."""
    figures: list[Figure] = []
    times: dict[str, dict[str, float]] = {}
    with new_paths() as paths:
        for handler in CROWD_JOBS:
            for workers in CROWD_WORKERS:
                for producers in CROWDS:
                    name = f"{name_of(handler)}, {workers} workers, {_counted(producers)}"
                    samples = _turns(handler, workers, producers, paths)
                    times[name] = {each: samples.ratio(each, EXECUTOR) for each in LEVELS}
                    figures.append(_figure(name, samples))
    return Findings(figures, {"crowds": times})


def jobs_of(handler: Handler, level: str | None) -> int:
    """How many jobs one turn has: fewer if each is on the disk before the next."""
    jobs = CROWD_JOBS[handler]
    return min(jobs, JOBS_FSYNCED_MAX) if level == "fsync" else jobs


def name_of(handler: Handler) -> str:
    """A handler by what it does, as in `compute 30 us`."""
    return getattr(handler, "__name__", str(handler)).replace("_", " ")


def _counted(producers: int) -> str:
    return f"{producers:,} producers" if producers > 1 else "1 producer"


def _turns(handler: Handler, workers: int, producers: int, paths: Iterator[Path]) -> Samples:
    """Seconds a job."""
    jobs = CROWD_JOBS[handler]

    def ours(level: Durability | None) -> Callable[[], float]:
        count = jobs_of(handler, level)

        def run() -> None:
            drive(config_for(level, next(paths), workers), count, producers, handler)

        return lambda: seconds(run) / count

    def yardstick() -> float:
        return (
            seconds(lambda: loads.executor(jobs, producers, workers=workers, handler=handler))
            / jobs
        )

    contenders = {EXECUTOR: yardstick} | {name: ours(level) for name, level in LEVELS.items()}
    return alternate(contenders, ROUNDS, warm_up=False)


def _figure(name: str, samples: Samples) -> Figure:
    detail = (
        f"{samples.median('memory') * 1e6:,.1f} against {samples.median(EXECUTOR) * 1e6:,.1f} µs"
    )
    return Figure(
        f"{name}: time of a job in memory, against {EXECUTOR}",
        samples.ratio("memory", EXECUTOR),
        TIMES_MAX,
        at_most=True,
        detail=detail,
    )
