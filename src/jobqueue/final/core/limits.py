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
from heapq import heappush
from typing import TYPE_CHECKING

from ..model.job import Priority
from ..model.limits import Limit
from ..model.transitions import Status
from ..timing.timer import tick_after
from .dependencies import ties_of
from .turnstiles import NOWHERE, Bucket, Line, Refill, Turnstile, sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import JobHandle
    from ..model.handlers import Handler
    from ..model.limits import Rate
    from ..runtime.clock import Clock
    from ..runtime.mutex import Mutex
    from ..timing.timer import Timer
    from .scheduler import FairScheduler

_QUEUED = Status.QUEUED  # a look into an enumeration is slow


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
        self._whole: dict[Limit | None, Turnstile] = {}  # of limits without keys, besides
        self._places = 0  # given to jobs that have stepped aside
        self._ajar: deque[Turnstile] = deque()  # opened, and their lines not looked after yet
        # By lane: those that have passed and are to start, in order; and the one in the lane.
        self._passed: tuple[deque[JobHandle], ...] = tuple(deque() for _ in Priority)
        self._in_front: list[JobHandle | None] = [None for _ in Priority]
        # The job that leaves the line of one, until it is in its lane, or in the line of another.
        self._moving: tuple[JobHandle, Turnstile, Turnstile | None] | None = None

    # ── at the front of a lane ───────────────────────────────────────────────────────────────

    def may_start(self, handle: JobHandle) -> bool:
        """Whether a job at the front of its lane may start. If not, it has stepped aside."""
        ties, call = handle._ties, handle._call
        if ties is None or call is None or not call.is_limited or ties.passed is not None:
            return True
        if ties.line is not None:  # it had stepped aside, and was left here
            return False
        whole = self._whole.get(call.limit)
        if whole is not None and whole.used < whole.max and not whole.waiting:
            return True  # mostly so: `_closed`, without a call
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
            # guard: a job does not pass those that wait for the same limit
            if turnstile.waiting:
                return turnstile
            if turnstile.is_limit:
                if turnstile.used >= turnstile.max:  # guard: a limit is kept
                    return turnstile
            # guard: a rate is kept
            elif not turnstile.is_open(self._clock.monotonic()):
                return turnstile
        return None

    def start(self, handle: JobHandle) -> None:
        """An attempt begins: it passes through, if it has not yet. Again, it does nothing."""
        ties, call = handle._ties, handle._call
        if ties is None or call is None:
            return
        if ties.passed is None:
            turnstile = self._whole.get(call.limit)
            if turnstile is None:
                self._pass(handle, call)
            else:  # mostly so: `_pass`, without a call
                ties.passed = turnstile  # one step
                turnstile.used += 1
        if ties.reserved is not None:
            self._spend(handle, ties.reserved)
        lane = handle._job._priority
        if self._in_front[lane] is handle or self._passed[lane]:
            self._gone_from_front(handle)

    def _spend(self, handle: JobHandle, bucket: Bucket) -> None:
        """The job takes the token that it has reserved: it starts."""
        now, ties = self._clock.monotonic(), ties_of(handle)
        tokens = bucket.tokens_at(now)
        ties.reserved = None  # one step
        bucket.reserved -= 1
        bucket.counted = now
        bucket.tokens = tokens - 1.0
        if bucket.waiting:
            self._await_token(bucket)

    def _pass(self, handle: JobHandle, call: Handler) -> None:
        """The job goes through all that are ahead of it, at once.

        It takes a rate's token when it starts, and reserves it until then: otherwise those that
        have passed, and wait for a worker, would start at a stroke.
        """
        ties, plan = ties_of(handle), handle._job._plan
        limit = bucket = None
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
                bucket = turnstile
            else:
                limit = turnstile
        ties.passed = limit or NOWHERE  # one step
        if limit is not None:
            limit.used += 1
        if bucket is not None:
            ties.reserved = bucket
            bucket.reserved += 1

    def _make(self, rule: Limit | Rate, key: str | None) -> Turnstile:
        by_key = self._turnstiles.setdefault(rule, {})
        if isinstance(rule, Limit):
            turnstile = by_key[key] = Turnstile(rule, key)
            if key is None:
                self._whole[rule] = turnstile
        else:
            now = self._clock.monotonic()
            sweep(by_key, now)
            turnstile = by_key[key] = Bucket(rule, key, now)
        return turnstile

    def _step_aside(
        self, handle: JobHandle, turnstile: Turnstile, left: Turnstile | None = None
    ) -> None:
        """Into the line of a turnstile, perhaps out of that of another one."""
        ties, lane = ties_of(handle), handle._job._priority
        if isinstance(turnstile, Bucket):
            self._await_token(turnstile)  # first: an interruption has no job wait for nothing
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

    # ── when it has ended ────────────────────────────────────────────────────────────────────

    def release(self, handle: JobHandle) -> None:
        """An attempt has ended, or a job that had passed was cancelled. Again, it does nothing."""
        ties = ties_of(handle)
        turnstile, bucket = ties.passed, ties.reserved
        if bucket is not None:  # it was cancelled before it started
            ties.reserved = None  # one step
            bucket.reserved -= 1
            self._ajar.append(bucket)
        if turnstile is NOWHERE:
            ties.passed = None
        elif turnstile is not None:
            ties.passed = None  # one step
            turnstile.used -= 1
            # guard: an attempt that ends lets the next one through
            if turnstile.waiting:
                self._ajar.append(turnstile)
            # guard: keys of a limit that are not needed are forgotten
            elif turnstile.key is not None and not turnstile.used:  # as `_tidy`, in the same step
                self._turnstiles[turnstile.rule].pop(turnstile.key, None)
        if self._ajar:
            self.settle()

    def _tidy(self, turnstile: Turnstile) -> None:
        """A key of a limit that nothing goes by any more goes; a new one would be the same."""
        if turnstile.key is not None and not turnstile.used and not turnstile.waiting:
            self._turnstiles[turnstile.rule].pop(turnstile.key, None)

    def take_out(self, handle: JobHandle) -> None:
        """A job that waits is cancelled. Its entry in the line is passed over from now on."""
        self.aside[handle._job._priority].pop(handle, None)
        self._leave_line(handle)
        self._gone_from_front(handle)
        self.release(handle)

    def _leave_line(self, handle: JobHandle) -> None:
        ties = ties_of(handle)
        turnstile = ties.line
        if turnstile is not None:
            ties.line = None  # one step
            turnstile.waiting -= 1
            turnstile.left_one()

    def settle(self) -> None:
        """Let those through whose turn it is, at all turnstiles that have opened."""
        self._move()
        while self._ajar:
            self._let_through(self._ajar[0])
            self._ajar.popleft()

    def _let_through(self, turnstile: Turnstile) -> None:
        """Have jobs pass for as long as it is open and any wait."""
        now = self._clock.monotonic()
        line = turnstile.line
        while line is not None and turnstile.waiting and turnstile.is_open(now):
            heap = line.lanes[turnstile.next_lane(line, self._scheduler.fairness)]
            handle = heap[0][1]
            call = handle._call
            closed = None if call is None else self._closed(handle, call, turnstile)
            self._moving = handle, turnstile, closed
            self._move()
        if isinstance(turnstile, Bucket):
            if turnstile.waiting:
                self._await_token(turnstile)
        else:
            self._tidy(turnstile)

    def _move(self) -> None:
        """The job that leaves a line goes to another one's, or passes. Again, it does the rest."""
        if self._moving is None:
            return
        handle, turnstile, closed = self._moving
        ties, call = ties_of(handle), handle._call
        if ties.line is turnstile:
            ties.line = None  # one step
            turnstile.waiting -= 1
            if turnstile.line is not None:
                turnstile.line.stale += 1
        if closed is None:
            if call is not None and ties.passed is None:
                self._pass(handle, call)
            self._let_in(handle)
        elif ties.line is None:
            self._step_aside(handle, closed)
        self._moving = None

    def _let_in(self, handle: JobHandle) -> None:
        """A job has passed: it goes to the front of its lane, behind others that have."""
        lane = handle._job._priority
        passed = self._passed[lane]
        self.aside[lane].pop(handle, None)
        if not (passed and passed[-1] is handle) and self._in_front[lane] is not handle:
            passed.append(handle)
        ties_of(handle).place = 0
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
        """A job that stepped aside goes to the front of its lane. Again, it does nothing."""
        lane = handle._job._priority
        jobs = self._scheduler.lanes[lane].queue
        ties_of(handle).place = 0
        if not (jobs and jobs[0] is handle):
            jobs.appendleft(handle)
        self.aside[lane].pop(handle, None)
        self._scheduler.rouse()

    # ── what opens by itself, or is taken away ───────────────────────────────────────────────

    def _await_token(self, turnstile: Bucket) -> None:
        """Have the timer call when a rate's next token is there."""
        if turnstile.refill is not None or turnstile.reserved >= turnstile.max:
            return  # with all tokens reserved the next start does this
        now = self._clock.monotonic()
        refill = Refill(self._refilled, turnstile)
        self.timer.schedule(refill, tick_after(now + turnstile.seconds_to_token(now)))
        turnstile.refill = refill  # last: an interruption forgets no token

    def _refilled(self, turnstile: Bucket) -> None:
        """A token is there. On the timer's thread, with the timer's lock; not the mutex."""
        with self._mutex:
            self._mutex.settle()
            turnstile.refill = None
            self._let_through(turnstile)

    def replaced(self, handler: Handler) -> None:
        """Jobs that wait are to be run by this handler now: have them look for its limits."""
        for lane in self.aside:
            # guard: jobs that are taken over by another handler keep their order
            #   without: for handle in [each for each in lane if each._call is handler]:
            for handle in reversed([each for each in lane if each._call is handler]):
                self._leave_line(handle)
                self._put_in_front(handle)

    def withdraw(self, holds: Callable[[JobHandle], bool]) -> None:
        """Jobs are paused: they are in their lanes again, as if they had just come to the front.

        There they are held, or, once they are resumed, look for their limits anew, in their order.
        """
        for lane, aside in enumerate(self.aside):
            for handle in reversed([each for each in aside if holds(each)]):
                self._leave_line(handle)
                self._put_in_front(handle)
            front, passed = self._in_front[lane], self._passed[lane]
            first = () if front is None else (front,)
            for handle in reversed([each for each in (*first, *passed) if holds(each)]):
                self._withdraw_passed(handle)

    def _withdraw_passed(self, handle: JobHandle) -> None:
        """A job that has passed, and waits for a worker, is as if it had not."""
        lane = handle._job._priority
        jobs = self._scheduler.lanes[lane].queue
        if self._in_front[lane] is handle and handle in jobs:
            jobs.remove(handle)  # it is put before those that come after it
        if handle._status is _QUEUED:
            self._put_in_front(handle)
        self.release(handle)
        if self._in_front[lane] is handle:
            self._in_front[lane] = None  # last: an interruption forgets none
        elif handle in self._passed[lane]:
            self._passed[lane].remove(handle)
        self._fill_front(lane)

    @property
    def waiting(self) -> list[int]:
        """How many jobs of each lane wait in lines."""
        return [len(lane) for lane in self.aside]
