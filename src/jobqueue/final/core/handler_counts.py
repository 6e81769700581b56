"""What is told of handlers: their counts, and the jobs that wait for them.

Relies on: the queue's mutex, held by the caller of `handler_counts` and `count_queued`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..model.frozen_dict import FrozenDict
from ..model.handler_meter import HandlerMeter
from ..model.metrics import HandlerCounts, HandlerInfo
from ..model.transitions import Status
from .counters import quantiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.handle import JobHandle
    from ..model.policy import Policy
    from .order import Walk
    from .registry import HandlerRegistry
    from .status_map import StatusMap

    Seen = tuple[HandlerCounts, Policy, list[float], list[float]]
    """What is copied of a handler: counts, policy, and the times of attempts."""

_QUEUED = Status.QUEUED  # a look into an enumeration is slow
_NO_COUNTS = HandlerCounts(0, 0, 0, 0, 0, FrozenDict())


def handler_counts(
    registry: HandlerRegistry, running: Iterable[JobHandle]
) -> dict[str | None, HandlerCounts]:
    """The counts of each handler that is registered."""
    processing = Counter(handle._job._handler for handle in running)
    return {
        name: _counts(handler.meter, processing[name]) for name, handler in registry.all().items()
    }


def seen(registry: HandlerRegistry, running: Iterable[JobHandle]) -> dict[str | None, Seen]:
    """A copy of what is known of each handler."""
    handlers = registry.all()
    return {
        name: (
            counts,
            handlers[name].policy,
            list(handlers[name].meter.queue_waits),
            list(handlers[name].meter.run_times),
        )
        for name, counts in handler_counts(registry, running).items()
    }


def _counts(meter: HandlerMeter, processing: int) -> HandlerCounts:
    return HandlerCounts(
        meter.completed,
        meter.failed,
        meter.retried,
        meter.cancelled,
        processing,
        FrozenDict(meter.failures),
    )


def count_queued(status: StatusMap, walk: Walk, count: int, queued: Counter[str | None]) -> bool:
    """Count the queued ones of the next jobs by handler; `False` if there are no more jobs."""
    found = walk.next(count)
    if found is None:
        return False
    (block, ids), live, is_at = found, status.live, status.order.is_at
    for job_id in ids:
        handle = live.get(job_id)
        if handle is not None and handle._status is _QUEUED and is_at(job_id, block):
            queued[handle._job._handler] += 1
    return True


def handler_infos(
    handlers: dict[str | None, Seen], queued: Counter[str | None]
) -> list[HandlerInfo]:
    """What is told of them, the default handler first, then by name. Without the mutex."""
    names = sorted({*handlers, *queued}, key=lambda name: (name is not None, name or ""))
    return [_info(name, handlers.get(name), queued[name]) for name in names]


def _info(name: str | None, known: Seen | None, queued: int) -> HandlerInfo:
    counts, policy, waits, times = known or (_NO_COUNTS, None, [], [])
    given = {} if policy is None else policy.given()
    return HandlerInfo(
        name,
        counts.completed,
        counts.failed,
        counts.retried,
        counts.cancelled,
        queued,
        counts.processing,
        FrozenDict(given),
        quantiles(sorted(waits)),
        quantiles(sorted(times)),
        counts.failures,
    )
