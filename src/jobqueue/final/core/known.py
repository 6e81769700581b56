"""The jobs that a queue knows, by id; what is asked of them, and changes nothing.

Relies on: the queue's mutex, held by the caller of every method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DuplicateJobError
from ..model.handle import NO_RESULT, JobHandle
from ..model.job import Job
from ..model.transitions import Status
from .remembered import unknown_job

if TYPE_CHECKING:
    from ..model.handle import HandleOwner
    from .remembered import DeadLetter, Finished


class Known:
    """Jobs by id.

    Attributes:
        live: those that have not ended.
        finished: completed and cancelled ones that are remembered.
        dead: dead letters.
        reserved: ids of jobs that attempts hold back, and whose; see `children.py`.
    """

    def __init__(self) -> None:
        self.live: dict[str, JobHandle] = {}
        self.finished: dict[str, Finished] = {}
        self.dead: dict[str, DeadLetter] = {}
        self.reserved: dict[str, JobHandle] = {}

    def __contains__(self, job_id: str) -> bool:
        return job_id in self.live or job_id in self.finished or job_id in self.dead

    def refuse_known(self, job_id: str) -> None:
        """Raises `DuplicateJobError` if the id is known."""
        if job_id in self.reserved:
            parent = self.reserved[job_id].id
            raise DuplicateJobError(
                f"job {job_id!r} is held back by job {parent!r}, whose handler is to enqueue it; "
                f"give each job an id of its own"
            )
        if job_id in self:
            raise DuplicateJobError(
                f"job {job_id!r} is already known ({self.status(job_id).value}); "
                f"give each job an id of its own"
            )

    def status(self, job_id: str) -> Status:
        """Raises `UnknownJobError`."""
        handle = self.live.get(job_id)
        if handle is not None:
            return handle._status
        finished = self.finished.get(job_id)
        if finished is not None:
            return finished.status
        if job_id in self.dead:
            return Status.FAILED
        raise unknown_job(job_id)

    def current(self, handle: JobHandle) -> JobHandle:
        """The handle that stands for the job now: another one if it was requeued."""
        if handle._status is not Status.FAILED:
            return handle
        job = handle._job
        live = self.live.get(job._id)
        if live is not None and live._job is job:
            return live
        record = self.finished.get(job._id)  # of this job, or of a later one with its id
        if record is not None and record.created == job._created:
            return self.handle(handle._owner, job._id)
        return handle

    def handle(self, owner: HandleOwner, job_id: str) -> JobHandle:
        """The handle of a known job; a new one, without result, if it has finished."""
        live = self.live.get(job_id)
        if live is not None:
            return live
        letter = self.dead.get(job_id)
        if letter is not None:
            handle = JobHandle(owner, letter.job, Status.FAILED, letter.number)
            handle._failure, handle._progress = letter.failure, letter.progress
        elif job_id in self.finished:
            record = self.finished[job_id]
            job = Job(id=job_id, priority=record.priority, key=record.key, _created=record.created)
            handle = JobHandle(owner, job, record.status)
            handle._failure, handle._progress = record.failure, record.progress
        else:
            raise unknown_job(job_id)
        handle._outcome = NO_RESULT
        return handle

    def letter(self, job_id: str) -> DeadLetter:
        """A dead letter; raises `UnknownJobError`, or `ValueError` if the job has not failed."""
        letter = self.dead.get(job_id)
        if letter is None:
            status = self.status(job_id)
            raise ValueError(
                f"job {job_id!r} is {status.value}; only failed jobs are requeued and discarded"
            )
        return letter
