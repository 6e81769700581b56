"""The part of `JobQueue` that takes handlers: functions that jobs name, and what runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from .model.checks import check_text
from .model.handlers import own_name
from .model.policy import checked_policy
from .repeating import Repeating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .core.registry import HandlerRegistry
    from .exact import Seconds
    from .model.limits import Limit, Rate
    from .model.results import ResultCodec

HandlerFunction = TypeVar("HandlerFunction", bound="Callable[..., object]")


class Registering(Repeating):
    """Takes handlers. All methods are thread-safe."""

    _registry: HandlerRegistry
    """The handlers that are known."""

    # ── handlers ─────────────────────────────────────────────────────────────────────────────

    def register(
        self,
        name: str,
        fn: Callable[..., object],
        *,
        timeout: Seconds | None = None,
        retry_on: type[BaseException] | Iterable[type[BaseException]] | None = None,
        backoff: Callable[[int, BaseException], Seconds] | None = None,
        result_codec: ResultCodec | None = None,
        limit: Limit | None = None,
        rate: Rate | None = None,
        replace: bool = False,
    ) -> None:
        """Add a handler under a name; jobs that waited for it become runnable.

        The same function again is accepted. If options come with it, they take the place of all
        that it had: jobs that wait go by them, also by another limit or rate. Attempts that run go
        on by the old ones, and count for those alone. Without options it keeps what it has.

        Args:
            name: 1 to 255 characters, as in `Job(handler=...)`.
            fn: `fn(payload)` or `fn(payload, context)`.
            timeout: seconds after which an attempt is told to stop; `None` takes `job_timeout`.
            retry_on: types of exceptions; others fail the job at once, as `RejectJobError` does.
                `RetryJobError` always retries. `None` retries all.
            backoff: a `Backoff`, or a function `(attempt, error)` that gives the seconds until the
                next attempt, 0 being the first; `None` takes the one of `Config`.
            result_codec: writes and reads the results of jobs with `store_result=True`, called by
                any thread (`ports.ResultCodec`); `None` takes results of built-in types alone.
            limit: how many of its attempts may go on at once; shared by the handlers that are given
                the same object.
            rate: how many of its attempts may begin in a time; shared likewise.
            replace: put it in the place of another function of this name. Queued jobs then run by
                this one, and so do further attempts.

        Raises:
            ValueError: another function has this name; or an argument cannot work.
            TypeError: the function has neither of the two forms; or an argument is no such thing.
        """
        self._enter()
        name = check_text("handler name", name)
        policy = checked_policy(timeout, retry_on, backoff, result_codec, limit, rate)
        handler = self._registry.make(fn).with_policy(policy)
        self._changes.register(name, handler, replace=replace)

    @overload
    def handler(self, name: HandlerFunction, /) -> HandlerFunction: ...

    @overload
    def handler(
        self,
        name: str | None = None,
        *,
        timeout: Seconds | None = None,
        retry_on: type[BaseException] | Iterable[type[BaseException]] | None = None,
        backoff: Callable[[int, BaseException], Seconds] | None = None,
        result_codec: ResultCodec | None = None,
        limit: Limit | None = None,
        rate: Rate | None = None,
        replace: bool = False,
    ) -> Callable[[HandlerFunction], HandlerFunction]: ...

    def handler(self, name: Any = None, **options: Any) -> Any:
        """Decorator that registers a function, under its own name or the one that is given.

        It works without parentheses too; the options are those of `register`.
        """
        if name is not None and not isinstance(name, str):
            self.register(own_name(name), name)
            return name

        def add(function: HandlerFunction) -> HandlerFunction:
            self.register(own_name(function) if name is None else name, function, **options)
            return function

        return add
