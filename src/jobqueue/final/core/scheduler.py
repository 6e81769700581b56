"""Which job runs next: one lane per priority, strict order, and tokens so that nothing starves.

Guarantees: while a lower lane has work, at most `fairness` jobs of higher lanes are taken between
two of its own. One turn of another lower lane may come on top. First in, first out inside a lane.
No wake-up is lost, and at most one is in flight.
Relies on: the queue's mutex, held by the caller of every method unless it says otherwise. Only
worker threads, which never see signals, wait here.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..model.job import Priority
from ..model.transitions import Status
from ..runtime.mutex import WorkerCondition
from ..runtime.parking import Parker
from .lane import Lane
from .pausing import Pausing

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import JobHandle
    from ..runtime.mutex import Mutex
    from ..runtime.parking import Wakeable
    from .unfinished import Change

_QUEUED = Status.QUEUED  # a look into an enumeration is slow


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
