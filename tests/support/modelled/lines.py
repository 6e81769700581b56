"""Limits and rates as the model sees them: who may start, who stands in which line, who is next."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobqueue.final import Limit, Priority, Rate
from tests.support.modelled.jobs import SETTINGS, Known, rules_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

FAIRNESS = int(SETTINGS["fairness"])


@dataclass(eq=False)
class Line:
    """A limit or a rate, or one key of it, and the jobs that wait for it."""

    rule: Limit | Rate
    key: str | None
    used: int = 0
    tokens: float = 0.0
    counted: float = 0.0
    reserved: int = 0
    """How many tokens are for jobs that have passed, and have not started."""
    turns: list[int] = field(default_factory=lambda: [FAIRNESS] * len(Priority))
    waiting: list[Known] = field(default_factory=list)

    def is_open(self, now: float) -> bool:
        """Whether one more may start."""
        if isinstance(self.rule, Limit):
            return self.used < self.rule.count
        return self.tokens_at(now) - self.reserved >= 1.0

    def tokens_at(self, now: float) -> float:
        """How many may start at once."""
        assert isinstance(self.rule, Rate)
        new = (now - self.counted) * self.rule.count / self.rule.per
        return min(self.rule.count, self.tokens + new)

    def next(self) -> Known:
        """Whose turn it is: High's, but for a lane that others have passed by too often."""
        lanes = {known.job.priority for known in self.waiting}
        late = [lane for lane in lanes if self.turns[lane] <= 0]
        chosen = max(late) if late else min(lanes)
        for lane in lanes:
            if lane > chosen:
                self.turns[lane] -= 1
        self.turns[chosen] = FAIRNESS
        first = min(
            (known for known in self.waiting if known.job.priority is chosen),
            key=lambda known: known.place,
        )
        self.waiting.remove(first)
        return first


class Lines:
    """All limits and rates of one queue."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lines: dict[tuple[Limit | Rate, str | None], Line] = {}
        self._places = itertools.count(1)
        self._fronts = itertools.count(1)
        self._in_front: dict[Priority, Known] = {}
        self._passed: dict[Priority, list[Known]] = {priority: [] for priority in Priority}

    def to_front(self, known: Known) -> None:
        """It stands before all others of its lane."""
        known.rank = (-next(self._fronts),)

    def _line_up(self, lane: Priority) -> None:
        """Of those that have passed the first stands at the front, and the others behind it."""
        passed = self._passed[lane]
        if passed and lane not in self._in_front:
            self._in_front[lane] = passed.pop(0)
            self.to_front(self._in_front[lane])
        for number, known in enumerate(passed):
            known.rank = (*self._in_front[lane].rank, number)

    def _gone_from_front(self, known: Known) -> None:
        lane = known.job.priority
        if self._in_front.get(lane) is known:
            del self._in_front[lane]
        elif known in self._passed[lane]:
            self._passed[lane].remove(known)
        self._line_up(lane)

    def _closed(self, known: Known, but: Line | None = None) -> Line | None:
        for line in map(self._lines.get, rules_of(known.job)):
            if line is None or line is but:
                continue
            if line.waiting or not line.is_open(self._now()):
                return line
        return None

    def look(self, lane: list[Known], paused: Collection[str | None]) -> None:
        """Have those step aside who are at the front of their lane and may not start.

        Args:
            paused: the handlers that are.
        """
        for known in lane:
            if known.job.handler in paused:
                known.held = next(self._places)
                continue
            if known.passed is not None or not (line := self._closed(known)):
                return
            self._step_aside(known, line)

    def _step_aside(self, known: Known, line: Line) -> None:
        known.place = known.place or next(self._places)
        known.line = line
        line.waiting.append(known)

    def start(self, known: Known) -> None:
        """An attempt begins."""
        if known.passed is None:
            assert self._closed(known) is None, f"{known.job.id} started beyond its limit"
            self._pass(known)
        if (line := known.reserved) is not None:
            known.reserved = None
            line.reserved -= 1
            line.tokens, line.counted = line.tokens_at(self._now()) - 1, self._now()
        self._gone_from_front(known)

    def _pass(self, known: Known) -> None:
        for rule, key in rules_of(known.job):
            line = self._lines.get((rule, key))
            if line is None:
                line = self._lines[rule, key] = Line(rule, key, tokens=rule.count)
                line.counted = self._now()
            if isinstance(rule, Limit):
                line.used += 1
            else:
                line.reserved += 1
                known.reserved = line
            if known.passed is None or isinstance(rule, Limit):
                known.passed = line

    def leave(self, known: Known) -> None:
        """An attempt has ended, or a job that waits is cancelled."""
        if known.line is not None:
            known.line.waiting.remove(known)
            known.line = None
        self._gone_from_front(known)
        self._release(known)

    def _release(self, known: Known) -> None:
        line, known.passed = known.passed, None
        bucket, known.reserved = known.reserved, None
        if line is not None and isinstance(line.rule, Limit):
            line.used -= 1
        if bucket is not None:
            bucket.reserved -= 1
            self._let_through(bucket)
        if line is not None and isinstance(line.rule, Limit):
            if line.waiting:
                self._let_through(line)
            elif line.key is not None and not line.used:
                del self._lines[line.rule, line.key]

    def refill(self) -> None:
        """Time has passed."""
        for line in self._rates():
            self._let_through(line)

    def _rates(self) -> Iterator[Line]:
        return (each for each in tuple(self._lines.values()) if isinstance(each.rule, Rate))

    def _let_through(self, line: Line) -> None:
        while line.waiting and line.is_open(self._now()):
            known = line.next()
            known.line = None
            other = self._closed(known, line)
            if other is not None:
                self._step_aside(known, other)
                continue
            self._pass(known)
            known.place = 0
            self._passed[known.job.priority].append(known)
            self._line_up(known.job.priority)

    def withdraw(self, held: Collection[Known]) -> None:
        """These are paused: they stand in their lanes again, as if they had just come."""
        for lane in Priority:
            own = [known for known in held if known.job.priority is lane]
            waiting = [known for known in own if known.line is not None]
            for known in sorted(waiting, key=lambda known: -known.place):
                assert known.line is not None
                known.line.waiting.remove(known)
                known.line, known.place = None, 0
                self.to_front(known)
            front = self._in_front.get(lane)
            passed = [*([] if front is None else [front]), *self._passed[lane]]
            for known in reversed([each for each in passed if each in held]):
                if known is not front:
                    self._gone_from_front(known)
                self.to_front(known)
                self._release(known)
                self._gone_from_front(known)

    def check(self) -> None:
        """No line waits for what is open, and none for nobody."""
        for line in self._lines.values():
            assert not (line.waiting and line.is_open(self._now())), line
