"""Jobs that are cancelled if they have not started in time.

Guarantees: such a job is cancelled by the timer, whether or not a worker comes to it; also while
the queue is paused or was never started. A worker that comes to it before the timer does, but after
its time, does not start it. One that has started once is left alone.
Relies on: the queue's mutex, held by the caller of every method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..timing.timer import LONG_SECONDS, tick_after, tick_before

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import JobHandle
    from ..runtime.clock import Clock
    from ..timing.timer import Timer


class Expiries:
    """Has the timer call when the time of a job has passed.

    Args:
        expire: cancels the job; called without any lock, on the timer's thread or the one that
            moves a manual clock.

    Attributes:
        timer: set by the queue.
    """

    timer: Timer

    def __init__(self, clock: Clock, expire: Callable[[JobHandle], None]) -> None:
        self._clock = clock
        self._expire = expire

    def begin(self, handle: JobHandle, seconds: float) -> None:
        """The job has so many seconds left to start."""
        ties = handle._ties
        if ties is None or ties.expiry is not None:
            return
        now = self._clock.monotonic()
        tick = tick_after(now + seconds) if seconds else tick_before(now)
        expiry = _Expiry(self._expire, handle)
        ties.expiry_tick = tick
        ties.expiry = expiry
        if seconds > LONG_SECONDS:
            self.timer.schedule_through_sleep(expiry, tick, by_wall=True)
        else:
            self.timer.schedule(expiry, tick)

    def end(self, handle: JobHandle) -> None:
        """The job has started, or ended. Again, it does nothing."""
        ties = handle._ties
        # guard: a job that has started does not expire
        if ties is not None and ties.expiry is not None:
            self.timer.remove(ties.expiry, ties.expiry_tick)
            ties.expiry = None

    def has_passed(self, handle: JobHandle) -> bool:
        """Whether the job's time has passed, so that the timer is about to come to it."""
        ties = handle._ties
        if ties is None or ties.expiry is None:
            return False
        return tick_before(self._clock.monotonic()) >= ties.expiry_tick


def expired_after(seconds: float) -> str:
    """Why a job is cancelled that has not started within so many seconds."""
    return f"expired after {seconds:g} s"


class _Expiry:
    """Called by the timer when a job's time has passed."""

    __slots__ = ("_expire", "_handle")

    def __init__(self, expire: Callable[[JobHandle], None], handle: JobHandle) -> None:
        self._expire = expire
        self._handle = handle

    def __call__(self) -> Callable[[], None]:
        return lambda: self._expire(self._handle)
