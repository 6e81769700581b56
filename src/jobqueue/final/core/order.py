"""The ids of all jobs that are known, newest first: what `jobs` and its like go through.

It is there so that a million jobs can be looked at page by page, some of them in each hold of the
mutex. The dictionaries of the status map cannot be gone on with where a hold ended. So the ids are
kept in blocks, each a list, in a chain.

It costs a job that nobody looks at nothing: the first look makes it (`callers/first_look.py`), of
what is known then, and from then on each job that is accepted adds its id. An id whose job was
forgotten stays where it is for a while. So who looks asks of each id whether its job is known. With
each block that is begun three others are looked at: one of which nothing is known any more leaves
the chain, and one that is half empty is copied.

Relies on: the queue's mutex, held by the caller of every method that does not say otherwise. Each
may be broken off, and is done again then (`unfinished.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BLOCK = 256
"""How many ids a block holds."""
_TIDIED = 2
_SAMPLED = 64  # one id of so many tells whether most of a block are known still


class Block:
    """Some ids, in order.

    Attributes:
        ids: among them some that are not known any more, or are at a later place.
        number: of a block that is newer it is higher.
        older, newer: the blocks beside it in the chain. One that has left it still names them, so
            that a look that stands here finds its way. (Nothing keeps such a block for long.)
    """

    __slots__ = ("ids", "newer", "number", "older")

    def __init__(self, number: int, older: Block | None, ids: list[str]) -> None:
        self.ids = ids
        self.number = number
        self.older = older
        self.newer: Block | None = None


class Order:
    """The chain of the blocks.

    Args:
        known: has the ids of all jobs that are known; most in the first.

    Attributes:
        is_kept: whether anybody has looked, so that ids have to be added.
        open: the newest block.
        oldest: the other end.
    """

    def __init__(self, *known: Mapping[str, object]) -> None:
        self._known = [*known]
        self._rounds = 0
        self.keep()
        self.is_kept = False

    def keep(self) -> None:
        """Begin with an empty chain; ids are to be added from now on."""
        self.open = self.oldest = self._tidied = Block(0, None, [])
        self._places: dict[str, Block] = {}  # of each id the block that has it last
        self.is_kept = True

    def note(self, job_id: str) -> None:
        """A job is about to be accepted, and there is none with its id."""
        if len(self.open.ids) >= BLOCK:
            self._begin()
        self._places[job_id] = self.open
        self.open.ids.append(job_id)

    def prepend(self, chain: list[Block]) -> None:
        """Put a chain of blocks, the oldest first, before those that have been added."""
        if chain:
            chain[-1].newer = first = self.oldest
            first.older = chain[-1]  # one step
            self.oldest = self._tidied = chain[0]

    def place(self, block: Block) -> None:
        """Its ids are in this block, but those that are noted already. No mutex."""
        for each in block.ids:
            self._places.setdefault(each, block)

    def is_at(self, job_id: str, block: Block) -> bool:
        """Whether the job of an id in this block is known, and was accepted there."""
        # guard: an id that was forgotten and used again is not told of at its old place
        #   without: if False:
        if self._places.get(job_id) is not block:
            return False
        return any(job_id in each for each in self._known)

    def walk_before(self, job_id: str) -> Walk:
        """A look from a known job on."""
        return Walk(self._places[job_id], job_id)

    # ── tidying up ───────────────────────────────────────────────────────────────────────────

    def _begin(self) -> None:
        """Begin a new block, and tidy up three of the others."""
        last = self.open
        block = Block(last.number + 1, last, [])
        last.newer = block  # one step
        self.open = block
        # guard: blocks that have become empty leave the chain
        #   without: pass
        self._tidy_some()

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
        if block.ids and not self._has_many(block):
            known = [each for each in _each_once(block.ids) if self.is_at(each, block)]
            for job_id in set(block.ids).difference(known):
                if self._places.get(job_id) is block:
                    # guard: ids that are forgotten leave nothing behind
                    self._places.pop(job_id, None)
            block.ids = known
        newer = block.newer
        if not block.ids and newer is not None and newer.older is block:
            newer.older = older = block.older  # one step
            if older is None:
                self.oldest = newer
            else:
                older.newer = newer

    def _has_many(self, block: Block) -> bool:
        """Whether half of some of its ids are known; others are looked at in each round."""
        some = block.ids[self._rounds % min(_SAMPLED, len(block.ids)) :: _SAMPLED]
        return 2 * [self.is_at(each, block) for each in some].count(True) >= len(some)

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
    """A look at the ids, newest first; some are not known any more, or are at another place.

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


class WalkAmong(Walk):
    """A look at some of the ids, newest first.

    Args:
        ids: those; what is not in the order is passed over.
        before: where to begin, an id that is in the order.
    """

    def __init__(self, order: Order, ids: Iterable[str], before: str | None = None) -> None:
        self._among: dict[Block, set[str]] = {}
        for each in ids:
            place = order._places.get(each)
            if place is not None:
                self._among.setdefault(place, set()).add(each)
        start = order.open if before is None else order._places[before]
        self._ahead = sorted(
            (block for block in self._among if block.number < start.number),
            key=lambda block: block.number,
        )
        self._begun = False
        super().__init__(start, before)
        among = self._among.get(start, ())
        self._ids = [each for each in self._ids if each in among]
        self._begun = True

    def _ids_of(self, block: Block) -> list[str]:
        ids = super()._ids_of(block)
        if not self._begun:
            return ids  # `before` is looked for among them, which need not be one of ours
        among = self._among[block]
        return [each for each in ids if each in among]

    def _beyond(self, block: Block) -> Block | None:
        return self._ahead.pop() if self._ahead else None


class WalkThese(Walk):
    """A look at these ids, in this order, each by itself."""

    def __init__(self, order: Order, ids: Iterable[str]) -> None:
        self._order = order
        self._left = iter(dict.fromkeys(ids))

    def next(self, count: int) -> tuple[Block, list[str]] | None:
        """The next one that is in the order, and its block."""
        for each in self._left:
            block = self._order._places.get(each)
            if block is not None:
                return block, [each]
        return None


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
