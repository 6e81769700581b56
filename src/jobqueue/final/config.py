"""The settings of a queue, validated once so that nothing later has to be."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from .errors import ConfigError
from .exact import check_seconds, exact_str, real_number, shown, whole_number
from .spelling import tells_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Durability = Literal["async", "write", "fsync"]
Executor = Literal["thread", "process", "asyncio"]
Share = Literal["off", "auto", "client"]
UnknownHandlers = Literal["wait", "refuse"]

T = TypeVar("T")

_KIB = 1024
_MIB = 1024 * _KIB

LOGGED_PAYLOAD_BYTES_MAX = 128 * _MIB
"""One byte of a payload takes at most six bytes in the log, and a batch has at most 1 GiB."""

_WHOLE_NUMBERS = {  # field: smallest value that works
    "num_workers": 1,
    "queue_size": 1,
    "max_retries": 0,
    "fairness": 1,
    "reserved_workers": 0,
    "segment_bytes": 4096,
    "status_retention": 1,
    "result_retention": 0,
    "max_dead_letters": 1,
    "max_payload_bytes": 1,
    "max_crashes": 2,
}
_SWITCHES = ("allow_shared", "control")
_SECONDS = (
    *("base_delay", "max_delay", "fsync_interval", "lock_timeout", "shutdown_timeout"),
    "connect_timeout",
)
_CHOICES = {
    "durability": ("async", "write", "fsync"),
    "executor": ("thread", "process", "asyncio"),
    "unknown_handlers": ("wait", "refuse"),
}
_SHARES = ("off", "auto", "client")


def _tells_names(kind: type[T]) -> type[T]:
    """The class of settings, which tells of a misspelt field what was meant."""
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # it is a dataclass
    tells = tells_names(f"{kind.__name__} has no setting", lambda: names)
    kind.__init__ = tells(kind.__init__)  # type: ignore[method-assign]  # it is of the same type
    return kind


@_tells_names
@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of a `JobQueue`; immutable, and checked when made.

    Times are in seconds, or given as a `timedelta`; sizes are in bytes.

    Attributes:
        num_workers: worker threads.
        queue_size: how many jobs a lane (one per priority) holds before `enqueue` blocks.
        max_retries: retries after the first attempt, if the job does not say.
        base_delay: backoff before the first retry; it doubles with each further one.
        max_delay: cap of the backoff.
        jitter: fraction (0 to 1) by which each backoff varies, up or down, after the cap.
        fairness: how many jobs of higher priority may start before a waiting lower lane gets one.
        reserved_workers: how many of `num_workers`, fewer than all, are kept for High: Medium and
            Low together never hold the others' number, so no High job waits for a long Low one.
        persist_path: directory of the write-ahead log; `None` keeps everything in memory.
        durability: what `enqueue` waits for: "async" (the record is in the current batch),
            "write" (the kernel has it), "fsync" (the disk has it).
        fsync_interval: longest time before written records are fsynced.
        segment_bytes: size at which a log segment is sealed.
        lock_timeout: how long a start waits for a log that another process still has open, as the
            one before it does while it closes; 0 gives up at once.
        shutdown_timeout: how long `close()` waits.
        job_timeout: after this long an attempt is told to stop, and one in a process is killed;
            `None` never does.
        status_retention: how many completed and cancelled jobs are remembered.
        result_retention: how many results of jobs without `store_result` stay in memory, so that
            `handle(id).result()` finds them.
        max_dead_letters: how many failed jobs are kept, with payload.
        max_payload_bytes: largest payload that is accepted; with a log 128 MiB at most.
        executor: where handlers run: "thread", in the worker threads; "process", in as many
            processes, for work that computes, if they can be imported by name; "asyncio", so many
            at once on one event loop, coroutine functions there and others in threads.
        map_log: how a log's bytes reach the kernel under "write" and "fsync". `True` copies them
            into a shared memory map, faster than a system call, and a store that the file system
            cannot take kills the process. `False` never does. `None` maps where no store can fail.
        max_crashes: a job that was running at this many process deaths in a row is failed.
        allow_shared: whether the log's directory and files may belong to other users and be
            written to by others, as by a group; new ones are made for the group too then. Whoever
            can write there can have any job run. Without it they are refused.
        share: whether the processes of this machine have one queue together, by its log. "auto":
            the one that has the log's lock runs the jobs, and the others are its clients; when it
            ends, one of them goes on. "client" never runs jobs. "off", and `None`: one process
            alone has the queue. Those above a queue, as for web frameworks, may read `None` as
            "auto".
        connect_timeout: how long the calls of a client wait while no process runs the queue, before
            they raise `NoOwnerError`.
        control: whether commands and pages of other processes may look at the queue and steer it,
            but enqueue nothing; with a log. Shared queues have that anyway.
        unknown_handlers: what becomes of a new job whose handler is not registered. "wait" accepts
            it, and it waits for the name, as with a queue that is opened before the modules are
            imported which register their handlers. "refuse" raises `UnknownHandlerError` at once,
            for a queue that has all its handlers when the first job comes: a misspelt name is told
            then. Jobs of the log wait for their names in any case.

    Raises:
        ConfigError: a field has a value that cannot work; the message names it.
        TypeError: there is no field of a name; the message tells which one may be meant.
    """

    num_workers: int = 4
    queue_size: int = 1000
    max_retries: int = 3
    base_delay: float = 1.0
    max_delay: float = 60.0
    jitter: float = 0.1
    fairness: int = 10
    reserved_workers: int = 0
    persist_path: str | os.PathLike[str] | None = None
    durability: Durability = "write"
    fsync_interval: float = 0.05
    segment_bytes: int = 64 * 1024 * 1024
    lock_timeout: float = 0.0
    shutdown_timeout: float = 30.0
    job_timeout: float | None = None
    status_retention: int = 100_000
    result_retention: int = 1000
    max_dead_letters: int = 10_000
    max_payload_bytes: int = 16 * 1024 * 1024
    executor: Executor = "thread"
    max_crashes: int = 3
    allow_shared: bool = False
    map_log: bool | None = None
    share: Share | None = None
    connect_timeout: float = 5.0
    control: bool = False
    unknown_handlers: UnknownHandlers = "wait"

    _opened: ClassVar[Callable[..., Any]]
    """`JobQueue`, which stands above and sets it."""

    def open(
        self,
        handlers: Mapping[str, Callable[..., object]] | None = None,
        *,
        handler: Callable[..., object] | None = None,
        middleware: Iterable[Any] = (),
        start: bool = True,
        clock: Any = None,
    ) -> Any:
        """Make a queue with these settings: `JobQueue(config, ...)`, whose arguments these are.

        Other settings make other queues: code that is given settings and calls this runs on each.
        """
        return Config._opened(
            self,
            handler=handler,
            handlers=handlers,
            middleware=middleware,
            start=start,
            clock=clock,
        )

    @property
    def is_shared(self) -> bool:
        """Whether other processes may have the queue too."""
        return self.share in ("auto", "client")

    def __post_init__(self) -> None:
        for field in fields(self):
            value = _exact(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)  # it is frozen from here on
        if self.reserved_workers >= self.num_workers:
            raise ConfigError(
                f"reserved_workers must be less than num_workers ({self.num_workers}), not "
                f"{self.reserved_workers}: no worker would be left for Medium and Low"
            )
        if self.persist_path is None and (self.is_shared or self.control):
            setting = f"share={self.share!r}" if self.is_shared else "control=True"
            raise ConfigError(
                f"{setting} needs a log, by which the processes find each other: set persist_path "
                f"to its directory"
            )
        if self.persist_path is not None and self.max_payload_bytes > LOGGED_PAYLOAD_BYTES_MAX:
            raise ConfigError(
                f"max_payload_bytes must be at most {LOGGED_PAYLOAD_BYTES_MAX} with a log "
                f"(persist_path), not {shown(self.max_payload_bytes)}; store larger things "
                f"elsewhere"
            )


def name_in_records(config: Config) -> str:
    """What a queue is called in log records: the directory of its log; "memory" without one."""
    path = config.persist_path
    return "memory" if path is None else absolute(os.fspath(path))


def absolute(path: str) -> str:
    """The absolute path of a log's directory.

    Raises:
        FileNotFoundError: it is relative, and the process's current directory was removed.
    """
    try:
        return os.path.abspath(path)
    except FileNotFoundError as error:
        problem = "the current directory was removed, so that nothing relative to it can be found"
        raise FileNotFoundError(error.errno, problem, path) from None


def _exact(name: str, value: object) -> object:
    """The value of a field, of the exact type that the queue works with."""
    if name in _WHOLE_NUMBERS:
        return _exact_whole_number(name, value, _WHOLE_NUMBERS[name])
    if name in _SECONDS:
        return _exact_seconds(name, value)
    if name == "share":
        return None if value is None else _exact_choice(name, value, _SHARES)
    if name in _CHOICES:
        return _exact_choice(name, value, _CHOICES[name])
    if name in _SWITCHES:
        return _exact_switch(name, value)
    if name == "map_log":
        return None if value is None else _exact_switch(name, value, " or None")
    if name == "jitter":
        return _exact_fraction(name, value)
    if name == "job_timeout":
        return None if value is None else _exact_seconds(name, value, "or None for no timeout")
    return _exact_path(name, value)


def _exact_whole_number(name: str, value: object, smallest: int) -> int:
    number = whole_number(value)
    if number is None or number < smallest:
        raise ConfigError(f"{name} must be a whole number >= {smallest}, not {shown(value)}")
    return number


def _exact_seconds(name: str, value: object, alternative: str = "") -> float:
    try:
        return check_seconds(name, value, alternative)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None


def _exact_fraction(name: str, value: object) -> float:
    number = real_number(value)
    if number is None or not 0 <= number <= 1:
        raise ConfigError(f"{name} must be a number from 0 to 1, not {shown(value)}")
    return number


def _exact_switch(name: str, value: object, alternative: str = "") -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False{alternative}, not {value!r}")
    return value


def _exact_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or exact_str(value) not in choices:
        wanted = " or ".join(repr(choice) for choice in choices)
        raise ConfigError(f"{name} must be {wanted}, not {value!r}")
    return exact_str(value)


def _exact_path(name: str, value: object) -> str | os.PathLike[str] | None:
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    text = exact_str(path) if isinstance(path, str) else ""
    if not _can_be_path(text):
        raise ConfigError(
            f"{name} must be the path of a directory (text), "
            f"or None to keep everything in memory, not {value!r}"
        )
    scheme, mark, _ = text.partition("://")
    if mark and scheme.replace("+", "_").isidentifier():
        # The rest is not shown: there may be a password in it.
        raise ConfigError(
            f"{name} must be the path of a directory, not an address ({scheme}://…); for a queue "
            f"on PostgreSQL open a jobqueue.postgres.PostgresConfig, or set JOBQUEUE_DSN"
        )
    return exact_str(value) if isinstance(value, str) else value  # type: ignore[return-value]  # it is one of a str


def _can_be_path(text: str) -> bool:
    """Whether the system takes it for a path, be there anything or not."""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
