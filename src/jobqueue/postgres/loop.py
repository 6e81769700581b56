"""The event loop of one queue, in a thread of its own: all that speaks with the database runs here.

Guarantees: no handler runs on it, so heartbeats go out whatever handlers do.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ..final import QueueClosedError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

T = TypeVar("T")


class Loop:
    """A loop that runs until `stop`. Thread-safe."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._is_forked = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def is_here(self) -> bool:
        """Whether the calling thread is the loop's."""
        return threading.current_thread() is self._thread

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there, and wait for its end.

        Raises:
            QueueClosedError: the loop has ended.
            RuntimeError: called on the loop's own thread, which would wait for itself.
        """
        if self.is_here():
            work.close()
            raise RuntimeError("this would hold up the queue's own thread; use a thread of yours")
        future = self._begin(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise closed() from None
        except BaseException:
            future.cancel()
            raise

    async def await_(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there, and wait for its end on the loop that runs here; that may be any.

        Raises:
            QueueClosedError: the loop has ended.
        """
        try:
            return await asyncio.wrap_future(self._begin(work))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the caller's
                raise
            raise closed() from None

    def _begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        try:
            if self._is_forked:
                raise RuntimeError
            return asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError:
            work.close()
            raise closed() from None

    def forked(self) -> None:
        """In a forked child there is no such thread."""
        self._is_forked = True

    def stop(self, seconds: float) -> None:
        """End it; what still runs there is cancelled."""
        try:
            self.loop.call_soon_threadsafe(self.loop.stop)
        except RuntimeError:
            return
        if not self.is_here():
            self._thread.join(seconds)


def closed() -> QueueClosedError:
    """The error for a call that comes too late."""
    return QueueClosedError("the queue is closed; make a new one to go on")
