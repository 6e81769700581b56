"""What `@tasks.task(...)` is given, checked at that call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, TypeVar, get_args

from ..final import Backoff, Job, Limit, Priority, Rate, Unique
from ..final.ports import CatchUp, check_seconds, gives_seconds, parse_schedule, unknown_name
from .options import Seconds

if TYPE_CHECKING:
    from ..final.ports import Schedule
    from .codec import Codec

T = TypeVar("T")
BackoffRule = Backoff | Callable[[int, BaseException], Seconds]

_NAME_LENGTH_MAX = 255  # of a handler's name in the log


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What belongs to the function, and not to one job: read when a job is made or runs."""

    priority: Priority = Priority.MEDIUM
    max_retries: int | None = None
    timeout: float | None = None
    retry_on: tuple[type[BaseException], ...] | None = None
    backoff: BackoffRule | None = None
    store_result: bool = False
    codec: Codec | None = None
    key: str | None = None
    unique: Unique | None = None
    expires: float | None = None
    limit: Limit | None = None
    rate: Rate | None = None
    atomic: bool = False


class TaskOptions(TypedDict, total=False):
    """What `@tasks.task(...)` may be given, as `@tasks.periodic(...)` passes it on."""

    name: str | None
    priority: Priority
    max_retries: int | None
    timeout: Seconds | None
    retry_on: type[BaseException] | Iterable[type[BaseException]] | None
    backoff: BackoffRule | None
    store_result: bool
    codec: Codec | None
    key: str | None
    unique: Unique | None
    expires: Seconds | None
    limit: Limit | None
    rate: Rate | None
    atomic: bool


class Repetition(NamedTuple):
    """When a task is called by itself, as `@tasks.periodic(...)` was given it."""

    schedule: Schedule
    tz: str
    catch_up: CatchUp


def checked_repetition(schedule: Schedule, tz: str, catch_up: CatchUp) -> Repetition:
    """What `@tasks.periodic(...)` was given.

    Raises:
        TypeError, ValueError, ImportError: as `JobQueue.periodic` does.
    """
    kinds = (TypeError, ValueError)
    try:
        parse_schedule(schedule, tz)
    except kinds as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"@tasks.periodic(...): {error}") from None
    if catch_up not in get_args(CatchUp):
        wanted = " or ".join(map(repr, get_args(CatchUp)))
        raise ValueError(f"@tasks.periodic(...): catch_up must be {wanted}, not {catch_up!r}")
    return Repetition(schedule, tz, catch_up)


PERIODIC_NAMES = ("schedule", "tz", "catch_up", *TaskOptions.__annotations__)
"""What `@tasks.periodic(...)` may be given."""


def checked_options(options: TaskOptions) -> dict[str, Any]:
    """The options of a periodic task, with their defaults; an unknown one is a `TypeError`."""
    for name in options:
        if name not in TaskOptions.__annotations__:
            raise TypeError(
                unknown_name("@tasks.periodic(...) has no option", name, PERIODIC_NAMES)
            )
    return dict.fromkeys(TaskOptions.__annotations__) | _DEFAULTS | options


_DEFAULTS: dict[str, Any] = {
    "priority": Priority.MEDIUM,
    "store_result": False,
    "atomic": False,
}
"""Of the options whose default is not `None`."""


def checked_settings(
    *,
    priority: Priority,
    max_retries: int | None,
    timeout: Seconds | None,
    retry_on: type[BaseException] | Iterable[type[BaseException]] | None,
    backoff: BackoffRule | None,
    store_result: bool,
    codec: Codec | None,
    key: str | None = None,
    unique: Unique | None = None,
    expires: Seconds | None = None,
    limit: Limit | None = None,
    rate: Rate | None = None,
    atomic: bool = False,
) -> Settings:
    """The settings of these arguments of `@tasks.task(...)`.

    Raises:
        TypeError, ValueError: one of them cannot work; the message says which, and what to write.
    """
    try:
        example = Job(
            priority=priority,
            max_retries=max_retries,
            store_result=store_result,
            key="any" if key is None else key,  # a call may give it
            unique=unique,
            expires=expires,
        )
        return Settings(
            priority=example.priority,
            max_retries=example.max_retries,
            timeout=None if timeout is None else check_seconds("timeout", timeout),
            retry_on=None if retry_on is None else _types(retry_on),
            backoff=_checked_backoff(backoff),
            store_result=store_result,
            codec=checked_codec(codec),
            key=None if key is None else example.key,
            unique=unique,
            expires=example.expires,
            limit=_checked("limit", limit, Limit, "limit=Limit(2)"),
            rate=_checked("rate", rate, Rate, "rate=Rate(100, per=60.0)"),
            atomic=_checked_switch("atomic", atomic),
        )
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"@tasks.task(...): {error}") from None


def checked_codec(codec: Codec | None) -> Codec | None:
    """The codec; raises `TypeError` if it is none."""
    given: object = codec
    wanted = "codec must be None, or an object with encode(arguments) and decode(payload)"
    if given is None:
        return None
    if not all(callable(getattr(given, name, None)) for name in ("encode", "decode")):
        raise TypeError(f"{wanted}, not {given!r}")
    if isinstance(given, type) and inspect.isfunction(
        inspect.getattr_static(given, "encode", None)
    ):
        raise TypeError(f"{wanted}, not the class {given.__name__}; write {given.__name__}(...)")
    return codec


def checked_name(name: str, what: str = "name") -> str:
    """The name of a task in the log.

    Raises:
        TypeError: it is no text.
        ValueError: it has not 1 to 255 characters, or UTF-8 cannot hold it.
    """
    if not isinstance(name, str):
        raise TypeError(f"{what} must be text (str), not {name!r}")
    if not 0 < len(name) <= _NAME_LENGTH_MAX:
        raise ValueError(
            f'{what} must have 1 to {_NAME_LENGTH_MAX} characters, as in name="mail.send"; '
            f"{name!r} has {len(name)}"
        )
    return checked_utf8(name, what)


def checked_utf8(text: str, what: str) -> str:
    """A part of a task's name; raises `TypeError` if it is no text, `ValueError` if not UTF-8."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be text (str), not {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{what} has a lone surrogate, which UTF-8 cannot hold: {text!r}"
        ) from None
    return text


def _types(retry_on: object) -> tuple[type[BaseException], ...]:
    given: tuple[Any, ...] | None = None
    if isinstance(retry_on, type):
        given = (retry_on,)
    elif isinstance(retry_on, Iterable):
        given = tuple(retry_on)
    if given is None or not all(
        isinstance(each, type) and issubclass(each, BaseException) for each in given
    ):
        raise TypeError(
            f"retry_on must be types of exceptions, as in (OSError, TimeoutError), not {retry_on!r}"
        )
    return given


def _checked(name: str, value: T | None, kind: type[T], example: str) -> T | None:
    if value is None or isinstance(value, kind):
        return value
    raise TypeError(f"{name} must be a {kind.__name__}, as in {example}, not {value!r}")


def _checked_switch(name: str, value: bool) -> bool:
    given: object = value
    if not isinstance(given, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def _checked_backoff(backoff: BackoffRule | None) -> BackoffRule | None:
    if backoff is None or gives_seconds(backoff):
        return backoff
    raise TypeError(
        f"backoff must be a Backoff, as in Backoff(base=1.0), or a function of attempt and error "
        f"that gives seconds, not {backoff!r}"
    )
