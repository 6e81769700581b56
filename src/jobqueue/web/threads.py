"""The threads that ask the queue: calls of it may wait, and an event loop must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from anyio import CapacityLimiter, to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

AT_ONCE = 4
"""Requests that are answered at a time: the others of an application's threads are its own."""


class Threads:
    """Runs functions in threads, a few at a time. Used on one event loop at a time."""

    def __init__(self) -> None:
        self._limiter: CapacityLimiter | None = None

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """What the function returns."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(AT_ONCE)
        return await to_thread.run_sync(function, *args, limiter=self._limiter)
