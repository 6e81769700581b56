"""Throughput end to end: producers, workers, handlers that do nothing.

Compare the rows of one run only: machines differ, and the same machine from hour to hour.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import loads

JOBS = 10_000
JOBS_FSYNCED_ONE_BY_ONE = 500
ROUNDS = 5


def run(benchmark: BenchmarkFixture, load: Callable[[int], None], jobs: int = JOBS) -> None:
    benchmark.extra_info["jobs"] = jobs
    pedantic: Callable[..., None] = benchmark.pedantic
    pedantic(lambda: load(jobs), rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.benchmark(group="one producer, four workers")
@pytest.mark.parametrize(
    "load",
    [loads.executor, loads.bare_queue, loads.naive, loads.improved, loads.final],
    ids=lambda load: load.__name__,
)
def test_in_memory(benchmark: BenchmarkFixture, load: Callable[[int], None]) -> None:
    run(benchmark, load)


@pytest.mark.benchmark(group="producers")
@pytest.mark.parametrize("producers", [1, 4, 64])
@pytest.mark.parametrize("load", [loads.executor, loads.final], ids=lambda load: load.__name__)
def test_producers(
    benchmark: BenchmarkFixture, load: Callable[[int, int], None], producers: int
) -> None:
    run(benchmark, lambda jobs: load(jobs, producers))


@pytest.mark.benchmark(group="durability")
@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("durability", ["memory", "async", "write", "fsync"])
def test_durability(
    benchmark: BenchmarkFixture, tmp_path: Path, durability: str, batch: int
) -> None:
    numbers = count()

    def load(jobs: int) -> None:
        config = None
        if durability != "memory":
            config = loads.logged(tmp_path / str(next(numbers)), durability)
        loads.final(jobs, batch=batch, config=config)

    one_by_one = durability == "fsync" and batch == 1
    run(benchmark, load, JOBS_FSYNCED_ONE_BY_ONE if one_by_one else JOBS)
