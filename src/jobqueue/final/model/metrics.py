"""Counters, and the snapshot that `JobQueue.metrics` returns.

Guarantees: a snapshot is consistent, since every counter changes under the queue's mutex in the
same step as the job that it counts.
Relies on: the queue's mutex, held by the caller of every method of `LaneMeter` and `BusyMeter`.
Quantiles are those of the last `SAMPLES` jobs of a lane; they are sorted outside of the mutex.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .job import Priority

SAMPLES = 512
UTILIZATION_SECONDS = 10
COUNTED = (
    "enqueued",
    "queued",
    "scheduled",
    "processing",
    "overrunning",
    "completed",
    "failed",
    "retried",
    "cancelled",
)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """How a time in seconds was spread over the last jobs; all 0.0 before the first."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class LaneMetrics:
    """Counts and times of one priority; see `Metrics` for the counts.

    Attributes:
        oldest_wait: age in seconds of the oldest queued job, 0.0 where none is.
        queue_wait: seconds from entering the lane to the start of the attempt.
        run_time: seconds that attempts took.
    """

    enqueued: int
    queued: int
    scheduled: int
    processing: int
    overrunning: int
    completed: int
    failed: int
    retried: int
    cancelled: int
    oldest_wait: float
    queue_wait: Quantiles
    run_time: Quantiles


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """The workers.

    Attributes:
        count: live worker threads, replacements included.
        busy: those that run a handler.
        utilization: fraction of the last 10 s that `num_workers` workers were busy; above 1
            while replacements work beside overrunning attempts.
    """

    count: int
    busy: int
    utilization: float


@dataclass(frozen=True, slots=True)
class LogMetrics:
    """The write-ahead log.

    Attributes:
        bytes: size of its files.
        batches: batches written since it was opened.
        fsyncs: fsyncs of record data since it was opened.
        last_fsync_seconds: how long the last one took; 0.0 before the first.
        lag_records: records that are not known to be fsynced yet.
        error: why the log has failed, or cannot be written for now; `None` while all is well.
    """

    bytes: int
    batches: int
    fsyncs: int
    last_fsync_seconds: float
    lag_records: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """A consistent snapshot of a queue.

    At rest, `enqueued == completed + failed + cancelled`: jobs that a start found unfinished in
    the log and dead letters that were requeued count as enqueued again.

    Attributes:
        enqueued: jobs accepted.
        queued: jobs in a lane, or waiting for a handler of their name.
        scheduled: jobs that wait for their delay or backoff.
        processing: jobs in a handler.
        overrunning: those of them that are past `job_timeout`.
        completed: jobs whose handler returned.
        failed: jobs that failed for the last time.
        retried: attempts that failed and were scheduled again.
        cancelled: jobs cancelled.
        oldest_wait: age in seconds of the oldest queued job, 0.0 where none is.
        by_priority: the same for each lane.
        queue_wait: seconds from entering the lane to the start of the attempt, over all lanes.
        run_time: seconds that attempts took, over all lanes.
        workers: the workers.
        log: the log; `None` in memory.
    """

    enqueued: int
    queued: int
    scheduled: int
    processing: int
    overrunning: int
    completed: int
    failed: int
    retried: int
    cancelled: int
    oldest_wait: float
    by_priority: Mapping[Priority, LaneMetrics]
    queue_wait: Quantiles
    run_time: Quantiles
    workers: WorkerMetrics
    log: LogMetrics | None


class LaneMeter:
    """The counters of one priority. The names are those of `LaneMetrics`."""

    __slots__ = (*(name for name in COUNTED if name != "queued"), "queue_waits", "run_times")

    def __init__(self) -> None:
        self.enqueued = 0
        self.scheduled = 0
        self.processing = 0
        self.overrunning = 0
        self.completed = 0
        self.failed = 0
        self.retried = 0
        self.cancelled = 0
        self.queue_waits: deque[float] = deque(maxlen=SAMPLES)
        self.run_times: deque[float] = deque(maxlen=SAMPLES)

    @property
    def queued(self) -> int:
        """What is none of the others."""
        ended = self.completed + self.failed + self.cancelled
        return self.enqueued - ended - self.scheduled - self.processing

    def copy(self) -> LaneMeter:
        """The state at this moment."""
        copy = LaneMeter()
        for name in self.__slots__:
            setattr(copy, name, getattr(self, name))
        # Not `deque.copy`: without the GIL, CPython 3.13's takes a lock that it holds already, and
        # waits, for each element.
        copy.queue_waits = deque(self.queue_waits, SAMPLES)
        copy.run_times = deque(self.run_times, SAMPLES)
        return copy


class BusyMeter:
    """How busy the workers were over the last `UTILIZATION_SECONDS`.

    Busy time is kept by whole seconds of the clock; an attempt's time is laid over the seconds
    in which it ran when it ends, and what still runs is added by the reader.

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
        by_priority=by_priority,
        queue_wait=quantiles(sorted(chain.from_iterable(waits.values()))),
        run_time=quantiles(sorted(chain.from_iterable(runs.values()))),
        workers=workers,
        log=log,
    )
