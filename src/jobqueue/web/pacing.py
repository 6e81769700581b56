"""Keeps answers of the queue for a while, so that many pages that are polled cost it little.

What took long to find out is kept for longer: 200 times as long as it took. So each question is
at work for at most half a percent of the time, however many browsers ask it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")

TIMES = 200
LONGEST = 60.0
KEPT_MAX = 64


class Paced:
    """Answers by what was asked. Thread-safe.

    Args:
        now: monotonic time, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()  # guards the two below; not held while the queue is asked
        self._kept: OrderedDict[Hashable, tuple[float, object]] = OrderedDict()
        self._changes = 0

    def get(self, question: Hashable, ask: Callable[[], T]) -> T:
        """What `ask` returns, or has returned a moment ago; it is called without a lock."""
        began = self._now()
        with self._lock:
            until, answer = self._kept.get(question, (began, None))
            changes = self._changes
        if until > began:
            return answer  # type: ignore[return-value]  # a question has one kind of answer
        fresh = ask()
        ended = self._now()
        with self._lock:
            if changes == self._changes:
                self._kept[question] = ended + min(LONGEST, TIMES * (ended - began)), fresh
                self._kept.move_to_end(question)
                while len(self._kept) > KEPT_MAX:
                    self._kept.popitem(last=False)
        return fresh

    def forget(self) -> None:
        """Something was changed by hand: who did it wants to see it."""
        with self._lock:
            self._kept.clear()
            self._changes += 1
