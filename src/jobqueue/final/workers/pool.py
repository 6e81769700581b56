"""The worker threads: as many as configured are able to work, whatever handlers do.

Guarantees: if an attempt overruns its time, another worker stands in for its worker; at most
`num_workers` workers stand in. The worker that was stood in for ends with its attempt, unless it
can stand in for another that has no stand-in yet. If the system gives no thread for a stand-in, it
is asked again each second, until it does or no worker is missing any more.
Relies on: the queue's mutex: held by the caller of `ended`, taken by the other methods.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from functools import partial
from typing import TYPE_CHECKING

from ..core.queue_state import State
from ..errors import JobQueueError, thread_died
from ..model.job import about
from ..runtime.clock import SystemClock
from ..runtime.mutex import has_gil
from ..runtime.starting import start_elsewhere
from ..timing.timer import tick_after
from .in_this_thread import BorrowedThread
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.outcomes import Outcomes
    from ..core.seats import Seat
    from ..model.context import StopRequest
    from ..model.handle import JobHandle


AGAIN_SECONDS = 1.0
"""After so long the system is asked again for a thread that it did not give."""


class WorkerPool:
    """All workers of one queue.

    Args:
        fail: called, without the mutex, when a worker thread has died.
    """

    def __init__(self, outcomes: Outcomes, fail: Callable[[JobQueueError], None]) -> None:
        self.seats = outcomes.seats
        self.seats.make_stand_in = self._make_stand_in
        self.workers: set[Worker] = set()
        self._outcomes = outcomes
        self._mutex = outcomes.placement.mutex
        self._reporter = outcomes.placement.reporter
        self._fail = fail
        self._made = 0
        self._leaving: set[threading.Thread] = set()

    def start(self) -> None:
        """Start the workers."""
        with self._mutex:
            new = [self._make(self.seats.add()) for _ in range(self.seats.size)]
        for worker in new:
            worker.thread.start()

    def use(self, loop: object) -> None:
        """Threads need no loop."""

    def run_here(self) -> None:
        """Run attempts on the calling thread until nothing is due; no worker was started."""
        with self._mutex:
            seat = self.seats.add()
        try:
            BorrowedThread(self._outcomes, seat).work()
        finally:
            with self._mutex:
                self.seats.remove(seat)

    def _make(self, seat: Seat) -> Worker:
        """With the mutex."""
        self._made += 1
        worker = Worker(self, self._outcomes, f"jobqueue-worker-{self._made}", seat)
        self.workers.add(worker)
        return worker

    def ended(self, worker: Worker) -> None:
        """A worker's thread is about to end. With the mutex."""
        self.workers.discard(worker)
        self._leaving = {thread for thread in self._leaving if thread.is_alive()}
        self._leaving.add(worker.thread)
        self.seats.remove(worker.seat)

    def is_here(self, worker: Worker) -> bool:
        """Whether it has not ended, even if its thread has been hit as it did. With the mutex."""
        return worker in self.workers

    def died(self, worker: Worker, error: BaseException) -> None:
        """A worker's thread ends, for it cannot go on."""
        with self._mutex:
            self.workers.discard(worker)
            self.seats.remove(worker.seat)
        self._fail(thread_died("a worker thread", error))

    def overran(
        self, worker: Worker, handle: JobHandle, stop: StopRequest, timeout: float
    ) -> Callable[[], None] | None:
        """An attempt's time is up: ask it to stop, and have another worker stand in.

        Returns:
            What is left to be done without any lock: to start that worker, and to report.
        """
        stand_in = None
        with self._mutex:
            self._mutex.settle()
            if not self.seats.overran(worker.seat, handle, stop):
                return None
            if self._outcomes.state.now < State.CLOSING:
                seat = self.seats.replace(worker.seat)
                stand_in = None if seat is None else self._make(seat)

        def finish() -> None:
            if stand_in is not None:
                try:
                    self._start_stand_in(worker.seat, stand_in)
                except RuntimeError as error:
                    what = (
                        "no worker could be started to stand in for a slow one; it is tried again"
                    )
                    self._reporter.report(logging.ERROR, what, error)
                    self._try_again_later()  # guard: a stand-in that could not start is tried again
            self._report_overrun(worker, handle, timeout)

        return finish

    def _try_again_later(self) -> None:
        placement = self._outcomes.placement
        tick = tick_after(placement.clock.monotonic() + AGAIN_SECONDS)
        placement.timer.schedule(partial(self._try_again), tick)  # an item of its own each time

    def _try_again(self) -> Callable[[], None] | None:
        """Make a stand-in that could not be started, if one is missing still. Without the mutex.

        Returns:
            What starts it; it is called without the timer's lock.
        """
        with self._mutex:
            self._mutex.settle()
            # guard: a stand-in is not tried again if no worker is missing any more
            if self._outcomes.state.now is not State.OPEN or not self.seats.is_short():
                return None
            slow = self.seats.find_slow()
            seat = self.seats.add() if slow is None else self.seats.replace(slow)
            if seat is None:
                return None  # there are as many as may be: the first that comes back stands in
            stand_in = self._make(seat)

        def start() -> None:
            try:
                self._start_stand_in(slow, stand_in)
            except RuntimeError:  # it has been reported
                self._try_again_later()

        return start

    def _make_stand_in(self, seat: Seat) -> Callable[[], None]:
        """With the mutex: see `Seats.make_stand_in`."""
        stand_in = self._make(self.seats.add())
        call_soon = self._outcomes.placement.timer.call_soon
        return partial(start_elsewhere, call_soon, partial(self._start_stand_in, seat, stand_in))

    def _start_stand_in(self, seat: Seat | None, stand_in: Worker) -> None:
        """Start what stands in for a seat, or for one that went without.

        Raises:
            RuntimeError: the system gives no more threads.
        """
        try:
            stand_in.thread.start()
        except RuntimeError:
            with self._mutex:
                if seat is not None:
                    seat.replaced = False
                self.workers.discard(stand_in)
                self.seats.remove(stand_in.seat)
            raise

    def _report_overrun(self, worker: Worker, handle: JobHandle, timeout: float) -> None:
        stack = _stack_of(worker.thread)
        self._reporter.report(
            logging.WARNING,
            f"job {handle.id!r} runs longer than {timeout:g} s (job_timeout) and "
            f"was asked to stop; its handler is at:\n{stack}",
            about=about(handle._job, handle._job._retries),
        )

    def join(self, timeout: float) -> None:
        """Wait for the threads of idle workers to end; at most `timeout` seconds of real time."""
        with self._mutex:
            threads = [worker.thread for worker in self.workers if worker.seat.handle is None]
            threads += self._leaving
        deadline = SystemClock.monotonic() + timeout
        for thread in threads:
            if thread.is_alive():  # a thread that is only about to start cannot be waited for
                thread.join(min(max(0.0, deadline - SystemClock.monotonic()), timeout))


def _stack_of(thread: threading.Thread) -> str:
    """Where in its code a thread is, as text.

    Without the GIL it runs on meanwhile, and CPython crashes if it looks at a frame that ends.
    """
    if not has_gil():
        return "  (which cannot be told without the GIL)\n"
    frame = sys._current_frames().get(thread.ident or 0)
    return "  (it ended)\n" if frame is None else "".join(traceback.format_stack(frame))
