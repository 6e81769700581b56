"""How long one call of `enqueue` waits for room, and when it gives up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import EnqueueCancelledError, EnqueueTimeoutError
from ..runtime.clock import SystemClock

if TYPE_CHECKING:
    import threading

    from ..core.scheduler import Lane
    from ..model.job import Job
    from ..runtime.parking import Parker

CANCEL_POLL_SECONDS = 0.02


class RoomWait:
    """How long one call waits for room, in real time."""

    __slots__ = ("_cancel", "_deadline", "_timeout")

    def __init__(self, timeout: float | None, cancel: threading.Event | None) -> None:
        self._timeout = timeout
        self._deadline = None if timeout is None else SystemClock.monotonic() + timeout
        self._cancel = cancel

    def check(self, job: Job, lane: Lane) -> None:
        """Raises if the wait is over."""
        if self._cancel is not None and self._cancel.is_set():
            raise EnqueueCancelledError(
                f"job {job._id!r} was not accepted: the wait for room was cancelled"
            )
        if self._deadline is not None and SystemClock.monotonic() >= self._deadline:
            raise EnqueueTimeoutError(
                f"job {job._id!r} was not accepted: the {job._priority.name} lane ({lane.maxsize} "
                f"jobs) stayed full for {self._timeout:g} s; try again later, or raise queue_size"
            )

    def sleep(self, parker: Parker) -> None:
        """Wait until woken, or until it is worth a look."""
        seconds = None
        if self._deadline is not None:
            seconds = self._deadline - SystemClock.monotonic()
        if self._cancel is not None:
            seconds = min(CANCEL_POLL_SECONDS, math.inf if seconds is None else seconds)
        parker.park(seconds)
