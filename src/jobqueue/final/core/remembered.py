"""What is remembered of jobs that have ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UnknownJobError
from ..model.attempt import Attempt, and_one_more
from ..wal.format.base import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model.handle import JobHandle
    from ..model.handlers import Handler
    from ..model.job import Job, Priority
    from ..model.progress import Told
    from ..model.results import StoredResult
    from ..model.transitions import Status
    from ..runtime.reporting import Failure


class Finished(Struct, gc=False):
    """What is remembered of a completed or cancelled job: all but payload and error.

    `gc=False`: none of it can be part of a cycle, and there may be very many. Not to be changed.
    `attempts` are those that failed; that of a completed job is not among them.
    """

    status: Status
    priority: Priority
    handler: str | None
    headers: Mapping[str, str]
    retries: int
    failure: Failure | None
    created: float
    started: float | None
    finished: float
    progress: Told | None = None
    result: StoredResult | None = None
    key: str | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(slots=True)
class DeadLetter:
    """A failed job, kept with its payload until it is requeued or discarded."""

    job: Job
    number: int
    call: Handler | None
    failure: Failure | None
    started: float | None
    finished: float
    retries: int
    progress: Told | None = None
    attempts: tuple[Attempt, ...] = ()


def record_of(
    handle: JobHandle,
    status: Status,
    wall: float,
    stored: StoredResult | None = None,
    attempts: tuple[Attempt, ...] = (),
) -> Finished:
    """What is to be remembered of a job that is completed or cancelled now."""
    job = handle._job
    return Finished(
        status,
        job._priority,
        job._handler,
        job._headers,
        job._retries,
        handle._failure,
        job._created,
        handle._started,
        wall,
        handle._progress,
        stored,
        None if job._plan is None else job._plan.key,
        attempts or handle._attempts,
    )


def attempts_with(handle: JobHandle, failure: Failure, wall: float) -> tuple[Attempt, ...]:
    """The attempts of a job that failed, with the one that fails now."""
    last = Attempt(handle._job._retries, handle._started, wall, failure[0])
    return and_one_more(handle._attempts, last)


def unknown_job(job_id: str) -> UnknownJobError:
    """The error for an id that the queue does not know."""
    return UnknownJobError(
        f"no job {job_id!r} is known: it never was, was discarded, or was forgotten, as the oldest "
        f"are of more finished jobs than status_retention, or dead letters than max_dead_letters"
    )
