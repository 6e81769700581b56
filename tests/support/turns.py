"""The promise on the order in which jobs start, in plain numbers, for tests to hold a queue to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from jobqueue.final import Priority

if TYPE_CHECKING:
    from collections.abc import Collection

LOWER = (Priority.MEDIUM, Priority.LOW)


class Turns:
    """Watches which lane is served while which lanes have work.

    A lane that is overtaken `fairness` times is served next; one lane may come between, if both
    are due at once. No lane is overtaken for any other reason: the order is strict.

    Args:
        fairness: how often a lower lane with work may be overtaken between two of its turns.
    """

    def __init__(self, fairness: int) -> None:
        self._fairness = fairness
        self._spent = Counter(dict.fromkeys(LOWER, 0))  # tokens, since its last turn
        self._passed: dict[Priority, Counter[Priority]] = {each: Counter() for each in LOWER}
        self.served: Counter[Priority] = Counter()

    def serve(self, lane: Priority, waiting: Collection[Priority]) -> None:
        """A job of `lane` was started while the lanes `waiting` had work; fails if it is wrong."""
        assert lane in waiting, f"{lane.name} was served without having work"
        self._check_strict(lane, waiting)
        self.served[lane] += 1
        for lower in LOWER:
            if lower is lane or lower not in waiting:
                self._passed[lower].clear()  # only what passes it while it has work counts
            else:
                self._passed[lower][lane] += 1
        for lower in LOWER:
            if lower is lane:
                self._spent[lower] = 0
            elif lower in waiting and lane < lower:
                self._spent[lower] += 1
        self._check_bound()

    def _check_strict(self, lane: Priority, waiting: Collection[Priority]) -> None:
        higher = [each for each in waiting if each < lane]
        assert not higher or self._spent[lane] >= self._fairness, (
            f"{lane.name} overtook {higher} with tokens left"
        )

    def _check_bound(self) -> None:
        for lower, passed in self._passed.items():
            other = LOWER[1 - LOWER.index(lower)]
            high = passed.total() - passed[other]
            assert high <= self._fairness, f"{lower.name} was overtaken by {passed}"
            if other < lower:
                assert passed.total() <= self._fairness + 1, f"{lower.name}: {passed}"
            else:
                assert passed[other] <= 1, f"{lower.name}: {passed}"
