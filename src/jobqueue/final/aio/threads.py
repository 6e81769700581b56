"""Threads for plain code beside coroutines: made when they are needed, and kept.

Handlers that are plain functions have as many as there are seats. Calls through middleware, which
may wait for room, go through a `Gate`, which lets a few of them run at a time.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ..runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable


class KeptThreads:
    """Runs functions in threads of its own; each is a daemon, as all of the queue's. Thread-safe.

    Guarantees: what was given to `run` is run, also after `stop`.
    Relies on: its callers, who bound how many functions they have run at a time. There are never
    more threads than that.

    Args:
        name: what the names of the threads begin with.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()  # guards the list and the flag; held as a thread is started
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)  # how many threads wait for work
        self._threads: list[threading.Thread] = []
        self._is_stopped = False

    def run(self, function: Callable[[], None]) -> None:
        """Have a thread call a function that raises nothing.

        Raises:
            RuntimeError: the system gives no more threads, and all that there are have work.
        """
        with self._lock:
            if self._is_stopped:
                self._start(function)
                return
            if not self._idle.acquire(blocking=False):
                self._start(self._run)
            self._work.put(function)

    def _start(self, target: Callable[[], None]) -> None:
        name = f"{self._name}-{len(self._threads) + 1}"
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run(self) -> None:
        while True:
            function = self._work.get()
            if function is None:
                return
            function()
            del function  # it holds a job
            self._idle.release()

    def stop(self) -> None:
        """End the threads that have nothing to do, and each of the others after its function."""
        with self._lock:
            if not self._is_stopped:
                self._is_stopped = True
                for _ in self._threads:
                    self._work.put(None)

    def join(self, timeout: float) -> None:
        """Wait at most so many seconds of real time for all of them to end."""
        deadline = SystemClock.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - SystemClock.monotonic()))


class Gate:
    """Lets a few functions at a time run; the others wait in here, in line, without a thread.

    Thread-safe. A function raises nothing, and is in here at most once.
    """

    def __init__(self, threads: KeptThreads, at_once: int) -> None:
        self._threads = threads
        self._at_once = at_once
        self._lock = threading.Lock()  # guards the two below
        self._line: deque[Callable[[], None]] = deque()
        self._running = 0

    def run(self, function: Callable[[], None]) -> None:
        """Have a thread call a function, when it is its turn.

        Raises:
            RuntimeError: the system gives no more threads.
        """
        with self._lock:
            self._line.append(function)
            if self._running == self._at_once:
                return
            self._running += 1
            try:
                self._threads.run(self._work)
            except BaseException:
                self._running -= 1
                self._line.pop()
                raise

    def take_back(self, function: Callable[[], None]) -> bool:
        """Have it not called; `False` if it has been already."""
        with self._lock:
            if function not in self._line:
                return False
            self._line.remove(function)
            return True

    def _work(self) -> None:
        while (function := self._next()) is not None:
            function()
            del function  # it holds a job

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._line:
                return self._line.popleft()
            self._running -= 1
            return None
