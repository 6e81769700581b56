"""The handlers once more, with a look at the clocks: how long, and how much of that computing.

In a process of its own a handler computes nearly all of its time, unless other programs want the
cores too. In a thread it also waits for the interpreter's lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from jobqueue.final import JobContext

from . import work


@dataclass(frozen=True)
class Timed:
    """What a handler returned, and what it took."""

    result: object
    wall_seconds: float
    cpu_seconds: float


def resize(payload: bytes, context: JobContext) -> Timed:
    return _timed(lambda: work.resize(payload, context))


def placeholder(payload: bytes) -> Timed:
    return _timed(lambda: work.placeholder(payload))


def _timed(call: Callable[[], object]) -> Timed:
    wall, cpu = time.perf_counter(), time.thread_time()
    result = call()
    return Timed(result, time.perf_counter() - wall, time.thread_time() - cpu)
