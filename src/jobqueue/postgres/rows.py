"""Jobs as rows, and rows as jobs. Pure functions; any thread."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from ..final import Attempt, Job, JobInfo, NotSupportedError, Priority, Progress, Status
from ..final.engine import ATTEMPTS_MAX, StoredResult, and_one_more, check_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NOW = timedelta(0)
_write = msgspec.json.Encoder().encode
_read = msgspec.json.decode

TYPES = (
    *("text[]", "bytea[]", "interval[]", "text[]", "text[]"),
    *("float8[]", "text[]", "text[]", "int", "interval[]"),
)
"""Of the parameters of `jobqueue_enqueue`."""
IDS, CREATED, IDENTITIES, SIZE = 4, 5, 6, 8
"""The places of some of them."""

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


def portions(jobs: Sequence[Job], most: int, bytes_most: int | None) -> Iterator[tuple[int, int]]:
    """Where the jobs of each call begin and end; one has more bytes if its only job has."""
    begin = size = 0
    for end, job in enumerate(jobs):
        is_full = bytes_most is not None and size + len(job.payload) > bytes_most
        if end > begin and (is_full or end - begin == most):
            yield begin, end
            begin, size = end, 0
        size += len(job.payload)
    if jobs:
        yield begin, len(jobs)


def arguments(jobs: Sequence[Job], delays: Sequence[float], size: int | None) -> tuple[Any, ...]:
    """What `jobqueue_enqueue` takes for these jobs.

    Raises:
        NotSupportedError: one of them is `after` others.
        ValueError: one has a NUL in its id or the like, which PostgreSQL's text cannot hold.
    """
    identities = [_identity(job) for job in jobs]
    is_unique = any(identities)
    expire = [job.expires for job in jobs]
    abouts = [_about(job, identity) for job, identity in zip(jobs, identities, strict=True)]
    # By plain ints: the hash of an enum's member is a call of a function.
    names = [(int(job.priority), job.handler) for job in jobs]
    entrypoints = {each: _checked_entrypoint(*each) for each in set(names)}
    return (
        list(entrypoints.values())
        if len(entrypoints) == 1
        else [entrypoints[each] for each in names],
        [job.payload for job in jobs],
        [timedelta(seconds=delay) if delay else _NOW for delay in delays] if any(delays) else None,
        [_write(each).decode() for each in abouts] if any(map(_tells_more, abouts)) else None,
        [job.id for job in jobs],
        [job.created for job in jobs],
        identities if is_unique else None,
        [None if job.unique is None else job.unique.on_conflict for job in jobs]
        if is_unique
        else None,
        size,
        [None if each is None else timedelta(seconds=each) for each in expire]
        if any(each is not None for each in expire)
        else None,
    )


def _tells_more(about: dict[str, Any]) -> bool:
    """Whether there is anything in it besides the id."""
    return len(about) > 1


def _checked_entrypoint(lane: int, handler: str | None) -> str:
    if "\0" in (handler or ""):
        raise ValueError(f"handler {handler!r} has a NUL, which text in PostgreSQL cannot hold")
    return entrypoint(Priority(lane), handler)


def _about(job: Job, identity: str | None) -> dict[str, Any]:
    if job.after:
        raise NotSupportedError(
            f"job {job.id!r} is to run after others (after), which is not there on PostgreSQL: "
            f"have the handler of the first one enqueue it, by context.enqueue(...)"
        )
    key, headers, expires = job.key, job.headers, job.expires
    about: dict[str, Any] = {"id": job.id}
    if job.max_retries is not None:
        about["max_retries"] = job.max_retries
    if headers:
        about["headers"] = dict(headers)
    if job.store_result:
        about["store_result"] = True
    if key is not None:
        about["key"] = key
    if expires is not None:
        about["expires"] = expires
    if identity is not None:
        about["identity"] = identity
        if job.unique is not None and job.unique.until == "started":
            about["until_started"] = True
    if "\0" in "".join((job.id, key or "", *headers, *headers.values())):
        raise ValueError(
            f"job {job.id!r} has a NUL in its id, key or headers, which text in PostgreSQL cannot "
            f"hold; put it into the payload"
        )
    return about


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
