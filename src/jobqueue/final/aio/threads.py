"""Threads for plain functions beside coroutines: made when they are needed, and kept."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ..runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable


class HandlerThreads:
    """Runs functions in threads of its own; each is a daemon, as all of the queue's.

    Relies on: the loop's thread, which calls `run` and `stop`. There are never more functions at a
    time than the queue has seats, so the number of threads needs no bound of its own.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)  # how many threads wait for work
        self._threads: list[threading.Thread] = []

    def run(self, function: Callable[[], None]) -> None:
        """Have a thread call a function that raises nothing.

        Raises:
            RuntimeError: the system gives no more threads, and all that there are have work.
        """
        if not self._idle.acquire(blocking=False):
            thread = threading.Thread(
                target=self._run, name=f"jobqueue-handler-{len(self._threads) + 1}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        self._work.put(function)

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
        for _ in self._threads:
            self._work.put(None)

    def join(self, timeout: float) -> None:
        """Wait at most so many seconds of real time for all of them to end."""
        deadline = SystemClock.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - SystemClock.monotonic()))
