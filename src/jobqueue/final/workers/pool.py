"""The worker threads: as many as configured are able to work, whatever handlers do.

Guarantees: an attempt that overruns its time is stood in for by another worker, at most
`num_workers` of them; the one that overran ends with its attempt, unless it can stand in for one
that nobody does.
Relies on: the queue's mutex: held by the caller of `ended`, `keeps`, `enter_wait` and `busy`, taken
by the other methods.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from typing import TYPE_CHECKING

from ..errors import EnqueueTimeoutError, JobQueueError
from ..runtime.clock import SystemClock
from ..runtime.mutex import has_gil
from ..runtime.reporting import report
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from ..core.outcomes import Outcomes
    from ..model.context import StopRequest
    from ..model.handle import JobHandle
    from ..model.job import Job


class WorkerPool:
    """All workers of one queue.

    Args:
        fail: called, without the mutex, when a worker thread has died.
    """

    def __init__(
        self, config: Config, outcomes: Outcomes, fail: Callable[[JobQueueError], None]
    ) -> None:
        self.local = threading.local()
        """`local.worker` is the worker on whose thread one is, if it is one of this pool."""
        self.size = config.num_workers
        self.job_timeout = config.job_timeout
        self.workers: set[Worker] = set()
        self._outcomes = outcomes
        self._mutex = outcomes.dispatch.mutex
        self._fail = fail
        self._made = 0
        self._leaving: set[threading.Thread] = set()
        outcomes.dispatch.scheduler.count_running = self._count_running

    def current(self) -> Worker | None:
        """The worker on whose thread this is called."""
        worker: Worker | None = getattr(self.local, "worker", None)
        return worker

    def start(self) -> None:
        """Start the workers."""
        with self._mutex:
            new = [self._make() for _ in range(self.size)]
        for worker in new:
            worker.thread.start()

    def _make(self) -> Worker:
        """With the mutex."""
        self._made += 1
        slot = min(set(range(2 * self.size)) - {worker.slot for worker in self.workers})
        worker = Worker(self, self._outcomes, f"jobqueue-worker-{self._made}", slot)
        self.workers.add(worker)
        return worker

    def ended(self, worker: Worker) -> None:
        """A worker's thread is about to end. With the mutex."""
        self.workers.discard(worker)
        self._leaving = {thread for thread in self._leaving if thread.is_alive()}
        self._leaving.add(worker.thread)
        self._tell_of_suspects()

    def died(self, worker: Worker, error: BaseException) -> None:
        """A worker's thread ends because of an error that is not a handler's."""
        with self._mutex:
            self.workers.discard(worker)
        fault = JobQueueError(f"a worker thread died: {type(error).__name__}: {error}")
        fault.__cause__ = error
        self._fail(fault)

    def overran(
        self, worker: Worker, handle: JobHandle, stop: StopRequest
    ) -> Callable[[], None] | None:
        """An attempt's time is up: ask it to stop, and have another worker stand in.

        Returns:
            What is left to be done without any lock: to start that worker, and to report.
        """
        stand_in = None
        with self._mutex:
            if worker.handle is not handle or handle._stop is not stop or worker.overrunning:
                return None
            worker.overrunning = True
            self._outcomes.dispatch.status.meters[handle._job._priority].overrunning += 1
            stop.overrun()
            if not self._outcomes.gate.closed and self._replaced_count() < self.size:
                worker.replaced = True
                stand_in = self._make()

        def finish() -> None:
            if stand_in is not None:
                self._start_stand_in(worker, stand_in)
            self._report_overrun(worker, handle)

        return finish

    def keeps(self, worker: Worker) -> bool:
        """With the mutex: whether a worker that was stood in for stands in for another now."""
        for other in self.workers:
            if other.overrunning and not other.replaced:
                other.replaced, worker.replaced = True, False
                return True
        return False

    def _replaced_count(self) -> int:
        return sum(worker.replaced for worker in self.workers)

    def _start_stand_in(self, worker: Worker, stand_in: Worker) -> None:
        try:
            stand_in.thread.start()
        except RuntimeError as error:  # the system gives no more threads
            with self._mutex:
                worker.replaced = False
                self.workers.discard(stand_in)
            report(logging.ERROR, "no worker could be started to stand in for a slow one", error)

    def _report_overrun(self, worker: Worker, handle: JobHandle) -> None:
        stack = _stack_of(worker.thread)
        report(
            logging.WARNING,
            f"job {handle.id!r} runs longer than {self.job_timeout:g} s (job_timeout) and "
            f"was asked to stop; its handler is at:\n{stack}",
        )

    # A handler that waits for room in a lane that only its own pool can empty.

    def enter_wait(self, worker: Worker, job: Job) -> None:
        """With the mutex: the worker is about to sleep, for the job's lane is full.

        Raises:
            EnqueueTimeoutError: it is the last worker that could make room.
        """
        if worker.replaced:
            return
        is_alone = worker.handle is self._outcomes.dispatch.scheduler.lone
        others = not is_alone and any(
            not (each.waiting or each.replaced) for each in self.workers if each is not worker
        )
        if not others:
            raise EnqueueTimeoutError(
                f"job {job.id!r} was not accepted: the {job.priority.name} lane is full, and "
                f"this handler holds the last worker that could make room in it"
            )
        worker.waiting = True
        self._tell_of_suspects()

    # Looking at the pool.

    def _count_running(self) -> int:
        """With the mutex: attempts that go on. One that waits for room cannot be waited for."""
        return sum(worker.handle is not None and not worker.waiting for worker in self.workers)

    def _tell_of_suspects(self) -> None:
        """With the mutex: there is an attempt less that the next lone job has to wait for."""
        if self._outcomes.dispatch.scheduler.suspects:
            self._outcomes.dispatch.scheduler.look_at_suspects()

    def busy(self) -> list[Worker]:
        """The workers that run a handler. With the mutex."""
        return [worker for worker in self.workers if worker.handle is not None]

    def join(self, timeout: float) -> None:
        """Wait for the threads of idle workers to end; at most `timeout` seconds of real time."""
        with self._mutex:
            threads = [worker.thread for worker in self.workers if worker.handle is None]
            threads += self._leaving
        deadline = SystemClock.monotonic() + timeout
        for thread in threads:
            if thread.is_alive():  # one that is only about to start cannot be waited for
                thread.join(max(0.0, deadline - SystemClock.monotonic()))


def _stack_of(thread: threading.Thread) -> str:
    """Where a thread is, as text.

    Without the GIL it runs on meanwhile, and CPython crashes when a frame is looked at that goes.
    """
    if not has_gil():
        return "  (which cannot be told without the GIL)\n"
    frame = sys._current_frames().get(thread.ident or 0)
    return "  (it ended)\n" if frame is None else "".join(traceback.format_stack(frame))
