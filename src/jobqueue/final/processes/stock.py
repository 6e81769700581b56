"""The processes of one queue: those that run an attempt, and those that have nothing to do.

Each is started when it is first needed. A process that dies takes its own attempt with it and no
other.

Guarantees: `close` leaves no process, nor does the owner's death.
Relies on: its own lock. No lock of the queue is held in here.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from multiprocessing import spawn
from typing import TYPE_CHECKING

from ..errors import ConfigError, QueueClosedError, RejectJobError, WorkerProcessError
from ..middleware import factory_of, overrides
from ..runtime.clock import SystemClock
from . import wire
from .imports import ImportableHandler, reference_to
from .owner import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..middleware import Layers
    from ..runtime.reporting import Reporter

_EXIT_SECONDS_MIN = 0.25
"""What idle processes get to end by themselves if the deadline of `close` has passed."""
_EXIT_SECONDS_MAX = 5.0
"""What they get at most: a thread that a handler left behind would keep one for ever."""


class Processes:
    """The processes of one queue. Thread-safe.

    Args:
        layers: the queue's middleware.

    Attributes:
        reporter: the queue's; set by it, since it is made later.

    Raises:
        ConfigError: there can be none on this system.
        TypeError, ValueError: a process could not make the middleware.
    """

    def __init__(self, layers: Layers) -> None:
        _refuse_without_interpreter()
        self._middleware = tuple(
            reference_to(factory_of(entry), "middleware")
            for entry, made in zip(layers.entries, layers.made, strict=True)
            if overrides(made, "attempt")
        )
        self.reporter: Reporter
        self._lock = threading.Lock()  # guards the rest
        self._numbers: dict[tuple[str, str], int] = {}
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._closed = False

    def handler(self, function: Callable[..., object]) -> ImportableHandler:
        """A handler whose function one of these can run; raises as `ImportableHandler` does."""
        return ImportableHandler(function, self._middleware, self._number)

    def _number(self, reference: wire.Reference) -> int:
        with self._lock:
            return self._numbers.setdefault(reference[:2], len(self._numbers))

    def take(self) -> WorkerProcess:
        """A process that has nothing to do; a new one if there is none.

        Raises:
            WorkerProcessError: none could be started.
            QueueClosedError: none is started any more.
            RejectJobError: none may be started here.
        """
        lost: list[WorkerProcess] = []
        try:
            with self._lock:
                return self._take_idle(lost) or self._start()
        finally:
            for each in lost:
                message = f"a process that waited for a job {self._given_up(each)}"
                self.reporter.report(logging.WARNING, message)

    def _take_idle(self, lost: list[WorkerProcess]) -> WorkerProcess | None:
        """With the lock: an idle process that can be used; the others that it finds are lost."""
        while self._idle:
            process = self._idle.pop()
            # guard: an idle process that has died is not used
            #   without: if process.is_quiet():
            # guard: an idle process that sent something is not used
            #   without: if process.is_alive():
            if process.is_alive() and process.is_quiet():
                return process
            lost.append(process)
        return None

    def _given_up(self, process: WorkerProcess) -> str:
        """Forget a process that cannot be used any more; returns what became of it."""
        if not process.is_alive():
            return self.bury(process)
        process.kill()
        self.bury(process)
        return "sent something that it was not asked for, and was killed"

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

    def put_back(self, process: WorkerProcess) -> None:
        """A process has nothing to do any more."""
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.kill()
        self.bury(process)

    def bury(self, process: WorkerProcess) -> str:
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
            process.wait()  # the runner that waits for its answer does the rest
        with self._lock:
            self._all.difference_update(idle)

    def forked(self) -> None:
        """This is a forked child: the processes are the parent's. Takes no lock."""
        self._closed = True
        for process in list(self._all):
            process.forked()


def _refuse_without_interpreter() -> None:
    """Refuse to start processes where that would not start a Python that does as it is told.

    Raises:
        ConfigError: it would not.
    """
    if os.name != "posix":
        raise ConfigError("executor='process' needs a POSIX system; use executor='thread'")
    # guard: a frozen program does not start itself
    if getattr(sys, "frozen", False):
        raise ConfigError(
            "executor='process' does not work in a frozen program (PyInstaller and the like): its "
            "executable is the program, which would start itself again; use executor='thread'"
        )
    program = spawn.get_executable()
    if not program:
        raise ConfigError(
            "executor='process' needs to know the Python interpreter, and sys.executable is "
            "empty; name it with multiprocessing.set_executable, or use executor='thread'"
        )
    owner = os.environ.get(wire.MARK)
    # guard: a program that was started in place of an interpreter starts no more
    if owner is not None:
        raise ConfigError(
            f"process {owner} started {os.fsdecode(program)!r} as the Python interpreter of a "
            f"queue's process (executor='process'), and it is this program; name the interpreter "
            f"with multiprocessing.set_executable, or use executor='thread'"
        )
