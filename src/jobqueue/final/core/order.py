"""The ids of all jobs that are known, in the order in which they were accepted.

It is there so that a million jobs can be looked at page by page, a few hundred ids in each hold of
the mutex. A dictionary keeps that order too, but cannot be gone on with where a hold ended. So the
ids are kept in blocks, each a small dictionary, in a chain. What is known of a job names its block.
An id that was forgotten leaves its block at once, and an empty block leaves the chain when the next
one is begun, or soon after. So a look begins at any job at once, and nothing has to be swept.

Relies on: the queue's mutex, held by the caller of every method. Each may be broken off, and is
done again then (`unfinished.py`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCK = 128
"""A block is begun when a lane has accepted so many jobs: it holds as many for each lane at most.

A power of 2."""
_FEW = 16  # a block with so few ids left takes no more memory than they need
_FEW_BYTES = sys.getsizeof(dict.fromkeys(map(str, range(_FEW))))
_TIDIED = 2


class Block:
    """Some ids, in order.

    Attributes:
        ids: the keys; the values say nothing.
        number: of a block that is newer it is higher.
        older, newer: the blocks beside it in the chain. One that has left it still names them, so
            that a look that stands here finds its way. (Nothing keeps such a block for long.)
    """

    __slots__ = ("ids", "newer", "number", "older")

    def __init__(self, older: Block | None) -> None:
        self.ids: dict[str, None] = {}
        self.number: int = 0 if older is None else older.number + 1
        self.older = older
        self.newer: Block | None = None


class Order:
    """The chain of the blocks.

    Attributes:
        open: the newest block: who accepts a job adds its id there (`StatusMap.accept`).
        oldest: the other end.
    """

    def __init__(self) -> None:
        self.open = self.oldest = self._tidied = Block(None)

    def begin(self) -> None:
        """Begin a new block, unless the open one is new, and tidy up some of the others."""
        last = self.open
        if last.ids:
            block = Block(last)
            last.newer = block  # one step
            self.open = block
        # guard: blocks that have become empty leave the chain
        #   without: pass
        self._tidy_some()

    def _tidy_some(self) -> None:
        """Tidy the oldest blocks, and a few from where the last call came to.

        Two for each one that is begun: so a few rounds go over all of them before they are twice
        as many.
        """
        for _ in range(_TIDIED):
            self._tidy(self.oldest)
            block = self._tidied if self._tidied.newer is not None else self.oldest
            self._tidied = block if block.newer is None else block.newer
            self._tidy(block)

    def _tidy(self, block: Block) -> None:
        """Take an empty block out of the chain, or let one with few ids take less memory."""
        ids = block.ids
        if len(ids) <= _FEW and sys.getsizeof(ids) > _FEW_BYTES and block is not self.open:
            # guard: a block with few ids left gives its memory back
            block.ids = dict.fromkeys(tuple(ids))
        newer = block.newer
        if not ids and newer is not None and newer.older is block:
            newer.older = older = block.older  # one step
            if older is None:
                self.oldest = newer
            else:
                older.newer = newer

    def add(self, job_id: str) -> Block:
        """Add the id of a job that a start has found; returns its block."""
        if len(self.open.ids) >= BLOCK:
            self.begin()
        self.open.ids[job_id] = None
        return self.open

    def drop(self, block: Block | None, job_id: str) -> None:
        """A job is not known any more. Again, it does what is left."""
        if block is not None:
            block.ids.pop(job_id, None)
            self._tidy(block)

    def _check(self, known: Iterable[str]) -> None:
        """Assert the invariants; used by randomised tests."""
        block: Block | None = self.open
        ids: list[str] = []
        while block is not None:
            assert block.older is None or block.older.newer is block
            ids += block.ids
            oldest, block = block, block.older
        assert self.oldest is oldest
        assert sorted(ids) == sorted(known)


class Walk:
    """A look at the ids, newest first.

    Args:
        block, before: where to begin: with the id that was accepted before this one.
    """

    def __init__(self, block: Block, before: str | None = None) -> None:
        self._block = block
        self._ids = self._ids_of(block)  # those of the block that have yet to be looked at
        if before is not None:
            del self._ids[self._ids.index(before) :]

    def next(self, count: int) -> tuple[Block, list[str]] | None:
        """Up to so many ids in order, and their block; `None` if there are no more."""
        while not self._ids:
            block = self._beyond(self._block)
            if block is None:
                return None
            self._block, self._ids = block, self._ids_of(block)
        ids = self._ids[: -count - 1 : -1]
        del self._ids[-count:]
        return self._block, ids

    def _ids_of(self, block: Block) -> list[str]:
        """The ids of a block, the first to be looked at last."""
        return list(block.ids)

    def _beyond(self, block: Block) -> Block | None:
        return block.older


class WalkOn(Walk):
    """A look at the ids, oldest first, as far as they go now."""

    def __init__(self, order: Order) -> None:
        self._last = order.open.number
        super().__init__(order.oldest)

    def _ids_of(self, block: Block) -> list[str]:
        return list(reversed(block.ids))

    def _beyond(self, block: Block) -> Block | None:
        newer = block.newer
        # guard: a look at what is there does not run after what comes
        #   without: return newer
        return newer if newer is not None and newer.number <= self._last else None
