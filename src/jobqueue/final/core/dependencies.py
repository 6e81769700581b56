"""Jobs that wait for other jobs: which, and what becomes of them when those end.

A job that waits is SCHEDULED, and in no lane and not in the timer. It stands among the dependents
of each job that it waits for. When the last of those is completed it is queued, by the thread that
ended that one. If one of them fails or is cancelled it is doomed: another thread cancels it, and so
those that wait for it, one after the other. No circle can be made, for a job can only wait for one
that is known.

Relies on: the queue's mutex, held by the caller of every method. Each may be done again.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from ..errors import UnknownJobError
from ..model.handle import Ties
from ..model.transitions import FINAL, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..model.handle import JobHandle
    from ..model.job import Job
    from .status_map import StatusMap

AT_ONCE_MAX = 100
"""How many dependents the thread that ended a job looks after; more are left to another thread."""
NO_OTHERS: Mapping[str, JobHandle] = {}
_ENDED, _COMPLETED = FINAL, Status.COMPLETED  # a look into an enumeration is slow


class Dependencies:
    """Which job waits for which.

    Attributes:
        doomed: jobs that are to be cancelled.
        ended: jobs that have ended, and whose dependents have not all been looked after.
    """

    def __init__(self, status: StatusMap) -> None:
        self.doomed: deque[JobHandle] = deque()
        self.ended: deque[JobHandle] = deque()
        self._status = status

    def find(
        self,
        handle: JobHandle,
        parent: JobHandle | None = None,
        others: Mapping[str, JobHandle] = NO_OTHERS,
    ) -> None:
        """Note what a new job waits for, before it is accepted. Changes nothing else.

        Args:
            parent: the job whose completion enqueues it. It was looked then whether its ids are
                known: one that has been forgotten since, so that nobody knows how it ended, dooms
                the job.
            others: those that are accepted in one with it, before it.

        Raises:
            UnknownJobError: an id is unknown, or has been forgotten.
        """
        job, ties, lives = handle._job, ties_of(handle), self._status.live
        waits_for: dict[JobHandle, None] = {}
        ties.doomed = None
        for job_id in job.after:
            live = lives.get(job_id) or others.get(job_id)
            if live is not None:
                waits_for[live] = None
                continue
            if parent is not None and job_id == parent._job._id:
                continue
            if job_id in self._status:
                status = self._status.status(job_id)
                if status is not Status.COMPLETED:
                    ties.doomed = ties.doomed or reason(job_id, status)
            elif parent is None:
                raise not_known(job, job_id)
            else:
                ties.doomed = f"job {job_id!r}, which it waits for, is not known any more"
        ties.waits_for = waits_for

    def tie(self, handle: JobHandle) -> None:
        """The job is accepted: have the jobs that it waits for know of it."""
        for each in ties_of(handle).waits_for or ():
            theirs = each._ties
            if theirs is None:
                theirs = each._ties = Ties()
            if each._status in _ENDED:  # the job takes its place
                ties_of(handle).doomed = reason(each._job._id, each._status)
            if theirs.dependents is None:
                theirs.dependents = {}
            theirs.dependents[handle] = None

    def untie(self, handle: JobHandle) -> None:
        """The job waits no more: it has ended, or was not accepted."""
        for each in ties_of(handle).waits_for or ():
            dependents = ties_of(each).dependents
            if dependents is not None and each._status not in _ENDED:
                # guard: a job that waits no more is not told of
                dependents.pop(handle, None)

    def release(self, handle: JobHandle, go: Callable[[JobHandle], None]) -> None:
        """The job has ended, or was not accepted: look after `AT_ONCE_MAX` of its dependents.

        Args:
            go: called with each that waits for nothing more. Broken off, it is called again.
        """
        dependents = ties_of(handle).dependents or {}
        is_completed = handle._status is _COMPLETED
        for each in tuple(islice(dependents, AT_ONCE_MAX)):
            ties = each._ties
            if each._status in _ENDED or ties is None or ties.waits_for is None:
                pass
            elif is_completed:
                ties.waits_for.pop(handle, None)
                if not ties.waits_for:
                    go(each)
            else:
                ties.doomed = ties.doomed or reason(handle._job._id, handle._status)
                # guard: a job after one that is not completed is cancelled
                self.doomed.append(each)
            dependents.pop(each, None)  # last: an interruption forgets none


def ties_of(handle: JobHandle) -> Ties:
    """What ties this job; from now on it has some."""
    if handle._ties is None:
        handle._ties = Ties()
    return handle._ties


def renamed(job: Job, names: Mapping[str, str]) -> Job:
    """The job; a copy of it if some that it waits for have other ids in `names`."""
    after = tuple(dict.fromkeys(names.get(each, each) for each in job.after))
    if after == job.after or job._plan is None:
        return job
    copy = job._copy()
    copy._plan = job._plan._replace(after=after)
    return copy


def not_known(job: Job, job_id: str) -> UnknownJobError:
    """The error for a job that waits for one that the queue does not know."""
    return UnknownJobError(
        f"job {job._id!r} was not accepted: it is to run after job {job_id!r}, which is not known: "
        f"it never was, was discarded, or has been forgotten (status_retention); enqueue that one "
        f"first, or leave it out of after=[...]"
    )


def reason(job_id: str, status: Status | None = None) -> str:
    """Why a job is cancelled that waits for this one, which was not completed."""
    what = "was not completed" if status is None else _WHAT.get(status, "could not be written")
    return f"job {job_id!r}, which it waits for, {what}"


_WHAT = {Status.FAILED: "failed", Status.CANCELLED: "was cancelled"}
