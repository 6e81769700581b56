"""Limits and rates as the model sees them: who may start, who stands in which line, who is next."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobqueue.final import Limit, Priority, Rate
from tests.support.modelled.jobs import SETTINGS, Known, rules_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAIRNESS = int(SETTINGS["fairness"])
FRONT = -1.0
"""The first number of the rank of a job that has passed: it stands before its lane's others."""


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
        self._passes = itertools.count()

    def _closed(self, known: Known, but: Line | None = None) -> Line | None:
        for line in map(self._lines.get, rules_of(known.job)):
            if line is None or line is but:
                continue
            if line.waiting or not line.is_open(self._now()):
                return line
        return None

    def look(self, lane: list[Known]) -> None:
        """Have those step aside who are at the front of their lane and may not start."""
        for known in lane:
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
            known.rank = (FRONT, next(self._passes))

    def check(self) -> None:
        """No line waits for what is open, and none for nobody."""
        for line in self._lines.values():
            assert not (line.waiting and line.is_open(self._now())), line
