"""Limits and rates: which jobs may not start yet, and who lets them.

Each `Limit` or `Rate`, or each key of one, is a turnstile. A job whose handler has some goes
through all of them when its attempt begins. If one is closed when the job is at the front of its
lane, it steps aside, into the line of that turnstile. So it holds no worker and delays no other.

When a turnstile opens, the first in its line passes through it at once, and then waits at the front
of its lane for a worker: no other job can come between. Those that have passed and wait for workers
start in the order in which they passed; one of them at a time is in the lane.

A line is in order of the lanes, High first, and serves a lower lane after at most `fairness` jobs
of higher ones, as the lanes do; within a lane in the order in which jobs stepped aside, which is
the order in which they came.

A job with both a `Limit` and a `Rate` passes through both at once, or waits at the first that is
closed. If the other one is closed when that opens, it moves to the other's line, with its place.

Guarantees: no more attempts at once than a limit says, but for jobs that run alone (suspects). No
job stays in the line of a turnstile that is open.
Relies on: the queue's mutex, held by the caller of every method but `_refilled`. What a thread may
be hit in is made of steps that may be done again, as `unfinished.py` tells.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING

from ..model.job import Priority
from ..model.limits import Limit, Rate
from ..model.transitions import Status
from ..timing.timer import tick_after
from .dependencies import ties_of
from .turnstiles import Bucket, Line, Refill, Turnstile

if TYPE_CHECKING:
    from ..model.handle import JobHandle
    from ..model.handlers import Handler
    from ..runtime.clock import Clock
    from ..runtime.mutex import Mutex
    from ..timing.timer import Timer
    from .scheduler import FairScheduler

_QUEUED = Status.QUEUED  # a look into an enumeration is slow
_SWEPT_AT_ONCE = 2
_NOWHERE = Turnstile(Limit(1), None)  # what a job has passed that has a rate alone


class Limits:
    """All turnstiles of one queue.

    Attributes:
        aside: the jobs that wait in lines, by lane, those that stepped aside first coming first.
        timer: set by the queue.
    """

    timer: Timer

    def __init__(self, mutex: Mutex, clock: Clock, scheduler: FairScheduler) -> None:
        self.aside: tuple[dict[JobHandle, None], ...] = tuple({} for _ in Priority)
        self._mutex = mutex
        self._clock = clock
        self._scheduler = scheduler
        self._turnstiles: dict[Limit | Rate, dict[str | None, Turnstile]] = {}
        self._places = 0  # given to jobs that have stepped aside
        self._ajar: deque[Turnstile] = deque()  # opened, and their lines not looked after yet
        # By lane: those that have passed and are to start, in order; and the one in the lane.
        self._passed: tuple[deque[JobHandle], ...] = tuple(deque() for _ in Priority)
        self._in_front: list[JobHandle | None] = [None for _ in Priority]

    # ── at the front of a lane ───────────────────────────────────────────────────────────────

    def may_start(self, handle: JobHandle) -> bool:
        """Whether a job at the front of its lane may start. If not, it has stepped aside."""
        ties, call = handle._ties, handle._call
        if ties is None or call is None or not call.is_limited or ties.passed is not None:
            return True
        if ties.line is not None:  # it had stepped aside, and was left here
            return False
        closed = self._closed(handle, call)
        if closed is None:
            return True
        self._step_aside(handle, closed)
        return False

    def _closed(
        self, handle: JobHandle, call: Handler, but: Turnstile | None = None
    ) -> Turnstile | None:
        """The first turnstile that the job cannot go through now; `but` that one."""
        plan = handle._job._plan
        for rule in call.policy.rules:
            key = None
            if rule._per_key:
                key = None if plan is None else plan.key
                if key is None:
                    continue
            by_key = self._turnstiles.get(rule)
            turnstile = None if by_key is None else by_key.get(key)
            if turnstile is None or turnstile is but:  # a new one would be open
                continue
            if turnstile.waiting:
                return turnstile
            if turnstile.is_limit:
                if turnstile.used >= turnstile.max:
                    return turnstile
            elif not turnstile.is_open(self._clock.monotonic()):
                return turnstile
        return None

    def start(self, handle: JobHandle) -> None:
        """An attempt begins: it passes through, if it has not yet. Again, it does nothing."""
        ties, call = handle._ties, handle._call
        if ties is not None and call is not None and ties.passed is None:
            self._pass(handle, call)
        self._gone_from_front(handle)

    def _pass(self, handle: JobHandle, call: Handler) -> None:
        """The job goes through all that are ahead of it, at once."""
        ties, plan = ties_of(handle), handle._job._plan
        limit = None
        for rule in call.policy.rules:
            key = None
            if rule._per_key:
                key = None if plan is None else plan.key
                if key is None:
                    continue
            by_key = self._turnstiles.get(rule)
            turnstile = None if by_key is None else by_key.get(key)
            if turnstile is None:
                turnstile = self._make(rule, key)
            if isinstance(turnstile, Bucket):
                now = self._clock.monotonic()
                tokens = turnstile.tokens_at(now)
                turnstile.counted = now  # one step
                turnstile.tokens = tokens - 1.0
            else:
                limit = turnstile
        if limit is None:
            ties.passed = _NOWHERE
        else:
            ties.passed = limit  # one step
            limit.used += 1

    def _make(self, rule: Limit | Rate, key: str | None) -> Turnstile:
        by_key = self._turnstiles.setdefault(rule, {})
        if isinstance(rule, Limit):
            turnstile = by_key[key] = Turnstile(rule, key)
        else:
            now = self._clock.monotonic()
            self._sweep(by_key, now)
            turnstile = by_key[key] = Bucket(rule, key, now)
        return turnstile

    def _sweep(self, by_key: dict[str | None, Turnstile], now: float) -> None:
        """Look at the oldest buckets, as a new one is made: those that are as if new go."""
        for key in tuple(islice(by_key, _SWEPT_AT_ONCE)):
            turnstile = by_key.pop(key)
            if isinstance(turnstile, Bucket) and not turnstile.is_idle(now):
                by_key[key] = turnstile

    def _step_aside(
        self, handle: JobHandle, turnstile: Turnstile, left: Turnstile | None = None
    ) -> None:
        """Into the line of a turnstile, perhaps out of that of another one."""
        ties, lane = ties_of(handle), handle._job._priority
        if not ties.place:
            self._places += 1
            ties.place = self._places
        if turnstile.line is None:
            turnstile.line = Line(self._scheduler.fairness)
        entry, heap = (ties.place, handle), turnstile.line.lanes[lane]
        self.aside[lane][handle] = None
        ties.line = turnstile  # one step
        turnstile.waiting += 1
        if left is not None:
            left.waiting -= 1
        heappush(heap, entry)
        if isinstance(turnstile, Bucket):
            self._await_token(turnstile)

    # ── when it has ended ────────────────────────────────────────────────────────────────────

    def release(self, handle: JobHandle) -> None:
        """An attempt has ended, or a job that had passed was cancelled. Again, it does nothing."""
        ties = ties_of(handle)
        turnstile, note = ties.passed, self._ajar.append
        if turnstile is _NOWHERE:
            ties.passed = None
        elif turnstile is not None:
            ties.passed = None  # one step
            turnstile.used -= 1
            if turnstile.waiting:
                note(turnstile)
            elif turnstile.key is not None and not turnstile.used:
                self._turnstiles[turnstile.rule].pop(turnstile.key, None)
        if self._ajar:
            self.settle()

    def take_out(self, handle: JobHandle) -> None:
        """A job that waits is cancelled. Its entry in the line is passed over from now on."""
        ties = ties_of(handle)
        self.aside[handle._job._priority].pop(handle, None)
        turnstile = ties.line
        if turnstile is not None:
            ties.line = None  # one step
            turnstile.waiting -= 1
            turnstile.left_one()
        self._gone_from_front(handle)
        self.release(handle)

    def settle(self) -> None:
        """Let those through whose turn it is, at all turnstiles that have opened."""
        while self._ajar:
            self._let_through(self._ajar[0])
            self._ajar.popleft()

    def _let_through(self, turnstile: Turnstile) -> None:
        """Have jobs pass for as long as it is open and any wait."""
        now = self._clock.monotonic()
        line = turnstile.line
        while line is not None and turnstile.waiting and turnstile.is_open(now):
            heap = line.lanes[self._next_lane(turnstile, line)]
            handle = heap[0][1]
            call = handle._call
            assert call is not None  # only jobs whose handler is known come here
            closed = self._closed(handle, call, turnstile)
            if closed is not None:  # another one
                self._step_aside(handle, closed, turnstile)
            else:
                self._let_in(handle, call, turnstile)
            heappop(heap)
        if isinstance(turnstile, Bucket):
            self._await_token(turnstile)

    def _next_lane(self, turnstile: Turnstile, line: Line) -> int:
        """The lane whose first job is next in line; entries that are none any more go."""
        chosen, turns = -1, line.turns
        for lane, heap in enumerate(line.lanes):
            while heap and ties_of(heap[0][1]).line is not turnstile:
                heappop(heap)
                line.stale -= 1
            if heap and (chosen < 0 or turns[lane] <= 0):
                chosen = lane
        for lane in range(chosen + 1, len(turns)):
            if line.lanes[lane]:
                turns[lane] -= 1
        turns[chosen] = self._scheduler.fairness
        return chosen

    def _let_in(self, handle: JobHandle, call: Handler, turnstile: Turnstile) -> None:
        """A job passes, and goes to the front of its lane, behind others that have passed."""
        ties, lane = ties_of(handle), handle._job._priority
        passed = self._passed[lane]
        self.aside[lane].pop(handle, None)
        if ties.passed is None:
            self._pass(handle, call)
        if not (passed and passed[-1] is handle):  # it was broken off
            passed.append(handle)
        ties.line = None  # one step
        turnstile.waiting -= 1
        ties.place = 0
        self._fill_front(lane)

    def _fill_front(self, lane: Priority) -> None:
        """Have the first of those that have passed be in the lane, if none of them is."""
        passed, jobs = self._passed[lane], self._scheduler.lanes[lane].queue
        while passed and self._in_front[lane] is None:
            handle = passed[0]
            ties = ties_of(handle)
            if handle._status is not _QUEUED or ties.passed is None or ties.line is not None:
                passed.popleft()  # it was cancelled
                continue
            if not (jobs and jobs[0] is handle):  # it was broken off
                jobs.appendleft(handle)
            self._in_front[lane] = handle  # one step
            del passed[0]
        self._scheduler.rouse()

    def _gone_from_front(self, handle: JobHandle) -> None:
        """A job has started, or was cancelled: the next that has passed comes into its lane."""
        lane = handle._job._priority
        if self._in_front[lane] is handle:
            self._in_front[lane] = None
        if self._passed[lane]:
            self._fill_front(lane)

    def _put_in_front(self, handle: JobHandle) -> None:
        put = self._scheduler.lanes[handle._job._priority].queue.appendleft
        ties_of(handle).place = 0
        put(handle)
        self._scheduler.rouse()

    # ── what opens by itself, or is taken away ───────────────────────────────────────────────

    def _await_token(self, turnstile: Bucket) -> None:
        """Have the timer call when a rate's next token is there, if any job waits for one."""
        if turnstile.refill is not None or not turnstile.waiting:
            return
        now = self._clock.monotonic()
        missing = max(0.0, 1.0 - turnstile.tokens_at(now))
        turnstile.refill = refill = Refill(self._refilled, turnstile)
        seconds = missing * turnstile.per / turnstile.max
        self.timer.schedule(refill, tick_after(now + seconds))

    def _refilled(self, turnstile: Bucket) -> None:
        """A token is there. On the timer's thread, with the timer's lock; not the mutex."""
        with self._mutex:
            self._mutex.settle()
            turnstile.refill = None
            self._let_through(turnstile)

    def replaced(self, handler: Handler) -> None:
        """Jobs that wait are to be run by this handler now: have them look for its limits."""
        for lane in self.aside:
            for handle in reversed([each for each in lane if each._call is handler]):
                self.take_out(handle)
                self._put_in_front(handle)

    @property
    def waiting(self) -> list[int]:
        """How many jobs of each lane wait in lines."""
        return [len(lane) for lane in self.aside]
