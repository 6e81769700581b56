"""Handlers: which function runs a job, and in which form it is called."""

from __future__ import annotations

import inspect
import sys
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from .callables import is_coroutine_function, refuse_task, refuse_undone_function
from .policy import NO_POLICY, Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import JobContext
    from .handler_meter import HandlerMeter, LaneTally
    from .limits import Limit

    Attempt = Callable[[JobContext], object]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class _Form(NamedTuple):
    """In which form a function is called; see the attributes of `Handler`."""

    code: CodeType | None
    """Of the plain function that it was found in: tools that reload a module replace it there."""
    is_async: bool
    wants_context: bool
    by_keyword: bool


class Handler:
    """A function and the form in which it is called.

    Args:
        function: `fn(payload)` or `fn(payload, context)`.
        coroutines: whether what runs its attempts awaits what a coroutine function returns.

    Attributes:
        wants_context: whether the function takes the context.
        is_async: whether what a call returns is awaited.
        is_equipped: whether an attempt needs a context, so that `call` is what runs it. Otherwise
            `function(payload)` does.
        policy: what it was registered with besides.
        is_limited: whether that says how many attempts may go on or begin at a time.
        limit: what says so, if it is one `Limit` without keys and nothing else.
        meter: counts its jobs.
        tallies: those of the meter, by priority.

    Raises:
        TypeError: it cannot be called in either form, or a call of it would not do its work.
    """

    __slots__ = (
        "by_keyword",
        "function",
        "is_async",
        "is_equipped",
        "is_limited",
        "limit",
        "meter",
        "policy",
        "tallies",
        "wants_context",
    )

    def __init__(self, function: Callable[..., object], *, coroutines: bool = False) -> None:
        self.function = function
        _, self.is_async, self.wants_context, self.by_keyword = _form(function, coroutines)
        self.is_equipped = self.wants_context or coroutines
        self.policy = NO_POLICY
        self.is_limited = False
        self.limit: Limit | None = None
        self.meter: HandlerMeter
        self.tallies: tuple[LaneTally, ...]

    def with_policy(self, policy: Policy) -> Handler:
        """This handler, which nothing uses yet, from now on with a policy."""
        self.policy = policy
        self.is_limited = bool(policy.rules)
        self.limit = policy.only_limit()
        self.is_equipped = self.is_equipped or policy.timeout is not None
        return self

    def counted_by(self, meter: HandlerMeter) -> Handler:
        """This handler, which no job has yet: this counts its jobs from now on."""
        self.meter, self.tallies = meter, meter.tallies
        return self

    def check_replaces(self, old: Handler) -> None:
        """Raises `ValueError` if this one cannot take the place of another."""

    def call(self, payload: bytes, context: JobContext) -> object:
        """Run an attempt that is equipped with a context."""
        if not self.wants_context:
            return self.function(payload)
        if self.by_keyword:
            return self.function(payload, context=context)
        return self.function(payload, context)


class HandlerWithin(Handler):
    """A handler whose attempts run within something else, as middleware.

    Args:
        inner: the handler.
        put_around: makes of a function of the context one that does more.
    """

    __slots__ = ("_attempt",)

    def __init__(self, inner: Handler, put_around: Callable[[Attempt], Attempt]) -> None:
        self.function = inner.function
        self.is_async = inner.is_async
        self.wants_context, self.by_keyword = inner.wants_context, inner.by_keyword
        self.is_equipped = True
        self.policy, self.is_limited, self.limit = inner.policy, inner.is_limited, inner.limit
        self._attempt = put_around(lambda context: inner.call(context.job._payload, context))

    def call(self, payload: bytes, context: JobContext) -> object:
        """Run an attempt."""
        return self._attempt(context)


_forms: dict[tuple[bool, bool], WeakKeyDictionary[FunctionType, _Form]] = {
    (is_bound, coroutines): WeakKeyDictionary()
    for is_bound in (False, True)
    for coroutines in (False, True)
}
"""What was found of plain functions, and of those of bound methods, for the next time.

Any thread: each step is one of a dictionary's, and to look twice does no harm."""


def _form(function: Callable[..., object], coroutines: bool) -> _Form:
    """Look into a function. That takes some fifty microseconds, so it is done once for each."""
    is_bound = type(function) is MethodType
    plain = function.__func__ if type(function) is MethodType else function
    if type(plain) is not FunctionType:
        return _look_into(function, coroutines, None)
    known = _forms[is_bound, coroutines]
    form = known.get(plain)
    if form is None or form.code is not plain.__code__:
        form = known[plain] = _look_into(function, coroutines, plain.__code__)
    return form


def _look_into(function: Callable[..., object], coroutines: bool, code: CodeType | None) -> _Form:
    if not callable(function):
        raise TypeError(f"a handler must be callable, not {function!r}")
    refuse_task(function)
    refuse_undone_function(function, name_of(function), coroutines=coroutines)
    is_async = coroutines and is_coroutine_function(function)
    return _Form(code, is_async, *_takes_context(function))


def _takes_context(function: Callable[..., object]) -> tuple[bool, bool]:
    """Whether the function takes the context, and whether by keyword."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):  # a built-in without a readable signature
        return False, False
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    required = [p for p in positional if p.default is p.empty]
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if not positional and not any_number:
        raise _wrong_shape(function)
    context = next((p for p in parameters if p.name == "context" and p is not parameters[0]), None)
    if len(required) == 2 and not keywords:
        return True, False
    if context is not None and len(required) <= 1 and not set(keywords) - {"context"}:
        return _takes(context, positional, function)
    if len(required) <= 1 and not keywords:
        return False, False
    raise _wrong_shape(function)


def _takes(
    context: inspect.Parameter,
    positional: list[inspect.Parameter],
    function: Callable[..., object],
) -> tuple[bool, bool]:
    """How a parameter named `context` that need not be the second one is passed."""
    if context.kind in (context.POSITIONAL_OR_KEYWORD, context.KEYWORD_ONLY):
        return True, True
    if context.kind is context.POSITIONAL_ONLY and positional.index(context) == 1:
        return True, False
    raise _wrong_shape(function)


def _wrong_shape(function: Callable[..., object]) -> TypeError:
    return TypeError(
        f"handler {name_of(function)} must take fn(payload) or fn(payload, context), "
        f"not {inspect.signature(function)}"
    )


def name_of(function: Callable[..., object]) -> str:
    """What to call a function in messages."""
    return getattr(function, "__qualname__", None) or repr(function)


def own_name(function: object) -> str:
    """The name of a function that is registered under its own.

    Raises:
        TypeError: it has none.
    """
    name = getattr(function, "__name__", None)
    if not callable(function) or not isinstance(name, str) or name == "<lambda>":
        raise TypeError(
            f"{function!r} is no function with a name of its own; give one: "
            f'queue.register("name", function)'
        )
    return name


def importable_name(function: Callable[..., object]) -> str:
    """The name under which a function can be found again, `module.qualname`.

    Raises:
        ValueError: it could not be found again: a lambda, a local function, an object.
    """
    module = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    found: object = sys.modules.get(module or "")
    for part in (qualname or "").split("."):
        found = getattr(found, part, None)
    if found is not function:
        raise ValueError(
            f"handler {name_of(function)} is a lambda, a local function or an object, which a "
            f"queue with a log could not find again after a restart; use a function of a module, "
            f"or register it by name and set Job(handler=...)"
        )
    return f"{module}.{qualname}"
