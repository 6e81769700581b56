"""Jobs that are enqueued together, as the model sees them: all are accepted, or none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobqueue.final import (
    DuplicateJobError,
    EnqueueTimeoutError,
    Job,
    JobCancelledError,
    Priority,
    Status,
    UnknownHandlerError,
    UnknownJobError,
)
from tests.support.modelled.jobs import SETTINGS, Known, identity_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.modelled.state import State

SIZE = int(SETTINGS["queue_size"])


@dataclass
class Entrant:
    """A job that is enqueued with others.

    Attributes:
        stands_for: the id of the job that is had in its place.
        replaces: the jobs whose place it takes.
        after: the jobs that it is to run after.
    """

    job: Job
    delay: float
    after: list[str]
    stands_for: str | None = None
    replaces: tuple[Known, ...] = ()


class Group:
    """Several jobs, and what becomes of them."""

    def __init__(self, state: State, jobs: Sequence[Job], delays: Sequence[float]) -> None:
        self._state = state
        self.entrants = [
            Entrant(job, delay, list(job.after)) for job, delay in zip(jobs, delays, strict=True)
        ]
        self._new: list[Entrant] = []

    def refused(self) -> type[Exception] | None:
        """Why none of them is accepted. It changes nothing, and is to be called first."""
        if len({each.job.id for each in self.entrants}) < len(self.entrants):
            return DuplicateJobError
        for each in self.entrants:
            error = self._refused(each) or self._meets(each)
            if error is not None:
                return error
        return self._lacks_room()

    def _refused(self, entrant: Entrant) -> type[Exception] | None:
        state, job = self._state, entrant.job
        if (error := state.refuses(job)) is not None:
            return error
        own = sum(
            state.is_parked(each.job) and each.job.priority is job.priority for each in self._new
        )
        if state.is_parked(job) and state.parked(job.priority) + own >= SIZE:
            return UnknownHandlerError
        new = {each.job.id for each in self._new}
        if any(each not in state.jobs and each not in new for each in entrant.after):
            return UnknownJobError
        return None

    def _meets(self, entrant: Entrant) -> type[Exception] | None:
        """Note what a job that is not refused meets."""
        job = entrant.job
        alike: list[str] = []
        replaces: tuple[Known, ...] = ()
        if job.unique is not None:
            identity = identity_of(job)
            alike = [
                each.job.id
                for each in self._new
                if each.job.unique is not None and identity_of(each.job) == identity
            ]
            holders = self._state.holders.get(identity, [])
            old = [each for each in holders if not each.is_new]
            if job.unique.on_conflict == "raise" and (alike or holders):
                return DuplicateJobError
            if job.unique.on_conflict != "replace":
                alike += [each.job.id for each in holders]
            elif not alike:
                alike = [each.job.id for each in old]
                replaces = tuple(holders)
        if alike:
            entrant.stands_for = alike[0]
            for each in self.entrants:
                each.after = [alike[0] if name == job.id else name for name in each.after]
        else:
            entrant.replaces = replaces
            self._new.append(entrant)
        return None

    def _lacks_room(self) -> type[Exception] | None:
        needed: Counter[Priority] = Counter()
        for each in self._new:
            job = each.job
            needed[job.priority] += not (each.delay or job.after or self._state.is_parked(job))
            for first in each.replaces:
                needed[first.job.priority] -= first.has_room
        if any(count > SIZE for count in needed.values()):
            return ValueError
        if any(count > self._state.room(priority) for priority, count in needed.items()):
            return EnqueueTimeoutError
        return None

    def accept(self) -> None:
        """All of them are accepted."""
        state, doomed = self._state, list[Known]()
        for entrant in self._new:
            for first in entrant.replaces:
                state.end(first, Status.CANCELLED, JobCancelledError)
        for entrant in self._new:
            state.accept(entrant.job, None, entrant.delay, after=entrant.after, doomed=doomed)
        for known in doomed:
            state.end(known, Status.CANCELLED, JobCancelledError)
