"""Waiting until a queue has come to rest, for `join` and `close`, or until a job has ended.

Relies on: the queue's mutex, held by the caller of `look`, not of `wait`. The thread that changes
what a condition is about calls `look`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.parking import Parker, Wakeable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import JobHandle
    from ..runtime.mutex import Mutex

    Watcher = tuple[Callable[[], bool], Wakeable]


class Watchers:
    """Callers that wait for a condition over the queue's state."""

    def __init__(self, mutex: Mutex) -> None:
        self._mutex = mutex
        self.waiting: list[Watcher] = []
        """Looked at before `look` is called at all, in the hot path."""

    def look(self) -> None:
        """Wake the threads whose condition holds now."""
        for watcher in list(self.waiting):
            condition, parker = watcher
            if condition():
                parker.unpark()
                self.waiting.remove(watcher)

    def add(self, condition: Callable[[], bool], waiter: Wakeable) -> Watcher:
        """Have `waiter` woken once `condition`, which is called with the mutex, holds. No mutex."""
        watcher = (condition, waiter)
        with self._mutex:
            self._mutex.settle()
            self.waiting.append(watcher)
            self.look()
        return watcher

    def remove(self, watcher: Watcher) -> None:
        """Have it not woken any more. No mutex."""
        with self._mutex:
            if watcher in self.waiting:
                self.waiting.remove(watcher)

    def wait(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `condition`, which is called with the mutex, holds. Not with the mutex.

        Args:
            timeout: seconds of real time; `None` waits for ever.
        """
        parker = Parker()
        watcher = (condition, parker)
        try:
            with self._mutex:
                self._mutex.settle()
                if condition():  # guard: look before the wait for the queue's rest
                    return True
                self.waiting.append(watcher)
            return parker.park(timeout)
        finally:
            self.remove(watcher)


def wake_waiters(handle: JobHandle) -> None:
    """Wake the threads that wait for this job."""
    waiters = handle._waiters
    while waiters:
        waiters[-1].unpark()  # before it is taken out, so that an interruption forgets none
        waiters.pop()
    handle._waiters = None
