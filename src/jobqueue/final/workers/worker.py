"""One worker thread: takes a job, runs its handler, reports what came of it.

An attempt is a pipeline of small steps: take and start, equip (context, deadline), call (no lock
held), settle. Take and start are one step under the mutex, together with the end of the attempt
before.

Each attempt runs in a context (`contextvars`) of its own, which is empty at first. A copy of the
context in which the queue was made would tell all jobs of whatever request was served just then,
and would be another one after a restart. A context that is still empty at the end serves again.

Guarantees: whatever a handler raises, the worker lives on, and whatever another thread raises in
this one, wherever that is (`core/turns.py`). The worker keeps nothing of a job while it waits for
the next.
Relies on: the queue's mutex, taken here.
"""

from __future__ import annotations

import threading
from contextvars import Context
from typing import TYPE_CHECKING, Protocol, cast

from ..core.turns import Turn, live
from ..model.context import RUNNING, JobContext, StopRequest, runs_attempts
from ..model.handlers import name_of
from ..model.undone import DONE, refuse_undone
from ..runtime.mutex import WORKER, acquire_in_turn, release_if_owned
from ..runtime.reporting import begun_in_handler
from ..timing.timer import tick_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.outcomes import Outcomes
    from ..core.seats import Seat
    from ..model.handle import JobHandle
    from ..model.handlers import Handler


class Pool(Protocol):
    """What a worker tells of itself, on its own thread; see `WorkerPool`."""

    def ended(self, worker: Worker, /) -> None:
        """Its thread is about to end. With the mutex."""

    def is_here(self, worker: Worker, /) -> bool:
        """Whether it has not ended, even if its thread has been hit as it did. With the mutex."""

    def died(self, worker: Worker, error: BaseException, /) -> None:
        """Its thread ends, for it cannot go on. Without the mutex."""

    def overran(
        self, worker: Worker, handle: JobHandle, stop: StopRequest, timeout: float, /
    ) -> Callable[[], None] | None:
        """Its attempt's time is up. On the timer's thread, with the timer's lock."""


class Worker:
    """A thread of the pool, and the seat on which its attempts run."""

    def __init__(self, pool: Pool, outcomes: Outcomes, name: str, seat: Seat) -> None:
        self.seat = seat
        self._pool = pool
        self._outcomes = outcomes
        self._placement = outcomes.placement
        self._turn = Turn(outcomes, seat)
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        live(self._turn, self._take_seat_and_work, lambda error: self._pool.died(self, error))

    def _take_seat_and_work(self) -> None:
        self._outcomes.seats.sit(self.seat)
        runs_attempts(self._find_context)
        self._work()

    def _work(self) -> None:  # noqa: PLR0912, PLR0915  # a call costs more than a step in here
        """One attempt after another, until there is nothing more to take."""
        placement, outcomes, seat = self._placement, self._outcomes, self.seat
        mutex, scheduler, turn = placement.mutex, placement.scheduler, self._turn
        keep = placement.status.results.append
        monotonic, time = placement.clock.monotonic, placement.clock.time
        done: JobHandle | None = None
        result: object = None
        context = Context()
        while True:
            try:
                if not mutex.acquire(False):  # mostly it is free, and a function call would be dear
                    acquire_in_turn(mutex)
                mutex.claimant = WORKER
                if mutex.unfinished is not None:
                    mutex.settle()
                now, wall = monotonic(), time()
                mutex.unfinished = turn
                if done is not None:
                    outcomes.returned(seat, done, result, now, wall)
                is_spare = seat.replaced and outcomes.seats.is_spare(seat)
                is_told = seat.told is not None
                # guard: no job is begun before the callbacks of the one before have been called
                #   without: handle = None if is_spare else scheduler.take_ready()
                handle = None if is_spare or is_told else scheduler.take_ready()
                if handle is not None:
                    handler = outcomes.begin(seat, handle, now, wall)
                else:
                    self._rest(done is not None)
                mutex.unfinished = None
            finally:
                release_if_owned(mutex)
            if is_told and done is not None:
                outcomes.tell(seat, done)
            done = result = None  # not under the mutex: finalizers of them are the user's code
            if handle is None:
                handle = self._await_job()
                if handle is None:
                    return
                handler = cast("Handler", handle._call)
            try:
                if handle._stop is None:
                    result = context.run(handler.function, handle._job._payload)
                else:
                    result = context.run(self._call_equipped, handle, handle._stop, handler)
                if type(result) not in DONE:
                    refuse_undone(result, name_of(handler.function))
                if handle._job._store_result:
                    outcomes.keep(handle, result)
                else:
                    keep((handle._job._id, result))  # as `Outcomes.keep` does
                done = handle
            except BaseException as error:  # noqa: BLE001  # whatever a handler may raise
                outcomes.raised(seat, handle, begun_in_handler(error))
            del handle, handler  # also what a job's own handler holds
            # guard: what an attempt leaves in its context is not seen by the next
            if context:
                context = Context()

    def _rest(self, has_returned: bool) -> None:
        """With the mutex: there is nothing to take, maybe after an attempt that returned."""
        if has_returned:
            self._outcomes.rest(self.seat)
        # guard: a worker that finds nothing more tells who waits for that
        if self._placement.watchers.waiting:
            self._placement.watchers.look()

    def _await_job(self) -> JobHandle | None:
        """Sleep until there is a job, and start it; `None` when the thread is to end."""
        placement, outcomes = self._placement, self._outcomes
        mutex, clock = placement.mutex, placement.clock
        try:
            acquire_in_turn(mutex)
            mutex.settle()
            is_spare = not self._pool.is_here(self) or outcomes.seats.is_spare(self.seat)
            turn = self._turn
            handle = None if is_spare else placement.scheduler.take(turn, turn.parker)
            if handle is None:
                self._pool.ended(self)
                return None
            outcomes.begin(self.seat, handle, clock.monotonic(), clock.time())
            mutex.unfinished = None
            return handle
        finally:
            release_if_owned(mutex)

    def _call_equipped(self, handle: JobHandle, stop: StopRequest, handler: Handler) -> object:
        """Call a handler that wants the context, or that has a deadline."""
        timer, deadline = self._placement.timer, None
        alarm: _Deadline | None = None
        timeout = self._outcomes.timeout_of(handler)
        if timeout is not None:
            deadline = handle._since + timeout
            alarm = _Deadline(self._pool, self, handle, stop, timeout)
            tick = tick_after(deadline)
            timer.schedule(alarm, tick)
        try:
            context = JobContext(handle._job, handle._job._retries, deadline, stop, handle)
            RUNNING.set(context)
            result = handler.call(handle._job._payload, context)
        finally:
            if alarm is not None:
                timer.remove(alarm, tick)
        if stop.overran:
            raise TimeoutError(f"the attempt took longer than {timeout:g} s (job_timeout)")
        return result

    def _find_context(self) -> JobContext | None:
        """The context of the attempt of a handler that was called without; on its thread."""
        mutex = self._placement.mutex
        if mutex._is_owned():  # a finalizer that interrupts the queue's own code is no handler
            return None
        with mutex:
            handle = self.seat.handle
            if handle is None:
                return None
            timer, closing = self._placement.timer, self._placement.closing
            stop = handle._stop = handle._stop or StopRequest(timer.sleep, closing)
        return JobContext(handle._job, handle._job._retries, None, stop, handle)


class _Deadline:
    """Called by the timer when an attempt's time is up."""

    __slots__ = ("_args", "_pool")

    def __init__(
        self, pool: Pool, worker: Worker, handle: JobHandle, stop: StopRequest, timeout: float
    ) -> None:
        self._pool = pool
        self._args = (worker, handle, stop, timeout)

    def __call__(self) -> Callable[[], None] | None:
        return self._pool.overran(*self._args)
