"""What a user hands in, and what the queue tells of it: `Job`, `Priority`, `JobInfo`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from ..exact import exact_bytes, exact_str, shown, whole_number
from ..runtime.clock import SystemClock
from ..runtime.reporting import About
from .attempt import Attempt
from .checks import ID_LENGTH_MAX, check_text, check_utf8
from .frozen_dict import FrozenDict
from .ids import new_id
from .plan import checked_plan
from .progress import Progress
from .transitions import Status

if TYPE_CHECKING:
    from ..exact import Seconds
    from .plan import HasId, Plan, Unique

HEADER_BYTES_MAX = 8 * 1024
RETRIES_MAX = 2**63 - 1  # what the log can hold
NOT_TAKEN = -1
"""In place of the count of its retries: no queue has taken the job yet."""
NO_HEADERS: Mapping[str, str] = FrozenDict()


class Priority(IntEnum):
    """The lane of a job."""

    HIGH = 0
    MEDIUM = 1
    LOW = 2


class Job:
    """One piece of work; immutable for its user.

    Args:
        payload: what the handler gets; bytes.
        id: idempotency key, 1 to 255 characters; by default a new UUID4 in hex.
        priority: its lane.
        handler: name of a registered handler; `None` means the queue's default handler.
        max_retries: retries after the first attempt; `None` takes the queue's.
        headers: small text pairs that travel with the job (at most 8 KiB together).
        store_result: whether what the handler returns is kept with the job, in the log too.
        key: what the job is about, as a customer or a file; 1 to 255 characters. Unique jobs,
            limits and looks go by it.
        unique: add it only if there is no job like it.
        after: the jobs, or their ids, that are to be completed before it runs. If one of them
            fails or is cancelled, it is cancelled.
        expires: it is cancelled if it has not started within so many seconds from its acceptance.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument's value cannot work; the message says which and why.
    """

    __slots__ = (
        "_created",
        "_handler",
        "_headers",
        "_id",
        "_max_retries",
        "_payload",
        "_plan",
        "_priority",
        "_retries",
        "_store_result",
    )

    def __init__(
        self,
        payload: bytes = b"",
        *,
        id: str | None = None,
        priority: Priority = Priority.MEDIUM,
        handler: str | None = None,
        max_retries: int | None = None,
        headers: Mapping[str, str] | None = None,
        store_result: bool = False,
        key: str | None = None,
        unique: Unique | None = None,
        after: Iterable[str | HasId] | None = None,
        expires: Seconds | None = None,
        _created: float | None = None,
    ) -> None:
        if type(payload) is not bytes:
            payload = _exact_payload(payload)
        if id is None:
            id = new_id()
        elif type(id) is not str or not id.isascii() or not 0 < len(id) <= ID_LENGTH_MAX:
            id = check_text("id", id)
        if type(priority) is not Priority:
            priority = _to_priority(priority)
        if handler is not None and not (
            type(handler) is str and handler.isascii() and 0 < len(handler) <= ID_LENGTH_MAX
        ):
            handler = check_text("handler", handler)
        if max_retries is not None:
            max_retries = _exact_max_retries(max_retries)
        if store_result is not False and store_result is not True:
            raise TypeError(f"store_result must be True or False, not {store_result!r}")
        self._plan: Plan | None = None
        if key is not None or unique is not None or after is not None or expires is not None:
            self._plan = checked_plan(key, unique, after, expires)
        self._payload = payload
        self._id = id
        self._priority = priority
        self._handler = handler
        self._max_retries = max_retries
        self._headers = NO_HEADERS if headers is None else _checked_headers(headers)
        self._store_result = store_result
        self._retries = NOT_TAKEN  # the queue that takes the job counts here, under its mutex
        self._created = SystemClock.time() if _created is None else _created

    @property
    def payload(self) -> bytes:
        """What the handler gets."""
        return self._payload

    @property
    def id(self) -> str:
        """The idempotency key."""
        return self._id

    @property
    def priority(self) -> Priority:
        """The lane."""
        return self._priority

    @property
    def handler(self) -> str | None:
        """Name of the handler; `None` means the default handler."""
        return self._handler

    @property
    def max_retries(self) -> int | None:
        """Retries after the first attempt; `None` takes the queue's."""
        return self._max_retries

    @property
    def headers(self) -> Mapping[str, str]:
        """Text pairs that travel with the job; read-only."""
        return self._headers

    @property
    def store_result(self) -> bool:
        """Whether what the handler returns is kept with the job."""
        return self._store_result

    @property
    def key(self) -> str | None:
        """What the job is about; unique jobs, limits and looks go by it."""
        return None if self._plan is None else self._plan.key

    @property
    def unique(self) -> Unique | None:
        """Whether there may be another job like it."""
        return None if self._plan is None else self._plan.unique

    @property
    def after(self) -> tuple[str, ...]:
        """The ids of the jobs that it waits for."""
        return () if self._plan is None else self._plan.after

    @property
    def expires(self) -> float | None:
        """Seconds from its acceptance within which it has to have started; `None`: any time."""
        return None if self._plan is None else self._plan.expires

    @property
    def retries(self) -> int:
        """How often the queue that took it has retried it so far.

        One that was taken before, or by another queue, is copied: its count is in `handle.job`.
        (Two queues must not be given it at the very same moment, by two threads.)
        """
        return max(0, self._retries)

    @property
    def created(self) -> float:
        """Unix time at which it was made."""
        return self._created

    def another(self, payload: bytes) -> Job:
        """A new job, with an id of its own, that differs from this one in nothing but the payload.

        It costs half of what `Job(...)` with options does: what was checked once is taken over.

        Raises:
            TypeError: `payload` is not bytes.
        """
        if type(payload) is not bytes:
            payload = _exact_payload(payload)
        other = _new(Job)
        other._payload = payload
        other._id = new_id()
        other._priority = self._priority
        other._handler = self._handler
        other._max_retries = self._max_retries
        other._headers = self._headers
        other._store_result = self._store_result
        other._plan = self._plan
        other._retries = NOT_TAKEN
        other._created = SystemClock.time()
        return other

    def with_handler(self, name: str) -> Job:
        """The same job, to be handled by the handler of this name."""
        copy = self._copy()
        copy._handler = check_text("handler", name)
        return copy

    def with_headers(self, headers: Mapping[str, str]) -> Job:
        """The same job, same id, with these headers in place of all its own.

        Those that are to stay are among them: `job.with_headers({**job.headers, "tenant": "a"})`.

        Raises:
            TypeError, ValueError: as for `Job(headers=...)`.
        """
        copy = self._copy()
        copy._headers = _checked_headers(headers)
        return copy

    def _copy(self) -> Job:
        copy = _new(Job)
        copy._payload = self._payload
        copy._id = self._id
        copy._priority = self._priority
        copy._handler = self._handler
        copy._max_retries = self._max_retries
        copy._headers = self._headers
        copy._store_result = self._store_result
        copy._plan = self._plan
        copy._retries = NOT_TAKEN
        copy._created = self._created
        return copy

    def __getstate__(self) -> object:
        """What every class has; but the pickle protocols 0 and 1 ask for one of its own."""
        return super().__getstate__()

    def __repr__(self) -> str:
        return f"<Job {self._id!r} {self._priority.name} handler={self._handler!r}>"


_new = Job.__new__  # to look it up each time is slow


def _exact_payload(payload: object) -> bytes:
    if isinstance(payload, bytes):
        return exact_bytes(payload)
    if isinstance(payload, (bytearray, memoryview)):
        remedy = "write bytes(...) around it, which copies it"
    else:
        remedy = "encode it first, for example json.dumps(...).encode()"
    raise TypeError(f"payload must be bytes, not {type(payload).__name__}; {remedy}")


def _to_priority(value: object) -> Priority:
    number = whole_number(value)
    if number is None or not 0 <= number < len(Priority):
        raise ValueError(f"priority must be Priority.HIGH, MEDIUM or LOW, not {shown(value)}")
    return Priority(number)


def _exact_max_retries(value: object) -> int:
    number = whole_number(value)
    if number is None:
        raise TypeError(f"max_retries must be a whole number or None, not {shown(value)}")
    if not 0 <= number <= RETRIES_MAX:
        raise ValueError(f"max_retries must be 0 to {RETRIES_MAX}, not {shown(number)}")
    return number


def _checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of text to text, not {headers!r}")
    exact: dict[str, str] = {}
    given: Mapping[Any, Any] = headers  # what a type says, its user may not keep to
    total = 0
    for key, value in dict(given).items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise TypeError(f"headers map text to text, not {key!r} to {value!r}")
        name = exact_str(key)
        if name in exact:
            raise ValueError(f"headers have {name!r} twice, as keys of two types")
        exact[name] = text = exact_str(value)
        both = name + text
        if both.isascii():  # as most are: then it has as many bytes as letters
            total += len(both)
        else:
            check_utf8("headers", both)
            total += len(both.encode())
    if total > HEADER_BYTES_MAX:
        raise ValueError(f"headers have {total} bytes; at most {HEADER_BYTES_MAX} are allowed")
    return FrozenDict(exact)


@dataclass(frozen=True, slots=True)
class JobInfo:
    """What the queue knows of a job. Times are Unix times, `None` if it has not come to that.

    Attributes:
        last_error: type and message of the last failure, such as "ValueError: boom".
        last_traceback: the last 8 KiB of that failure's traceback; `None` if it was no exception.
        progress: what its handler told last of how far it has come; in memory only.
        result: what its handler returned, if it was enqueued with `store_result=True`. `None`
            also if it cannot be read here: `handle(id).result()` says why.
        payload: what its handler gets; `None` once it is completed or cancelled, for the queue
            keeps it no longer.
        key: what it is about.
        due: while it is scheduled, the Unix time at which it is queued; `None` also if it waits
            for something else than a time.
        attempts: its last ten attempts, the present one too. One in which the process died is
            not among them, unless the job was given up for that.
    """

    id: str
    status: Status
    priority: Priority
    handler: str | None
    headers: Mapping[str, str]
    retries: int
    last_error: str | None
    last_traceback: str | None
    created: float
    started: float | None
    finished: float | None
    progress: Progress | None = None
    result: object = None
    payload: bytes | None = field(default=None, repr=False)
    key: str | None = None
    due: float | None = None
    attempts: tuple[Attempt, ...] = ()


def listed_jobs(jobs: Iterable[Job]) -> list[Job]:
    """The jobs of one call.

    Raises:
        TypeError: it is one thing, such as a job, and no list of them.
    """
    if not isinstance(jobs, Iterable):
        raise TypeError(f"jobs must be a list of Job, as in [job], not {jobs!r}")
    return list(jobs)


def about(job: Job, attempt: int | None = None) -> About:
    """What a log record that tells of a job has besides its message.

    Args:
        attempt: 0 is the first; `None` for what is about no attempt.
    """
    return About(job._id, job._handler, attempt, job._priority.name.lower())
