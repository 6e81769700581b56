"""What looks at jobs and steers them in a client: one call of the owner each.

Whose thread: callers', which may be interrupted anywhere; no lock.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..exact import exact_str
from ..model.checks import check_id, check_text
from ..model.filters import checked_filter, checked_ids, checked_limit, checked_priority
from ..model.ids import new_id
from ..model.periodic import PeriodicInfo
from . import calls

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.filters import Filter
    from ..model.handle import JobHandle
    from ..model.job import JobInfo, Priority
    from ..model.look import DeadGroups, Look
    from ..model.metrics import HandlerInfo, Metrics
    from ..model.paused import Paused
    from ..model.transitions import Status
    from .asking import Asking
    from .desk import RemoteDesk

    Ids = Iterable[str] | None


class RemoteOperator:
    """Asks the owner. Thread-safe."""

    def __init__(self, asking: Asking, desk: RemoteDesk) -> None:
        self._asking = asking
        self._desk = desk

    def status(self, job_id: str) -> Status:
        """See `JobQueue`."""
        return self._asking.call(calls.status, check_id(job_id))

    def handle(self, job_id: str) -> JobHandle:
        """See `JobQueue`."""
        return self._desk.existing(self._asking.call(calls.handle, check_id(job_id)))

    def info(self, job_id: str) -> JobInfo:
        """See `JobQueue`."""
        return self._asking.call(calls.info, check_id(job_id)).whole(self._desk.codec)

    def cancel(self, job_id: str) -> bool:
        """See `JobQueue`."""
        return self._asking.call(calls.cancel, check_id(job_id))

    def dead_letters(self) -> list[JobInfo]:
        """See `JobQueue`."""
        return self._asking.call(calls.dead_letters)

    def requeue(self, job_id: str) -> JobHandle:
        """See `JobQueue`."""
        return self._desk.existing(self._asking.call(calls.requeue, check_id(job_id)))

    def discard(self, job_id: str) -> None:
        """See `JobQueue`."""
        self._asking.call(calls.discard, check_id(job_id))

    def metrics(self) -> Metrics:
        """See `JobQueue`."""
        return self._asking.call(calls.metrics)

    def pause(
        self,
        handler: str | None = None,
        priority: Priority | None = None,
        periodic: str | None = None,
    ) -> None:
        """See `JobQueue`."""
        self._asking.call(calls.pause, *_paused(handler, priority, periodic))

    def resume(
        self,
        handler: str | None = None,
        priority: Priority | None = None,
        periodic: str | None = None,
    ) -> None:
        """See `JobQueue`."""
        self._asking.call(calls.resume, *_paused(handler, priority, periodic))

    def paused(self) -> Paused:
        """See `JobQueue`."""
        return self._asking.call(calls.paused)

    def handlers(self, *, within: int | None = None) -> list[HandlerInfo]:
        """See `JobQueue`."""
        return self._asking.call(calls.handlers, _limit(within))

    def look(
        self,
        *,
        in_payload: bool = True,
        limit: int = 20,
        before: str | None = None,
        within: int = 20_000,
        **like: Any,
    ) -> Look:
        """See `JobQueue`."""
        wanted = checked_filter(**like)
        limit, within = checked_limit(limit), checked_limit(within)
        before = None if before is None else check_id(before)
        return self._asking.call(calls.look, wanted, bool(in_payload), limit, before, within)

    def dead_groups(self, limit: int = 100) -> DeadGroups:
        """See `JobQueue`."""
        return self._asking.call(calls.dead_groups, checked_limit(limit))

    def run_periodic(self, name: str) -> JobHandle:
        """See `JobQueue`."""
        if not isinstance(name, str):
            raise TypeError(f"periodic must be a schedule's name (str), not {type(name).__name__}")
        found = self._asking.call(calls.run_periodic, exact_str(name), new_id())
        return self._desk.existing(found)

    def jobs(self, *, limit: int = 100, before: str | None = None, **like: Any) -> list[JobInfo]:
        """See `JobQueue`."""
        wanted = checked_filter(**like)
        before = None if before is None else check_id(before)
        found = self._asking.call(calls.jobs, wanted, checked_limit(limit), before)
        return [each.whole(self._desk.codec) for each in found]

    def cancel_jobs(self, *, limit: int | None = None, ids: Ids = None, **like: Any) -> int:
        """See `JobQueue`; a call that goes on with the next owner tells of what it did there."""
        return self._asking.call(calls.cancel_jobs, *_bulk(like, limit, ids))

    def requeue_jobs(self, *, limit: int | None = None, ids: Ids = None, **like: Any) -> int:
        """See `JobQueue`, and `cancel_jobs`."""
        return self._asking.call(calls.requeue_jobs, *_bulk(like, limit, ids))

    def discard_jobs(self, *, limit: int | None = None, ids: Ids = None, **like: Any) -> int:
        """See `JobQueue`, and `cancel_jobs`."""
        return self._asking.call(calls.discard_jobs, *_bulk(like, limit, ids))

    def run_now(self, *, limit: int | None = None, ids: Ids = None, **like: Any) -> int:
        """See `JobQueue`, and `cancel_jobs`."""
        return self._asking.call(calls.run_now, *_bulk(like, limit, ids))

    def flush(self) -> None:
        """See `JobQueue`."""
        self._asking.call(calls.flush)

    def periodics(self) -> list[PeriodicInfo]:
        """See `JobQueue`."""
        found = self._asking.call(calls.periodics)
        return [
            PeriodicInfo(
                each.name,
                each.text if each.seconds is None else timedelta(seconds=each.seconds),
                each.tz,
                each.last,
                each.next,
                each.paused,
            )
            for each in found
        ]


def _limit(limit: object) -> int | None:
    return None if limit is None else checked_limit(limit)


def _bulk(
    like: dict[str, Any], limit: object, ids: object
) -> tuple[Filter, int | None, list[str] | None]:
    these = None if ids is None else list(checked_ids(ids))
    return checked_filter(**like), _limit(limit), these


def _paused(
    handler: object, priority: object, periodic: object
) -> tuple[str | None, Priority | None, str | None]:
    if periodic is not None and not isinstance(periodic, str):
        raise TypeError(f"periodic must be a schedule's name (str), not {type(periodic).__name__}")
    return (
        None if handler is None else check_text("handler", handler),
        None if priority is None else checked_priority(priority),
        None if periodic is None else exact_str(periodic),
    )
