"""What threads tell coroutines: how a function ended that a thread has called for one of them."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Call a function in a thread of its own; if this is cancelled, the function goes on."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    thread = threading.Thread(
        target=lambda: call_for(future, function), name="jobqueue-close", daemon=True
    )
    thread.start()
    return await asyncio.shield(future)


def call_for(future: asyncio.Future[T], function: Callable[[], T]) -> None:
    """Call a function, and have its future end as it does. Any thread; raises nothing.

    Nobody may cancel the future.
    """
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001  # it goes to the coroutine that waits
        _end(future, None, error)
    else:
        _end(future, result, None)


def _end(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if isinstance(error, StopIteration):  # which no future may raise
        wrapped = RuntimeError(f"what the call ran raised {error!r}")
        wrapped.__cause__ = error
        error = wrapped

    def end() -> None:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    try:
        future.get_loop().call_soon_threadsafe(end)
    except RuntimeError:  # the loop was closed meanwhile: nobody waits
        pass
