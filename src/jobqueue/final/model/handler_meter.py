"""What is counted of one handler's jobs.

It belongs to the name: a handler that takes another one's place goes on with its counts. Guarded by
the queue's mutex.
"""

from __future__ import annotations

from collections import deque

SAMPLES = 512
"""Of how many attempts the times are kept, the last ones."""
SAMPLED_MASK = 15
"""Of a handler that has completed `SAMPLES` jobs, attempts are timed while their number is a
multiple of 16: to time each would cost a hundredth of what a job in memory does."""
_NAMES_MAX = 100
_OTHERS = "(others)"


class HandlerMeter:
    """The counters of one handler; see `HandlerInfo`."""

    __slots__ = (
        "cancelled",
        "completed",
        "failed",
        "failures",
        "queue_waits",
        "retried",
        "run_times",
    )

    def __init__(self) -> None:
        self.completed = 0
        self.failed = 0
        self.retried = 0
        self.cancelled = 0
        self.failures: dict[str, int] = {}
        self.queue_waits: deque[float] = deque(maxlen=SAMPLES)
        self.run_times: deque[float] = deque(maxlen=SAMPLES)

    def retries_after(self, error: str) -> None:
        """An attempt failed, and another follows."""
        self.retried += 1
        self._count(error)

    def fails_for(self, error: str) -> None:
        """An attempt failed, and with it the job."""
        self.failed += 1
        self._count(error)

    def _count(self, error: str) -> None:
        """Count an attempt by the class of its error."""
        name = error.partition(":")[0]
        if name not in self.failures and len(self.failures) >= _NAMES_MAX:
            name = _OTHERS  # classes may be made without end
        self.failures[name] = self.failures.get(name, 0) + 1
