"""`measure`: how each benchmark is run, in earnest (`make bench`) or once, so that none rots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 5
JOBS_IN_CHECK = 40
"""How many jobs a benchmark has if it only shows that it runs."""


class Measure:
    """Runs a load of so many jobs, several times after one that does not count."""

    def __init__(self, benchmark: BenchmarkFixture) -> None:
        self._benchmark = benchmark
        self._pedantic: Callable[..., object] = benchmark.pedantic

    def jobs(self, jobs: int) -> int:
        """The number of jobs to be had, if `jobs` are wanted."""
        return min(jobs, JOBS_IN_CHECK) if self._benchmark.disabled else jobs

    def __call__(self, load: Callable[[int], object], jobs: int) -> None:
        """Time `load(jobs)` as a whole."""
        self.prepared(lambda: self.jobs(jobs), load, jobs)

    def prepared(
        self, prepare: Callable[[], Any], load: Callable[[Any], object], jobs: int
    ) -> None:
        """Time `load(prepare())` without `prepare`, which is run before each round."""
        self._benchmark.extra_info["jobs"] = self.jobs(jobs)
        self._pedantic(load, setup=lambda: ((prepare(),), {}), rounds=ROUNDS, warmup_rounds=1)


@pytest.fixture
def measure(benchmark: BenchmarkFixture) -> Measure:
    return Measure(benchmark)
