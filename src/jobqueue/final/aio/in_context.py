"""A coroutine that runs in a context of its own, though not in a task of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from contextvars import Context


class Abandoned(BaseException):
    """The loop let go of the task that awaits it: in place of a `GeneratorExit`, which the
    coroutine may raise by itself.
    """


class InContext:
    """Awaiting it runs the rest of a coroutine that has begun in `context`, each step there too.

    A task of asyncio's has one context for its life, so a task for each attempt would do. That
    costs as much as all that the queue does with a job. What a task does with a coroutine is to
    send to it and to throw into it; this stands between the two and passes all on.

    Args:
        awaited: what the coroutine gave when it was sent to first, for the task.
    """

    __slots__ = ("_awaited", "_context", "_coroutine")

    def __init__(
        self, context: Context, coroutine: Coroutine[Any, Any, Any], awaited: object
    ) -> None:
        self._context = context
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        run, coroutine, awaited = self._context.run, self._coroutine, self._awaited
        try:
            while True:
                try:
                    yield awaited
                except GeneratorExit:  # the loop is gone
                    run(coroutine.close)
                    raise Abandoned from None
                except BaseException as error:  # noqa: BLE001  # it is the coroutine's
                    awaited = run(coroutine.throw, error)
                else:
                    awaited = run(coroutine.send, None)
        except StopIteration as end:
            return end.value
