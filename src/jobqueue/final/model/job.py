"""What a user hands in and gets back: `Job`, `JobHandle`, `JobInfo`, `JobContext`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from ..errors import JobCancelledError, JobQueueError
from ..runtime.clock import SystemClock
from .ids import new_id
from .transitions import Status

if TYPE_CHECKING:
    from threading import Lock

    from .context import StopRequest
    from .handlers import Handler

ID_LENGTH_MAX = 255
HEADER_BYTES_MAX = 8 * 1024
RETRIES_MAX = 2**63 - 1  # what the log can hold
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


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
        "_priority",
        "_retries",
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
        _created: float | None = None,
    ) -> None:
        if type(payload) is not bytes:
            _check_payload(payload)
        if id is None:
            id = new_id()
        elif type(id) is not str or not id.isascii() or not 0 < len(id) <= ID_LENGTH_MAX:
            check_text("id", id)
        if type(priority) is not Priority:
            priority = _to_priority(priority)
        if handler is not None:
            check_text("handler", handler)
        if max_retries is not None:
            _check_max_retries(max_retries)
        self._payload = payload
        self._id = id
        self._priority = priority
        self._handler = handler
        self._max_retries = max_retries
        self._headers = NO_HEADERS if headers is None else _checked_headers(headers)
        self._retries = 0  # the queue that runs the job counts here, under its mutex
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
    def retries(self) -> int:
        """How often it has been retried so far."""
        return self._retries

    @property
    def created(self) -> float:
        """Unix time at which it was made."""
        return self._created

    def with_handler(self, name: str) -> Job:
        """The same job, to be handled by the handler of this name."""
        check_text("handler", name)
        copy = Job.__new__(Job)
        for slot in Job.__slots__:
            setattr(copy, slot, getattr(self, slot))
        copy._handler = name
        return copy

    def __repr__(self) -> str:
        return f"<Job {self._id!r} {self._priority.name} handler={self._handler!r}>"


def _check_payload(payload: object) -> None:
    if not isinstance(payload, bytes):
        raise TypeError(
            f"payload must be bytes, not {type(payload).__name__}; encode it first, "
            f"for example json.dumps(...).encode()"
        )


def check_text(what: str, text: object) -> None:
    """Refuses what is no text of 1 to 255 characters, or what UTF-8 cannot hold."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be text (str), not {type(text).__name__}")
    if not 0 < len(text) <= ID_LENGTH_MAX:
        raise ValueError(f"{what} must have 1 to {ID_LENGTH_MAX} characters, not {len(text)}")
    _check_utf8(what, text)


def _check_utf8(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{what} has a lone surrogate, which UTF-8 cannot hold: {text!r}"
        ) from None


def _to_priority(value: object) -> Priority:
    if isinstance(value, int) and not isinstance(value, bool) and value in tuple(Priority):
        return Priority(value)
    raise ValueError(f"priority must be Priority.HIGH, MEDIUM or LOW, not {value!r}")


def _check_max_retries(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"max_retries must be a whole number or None, not {value!r}")
    if not 0 <= value <= RETRIES_MAX:
        raise ValueError(f"max_retries must be 0 to {RETRIES_MAX}, not {value}")


def _checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of text to text, not {headers!r}")
    copy = dict(headers)
    for key, value in copy.items():
        if not all(isinstance(text, str) for text in (key, value)):
            raise TypeError(f"headers map text to text, not {key!r} to {value!r}")
        _check_utf8("headers", key + value)
    total = sum(len(key.encode()) + len(value.encode()) for key, value in copy.items())
    if total > HEADER_BYTES_MAX:
        raise ValueError(f"headers have {total} bytes; at most {HEADER_BYTES_MAX} are allowed")
    return MappingProxyType(copy)


@dataclass(frozen=True, slots=True)
class JobInfo:
    """What the queue knows of a job. Times are Unix times, `None` where not (yet) so.

    Attributes:
        last_error: type and message of the last failure, such as "ValueError: boom".
        last_traceback: the last 8 KiB of that failure's traceback.
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


class HandleOwner(Protocol):
    """What a `JobHandle` needs of the queue that made it."""

    def cancel(self, job_id: str, /) -> bool:
        """Cancels the job."""

    def _status_of(self, handle: JobHandle) -> Status:
        """The job's present status."""

    def _wait_for(self, handle: JobHandle, timeout: float | None) -> JobHandle:
        """Waits until the job is finished or the queue closed."""

    def _missing_result(self, handle: JobHandle) -> JobQueueError | TimeoutError:
        """Why an unfinished or earlier finished job has no result to give."""


class JobHandle:
    """An accepted job, as its caller sees it. Thread-safe.

    It is also the queue's own record of the job until the job is finished: the underscored
    attributes belong to the queue and change under the queue's mutex only. From then on the
    queue keeps a smaller record, so that a result lives exactly as long as its handle.
    """

    __slots__ = (
        "_call",
        "_due_tick",
        "_failure",
        "_has_room",
        "_job",
        "_number",
        "_outcome",
        "_owner",
        "_since",
        "_started",
        "_status",
        "_stop",
        "_waiters",
    )

    def __init__(self, owner: HandleOwner, job: Job, status: Status, number: int = 0) -> None:
        self._owner = owner
        self._job = job
        self._status = status
        self._number = number
        """Names the job in the log; 0 in memory."""
        self._since = NOT_ARRIVED
        """Monotonic time since which it has had its status; before it is in its lane, a mark."""
        self._started: float | None = None
        """Unix time at which the last attempt started."""
        self._due_tick = 0
        """Where it stands in the timer wheel, while scheduled."""
        self._has_room = False
        """Whether it takes one of its lane's places."""
        self._stop: StopRequest | None = None
        """Made for attempts that can be told to stop, or were."""
        self._call: Handler | None = None
        """What runs it: the handler that it carries, or its name's, from its arrival on."""
        self._failure: tuple[str, str] | None = None
        """Error and traceback of the last failed attempt, as text."""
        self._waiters: list[Lock] | None = None
        """Locks that are released when it is finished or the queue closes."""
        self._outcome: object = None
        """What the handler returned, or the exception that it raised last."""

    @property
    def id(self) -> str:
        """The job's id."""
        return self._job._id

    @property
    def job(self) -> Job:
        """The job."""
        return self._job

    @property
    def status(self) -> Status:
        """The job's present status; its last known one where the queue has forgotten it."""
        return self._owner._status_of(self)

    def wait(self, timeout: float | None = None) -> Status:
        """Wait until the job is completed, failed or cancelled, or the queue is closed.

        Args:
            timeout: seconds; `None` waits for ever.

        Returns:
            The last status, whether or not the time ran out.

        Raises:
            LogWriteError: the log failed, so that nothing will run any more.
        """
        return self._owner._wait_for(self, timeout)._status  # by now it may be requeued

    def cancel(self) -> bool:
        """Cancel the job; see `JobQueue.cancel`."""
        return self._owner.cancel(self.id)

    def result(self, timeout: float | None = None) -> object:
        """What the handler returned; raises the exception that it raised last.

        Args:
            timeout: seconds; `None` waits for ever.

        Raises:
            TimeoutError: the job was not finished in time.
            JobCancelledError: the job was cancelled.
            QueueClosedError: the queue closed before the job was finished.
            JobQueueError: the job finished before this handle was made: results live in memory
                only, as long as the handles that were there when they came.
        """
        finished = self._owner._wait_for(self, timeout)
        status, outcome = finished._status, finished._outcome
        if status is Status.CANCELLED:
            raise JobCancelledError(f"job {self.id!r} was cancelled")
        if status is Status.FAILED and isinstance(outcome, BaseException):
            raise outcome
        if status is Status.COMPLETED and outcome is not NO_RESULT:
            return outcome
        raise self._owner._missing_result(finished)

    def __repr__(self) -> str:
        return f"<JobHandle {self.id!r} {self._status.name}>"


NOT_ARRIVED = -1.0
"""`_since` of a job that has been accepted but is not in its lane, or in the timer, yet."""

NO_RESULT = object()
"""The outcome of a job that had finished before its handle was made."""


class JobContext:
    """What a handler can ask about its attempt. Made for one attempt; thread-safe.

    Attributes:
        job: the job.
        attempt: 0 for the first attempt, then 1, 2, …
        deadline: when `job_timeout` will pass, in the queue clock's monotonic seconds; `None`
            without a timeout.
    """

    __slots__ = ("_stop", "attempt", "deadline", "job")

    def __init__(self, job: Job, attempt: int, deadline: float | None, stop: StopRequest) -> None:
        self.job = job
        self.attempt = attempt
        self.deadline = deadline
        self._stop = stop

    @property
    def cancelled(self) -> bool:
        """Whether the handler is asked to stop: it was cancelled, or its time is up."""
        return self._stop.requested

    def wait(self, seconds: float) -> bool:
        """Sleep on the queue's clock.

        Args:
            seconds: how long, >= 0.

        Returns:
            `True`, at once, when the attempt is asked to stop; else `False` after the time.
        """
        return self._stop.wait(seconds)
