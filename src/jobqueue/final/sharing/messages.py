"""What a queue's owner and its clients say to each other: MessagePack, written by msgspec.

A client begins with a `Hello`, and is answered by a `Welcome`, or by a `Refusal` and the end of the
connection. From then on it sends `Request`s, any number of them ahead, each with a number of its
own. Each is answered once by an `Answer` of that number, in whatever order they are done. A request
of the name `GIVE_UP` has no number that counts and no answer: it names another one whose caller
waits for room no more.

All messages are arrays, and more may be added behind what is there without a new version. Nothing
in a message is ever imported by name, evaluated or unpickled. Any thread; no lock.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.job import NOT_TAKEN, Job, Priority
from ..model.plan import Plan, Unique

PROTOCOL = "jobqueue"
VERSION = 2
"""It goes up with each change that an older owner or client does not understand."""
GIVE_UP = "give_up"
ENQUEUE, ENQUEUE_MANY, ENQUEUE_TOGETHER = "enqueue", "enqueue_many", "enqueue_together"
WATCH, JOIN = "watch", "join"
"""These are no lines of the table of calls (`calls.py`), for they may wait."""
NOTHING = msgspec.Raw(b"\xc0")


class Hello(msgspec.Struct, array_like=True, frozen=True, tag="hello"):
    """The first word of a client.

    Attributes:
        protocol, version: what it speaks.
        pid: its process.
    """

    protocol: str
    version: int
    pid: int


class Welcome(msgspec.Struct, array_like=True, frozen=True, tag="welcome"):
    """The owner takes a client.

    Attributes:
        pid: the owner's process.
        settings: its settings, as `repr` gives them, by name.
        takes_jobs: whether clients may enqueue, and not only look and steer.
    """

    version: int
    pid: int
    settings: dict[str, str]
    takes_jobs: bool


class Refusal(msgspec.Struct, array_like=True, frozen=True, tag="refusal"):
    """The owner does not take a client: why."""

    version: int
    pid: int
    why: str


class Request(msgspec.Struct, array_like=True, frozen=True):
    """A call.

    Attributes:
        number: names it among those of its connection.
        call: its name in the table of calls.
        again: whether it was sent before, to an owner that may have carried it out.
        arguments: what that call takes.
    """

    number: int
    call: str
    again: bool
    arguments: msgspec.Raw


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """An error on its way to the caller; see `faults.py`."""

    kind: str
    message: str
    errno: int | None = None
    filename: str | None = None
    accepted: tuple[str, ...] = ()


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """What came of a call: a value of the type that the call gives, or an error."""

    number: int
    failure: Failure | None = None
    value: msgspec.Raw = NOTHING


class WirePlan(msgspec.Struct, array_like=True, frozen=True):
    """A `Plan`."""

    key: str | None
    unique: tuple[str, str, str] | None
    after: tuple[str, ...]
    expires: float | None


class WireJob(msgspec.Struct, array_like=True, frozen=True):
    """A `Job`."""

    id: str
    payload: bytes
    priority: int
    handler: str | None
    max_retries: int | None
    headers: dict[str, str] | None
    store_result: bool
    created: float
    plan: WirePlan | None = None


class Existing(msgspec.Struct, array_like=True, frozen=True):
    """A job that is had in place of a new one."""

    job: WireJob
    status: str


class One(msgspec.Struct, array_like=True, frozen=True):
    """The arguments of `enqueue`."""

    job: WireJob
    timeout: float | None = None
    delay: float = 0.0


class Many(msgspec.Struct, array_like=True, frozen=True):
    """The arguments of `enqueue_many`, and of `enqueue_together`."""

    jobs: list[WireJob]
    timeout: float | None = None
    delays: list[float] | None = None


class WatchOf(msgspec.Struct, array_like=True, frozen=True):
    """The arguments of `watch`."""

    job_id: str


class Ended(msgspec.Struct, array_like=True, frozen=True):
    """How a job has ended; `error` and `trace` are those of its last failure."""

    status: str
    error: str | None
    trace: str | None


pack = msgspec.msgpack.Encoder().encode
read_first: Any = msgspec.msgpack.Decoder(Welcome | Refusal).decode
read_hello = msgspec.msgpack.Decoder(Hello).decode
read_request = msgspec.msgpack.Decoder(Request).decode
read_answer = msgspec.msgpack.Decoder(Answer).decode


def wire_job(job: Job) -> WireJob:
    """A job as it is sent."""
    headers = dict(job._headers) if job._headers else None
    plan = None if job._plan is None else _wire_plan(job._plan)
    return WireJob(
        job._id,
        job._payload,
        int(job._priority),
        job._handler,
        job._max_retries,
        headers,
        job._store_result,
        job._created,
        plan,
    )


def _wire_plan(plan: Plan) -> WirePlan:
    unique = plan.unique
    told = None if unique is None else (unique.by, unique.until, unique.on_conflict)
    return WirePlan(plan.key, told, plan.after, plan.expires)


def job_of(wire: WireJob) -> Job:
    """The job that was sent.

    Raises:
        TypeError, ValueError: it can be none.
    """
    plan = wire.plan
    if plan is None:
        plan = _NO_PLAN
    unique = None
    if plan.unique is not None:
        by, until, on_conflict = plan.unique
        unique = Unique(by=by, until=until, on_conflict=on_conflict)  # type: ignore[arg-type]  # it is checked there
    if not 0.0 <= wire.created < _LATEST:
        raise ValueError(f"a job cannot have been made at {wire.created!r}")
    job = Job(
        wire.payload,
        id=wire.id,
        priority=_PRIORITIES[wire.priority] if 0 <= wire.priority < 3 else Priority(wire.priority),
        handler=wire.handler,
        max_retries=wire.max_retries,
        headers=wire.headers,
        store_result=wire.store_result,
        key=plan.key,
        unique=unique,
        after=plan.after or None,
        expires=plan.expires,
        _created=wire.created,
    )
    job._retries = NOT_TAKEN
    return job


_NO_PLAN = WirePlan(None, None, (), None)
_PRIORITIES = tuple(Priority)
_LATEST = 1e15  # some thirty million years; what is no number is not below it either
