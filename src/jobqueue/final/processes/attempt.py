"""One attempt in a process: what is sent there, its time, and a cancel that comes meanwhile.

Guarantees: no attempt's time runs while its process starts or imports the handler. A process whose
attempt is past its time is killed.
Relies on: the timer. No lock of the queue is held in here.
"""

from __future__ import annotations

import logging
import pickle
import threading
from operator import attrgetter
from typing import TYPE_CHECKING

from ..errors import WorkerProcessError
from ..model.handlers import name_of
from ..model.job import Job, about
from ..model.progress import told
from ..runtime.clock import SystemClock
from ..timing.timer import tick_after
from . import wire
from .answers import unpacked, unpacked_jobs
from .owner import Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.outcomes import Outcomes
    from ..model.context import StopRequest
    from ..model.handle import JobHandle
    from ..runtime.reporting import Reporter
    from ..timing.timer import Timer
    from .imports import ImportableHandler
    from .owner import WorkerProcess
    from .stock import Processes


_SLOW_IMPORT_SECONDS = 5.0
"""After so long an import is told of, and again each time that this doubles."""


class Attempts:
    """Runs attempts in the processes of one queue. Thread-safe."""

    def __init__(self, outcomes: Outcomes, processes: Processes) -> None:
        self._processes = processes
        self._outcomes = outcomes
        self._clock = outcomes.placement.clock
        self._timer = outcomes.placement.timer

    def run(self, handle: JobHandle, handler: ImportableHandler) -> object:
        """Run an attempt to its end.

        Raises:
            BaseException: what the handler raised.
            TimeoutError: it took longer than `job_timeout` and was killed.
            WorkerProcessError: its process died or could not be started, or what the handler
                returned or raised cannot be brought here.
        """
        process = self._processes.take()
        try:
            kind, body = self._load(process, handle, handler)
            if kind == wire.LOADED:
                kind, body = self._run(process, handle, handler)
        except Ended:
            raise WorkerProcessError(
                f"the process that ran the attempt {self._processes.bury(process)}"
            ) from None
        except wire.GarbledError:
            process.kill()
            self._processes.bury(process)
            raise WorkerProcessError(
                "something in the process that ran the attempt wrote to its connection with the "
                "queue, a file descriptor that no handler opened, so that no answer can be "
                "believed; the process was killed"
            ) from None
        except BaseException:
            process.kill()
            self._processes.bury(process)
            raise
        self._processes.put_back(process)
        return unpacked(kind, body)

    def _load(
        self, process: WorkerProcess, handle: JobHandle, handler: ImportableHandler
    ) -> tuple[int, bytes]:
        """Have the process import the handler, which may take it long the first time."""
        if handler.number in process.loaded:
            return wire.LOADED, b""
        told = _SlowImport(handle, handler, process.pid, self._processes.reporter)
        queue = self._outcomes.placement.closing.queue
        body = pickle.dumps(handler.reference._replace(queue=queue))
        answer = process.call(wire.LOAD, handler.number, body, told.look)
        if answer[0] == wire.LOADED:
            process.loaded.add(handler.number)
        return answer

    def _run(
        self, process: WorkerProcess, handle: JobHandle, handler: ImportableHandler
    ) -> tuple[int, bytes]:
        """Run the handler there; its time runs from here on."""
        limit, deadline, tick = None, None, 0
        timeout = self._outcomes.timeout_of(handler)
        if timeout is not None:
            deadline = self._clock.monotonic() + timeout
            limit, tick = _Limit(process), tick_after(deadline)
            self._timer.schedule(limit, tick)
        try:
            assert handle._stop is not None  # `begin` makes one for all of these handlers
            return self._run_timed(process, handle, handler, handle._stop, deadline)
        finally:
            if limit is not None:
                self._timer.remove(limit, tick)
                if limit.has_struck():
                    raise TimeoutError(
                        f"the attempt took longer than {timeout:g} s (job_timeout) and "
                        f"its process was killed"
                    ) from None

    def _run_timed(
        self,
        process: WorkerProcess,
        handle: JobHandle,
        handler: ImportableHandler,
        stop: StopRequest,
        deadline: float | None,
    ) -> tuple[int, bytes]:
        """Run it there while its time is looked at; it can be told to stop, and tells progress."""
        process.attempts += 1

        def progressed(body: bytes) -> None:
            handle._progress = told(*wire.unpacked(body))

        def held_back(body: bytes) -> bytes:
            try:
                handle._hold_back(stop, unpacked_jobs(body))
            except Exception as error:  # noqa: BLE001  # the handler's call raises it
                return pickle.dumps(error)
            return b""

        forward = _Forward(process, process.attempts, self._timer, stop)
        stop.listen(forward)
        try:
            job = handle._job
            assignment = wire.Assignment(
                process.attempts,
                _packable(job),
                job._retries,
                deadline,
                stop.closing.begun,  # looked at after `listen`: what comes later is told
            )
            body = wire.packed(assignment)
            return process.call(
                wire.RUN, handler.number, body, on_progress=progressed, on_jobs=held_back
            )
        finally:
            stop.forget(forward)


_values = attrgetter(*Job.__slots__)
_HEADERS, _PRIORITY, _PLAN = map(Job.__slots__.index, ("_headers", "_priority", "_plan"))


def _packable(job: Job) -> tuple[object, ...]:
    values = list(_values(job))
    values[_HEADERS], values[_PRIORITY] = dict(job._headers), job._priority._value_
    if job._plan is not None:
        key, unique, after, expires = job._plan
        told = unique and (unique.by, unique.until, unique.on_conflict)
        values[_PLAN] = key, told, after, expires
    return tuple(values)


# ── what comes while it runs ─────────────────────────────────────────────────────────────────────


class _SlowImport:
    """Tells of a handler whose import takes long: nothing but `close` ends it."""

    def __init__(
        self, handle: JobHandle, handler: ImportableHandler, pid: int, reporter: Reporter
    ) -> None:
        self._reporter = reporter
        self._job = handle.id
        self._about = about(handle._job, handle._job._retries)
        self._handler = handler
        self._pid = pid
        self._since = SystemClock.monotonic()
        self._told_next = _SLOW_IMPORT_SECONDS

    def look(self) -> None:
        """Called each second of the import, by the thread that waits for it."""
        seconds = SystemClock.monotonic() - self._since
        if seconds < self._told_next:
            return
        self._told_next *= 2
        module = self._handler.reference.module
        self._reporter.report(
            logging.WARNING,
            f"job {self._job!r} still waits: process {self._pid} has not imported its handler "
            f"{name_of(self._handler.function)} from {module!r} in {seconds:.0f} s, which "
            f"job_timeout does not bound; look what that module waits for when it is imported "
            f"(a debugger or py-spy shows it), or end the process: the attempt fails then",
            about=self._about,
        )


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

    def __init__(
        self, process: WorkerProcess, attempt: int, timer: Timer, stop: StopRequest
    ) -> None:
        self._process = process
        self._attempt = attempt
        self._timer = timer
        self._request = stop

    def unpark(self) -> None:
        """Something is to be told. Called with locks of the queue, so nothing is sent here."""
        self._timer.call_soon(self._tell)

    def _tell(self) -> None:
        order = self._attempt if self._request.requested else wire.CLOSING
        self._process.order(order)
