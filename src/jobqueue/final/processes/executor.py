"""`executor="process"`: the threads that have attempts run in processes, for work that computes.

A runner is a thread with a seat of its own, as a worker is. It takes a job and begins the attempt,
has a process run it, waits for the answer, and tells what came of it. No handler runs on its
thread. So there are as many processes as attempts at a time, at most `num_workers`.

Guarantees: whatever comes of an attempt, its runner lives on. It keeps nothing of a job while it
waits for the next.
Relies on: the queue's mutex, taken here. It is not held while a process is started or waited for.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..core.turns import Turn, live
from ..errors import JobQueueError, thread_died
from ..runtime.clock import SystemClock
from ..runtime.mutex import acquire_in_turn, release_if_owned
from ..runtime.reporting import begun_in_handler
from .attempt import Attempts
from .imports import ImportableHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.outcomes import Outcomes
    from ..core.seats import Seat
    from ..model.handle import JobHandle
    from .stock import Processes

    Begun = tuple[JobHandle, ImportableHandler]


class ProcessRunners:
    """All runners of one queue.

    Args:
        fail: called, without the mutex, when the thread of a runner has died.
    """

    def __init__(
        self, outcomes: Outcomes, processes: Processes, fail: Callable[[JobQueueError], None]
    ) -> None:
        self.seats = outcomes.seats
        self._outcomes = outcomes
        self._processes = processes
        self._mutex = outcomes.placement.mutex
        self._fail = fail
        self._runners: list[Runner] = []

    def start(self) -> None:
        """Start the runners."""
        attempts = Attempts(self._outcomes, self._processes)
        with self._mutex:
            self._runners = [
                Runner(self, self._outcomes, attempts, f"jobqueue-runner-{number}")
                for number in range(1, self.seats.size + 1)
            ]
        for runner in self._runners:
            runner.thread.start()

    def use(self, loop: object) -> None:
        """Processes need no loop."""

    def run_here(self) -> None:
        """Refused: handlers that run in processes do not run on the calling thread."""
        raise RuntimeError(
            "run_all runs handlers on the calling thread, and this queue's run in processes; use "
            "Config(executor='thread') in such tests"
        )

    def died(self, runner: Runner, error: BaseException) -> None:
        """A runner's thread ends because of an error that is not an attempt's."""
        with self._mutex:
            self.seats.remove(runner.seat)
        self._fail(thread_died("a thread that waits for processes", error))

    def join(self, timeout: float) -> None:
        """Wait for the threads of idle runners to end; at most `timeout` seconds of real time."""
        with self._mutex:
            threads = [each.thread for each in self._runners if each.seat.handle is None]
        deadline = SystemClock.monotonic() + timeout
        for thread in threads:
            if thread.is_alive():  # a thread that is only about to start cannot be waited for
                thread.join(max(0.0, deadline - SystemClock.monotonic()))


class Runner:
    """A seat, and the thread that has processes run the attempts on it. Made with the mutex."""

    def __init__(
        self, runners: ProcessRunners, outcomes: Outcomes, attempts: Attempts, name: str
    ) -> None:
        self.seat: Seat = outcomes.seats.add()
        self._runners = runners
        self._outcomes = outcomes
        self._placement = outcomes.placement
        self._attempts = attempts
        self._turn = Turn(outcomes, self.seat)
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        live(self._turn, self._work, lambda error: self._runners.died(self, error))

    def _work(self) -> None:
        """One attempt after another, until there is nothing more to take."""
        self._outcomes.seats.sit(self.seat)
        while (begun := self._await_job()) is not None:
            while begun is not None:
                begun = self._attempt(*begun)

    def _await_job(self) -> Begun | None:
        """Sleep until there is a job, and begin its attempt; `None` when the thread is to end."""
        clock, mutex = self._placement.clock, self._placement.mutex
        try:
            acquire_in_turn(mutex)
            mutex.settle()
            turn = self._turn
            handle = self._placement.scheduler.take(turn, turn.parker)
            if handle is None:
                self._outcomes.seats.remove(self.seat)
                return None
            begun = self._begin(handle, clock.monotonic(), clock.time())
            mutex.unfinished = None
            return begun
        finally:
            release_if_owned(mutex)

    def _begin(self, handle: JobHandle, now: float, wall: float) -> Begun:
        """With the mutex."""
        handler = self._outcomes.begin(self.seat, handle, now, wall)
        assert isinstance(handler, ImportableHandler)  # the queue's registry makes no others
        return handle, handler

    def _attempt(self, handle: JobHandle, handler: ImportableHandler) -> Begun | None:
        """Run an attempt, and tell what came of it; the next one, if that has been begun."""
        try:
            result = self._attempts.run(handle, handler)
            self._outcomes.keep(handle, result)
        except BaseException as error:  # noqa: BLE001  # whatever a handler may raise
            self._outcomes.raised(self.seat, handle, begun_in_handler(error))
            return None
        return self._returned(handle, result)

    def _returned(self, handle: JobHandle, result: object) -> Begun | None:
        """End the attempt and begin the next, if a job waits, in one hold of the mutex.

        In two holds a job took 1.3 times the processor time here: other threads come in between.
        """
        placement = self._placement
        clock, mutex = placement.clock, placement.mutex
        begun = None
        try:
            acquire_in_turn(mutex)
            mutex.settle()
            now, wall = clock.monotonic(), clock.time()
            mutex.unfinished = self._turn
            self._outcomes.returned(self.seat, handle, result, now, wall)
            is_told = self.seat.told is not None  # which comes before the next attempt
            following = None if is_told else placement.scheduler.take_ready()
            if following is not None:
                begun = self._begin(following, now, wall)
            else:
                self._outcomes.rest(self.seat)
                # guard: a runner that finds nothing more tells the threads that wait for that
                if placement.watchers.waiting:
                    placement.watchers.look()
            mutex.unfinished = None
        finally:
            release_if_owned(mutex)
        if is_told:
            self._outcomes.tell(self.seat, handle)
        return begun
