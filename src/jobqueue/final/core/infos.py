"""What the queue tells of a job that it knows: makes `JobInfo` of handles and records.

Relies on: the queue's mutex, held by the caller of every function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.attempt import Attempt, and_one_more
from ..model.handle import JobHandle
from ..model.job import JobInfo
from ..model.progress import progress_of
from ..model.transitions import Status
from ..timing.timer import TICKS_PER_SECOND
from .remembered import DeadLetter, Finished, unknown_job

if TYPE_CHECKING:
    from ..model.filters import Filter
    from ..runtime.clock import Clock
    from .order import Block, Walk
    from .status_map import StatusMap

    Known = JobHandle | DeadLetter | Finished

_COMPLETED, _FAILED = Status.COMPLETED, Status.FAILED  # a look into an enumeration is slow
_SCHEDULED, _PROCESSING = Status.SCHEDULED, Status.PROCESSING
_DUE_DIGITS = 3  # a tick is a millisecond; the difference of two clocks trembles below that


def find(status: StatusMap, job_id: str) -> Known | None:
    """What is known of a job, in the form in which it is known."""
    return status.live.get(job_id) or status.finished.get(job_id) or status.dead.get(job_id)


def created_of(status: StatusMap, job_id: str) -> float | None:
    """The Unix time at which a job was made, if it is known. No mutex: each step is one look."""
    known = find(status, job_id)
    if known is None:
        return None
    if isinstance(known, Finished):
        return known.created
    return known._job._created if isinstance(known, JobHandle) else known.job._created


def next_known(
    status: StatusMap, walk: Walk, count: int, wanted: Filter
) -> tuple[Block, list[tuple[str, Known]]] | None:
    """Those of the next jobs in their order that are like that; `None` if there are no more jobs.

    Args:
        count: how many jobs are looked at.

    Returns:
        The block in which they stand, and the jobs.
    """
    found = walk.next(count)
    if found is None:
        return None
    block, ids = found
    fitting, is_at = [], status.order.is_at
    for job_id in ids:
        known = find(status, job_id)
        if known is not None and is_at(job_id, block) and fits(wanted, known):
            fitting.append((job_id, known))
    return block, fitting


def fits(wanted: Filter, known: Known) -> bool:
    """Whether a job is like that, but for its text."""
    if isinstance(known, Finished):
        return wanted.fits(known.status, known.handler, known.priority, known.key, known.failure)
    if isinstance(known, JobHandle):
        job, status, failure = known._job, known._status, known._failure
    else:
        job, status, failure = known.job, _FAILED, known.failure
    key = None if job._plan is None else job._plan.key
    return wanted.fits(status, job._handler, job._priority, key, failure)


def texts_of(job_id: str, known: Known, in_payload: bool) -> tuple[list[str], bytes | None]:
    """What a text is looked for in: see `Filter.is_in`. No mutex: none of it ever changes."""
    if isinstance(known, Finished):
        failure, headers, key, payload = known.failure, known.headers, known.key, None
    else:
        job = known._job if isinstance(known, JobHandle) else known.job
        failure = known._failure if isinstance(known, JobHandle) else known.failure
        headers, payload = job._headers, job._payload
        key = None if job._plan is None else job._plan.key
    texts = [job_id, key or "", "" if failure is None else failure[0], *headers.values()]
    return texts, payload if in_payload else None


def info(status: StatusMap, job_id: str, clock: Clock) -> JobInfo:
    """Raises `UnknownJobError`."""
    known = find(status, job_id)
    if known is None:
        raise unknown_job(job_id)
    return info_of(job_id, known, ahead_of(clock))


def info_of_ended(status: StatusMap, job_id: str) -> JobInfo:
    """The same of a job that has ended."""
    known = find(status, job_id)
    if known is None:
        raise unknown_job(job_id)
    return info_of(job_id, known, 0.0)


def ahead_of(clock: Clock) -> float:
    """How many seconds the wall clock is ahead of monotonic time."""
    return clock.time() - clock.monotonic()


def info_of(job_id: str, known: Known, ahead: float) -> JobInfo:
    """What is told of a job; `ahead` is that of `ahead_of`."""
    if isinstance(known, JobHandle):
        return _live(known, ahead)
    return _finished(job_id, known) if isinstance(known, Finished) else letter_info(known)


def _live(handle: JobHandle, ahead: float) -> JobInfo:
    job, status, due, attempts = handle._job, handle._status, None, handle._attempts
    if status is _SCHEDULED and handle._due_tick:
        due = round(handle._due_tick / TICKS_PER_SECOND + ahead, _DUE_DIGITS)
    elif status is _PROCESSING:
        attempts = and_one_more(attempts, Attempt(job._retries, handle._started))
    error, trace = handle._failure or (None, None)
    return JobInfo(
        job._id,
        status,
        job._priority,
        job._handler,
        job._headers,
        job._retries,
        error,
        trace,
        job._created,
        handle._started,
        None,
        progress_of(handle._progress),
        None,
        job._payload,
        None if job._plan is None else job._plan.key,
        due,
        attempts,
    )


def letter_info(letter: DeadLetter) -> JobInfo:
    """What is told of a dead letter."""
    job = letter.job
    error, trace = letter.failure or (None, None)
    last = Attempt(job._retries, letter.started, letter.finished, error)
    return JobInfo(
        job._id,
        _FAILED,
        job._priority,
        job._handler,
        job._headers,
        job._retries,
        error,
        trace,
        job._created,
        letter.started,
        letter.finished,
        progress_of(letter.progress),
        None,
        job._payload,
        None if job._plan is None else job._plan.key,
        None,
        and_one_more(letter.attempts, last),
    )


def _finished(job_id: str, record: Finished) -> JobInfo:
    error, trace = record.failure or (None, None)
    attempts = record.attempts
    if record.status is _COMPLETED:
        last = Attempt(record.retries, record.started, record.finished)
        attempts = and_one_more(attempts, last)
    return JobInfo(
        job_id,
        record.status,
        record.priority,
        record.handler,
        record.headers,
        record.retries,
        error,
        trace or None,  # a reason that is no exception's has none
        record.created,
        record.started,
        record.finished,
        progress_of(record.progress),
        None,
        None,
        record.key,
        None,
        attempts,
    )
