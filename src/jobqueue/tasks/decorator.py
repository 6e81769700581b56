"""`@tasks.task` as type checkers know it: which functions give which task.

A function whose first parameter is a `JobContext` gives a task without that parameter, a coroutine
function an `AsyncTask`. Two overloads, `Concatenate[JobContext, P]` and `Coroutine`, say so, but
would also take what they should not: a first parameter that is `object` or `Any` accepts a
`JobContext` too, and a result that is `Any`, `NoReturn` or a type variable passes for a coroutine.

So others stand before them, for functions that would accept or return anything at all. Such a
function accepts, or returns, a `Stranger`, a class that nobody else knows. The protocols say that
and are then called as the function is: a function fits an overloaded protocol only if it fits each
of its overloads. Where a type variable is solved, an overload of `Any` comes first, so that it is
solved to that, and not to `Stranger`.

mypy takes no overload at all if several fit because of an `Any` in the function, and their results
differ: then the task is `Task[Any, Any]` or `Any`.
"""

# Each of the overloads takes what a later one would take too: that is what they are for.
# mypy: disable-error-code="overload-overlap, overload-cannot-match"

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    Unpack,
    final,
    overload,
)

from ..final import JobContext, Priority
from ..final.ports import tells_names
from .settings import TaskOptions, checked_options, checked_repetition
from .task import AsyncTask, Task

if TYPE_CHECKING:
    from ..final import Limit, Rate, Unique
    from ..final.ports import CatchUp, Schedule
    from .codec import Codec
    from .options import Seconds
    from .settings import BackoffRule, Repetition

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@final
class Stranger:
    """No function of a user's is written for it."""


class TakesAnyFirst(Protocol[P, R_co]):
    """A function whose first parameter may be anything."""

    @overload
    def __call__(self, first: Any, /, *args: Any, **kwargs: Any) -> Any: ...

    @overload
    def __call__(self, first: Stranger, /, *args: Any, **kwargs: Any) -> Any: ...

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class GivesAny(Protocol[P, R_co]):
    """A function whose result passes for anything, and that has a positional parameter."""

    @overload
    def __call__(self, first: Any, /, *args: Any, **kwargs: Any) -> Stranger: ...

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class GivesAnyForNothing(Protocol[P, R_co]):
    """The same without a positional parameter."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Stranger: ...

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class TakesAnyFirstAndGivesAny(Protocol[P, R_co]):
    """Both."""

    @overload
    def __call__(self, first: Any, /, *args: Any, **kwargs: Any) -> Any: ...

    @overload
    def __call__(self, first: Stranger, /, *args: Any, **kwargs: Any) -> Stranger: ...

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


Awaited: TypeAlias = Coroutine[Any, Any, R]
WithContext: TypeAlias = Callable[Concatenate[JobContext, P], R]


class Decorator(Protocol):
    """What `@tasks.task(...)` gives: it makes a task of a function; the first that fits counts."""

    @overload
    def __call__(self, fn: TakesAnyFirstAndGivesAny[P, R], /) -> Task[P, R]: ...

    @overload
    def __call__(self, fn: GivesAny[Concatenate[JobContext, P], R], /) -> Task[P, R]: ...

    @overload
    def __call__(self, fn: GivesAny[P, R], /) -> Task[P, R]: ...

    @overload
    def __call__(self, fn: GivesAnyForNothing[P, R], /) -> Task[P, R]: ...

    @overload
    def __call__(self, fn: TakesAnyFirst[P, Awaited[R]], /) -> AsyncTask[P, R]: ...

    @overload
    def __call__(self, fn: WithContext[P, Awaited[R]], /) -> AsyncTask[P, R]: ...

    @overload
    def __call__(self, fn: Callable[P, Awaited[R]], /) -> AsyncTask[P, R]: ...

    @overload
    def __call__(self, fn: TakesAnyFirst[P, R], /) -> Task[P, R]: ...

    @overload
    def __call__(self, fn: WithContext[P, R], /) -> Task[P, R]: ...

    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...


class Declaring(ABC):
    """What has `@tasks.task`: `Tasks`. Its overloads are those above, once more for a method."""

    @overload
    def task(
        self, fn: TakesAnyFirstAndGivesAny[P, R], **options: Unpack[TaskOptions]
    ) -> Task[P, R]: ...

    @overload
    def task(
        self, fn: GivesAny[Concatenate[JobContext, P], R], **options: Unpack[TaskOptions]
    ) -> Task[P, R]: ...

    @overload
    def task(self, fn: GivesAny[P, R], **options: Unpack[TaskOptions]) -> Task[P, R]: ...

    @overload
    def task(self, fn: GivesAnyForNothing[P, R], **options: Unpack[TaskOptions]) -> Task[P, R]: ...

    @overload
    def task(
        self, fn: TakesAnyFirst[P, Awaited[R]], **options: Unpack[TaskOptions]
    ) -> AsyncTask[P, R]: ...

    @overload
    def task(
        self, fn: WithContext[P, Awaited[R]], **options: Unpack[TaskOptions]
    ) -> AsyncTask[P, R]: ...

    @overload
    def task(
        self, fn: Callable[P, Awaited[R]], **options: Unpack[TaskOptions]
    ) -> AsyncTask[P, R]: ...

    @overload
    def task(self, fn: TakesAnyFirst[P, R], **options: Unpack[TaskOptions]) -> Task[P, R]: ...

    @overload
    def task(self, fn: WithContext[P, R], **options: Unpack[TaskOptions]) -> Task[P, R]: ...

    @overload
    def task(self, fn: Callable[P, R], **options: Unpack[TaskOptions]) -> Task[P, R]: ...

    @overload
    def task(
        self,
        fn: None = None,
        *,
        name: str | None = None,
        priority: Priority = Priority.MEDIUM,
        max_retries: int | None = None,
        timeout: Seconds | None = None,
        retry_on: type[BaseException] | Iterable[type[BaseException]] | None = None,
        backoff: BackoffRule | None = None,
        store_result: bool = False,
        codec: Codec | None = None,
        key: str | None = None,
        unique: Unique | None = None,
        expires: Seconds | None = None,
        limit: Limit | None = None,
        rate: Rate | None = None,
        atomic: bool = False,
    ) -> Decorator: ...

    @tells_names("@tasks.task(...) has no option", lambda: TaskOptions.__annotations__)
    def task(
        self,
        fn: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        priority: Priority = Priority.MEDIUM,
        max_retries: int | None = None,
        timeout: Seconds | None = None,
        retry_on: type[BaseException] | Iterable[type[BaseException]] | None = None,
        backoff: BackoffRule | None = None,
        store_result: bool = False,
        codec: Codec | None = None,
        key: str | None = None,
        unique: Unique | None = None,
        expires: Seconds | None = None,
        limit: Limit | None = None,
        rate: Rate | None = None,
        atomic: bool = False,
    ) -> Any:
        """Decorator, with or without parentheses: makes a task of a function.

        Arguments travel as JSON by their annotations, and arrive equal and of the same type, or
        the call raises `TypeError`; a result that would not be kept so fails its job. Unions whose
        parts look alike in JSON cannot be annotated: `str | bytes`, `str | datetime`,
        `str | Path`, two dataclasses, a model of pydantic and anything but `None`. Use one of the
        types, msgspec Structs with tags, or a codec.

        Args:
            name: what the log calls it, so that the function may move; its `__qualname__` if
                not given.
            priority: the lane of its jobs.
            max_retries: retries after the first attempt; `None` takes the queue's.
            timeout: seconds, or a `timedelta`, that an attempt may take; `None` takes the queue's.
            retry_on: the types of exceptions after which it is tried again; others fail the job
                at once. `RetryJobError` is always retried.
            backoff: a `Backoff`, or a function of attempt (from 0) and error that gives seconds.
            store_result: whether the result is kept with the job, in the log too.
            codec: how its arguments are written; `None` takes the collection's.
            key: what its jobs are about, if all are about the same; see `using`.
            unique: add a job only if there is none like it.
            expires: seconds, or a `timedelta`, within which a job has to have started, or it is
                cancelled.
            limit: how many attempts of it may go on at once.
            rate: how many attempts may begin in a time. Tasks share a limit or a rate by being
                given the same object.
            atomic: whether what it enqueues is held back until it returns: see `enqueue`.

        Raises:
            TypeError: the function is a method, a class, or a generator function. If a type
                cannot be carried, the first call and `open` say so.
            ValueError: another function has this name, or it needs a name.
            TypeError, ValueError: an option cannot work; the message says which and why.
        """
        declare = self._declarer(name, _options(locals()))
        return declare if fn is None else declare(fn)

    def periodic(
        self,
        schedule: Schedule,
        *,
        tz: str = "UTC",
        catch_up: CatchUp = "none",
        **options: Unpack[TaskOptions],
    ) -> Decorator:
        """Decorator: makes a task of a function that is also called by itself, at each tick.

        The queue that is open for the task enqueues it, under the id that is the task's name and
        the tick's time in UTC. It can be called and enqueued as any task besides.

        Args:
            schedule: a cron expression of five fields, as "0 4 * * *", or "@hourly", "@daily",
                "@weekly", "@monthly", "@yearly"; or a `timedelta`, whose ticks are its multiples
                since 1970.
            tz: the time zone of a cron expression, as "Europe/Berlin".
            catch_up: what becomes of missed ticks: "none", "last" or "all"; see
                `JobQueue.periodic`.
            options: those of `task`.

        Raises:
            TypeError: the function wants arguments; or as `task` does.
            ValueError: the expression, the zone or `catch_up` cannot be; or as `task` does.
            ImportError: a cron expression needs the package `cronsim`, which is not installed.
        """
        repetition = checked_repetition(schedule, tz, catch_up)
        given = checked_options(options)
        declare: Decorator = self._declarer(given.pop("name"), given, repetition)
        return declare

    @abstractmethod
    def _declarer(
        self, name: str | None, options: Mapping[str, Any], repetition: Repetition | None = None
    ) -> Any:
        """What makes a task of a function, with these options of `task`, once they are checked.

        Args:
            repetition: when the task is called by itself, if it is.
        """


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options among the arguments of `task`."""
    return {key: value for key, value in given.items() if key not in {"self", "fn", "name"}}
