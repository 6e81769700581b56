"""A limit or a rate, or one key of it, as what jobs go through; and the line of those that wait.

Relies on: the queue's mutex, held by the caller of every method.
"""

from __future__ import annotations

from heapq import heapify, heappop
from itertools import islice
from typing import TYPE_CHECKING

from ..model.job import Priority
from ..model.limits import Limit, Rate
from .dependencies import ties_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import JobHandle

_SWEPT_AT_ONCE = 2
_ALMOST_ONE = 1 - 1e-9  # of a token: sums of floats that should be whole ones are


class Line:
    """The jobs that wait at a turnstile.

    Attributes:
        lanes: a heap of places and jobs for each lane.
        turns: for each lane how many jobs of higher ones may be served before the next of its own.
        stale: how many entries stand for jobs that have left, at most.
    """

    __slots__ = ("lanes", "stale", "turns")

    def __init__(self, fairness: int) -> None:
        self.lanes: tuple[list[tuple[int, JobHandle]], ...] = tuple([] for _ in Priority)
        self.turns = [fairness] * len(Priority)
        self.stale = 0


class Turnstile:
    """A limit, or one key of it.

    Attributes:
        used: how many attempts have passed through and go on.
        waiting: how many jobs wait, in `line`.
    """

    __slots__ = ("key", "line", "max", "rule", "used", "waiting")
    is_limit = True

    def __init__(self, rule: Limit | Rate, key: str | None) -> None:
        self.rule = rule
        self.key = key
        self.max = rule.count
        self.used = self.waiting = 0
        self.line: Line | None = None

    def is_open(self, now: float) -> bool:
        """Whether an attempt may pass; whether others wait is not looked at."""
        del now
        return self.used < self.max

    def next_lane(self, line: Line, fairness: int) -> int:
        """The lane whose first job is next in line; entries that are none any more go."""
        chosen, turns = -1, line.turns
        for lane, heap in enumerate(line.lanes):
            while heap and not self.is_there(heap[0]):
                heappop(heap)
                line.stale -= 1
            if heap and (chosen < 0 or turns[lane] <= 0):
                chosen = lane
        for lane in range(chosen + 1, len(turns)):
            if line.lanes[lane]:
                turns[lane] -= 1
        turns[chosen] = fairness
        return chosen

    def left_one(self) -> None:
        """A job has left the line, and its entry is passed over: sweep, if those are many."""
        line = self.line
        if line is None:
            return
        line.stale += 1
        if line.stale > self.waiting:
            for heap in line.lanes:
                heap[:] = filter(self.is_there, heap)
                heapify(heap)
            line.stale = 0

    def is_there(self, entry: tuple[int, JobHandle]) -> bool:
        """Whether an entry of the line stands for a job that waits here.

        A job may have passed, been tried again, and be in the line once more, at another place.
        """
        place, handle = entry
        ties = ties_of(handle)
        return ties.line is self and ties.place == place  # guard: a job has one place in a line


class Bucket(Turnstile):
    """A rate, or one key of it.

    Attributes:
        tokens: how many attempts may begin, when last counted, which was at `counted` (seconds).
        reserved: how many of them are for jobs that have passed and wait for a worker.
        refill: what the timer calls when the next token is there, while any job waits for one.
    """

    __slots__ = ("counted", "per", "refill", "reserved", "tokens")
    is_limit = False

    def __init__(self, rule: Rate, key: str | None, now: float) -> None:
        super().__init__(rule, key)
        self.per = rule.per
        self.tokens = float(rule.count)
        self.counted = now
        self.reserved = 0
        self.refill: Refill | None = None

    def is_open(self, now: float) -> bool:
        """Whether an attempt may pass."""
        return self.tokens_at(now) - self.reserved >= _ALMOST_ONE

    def tokens_at(self, now: float) -> float:
        """How many tokens there are."""
        new = max(0.0, now - self.counted) * self.max / self.per
        # guard: a bucket holds no more than its tokens
        #   without: return self.tokens + new
        return min(float(self.max), self.tokens + new)

    def seconds_to_token(self, now: float) -> float:
        """In how many seconds there is a token that none has reserved."""
        missing = max(0.0, 1.0 + self.reserved - self.tokens_at(now))
        return missing * self.per / self.max

    def is_idle(self, now: float) -> bool:
        """Whether a new one would be the same."""
        return not (self.waiting or self.reserved) and self.tokens_at(now) >= self.max


def sweep(by_key: dict[str | None, Turnstile], now: float) -> None:
    """Look at the oldest buckets, as a new one is made: those that are as if new go."""
    for key in tuple(islice(by_key, _SWEPT_AT_ONCE)):
        turnstile = by_key.pop(key)
        if isinstance(turnstile, Bucket) and not turnstile.is_idle(now):
            by_key[key] = turnstile


NOWHERE = Turnstile(Limit(1), None)
"""What a job has passed that has no limit, but perhaps a rate."""


class Refill:
    """Called by the timer when the next token of a rate is there."""

    __slots__ = ("_refilled", "_turnstile")

    def __init__(self, refilled: Callable[[Bucket], None], turnstile: Bucket) -> None:
        self._refilled = refilled
        self._turnstile = turnstile

    def __call__(self) -> None:
        """On the timer's thread."""
        self._refilled(self._turnstile)
