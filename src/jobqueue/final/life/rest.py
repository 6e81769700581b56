"""Whether a queue that closes has come to rest: nothing runs, or nothing is left that could.

Relies on: the queue's mutex, held by the caller of every method that does not say otherwise.
"""

from __future__ import annotations

import logging
from itertools import chain, islice
from typing import TYPE_CHECKING

from ..core.turnstiles import Bucket
from ..model.transitions import Status
from ..timing.timer import tick_after

if TYPE_CHECKING:
    from ..core.placement import Placement
    from ..core.queue_state import QueueState
    from ..model.handle import JobHandle

_NAMED = 3
"""Of so many jobs that are dropped the ids are told."""


class Rest:
    """Looks at the jobs of one queue.

    Attributes:
        started: whether its workers have been started.
        is_given_up: whether `close` is to wait for nothing any more. May be set without the mutex.
    """

    def __init__(self, placement: Placement, state: QueueState) -> None:
        self.started = False
        self.is_given_up = False
        self._last_tick: int | None = None
        self._placement = placement
        self._state = state

    def wait_for(self, last_tick: int | None) -> None:
        """Set what `has_come` is about.

        Args:
            last_tick: all that could run until then; `None`: what runs, and nothing starts.
        """
        self._last_tick = last_tick
        if last_tick is None:
            self._placement.scheduler.stop()

    def has_come(self) -> bool:
        """Whether there is nothing more to wait for."""
        tick = self._last_tick
        return self.is_still() if tick is None else self.has_drained(tick)

    def is_still(self) -> bool:
        """No handler runs, or those that do have been given up."""
        # guard: a handler that was given up is waited for no more
        #   without: return self.count("processing") == 0
        return self.is_given_up or self.count("processing") == 0

    def has_drained(self, deadline_tick: int) -> bool:
        """See `_is_drained`; once it is so, no `resume` starts a job any more."""
        if not self._is_drained(deadline_tick):
            return False
        self._placement.scheduler.stop()
        return True

    def _is_drained(self, deadline_tick: int) -> bool:
        """Nothing is left that could run before the deadline."""
        if self.is_given_up or self._state.fault is not None:
            return self.is_still()
        scheduler, pausing = self._placement.scheduler, self._placement.scheduler.pausing
        can_run = self.started and not (scheduler.paused or scheduler.stopped)
        queued = self.count("queued") - self._placement.registry.parked_count
        queued -= pausing.held_count()
        if self.count("processing") or self._placement.bindings.has_doomed:
            return False
        if can_run and queued > 0 and not self._come_too_late(queued, deadline_tick):
            return False
        if self._placement.clock.manual or not can_run:
            return True
        return not any(
            handle._status is Status.SCHEDULED and 0 < handle._due_tick <= deadline_tick
            for handle in self._placement.status.live.values()
            if not pausing.holds(handle)
        )

    def _come_too_late(self, queued: int, deadline_tick: int) -> bool:
        """Whether all that is queued waits for tokens of rates that come after the deadline."""
        placement, clock = self._placement, self._placement.clock
        for lane in placement.scheduler.lanes:
            lane.has_work()  # as it is looked at, jobs step aside that may not start
        aside, now = placement.bindings.aside, clock.monotonic()
        if queued > sum(map(len, aside)):
            return False

        def is_late(handle: JobHandle) -> bool:
            line = None if handle._ties is None else handle._ties.line
            if not isinstance(line, Bucket):
                return False
            tick = tick_after(now + line.seconds_to_token(now))
            # guard: a drain does not wait for a token that comes too late
            #   without: return False
            return clock.manual or tick > deadline_tick

        return all(map(is_late, chain.from_iterable(aside)))  # mostly the first is not

    def finished(self) -> int:
        """How many jobs have ended so far."""
        return self.count("completed") + self.count("failed") + self.count("cancelled")

    def tell_dropped(self, remaining: int, because: str | None) -> None:
        """Tell of the jobs that are left in memory, by a record.

        It takes the mutex by itself: so late nobody waits for it.

        Args:
            remaining: how many.
            because: why, if not by a `close`.
        """
        # A queue that was never started is somebody's test.
        reason = because or ("it was closed" if self.started else None)
        # guard: what a queue in memory drops is told
        #   without: if True:
        if not (reason and remaining) or self._placement.journal is not None:
            return
        with self._placement.mutex:
            self._placement.mutex.settle()
            waiting = (
                handle._job._id
                for handle in self._placement.status.live.values()
                if handle._status is not Status.PROCESSING
            )
            named = [repr(each) for each in islice(waiting, _NAMED)]
            scheduled = self.count("scheduled")
        what = "1 job that waited was" if remaining == 1 else f"{remaining} jobs that waited were"
        later = f" ({scheduled} of them due later)" if scheduled else ""
        more = ", …" if remaining > len(named) else ""
        self._placement.reporter.report(
            logging.WARNING,
            f"{what} dropped{later} by a queue in memory, as {reason}: {', '.join(named)}{more}; "
            f"one with a log, Config(persist_path=...), keeps such jobs",
        )

    def count(self, name: str) -> int:
        """A number of the meters, over all lanes."""
        total: int = sum(getattr(meter, name) for meter in self._placement.status.meters)
        return total
