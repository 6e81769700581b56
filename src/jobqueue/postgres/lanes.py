"""Who is next: the slots of this process, and the tokens of its lanes.

Each lower lane has tokens. A job that overtakes it spends one; at none it has a turn of its own,
and gets all of them back: at its turn, or if nobody waits there.

Whose thread: the queue's loop, but for `lend` and `give_back`, which any thread may call.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from ..final import Priority

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TOGETHER_SECONDS = 0.002
"""About what a call to the database takes: for that long it is worth to wait for company."""


class Tokens:
    """The tokens of the lanes below High."""

    def __init__(self, fairness: int) -> None:
        self._fairness = fairness
        self._left = {Priority.LOW: fairness, Priority.MEDIUM: fairness}

    def short_of(self, jobs: int) -> list[Priority]:
        """The lanes that so many jobs cannot overtake at once.

        Ask whether anybody waits there: if not, they have all tokens again.
        """
        jobs = min(jobs, self._fairness)
        return [lane for lane, left in self._left.items() if left < jobs]

    def turns(self) -> Iterator[tuple[Priority | None, int]]:
        """The looks to take one after the other, until one finds something.

        Each is a lane that has a turn, or `None` for all in order, and how many jobs at most.
        """
        for lane, left in self._left.items():
            if left <= 0:
                yield lane, 1
        yield None, max(1, min(self._left.values()))

    def looked(self, lane: Priority | None, found: Iterable[Priority]) -> None:
        """A look has found jobs of these lanes, in order."""
        nobody = True
        for each in found:
            nobody = False
            for lower in self._left:
                if lower is each:
                    self._left[lower] = self._fairness
                elif lower > each:
                    self._left[lower] -= 1
        if nobody and lane is not None:
            self._left[lane] = self._fairness


class Slots:
    """How many attempts may go on at once. A slot is lent while its handler overruns or waits."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.busy = 0
        self.unsettled = 0
        """Attempts that have ended, and whose outcomes are on their way: as many as slots are free
        of charge, so that at the death of the process no more than twice as many jobs run again."""
        self.lent = 0
        self._lock = threading.Lock()  # guards `lent`
        self._room = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._latest: set[int] = set()  # of what began last, all at once: what has not ended
        self._none_left = asyncio.Event()
        self._patience: asyncio.TimerHandle | None = None

    @property
    def free(self) -> int:
        """How many attempts may begin."""
        return self.size + self.lent - self.busy - max(0, self.unsettled - self.size)

    async def wait(self) -> None:
        """Until one may begin, or `wake`."""
        self._room.clear()
        if self.free <= 0:
            await self._room.wait()

    def begin(self, numbers: Iterable[int]) -> None:
        """Attempts of these jobs begin, all at once."""
        self._latest = set(numbers)
        self.busy += len(self._latest)
        self._none_left.clear()
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self._loop.call_later(TOGETHER_SECONDS, self._lose_patience)

    def leave(self, number: int | None = None) -> None:
        """An attempt has ended, or waits without a slot."""
        self.busy -= 1
        if number is not None:
            self._latest.discard(number)
        if not self._latest:
            self._none_left.set()
        self.wake()

    def _lose_patience(self) -> None:
        self._latest.clear()
        self._none_left.set()

    async def together(self) -> None:
        """Wait until all that began last have ended, but not beyond `TOGETHER_SECONDS` after that.

        Attempts that take no time end one after the other, but within the time of one call to the
        database: so there is one for all outcomes, and one for as many new jobs. Whatever takes
        longer waits for nothing.
        """
        if self._latest:
            await self._none_left.wait()

    def wake(self) -> None:
        """Have `wait` return."""
        self._room.set()

    def lend(self) -> bool:
        """Another attempt may begin in the place of one that goes on; `False` if too many do."""
        with self._lock:
            if self.lent >= self.size:
                return False
            self.lent += 1
        self._loop.call_soon_threadsafe(self.wake)
        return True

    def give_back(self) -> None:
        """It does not stand in any more."""
        with self._lock:
            self.lent -= 1
