"""What is told of the counters: the snapshots that `metrics` and `handlers` return.

Imported when they are first asked for: a tenth of the time that it takes to import the queue would
go into the classes of `model.metrics`, and many programs never ask.

Relies on: copies of the counters; no lock is needed. `workers` and `log` read counters as they
are: under the queue's mutex.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from ..model.frozen_dict import FrozenDict
from ..model.handler_meter import COUNTED
from ..model.metrics import (
    HandlerCounts,
    HandlerInfo,
    Histogram,
    LaneMetrics,
    LogMetrics,
    Metrics,
    Quantiles,
    WorkerMetrics,
)
from ..model.policy import NO_POLICY
from ..wal.writing.batch import FSYNC_BOUNDS
from .handler_counts import Seen, Watched

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from ..model.handler_meter import LaneMeter
    from ..model.job import Priority
    from ..wal.writing.batch import LogStats
    from .counters import BusyMeter
    from .seats import Seats


def quantiles(samples: list[float]) -> Quantiles:
    """The quantiles of samples that are sorted (nearest rank)."""
    count = len(samples)
    if not count:
        return Quantiles()
    p50, p95, p99 = (samples[min(count - 1, count * percent // 100)] for percent in (50, 95, 99))
    return Quantiles(p50, p95, p99, samples[-1])


def workers(seats: Seats, meter: BusyMeter, now: float) -> WorkerMetrics:
    """What is told of the workers. With the mutex."""
    busy = seats.busy()
    since = [handle._since for handle in busy]
    return WorkerMetrics(
        len(seats), len(busy), meter.utilization(now, since, seats.size), seats.size
    )


def log(stats: LogStats) -> LogMetrics:
    """What is told of the log."""
    return LogMetrics(
        bytes=stats.bytes,
        batches=stats.batches,
        fsyncs=stats.fsyncs,
        last_fsync_seconds=stats.last_fsync_seconds,
        lag_records=stats.lag_records,
        error=stats.error,
        fsync_time=Histogram(FSYNC_BOUNDS, stats.fsyncs_by_time, stats.fsync_seconds),
    )


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


def handler_counts(
    copies: tuple[Mapping[str | None, Seen], Seen],
) -> tuple[dict[str | None, HandlerCounts], HandlerCounts]:
    """What is told of the copies that `seen` has made. Without the mutex."""
    handlers, others = copies
    return {name: _counts(each) for name, each in handlers.items()}, _counts(others)


def handler_infos(
    handlers: dict[str | None, Watched], queued: Counter[str | None]
) -> list[HandlerInfo]:
    """What is told of them, the default handler first, then by name. Without the mutex."""
    names = sorted({*handlers, *queued}, key=lambda name: (name is not None, name or ""))
    return [_info(name, handlers.get(name), queued[name]) for name in names]


def _info(name: str | None, known: Watched | None, queued: int) -> HandlerInfo:
    if known is None:
        known = Watched(Seen({}, {}, 0), NO_POLICY, [], [])
    counts = _counts(known.seen)
    return HandlerInfo(
        name,
        counts.completed,
        counts.failed,
        counts.retried,
        counts.cancelled,
        queued,
        counts.processing,
        FrozenDict(known.policy.given()),
        quantiles(sorted(known.queue_waits)),
        quantiles(sorted(known.run_times)),
        counts.failures,
    )


def _counts(seen: Seen) -> HandlerCounts:
    lanes = seen.lanes.values()
    return HandlerCounts(
        sum(each.completed for each in lanes),
        sum(each.failed for each in lanes),
        sum(each.retried for each in lanes),
        sum(each.cancelled for each in lanes),
        seen.processing,
        FrozenDict(seen.failures),
        FrozenDict({priority: each.told() for priority, each in seen.lanes.items()}),
    )
