"""`LoopParker`: a place for a coroutine to sleep in until any thread wakes it.

It is to a coroutine what a `Parker` is to a thread, and stands in the same lists of the queue. To
wake it is to put a callback into the loop's own list of callbacks, by `call_soon_threadsafe`. That
writes one byte into a socket to wake the loop, mostly with the queue's mutex held. That never
blocks: asyncio ignores a socket that is full, since the loop will wake anyway.
"""

from __future__ import annotations

import asyncio


class LoopParker:
    """A place for one coroutine to sleep in; made on the loop's thread, woken from any."""

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future = self._loop.create_future()

    async def park(self, seconds: float | None = None) -> bool:
        """Sleep until woken, at most so many seconds of real time; whether it was woken."""
        if seconds is None:
            await self._future
            return True
        done, _ = await asyncio.wait([self._future], timeout=max(0.0, seconds))
        return bool(done)

    def unpark(self) -> None:
        """Wake the coroutine, or keep it from falling asleep. Any thread; never raises."""
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop is closed: nobody sleeps there any more
            pass

    def rearm(self) -> None:
        """Forget a wake-up; only on the loop's thread, by the coroutine that it belongs to."""
        if self._future.done():
            self._future = self._loop.create_future()

    def _wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
