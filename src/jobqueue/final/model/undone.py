"""Results that show that a job's work was not done: coroutines that nobody awaits, and the like."""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, cast

from .handle import JobHandle

DONE = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})
"""The types of most results; they need no look."""


def undone(result: object, name: str) -> TypeError | None:
    """What `refuse_undone` raises, or `None`."""
    try:
        refuse_undone(result, name)
    except TypeError as error:
        return error
    return None


def refuse_undone(result: object, name: str) -> None:
    """Raises `TypeError` if a handler returned what would do the work only if it were awaited.

    A coroutine or generator is closed, so that Python does not warn that it was never awaited.
    """
    kind = type(result)
    if issubclass(kind, (CoroutineType, GeneratorType)):
        cast("GeneratorType[Any, Any, Any]", result).close()  # a coroutine has that, too
    elif not issubclass(kind, AsyncGeneratorType) and not _is_awaitable(kind):
        return
    raise TypeError(
        f"handler {name} returned a {kind.__name__}, so its work was not done: nobody awaits or "
        f"goes through what a handler returns; do that in the handler"
    )


def _is_awaitable(kind: type) -> bool:
    """Whether it can be awaited and is no handle: that one's job runs whether or not it is."""
    return hasattr(kind, "__await__") and not issubclass(kind, JobHandle)
