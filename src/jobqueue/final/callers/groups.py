"""`enqueue_together`: several jobs are let in as one, or none of them.

A group waits until there is room for all of its jobs at once. Would it only look now and then, it
might do so for ever beside producers that need one place each. So it collects: it keeps the places
that it finds, and stands in the line of a lane that it still needs some of. Two groups that collect
could each keep what the other needs. So one does at a time; the others stand at a gate, in order.

Guarantees: as `Admission`. A call that raised has let in none of its jobs, but for an error that
came from outside: then it may have let in all.
Relies on: the queue's mutex, taken here; and `core/together.py`, by which all are accepted in one.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from ..core.dependencies import renamed
from ..core.together import Entrant, Together
from ..core.unique import ASK_FOR_IT, identity_of
from ..errors import DuplicateJobError, again
from ..exact import check_seconds
from ..model.existing import ExistingHandle
from ..model.handle import JobHandle
from ..model.job import listed_jobs
from ..model.transitions import Status
from ..runtime.mutex import check_reentry
from .entrance import Entrance, refuse_repeated

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from ..core.lane import Lane
    from ..exact import Seconds
    from ..model.job import Job, Priority
    from ..runtime.parking import Wakeable
    from ..wal.writing.batch import OpenBatch

    Handles = tuple[list[JobHandle], OpenBatch | None]

INLINE_BYTES_MAX = 1 << 15
GROUP_BYTES_MAX = 1 << 27
"""Of the payloads of one group: each reader has to take its batch, in which text may be escaped."""
_QUEUED, _SCHEDULED = Status.QUEUED, Status.SCHEDULED  # a look into an enumeration is slow


class Group:
    """The jobs of one call.

    Attributes:
        delays: seconds that each of them waits.
        kept: the places that are kept for it, by lane.
        lacking: the lane that it waits for room in.
        has_waited: whether it stands, or stood, at the gate.
    """

    __slots__ = ("delays", "has_waited", "jobs", "kept", "lacking")

    def __init__(self, jobs: list[Job], delays: list[float]) -> None:
        self.jobs = jobs
        self.delays = delays
        self.kept: dict[Lane, int] = {}
        self.lacking: Lane | None = None
        self.has_waited = False


class GroupEntrance(Entrance):
    """Lets groups of jobs in, or refuses them. All methods are called without the mutex."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._gate: deque[Wakeable] = deque()  # the groups that wait; the first collects

    def group_of(self, jobs: Iterable[Job], delays: Iterable[Seconds] | None) -> Group:
        """The jobs of one call; raises if they are none that could be accepted in one."""
        listed = listed_jobs(jobs)
        for job in listed:
            self.check(job)
        if delays is None:
            seconds = [0.0] * len(listed)
        else:
            seconds = [check_seconds("delays", each) for each in delays]
        if len(seconds) != len(listed):
            raise ValueError(
                f"delays must be one for each job: {len(seconds)} for {len(listed)} jobs"
            )
        refuse_repeated(listed)
        size = sum(len(job._payload) for job in listed)
        if size > GROUP_BYTES_MAX:
            raise ValueError(
                f"{len(listed)} jobs are to be enqueued together with {size} bytes of payloads; at "
                f"most {GROUP_BYTES_MAX} can be: store them elsewhere, or enqueue fewer"
            )
        check_reentry(self._mutex)
        return Group(listed, seconds)

    def let_in(self, group: Group, waiter: Wakeable) -> Handles | None:
        """Let all of them in, if there is room for all; if not, line up.

        Returns:
            Their handles, and the batch of the log that the call must wait for; `None` if `waiter`
            is to be told when it is worth another look.
        """
        with self._mutex:
            self._mutex.settle()
            for lane in self._lanes:
                lane.looks(waiter)
            _give_back(group)
            found, entrants = self._look(group)
            needed = self._needed(entrants)
            group.lacking = next((lane for lane in needed if needed[lane] > lane.room), None)
            if group.lacking is None:
                return self._accept_all(entrants, found)
            group.has_waited = True
            self._line_up(group, waiter, needed)
            return None

    def leave_gate(self, group: Group, waiter: Wakeable) -> None:
        """The group waits no more: what it kept is for others, and so is its turn."""
        if not group.has_waited:
            return
        with self._mutex:
            # No function is called before it is out: an interrupt could come as it is entered.
            if waiter in self._gate:
                self._gate.remove(waiter)
            for lane in self._lanes:
                if lane.on_its_way is waiter:
                    lane.on_its_way = None
                if waiter in lane.producers:
                    lane.producers.remove(waiter)
            _give_back(group)
            if self._gate:
                self._gate[0].unpark()  # guard: a group that leaves lets the next one collect
            for lane in self._lanes:
                lane.wake_producer()

    def check_written(self, handles: Sequence[JobHandle], batch: OpenBatch) -> None:
        """The batch is done: raises if the group's records could not be written."""
        for each in handles:
            error = batch.refused.get(each._number)
            if error is not None and type(each) is not ExistingHandle:
                raise again(error)

    # ── with the mutex ───────────────────────────────────────────────────────────────────────

    def _look(self, group: Group) -> tuple[list[tuple[JobHandle, bool]], list[Entrant]]:
        """What becomes of each job; changes nothing.

        Returns:
            The handle of each, and whether it is that of a job that is had in its place; and those
            that are to be accepted.

        Raises:
            JobQueueError: one cannot be accepted.
        """
        new: dict[str, JobHandle] = {}
        alike: dict[Hashable, JobHandle] = {}
        names: dict[str, str] = {}
        found: list[tuple[JobHandle, bool]] = []
        entrants: list[Entrant] = []
        missing: Counter[Priority] = Counter()
        for given, delay in zip(group.jobs, group.delays, strict=True):
            self._refuse(given, None)
            if self._find(given._handler) is None:
                # guard: jobs of one call that wait for a handler are bounded, too
                self._registry.refuse_unknown(given, missing[given._priority])
            job = renamed(given if given._retries < 0 else given._copy(), names)
            handle = JobHandle(self._owner, job, _SCHEDULED if delay else _QUEUED)
            replaces: tuple[JobHandle, ...] = ()
            first = None if job._plan is None else self._meet_one(handle, new, alike)
            if first is not None and first._job._id not in new:
                first, replaces = self._replaced(handle, first)
            found.append((first or handle, first is not None))
            if first is not None:
                names[job._id] = first._job._id
                continue
            new[job._id] = handle
            entrants.append(Entrant(handle, delay, replaces))
            missing[job._priority] += self._find(job._handler) is None
            if job.unique is not None:
                alike[identity_of(job)] = handle
        return found, entrants

    def _meet_one(
        self,
        handle: JobHandle,
        new: Mapping[str, JobHandle],
        alike: Mapping[Hashable, JobHandle],
    ) -> JobHandle | None:
        """The job that is like this one, here or before it in the group."""
        job = handle._job
        first = self._placement.bindings.meet(handle, None, new)
        own = None if job.unique is None else alike.get(identity_of(job))
        if own is not None and job.unique is not None and job.unique.on_conflict == "raise":
            raise DuplicateJobError(
                f"job {job._id!r} was not accepted: job {own._job._id!r}, before it in this call, "
                f"is like it (unique by {job.unique.by}); {ASK_FOR_IT}"
            )
        return own or first

    def _replaced(
        self, handle: JobHandle, first: JobHandle
    ) -> tuple[JobHandle | None, tuple[JobHandle, ...]]:
        """A job that is known is like this one: which is had in its place, or which it replaces."""
        bindings = self._placement.bindings
        if not bindings.may_replace(handle, first):
            return first, ()
        # guard: a job of a group replaces all that are like it
        #   without: return None, (first,)
        alike = bindings.all_like(handle._job)
        kept = [each for each in alike if not bindings.may_replace(handle, each)]
        return (kept[0], ()) if kept else (None, alike)

    def _needed(self, entrants: Sequence[Entrant]) -> dict[Lane, int]:
        """How many places it needs, by lane.

        Raises:
            ValueError: more than there are.
        """
        needed: dict[Lane, int] = {}
        for each in entrants:
            handle = each.handle
            if handle._status is _QUEUED and not self._needs_no_room(handle):
                lane = self._lanes[handle._job._priority]
                needed[lane] = needed.get(lane, 0) + 1
            for first in each.replaces:
                lane = self._lanes[first._job._priority]
                needed[lane] = needed.get(lane, 0) - first._has_room
        for lane, count in needed.items():
            if count > lane.maxsize:
                raise ValueError(
                    f"{count} jobs of one lane are to be enqueued together, and it has room for "
                    f"{lane.maxsize}; raise queue_size, or enqueue fewer"
                )
        return needed

    def _line_up(self, group: Group, waiter: Wakeable, needed: Mapping[Lane, int]) -> None:
        if waiter not in self._gate:
            self._gate.append(waiter)
        if self._gate[0] is not waiter:
            return
        for lane, count in needed.items():
            taken = max(0, min(lane.room, count))
            lane.room -= taken  # guard: a group that waits keeps the places that it finds
            group.kept[lane] = taken
        for lane in self._lanes:
            if lane is group.lacking:
                if waiter not in lane.producers:
                    lane.producers.append(waiter)
            elif waiter in lane.producers:
                lane.producers.remove(waiter)

    def _accept_all(
        self, entrants: Sequence[Entrant], found: Sequence[tuple[JobHandle, bool]]
    ) -> Handles:
        batch = None
        if entrants:
            change = Together(self._placement, entrants)
            size = sum(len(each.handle._job._payload) for each in entrants)
            # guard: the acceptance of a group is told of before it is made
            self._mutex.unfinished = change
            try:
                change.finish()
                if self._journal is not None:
                    batch = self._journal.writer.commit(inline=size < INLINE_BYTES_MAX)
                self._mutex.unfinished = None
            except BaseException:
                self._placement.broken_off()
                raise
        handles = [ExistingHandle(each) if is_other else each for each, is_other in found]
        return handles, batch


def _give_back(group: Group) -> None:
    """With the mutex: what is kept for the group is room again."""
    for lane in group.kept:
        count = group.kept[lane]
        group.kept[lane] = 0  # one step
        lane.room += count
