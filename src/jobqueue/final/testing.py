"""Deterministic time for the tests of a queue's users.

```
clock = ManualClock()
with JobQueue(Config(base_delay=30, jitter=0), handler=flaky, clock=clock) as jq:
    handle = jq.enqueue(Job())
    ...
    clock.advance(30)  # the retry is in its lane when this returns
```
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from .exact import check_seconds, real_number
from .job_queue import JobQueue
from .runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from .exact import Seconds

__all__ = ["ManualClock", "run_all"]


def run_all(queue: JobQueue) -> None:
    """Run everything that is due, on this thread, until nothing is left that is.

    Jobs that the handlers enqueue run too, and retries that are due at once. Nothing is waited
    for: with a `ManualClock`, advance it and call this again. A handler that sleeps by
    `JobContext.wait` on such a clock sleeps until another thread advances it.

    Args:
        queue: one that was made with `start=False`, and not started. Its handlers run in threads:
            not with `executor="process"` or `"asyncio"`.

    Raises:
        TypeError: it is no `JobQueue`.
        RuntimeError: the queue has been started, or runs its handlers elsewhere.
        QueueClosedError: the queue is closed.
    """
    if not isinstance(queue, JobQueue):
        raise TypeError(f"run_all() takes a JobQueue, as in run_all(tasks.queue), not {queue!r}")
    queue._run_all()


class ManualClock:
    """A clock that stands still until `advance`. Thread-safe.

    It drives delays, backoff, `job_timeout` and `JobContext.wait` of the queues that were made
    with it. What a caller waits for (`enqueue`, `wait`, `result`, `join`, `close`) stays on
    real time. A queue with `Config(executor="process")` refuses it with `ConfigError`.

    Args:
        start: Unix time at which it stands; by default the present.
    """

    manual = True

    def __init__(self, start: float | None = None) -> None:
        self._lock = threading.Lock()  # guards the two below; held for no call
        self._elapsed_seconds = 0.0
        self._subscribers: list[Callable[[], None]] = []
        self._start = SystemClock.time() if start is None else _finite(start)

    def monotonic(self) -> float:
        """Seconds by which the clock has been advanced."""
        return self._elapsed_seconds

    def time(self) -> float:
        """Unix time: `start` plus what the clock has been advanced."""
        return self._start + self._elapsed_seconds

    def advance(self, seconds: Seconds) -> None:
        """Move time on; returns when the jobs that came due are in their lanes.

        So are those of schedules: this thread makes them. To a schedule, one move is a clock that
        is set: of several ticks that it passes the last is run, or all with `catch_up="all"`.

        Args:
            seconds: how far, >= 0.

        Raises:
            ValueError: `seconds` is negative or not finite.
        """
        seconds = check_seconds("seconds", seconds)
        with self._lock:
            self._elapsed_seconds += seconds
            subscribers = tuple(self._subscribers)
        for on_advance in subscribers:
            on_advance()

    def subscribe(self, on_advance: Callable[[], None]) -> Callable[[], None]:
        """Have `on_advance` called after each move; returns a function that ends this."""
        with self._lock:
            self._subscribers.append(on_advance)

        def unsubscribe() -> None:
            with self._lock:
                if on_advance in self._subscribers:
                    self._subscribers.remove(on_advance)

        return unsubscribe


def _finite(start: float) -> float:
    seconds = real_number(start)
    if seconds is None or not math.isfinite(seconds):
        raise ValueError(f"start must be a finite Unix time, not {start!r}")
    return seconds
