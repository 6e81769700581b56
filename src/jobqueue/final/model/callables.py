"""Functions whose call does not do their work: they are refused as handlers.

A coroutine function, a generator function and the like only return something that would do the
work. As handlers they would complete each job and do nothing.
"""

from __future__ import annotations

import functools
import inspect
from types import FunctionType, MethodType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_RUNS = frozenset(
    {
        "async_to_sync",
        "create_task",
        "run",
        "run_coroutine_threadsafe",
        "run_until_complete",
        "send",
    }
)
"""What a function names that runs a coroutine by itself, or goes through a generator."""


def refuse_undone_function(
    function: Callable[..., object], name: str, *, coroutines: bool = False
) -> None:
    """Raises `TypeError` if a call of this function would not do its work.

    Args:
        name: what to call it.
        coroutines: whether what calls it awaits coroutines, so that coroutine functions are right.
    """
    for each in _within(function):
        if inspect.iscoroutinefunction(each):
            if not coroutines:
                raise TypeError(
                    f"handler {name} is a coroutine function, which neither a worker thread nor a "
                    f'process awaits; use Config(executor="asyncio"), or register a plain '
                    f"function, for example one that calls asyncio.run"
                )
        elif inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            raise TypeError(
                f"handler {name} is a generator function, of which a call does nothing; register a "
                f"plain function, without yield. (If it is one that goes through a generator: "
                f"delete its __wrapped__)"
            )
    method = _method_without_object(function)
    if method is not None:
        kind, _, own_name = method.__qualname__.rpartition(".")
        what = "is" if name == method.__qualname__ else f"calls {method.__qualname__},"
        raise TypeError(
            f"handler {name} {what} a method in a class, and there is no object to call it on; "
            f"register that of an object, as {kind}().{own_name}, or a function"
        )


def refuse_task(function: object) -> None:
    """Raises `TypeError` for a task, whose function would get the payload as an argument."""
    kind = type(function)
    if hasattr(kind, "handler") and hasattr(kind, "enqueue"):
        name = getattr(function, "__name__", "task")
        raise TypeError(
            f"{function!r} takes arguments of its own, and a handler takes a payload; write "
            f"tasks.bind(queue), or register its handler: {name}.handler"
        )


def check_callback(fn: object) -> None:
    """Raises `TypeError` if this cannot be called when a job has ended, by whichever thread."""
    if not callable(fn):
        raise TypeError(f"a callback must be callable, not {fn!r}")
    if inspect.iscoroutinefunction(fn):
        raise TypeError(
            f"a callback must be a plain function, for nobody awaits it; {fn!r} is a coroutine "
            f"function: await the handle in a coroutine of yours, and go on from there"
        )


def is_coroutine_function(function: Callable[..., object]) -> bool:
    """Whether what a call of it returns has to be awaited."""
    return any(inspect.iscoroutinefunction(each) for each in _within(function))


def is_generator_function(function: Callable[..., object]) -> bool:
    """Whether a call of it gives a generator, asynchronous or not."""
    return any(
        inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each)
        for each in _within(function)
    )


def _within(function: object) -> list[object]:
    """The function, and what it calls: within a `partial`, an object, a decorator's function."""
    found: list[object] = []
    while function is not None and not any(each is function for each in found):
        found.append(function)
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, (MethodType, staticmethod)):
            function = function.__func__
        elif isinstance(function, FunctionType):
            runs = _RUNS.intersection(function.__code__.co_names)
            function = None if runs else getattr(function, "__wrapped__", None)
        elif isinstance(function, type) or inspect.isbuiltin(function):
            function = None
        else:
            call = type(function).__call__
            function = inspect.getattr_static(function, "__wrapped__", None)  # as of `lru_cache`
            if isinstance(call, FunctionType):
                found += _within(call)
                if _RUNS.intersection(call.__code__.co_names):
                    function = None
    return found


def _method_without_object(function: object) -> FunctionType | None:
    """The method that stands in the body of a class, if the payload would be its object.

    It may be within decorators' functions, `partial` and `lru_cache`, unless one of them has the
    object: a bound method, or the first argument of a `partial`.
    """
    seen: list[object] = []
    while not any(each is function for each in seen):
        seen.append(function)
        if isinstance(function, functools.partial):
            function = None if function.args else function.func
        elif isinstance(function, FunctionType) and _takes_object(function):
            return function
        elif not isinstance(function, type):
            function = inspect.getattr_static(function, "__wrapped__", None)
    return None


def _takes_object(function: FunctionType) -> bool:
    """Whether it is a plain function that stands in the body of a class and takes its object."""
    holder = function.__qualname__.rpartition(".")[0]
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return bool(holder) and not holder.endswith("<locals>") and names[:1] == ("self",)
