"""How `enqueue` asks the database: by the queue's own connections, or by one of the application's.

Whose thread: that of the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, TypeVar, cast

from ..final.engine import Parker

T = TypeVar("T")


class Asking(NamedTuple):
    """How the database is asked, and how one waits meanwhile."""

    rows: Callable[[tuple[Any, ...]], Awaitable[Any]]
    look: Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]
    """Awaits a look of ours for a job."""
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep


async def sleep_here(seconds: float) -> None:
    """Sleep on this thread, which has no loop."""
    Parker().park(seconds)


def run_here(work: Coroutine[Any, Any, T]) -> T:
    """Run what awaits nothing that is not done at once, on this thread."""
    try:
        work.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    raise AssertionError("a plain connection was awaited")
