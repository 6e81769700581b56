"""How busy the workers are: one of the counters that `JobQueue.metrics` shows.

Guarantees: a snapshot of all counters is consistent, since every one changes under the queue's
mutex in the same step as the job that it counts. `core.telling` makes it.
Relies on: the queue's mutex, held by the caller of every method of `BusyMeter`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

UTILIZATION_SECONDS = 10


class BusyMeter:
    """How busy the workers were over the last `UTILIZATION_SECONDS`.

    Busy time is kept by whole seconds of the clock. When an attempt ends, its time is laid over the
    seconds in which it ran. The time of attempts that still run is added by the reader.

    Attributes:
        second: the present one: from here to `next_second`. An attempt that lies within it may be
            added to `busy` without a call.
        busy: busy seconds in it.
    """

    def __init__(self, now: float) -> None:
        self._opened = now
        self.second = int(now)
        self.next_second = self.second + 1
        self.busy = 0.0
        self._past: dict[int, float] = {}  # second: busy time in it

    def add(self, start: float, end: float) -> None:
        """An attempt ran from `start` to `end` (monotonic seconds)."""
        if end >= self.next_second:
            self._open(int(end))
        for each in range(max(int(start), self.second - UTILIZATION_SECONDS), self.second):
            part = min(end, each + 1) - max(start, each)
            self._past[each] = self._past.get(each, 0.0) + part
        self.busy += max(0.0, end - max(start, self.second))

    def _open(self, second: int) -> None:
        self._past[self.second] = self.busy
        self.second, self.next_second, self.busy = second, second + 1, 0.0
        for old in [each for each in self._past if each < second - UTILIZATION_SECONDS]:
            del self._past[old]

    def utilization(self, now: float, running_since: Iterable[float], workers: int) -> float:
        """Fraction of the window in which `workers` workers were busy."""
        begin = max(self._opened, now - UTILIZATION_SECONDS)
        window = now - begin
        if window <= 0:
            return 0.0
        busy = sum(now - max(begin, start) for start in running_since)
        for second, time in (*self._past.items(), (self.second, self.busy)):
            inside = min(second + 1, now) - max(second, begin)
            whole = min(second + 1, now) - max(second, self._opened)
            if inside > 0 and whole > 0:
                busy += time * min(1.0, inside / whole)
        return busy / (window * workers)
