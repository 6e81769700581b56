"""How an attempt begins, and what comes of it: completed, retried, failed for good, or cancelled.

Guarantees: every attempt that ends while the queue lives changes its job's status exactly once.
Relies on: the queue's mutex: held by the caller of `begin` and `returned`, taken by `raised`. No
user code and no logging under it.
"""

from __future__ import annotations

import logging
from contextvars import Context
from typing import TYPE_CHECKING

from ..model.context import StopRequest
from ..model.transitions import FINAL
from ..runtime.reporting import clear_frames, describe
from ..timing.timer import LONG_SECONDS, tick_after
from .counters import BusyMeter
from .queue_state import State
from .retrying import Retrying

if TYPE_CHECKING:
    from ..config import Config
    from ..model.handle import JobHandle
    from ..model.handlers import Handler
    from ..runtime.reporting import Failure
    from .placement import Placement
    from .queue_state import QueueState
    from .seats import Seat, Seats
    from .status_map import DeadLetter

_ENDED = State.ENDED  # a look into an enumeration is slow


class Outcomes:
    """The attempt port: what runs attempts, a worker thread or not, tells it of each of them.

    It calls `begin` once for a job that the scheduler gave it, then `returned` or `raised` once.
    After `returned` comes `begin` or `rest`, under the same hold of the mutex.

    Attributes:
        job_timeout: seconds that an attempt may take if its handler does not say; `None` for ever.
    """

    def __init__(
        self, config: Config, placement: Placement, state: QueueState, seats: Seats
    ) -> None:
        self.placement = placement
        self.state = state
        self.seats = seats
        self.busy = BusyMeter(placement.clock.monotonic())
        self.job_timeout = config.job_timeout
        self._config = config
        self._status = placement.status
        self._clock = placement.clock
        self._watchers = placement.watchers
        self._endings = placement.endings
        self._scheduler = placement.scheduler
        self._retrying = Retrying(config, placement.reporter)

    def begin(self, seat: Seat, handle: JobHandle, now: float, wall: float) -> Handler:
        """The job just taken runs on this seat from now on. With the mutex.

        Returns:
            What runs it.
        """
        placement = self.placement
        handler = handle._call
        assert handler is not None  # only jobs whose handler is known are in the lanes
        self._status.start(handle, now, wall)
        seat.handle = handle
        if placement.slots is not None:
            placement.slots.set(seat.slot, handle._number)  # guard: setting of a job's slot
        if handle._has_room:
            placement.free_room(handle)
        if handler.is_equipped or self.job_timeout is not None:
            handle._stop = StopRequest(placement.timer.sleep)
        return handler

    def timeout_of(self, handler: Handler) -> float | None:
        """Seconds that an attempt of this handler may take; `None` for ever. No mutex."""
        timeout = handler.policy.timeout
        return self.job_timeout if timeout is None else timeout

    def returned(
        self, seat: Seat, handle: JobHandle, result: object, now: float, wall: float
    ) -> None:
        """The handler returned. With the mutex.

        If no attempt begins on the seat before the mutex is let go of, `rest` is to be called.
        All may be at rest then: the worker thread looks at that if it finds nothing more to take.
        If the handle has callbacks now, it then calls `tell`, without the mutex.
        """
        if self.state.now >= _ENDED:  # guard: fencing of a late result
            return
        self._end_attempt(seat, handle, now)
        self._status.complete(handle, result, now, wall)
        if self.placement.journal is not None:
            self.placement.journal.completed(handle, wall)
        if self._endings.finished:
            self._endings.note(handle)

    def tell(self, handle: JobHandle) -> None:
        """Call the callbacks of a job that has ended; whatever they raise. Without the mutex."""
        try:
            Context().run(self._endings.tell, handle)
        except BaseException as error:  # noqa: BLE001  # raised by a user's code: the thread lives on
            message = f"a callback of job {handle.id!r} was interrupted"
            self.placement.reporter.report(logging.ERROR, message, error)

    def raised(
        self, seat: Seat, handle: JobHandle, error: BaseException, *, may_wait: bool = True
    ) -> None:
        """The attempt failed. Without the mutex.

        Args:
            may_wait: whether the calling thread may wait until the log record of it is made.
        """
        failure = describe(error)
        delay = self._retrying.delay(handle, error)
        evicted: DeadLetter | None = None
        attempt = handle._job._retries
        reporter = self.placement.reporter
        reporter.prepare()
        with self.placement.mutex:
            self.placement.mutex.settle()
            if self.state.now >= _ENDED:  # guard: fencing of a late error
                return
            now = self._clock.monotonic()
            self._end_attempt(seat, handle, now)
            self.rest(seat)
            if handle._stop is not None and handle._stop.cancelled:
                verdict = "it was cancelled"
                self._cancelled(handle, failure, now)
            elif delay is None:
                verdict = "it is kept as a dead letter"
                evicted = self._failed(handle, failure, error, now)
            else:
                verdict = f"it is tried again in {delay:.3g} s"
                self._retried(handle, failure, delay, now)
            has_ended = handle._status in FINAL
            if has_ended and self._endings.finished:
                self._endings.note(handle)
            if self._watchers.waiting:
                self._watchers.look()
        report = reporter.report_and_wait if may_wait else reporter.report
        report(
            logging.WARNING if delay is not None else logging.ERROR,
            f"job {handle.id!r}, attempt {attempt + 1}, failed: {failure[0]}; {verdict}",
            error,
        )
        if evicted is not None:
            reporter.report(
                logging.WARNING,
                f"dead letter {evicted.job.id!r} was dropped: there are more than "
                f"{self._config.max_dead_letters} (max_dead_letters)",
            )
        if has_ended:
            self._let_go_of(error)
            if handle._callbacks is not None:
                self.tell(handle)

    def _let_go_of(self, error: BaseException) -> None:
        """A kept handle keeps the error, but not all that its frames hold, now that it is told."""
        try:
            clear_frames(error)  # guard: a kept error holds nothing of its frames
        except BaseException as inner:  # noqa: BLE001  # a generator's, that was closed by it
            message = "what the frames of an error held could not be let go of"
            self.placement.reporter.report(logging.WARNING, message, inner)

    def rest(self, seat: Seat) -> None:
        """No attempt runs on this seat. With the mutex.

        The end of one attempt and the begin of the next are one store in the slot, for each may be
        a system call.
        """
        if self.placement.slots is not None and self.state.now < _ENDED:
            self.placement.slots.clear(seat.slot)  # guard: clearing of a job's slot

    def _end_attempt(self, seat: Seat, handle: JobHandle, now: float) -> None:
        seat.handle = None
        if handle is self._scheduler.isolated_job:
            self._scheduler.isolated_job_ended()
        busy, since = self.busy, handle._since
        if busy.second <= since and now < busy.next_second:
            busy.busy += now - since
        else:
            busy.add(since, now)
        if seat.overrunning:
            seat.overrunning = False
            self._status.meters[handle._job._priority].overrunning -= 1

    def _cancelled(self, handle: JobHandle, failure: Failure, now: float) -> None:
        wall = self._clock.time()
        handle._failure = failure
        self._status.cancel(handle, now, wall)
        if self.placement.journal is not None:
            self.placement.journal.cancelled(handle, wall, failure)

    def _failed(
        self, handle: JobHandle, failure: Failure, error: BaseException, now: float
    ) -> DeadLetter | None:
        wall = self._clock.time()
        evicted = self._status.fail(handle, failure, error, now, wall)
        journal = self.placement.journal
        if journal is not None:
            journal.failed(handle, failure, wall)
            if evicted is not None:
                journal.discarded(evicted)
        return evicted

    def _retried(self, handle: JobHandle, failure: Failure, delay: float, now: float) -> None:
        self._status.retry(handle, failure, now)
        handle._stop = None
        handle._since = now
        handle._due_tick = tick_after(now + delay)
        timer = self.placement.timer
        if delay > LONG_SECONDS:
            timer.schedule_through_sleep(handle, handle._due_tick, by_wall=False)
        else:
            timer.schedule(handle, handle._due_tick)
        if self.placement.journal is not None:
            wall = self._clock.time()
            self.placement.journal.retried(handle, failure, wall, wall + delay, delay)
