"""What a thread that runs attempts does between two of them, as a change that may be broken off.

Such a thread sees no signals, but another thread may raise an exception in it at any step, as
libraries for timeouts do, a moment late (`PyThreadState_SetAsyncExc`). So it does as callers'
threads do, see `unfinished.py`: it says in `mutex.unfinished` that it is at it, and the next thread
that has the mutex does what is left. It is one object for all turns on a seat, and holds nothing of
them: all is told by the seat, by the job last taken, and by their statuses.

- The job on the seat is not in PROCESSING any more: its end was begun, and is seen through.
- A job was taken, and is still QUEUED: it goes back to the front of its lane.
- A job was taken, and is in PROCESSING: its attempt has begun, on this seat.

The attempt of a job that is still in PROCESSING on the seat is then ended by the thread itself, as
one that failed with that exception: `Turn.recover`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..model.transitions import Status
from ..runtime.clock import SystemClock
from ..runtime.mutex import acquire_in_turn, release_if_owned
from ..runtime.parking import Parker
from ..runtime.reporting import begun_in_handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import JobHandle
    from ..wal.format.record import Record
    from .outcomes import Outcomes
    from .seats import Seat

RECOVERIES_MAX = 10
"""How often in a row a thread goes on, if meanwhile no attempt of the queue has ended."""
IN_A_ROW_SECONDS = 1.0


def live(turn: Turn, work: Callable[[], None], died: Callable[[BaseException], None]) -> None:
    """All of a thread's life: it works until there is nothing more to take.

    It goes on whatever another thread raises in it, unless that comes again and again.

    Args:
        work: take jobs and run attempts, until there are no more. Called again after an exception.
        died: called with the error that ends the thread, if it is not that there is no more work.
    """
    try:
        try:
            _work_on(turn, work)
        except BaseException as error:  # noqa: BLE001  # it came before `recover` was called
            # guard: a thread that is hit again before it has recovered still does so
            #   without: _work_on(turn, work)
            _work_on(turn, work, error)
    except BaseException as error:
        died(error)
        raise


def _work_on(turn: Turn, work: Callable[[], None], error: BaseException | None = None) -> None:
    while True:
        try:
            # guard: a thread that was hit from outside of its handler goes on
            #   without: if error is not None:
            if error is not None and not turn.recover(error):
                break
            error = None
            work()
            return
        except BaseException as caught:  # noqa: BLE001  # looked at above
            error = caught
    raise error


class Turn:
    """The turns on one seat; all on the thread that runs its attempts, but for `finish`.

    Attributes:
        parker: what the thread sleeps in while there is nothing to do.
    """

    record: Record | None = None
    freed_bytes = 0
    ended: JobHandle | None = None

    def __init__(self, outcomes: Outcomes, seat: Seat) -> None:
        self.parker = Parker()
        self._outcomes = outcomes
        self._placement = outcomes.placement
        self._seat = seat
        self._count = 0  # of recoveries in a row
        self._since = 0.0  # when the first of them was
        self._ended_then = 0  # how many attempts had ended then

    def finish(self) -> None:
        """See `Change`."""
        seat, scheduler = self._seat, self._placement.scheduler
        handle = seat.handle
        if handle is not None and handle._status is not Status.PROCESSING:
            self._outcomes.returned_rest(seat, handle)
        taken = scheduler.taken
        if taken is not None and taken._status is Status.PROCESSING and seat.handle is None:
            seat.handle = taken
            scheduler.taken = None
        scheduler.put_back()
        if seat.handle is None:
            self._outcomes.rest(seat)
        else:
            self._outcomes.settle_in(seat, seat.handle)

    def recover(self, error: BaseException) -> bool:
        """An exception that is no handler's came out of the thread's work. Without the mutex.

        It may be broken off, too, and is called again then.

        Returns:
            Whether the thread can go on. If not, this was one time too many.
        """
        mutex, seat, outcomes = self._placement.mutex, self._seat, self._outcomes
        try:
            if not mutex._is_owned():  # it is if the exception came just before it was let go of
                acquire_in_turn(mutex)
            mutex.settle()
            self._placement.scheduler.get_up(self.parker)
            handle, told = seat.handle, seat.told
            if not self._may_go_on():
                return False
        finally:
            release_if_owned(mutex)
        # guard: an attempt that was hit outside of its handler has failed
        if handle is not None:
            outcomes.raised(seat, handle, begun_in_handler(error))
        # guard: callbacks that were hit are called
        if told is not None:
            outcomes.tell(seat, told)
        self._placement.reporter.report(
            logging.WARNING,
            "an exception that no handler raised came out of a thread that runs attempts, which "
            "goes on: another thread may have raised it there, as libraries for timeouts do",
            error,
        )
        return True

    def _may_go_on(self) -> bool:
        """With the mutex: note one more; whether they are not too many."""
        now, meters = SystemClock.monotonic(), self._placement.status.meters
        ended = sum(each.completed + each.retried + each.failed + each.cancelled for each in meters)
        if now - self._since > IN_A_ROW_SECONDS or ended != self._ended_then:
            self._since, self._ended_then, self._count = now, ended, 0
        self._count += 1
        # guard: a thread that cannot go on ends
        #   without: return True
        return self._count <= RECOVERIES_MAX
