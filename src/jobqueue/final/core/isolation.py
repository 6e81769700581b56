"""For how long a job that runs alone keeps others out, and attempts that hang keep it out.

A job one crash short of `max_crashes` runs alone, so that no other is blamed for its crash. Neither
it nor those that it waits for may stop the queue: each is waited for only so long.

Relies on: the queue's mutex, held by the caller of `begun` and `held_up`. The timer calls the rest.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from ..timing.timer import tick_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import JobHandle
    from .placement import Placement
    from .seats import Seats

SECONDS_MAX = 60.0
"""How long they are waited for if nothing says how long an attempt may take."""


class Isolation:
    """Lets the queue go on if a job that runs alone, or one that it waits for, hangs.

    Args:
        job_timeout: seconds that an attempt may take if its handler does not say.
    """

    def __init__(self, placement: Placement, seats: Seats, job_timeout: float | None) -> None:
        self._placement = placement
        self._scheduler = placement.scheduler
        self._seats = seats
        self._seconds = SECONDS_MAX if job_timeout is None else job_timeout
        self._held_up: JobHandle | None = None  # the job that waits to run alone
        self._scheduler.on_isolated = self.begun
        self._scheduler.on_held_up = self.held_up

    def begun(self, handle: JobHandle) -> None:
        """A job is about to run alone."""
        self._placement.suspects.discard(handle)  # if it is tried again, it is as any other
        timeout = None if handle._call is None else handle._call.policy.timeout
        self._call_in(self._seconds if timeout is None else timeout, self._let_others_in, handle)

    def held_up(self, handle: JobHandle) -> None:
        """A job is to run alone, and others run still."""
        if self._held_up is not handle:
            self._held_up = handle
            self._call_in(self._seconds, self._wait_no_more, handle)

    def _call_in(self, seconds: float, function: Callable[..., object], handle: JobHandle) -> None:
        tick = tick_after(self._placement.clock.monotonic() + seconds)
        self._placement.timer.schedule(partial(function, handle, seconds), tick)

    def _let_others_in(self, handle: JobHandle, seconds: float) -> Callable[[], None] | None:
        with self._placement.mutex:
            self._placement.mutex.settle()
            if self._scheduler.isolated_job is not handle:
                return None
            self._seats.pass_over_running()
            self._scheduler.isolated_job_ended()
        return partial(
            self._placement.reporter.report,
            logging.WARNING,
            f"job {handle.id!r}, which runs alone since the process died while it ran, takes more "
            f"than {seconds:g} s; others run beside it from now on",
        )

    def _wait_no_more(self, handle: JobHandle, seconds: float) -> Callable[[], None] | None:
        with self._placement.mutex:
            self._placement.mutex.settle()
            if not self._scheduler.suspects or self._scheduler.suspects[0] is not handle:
                self._held_up = None  # it may be paused, and be the next again later
                return None
            names = ", ".join(repr(each.id) for each in self._seats.pass_over_running())
            self._scheduler.look_at_suspects()
        return partial(
            self._placement.reporter.report,
            logging.WARNING,
            f"job {handle.id!r}, which is to run alone since the process died while it ran, has "
            f"waited {seconds:g} s for {names} to end; it runs beside them",
        )
