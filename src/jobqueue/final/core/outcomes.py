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
from ..model.handle import Raised
from ..model.job import about
from ..model.results import stored_result
from ..model.transitions import FINAL
from ..runtime.reporting import describe, trace_of
from ..runtime.tracebacks import let_go, stand_in_for
from .counters import BusyMeter
from .failing import Failing
from .queue_state import State
from .retrying import Retrying

if TYPE_CHECKING:
    from types import TracebackType

    from ..config import Config
    from ..model.handle import JobHandle
    from ..model.handlers import Handler
    from ..model.results import StoredResult
    from .placement import Placement
    from .queue_state import QueueState
    from .seats import Seat, Seats

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
        self._scheduler.taken = None
        if placement.slots is not None:
            placement.slots.set(seat.slot, handle._number)  # guard: setting of a job's slot
        if handle._has_room:
            placement.free_room(handle)
        if handle._ties is not None:
            placement.bindings.started(handle)
        if handler.is_equipped or self.job_timeout is not None:
            handle._stop = StopRequest(placement.timer.sleep, placement.closing)
        return handler

    def settle_in(self, seat: Seat, handle: JobHandle) -> None:
        """Do what is left of `begin` if that was broken off. With the mutex."""
        if self.placement.slots is not None and self.state.now < _ENDED:
            self.placement.slots.set(seat.slot, handle._number)
        self.placement.free_room(handle)
        if handle._ties is not None:
            self.placement.bindings.started(handle)

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
        stored = self._status.complete(handle, result, now, wall)
        if handle._ties is not None and handle._ties.children is not None:
            self._returned_with_children(handle, wall, stored)
        elif self.placement.journal is not None:
            self.placement.journal.completed(handle, wall, stored)
        if handle._ties is not None:
            self.placement.bindings.ended(handle)
        if self._endings.finished:
            self._endings.note(handle)
        if handle._callbacks is not None:
            seat.told = handle
        self._leave(seat, handle, handle._since, now)

    def returned_rest(self, seat: Seat, handle: JobHandle) -> None:
        """Do what is left of `returned` if that was broken off. With the mutex."""
        wall, stored = self._status.complete_rest(handle)
        if handle._ties is not None and handle._ties.children is not None:
            self._returned_with_children(handle, wall, stored)
        # guard: the end of a job that was broken off is recorded
        elif self.placement.journal is not None:
            self.placement.journal.completed_rest(handle, wall, stored)
        if handle._ties is not None:
            self.placement.bindings.ended(handle)
        if self._endings.finished:
            self._endings.note(handle)
        if handle._callbacks is not None:
            seat.told = handle
        since = handle._since
        self._leave(seat, handle, since, since)  # for how long is not known

    def _returned_with_children(
        self, handle: JobHandle, wall: float, stored: StoredResult | None
    ) -> None:
        """Record a completion, and the jobs that the handler has enqueued by it, at once."""
        records = self.placement.bindings.born(handle)
        if self.placement.journal is not None:
            self.placement.journal.completed_rest(handle, wall, stored, records)
        self.placement.bindings.arrive(handle)

    def keep(self, handle: JobHandle, result: object) -> None:
        """Have what a handler returned stay, beyond the job's handles; before `returned`.

        Without the mutex: what it calls, and what may end here (an older result), is code of users.

        Raises:
            RejectJobError: the job stores its result, and cannot store this one.
        """
        job = handle._job
        if not job._store_result:
            self._status.results.append((job._id, result))
            return
        codec = None if handle._call is None else handle._call.policy.result_codec
        handle._outcome = stored_result(job._id, result, codec)

    def tell(self, seat: Seat, handle: JobHandle) -> None:
        """Call the callbacks of a job that has ended; whatever they raise. Without the mutex."""
        try:
            Context().run(self._endings.tell, handle)
        except BaseException as error:  # noqa: BLE001  # raised by a user's code: the thread lives on
            message = f"a callback of job {handle.id!r} was interrupted"
            self.placement.reporter.report(logging.ERROR, message, error, about(handle._job))
            if handle._callbacks:  # it came between two of them
                Context().run(self._endings.tell, handle)
        seat.told = None

    def raised(
        self, seat: Seat, handle: JobHandle, error: BaseException, *, may_wait: bool = True
    ) -> None:
        """The attempt failed. Without the mutex.

        Args:
            may_wait: whether the calling thread may wait until the log record of it is made.
        """
        failure, trace = describe(error), trace_of(error)
        delay = self._retrying.delay(handle, error)
        # guard: a kept traceback holds nothing of its frames
        #   without: raised = Raised(error, trace)
        raised = Raised(error, trace if delay is not None else stand_in_for(trace))
        attempt = handle._job._retries
        reporter = self.placement.reporter
        reporter.prepare()
        with self.placement.mutex:
            self.placement.mutex.settle()
            if self.state.now >= _ENDED:  # guard: fencing of a late error
                return
            now = self._clock.monotonic()

            def leave(since: float) -> None:
                if handle._callbacks is not None and handle._status in FINAL:
                    seat.told = handle
                self.rest(seat)
                self._leave(seat, handle, since, now)

            change = Failing(self.placement, handle, failure, raised, delay, leave)
            self.placement.mutex.unfinished = change
            change.finish()
            self.placement.mutex.unfinished = None
            has_ended = handle._status in FINAL
            if self._watchers.waiting:
                self._watchers.look()
        report = reporter.report_and_wait if may_wait else reporter.report
        report(
            logging.WARNING if delay is not None else logging.ERROR,
            f"job {handle.id!r}, attempt {attempt + 1}, failed: {failure[0]}; {change.verdict}",
            error,
            about(handle._job, attempt),
        )
        if change.evicted is not None:
            reporter.report(
                logging.WARNING,
                f"dead letter {change.evicted.job.id!r} was dropped: there are more than "
                f"{self._config.max_dead_letters} (max_dead_letters)",
                about=about(change.evicted.job),
            )
        if has_ended:
            self._let_go_of(raised, trace)
            if seat.told is not None:
                self.tell(seat, handle)

    def _let_go_of(self, raised: Raised, trace: TracebackType | None) -> None:
        """A kept handle keeps the error, but not all that its frames hold, now that it is told."""
        try:
            # guard: a kept error holds nothing of its frames
            let_go(raised.error, trace, raised.trace)
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

    def _leave(self, seat: Seat, handle: JobHandle, since: float, now: float) -> None:
        """The last step of an attempt's end: until then the seat tells whose end it is."""
        if handle is self._scheduler.isolated_job:
            self._scheduler.isolated_job_ended()
        ties = handle._ties
        # As `left` looks first: a call costs more than a step in here.
        if ties is not None and (ties.passed is not None or ties.children is not None):
            self.placement.bindings.left(handle)
        busy = self.busy
        seat.handle = None  # one step
        if seat.overrunning:
            seat.overrunning = False
            self._status.meters[handle._job._priority].overrunning -= 1
        if self._scheduler.reserved:
            self._scheduler.rouse()
        if busy.second <= since and now < busy.next_second:
            busy.busy += now - since
        else:
            busy.add(since, now)
