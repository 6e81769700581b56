"""The first look at the jobs of a queue: puts what is known in order.

They are ordered by when they were made, which the wall clock has told. With a million jobs that
takes two seconds, once. It is done without the queue's mutex: what is accepted meanwhile adds
itself (`core/order.py`), and what comes to its end stays known, or is passed over later.

Relies on: a lock of its own, so that a second look waits for the first. It takes the mutex for a
few steps.
"""

from __future__ import annotations

import threading
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING

from ..core.infos import created_of
from ..core.order import BLOCK, Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..core.status_map import StatusMap
    from ..runtime.mutex import Mutex

    Made = tuple[float, str]

_BLOCKS_MAX = 10**12  # their numbers are below those of the blocks that jobs add
_SORTED_AT_ONCE = 2000
"""So that no other thread waits for long: a sort keeps the interpreter's lock."""


class FirstLook:
    """Has the jobs be in order."""

    def __init__(self, status: StatusMap, mutex: Mutex) -> None:
        self._status = status
        self._order = status.order
        self._mutex = mutex
        # Held while they are put in order; taken before the mutex. It is reentrant, for a signal
        # handler may look while the thread that it has interrupted does.
        self._lock = threading.RLock()
        self._is_done = False

    def ensure(self) -> None:
        """Return when they are. No mutex."""
        if self._is_done:
            return
        with self._lock:
            if not self._is_done:
                self._put_in_order()
                self._is_done = True

    def _put_in_order(self) -> None:
        with self._mutex:
            self._mutex.settle()
            self._order.keep()  # also if a look before this one was interrupted
        sorted_lists = (
            sorted(self._made(ids))
            for known in self._snapshot()
            for ids in _slices(iter(known), _SORTED_AT_ONCE)
        )
        chain: list[Block] = []
        in_order = map(itemgetter(1), merge(*sorted_lists))
        for ids in _slices(in_order, BLOCK):
            last = chain[-1] if chain else None
            block = Block(len(chain) - _BLOCKS_MAX, last, ids)
            if last is not None:
                last.newer = block
            chain.append(block)
            self._order.place(block)
        with self._mutex:
            self._mutex.settle()
            self._order.prepend(chain)

    def _snapshot(self) -> list[list[str]]:
        """The ids of all jobs. Each of the lists is made in one step; some ids may be in two."""
        status = self._status
        while True:
            requeued = status.requeued
            ids = [list(status.live), list(status.dead), list(status.finished)]
            # A job goes from one to the next, unless it is requeued: then it may be missed.
            if status.requeued == requeued:
                return ids

    def _made(self, ids: Iterable[str]) -> list[Made]:
        """Those that are known still, and when they were made."""
        made = ((created_of(self._status, each), each) for each in ids)
        return [(created, each) for created, each in made if created is not None]


def _slices(items: Iterator[str], size: int) -> Iterator[list[str]]:
    while some := list(islice(items, size)):
        yield some
