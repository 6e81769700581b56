"""Jobs of which there may be one at a time: which job holds what no other may have.

Guarantees: no two jobs hold the same identity. It is decided under the mutex under which a job is
accepted, so of a thousand threads that enqueue the same at once one adds a job.
Relies on: the queue's mutex, held by the caller of every method. Each may be done again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ..model.handle import JobHandle
    from ..model.job import Job


class Uniqueness:
    """The identities that are held, and by which job."""

    def __init__(self) -> None:
        self._holders: dict[Hashable, JobHandle] = {}

    def holder(self, job: Job) -> JobHandle | None:
        """The job that is like this new one, if there is any."""
        return self._holders.get(identity_of(job))

    def hold(self, handle: JobHandle) -> None:
        """No other job may have its identity from now on, unless one has it already."""
        ties = handle._ties
        if ties is None or handle._job.unique is None:
            return
        identity = identity_of(handle._job)
        if self._holders.setdefault(identity, handle) is handle:
            ties.identity = identity

    def release(self, handle: JobHandle) -> None:
        """Another job may have its identity now."""
        ties = handle._ties
        if ties is not None and ties.identity is not None:
            if self._holders.get(ties.identity) is handle:
                del self._holders[ties.identity]
            ties.identity = None

    def started(self, handle: JobHandle) -> None:
        """Its first attempt has begun: that may be all that it was to be unique for."""
        unique = handle._job.unique
        if unique is not None and unique.until == "started":
            self.release(handle)


def identity_of(job: Job) -> Hashable:
    """What no other job may have while this one, which is unique, holds it."""
    plan = job._plan
    assert plan is not None  # it is unique
    assert plan.unique is not None
    by = plan.unique.by
    if by == "key":
        return by, plan.key
    return by, job._handler, plan.key if by == "handler+key" else job._payload
