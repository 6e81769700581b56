"""The jobs of one priority that wait for a worker, first in, first out.

Relies on: the queue's mutex, held by the caller of every method but `put` and `get`.
"""

from __future__ import annotations

import queue
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from ..model.job import Priority
from ..model.transitions import Status
from ..runtime.clock import SystemClock
from ..runtime.parking import Parker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.handle import JobHandle
    from ..runtime.mutex import Mutex, WorkerCondition
    from ..runtime.parking import Wakeable

_QUEUED = Status.QUEUED  # a look into an enumeration is slow
_PATIENCE_SECONDS = 0.25
_SWEPT_AT_ONCE = 500
_PASSED_OVER_AT_ONCE = 3
_STALE_MIN = 100


class _Mark:
    """What stands in a lane for no job; as one that was cancelled it is passed over."""

    _status = Status.CANCELLED
    _ties = None


_MARK = cast("JobHandle", _Mark())


class Lane(queue.Queue["JobHandle"]):
    """The jobs of one priority that can run now.

    It is a `queue.Queue`, but all lanes share one mutex and one not-empty condition, so that a
    worker waits for all of them at once. The room that producers wait for is counted apart from
    the length: retries, replayed and requeued jobs take no room.
    """

    def __init__(
        self,
        size: int,
        mutex: Mutex,
        not_empty: WorkerCondition,
        priority: Priority = Priority.MEDIUM,
    ) -> None:
        super().__init__(size)
        self.priority = priority
        self.queue: deque[JobHandle]
        self.back = self.queue
        """Where jobs are added; while cancelled ones are swept out, another one than the front."""
        self.mutex = mutex  # type: ignore[assignment]  # typeshed wants a plain lock
        self.not_empty = not_empty  # type: ignore[assignment]  # and a Condition of one
        self.room = size
        """Places left for new jobs; below 0 never."""
        self.tokens = 0
        """How many more jobs of higher lanes may overtake this one."""
        self._stale = 0
        """How many of its entries have been cancelled, at most; those are only passed over."""
        self._cancelled = self._swept_of = 0  # all that were counted, and those before the sweep
        self.is_swept = False
        """Whether a sweep goes on, or is about to."""
        self.special: Callable[[Any], bool] | None = None
        """Looks in place of `has_work` whether a job may run, while some may not (`Pausing`)."""
        self.aside: dict[str | None, dict[JobHandle, None]] = {}
        """The jobs that came to the front and may not run, by what holds them."""
        self.producers: deque[Wakeable] = deque()
        """The parkers of the producers that wait for room, in order."""
        self.on_its_way: Wakeable | None = None
        """The producer's thread that was woken and has not looked yet."""
        self.may_start: Callable[[JobHandle], bool] = bool
        """Whether a job that is tied may start; if not, it has stepped aside. Set by `Bindings`."""
        self._patience = 0.0
        """Until when it is waited for, on the system's monotonic clock."""

    def put(self, item: JobHandle, block: bool = True, timeout: float | None = None) -> None:
        """Add a job at the back and wake a worker; never blocks: room is its caller's concern."""
        del block, timeout
        with self.mutex:
            self.back.append(item)
            self.not_empty.notify()

    def get(self, block: bool = True, timeout: float | None = None) -> JobHandle:
        """Take the job at the front; workers take theirs by `FairScheduler.take` instead.

        Raises:
            queue.Empty: there is none; this does not wait.
        """
        del block, timeout
        with self.mutex:
            if not self.has_work():
                raise queue.Empty
            return self.queue.popleft()

    def has_work(self) -> bool:
        """Whether a job waits that may start; takes others from the front."""
        if self.special is not None:
            return self.special(self)
        jobs = self.queue
        while jobs:
            first = jobs[0]
            if first._status is not _QUEUED:
                jobs.popleft()
                self._stale -= 1
            elif first._ties is None or self.may_start(first):
                return True
            else:
                jobs.popleft()
        return self.go_on() and self.has_work()

    def go_on(self) -> bool:
        """The front is used up: go on with the back, if that is another one. Ends a sweep."""
        if self.back is self.queue:
            return False
        self.queue = self.back
        return True

    def tidy(self) -> None:
        """`has_work` was broken off: a job that stepped aside may be here still."""
        ties = self.queue[0]._ties if self.queue else None
        if ties is not None and ties.line is not None:
            self.queue.popleft()

    def passed_over(self) -> None:
        """The job at the front was cancelled: drop it."""
        self.queue.popleft()
        self._stale -= 1

    def cancelled_one(self, handle: JobHandle) -> bool:
        """A job was cancelled that may be in here: it is passed over.

        Returns:
            Whether there are so many of them that `sweep` is to be called, again and again.
        """
        for held in self.aside.values():
            if held.pop(handle, handle) is None:
                return False
        self._stale += 1
        self._cancelled += 1
        for _ in range(_PASSED_OVER_AT_ONCE):  # if all are cancelled in their order, none is swept
            if self.queue and self.queue[0]._status is not _QUEUED:
                self.passed_over()
        if not self.queue:
            self.go_on()
        return not self.is_swept and self._has_many_stale()

    def _has_many_stale(self) -> bool:
        entries = len(self.queue) + (len(self.back) if self.back is not self.queue else 0)
        return self._stale > _STALE_MIN and self._stale * 2 > entries

    def sweep(self) -> bool:
        """Drop some of the cancelled ones; returns whether to go on. By the timer's thread.

        With a million jobs it takes long, and workers take jobs meanwhile. So it moves those that
        wait from the back to a new front, some in each hold of the mutex. A mark at the end of that
        front has it never be empty: a worker that comes to it goes on with the rest of the back.
        """
        if self.back is self.queue:
            if not self._has_many_stale():
                self.is_swept = False
                return False
            self.queue = deque([_MARK])
            self._stale += 1
            self._swept_of = self._cancelled
        front, back = self.queue, self.back
        front.pop()
        for _ in range(min(len(back), _SWEPT_AT_ONCE)):
            handle = back.popleft()
            if handle._status is _QUEUED:
                front.append(handle)
            else:
                self._stale -= 1
        # guard: a front that is swept is never empty
        #   without: if True:
        if back:
            front.append(_MARK)
        else:
            self.back = front
            # guard: a sweep comes to an end, though some of those that were counted were not here
            #   without: self._stale -= 1
            self._stale = self._cancelled - self._swept_of
        return True

    def wake_producer(self) -> None:
        """Wake the first producer that waits, unless another thread is on its way to the room.

        That one takes what it needs and calls this again. If handlers compute, it is a while until
        it has the GIL, with many places free by then. Were a thread woken for each, all of them
        would struggle for the mutex, most for nothing. A thread that is held up is not waited for
        for ever, and a coroutine never, because its loop may be busy.
        """
        if self.room > 0 and self.producers:
            # guard: a producer that is held up does not hold up the line
            #   without: if self.on_its_way is not None:
            if self.on_its_way is not None and SystemClock.monotonic() < self._patience:
                return
            first = self.producers[0]
            first.unpark()  # before it is taken out: no interrupt forgets it
            # guard: one producer at a time is woken for room
            #   without: self.on_its_way = None
            self.on_its_way = first if type(first) is Parker else None
            self._patience = SystemClock.monotonic() + _PATIENCE_SECONDS
            self.producers.popleft()

    def looks(self, producer: Wakeable) -> None:
        """A producer has come to look, woken or not, or will not look any more."""
        # guard: a producer that has looked is not on its way
        if self.on_its_way is producer:
            self.on_its_way = None

    def wake_producers(self) -> None:
        """Wake all producers that wait, to look whether the queue still takes jobs."""
        for parker in self.producers:
            parker.unpark()
        self.producers.clear()

    def oldest(self) -> JobHandle | None:
        """The job that has waited longest, whether or not it may run."""
        fronts = [_first(jobs) for jobs in (self.queue, self.back, *self.aside.values())]
        waiting = [handle for handle in fronts if handle is not None]
        return min(waiting, key=attrgetter("_since"), default=None)


def _first(jobs: Iterable[JobHandle]) -> JobHandle | None:
    for job in jobs:
        if job._status is _QUEUED:
            return job
    return None
