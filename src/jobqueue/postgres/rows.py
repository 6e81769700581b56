"""Jobs as rows, and rows as jobs. Pure functions; any thread."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from ..final import Attempt, Job, JobInfo, NotSupportedError, Priority, Progress, Status
from ..final.engine import ATTEMPTS_MAX, StoredResult, and_one_more, check_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOW = timedelta(0)
_write = msgspec.json.Encoder().encode
_read = msgspec.json.decode

TYPES = (
    *("int[]", "text[]", "bytea[]", "interval[]", "text[]", "jsonb[]"),
    *("text[]", "float8[]", "text[]", "text[]", "int", "interval[]"),
)
"""Of the parameters of `jobqueue_enqueue`."""
IDENTITIES = 8
"""The place of that parameter which tells by what the jobs are unique."""

STATUS = """CASE WHEN j.outcome IS NOT NULL THEN j.outcome
WHEN q.status = 'picked' THEN 'processing'
WHEN q.execute_after > now() THEN 'scheduled' ELSE 'queued' END"""
"""A job's status, in SQL."""
TABLES = "jobqueue_job j LEFT JOIN pgqueuer q ON q.id = j.number"
LOOK = f"""SELECT j.*, {STATUS} AS status, q.payload, extract(epoch FROM q.execute_after)::float8 AS
due, extract(epoch FROM q.updated)::float8 AS picked FROM {TABLES}"""


def entrypoint(priority: Priority, handler: str | None) -> str:
    """What the engine calls the jobs of a handler in a lane."""
    return f"{int(priority)}:{handler or ''}"


def parts(name: str) -> tuple[Priority, str | None]:
    """The lane and the handler of an entrypoint."""
    return Priority(int(name[0])), name[2:] or None


def arguments(jobs: Sequence[Job], delays: Sequence[float], size: int | None) -> tuple[Any, ...]:
    """What `jobqueue_enqueue` takes for these jobs.

    Raises:
        NotSupportedError: one of them is `after` others.
        ValueError: one has a NUL in its id or the like, which PostgreSQL's text cannot hold.
    """
    identities = [_identity(job) for job in jobs]
    is_unique = any(identities)
    return (
        [2 - job.priority for job in jobs],
        [entrypoint(job.priority, job.handler) for job in jobs],
        [job.payload for job in jobs],
        [timedelta(seconds=delay) if delay else _NOW for delay in delays],
        [None] * len(jobs),
        [_about(job, identity) for job, identity in zip(jobs, identities, strict=True)],
        [job.id for job in jobs],
        [job.created for job in jobs],
        identities if is_unique else None,
        [None if job.unique is None else job.unique.on_conflict for job in jobs]
        if is_unique
        else None,
        size,
        [None if job.expires is None else timedelta(seconds=job.expires) for job in jobs],
    )


def _about(job: Job, identity: str | None) -> str:
    if job.after:
        raise NotSupportedError(
            f"job {job.id!r} is to run after others (after), which is not there on PostgreSQL: "
            f"have the handler of the first one enqueue it, by context.enqueue(...)"
        )
    about: dict[str, Any] = {"id": job.id}
    if job.max_retries is not None:
        about["max_retries"] = job.max_retries
    if job.headers:
        about["headers"] = dict(job.headers)
    if job.store_result:
        about["store_result"] = True
    if job.key is not None:
        about["key"] = job.key
    if job.expires is not None:
        about["expires"] = job.expires
    if identity is not None:
        about["identity"] = identity
        if job.unique is not None and job.unique.until == "started":
            about["until_started"] = True
    texts = (job.id, job.handler or "", job.key or "", *job.headers, *job.headers.values())
    if any("\0" in text for text in texts):
        raise ValueError(
            f"job {job.id!r} has a NUL character in its id, handler, key or headers, which text in "
            f"PostgreSQL cannot hold; put it into the payload"
        )
    return _write(about).decode()


def attempts_json(attempts: Sequence[Attempt]) -> str:
    """The attempts that a job has behind it, as the table has them."""
    kept = attempts[-ATTEMPTS_MAX:]
    return _write(
        [[each.number, each.started, each.finished, each.error] for each in kept]
    ).decode()


def _identity(job: Job) -> str | None:
    """What no other job may have while this one is unique."""
    if job.unique is None:
        return None
    by = job.unique.by
    what: tuple[object, ...] = (by, job.key)
    if by != "key":
        what = (by, job.handler, job.key if by == "handler+key" else job.payload)
    return sha256(repr(what).encode("utf-8", "surrogatepass")).hexdigest()


def job_of(
    about: str | dict[str, Any],
    payload: bytes | None,
    lane: Priority,
    handler: str | None,
    retries: int,
    created: float,
) -> Job:
    """The job that a row is about; of one that has ended, without its payload."""
    told = _read(about) if isinstance(about, str) else about
    job = Job(
        payload or b"",
        id=told["id"],
        priority=lane,
        handler=handler,
        max_retries=told.get("max_retries"),
        headers=told.get("headers"),
        store_result=told.get("store_result", False),
        key=told.get("key"),
        expires=told.get("expires"),
        _created=created,
    )
    job._retries = retries
    return job


def job_in(row: Any) -> Job:
    """The job of a row of `LOOK`."""
    return job_of(
        row["about"], row["payload"], Priority(row["lane"]), row["handler"], row["retries"],
        row["created"],
    )  # fmt: skip


def stored_in(row: Any) -> StoredResult | None:
    """The result in a row of `LOOK`."""
    return None if row["result"] is None else StoredResult(row["result"], row["coded"])


def info_of(row: Any, progress: Progress | None = None, result: object = None) -> JobInfo:
    """What a row of `LOOK` tells."""
    status, about = Status(row["status"]), _read(row["about"])
    attempts = tuple(Attempt(*each) for each in _read(row["attempts"])[-ATTEMPTS_MAX:])
    started = row["started"]
    if status is Status.PROCESSING:
        started = row["picked"]
        attempts = and_one_more(attempts, Attempt(row["retries"], started))
    elif row["outcome"] is not None and started is not None:
        error = None if status is Status.COMPLETED else row["error"]
        attempts = and_one_more(attempts, Attempt(row["retries"], started, row["finished"], error))
    return JobInfo(
        row["id"],
        status,
        Priority(row["lane"]),
        row["handler"],
        about.get("headers", {}),
        row["retries"],
        row["error"],
        row["trace"] or None,
        row["created"],
        started,
        row["finished"],
        progress,
        result,
        row["payload"],
        about.get("key"),
        row["due"] if status is Status.SCHEDULED else None,
        attempts,
    )


def checked_name(name: str) -> str:
    """The name of a handler, which PostgreSQL's text has to hold."""
    name = check_text("handler name", name)
    if "\0" in name:
        raise ValueError("a handler's name has a NUL, which text in PostgreSQL cannot hold")
    return name
