"""Who is let in, and how: what a producer's thread does under the mutex to accept a job.

Relies on: the queue's mutex, held by the caller of every method that does not say otherwise; and,
for an exception that comes anywhere, on what `core/unfinished.py` tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.queue_state import State
from ..errors import repeated
from ..model.job import Job
from ..model.transitions import Status
from ..timing.timer import tick_after

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..config import Config
    from ..core.lane import Lane
    from ..core.placement import Placement
    from ..core.queue_state import QueueState
    from ..core.seats import Seats
    from ..model.existing import ExistingHandle
    from ..model.handle import HandleOwner, JobHandle
    from ..model.handlers import Handler
    from ..wal.writing.batch import OpenBatch

_QUEUED, _SCHEDULED = Status.QUEUED, Status.SCHEDULED  # a look into an enumeration is slow
_OPEN = State.OPEN


class Entrance:
    """Lets jobs in, or refuses them."""

    def __init__(
        self,
        owner: HandleOwner,
        config: Config,
        placement: Placement,
        state: QueueState,
        seats: Seats,
    ) -> None:
        self.made_of = (owner, config, placement, state, seats)
        """For another one, as one that leaves out the middleware."""
        self._owner = owner
        self._placement = placement
        self._mutex = placement.mutex
        self._state = state
        self._seats = seats
        self._status = placement.status
        self._registry = placement.registry
        self._find = placement.registry.find
        self._lanes = placement.scheduler.lanes
        self._payload_bytes_max = config.max_payload_bytes
        self._journal = placement.journal

    def check(self, job: Job) -> None:
        """Raises if this is no job, or one that no queue with these settings takes. No mutex."""
        if type(job) is not Job and not isinstance(job, Job):
            raise TypeError(f"only a Job can be enqueued, not {type(job).__name__}: {job!r}")
        if len(job._payload) > self._payload_bytes_max:
            raise ValueError(
                f"job {job._id!r} has a payload of {len(job._payload)} bytes; at most "
                f"{self._payload_bytes_max} (max_payload_bytes) are accepted: "
                f"store it elsewhere and enqueue where it is"
            )

    def _refuse(self, job: Job, call: Handler | None) -> Handler | None:
        """Raises if the job cannot be accepted now; room is not looked at.

        Returns:
            The handler that runs it, by what is known now.
        """
        if self._state.now is not _OPEN:
            self._state.refuse_after(_OPEN)
        job_id, status = job._id, self._status
        if job_id in status.live or job_id in status.finished or job_id in status.dead:
            status.refuse_known(job_id)
        if status.reserved and job_id in status.reserved:
            status.refuse_known(job_id)
        if call is None:
            call = self._find(job._handler)
            if call is None:
                self._registry.refuse_unknown(job)
        if self._journal is not None:
            self._journal.writer.check()
        return call

    def _meet(self, handle: JobHandle, lane: Lane, *, takes_room: bool = True) -> JobHandle | None:
        """The job that is like this new one and is to be had in its place, if there is one.

        If the new one is to take the place of that, it is cancelled, once there is room for this.

        Args:
            takes_room: whether the new one waits for room at all.
        """
        bindings = self._placement.bindings
        first = bindings.meet(handle)
        while first is not None and bindings.may_replace(handle, first):
            leaves_room = first._has_room and first._job._priority is handle._job._priority
            # guard: a tick that replaces another waits for no room
            #   without: if not (lane.room > 0 or leaves_room or self._needs_no_room(handle)):
            if not (not takes_room or lane.room > 0 or leaves_room or self._needs_no_room(handle)):
                return None
            self._replace(handle, first)
            first = bindings.meet_next(handle, first)
        return first

    def _replace(self, handle: JobHandle, first: JobHandle) -> None:
        """Cancel the job whose place a new one takes, in the same batch of the log."""
        before = self._mutex.unfinished  # a job of the same call
        self._mutex.unfinished = handle  # guard: a replacement is told of before it is made
        try:
            self._placement.bindings.replace(first)
            self._mutex.unfinished = before
        except BaseException:
            self._placement.broken_off()
            raise

    def _needs_no_room(self, handle: JobHandle) -> bool:
        """Whether a job waits for others, or comes from a thread that is to make room."""
        if handle._ties is not None and (handle._job.after or handle._status is _SCHEDULED):
            return True
        if handle._call is None and self._find(handle._job._handler) is None:
            return True
        # guard: a handler that enqueues never waits for room
        return self._seats.current() is not None or self._placement.reporter.is_own_thread()

    def _accept(  # a call costs more than a step in here
        self, handle: JobHandle, lane: Lane, delay: float, call: Handler | None
    ) -> OpenBatch | None:
        """Let the job in; `call` is what runs it. Returns the batch that the producer waits for."""
        job = handle._job
        if job._retries >= 0:  # the count of a queue that has this job, or had it
            job = handle._job = job._copy()
        job._retries = 0
        ties, due = handle._ties, None
        if delay:
            now = self._placement.clock.monotonic()
            handle._due_tick = tick_after(now + delay)
            due = self._placement.clock.time() + delay
        batch = expires = None
        self._mutex.unfinished = handle  # guard: an acceptance is told of before it is made
        try:
            self._status.accept(handle, call)
            if ties is not None:
                expires = self._placement.bindings.bind(handle)
            if handle._status is _QUEUED:
                handle._call = call
                if call is None:
                    self._registry.expect(handle)
                elif lane.room > 0 and (job._plan is None or not job._plan.after):
                    handle._has_room = True  # one step
                    lane.room -= 1  # guard: a place in the lane is taken
            elif call is None:
                self._registry.expect(handle)  # guard: delayed jobs that wait then are bounded
            if self._journal is not None:
                self._journal.enqueued(handle, due, delay or None, expires)
            if ties is not None and ties.doomed and self._placement.bindings.cancel_doomed(handle):
                batch = None if self._journal is None else self._journal.commit(handle)
            elif self._journal is None or self._journal.is_async:
                self._placement.arrive(handle)
            else:
                batch = self._journal.commit(handle)
            self._mutex.unfinished = None
        except BaseException:
            self._placement.broken_off()
            raise
        return batch

    def _add(self, handle: JobHandle, lane: Lane, *, takes_room: bool = True) -> None:
        """With the mutex: let in one job of many; the caller commits all their records at once.

        If it is broken off, those that were added before are committed as well.

        Args:
            takes_room: whether it takes a place in its lane, if there is one.
        """
        job = handle._job
        if job._retries >= 0:
            job = handle._job = job._copy()
        job._retries = 0
        self._mutex.unfinished = handle
        call = self._find(job._handler)
        self._status.accept(handle, call)
        expires = None if handle._ties is None else self._placement.bindings.bind(handle)
        handle._call = call
        if handle._call is None:
            self._registry.expect(handle)
        elif takes_room and lane.room > 0 and (handle._ties is None or not job.after):
            handle._has_room = True  # one step
            lane.room -= 1
        if self._journal is not None:
            self._journal.enqueued(handle, expires=expires)
        if handle._ties is not None and self._placement.bindings.cancel_doomed(handle):
            return
        if self._journal is None:
            self._placement.arrive(handle)

    def batch_of(self, existing: ExistingHandle) -> OpenBatch | None:
        """The batch of the log that such a job is still on its way in. Without the mutex."""
        if self._journal is None:
            return None
        with self._mutex:
            self._mutex.settle()
            return self._journal.writer.batch_with(existing._number)


def refuse_repeated(jobs: Iterable[Job]) -> None:
    """Raises if an id stands more than once among the jobs of one call."""
    seen: set[str] = set()
    for job in jobs:
        if job._id in seen:
            raise repeated(job._id)
        seen.add(job._id)
