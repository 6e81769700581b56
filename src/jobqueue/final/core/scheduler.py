"""Which job runs next: one lane per priority, strict order, and tokens so that nothing starves.

Guarantees: while a lower lane has work, at most `fairness` jobs of higher lanes are taken between
two of its own. One turn of another lower lane may come on top. First in, first out inside a lane.
No wake-up is lost, and at most one is in flight.
Relies on: the queue's mutex, held by the caller of every method unless it says otherwise. Only
worker threads, which never see signals, wait here.
"""

from __future__ import annotations

import queue
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from ..model.job import Priority
from ..model.transitions import Status
from ..runtime.clock import SystemClock
from ..runtime.mutex import WorkerCondition
from ..runtime.parking import Parker
from .pausing import Pausing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.handle import JobHandle
    from ..runtime.mutex import Mutex
    from ..runtime.parking import Wakeable
    from .unfinished import Change

_QUEUED = Status.QUEUED  # a look into an enumeration is slow
_PATIENCE_SECONDS = 0.25
_SWEPT_AT_ONCE = 500
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
        self._cancelled = self._swept_of = 0  # all that were counted, and those before the sweep
        self.is_swept = False
        """Whether a sweep goes on, or is about to."""
        """How many of its entries have been cancelled, at most; those are only passed over."""
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
        while self.queue and self.queue[0]._status is not _QUEUED:
            self.passed_over()  # if all are cancelled in their order, none is swept
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


def _ignore(handle: JobHandle) -> None:
    del handle


class FairScheduler:
    """The lanes and the choice between them.

    The bound comes from tokens. Each lower lane that has work pays one token for every job that
    overtakes it. It is served when its tokens are spent, and gets new ones then.

    Args:
        mutex: the queue's mutex.
        size: places in each lane.
        fairness: tokens.
        reserved: how many workers are kept for High.
    """

    def __init__(self, mutex: Mutex, *, size: int, fairness: int, reserved: int = 0) -> None:
        self.mutex = mutex
        self.reserved = reserved
        self.is_at_reserve: Callable[[], bool] = bool
        """Whether Medium and Low have all workers that are not reserved; set by `Seats`."""
        self.not_empty = WorkerCondition(mutex)
        """Notified when work is added, and by `stop`, `resume` and the end of an isolated job."""
        self.lanes = tuple(Lane(size, mutex, self.not_empty, each) for each in Priority)
        self.high, self.medium, self.low = self.lanes
        self.medium.tokens = self.low.tokens = fairness
        self.fairness = fairness
        self.suspects: deque[JobHandle] = deque()
        """Jobs that may have killed the process: each runs alone, before all others."""
        self.isolated_job: JobHandle | None = None
        """The one of them that runs now."""
        self.count_running: Callable[[], int] = int
        """How many attempts go on, except those that wait for room; set by `Seats`."""
        self.on_isolated: Callable[[JobHandle], None] = _ignore
        """Told of each job that is about to run alone; set by `Isolation`, as is the next."""
        self.on_held_up: Callable[[JobHandle], None] = _ignore
        """Told of a job that is to run alone while others run still."""
        self.paused = False
        self.pausing = Pausing(self.lanes, self.suspects, self.not_empty)
        """What else is paused: single lanes and handlers."""
        self.stopped = False
        self.taken: JobHandle | None = None
        """The job that was given out last, until its attempt has begun."""
        self._sleepers = self.not_empty.sleepers
        self._waking = False  # whether one of them has been woken and has not looked yet

    def push(self, handle: JobHandle, now: float) -> None:
        """Put a job at the back of its lane, and wake a worker if one waits."""
        append = self.lanes[handle._job._priority].back.append
        handle._since = now  # one step
        append(handle)
        if self._sleepers and not self._waking:
            self._wake()

    def push_suspect(self, handle: JobHandle, now: float) -> None:
        """Queue a job that is to run alone."""
        # guard: a job of a paused handler that is to run alone keeps no other out
        #   without: suspects = self.suspects
        suspects = self.pausing.suspects if self.pausing.holds(handle) else self.suspects
        append = suspects.append
        handle._since = now  # one step
        append(handle)
        if self._sleepers:
            self._wake()

    def remove_suspect(self, handle: JobHandle) -> None:
        """A job that was to run alone is cancelled. Again, or if it is none, it does nothing."""
        for suspects in (self.suspects, self.pausing.suspects):
            if handle in suspects:
                suspects.remove(handle)
                self.look_at_suspects()

    def rouse(self) -> None:
        """Wake a worker if one sleeps beside a job that an interrupted thread has brought."""
        if self._sleepers and not self._waking and self._has_more():
            self._wake()

    def look_at_suspects(self) -> None:
        """A suspect may be gone, or nothing else run any more: have the workers look again."""
        self.not_empty.notify_all()

    def isolated_job_ended(self) -> None:
        """The job that ran alone has ended its attempt: the others may go on."""
        self.isolated_job = None
        self.not_empty.notify_all()

    def _wake(self) -> None:
        self.not_empty.notify()
        self._waking = True

    def take(self, change: Change | None = None, parker: Parker | None = None) -> JobHandle | None:
        """The next job, waiting for it; `None` when the workers are to end. Worker threads only.

        Args:
            change: is unfinished from when a job is taken; its caller sees to the rest.
            parker: what the thread sleeps in; a new one if there is none.
        """
        while not self.stopped:
            self.mutex.unfinished = change
            handle = self.take_ready()
            if handle is not None:
                return handle
            self.mutex.unfinished = None
            self.not_empty.wait(parker or Parker())
            self.mutex.settle()
            # guard: loop around the wait of a worker
            #   without: self._waking = False
            #   without: return self.take_ready()
            self._waking = False
        return None

    def get_up(self, parker: Parker) -> None:
        """The thread that sleeps in it was broken off, wherever that was: it waits no more."""
        if parker in self._sleepers:
            self._sleepers.remove(parker)
        # guard: a worker that was hit as it was woken leaves no wake-up under way
        self._waking = False
        self.rouse()

    def put_back(self) -> None:
        """A job was given out, and its attempt was not begun. Again, it does what is left."""
        for lane in self.lanes:
            lane.tidy()
        handle = self.taken
        if handle is None:
            return
        if handle is self.isolated_job:
            if handle not in self.suspects:
                self.suspects.appendleft(handle)
            self.isolated_job = None
        elif handle._status is _QUEUED:
            jobs = self.lanes[handle._job._priority].queue
            # guard: a job that was taken and not begun goes back to the front
            if not (jobs and jobs[0] is handle):
                jobs.appendleft(handle)
        self.taken = None

    def lie_down(self, sleeper: Wakeable) -> None:
        """For what cannot wait in `take`, as an event loop: have it woken when there is work."""
        self._sleepers.append(sleeper)

    def rise(self, sleeper: Wakeable) -> None:
        """It looks for work again: it was woken, or something else brought it here."""
        self._waking = False
        if sleeper in self._sleepers:
            self._sleepers.remove(sleeper)

    def take_ready(self) -> JobHandle | None:
        """The next job that may run now, if there is one; does not wait."""
        if self.paused or self.stopped:
            return None
        handle = self._choose()
        # guard: a worker that was woken wakes the next
        if handle is not None and self._sleepers and not self._waking and self._has_more():
            self._wake()
        return handle

    def _choose(self) -> JobHandle | None:
        if self.suspects or self.isolated_job is not None:
            return self._choose_suspect()
        high, medium, low = self.lanes
        # A lane's deque is looked at first: `has_work` is called only if it has entries.
        medium_waits = medium.queue and medium.has_work()
        low_waits = low.queue and low.has_work()
        # guard: workers are reserved for High
        if self.reserved and (medium_waits or low_waits) and self.is_at_reserve():
            medium_waits = low_waits = False
        if medium_waits and medium.tokens <= 0:
            return self._serve(medium, low if low_waits else None)
        if low_waits and low.tokens <= 0:
            return self._serve(low, None)
        if high.queue and high.has_work():
            if medium_waits:
                medium.tokens -= 1
            if low_waits:
                low.tokens -= 1  # guard: a lane's tokens are spent
            self.taken = high.queue[0]
            return high.queue.popleft()
        if medium_waits:
            return self._serve(medium, low if low_waits else None)
        if low_waits:
            return self._serve(low, None)
        return None

    def _choose_suspect(self) -> JobHandle | None:
        """The next job that runs alone, once nothing else runs."""
        # guard: a suspect runs alone
        #   without: if self.isolated_job is None:
        if self.isolated_job is None and self.count_running() == 0:
            handle = self.taken = self.isolated_job = self.suspects[0]
            self.suspects.popleft()
            self.on_isolated(handle)
            return handle
        if self.isolated_job is None:
            self.on_held_up(self.suspects[0])  # guard: attempts that hang keep no suspect out
        return None

    def _serve(self, lane: Lane, overtaken: Lane | None) -> JobHandle:
        lane.tokens = self.fairness  # guard: refill of a lane's tokens
        if overtaken is not None:
            overtaken.tokens -= 1
        self.taken = lane.queue[0]
        return lane.queue.popleft()

    def _has_more(self) -> bool:
        if self.isolated_job is not None:
            return False
        return any(lane.queue and (lane.special is None or lane.has_work()) for lane in self.lanes)

    def pause(self) -> None:
        """Give out no more jobs until `resume`."""
        self.paused = True

    def resume(self) -> None:
        """Give out jobs again."""
        self.paused = False
        self.not_empty.notify_all()

    def stop(self) -> None:
        """Give out no more jobs, ever: `take` returns `None`."""
        self.stopped = True
        self.not_empty.notify_all()

    def _check(self) -> None:
        """Assert the invariants; used by randomised tests."""
        for lane in self.lanes:
            places = lane.queue if lane.back is lane.queue else (*lane.queue, *lane.back)
            stale = sum(job._status is not _QUEUED for job in places)
            assert lane.queue or not lane.back
            assert stale <= lane._stale, (stale, lane._stale)
            assert 0 <= lane.room <= lane.maxsize
        for lane in (self.medium, self.low):
            assert -1 <= lane.tokens <= self.fairness
