"""The threads that ask the queue: calls of it may wait, and an event loop must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

AT_ONCE = 4
"""Requests that are answered at a time: the others of an application's threads are its own."""


class Threads:
    """Runs functions in threads, a few at a time for each event loop. Thread-safe.

    A limiter belongs to a loop: one that two loops share wakes nobody on the other one.
    """

    def __init__(self) -> None:
        self._limiter: RunVar[CapacityLimiter] = RunVar("jobqueue-web-threads")

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """What the function returns."""
        limiter = self._limiter.get(None)
        if limiter is None:
            limiter = CapacityLimiter(AT_ONCE)
            self._limiter.set(limiter)
        return await to_thread.run_sync(function, *args, limiter=limiter)
