"""What a handler is registered with besides its function: time, retries, form of its results.

It belongs to the function, not to the job: it is read when an attempt runs or has failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..exact import check_seconds
from .callables import is_coroutine_function
from .limits import Limit, Rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..exact import Seconds
    from .results import ResultCodec

    Backing = Callable[[int, BaseException], Seconds]
    """`(attempt, error) -> seconds`; the first attempt is 0."""


class Policy(NamedTuple):
    """How the attempts of a handler are timed and retried; `None` takes what `Config` says.

    Attributes:
        timeout: seconds that an attempt may take.
        retry_on: the types of errors that are retried; others fail the job at once.
        backoff: gives the seconds until the next attempt.
        result_codec: writes the results that are stored; `None` takes built-in types alone.
        rules: how many attempts may go on, or begin, at a time.
    """

    timeout: float | None = None
    retry_on: tuple[type[BaseException], ...] | None = None
    backoff: Backing | None = None
    result_codec: ResultCodec | None = None
    rules: tuple[Limit | Rate, ...] = ()

    def only_limit(self) -> Limit | None:
        """The one rule that there is, if it is a `Limit` without keys: so most of those are."""
        rule = self.rules[0] if len(self.rules) == 1 else None
        return rule if isinstance(rule, Limit) and not rule.per_key else None

    def given(self) -> dict[str, object]:
        """What was given of it, by the names that the arguments of `register` have."""
        options: dict[str, object] = {
            "timeout": self.timeout,
            "retry_on": self.retry_on,
            "backoff": self.backoff,
            "result_codec": self.result_codec,
        }
        options |= {"limit" if isinstance(each, Limit) else "rate": each for each in self.rules}
        return {name: value for name, value in options.items() if value is not None}


NO_POLICY = Policy()


def checked_policy(
    timeout: Seconds | None,
    retry_on: type[BaseException] | Iterable[type[BaseException]] | None,
    backoff: Backing | None,
    result_codec: ResultCodec | None = None,
    limit: Limit | None = None,
    rate: Rate | None = None,
) -> Policy:
    """The policy of these arguments of `JobQueue.register`.

    Raises:
        TypeError, ValueError: one of them cannot work.
    """
    if all(each is None for each in (timeout, retry_on, backoff, result_codec, limit, rate)):
        return NO_POLICY
    if limit is not None and not isinstance(limit, Limit):
        raise TypeError(f"limit must be a Limit, as in limit=Limit(2), not {limit!r}")
    if rate is not None and not isinstance(rate, Rate):
        raise TypeError(f"rate must be a Rate, as in rate=Rate(100, per=60.0), not {rate!r}")
    if backoff is not None and not gives_seconds(backoff):
        raise TypeError(
            f"backoff must be a Backoff, or a function of attempt and error that gives seconds, "
            f"not {backoff!r}"
        )
    if result_codec is not None and not _is_codec(result_codec):
        raise TypeError(
            f"result_codec must have encode(result) and decode(data), not be {result_codec!r}"
        )
    return Policy(
        None if timeout is None else check_seconds("timeout", timeout, "or None"),
        None if retry_on is None else _types(retry_on),
        backoff,
        result_codec,
        tuple(rule for rule in (limit, rate) if rule is not None),
    )


def gives_seconds(backoff: object) -> bool:
    """Whether this may be a function of attempt and error that gives seconds."""
    return (
        callable(backoff)
        and not isinstance(backoff, type)  # as `Backoff` without parentheses
        and not is_coroutine_function(backoff)
    )


def _is_codec(codec: object) -> bool:
    return all(callable(getattr(codec, name, None)) for name in ("encode", "decode"))


def _types(retry_on: object) -> tuple[type[BaseException], ...]:
    types: tuple[Any, ...] | None = None
    if isinstance(retry_on, type):
        types = (retry_on,)
    elif isinstance(retry_on, Iterable):
        types = tuple(retry_on)
    if types is None or not all(map(_is_type_of_error, types)):
        raise TypeError(
            f"retry_on must be types of exceptions, as in (OSError, TimeoutError), not {retry_on!r}"
        )
    return types


def _is_type_of_error(what: object) -> bool:
    return isinstance(what, type) and issubclass(what, BaseException)
