"""Attempts on the calling thread, for tests: nothing runs beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.context import runs_attempts
from ..model.handle import NOT_ARRIVED
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.outcomes import Outcomes
    from ..core.seats import Seat
    from ..model.context import StopRequest
    from ..model.handle import JobHandle


class BorrowedThread(Worker):
    """A worker that is the calling thread, and goes home if there is nothing to take.

    It is its own pool: no other worker stands in for it, since it is the only one.
    """

    def __init__(self, outcomes: Outcomes, seat: Seat) -> None:
        super().__init__(self, outcomes, "", seat)

    def work(self) -> None:
        """Run attempts until nothing is due. Without the mutex."""
        seats = self._outcomes.seats
        seats.sit(self.seat)
        before = runs_attempts(self._find_context)  # it may be a handler that calls this
        try:
            self._work()
        finally:
            runs_attempts(before)
            seats.sit(None)

    def _await_job(self) -> JobHandle | None:
        """What came due while the others ran; `None`, in place of a wait, if nothing did."""
        handle = self._take()
        # guard: jobs whose records are on their way to the log are run too
        if handle is None and self._is_more_to_come():
            handle = self._take()
        return handle

    def _take(self) -> JobHandle | None:
        placement, outcomes = self._placement, self._outcomes
        placement.timer.expire()
        placement.bindings.look_after()
        with placement.mutex:
            placement.mutex.settle()
            handle = placement.scheduler.take_ready()
            if handle is None:
                return None
            clock = placement.clock
            outcomes.begin(self.seat, handle, clock.monotonic(), clock.time())
            return handle

    def _is_more_to_come(self) -> bool:
        """Have the log take what it was told; whether jobs were waiting for that."""
        placement = self._placement
        with placement.mutex:
            placement.mutex.settle()
            live = placement.status.live.values()
            if placement.journal is None or all(each._since != NOT_ARRIVED for each in live):
                return False
        placement.journal.writer.flush()
        return True

    def is_here(self, worker: Worker) -> bool:
        """It is."""
        return True

    def ended(self, worker: Worker) -> None:
        """Never called: it does not wait for a job."""

    def died(self, worker: Worker, error: BaseException) -> None:
        """Never called: an error that is not a handler's goes to the caller."""

    def overran(
        self, worker: Worker, handle: JobHandle, stop: StopRequest, timeout: float
    ) -> Callable[[], None] | None:
        """Its attempt's time is up. On the timer's thread, with the timer's lock."""
        with self._placement.mutex:
            self._placement.mutex.settle()
            self._outcomes.seats.overran(worker.seat, handle, stop)
        return None
