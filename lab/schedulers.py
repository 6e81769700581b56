"""Other ways to choose the next job, put into the final tier's queue in place of its tokens.

Everything else stays as it is (admission, workers, retries, counters), so that what differs between
two runs is the choice alone. They are here to be measured; nothing of this is meant for use.

Relies on: the queue has been made with `start=False` and has been given no job yet. It is in
memory: what a log brings back goes another way.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from itertools import count
from random import Random

from jobqueue.final import JobQueue, Priority
from jobqueue.final.core.lane import Lane
from jobqueue.final.core.scheduler import FairScheduler
from jobqueue.final.model.handle import JobHandle

Choice = Callable[[Mapping[Priority, JobHandle]], Priority]
"""Takes the first job of each lane that has one, and says which lane is served."""

UNBOUNDED = 10**9
"""Places of a queue that has no bound."""


class ChoosingScheduler(FairScheduler):
    """The lanes of the final tier, and somebody else's choice between them."""

    choice: Choice

    def _choose(self) -> JobHandle | None:
        first = {
            priority: handle
            for priority, lane in zip(Priority, self.lanes, strict=True)
            if (handle := lane.oldest()) is not None
        }
        return self.lanes[self.choice(first)].queue.popleft() if first else None


def choose_by(queue: JobQueue, choice: Choice) -> None:
    """Have a queue that has not been started choose its jobs like that."""
    scheduler = queue._scheduler
    scheduler.__class__ = ChoosingScheduler
    assert isinstance(scheduler, ChoosingScheduler)
    scheduler.choice = choice


def by_lot(lots: Mapping[Priority, int], random: Random) -> Choice:
    """Weighted choice: each lane with work has so many lots in the urn."""

    def choose(first: Mapping[Priority, JobHandle]) -> Priority:
        return random.choices(list(first), [lots[priority] for priority in first])[0]

    return choose


def by_age(head_start_seconds: float) -> Choice:
    """Ageing: a job rises by one priority for each `head_start_seconds` that it waits.

    The job that has risen highest is that with the earliest arrival, if each step down in priority
    counts as having arrived so much later: no clock is needed.
    """

    def choose(first: Mapping[Priority, JobHandle]) -> Priority:
        return min(first, key=lambda each: first[each]._since + each * head_start_seconds)

    return choose


class HeapScheduler(FairScheduler):
    """One heap for all, ordered by priority and, within one, by arrival; and one bound for all."""

    heap: list[tuple[int, int, JobHandle]]
    order: count[int]

    def push(self, handle: JobHandle, now: float) -> None:
        """Put a job where it belongs and wake a worker if one waits."""
        handle._since = now
        heapq.heappush(self.heap, (handle._job._priority, next(self.order), handle))
        if self._sleepers and not self._waking:
            self._wake()

    def _choose(self) -> JobHandle | None:
        return heapq.heappop(self.heap)[2] if self.heap else None

    def _has_more(self) -> bool:
        return bool(self.heap)


def use_one_heap(queue: JobQueue, size: int = UNBOUNDED) -> None:
    """Have a queue that has not been started keep all its jobs in one heap of `size` places."""
    scheduler = queue._scheduler
    scheduler.__class__ = HeapScheduler
    assert isinstance(scheduler, HeapScheduler)
    scheduler.heap, scheduler.order = [], count()
    shared = Lane(size, scheduler.mutex, scheduler.not_empty)  # counts the room, holds no job
    scheduler.lanes = queue._admission._lanes = (shared,) * len(Priority)
