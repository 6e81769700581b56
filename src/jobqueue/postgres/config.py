"""`PostgresConfig`: the settings of a queue on PostgreSQL, which open it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal

from ..final import Config, ConfigError, NotSupportedError
from ..final.engine import SystemClock, check_seconds
from .errors import masked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..final import Middleware
    from ..final.ports import Clock
    from .queue import PostgresQueue

POOL_MIN = 2
_OWN = ("dsn", "heartbeat_timeout", "pool_size", "settings")


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    """Settings of a queue on PostgreSQL; immutable, and checked when made.

    Times are in seconds, or given as a `timedelta`. What is not told here is as in `Config`.

    Attributes:
        dsn: where the database is, as "postgresql://user@host/shop". Its password is in no message
            and not in the `repr`.
        num_workers: how many jobs run at a time in this process.
        queue_size: how many jobs a lane holds before `enqueue` blocks, counted just before each
            insert; `None`, the default, is no bound, and no count.
        heartbeat_timeout: if nothing is heard for so long of the process that runs a job, another
            one runs it.
        pool_size: how many connections this process has at most, besides the one that listens.
        executor: "thread" runs handlers in threads, "asyncio" coroutine functions on an event loop
            and others in threads. For work that computes start more processes.
        connect_timeout: how long calls wait for the database while it cannot be reached, before
            they raise `NotConnectedError`.
        status_retention: how many jobs are remembered; those that are not finished always are.
        result_retention: of how many jobs without `store_result`, those accepted last, the results
            are kept.

    Raises:
        ConfigError: a field has a value that cannot work; the message names it.
    """

    dsn: str = field(repr=False)
    num_workers: int = field(default=4, kw_only=True)
    queue_size: int | None = field(default=None, kw_only=True)
    max_retries: int = field(default=3, kw_only=True)
    base_delay: float = field(default=1.0, kw_only=True)
    max_delay: float = field(default=60.0, kw_only=True)
    jitter: float = field(default=0.1, kw_only=True)
    fairness: int = field(default=10, kw_only=True)
    job_timeout: float | None = field(default=None, kw_only=True)
    shutdown_timeout: float = field(default=30.0, kw_only=True)
    heartbeat_timeout: float = field(default=10.0, kw_only=True)
    status_retention: int = field(default=100_000, kw_only=True)
    result_retention: int = field(default=1000, kw_only=True)
    max_dead_letters: int = field(default=10_000, kw_only=True)
    max_payload_bytes: int = field(default=16 * 1024 * 1024, kw_only=True)
    executor: Literal["thread", "asyncio"] = field(default="thread", kw_only=True)
    connect_timeout: float = field(default=5.0, kw_only=True)
    pool_size: int = field(default=6, kw_only=True)
    settings: Config = field(init=False, repr=False, compare=False)
    """The same for the parts that every queue has; it checks what both have."""

    def __post_init__(self) -> None:
        dsn: object = self.dsn
        if not isinstance(dsn, str) or not dsn:
            raise ConfigError(
                f"dsn must be where the database is (text), as in 'postgresql://user@host/shop', "
                f"not {type(dsn).__name__}"
            )
        given = {
            each.name: getattr(self, each.name) for each in fields(self) if each.name not in _OWN
        }
        if given["executor"] == "process":
            raise ConfigError(
                "executor='process' is not there on PostgreSQL: start more processes of the "
                "program, as by 'jobqueue run'; executor must be 'thread' or 'asyncio'"
            )
        if given["queue_size"] is None:
            del given["queue_size"]
        settings = Config(**given)
        for name in given:
            object.__setattr__(self, name, getattr(settings, name))
        object.__setattr__(self, "settings", settings)
        object.__setattr__(self, "heartbeat_timeout", _heartbeat(self.heartbeat_timeout))
        if type(self.pool_size) is not int or self.pool_size < POOL_MIN:
            raise ConfigError(
                f"pool_size must be a whole number >= {POOL_MIN}, not {self.pool_size!r}: outcomes "
                f"are written while jobs are looked for"
            )

    @property
    def where(self) -> str:
        """Where the database is, without the password."""
        return masked(self.dsn)

    @property
    def persist_path(self) -> None:
        """There is no log: the database keeps the jobs."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes may have the queue too."""
        return True

    def __repr__(self) -> str:
        shown = [f"{self.where!r}"]
        shown += [
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(self)
            if each.repr and getattr(self, each.name) != each.default
        ]
        return f"PostgresConfig({', '.join(shown)})"

    def open(
        self,
        handlers: Mapping[str, Callable[..., object]] | None = None,
        *,
        handler: Callable[..., object] | None = None,
        middleware: Iterable[Middleware | Callable[[], Middleware]] = (),
        start: bool = True,
        clock: Clock | None = None,
    ) -> PostgresQueue:
        """Make a queue with these settings.

        Args:
            handlers: the handlers by name.
            handler: the default handler, for jobs that name none.
            middleware: as in `JobQueue`.
            start: whether jobs run here at once, or from `start()` on.
            clock: the system's, or `None`: other processes cannot see one that is moved by hand.

        Raises:
            NotConnectedError: the database cannot be reached, or refuses this user.
            SchemaError: its tables are missing, older or newer, or may not be used.
            NotSupportedError: `clock` is another one.
            TypeError, ValueError: an argument cannot work.
        """
        if clock is not None and not isinstance(clock, SystemClock):
            raise NotSupportedError(
                "a queue on PostgreSQL goes by the time of the database, which no clock of this "
                "process moves; leave clock out, and test with a queue in memory"
            )
        from .queue import PostgresQueue

        return PostgresQueue(
            self, handler=handler, handlers=handlers, middleware=middleware, start=start
        )


def _heartbeat(value: object) -> float:
    try:
        seconds = check_seconds("heartbeat_timeout", value)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    if seconds < 0.1:
        raise ConfigError(f"heartbeat_timeout must be at least 0.1 seconds, not {seconds:g}")
    return seconds
