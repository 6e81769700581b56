"""What is told of handlers: their counts, and the jobs that wait for them.

Relies on: the queue's mutex, held by the caller of `seen` and `count_queued`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ..model.frozen_dict import FrozenDict
from ..model.metrics import HandlerCounts, HandlerInfo
from ..model.policy import NO_POLICY
from ..model.transitions import Status
from .counters import quantiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..model.handle import JobHandle
    from ..model.handler_meter import HandlerMeter, LaneTally
    from ..model.job import Priority
    from ..model.policy import Policy
    from .order import Walk
    from .registry import HandlerRegistry
    from .status_map import StatusMap

_QUEUED = Status.QUEUED  # a look into an enumeration is slow


class Seen(NamedTuple):
    """What is copied of the counters of one handler."""

    lanes: dict[Priority, LaneTally]
    failures: dict[str, int]
    processing: int

    def told(self) -> HandlerCounts:
        """Without the mutex; once."""
        lanes = self.lanes.values()
        return HandlerCounts(
            sum(each.completed for each in lanes),
            sum(each.failed for each in lanes),
            sum(each.retried for each in lanes),
            sum(each.cancelled for each in lanes),
            self.processing,
            FrozenDict(self.failures),
            FrozenDict({priority: each.told() for priority, each in self.lanes.items()}),
        )


class Watched(NamedTuple):
    """The counters of one handler, its policy, and the times of its last attempts."""

    seen: Seen
    policy: Policy
    queue_waits: list[float]
    run_times: list[float]


def seen(
    registry: HandlerRegistry, running: Iterable[JobHandle]
) -> tuple[dict[str | None, Seen], Seen]:
    """A copy of the counters of each handler that is registered, and of those of all others."""
    processing = Counter(None if each._call is None else each._call.meter for each in running)

    def copy(meter: HandlerMeter) -> Seen:
        return Seen(meter.used(), meter.failures.copy(), processing[meter])

    handlers = {name: copy(handler.meter) for name, handler in registry.all().items()}
    return handlers, copy(registry.unregistered)


def handler_counts(
    copies: tuple[Mapping[str | None, Seen], Seen],
) -> tuple[dict[str | None, HandlerCounts], HandlerCounts]:
    """What is told of the copies that `seen` has made. Without the mutex."""
    handlers, others = copies
    return {name: each.told() for name, each in handlers.items()}, others.told()


def watched(registry: HandlerRegistry, running: Iterable[JobHandle]) -> dict[str | None, Watched]:
    """A copy of what is known of each handler."""
    handlers = registry.all()
    return {
        name: Watched(
            each,
            handlers[name].policy,
            handlers[name].meter.queue_waits(),
            handlers[name].meter.run_times(),
        )
        for name, each in seen(registry, running)[0].items()
    }


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
    handlers: dict[str | None, Watched], queued: Counter[str | None]
) -> list[HandlerInfo]:
    """What is told of them, the default handler first, then by name. Without the mutex."""
    names = sorted({*handlers, *queued}, key=lambda name: (name is not None, name or ""))
    return [_info(name, handlers.get(name), queued[name]) for name in names]


def _info(name: str | None, known: Watched | None, queued: int) -> HandlerInfo:
    if known is None:
        known = Watched(Seen({}, {}, 0), NO_POLICY, [], [])
    counts = known.seen.told()
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
