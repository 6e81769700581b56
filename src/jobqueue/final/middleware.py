"""Middleware: code of the user's around the acceptance of each job, each attempt, and its end.

What a middleware does not override is not called at all: the methods of all of them are put
together once, when the queue is made.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from .model.context import JobContext
    from .model.handle import JobHandle
    from .model.job import Job, JobInfo

    Attempt = Callable[[JobContext], object]
    Layer = Callable[..., Any]


class Middleware:
    """What a queue does for every job; override what you need. Its methods must be thread-safe.

    A queue takes a list of them, `JobQueue(middleware=[...])`; the first is the outermost. With
    `executor="process"` those that override `attempt` are made anew in each process: the list then
    holds a class, or another function without arguments, that can be imported by name.
    """

    def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
        """Around the acceptance of a job, on the caller's thread, without locks.

        It may pass on a changed job (`job.with_headers(...)`), or raise to refuse it.

        Returns:
            What `call_next` returned: the job's handle.
        """
        return call_next(job)

    def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
        """Around each attempt of a plain function, where it runs: in a thread or a process.

        What it returns or raises counts as the handler's.
        """
        return call_next(context)

    async def aattempt(
        self, context: JobContext, call_next: Callable[[JobContext], Awaitable[object]]
    ) -> object:
        """Around each attempt of a coroutine function, on its loop; else as `attempt`."""
        return await call_next(context)

    def finished(self, info: JobInfo) -> object:
        """A job is completed, has failed for good, or was cancelled. Without locks.

        Called on the thread that ended the job, in the process of the queue. An error in here is
        logged, and changes nothing. A dead letter that is requeued finishes again.
        """


class Layers:
    """The overridden methods of a list of middleware, outermost first.

    Args:
        middleware: the list; an entry that is no `Middleware` is called, to give one.

    Attributes:
        made: the middleware.
        entries: the list as it was given.

    Raises:
        TypeError: an entry is no `Middleware` and gives none.
    """

    def __init__(self, middleware: Iterable[Middleware | Callable[[], Middleware]] = ()) -> None:
        self.entries = tuple(middleware)
        self.made = tuple(_made(entry) for entry in self.entries)
        self.enqueue = self._overridden("enqueue")
        self.attempt = self._overridden("attempt")
        self.aattempt = self._overridden("aattempt")
        self.finished = self._overridden("finished")

    def _overridden(self, name: str) -> tuple[Layer, ...]:
        return tuple(getattr(each, name) for each in self.made if overrides(each, name))


def overrides(middleware: Middleware, name: str) -> bool:
    """Whether the method of this name is more than the pass-through."""
    function = getattr(getattr(middleware, name), "__func__", None)
    return function is not getattr(Middleware, name)


def wrapped(layers: Iterable[Layer], innermost: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One function that goes through all layers, the first outermost, to the innermost."""
    for layer in reversed(tuple(layers)):
        innermost = _around(layer, innermost)
    return innermost


def _around(layer: Layer, call_next: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(value: Any) -> Any:
        return layer(value, call_next)

    return call


def _made(entry: object) -> Middleware:
    made = entry() if callable(entry) and not isinstance(entry, Middleware) else entry
    if not isinstance(made, Middleware):
        raise TypeError(
            f"middleware must be a list of Middleware objects, or of functions that make one "
            f"without arguments; not {entry!r}"
        )
    return made


def factory_of(entry: Middleware | Callable[[], Middleware]) -> Callable[[], Middleware]:
    """What makes such a middleware anew in another process.

    Raises:
        TypeError: the entry is an object whose class takes arguments, which are not known here.
    """
    if not isinstance(entry, Middleware):
        return entry
    if inspect.signature(type(entry)).parameters:
        raise TypeError(
            f"middleware {type(entry).__qualname__} overrides attempt, so each process "
            f"(executor='process') makes one of its own, and its class takes arguments; put a "
            f"function of a module into the list, in place of the object, that makes it"
        )
    return type(entry)
