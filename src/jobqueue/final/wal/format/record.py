"""The record types of the log: what happened to a job, one JSON object a line.

A record names its job by number, which is unique in a log; only `Enqueued` carries the job
itself. `Ticked` alone may be of no job: its number is 0 then. Times are Unix times in seconds,
delays are seconds. Fields at their default are left out of the line; unknown fields are ignored,
so that a later version may add some.

Records are cheap to make (they are made for each job, and for each line of a log that is read: so
an empty field is none of its own object) and must not be changed once they have been handed to the
log. All floats must be finite.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeAlias

from ...exact import exact_bytes, exact_str, real_number, whole_number
from .base import Meta, Struct

__all__ = [
    "COUNT_MAX",
    "NUMBER_MAX",
    "RECORD_BYTES",
    "Cancelled",
    "Completed",
    "Crashed",
    "Discarded",
    "Doomed",
    "Enqueued",
    "Failed",
    "Hastened",
    "Record",
    "Requeued",
    "Retried",
    "Revoked",
    "Ticked",
    "length_of",
    "made_plain",
    "payload_bytes",
    "payload_fields",
    "result_fields",
    "result_of",
]

NUMBER_MAX = 10**17
"""The highest number of a job or a batch in a log that is not damaged.

A queue of a million jobs a second gets there in 3,000 years. What it then writes can still be
counted: so no number has to be looked at when a job is accepted.
"""

COUNT_MAX = 2**63 - 1
RECORD_BYTES = 100
"""What a record takes in a log besides what `length_of` tells, about."""
_FLOAT_MAX = 1.7976931348623157e308

JobNumber: TypeAlias = Annotated[int, Meta(ge=1, le=NUMBER_MAX)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Level: TypeAlias = Annotated[int, Meta(ge=0, le=2)]
JobId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
Time: TypeAlias = Annotated[float, Meta(ge=-_FLOAT_MAX, le=_FLOAT_MAX)]
Delay: TypeAlias = Annotated[float, Meta(ge=0, le=_FLOAT_MAX)]


class _Record(Struct, tag_field="op", omit_defaults=True, gc=False):
    """Base of the records. `gc=False`: they hold text and numbers, never a cycle."""


class Enqueued(_Record, tag="enqueued"):
    """A job was accepted. `payload` holds it if it is UTF-8, else `binary`; see below.

    `key` is what the job is about. `unique` says by what it is unique, `until_started` that it is
    only until its first attempt. `after` are the numbers of the jobs that it waits for. `expires`
    is the Unix time by which it has to have started, `within` how long it had, to clamp it.
    `joined`: it was accepted in one with the job of the record before, so that both are in one
    batch, or neither.

    `due` is the Unix time of a delayed job, `delay` what was asked for, to clamp it; both are
    `None` for any other job. `store_result`: what the handler returns is kept in `Completed`.
    `key` is what the job is about.
    """

    job: JobNumber
    id: JobId
    priority: Level
    created: Time
    handler: str | None = None
    max_retries: Count | None = None
    headers: dict[str, str] | None = None
    payload: str = ""
    binary: bytes = b""
    due: Time | None = None
    delay: Delay | None = None
    store_result: bool = False
    key: JobId | None = None
    unique: str | None = None
    until_started: bool = False
    after: tuple[JobNumber, ...] = ()
    expires: Time | None = None
    within: Delay | None = None
    joined: bool = False


class Retried(_Record, tag="retried"):
    """An attempt failed and another one follows; `retries` counts this failure in."""

    job: JobNumber
    at: Time
    started: Time
    retries: Count
    due: Time
    delay: Delay
    error: str
    traceback: str


class Completed(_Record, tag="completed"):
    """The handler returned.

    If the job stores its result, `result` holds that if it is UTF-8, else `binary`. `coded` says
    that the handler's own codec wrote it. `children` are the jobs that it has enqueued by that.
    """

    job: JobNumber
    at: Time
    started: Time
    retries: Count
    result: str | None = None
    binary: bytes = b""
    coded: bool = False
    children: tuple[Enqueued, ...] = ()


class Failed(_Record, tag="failed"):
    """The job failed for good and is kept as a dead letter; `started` is of the last attempt."""

    job: JobNumber
    at: Time
    started: Time | None
    retries: Count
    error: str
    traceback: str


class Cancelled(_Record, tag="cancelled"):
    """The job was cancelled; `started` is `None` if it had never run.

    `error` and `traceback` are what its handler raised when it was asked to stop; of a job that had
    never run, `error` is why it was cancelled.
    """

    job: JobNumber
    at: Time
    started: Time | None = None
    retries: Count = 0
    error: str | None = None
    traceback: str | None = None


class Requeued(_Record, tag="requeued"):
    """A dead letter was queued again, its retries back at 0."""

    job: JobNumber
    at: Time


class Hastened(_Record, tag="hastened"):
    """A scheduled job was queued before its time: it may run at once, also after a restart."""

    job: JobNumber
    at: Time


class Discarded(_Record, tag="discarded"):
    """A dead letter was dropped; its id is unknown from here on."""

    job: JobNumber


class Revoked(_Record, tag="revoked"):
    """The job was running when it was cancelled: its handler was asked to stop.

    If the process ends before the handler does, the job is cancelled at the next start.
    """

    job: JobNumber
    at: Time


class Doomed(_Record, tag="doomed"):
    """A job that it waits for, by this id, was not completed: it is cancelled at the next start.

    Compaction writes it, if it does away with the end of that one.
    """

    job: JobNumber
    by: JobId


class Crashed(_Record, tag="crashed"):
    """The process died while the job was running, `crashes` times in a row by now.

    `run` names the run that died, by its first segment, so that none is counted twice.
    """

    job: JobNumber
    crashes: Count
    run: Count = 0


class Ticked(_Record, tag="ticked"):
    """A schedule's ticks up to `at` are dealt with; of them, `at` is the last.

    `job` is the number of the job that this tick enqueued, whose `Enqueued` stands before it in
    the same batch, or of an earlier one that is like it (`Unique`). It is 0 if there is none: at
    the first registration of the schedule, and when one that was paused is resumed.
    """

    name: JobId
    at: Time
    job: Annotated[int, Meta(ge=0, le=NUMBER_MAX)] = 0


Record: TypeAlias = (
    Enqueued
    | Retried
    | Completed
    | Failed
    | Cancelled
    | Revoked
    | Requeued
    | Hastened
    | Discarded
    | Doomed
    | Crashed
    | Ticked
)


def made_plain(record: Record) -> Record:
    """The same record, with what no log can hold made into what it can.

    Text is kept as far as UTF-8 can hold it. What is no number is 0.
    """
    fields: dict[str, Any] = {
        name: _plain(name, getattr(record, name)) for name in record.__struct_fields__
    }
    return type(record)(**fields)


_TEXTS = frozenset(
    (
        *("error", "traceback", "id", "handler", "payload"),
        *("result", "key", "unique", "by", "name"),
    )
)


def _plain(name: str, value: object) -> object:
    if value is None:
        return None
    if name in _TEXTS:
        return _plain_text(value)
    if name in {"at", "started", "due", "delay", "created", "expires", "within"}:
        number = real_number(value)
        return number if number is not None and math.isfinite(number) else 0.0
    if name == "headers":
        pairs = value.items() if isinstance(value, dict) else ()
        return {_plain_text(key): _plain_text(text) for key, text in pairs} or None
    if name in {"store_result", "coded", "until_started", "joined"}:
        return value is True
    if name == "children":
        return tuple(made_plain(each) for each in value) if isinstance(value, tuple) else ()
    if name == "after":
        return tuple(whole_number(each) or 1 for each in value) if isinstance(value, tuple) else ()
    if name == "binary":
        return exact_bytes(value) if isinstance(value, bytes) else b""
    return whole_number(value) or 0


def _plain_text(value: object) -> str:
    text = exact_str(value) if isinstance(value, str) else f"<{type(value).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()


def length_of(record: Record) -> int:
    """About how long the longest of what it holds is, in bytes: a payload, result or traceback."""
    match record:
        case Enqueued(payload=text, binary=binary):
            return len(text) + len(binary)
        case Completed(result=result, binary=binary):
            return len(result or "") + len(binary)
        case Retried(traceback=text) | Failed(traceback=text) | Cancelled(traceback=text):
            return len(text or "")
    return 0


def payload_fields(payload: bytes) -> tuple[str, bytes]:
    """Return `payload` and `binary` of an `Enqueued`: text if it is valid UTF-8, else bytes."""
    try:
        return payload.decode(), b""
    except UnicodeDecodeError:
        return "", payload


def payload_bytes(record: Enqueued) -> bytes:
    """Return the payload's bytes, exactly as `payload_fields` was given them."""
    return record.binary or record.payload.encode()


def result_fields(data: bytes, coded: bool) -> tuple[str | None, bytes, bool]:
    """Return `result`, `binary` and `coded` of a `Completed` that keeps a result."""
    text, binary = payload_fields(data)
    return (None if binary else text), binary, coded


def result_of(record: Completed) -> tuple[bytes, bool] | None:
    """Return what `result_fields` was given; `None` if the record keeps no result."""
    if record.binary:
        return record.binary, record.coded
    return None if record.result is None else (record.result.encode(), record.coded)
