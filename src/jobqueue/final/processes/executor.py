"""`executor="process"`: handlers run in processes, for work that computes.

A worker thread takes a job as ever, hands it to a process that has nothing else to do, and waits
for what comes of it. So there are as many processes as attempts at a time, at most `num_workers`.
Each is started when it is first needed. A process that dies takes its own attempt with it and no
other.

Guarantees: no attempt's time runs while its process starts or imports the handler. A process whose
attempt is past its time is killed. `close` leaves no process, nor does the owner's death.
Relies on: the timer. No lock of the queue is held in here.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
from functools import partial
from typing import TYPE_CHECKING

from ..errors import (
    ConfigError,
    QueueClosedError,
    RejectJobError,
    RetryJobError,
    WorkerProcessError,
)
from ..middleware import Layers, factory_of, overrides
from ..model.handlers import Handler
from ..model.job import Job
from ..runtime.clock import SystemClock
from ..runtime.reporting import report
from ..timing.timer import tick_after
from . import wire
from .imports import reference_to
from .owner import Ended, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from ..model.context import JobContext
    from ..runtime.clock import Clock
    from ..timing.timer import Timer

_EXIT_SECONDS_MIN = 0.25
"""What idle processes get to end by themselves if the deadline of `close` has passed."""
_EXIT_SECONDS_MAX = 5.0
"""What they get at most: a thread that a handler left behind would keep one for ever."""


class ProcessHandler(Handler):
    """A handler that runs in a process.

    Args:
        function: what is to run there; a process has to be able to import it by name.

    Raises:
        TypeError: as for `Handler`.
        ValueError: it cannot be imported by name.
    """

    __slots__ = ("_processes", "number", "reference")

    def __init__(self, function: Callable[..., object], processes: Processes) -> None:
        super().__init__(function)
        self.reference = reference_to(function)._replace(middleware=processes.middleware)
        self.number = processes.number(self.reference)
        self.is_equipped = True  # its attempt is told of a stop, and timed, from outside
        self._processes = processes

    def call(self, payload: bytes, context: JobContext) -> object:
        """Run an attempt in a process, and wait for its end."""
        return self._processes.run(self, payload, context)


class Processes:
    """The processes of one queue.

    Args:
        layers: the queue's middleware.

    Attributes:
        clock, timer: the queue's; set by it, since they are made later.
        middleware: what each process makes the middleware with that attempts run within.

    Raises:
        TypeError, ValueError: a process could not make the middleware.
    """

    def __init__(self, config: Config, layers: Layers) -> None:
        if os.name != "posix":
            raise ConfigError("executor='process' needs a POSIX system; use executor='thread'")
        self.middleware = tuple(
            reference_to(factory_of(entry), "middleware")
            for entry, made in zip(layers.entries, layers.made, strict=True)
            if overrides(made, "attempt")
        )
        self.clock: Clock
        self.timer: Timer
        self._job_timeout = config.job_timeout
        self._lock = threading.Lock()  # guards the rest
        self._numbers: dict[tuple[str, str], int] = {}
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._closed = False

    def handler(self, function: Callable[..., object]) -> Handler:
        """The handler that runs a function in one of these; raises as `ProcessHandler` does."""
        return ProcessHandler(function, self)

    def number(self, reference: wire.Reference) -> int:
        """The number that stands for a function in what the processes are told."""
        with self._lock:
            return self._numbers.setdefault(reference[:2], len(self._numbers))

    def run(self, handler: ProcessHandler, payload: bytes, context: JobContext) -> object:
        """Run an attempt to its end.

        Raises:
            BaseException: what the handler raised.
            TimeoutError: it took longer than `job_timeout` and was killed.
            WorkerProcessError: its process died or could not be started, or what the handler
                returned or raised cannot be brought here.
        """
        process = self._take()
        try:
            kind, body = self._load(process, handler)
            if kind == wire.LOADED:
                kind, body = self._attempt(process, handler, payload, context)
        except Ended:
            raise WorkerProcessError(
                f"the process that ran the attempt {self._bury(process)}"
            ) from None
        except BaseException:
            process.kill()
            self._bury(process)
            raise
        self._put_back(process)
        return _unpacked(kind, body)

    # ── one attempt ──────────────────────────────────────────────────────────────────────────

    def _load(self, process: WorkerProcess, handler: ProcessHandler) -> tuple[int, bytes]:
        """Have the process import the handler, which may take it long the first time."""
        if handler.number in process.loaded:
            return wire.LOADED, b""
        answer = process.call(wire.LOAD, handler.number, pickle.dumps(handler.reference))
        if answer[0] == wire.LOADED:
            process.loaded.add(handler.number)
        return answer

    def _attempt(
        self, process: WorkerProcess, handler: ProcessHandler, payload: bytes, context: JobContext
    ) -> tuple[int, bytes]:
        """Run the handler there; its time runs from here on."""
        limit, tick = None, 0
        if self._job_timeout is not None:
            context.deadline = self.clock.monotonic() + self._job_timeout
            limit, tick = _Limit(process), tick_after(context.deadline)
            self.timer.schedule(limit, tick)
        try:
            if handler.wants_context or self.middleware:
                return self._attempt_with_context(process, handler, context)
            return process.call(wire.RUN, handler.number, payload)
        finally:
            if limit is not None:
                self.timer.remove(limit, tick)
                if limit.has_struck():
                    raise TimeoutError(
                        f"the attempt took longer than {self._job_timeout:g} s (job_timeout) and "
                        f"its process was killed"
                    ) from None

    def _attempt_with_context(
        self, process: WorkerProcess, handler: ProcessHandler, context: JobContext
    ) -> tuple[int, bytes]:
        """As `_attempt`, for a handler that can be told to stop."""
        process.attempts += 1
        slots = {slot: getattr(context.job, slot) for slot in Job.__slots__}
        slots["_headers"] = dict(context.job.headers)
        assignment = wire.Assignment(process.attempts, slots, context.attempt, context.deadline)
        forward = _Forward(process, process.attempts, self.timer)
        context._stop.listen(forward)
        try:
            return process.call(wire.RUN_WITH_CONTEXT, handler.number, pickle.dumps(assignment))
        finally:
            context._stop.forget(forward)

    # ── the processes ────────────────────────────────────────────────────────────────────────

    def _take(self) -> WorkerProcess:
        """A process that has nothing to do; a new one if there is none."""
        lost: list[WorkerProcess] = []
        try:
            with self._lock:
                while self._idle:
                    process = self._idle.pop()
                    # guard: an idle process that has died is not used
                    #   without: if True:
                    if process.is_alive():
                        return process
                    lost.append(process)
                return self._start()
        finally:
            for each in lost:
                report(logging.WARNING, f"a process that waited for a job {self._bury(each)}")

    def _start(self) -> WorkerProcess:
        """Start a process. With the lock, so that `close` knows of every process."""
        if self._closed:  # guard: no process is started after close
            raise QueueClosedError("the queue is closed; the attempt was not begun")
        if wire.is_importing:
            raise RejectJobError(
                "a process of a queue is importing a module that itself makes a queue and waits "
                "for it; in a main module put that under: if __name__ == '__main__'"
            )
        try:
            return WorkerProcess(self._all)
        except OSError as error:
            raise WorkerProcessError(f"no process could be started: {error}") from error

    def _put_back(self, process: WorkerProcess) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.kill()
        self._bury(process)

    def _bury(self, process: WorkerProcess) -> str:
        """Forget a process that has ended, or is about to; returns how it ended."""
        end = process.reap()
        with self._lock:
            self._all.discard(process)
        return end

    def close(self, seconds: float) -> None:
        """Kill the processes that run a handler; have the others end by themselves in this time."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = self._all.difference(idle)
        for process in busy:  # guard: busy processes are killed by close
            process.kill()
        for process in idle:
            process.ask_to_exit()
        seconds = min(max(seconds, _EXIT_SECONDS_MIN), _EXIT_SECONDS_MAX)
        deadline = SystemClock.monotonic() + seconds
        for process in idle:
            process.reap(max(0.0, deadline - SystemClock.monotonic()))
        for process in busy:
            process.wait()  # the worker thread that waits for it does the rest
        with self._lock:
            self._all.difference_update(idle)

    def forked(self) -> None:
        """This is a forked child: the processes are the parent's. Takes no lock."""
        self._closed = True
        for process in list(self._all):
            process.forked()


# ── what comes while an attempt runs ─────────────────────────────────────────────────────────────


class _Limit:
    """Kills a process when its attempt's time is up; never after the attempt."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self._lock = threading.Lock()  # guards the two below
        self._is_over = False
        self._struck = False

    def __call__(self) -> Callable[[], None]:
        """Called by the timer's thread, which calls what this returns without the timer's lock."""
        return self._strike

    def _strike(self) -> None:
        with self._lock:
            # guard: no process is killed for an attempt that has ended
            #   without: if True:
            if not self._is_over:
                self._struck = True
                self._process.kill()

    def has_struck(self) -> bool:
        """End the attempt; returns whether its time was up."""
        with self._lock:
            self._is_over = True
            return self._struck


class _Forward:
    """What a stop request tells: it lets the process know, from the timer's thread."""

    def __init__(self, process: WorkerProcess, attempt: int, timer: Timer) -> None:
        self._timer = timer
        self._tell = partial(process.stop, attempt)

    def unpark(self) -> None:
        """The attempt is asked to stop. Called with locks of the queue, so nothing is sent here."""
        self._timer.call_soon(self._tell)


# ── what comes back ──────────────────────────────────────────────────────────────────────────────


class RemoteTraceback(Exception):  # noqa: N818  # the cause of an error, shown above it
    """The traceback of an exception that was raised in a process, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def _unpacked(kind: int, body: bytes) -> object:
    """What the handler returned; raises what it raised."""
    if kind == wire.RETURNED_NONE:
        return None
    if kind == wire.RAISED:
        remote = wire.RemoteError(*pickle.loads(body))
        error = _error(remote)
        error.__cause__ = RemoteTraceback(remote.trace)
        raise error
    try:
        return pickle.loads(body)
    except Exception as error:
        raise WorkerProcessError(
            f"what the handler returned cannot be unpickled: {type(error).__name__}: {error}"
        ) from error


def _error(remote: wire.RemoteError) -> BaseException:
    """The exception, or one that says the same."""
    problem = remote.problem
    if remote.error is not None:
        try:
            error = pickle.loads(remote.error)
        except Exception as inner:  # noqa: BLE001  # its class is the user's code
            problem = f"{type(inner).__name__}: {inner}"
        else:
            if isinstance(error, BaseException):
                return error
            problem = f"it is unpickled as {type(error).__name__}"
    if not remote.summary:
        return WorkerProcessError(problem)
    text = f"{remote.summary} (raised in a process; the exception cannot be pickled: {problem})"
    if remote.rejects:
        return RejectJobError(text)
    return (
        WorkerProcessError(text)
        if remote.delay is None
        else RetryJobError(text, delay=remote.delay)
    )
