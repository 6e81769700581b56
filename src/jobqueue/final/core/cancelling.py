"""A job that waits is cancelled: by a caller, by a time that passed, or for a job before it failed.

It is a change as callers' are, see `unfinished.py`: each of its steps may be done again, also by
another thread, for an exception from outside may break it off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wal.format.record import Cancelled

if TYPE_CHECKING:
    from ..model.handle import JobHandle
    from ..wal.format.record import Record
    from .placement import Placement


class Cancelling:
    """Cancel a job that waits. Made and finished with the mutex.

    Args:
        why: what `last_error` says; `None`: a caller wanted it.
        expired: whether its time had passed.
    """

    def __init__(
        self,
        placement: Placement,
        handle: JobHandle,
        why: str | None = None,
        *,
        expired: bool = False,
    ) -> None:
        self._placement = placement
        self._handle = handle
        self._why = why
        self._expired = expired
        self._wall = placement.clock.time()
        job = handle._job
        self.record: Record | None = Cancelled(
            handle._number, self._wall, handle._started, job._retries, why, why and ""
        )
        self.freed_bytes = len(job._payload)
        self.ended: JobHandle | None = handle
        self._is_noted = False

    def finish(self) -> None:
        """See `Change`."""
        placement, handle = self._placement, self._handle
        if self._why is not None:
            handle._failure = self._why, ""
        placement.status.cancel(handle, 0.0, self._wall, expired=self._expired)
        placement.take_out(handle)
        if handle._ties is not None:
            placement.bindings.ended(handle)
        if placement.endings.finished and not self._is_noted:
            placement.endings.note(handle)
            self._is_noted = True
        placement.watchers.look()
