"""Throughput end to end: producers, workers, handlers, durability.

Compare the rows of one run only: machines differ, and the same machine from hour to hour.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Literal

import pytest

from benchmarks import handlers, loads
from benchmarks.conftest import Measure
from benchmarks.figures.crowds import CROWD_JOBS, CROWD_WORKERS, CROWDS, jobs_of
from benchmarks.handlers import Handler
from benchmarks.loads import Load
from jobqueue.final.config import Durability

JOBS = 10_000
JOBS_OF: dict[Handler, int] = {
    handlers.nothing: JOBS,
    handlers.compute_20_us: 5_000,
    handlers.sleep_1_ms: 500,
}
"""How many jobs take about half a second with one worker."""

TIERS = (loads.naive, loads.improved, loads.final)
YARDSTICKS = (loads.executor, loads.bare_queue)
LEVELS: tuple[Durability | None, ...] = (None, "async", "write", "fsync")

SLOW_LEVELS = [pytest.param(level, marks=pytest.mark.slow) for level in LEVELS if level]


SOME_CROWDS = [
    pytest.param(
        producers,
        id=f"{producers}-producers",
        marks=[pytest.mark.daily] if 1 < producers < max(CROWDS) else [],
    )
    for producers in CROWDS
]


def name(value: object) -> str:
    return "memory" if value is None else getattr(value, "__name__", str(value))


@pytest.mark.benchmark(group="producers, four workers")
@pytest.mark.parametrize("producers", [1, 4, 64], ids="{}-producers".format)
@pytest.mark.parametrize("load", [*YARDSTICKS, *TIERS], ids=name)
def test_producers(measure: Measure, load: Load, producers: int) -> None:
    measure(lambda jobs: load(jobs, producers), JOBS)


@pytest.mark.benchmark(group="handlers and workers")
@pytest.mark.parametrize("workers", [1, 2, 4, 16], ids="{}-workers".format)
@pytest.mark.parametrize("handler", JOBS_OF, ids=name)
@pytest.mark.parametrize("load", [loads.executor, *TIERS], ids=name)
def test_handlers(measure: Measure, load: Load, handler: Handler, workers: int) -> None:
    measure(lambda jobs: load(jobs, workers=workers, handler=handler), JOBS_OF[handler])


@pytest.mark.benchmark(group="crowds of producers: ThreadPoolExecutor, and each durability")
@pytest.mark.parametrize("producers", SOME_CROWDS)
@pytest.mark.parametrize("workers", CROWD_WORKERS, ids="{}-workers".format)
@pytest.mark.parametrize("handler", CROWD_JOBS, ids=name)
@pytest.mark.parametrize("load", ["executor", None, *SLOW_LEVELS], ids=name)
def test_crowds(
    measure: Measure,
    tmp_path: Path,
    load: Literal["executor"] | Durability | None,
    handler: Handler,
    workers: int,
    producers: int,
) -> None:
    paths = map(tmp_path.joinpath, map(str, count()))

    def run(jobs: int) -> None:
        crowd = min(producers, jobs)
        if load == "executor":
            loads.executor(jobs, crowd, workers=workers, handler=handler)
        else:
            loads.drive(loads.config_for(load, next(paths), workers), jobs, crowd, handler)

    measure(run, jobs_of(handler, load))


@pytest.mark.benchmark(group="durability, one by one")
@pytest.mark.parametrize("producers", [1, 4, 64], ids="{}-producers".format)
@pytest.mark.parametrize("level", LEVELS, ids=name)
def test_durability(
    measure: Measure, tmp_path: Path, level: Durability | None, producers: int
) -> None:
    paths = map(tmp_path.joinpath, map(str, count()))
    measure(
        lambda jobs: loads.drive(loads.config_for(level, next(paths)), jobs, producers),
        500 * min(producers, 20) if level == "fsync" else JOBS,
    )


@pytest.mark.benchmark(group="durability, in batches")
@pytest.mark.parametrize("batch", [1, 10, 100, 1000], ids="batches-of-{}".format)
@pytest.mark.parametrize("level", LEVELS, ids=name)
def test_batches(measure: Measure, tmp_path: Path, level: Durability | None, batch: int) -> None:
    paths = map(tmp_path.joinpath, map(str, count()))
    measure(
        lambda jobs: loads.drive_in_batches(loads.config_for(level, next(paths)), jobs, batch),
        min(500 * batch, JOBS) if level == "fsync" else JOBS,
    )
