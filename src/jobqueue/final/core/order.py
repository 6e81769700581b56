"""The ids of all jobs that are known, in the order in which they were accepted.

It is there so that a million jobs can be looked at page by page, a few hundred ids in each hold of
the mutex. A dictionary keeps that order too, but cannot be gone on with where a hold ended. So the
ids are kept in blocks, each a list, in a chain. What is known of a job names its block.

An id whose job was forgotten stays where it is for a while: to take each out at once would cost
every job a twentieth of what it does in memory. So who looks asks of each id whether its job is
known, and names this block. With each block that is begun three others are looked at: one that is
empty by then leaves the chain, and one that is half empty is copied.

Relies on: the queue's mutex, held by the caller of every method. Each may be broken off, and is
done again then (`unfinished.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

BLOCK = 128
"""A block is begun when a lane has accepted so many jobs: it holds as many for each lane at most.

A power of 2."""
_TIDIED = 2
_SAMPLED = 16  # one id of so many tells whether most of a block are known still


class Block:
    """Some ids, in order.

    Attributes:
        ids: among them some that are not known any more. One that is there twice was forgotten and
            used again.
        number: of a block that is newer it is higher.
        older, newer: the blocks beside it in the chain. One that has left it still names them, so
            that a look that stands here finds its way. (Nothing keeps such a block for long.)
    """

    __slots__ = ("ids", "newer", "number", "older")

    def __init__(self, older: Block | None) -> None:
        self.ids: list[str] = []
        self.number: int = 0 if older is None else older.number + 1
        self.older = older
        self.newer: Block | None = None


class Order:
    """The chain of the blocks.

    Args:
        known: what is known of jobs by their ids; most in the first.
        block_of: tells the block that this names.

    Attributes:
        open: the newest block: who accepts a job adds its id there (`StatusMap.accept`).
        oldest: the other end.
    """

    def __init__(self, *known: Mapping[str, Any], block_of: Callable[[Any], Block | None]) -> None:
        self.open = self.oldest = self._tidied = Block(None)
        self._known = known
        self._block_of = block_of
        self._rounds = 0

    def begin(self) -> None:
        """Begin a new block, unless the open one is new, and tidy up three of the others."""
        self._open_one()
        # guard: blocks that have become empty leave the chain
        #   without: pass
        self._tidy_some()

    def _open_one(self) -> None:
        last = self.open
        if last.ids:
            block = Block(last)
            last.newer = block  # one step
            self.open = block

    def _tidy_some(self) -> None:
        """Tidy the oldest block, and the next two after that of the last call.

        The oldest is mostly the one that is empty. Of the others there are two for each that is
        begun: so all are looked at before they are twice as many.
        """
        self._tidy(self.oldest)
        for _ in range(_TIDIED):
            block = self._tidied.newer
            if block is None:
                block = self.oldest
                self._rounds += 1
            self._tidied = block
            self._tidy(block)

    def _tidy(self, block: Block) -> None:
        """Take an empty block out of the chain, or the forgotten ids out of one that has many."""
        if block is self.open:
            return
        # guard: a block with few ids left gives its memory back
        #   without: if not self._has_any(block):
        if not self._has_any(block) or not self._has_many(block):
            block.ids = [each for each in _each_once(block.ids) if self.is_at(each, block)]
        newer = block.newer
        if not block.ids and newer is not None and newer.older is block:
            newer.older = older = block.older  # one step
            if older is None:
                self.oldest = newer
            else:
                older.newer = newer

    def _has_any(self, block: Block) -> bool:
        """Whether any of its ids may be known; a loop in C, as most blocks come to this."""
        ids = block.ids
        return not all(each.keys().isdisjoint(ids) for each in self._known if each)

    def _has_many(self, block: Block) -> bool:
        """Whether half of its ids are known; others are looked at in each round."""
        some = block.ids[self._rounds % min(_SAMPLED, len(block.ids)) :: _SAMPLED]
        return 2 * sum(self.is_at(each, block) for each in some) >= len(some)

    def is_at(self, job_id: str, block: Block) -> bool:
        """Whether the job of an id is known, and was accepted there."""
        for each in self._known:
            if job_id in each:
                # guard: an id that was forgotten and used again is not told of at its old place
                #   without: return True
                return self._block_of(each[job_id]) is block
        return False

    def add(self, job_id: str) -> Block:
        """Add the id of a job that a start has found, and that is known soon; returns its block."""
        if len(self.open.ids) >= BLOCK:
            self._open_one()  # and tidies none: nothing is known yet
        self.open.ids.append(job_id)
        return self.open

    def _check(self, known: Iterable[str]) -> None:
        """Assert the invariants; used by randomised tests."""
        block: Block | None = self.open
        ids: list[str] = []
        while block is not None:
            assert block.older is None or block.older.newer is block
            ids += [each for each in _each_once(block.ids) if self.is_at(each, block)]
            oldest, block = block, block.older
        assert self.oldest is oldest
        assert sorted(ids) == sorted(known)


def _each_once(ids: list[str]) -> list[str]:
    """These ids, each where it came last: it was forgotten before, and used again."""
    return list(dict.fromkeys(reversed(ids)))[::-1]


class Walk:
    """A look at the ids, newest first; among them some that are not known any more.

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
        return _each_once(block.ids)

    def _beyond(self, block: Block) -> Block | None:
        return block.older


class WalkOn(Walk):
    """A look at the ids, oldest first, as far as they go now."""

    def __init__(self, order: Order) -> None:
        self._last = order.open.number
        super().__init__(order.oldest)

    def _ids_of(self, block: Block) -> list[str]:
        return super()._ids_of(block)[::-1]

    def _beyond(self, block: Block) -> Block | None:
        newer = block.newer
        # guard: a look at what is there does not run after what comes
        #   without: return newer
        return newer if newer is not None and newer.number <= self._last else None
