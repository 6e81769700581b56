"""The runner of attempts for `executor="asyncio"`: one event loop, many attempts at once.

Attempts run on the loop of the coroutine that entered the queue (`async with`), or on a loop in a
thread of the queue's own (`with`, `start`). Each seat is a `Slot`, whose task goes from attempt to
attempt as a worker does. A slot that finds nothing ends its task, so that a thousand free seats are
a thousand entries of a list. One callback of the loop, `_dispatch`, stands in the scheduler's list
of sleepers for all of them, and gives the jobs that come to slots that are free.

Guarantees: as many attempts at once as there are seats, and one more for each that is past its
time, goes on though it was cancelled, or waits for another job, up to as many again. The loop's
thread waits for nothing but the mutex.
Relies on: the queue's mutex, taken here. All methods run on the loop's thread, unless they say
otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from ..core.queue_state import State
from ..core.turns import Turn
from ..errors import JobQueueError
from ..model.job import about
from ..runtime.clock import SystemClock
from .slot import Slot
from .threads import KeptThreads

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.outcomes import Outcomes
    from ..core.seats import Seat
    from ..model.context import StopRequest
    from ..model.handle import JobHandle
    from ..timing.timer import Timer
    from .slot import Begun

BEGUN_MAX = 32
"""How many jobs are begun in one hold of the mutex."""
LOOP_END_SECONDS = 1.0
"""What the loop's thread gets for its end, in real time, if the deadline has passed."""


class LoopRunners:
    """All slots of one queue.

    Args:
        fail: called, without the mutex, when attempts cannot run any more.

    Attributes:
        loop: where they run, once started.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self, outcomes: Outcomes, fail: Callable[[JobQueueError], None]) -> None:
        self.seats = outcomes.seats
        self.seats.make_stand_in = self._make_stand_in
        self.timer: Timer  # the placement gets it after this is made
        self.timeout_of = outcomes.timeout_of
        self._outcomes = outcomes
        self._placement = outcomes.placement
        self._mutex = outcomes.placement.mutex
        self._clock = outcomes.placement.clock
        self._fail = fail
        self._threads = KeptThreads("jobqueue-handler")
        self._thread: threading.Thread | None = None  # of the loop, if that is the queue's own
        self._is_started = False
        self._free: list[Slot] = []
        self._busy: set[Slot] = set()
        self._made = 0  # slots that were made, but for those that stand in
        self._is_due = False  # whether `_dispatch` is among the loop's callbacks
        self._is_asleep = False  # whether it stands among the sleepers; guarded by the mutex

    # ── a caller's thread ────────────────────────────────────────────────────────────────────

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have attempts run on this loop; does nothing once they have started."""
        if not self._is_started:
            self.loop = loop

    def start(self) -> None:
        """Begin to run attempts; starts a loop in a thread if there is none to use."""
        self._is_started = True
        self.timer = self._placement.timer
        if not hasattr(self, "loop"):
            self.loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._run_loop, name="jobqueue-loop", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:  # the system gives no thread
                self.loop.close()
                raise
        self.seats.refuse_sleep = self._refuse_sleep
        self.loop.call_soon_threadsafe(self._dispatch_soon)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    def run_here(self) -> None:
        """Refused: a loop runs the handlers, not the calling thread."""
        raise RuntimeError(
            "run_all runs handlers on the calling thread, and this queue's run on an event loop; "
            "use Config(executor='thread') in such tests, or await queue.ajoin()"
        )

    def join(self, timeout: float) -> None:
        """Cancel what still runs, and wait for the threads; at most so many seconds.

        Called once the queue has drawn the line: what still runs touches nothing any more.
        """
        deadline = SystemClock.monotonic() + max(timeout, LOOP_END_SECONDS)
        self._threads.stop()
        if not self._is_started:
            return
        try:
            self.loop.call_soon_threadsafe(self._cancel_all)
        except RuntimeError:  # the loop is closed
            return
        if self._thread is not None:
            self._thread.join(deadline - SystemClock.monotonic())
        self._threads.join(deadline - SystemClock.monotonic())

    def _refuse_sleep(self, instead: str) -> None:
        """Any thread: raises if it is the loop's, which must not sleep.

        Args:
            instead: the awaited form.
        """
        try:
            is_here = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return
        if is_here:
            raise RuntimeError(
                f"this would hold up the event loop, and with it the handlers that it waits for; "
                f"write: {instead}"
            )

    # ── the loop's thread ────────────────────────────────────────────────────────────────────

    def _dispatch_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self.loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Begin jobs on the slots that are free; if there are none left, sleep."""
        self._is_due = False
        begun: list[Begun] = []
        with self._mutex:
            self._mutex.settle()
            if self._is_asleep:
                self._placement.scheduler.rise(self)
                self._is_asleep = False
            self._make_slots()
            self._take_for_free(begun)
            has_more = len(begun) == BEGUN_MAX
            if not has_more and len(begun) < len(self._free):
                self._sleep()
        for job in begun:
            slot = self._free.pop()
            self._busy.add(slot)
            slot.start(job)
        if has_more:
            self._dispatch_soon()

    def _take_for_free(self, begun: list[Begun]) -> None:
        """With the mutex: begin jobs on free slots, from the last one on."""
        while len(begun) < min(BEGUN_MAX, len(self._free)):
            taken = self._take(self._free[-1 - len(begun)])
            if taken is None:
                break
            begun.append(taken)

    def _make_slots(self) -> None:
        """With the mutex: a few at a time, since there may be many, and few jobs."""
        if len(self._free) < BEGUN_MAX:
            new = min(BEGUN_MAX, self.seats.size - self._made)
            self._made += new
            self._free[:0] = [self._make_slot(self.seats.add()) for _ in range(new)]

    def _make_slot(self, seat: Seat) -> Slot:
        return Slot(self, seat, Turn(self._outcomes, seat))

    def _take(self, slot: Slot) -> Begun | None:
        """With the mutex: begin the next job on this slot.

        The loop's thread may see signals, so what is broken off here is left to the next thread.
        """
        self._mutex.unfinished = slot.turn
        begun: Begun | None = None
        handle = self._placement.scheduler.take_ready()
        if handle is not None:
            clock = self._placement.clock
            now, wall = clock.monotonic(), clock.time()
            begun = handle, self._outcomes.begin(slot.seat, handle, now, wall)
        self._mutex.unfinished = None
        return begun

    def _sleep(self) -> None:
        """With the mutex: have `_dispatch` called when there is something to take."""
        if not (self._is_asleep or self._placement.scheduler.stopped):
            self._placement.scheduler.lie_down(self)
            self._is_asleep = True
        if self._placement.watchers.waiting:
            self._placement.watchers.look()

    def unpark(self) -> None:
        """There is something to take. Any thread, with the mutex."""
        try:
            self.loop.call_soon_threadsafe(self._dispatch_soon)
        except RuntimeError:  # its loop was closed under it
            fault = JobQueueError(
                "the event loop that ran the handlers was closed before the queue; close the "
                "queue first: async with queue: …"
            )
            self._placement.timer.call_soon(lambda: self._fail(fault))

    def keep(self, handle: JobHandle, result: object) -> BaseException | None:
        """Have the result stay, beyond the job's handles; returns what is wrong with it."""
        if not handle._job._store_result:
            self._placement.status.results.append((handle._job._id, result))  # as `keep` does
            return None
        try:
            self._outcomes.keep(handle, result)
        except BaseException as error:  # noqa: BLE001  # whatever a codec may raise
            return error
        return None

    def next_for(
        self, slot: Slot, handle: JobHandle, result: object, error: BaseException | None
    ) -> Begun | None:
        """Settle an attempt and begin the next on the same slot.

        `None` if there is none, or if the slot's task may run no other: then it ends.
        """
        outcomes, task = self._outcomes, slot.task
        if error is not None:
            outcomes.raised(slot.seat, handle, error, may_wait=False)
        may_go_on = task is not None and not task.cancelling()
        begun: Begun | None = None
        mutex, seat, clock = self._mutex, slot.seat, self._clock
        with mutex:
            if mutex.unfinished is not None:
                mutex.settle()
            now, wall = clock.monotonic(), clock.time()
            mutex.unfinished = slot.turn
            if error is None:
                outcomes.returned(seat, handle, result, now, wall)
            is_spare = seat.replaced and self.seats.is_spare(seat)
            is_told = error is None and handle._callbacks is not None
            if may_go_on and not (is_spare or is_told):
                following = self._placement.scheduler.take_ready()
                if following is not None:
                    begun = following, outcomes.begin(seat, following, now, wall)
            mutex.unfinished = None
            if begun is None:
                outcomes.rest(slot.seat)
                self._mutex.unfinished = None
                self._busy.discard(slot)
                if is_spare:
                    self.seats.remove(slot.seat)
                else:
                    self._free.append(slot)
                    self._sleep()
        if is_told:
            outcomes.tell(slot.seat, handle)
        if begun is None and (is_told or not may_go_on):
            self._dispatch_soon()  # it has not looked whether there is more
        return begun

    def in_thread(self, function: Callable[[], None]) -> None:
        """Have a thread call a function, for a handler that is no coroutine function."""
        self._threads.run(function)

    def _cancel_all(self) -> None:
        """The queue is closed: nothing that still runs is waited for."""
        tasks = [slot.task for slot in self._busy if slot.task is not None]
        for task in tasks:
            task.cancel()
        if self._thread is not None:
            ended = asyncio.gather(*tasks, return_exceptions=True)
            ended.add_done_callback(lambda _: self.loop.stop())

    # ── attempts that overrun ────────────────────────────────────────────────────────────────

    def overran(
        self, slot: Slot, handle: JobHandle, stop: StopRequest, timeout: float
    ) -> Callable[[], None] | None:
        """An attempt's time is up: ask it to stop, and have another slot stand in for its own.

        On the timer's thread, with the timer's lock.

        Returns:
            What is left to be done without any lock.
        """
        with self._mutex:
            self._mutex.settle()
            if not self.seats.overran(slot.seat, handle, stop):
                return None
            stand_in = self._make_replacement(slot)

        def finish() -> None:
            slot.cancel_late(stop)
            if stand_in is not None:
                self._add(stand_in)
            self._placement.reporter.report(
                logging.WARNING,
                f"job {handle.id!r} runs longer than {timeout:g} s (job_timeout) and was "
                f"asked to stop",
                about=about(handle._job, handle._job._retries),
            )

        return finish

    def outlived(self, slot: Slot, stop: StopRequest) -> None:
        """A coroutine was cancelled and goes on: have another slot stand in for its own."""
        stand_in = None
        with self._mutex:
            self._mutex.settle()
            if self.seats.outlived(slot.seat, stop):
                stand_in = self._make_replacement(slot)
        if stand_in is not None:
            self._add(stand_in)

    def _make_replacement(self, slot: Slot) -> Slot | None:
        """With the mutex: a slot to stand in for one whose attempt overruns, if there may be."""
        if self._outcomes.state.now >= State.CLOSING:
            return None
        seat = self.seats.replace(slot.seat)
        return None if seat is None else self._make_slot(seat)

    def _make_stand_in(self, seat: Seat) -> Callable[[], None]:
        """Any thread, with the mutex: see `Seats.make_stand_in`."""
        return partial(self._add, self._make_slot(self.seats.add()))

    def _add(self, slot: Slot) -> None:
        """Any thread, without the mutex: one more attempt may run."""

        def add() -> None:
            self._free.append(slot)
            self._dispatch_soon()

        try:
            self.loop.call_soon_threadsafe(add)
        except RuntimeError:  # the loop is closed
            pass
