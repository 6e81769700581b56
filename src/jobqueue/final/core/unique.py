"""Jobs of which there may be one at a time: which job holds what no other may have.

Guarantees: no job is accepted while another one holds its identity. It is decided under the mutex
under which a job is accepted: of a thousand threads that enqueue the same at once one adds a job.
Relies on: the queue's mutex, held by the caller of every method. Each may be done again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DuplicateJobError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ..model.handle import JobHandle
    from ..model.job import Job


ASK_FOR_IT = 'Unique(on_conflict="existing") gives a handle of that one instead'
"""What else its user may write, for errors."""


class Uniqueness:
    """The identities that are held, and by which job."""

    def __init__(self) -> None:
        self._holders: dict[Hashable, JobHandle] = {}
        # Jobs that came back while another one was like them, as a failed one that is requeued.
        self._next: dict[Hashable, dict[JobHandle, None]] = {}

    def holder_of(self, identity: Hashable) -> JobHandle | None:
        """The job that has this identity, if there is any."""
        return self._holders.get(identity)

    def holder(self, handle: JobHandle) -> JobHandle | None:
        """The job that is like this new one, which is unique, if there is any."""
        ties = handle._ties
        assert ties is not None  # it is unique
        if ties.identity is None:
            ties.identity = identity_of(handle._job)
        return self._holders.get(ties.identity)

    def holders(self, job: Job) -> tuple[JobHandle, ...]:
        """All jobs that are like this new one: those that came back while another was, too."""
        identity = identity_of(job)
        first = self._holders.get(identity)
        return () if first is None else (first, *self._next.get(identity, ()))

    def hold(self, handle: JobHandle) -> None:
        """No new job may have its identity from now on. If another has it already, both do."""
        ties, plan = handle._ties, handle._job._plan
        if ties is None or plan is None or plan.unique is None:
            return
        identity = ties.identity
        if identity is None:  # mostly `holder` has found it
            identity = identity_of(handle._job)
            ties.identity = identity  # first: an interruption leaves none that nobody lets go of
        if self._holders.setdefault(identity, handle) is not handle:
            self._next.setdefault(identity, {})[handle] = None

    def release(self, handle: JobHandle) -> None:
        """Another job may have its identity now."""
        ties = handle._ties
        identity = None if ties is None else ties.identity
        if ties is not None and identity is not None:
            if self._next:
                self._leave(identity, handle)
            if self._holders.get(identity) is handle:
                del self._holders[identity]
            ties.identity = None

    def _leave(self, identity: Hashable, handle: JobHandle) -> None:
        """Have the next job that is like this one hold what both had, if there is one."""
        others = self._next.get(identity)
        if others is None:
            return
        others.pop(handle, None)
        if self._holders.get(identity) is handle:
            first = next(iter(others), None)
            if first is not None:
                self._holders[identity] = first
                del others[first]
        if not others:
            self._next.pop(identity, None)

    def started(self, handle: JobHandle) -> None:
        """Its first attempt has begun: that may be all that it was to be unique for."""
        plan = handle._job._plan
        # guard: a job is unique until it has started, if it says so
        if plan is not None and plan.unique is not None and plan.unique.until == "started":
            self.release(handle)


def not_unique(job: Job, first: JobHandle) -> DuplicateJobError:
    """The error for a job that is to be the only one of its kind, and is not."""
    assert job.unique is not None  # its caller looks
    return DuplicateJobError(
        f"job {job._id!r} was not accepted: job {first._job._id!r} is like it (unique by "
        f"{job.unique.by}) and is {first._status.value}; {ASK_FOR_IT}"
    )


def identity_of(job: Job) -> Hashable:
    """What no other job may have while this one, which is unique, holds it."""
    plan = job._plan
    assert plan is not None  # it is unique
    assert plan.unique is not None
    by = plan.unique.by
    if by == "key":
        return by, plan.key
    return by, job._handler, plan.key if by == "handler+key" else job._payload
