"""The counters and times that `JobQueue.metrics` shows, and the snapshot made of them.

Guarantees: a snapshot is consistent, since every counter changes under the queue's mutex in the
same step as the job that it counts.
Relies on: the queue's mutex, held by the caller of every method of `BusyMeter`. Quantiles are those
of the last jobs of a lane; they are sorted outside of the mutex.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from ..model.frozen_dict import FrozenDict
from ..model.metrics import (
    COUNTED,
    HandlerCounts,
    LaneMetrics,
    LogMetrics,
    Metrics,
    Quantiles,
    WorkerMetrics,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..model.handler_meter import LaneMeter
    from ..model.job import Priority

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


def quantiles(samples: list[float]) -> Quantiles:
    """The quantiles of samples that are sorted (nearest rank)."""
    count = len(samples)
    if not count:
        return Quantiles()
    p50, p95, p99 = (samples[min(count - 1, count * percent // 100)] for percent in (50, 95, 99))
    return Quantiles(p50, p95, p99, samples[-1])


def snapshot(
    meters: Mapping[Priority, LaneMeter],
    oldest_waits: Mapping[Priority, float],
    workers: WorkerMetrics,
    log: LogMetrics | None,
    by_handler: Mapping[str | None, HandlerCounts],
    unregistered: HandlerCounts,
    since: float,
) -> Metrics:
    """Build the snapshot from copies of the meters; no lock is needed."""
    waits = {priority: sorted(meter.queue_waits) for priority, meter in meters.items()}
    runs = {priority: sorted(meter.run_times) for priority, meter in meters.items()}
    by_priority = {
        priority: LaneMetrics(
            **{name: getattr(meter, name) for name in COUNTED},
            oldest_wait=oldest_waits[priority],
            queue_wait=quantiles(waits[priority]),
            run_time=quantiles(runs[priority]),
        )
        for priority, meter in meters.items()
    }
    return Metrics(
        **{name: sum(getattr(meter, name) for meter in meters.values()) for name in COUNTED},
        oldest_wait=max(oldest_waits.values()),
        by_priority=FrozenDict(by_priority),
        queue_wait=quantiles(sorted(chain.from_iterable(waits.values()))),
        run_time=quantiles(sorted(chain.from_iterable(runs.values()))),
        workers=workers,
        log=log,
        by_handler=FrozenDict(by_handler),
        unregistered=unregistered,
        since=since,
    )
