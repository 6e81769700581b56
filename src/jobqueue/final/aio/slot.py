"""One seat of an event loop, and the task that runs attempts on it, one after another.

It is to the loop what a worker is to its thread: take, run, settle, and the end of one attempt and
the beginning of the next in one hold of the mutex. So a handler that has nothing to wait for costs
the loop no callback.

Guarantees: whatever a handler raises, the next attempt runs. A coroutine that is asked to stop
(`cancel`, or its time is up) is cancelled. A task that was cancelled, by the queue or by others,
runs no further attempt: asyncio counts the cancellations of a task, and they would add up.
Relies on: the loop's thread, which calls all that does not say otherwise.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

from ..core.seats import SITTING
from ..model.context import RUNNING, JobContext
from ..model.handlers import name_of
from ..model.undone import DONE, undone
from ..runtime.reporting import begun_in_handler
from ..timing.timer import tick_after
from .in_context import Abandoned, InContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.seats import Seat, Seats
    from ..core.turns import Turn
    from ..model.context import StopRequest
    from ..model.handle import JobHandle
    from ..model.handlers import Handler
    from ..timing.timer import Timer

    Begun = tuple[JobHandle, Handler]

STRAIGHT_MAX = 16
"""How many attempts that wait for nothing are run before the loop goes on."""


class Runner(Protocol):
    """What a slot needs of the runner that it belongs to; see `LoopRunners`."""

    loop: asyncio.AbstractEventLoop
    seats: Seats
    timer: Timer

    def timeout_of(self, handler: Handler, /) -> float | None:
        """Seconds that an attempt may take; `None` for ever."""

    def keep(self, handle: JobHandle, result: object, /) -> BaseException | None:
        """Have the result stay, beyond the job's handles; or what is wrong with it."""

    def next_for(
        self, slot: Slot, handle: JobHandle, result: object, error: BaseException | None, /
    ) -> Begun | None:
        """Settle an attempt and begin the next; `None`: there is none, or not for this task."""

    def overran(
        self, slot: Slot, handle: JobHandle, stop: StopRequest, timeout: float, /
    ) -> Callable[[], None] | None:
        """An attempt's time is up. On the timer's thread, with the timer's lock."""

    def outlived(self, slot: Slot, stop: StopRequest, /) -> None:
        """A coroutine was cancelled and goes on."""

    def in_thread(self, function: Callable[[], None], /) -> None:
        """Have a thread call a function that raises nothing."""


class Slot:
    """A seat, and what runs on it.

    Attributes:
        seat: the seat.
        turn: says in `mutex.unfinished` that an attempt ends or begins here.
        task: runs the attempts; `None` while there is none to run.
    """

    def __init__(self, runner: Runner, seat: Seat, turn: Turn) -> None:
        self.seat = seat
        self.turn = turn
        self.task: asyncio.Task[None] | None = None
        self._runner = runner
        self._first: Begun | None = None  # what a new task is for, until it takes its first step
        self._stop: StopRequest | None = None  # of the coroutine that runs
        self._context = self._new_context()
        self._coroutine: Any = None  # of the attempt
        self._cancelled: StopRequest | None = None  # for whose cancel the coroutine was cancelled

    def start(self, begun: Begun) -> None:
        """Run an attempt that has begun, and those that follow."""
        self._first = begun
        self.task = self._runner.loop.create_task(self._work(begun), name="jobqueue-slot")
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Settle what a task was for that others cancelled before its first step."""
        if task is not self.task:  # it had given the slot back, which has a new task by now
            return
        first, self._first = self._first, None
        if first is not None:
            self._runner.next_for(self, first[0], None, asyncio.CancelledError())

    async def _work(self, begun: Begun | None) -> None:
        self._first = None
        straight = 0
        while begun is not None:
            handle, handler = begun
            stop = handle._stop
            assert stop is not None  # `begin` makes one for handlers that are equipped, as all here
            about, alarm = self._equip(handle, handler, stop)
            result, error = None, None
            self._stop = stop if handler.is_async else None
            stop.listen(self)
            straight += 1
            try:
                awaited = self._context.run(self._begin, handler, about)
                straight = 0
                result = await InContext(self._context, self._coroutine, awaited)
            except StopIteration as end:  # it waited for nothing
                result = end.value
            except Abandoned:
                raise GeneratorExit from None
            except BaseException as raised:  # noqa: BLE001  # whatever a handler may raise
                error = begun_in_handler(raised)
            self._stop = None
            if type(result) not in DONE:
                error = undone(result, name_of(handler.function))
            if alarm is not None:
                self._runner.timer.remove(alarm, alarm.tick)
                error = alarm.instead_of(error)
            if error is None:
                error = self._runner.keep(handle, result)
            del begun, handler, about, alarm  # what they hold is let go
            self._coroutine = self._cancelled = None
            begun = self._runner.next_for(self, handle, result, error)
            del handle, result, error
            if straight == STRAIGHT_MAX:
                straight = 0
                await asyncio.sleep(0)
        self._context = self._new_context()  # the old one knows the last attempt

    def _equip(
        self, handle: JobHandle, handler: Handler, stop: StopRequest
    ) -> tuple[JobContext, _Alarm | None]:
        """What the handler can ask of the attempt, and what ends its time, if that is limited."""
        job, timeout = handle._job, self._runner.timeout_of(handler)
        if len(self._context) > 2:  # the last attempt left something in it; else it is as new
            self._context = self._new_context()
        if timeout is None:
            return JobContext(job, job._retries, None, stop, handle), None
        alarm = _Alarm(self._runner, self, handle, stop, timeout)
        self._runner.timer.schedule(alarm, alarm.tick)
        return JobContext(job, job._retries, handle._since + timeout, stop, handle), alarm

    def _begin(self, handler: Handler, about: JobContext) -> object:
        """In the attempt's context: the first step; what it gives is for the task to wait for.

        Raises:
            StopIteration: that was all, with the result.
        """
        RUNNING.set(about)
        if handler.is_async:
            self._coroutine = handler.call(about.job._payload, about)
        else:
            self._coroutine = self._call_in_thread(handler, about)
        return self._coroutine.send(None)

    def _new_context(self) -> Context:
        context = Context()
        context.run(SITTING.set, (self._runner.seats, self.seat))
        return context

    # ── being asked to stop ──────────────────────────────────────────────────────────────────

    def unpark(self) -> None:
        """The attempt is asked to stop. Any thread, with the request's lock; perhaps twice."""
        stop = self._stop
        if stop is not None and stop.cancelled:  # else its time is up: see `LoopRunners.overran`
            self._soon(self._cancel_for_caller, stop)

    def _cancel_for_caller(self, stop: StopRequest) -> None:
        if self._cancelled is not stop:
            self._cancelled = stop
            self._cancel(stop)
            # Called when the coroutine has got its cancellation. If that goes on by way of other
            # tasks, a few rounds later: until then it overruns, which does no harm.
            self._runner.loop.call_soon(self._look_after_cancel, stop)

    def _look_after_cancel(self, stop: StopRequest) -> None:
        if self._stop is stop:
            self._runner.outlived(self, stop)

    def cancel_late(self, stop: StopRequest) -> None:
        """Cancel the coroutine that `stop` is for: its time is up. Any thread."""
        self._soon(self._cancel, stop)

    def _cancel(self, stop: StopRequest) -> None:
        if self._stop is stop and self.task is not None:  # else the attempt has ended
            self.task.cancel()

    def _soon(self, function: Callable[[StopRequest], None], stop: StopRequest) -> None:
        try:
            self._runner.loop.call_soon_threadsafe(function, stop)
        except RuntimeError:  # the loop is closed, and nothing runs there any more
            pass

    # ── a plain function ─────────────────────────────────────────────────────────────────────

    async def _call_in_thread(self, handler: Handler, about: JobContext) -> object:
        """Have a thread call a plain function, in the attempt's context."""
        loop, context = self._runner.loop, self._context.copy()
        ended: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()

        def end(result: object, error: BaseException | None) -> None:
            if not ended.cancelled():
                ended.set_result((result, error))

        def run() -> None:
            """On a thread of the handlers'."""
            result, error = None, None
            try:
                result = context.run(handler.call, about.job._payload, about)
            except BaseException as raised:  # noqa: BLE001  # whatever a handler may raise
                error = raised
            try:
                loop.call_soon_threadsafe(end, result, error)
            except RuntimeError:  # the loop is closed: the queue was given up
                pass

        self._runner.in_thread(run)
        result, error = await ended
        if isinstance(error, StopIteration):  # which no coroutine may raise
            raise RuntimeError(f"the handler raised {error!r}") from error
        if error is not None:
            raise error
        return result


class _Alarm:
    """Called by the timer when an attempt's time is up."""

    __slots__ = ("_args", "_runner", "tick")

    def __init__(
        self, runner: Runner, slot: Slot, handle: JobHandle, stop: StopRequest, timeout: float
    ) -> None:
        self._runner = runner
        self._args = (slot, handle, stop, timeout)
        self.tick = tick_after(handle._since + timeout)

    def __call__(self) -> Callable[[], None] | None:
        return self._runner.overran(*self._args)

    def instead_of(self, error: BaseException | None) -> BaseException | None:
        """What the attempt raised; if its time was up, that."""
        _, _, stop, timeout = self._args
        if not stop.overran or (stop.cancelled and error is not None):
            return error
        late = TimeoutError(f"the attempt took longer than {timeout:g} s (job_timeout)")
        late.__cause__ = error
        return late
