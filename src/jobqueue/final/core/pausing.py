"""Pausing one handler, or one lane, while the others go on.

A lane that is paused says that it has no work: so no worker takes from it, and it pays no token. A
job of a handler that is paused is moved aside when it comes to the front of its lane, and holds up
none behind it. All that were moved aside go back to the front, in their order, when the handler is
resumed. Where they are, such jobs are queued as all others: they keep their place in the lane, are
counted, can be cancelled, and are waited for by `join`.

A job that is to run alone (`FairScheduler.suspects`) keeps all others out while it waits for its
turn. If it is paused it is held here instead.

Relies on: the queue's mutex, held by the caller of every method. Each may be broken off, and is
done again then (`unfinished.py`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from ..model.transitions import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..model.handle import JobHandle
    from ..model.job import Priority
    from ..runtime.mutex import WorkerCondition
    from ..wal.format.record import Record
    from .bonds import Bonds

_QUEUED = Status.QUEUED  # a look into an enumeration is slow


class Lane(Protocol):
    """What is needed of a lane; see `scheduler.Lane`."""

    priority: Priority
    queue: deque[JobHandle]
    back: deque[JobHandle]
    aside: dict[str | None, dict[JobHandle, None]]
    special: Callable[[Any], bool] | None
    may_start: Callable[[JobHandle], bool]

    def has_work(self) -> bool:
        """Whether a job waits that may run."""

    def go_on(self) -> bool:
        """The front is used up: go on with the back, if that is another one."""

    def passed_over(self) -> None:
        """The job at the front was cancelled: drop it."""


class Pausing:
    """What is paused in the lanes of one queue.

    Args:
        free: the jobs that are to run alone, and are not held.
        not_empty: notified when there may be more to take.

    Attributes:
        handlers, priorities: what is.
        suspects: the jobs that are to run alone, and are held.
    """

    def __init__(
        self, lanes: Sequence[Lane], free: deque[JobHandle], not_empty: WorkerCondition
    ) -> None:
        self.handlers: set[str] = set()
        self.priorities: set[Priority] = set()
        self.suspects: deque[JobHandle] = deque()
        self._lanes = lanes
        self._free = free
        self._not_empty = not_empty

    def holds(self, handle: JobHandle) -> bool:
        """Whether a job is not to be started: its handler, or its lane, is paused."""
        job = handle._job
        return job._handler in self.handlers or job._priority in self.priorities

    def held_count(self) -> int:
        """How many of the jobs that could run otherwise are held, if none runs."""
        held = sum(handle._status is _QUEUED for handle in self.suspects)
        for lane in self._lanes:
            if lane.special is not None:
                lane.has_work()  # what is held comes to the front, and is moved aside
                held += sum(map(len, lane.aside.values()))
                if lane.priority in self.priorities:
                    places = {*lane.queue, *lane.back}
                    held += sum(each._status is _QUEUED for each in places)
        return held

    # ── changes ──────────────────────────────────────────────────────────────────────────────

    def pause(self, handler: str | None, priority: Priority | None) -> None:
        """Hold the jobs of a handler, of a lane, or both. Again, it does what is left."""
        if handler is not None:
            self.handlers.add(handler)
        if priority is not None:
            self.priorities.add(priority)
        self._note()

    def resume(self, handler: str | None, priority: Priority | None) -> None:
        """Let them go on. Again, it does what is left."""
        if handler is not None:
            self.handlers.discard(handler)
            for lane in self._lanes:
                _put_back(lane, handler)
        if priority is not None:
            self.priorities.discard(priority)
        self._note()

    def _note(self) -> None:
        """Have the lanes, and the jobs that are to run alone, be as is told above."""
        for lane in self._lanes:
            is_special = self.handlers or lane.priority in self.priorities
            lane.special = self.look if is_special else None
        free, held = self._free, self.suspects
        for handle in [*free, *held]:
            now, then = (held, free) if self.holds(handle) else (free, held)
            if handle not in now:
                now.append(handle)
            if handle in then:
                then.remove(handle)
        # guard: what may go on again is looked at
        self._not_empty.notify_all()

    # ── what the lanes ask ───────────────────────────────────────────────────────────────────

    def look(self, lane: Lane) -> bool:
        """Whether a job waits at the front of a lane that may run; moves aside those that may not.

        If it is broken off, a job may be in two places: it is the front here and the last aside.
        """
        # guard: a paused lane gives out nothing
        if lane.priority in self.priorities:
            return False
        while lane.queue or lane.go_on():
            jobs = lane.queue
            first = jobs[0]
            if first._status is not _QUEUED:
                lane.passed_over()
                continue
            name = first._job._handler
            # guard: a job of a paused handler is moved aside
            if name in self.handlers:
                lane.aside.setdefault(name, {})[first] = None
                jobs.popleft()
            elif first._ties is None or lane.may_start(first):
                return True
            else:
                jobs.popleft()
        return False


def _put_back(lane: Lane, handler: str) -> None:
    """Put the jobs that were moved aside at the front of their lane. Again, what is left of it."""
    aside = lane.aside.get(handler)
    if aside is None:
        return
    jobs, waiting = lane.queue, list(aside)
    if len(waiting) > 1 and jobs and jobs[0] is waiting[-1]:  # `look` was broken off
        jobs.popleft()
    # guard: jobs that were moved aside go back once
    #   without: if True:
    if waiting and not (jobs and jobs[0] is waiting[0]):
        jobs.extendleft(reversed(waiting))
    lane.aside.pop(handler, None)


class Steer:
    """A change: pause or resume a handler, a lane, or both."""

    record: Record | None = None
    freed_bytes = 0
    ended: JobHandle | None = None

    def __init__(
        self,
        pausing: Pausing,
        bindings: Bonds,
        handler: str | None,
        priority: Priority | None,
        *,
        pauses: bool,
    ) -> None:
        self._pausing = pausing
        self._handler = handler
        self._priority = priority
        self._bindings = bindings
        self._pauses = pauses

    def finish(self) -> None:
        """See `Change`."""
        if self._pauses:
            self._pausing.pause(self._handler, self._priority)
            # guard: a job that is paused holds up none that goes by the same limit
            self._bindings.withdraw(self._pausing.holds)
        else:
            self._pausing.resume(self._handler, self._priority)
