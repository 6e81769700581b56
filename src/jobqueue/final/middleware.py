"""Middleware: code of the user's around the acceptance of each job, each attempt, and its end.

What a middleware does not override is not called at all: the methods of all of them are put
together once, when the queue is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .model.callables import is_coroutine_function, is_generator_function

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
        TypeError: this is no list, an entry is no `Middleware` and gives none, or a method would
            not do its work when it is called.
    """

    def __init__(self, middleware: Iterable[Middleware | Callable[[], Middleware]] = ()) -> None:
        self.entries = _listed(middleware)
        self.made = tuple(_made(entry) for entry in self.entries)
        self.enqueue = self._overridden("enqueue")
        self.attempt = self._overridden("attempt")
        self.aattempt = self._overridden("aattempt")
        self.finished = self._overridden("finished")

    def _overridden(self, name: str) -> tuple[Layer, ...]:
        found = [each for each in self.made if overrides(each, name)]
        for each in found:
            _refuse_undone(each, name)
        return tuple(getattr(each, name) for each in found)


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


def _listed(middleware: Any) -> tuple[Any, ...]:
    """The entries.

    Raises:
        TypeError: it is one middleware, or nothing that could be a list of them.
    """
    is_one = isinstance(middleware, Middleware) or callable(middleware)
    if is_one or isinstance(middleware, (str, bytes)) or not isinstance(middleware, Iterable):
        instead = "put it into a list: middleware=[...]" if is_one else "write middleware=[...]"
        raise TypeError(
            f"middleware must be a list of Middleware objects, not {middleware!r}; {instead}"
        )
    return tuple(middleware)


def _made(entry: object) -> Middleware:
    is_one = isinstance(entry, Middleware)
    made = entry
    if callable(entry) and not is_one:
        try:
            made = entry()
        except TypeError as error:
            raise TypeError(
                f"middleware {entry!r} is called without arguments to make one, which failed: "
                f"{error}; put a Middleware object into the list, or a function that makes one"
            ) from error
    if not isinstance(made, Middleware):
        gives = "" if made is entry else f", which gives {made!r}"
        raise TypeError(
            f"middleware must be a list of Middleware objects, or of functions that make one "
            f"without arguments; not {entry!r}{gives}"
        )
    return made


_PLAIN = {
    "enqueue": "def enqueue(self, job, call_next), which calls no coroutine",
    "attempt": (
        "def attempt(self, context, call_next); around coroutine functions it is "
        "async def aattempt(self, context, call_next)"
    ),
    "finished": "def finished(self, info), which calls no coroutine",
}
"""The methods that are called and not awaited, and what to write for each."""


def _refuse_undone(middleware: Middleware, name: str) -> None:
    """Raises `TypeError` if a call of this method would not do its work."""
    method = getattr(middleware, name)
    where = f"middleware {type(middleware).__qualname__}.{name}"
    if is_generator_function(method):
        raise TypeError(f"{where} is a generator function: write it without yield")
    if name in _PLAIN:
        if is_coroutine_function(method):
            raise TypeError(
                f"{where} is a coroutine function, and nobody awaits it: write {_PLAIN[name]}"
            )
    elif not is_coroutine_function(method):
        raise TypeError(
            f"{where} is a plain function, and is awaited: write "
            f"async def {name}(self, context, call_next), and in it: await call_next(context)"
        )


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
