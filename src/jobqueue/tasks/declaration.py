"""What `@tasks.task(...)` says of a function, and the handler that is made of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from ..final import JobContext, RejectJobError
from ..final.ports import is_coroutine_function, is_generator_function
from .atomic import ATTEMPT, Attempt
from .codec import Wire, result_codec, wire
from .parameters import ANY_NUMBER, Parameters

if TYPE_CHECKING:
    from ..final import Job, Limit, Rate
    from ..final.ports import CatchUp, ResultCodec, Schedule
    from .settings import BackoffRule, Repetition, Settings
    from .task import Home


class Handlers(Protocol):
    """Where a task's handler is registered: a queue."""

    def register(
        self,
        name: str,
        fn: Callable[..., object],
        *,
        timeout: float | None = None,
        retry_on: Iterable[type[BaseException]] | None = None,
        backoff: BackoffRule | None = None,
        result_codec: ResultCodec | None = None,
        limit: Limit | None = None,
        rate: Rate | None = None,
    ) -> None:
        """Add a handler under a name."""

    def periodic(
        self,
        name: str,
        schedule: Schedule,
        job_factory: Callable[[], Job],
        *,
        tz: str = "UTC",
        catch_up: CatchUp = "none",
    ) -> None:
        """Enqueue a job at each tick of a schedule."""


class Declaration:
    """One function that is a task. Immutable but for what is made of its signature, once.

    The signature's types are looked up at the first use, since the module may define them after
    the function.

    Args:
        home: the `Tasks` that it is declared with.
        function: the function.
        name: what the log calls it, without the prefix of an `include`.
        settings: what `@tasks.task(...)` was given.
        repetition: when it is called by itself, if it is.

    Attributes:
        job: makes a job of the task, of given arguments.

    Raises:
        TypeError: this cannot be a task.
    """

    job: Callable[..., Job]

    def __init__(
        self,
        home: Home,
        function: Callable[..., Any],
        name: str,
        settings: Settings,
        repetition: Repetition | None = None,
    ) -> None:
        self.home = home
        self.function = function
        self.name = name
        self.full_name = name  # with the prefixes under which it is included
        self.settings = settings
        self.repetition = repetition
        self.is_async = is_coroutine_function(function)

    @functools.cached_property
    def handler(self) -> Callable[..., object]:
        """What a queue calls, with a payload and, if the function wants it, a context.

        It has a name under which another process finds it: `handler` of the task that its module
        holds. Raises `TypeError` if the signature cannot be used.
        """
        made = (_async_handler if self.is_async else _handler)(self)
        made.__module__ = self.function.__module__
        made.__qualname__ = f"{self.function.__qualname__}.handler"
        return made

    @functools.cached_property
    def parameters(self) -> Parameters:
        """What the function takes. Raises `TypeError` if an annotation cannot be looked up."""
        return Parameters(self.function, self.name)

    @functools.cached_property
    def wire(self) -> Wire:
        """How its arguments are written. Raises `TypeError` if a type cannot be carried.

        That of a result that is to be kept is looked at here, too: both are said at the first use.
        """
        made = wire(self.settings.codec, self.parameters, self.name)
        _ = self.result_codec  # which raises, if it does, at the first use of this
        return made

    @functools.cached_property
    def result_codec(self) -> ResultCodec | None:
        """How its results are kept, if they are. Raises `TypeError` if their type cannot be."""
        return result_codec(self.parameters, self.name) if self.settings.store_result else None

    def register(self, queue: Handlers, name: str) -> None:
        """Make it known to a queue, under its full name."""
        settings = self.settings
        options: dict[str, Any] = {
            "timeout": settings.timeout,
            "retry_on": settings.retry_on,
            "backoff": settings.backoff,
            "result_codec": self.result_codec,
            "limit": settings.limit,
            "rate": settings.rate,
        }
        given = {key: value for key, value in options.items() if value is not None}
        queue.register(name, self.handler, **given)
        if self.repetition is not None:
            self.refuse_required()
            schedule, tz, catch_up = self.repetition
            # Of the name that it is getting: `include` notes it only when all are registered.
            queue.periodic(
                name, schedule, lambda: self.job().with_handler(name), tz=tz, catch_up=catch_up
            )

    def refuse_required(self) -> None:
        """Raises `TypeError` if it cannot be called without arguments.

        Types are looked up only if a parameter without a default may be the context.
        """
        parameters = inspect.signature(self.function).parameters.values()
        if all(each.default is not each.empty or each.kind in ANY_NUMBER for each in parameters):
            return
        if required := sorted(self.parameters.required):
            raise TypeError(
                f"{self.function.__qualname__} is to be called by a schedule, which gives no "
                f"arguments, and wants {', '.join(required)}; give each parameter a default"
            )


def register_all(
    queue: Handlers, declarations: Iterable[tuple[str, Declaration]], prefix: str = ""
) -> None:
    """Make tasks known to a queue by these names; what it would refuse is looked at first.

    So that it has none of them then: types that cannot be carried, and coroutine functions.
    """
    listed = list(declarations)
    for _, declaration in listed:
        _ = declaration.handler
    for name, declaration in sorted(listed, key=lambda each: not each[1].is_async):
        declaration.register(queue, prefix + name)


def _handler(declaration: Declaration) -> Callable[..., object]:
    load, call, is_atomic = _parts(declaration)

    def handler(payload: bytes) -> object:
        try:
            arguments = load(payload)
        except Exception as error:  # a codec of the user's may raise anything
            raise _rejected(declaration, payload, error) from error
        return call(arguments, None)

    def handler_with_context(payload: bytes, context: JobContext) -> object:
        try:
            arguments = load(payload)
        except Exception as error:  # likewise
            raise _rejected(declaration, payload, error) from error
        if is_atomic:
            _begin(declaration.home, context)
        return call(arguments, context)

    return handler_with_context if is_atomic or declaration.parameters.takes_context else handler


def _async_handler(declaration: Declaration) -> Callable[..., object]:
    load, call, is_atomic = _parts(declaration)

    async def handler(payload: bytes) -> object:
        try:
            arguments = load(payload)
        except Exception as error:  # likewise
            raise _rejected(declaration, payload, error) from error
        return await call(arguments, None)

    async def handler_with_context(payload: bytes, context: JobContext) -> object:
        try:
            arguments = load(payload)
        except Exception as error:  # likewise
            raise _rejected(declaration, payload, error) from error
        if is_atomic:
            _begin(declaration.home, context)
        return await call(arguments, context)

    return handler_with_context if is_atomic or declaration.parameters.takes_context else handler


def _begin(home: Home, context: JobContext) -> None:
    """An attempt of an atomic task begins; what is set ends with the attempt's own context."""
    ATTEMPT.set(Attempt(context, home, home.holder(context)))


def _parts(
    declaration: Declaration,
) -> tuple[Callable[[bytes], Any], Callable[[Any, JobContext | None], Any], bool]:
    wire = declaration.wire
    return wire.load, wire.call, declaration.settings.atomic


def _rejected(declaration: Declaration, payload: bytes, error: Exception) -> RejectJobError:
    """What does not fit the signature fails its job at once; it is kept as a dead letter."""
    misfit = declaration.wire.misfit(payload, error)
    return RejectJobError(f"task {declaration.name!r} cannot be called: {misfit}")


def taken(new: Declaration, known: Declaration) -> str:
    """What is said of a name that another function has."""
    return (
        f"task name {new.full_name!r} is taken by {_place(known)}; give {_place(new)} a name of "
        f"its own: @tasks.task(name=...)"
    )


def twice(name: str, new: Declaration, known: Declaration) -> str:
    """What is said of a name that an `include` would have a second time."""
    return (
        f"task name {name!r} would be there twice, for {_place(known)} and for {_place(new)}; "
        f"include the module with a prefix of its own, or give one of them another name: "
        f"@tasks.task(name=...)"
    )


def _place(declaration: Declaration) -> str:
    function = declaration.function
    return f"{function.__qualname__} of {function.__module__!r}"


# ── what can be a task ───────────────────────────────────────────────────────────────────────


def checked_function(function: object, name: str | None) -> Callable[..., Any]:
    """The function, if it can be a task.

    Raises:
        TypeError: it is something else, or of a kind that a queue cannot run.
        ValueError: it needs a name.
    """
    if isinstance(function, (classmethod, staticmethod)) or inspect.ismethod(function):
        raise TypeError(f"{_described(function)} is a method; {_WRITE_A_FUNCTION}")
    if isinstance(function, type):
        raise TypeError(f"{_described(function)} is a class; {_WRITE_A_FUNCTION}")
    if isinstance(getattr(function, "_declaration", None), Declaration):
        raise TypeError(
            f"{_described(function)} is a task already; declare the function once, by @tasks.task "
            f"or by @tasks.periodic, which takes the same options"
        )
    if not (inspect.isfunction(function) or inspect.isbuiltin(function)):
        raise TypeError(
            f"a task must be a function, not {_described(function)}; {_WRITE_A_FUNCTION}"
        )
    if is_generator_function(function):
        raise TypeError(
            f"{_described(function)} is a generator function: calling it would run nothing; "
            f"let it return a list, or loop inside of it"
        )
    qualname = function.__qualname__
    holder, _, _ = qualname.rpartition(".")
    if holder and not holder.endswith("<locals>") and _takes_self(function):
        raise TypeError(
            f"{qualname} is a method, and a job has no object to call it on; {_WRITE_A_FUNCTION}"
        )
    if name is None and "<" in qualname:
        raise ValueError(
            f"{qualname} is a lambda or a local function, whose own name is not one to keep in a "
            f'log; name it: @tasks.task(name="...")'
        )
    return function


_WRITE_A_FUNCTION = "write a function of a module that makes or looks up what it needs"


def _takes_self(function: Callable[..., Any]) -> bool:
    first = next(iter(inspect.signature(function).parameters), None)
    return first in {"self", "cls"}


def _described(function: object) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
