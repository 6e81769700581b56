"""When a failed job runs again: the delay, and the heaps in which retries wait.

Time is an argument here: no clock, no threads, no lock.
"""

from __future__ import annotations

import heapq
import itertools

from .job import Attempt, Priority

_EXPONENT_MAX = 1000  # 2.0**1024 overflows; 2.0**1000 s is never anyway


def backoff(base_delay: float, attempt: int) -> float:
    """Seconds to wait after attempt number `attempt` (0 first) failed: exponential backoff."""
    return base_delay * 2.0 ** min(attempt, _EXPONENT_MAX)


class RetrySchedule:
    """Attempts that are not due yet, or due and not yet taken.

    One binary heap per priority, ordered by the time at which its attempts are due. Those due at
    the same time keep the order in which they were added. Adding and taking cost O(log n).

    Not thread-safe: the queue calls it under its own lock.
    """

    def __init__(self) -> None:
        self._heaps: dict[Priority, list[tuple[float, int, Attempt]]] = {
            priority: [] for priority in Priority
        }
        self._order = itertools.count()  # breaks ties: attempts themselves have no order

    def add(self, attempt: Attempt, due: float) -> None:
        """Keep `attempt` until `due`, in seconds on the caller's clock."""
        heapq.heappush(self._heaps[attempt.job.priority], (due, next(self._order), attempt))

    def pop_due(self, priority: Priority, now: float) -> Attempt | None:
        """Take the attempt that has been due longest, or `None` if none is due at `now`."""
        heap = self._heaps[priority]
        if not heap or heap[0][0] > now:
            return None
        return heapq.heappop(heap)[2]

    def next_due(self) -> float | None:
        """When the next attempt is due, or `None` if none waits."""
        return min((heap[0][0] for heap in self._heaps.values() if heap), default=None)
