"""How long one call of `enqueue` waits for room, and when it gives up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import EnqueueCancelledError, EnqueueTimeoutError
from ..runtime.clock import SystemClock

if TYPE_CHECKING:
    import threading

    from ..core.lane import Lane
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
        if self._cancel is not None:
            refuse_given_up(job, self._cancel)
        if self._deadline is not None and SystemClock.monotonic() >= self._deadline:
            raise no_room(job, lane, self._timeout)

    def sleep(self, parker: Parker) -> None:
        """Wait until woken, or until it is worth a look."""
        seconds = None
        if self._deadline is not None:
            seconds = self._deadline - SystemClock.monotonic()
        if self._cancel is not None:
            seconds = min(CANCEL_POLL_SECONDS, math.inf if seconds is None else seconds)
        parker.park(seconds)


def check_event(cancel: object) -> None:
    """Raises `TypeError` if it is no event: anything of which an object can be asked `is_set`."""
    if isinstance(cancel, type) or not callable(getattr(cancel, "is_set", None)):
        raise TypeError(f"cancel must be an event, as threading.Event(), or None, not {cancel!r}")


def refuse_given_up(job: Job, given_up: threading.Event) -> None:
    """Raises if the caller wants the job no more."""
    if given_up.is_set():
        raise EnqueueCancelledError(
            f"job {job._id!r} was not accepted: the wait for room was cancelled"
        )


def no_room(job: Job, lane: Lane, timeout: float | None) -> EnqueueTimeoutError:
    """The error for a job that no room came for in time."""
    jobs = "1 job" if lane.maxsize == 1 else f"{lane.maxsize} jobs"
    return EnqueueTimeoutError(
        f"job {job._id!r} was not accepted: the {job._priority.name} lane ({jobs}) stayed full "
        f"for {round(timeout or 0.0, 3):g} s; try again later, or raise queue_size"
    )
