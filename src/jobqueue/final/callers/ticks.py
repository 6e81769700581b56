"""How the job of a tick is let in: without a place in its lane, and together with its tick.

Guarantees: the job and its tick are in the log both, or neither. It never waits for room.
Relies on: `Admission`, of which this is a part; the queue's mutex, taken here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..middleware import wrapped
from ..model.existing import ExistingHandle
from ..model.handle import JobHandle
from ..model.job import Job
from ..model.transitions import Status
from ..runtime.mutex import check_reentry

if TYPE_CHECKING:
    from ..core.lane import Lane
    from ..core.periodic import Entry, Tick
    from ..core.placement import Placement
    from ..middleware import Layer
    from ..model.handle import HandleOwner
    from ..wal.writing.batch import OpenBatch
    from .admission import Admission


def job_of(entry: Entry, job_id: str) -> Job:
    """A job of a schedule: a copy of what the user's function returned, with an id of its own.

    Raises:
        TypeError: that was no job.
        BaseException: the function raised it.
    """
    job: object = entry.factory()
    if not isinstance(job, Job):
        raise TypeError(
            f"the job factory of schedule {entry.name!r} returned {job!r}; it must return a Job"
        )
    # guard: the user's job is left as it is
    #   without: copy = job
    copy = job._copy()
    copy._id = job_id
    return copy


class TickAdmission:
    """Accepts the jobs of ticks. Called without the mutex, by threads that may wait for the log.

    Args:
        layers: the `enqueue` methods of the middleware, outermost first.
    """

    def __init__(
        self,
        layers: tuple[Layer, ...],
        owner: HandleOwner,
        placement: Placement,
        admission: Admission,
    ) -> None:
        self._layers = layers
        self._owner = owner
        self._placement = placement
        self._admission = admission

    def enqueue(self, job: Job, tick: Tick | None) -> JobHandle | None:
        """Accept the job of a tick, or one that a schedule runs besides; through the middleware.

        Raises:
            JobQueueError: as `JobQueue.enqueue`, but never for want of room.
        """
        through = wrapped(self._layers, lambda job: self._accept(job, tick))
        handle: JobHandle | None = through(job)
        return handle

    def _accept(self, job: Job, tick: Tick | None) -> JobHandle:
        placement, journal = self._placement, self._placement.journal
        self._admission.check(job)
        check_reentry(placement.mutex)
        handle: JobHandle = JobHandle(self._owner, job, Status.QUEUED)
        batch: OpenBatch | None = None
        with placement.mutex:
            placement.mutex.settle()
            self._admission._refuse(job, None)
            lane = placement.scheduler.lanes[job._priority]
            try:
                first = self._meet(handle, lane)
                if first is not None:
                    handle = ExistingHandle(first)
                else:
                    # guard: a tick takes no place in its lane
                    #   without: self._admission._add(handle, lane)
                    self._admission._add(handle, lane, takes_room=False)
                if journal is not None:
                    # guard: a tick is in the log with its job
                    if tick is not None:
                        journal.ticked(tick.name, tick.at, handle._number)
                    batch = journal.commit(handle)
                placement.mutex.unfinished = None
            except BaseException:
                placement.broken_off()
                raise
        if batch is not None and journal is not None:
            journal.writer.wait(batch, handle._number)
        self._admission.tell_missing()
        return handle

    def _meet(self, handle: JobHandle, lane: Lane) -> JobHandle | None:
        """With the mutex: the job that is like it and stands for this tick, if there is one."""
        if handle._job._plan is None:
            return None
        return self._admission._meet(handle, lane, takes_room=False)
