"""What ties jobs to each other and to a time, brought back from the log; and what that ends.

Relies on: being called before any other thread knows the queue; so no lock is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.dependencies import reason, ties_of
from ..core.expiry import expired_after
from ..model.plan import BY, Plan, Unique
from ..wal.reading.fold import CANCELLED, QUEUED, JobState, LogState

if TYPE_CHECKING:
    from ..core.journal import Journal
    from ..core.placement import Placement
    from ..model.handle import JobHandle
    from ..runtime.clock import Clock
    from ..wal.format.record import Enqueued


def cancel_revoked(state: LogState, journal: Journal, placement: Placement) -> list[JobState]:
    """Cancel the jobs whose handlers had been asked to stop when the process ended.

    Returns:
        These jobs.
    """
    cancelled, wall = [], placement.clock.time()
    for number in sorted(state.revoked):
        each = state.jobs.get(number)
        if each is not None and each.status == QUEUED:
            # guard: a running job that was cancelled is not run again
            state.apply(journal.stopped(number, wall, each.started, each.retries))
            cancelled.append(each)
    return cancelled


def cancel_doomed(state: LogState, journal: Journal, placement: Placement) -> list[JobState]:
    """Cancel the jobs that wait for one which was not completed, and those that wait for them.

    Returns:
        These jobs.
    """
    cancelled, wall, doomed = [], placement.clock.time(), state.doomed
    while doomed:
        number, by = doomed.popitem()
        each = state.jobs.get(number)
        if each is not None and each.status == QUEUED:
            # guard: a job that waits for one that failed is cancelled at the next start
            state.apply(journal.stopped(number, wall, each.started, each.retries, reason(by)))
            cancelled.append(each)
    return cancelled


def cancel_expired(state: LogState, journal: Journal, placement: Placement) -> list[JobState]:
    """Cancel the jobs whose time to start has passed meanwhile, before a worker can take one.

    Returns:
        These jobs.
    """
    cancelled, wall = [], placement.clock.time()
    timed = [each for each in state.jobs.values() if each.enqueued.expires is not None]
    for each in timed:
        left = _left(each, placement.clock) if each.status == QUEUED else None
        # guard: a job that has expired meanwhile is not run at the next start
        if left is not None and left <= 0:
            number, why = each.enqueued.job, expired_after(each.enqueued.within or 0.0)
            state.apply(journal.stopped(number, wall, each.started, each.retries, why))
            cancelled.append(each)
    return cancelled


def count_ended(ended: list[JobState], placement: Placement, *, expired: bool = False) -> None:
    """Count the jobs that a start found unfinished and has ended: as accepted, and by their end.

    Args:
        expired: whether they had not started in time.
    """
    for each in ended:
        call = placement.registry.find(each.enqueued.handler)
        tallies = placement.status.unregistered if call is None else call.tallies
        theirs = tallies[each.enqueued.priority]
        for counts in (theirs, theirs.lane):
            # guard: what a start ends is counted
            counts.enqueued += 1
            if each.status == CANCELLED:
                counts.cancelled += 1
                counts.expired += expired
            else:
                counts.failed += 1


def plan_of(enqueued: Enqueued) -> Plan | None:
    """What the job asks for besides its lane; but for the jobs that it waits for."""
    key, by, within = enqueued.key, enqueued.unique, enqueued.within
    if key is None and by is None and within is None and not enqueued.after:
        return None
    unique = None
    if by in BY:
        unique = Unique(by=by, until="started" if enqueued.until_started else "finished")
    return Plan(key, unique, (), within)


def bind(
    handle: JobHandle, each: JobState, by_number: dict[int, JobHandle], placement: Placement
) -> None:
    """Have the ties of a job hold again."""
    plan, enqueued, ties = handle._job._plan, each.enqueued, ties_of(handle)
    assert plan is not None  # its caller looks
    ties.waits_for = {by_number[number]: None for number in enqueued.after if number in by_number}
    handle._job._plan = plan._replace(after=tuple(parent.id for parent in ties.waits_for))
    left = _left(each, placement.clock)
    placement.bindings.restore(handle, left, has_started=_has_started(each))


def _has_started(each: JobState) -> bool:
    return each.started is not None or each.crashes > 0


def _left(each: JobState, clock: Clock) -> float | None:
    """Seconds within which a job has to start; `None` if it need not, or has."""
    expires = each.enqueued.expires
    if expires is None or _has_started(each):
        return None
    return seconds_left(expires, each.enqueued.within or 0.0, clock)


def seconds_left(due: float, delay: float, clock: Clock) -> float:
    """What is left of a delay; never more than was asked for, should the wall clock have jumped."""
    # guard: a wall clock that was set back makes no delay longer
    #   without: return max(0.0, due - clock.time())
    return min(max(0.0, due - clock.time()), delay)
