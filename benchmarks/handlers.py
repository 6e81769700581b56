"""What the jobs of the benchmarks do: nothing, a little computing, a short wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

Handler = Callable[[bytes], object]


def nothing(_payload: bytes) -> None:
    """Costs nothing, so that what is measured is the queue."""


def compute_20_us(_payload: bytes) -> None:
    """Pure Python that keeps the interpreter to itself for about 20 µs."""
    for _ in range(_turns(20e-6)):
        pass


def compute_30_us(_payload: bytes) -> None:
    """Pure Python that keeps the interpreter to itself for about 30 µs."""
    for _ in range(_turns(30e-6)):
        pass


def compute_1_ms(_payload: bytes) -> None:
    """Pure Python that keeps the interpreter to itself for about 1 ms."""
    for _ in range(_turns(1e-3)):
        pass


def sleep_1_ms(_payload: bytes) -> None:
    """Waits for 1 ms, as for a near neighbour in the network."""
    time.sleep(1e-3)


def sleep_10_ms(_payload: bytes) -> None:
    """Waits for 10 ms, as for a database or a service."""
    time.sleep(10e-3)


@cache
def _turns(seconds: float) -> int:
    """How many turns of an empty loop take so long, on this machine when it is left alone."""
    turns = 20_000
    best = min(_time_of(turns) for _ in range(20))
    return max(1, round(seconds * turns / best))


def _time_of(turns: int) -> float:
    start = time.perf_counter()
    for _ in range(turns):
        pass
    return time.perf_counter() - start
