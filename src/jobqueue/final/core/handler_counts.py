"""What is known of handlers: copies of their counts, and the jobs that wait for them.

`core.telling` makes of it what users are told.

Relies on: the queue's mutex, held by the caller of each function.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ..model.transitions import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

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
