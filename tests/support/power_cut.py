"""The disks that a power cut, or kill -9, could leave at any point of a recording.

The model is stricter than any file system that we know of:

- What was written to a file since its last fsync *began* is there, is not, or is there in part:
  cut, holed by sectors, replaced by NULs or by garbage. That goes for each write by itself and in
  any combination: later ones may be there and earlier ones not. So with its length and its
  reserved blocks.
- A name that was made, moved or removed since the last fsync of its directory may be as it was
  before, each by itself and in any combination. The fsync of a file says nothing of its name.
- What of a file failed to be fsynced stays uncertain, even if a later fsync succeeds, until it
  is read anew from the disk.
- What was fsynced stays: a write never harms bytes beside its own. An aligned word in a map
  changes as a whole.

After kill -9 all is there, but for a part of the call or of the copy that was going on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import product
from typing import TYPE_CHECKING

from tests.support.disk_tree import (
    Change,
    Event,
    Evicted,
    Image,
    Made,
    Renamed,
    SyncBegan,
    Synced,
    SyncFailed,
    Tree,
    Truncated,
    Unlinked,
    Written,
    target_of,
)
from tests.support.recording_files import RecordingFiles

if TYPE_CHECKING:
    from random import Random

SECTOR_BYTES = 512


class Fate(Enum):
    """What becomes of a change that was not fsynced. Names know only the first two."""

    KEPT = auto()
    LOST = auto()
    CUT = auto()
    """Its beginning is there."""
    BEHEADED = auto()
    """Its end is there."""
    SPARSE = auto()
    """Some of its sectors are there; the others are as before."""
    HOLED = auto()
    """Some of its sectors are there; the others are NULs, or garbage."""
    NULS = auto()
    GARBAGE = auto()


_DAMAGES = tuple(fate for fate in Fate if fate not in (Fate.KEPT, Fate.LOST))
_EITHER = (Fate.KEPT, Fate.LOST)
_BY_CALL = (Fate.CUT,)
_BY_COPY = (Fate.CUT, Fate.BEHEADED, Fate.SPARSE)
"""A copy into a map need not go from its beginning to its end."""


@dataclass(slots=True)
class Pending:
    """A change that may still be lost.

    Attributes:
        index: of its event.
        target: the file or directory whose fsync makes it safe.
        doomed: such an fsync has failed.
    """

    index: int
    change: Change
    target: int | str
    doomed: bool = False


@dataclass(frozen=True)
class Remains:
    """What a crash left: what is on the disk, and what is in the kernel's memory alone."""

    base: Tree
    unsynced: tuple[Event, ...] = ()

    def image(self) -> Image:
        """What is there for programs that read it."""
        return self.files(maps=False).image()

    def files(self, *, maps: bool, sync_seconds: float | None = None) -> RecordingFiles:
        """A disk to go on with."""
        return RecordingFiles(self.base, self.unsynced, maps=maps, sync_seconds=sync_seconds)


class Disk:
    """What is on the disk for sure, and what may be, at a point of a recording.

    Attributes:
        at: how many events of the recording have happened.
        pending: what may still be lost, in order.
    """

    def __init__(self, recording: RecordingFiles) -> None:
        self.at = 0
        self.pending: list[Pending] = []
        self._events: Sequence[Event] = recording.events
        self._safe = recording.base.copy()

    def advance(self, to: int) -> None:
        """Go on to a later point."""
        for index in range(self.at, to):
            event = self._events[index]
            if isinstance(event, (Synced, SyncFailed)):
                self._settle(event)
            elif isinstance(event, Evicted):
                self.pending = [each for each in self.pending if each.target != event.inode]
                self._safe.replace(event.inode, event.content)
            elif not isinstance(event, SyncBegan):
                self.pending.append(Pending(index, event, target_of(event)))
        self.at = to

    def _settle(self, end: Synced | SyncFailed) -> None:
        left = []
        for each in self.pending:
            if each.index < end.began and each.target == end.target:
                failed = isinstance(end, SyncFailed)
                # Names are the file system's own: it does not forget that it has to write them.
                each.doomed |= failed and isinstance(end.target, int)
                if not (failed or each.doomed):
                    self._safe.do(each.change)
                    continue
            left.append(each)
        self.pending = left

    def evict(self, inode: int, rng: Random) -> bytes | None:
        """What is left of a file when the kernel reads it anew; `None` if that is all of it."""
        pending = [each.change for each in self.pending if each.target == inode and each.doomed]
        if not pending:
            return None
        tree = self._safe.copy()
        for change in pending:
            for left in _what_is_left(change, rng.choice(_EITHER), rng):
                tree.do(left)
        return bytes(tree.content(inode))

    def cut(self, fates: Sequence[Fate], rng: Random) -> Remains:
        """What a power cut left, with a fate for each pending change."""
        tree = self._safe.copy()
        for each, fate in zip(self.pending, fates, strict=True):
            for change in _what_is_left(each.change, fate, rng):
                tree.do(change)
        tree.prune()
        return Remains(tree)

    def killed_after(self) -> Remains:
        """What kill -9 leaves after the last event: all of it."""
        return Remains(self._safe.copy(), tuple(_again(self.pending)))

    def killed_within(self, rng: Random) -> Iterator[Remains]:
        """What kill -9 could leave during the last event, if that is a write: a part of it."""
        last = self.pending[-1] if self.pending else None
        if last is None or last.index != self.at - 1 or not isinstance(last.change, Written):
            return
        fate = rng.choice(_BY_COPY if last.change.mapped else _BY_CALL)
        parts = _what_is_left(last.change, fate, rng)
        yield Remains(self._safe.copy(), (*_again(self.pending[:-1]), *parts))


def _again(pending: Sequence[Pending]) -> Iterator[Event]:
    """Events after which these changes are pending again."""
    doomed = [each for each in pending if each.doomed]
    yield from (each.change for each in doomed)
    for target in {each.target for each in doomed}:
        yield SyncFailed(target, len(doomed))
    yield from (each.change for each in pending if not each.doomed)


def _what_is_left(change: Change, fate: Fate, rng: Random) -> Sequence[Change]:
    """The changes that come of a change that meets its fate."""
    if fate is Fate.KEPT:
        return [change]
    if fate is Fate.LOST or isinstance(change, (Made, Renamed, Unlinked, Truncated)):
        return []
    if _is_word(change):
        return []
    return [_at(change, offset, data) for offset, data in _parts(change, fate, rng)]


def _at(write: Written, offset: int, data: bytes) -> Written:
    return write._replace(offset=write.offset + offset, data=data)


def _is_word(change: Change) -> bool:
    """Whether it is one aligned word (a slot), which is there or is not."""
    if not isinstance(change, Written):
        return False
    return change.offset % 8 == 0 and len(change.data) == 8


def _parts(write: Written, fate: Fate, rng: Random) -> Iterator[tuple[int, bytes]]:
    """What of a write is there, or in its place, and where in it."""
    data = write.data
    where = rng.randrange(len(data) + 1)
    match fate:
        case Fate.CUT:
            yield 0, data[:where]
        case Fate.BEHEADED:
            yield where, data[where:]
        case Fate.NULS:
            yield 0, bytes(len(data))
        case Fate.GARBAGE:
            yield 0, rng.randbytes(len(data))
        case _:
            filling = None if fate is Fate.SPARSE else rng.choice((bytes, rng.randbytes))
            for start, stop in _sectors(write):
                if rng.random() < 0.5:
                    yield start, data[start:stop]
                elif filling is not None:
                    yield start, filling(stop - start)


def _sectors(write: Written) -> Iterator[tuple[int, int]]:
    """Where the sectors of a write begin and end in it."""
    start = 0
    while start < len(write.data):
        stop = min(start + SECTOR_BYTES - (write.offset + start) % SECTOR_BYTES, len(write.data))
        yield start, stop
        start = stop


def power_cuts(disk: Disk, rng: Random, *, all_up_to: int, samples: int) -> Iterator[Remains]:
    """What a power cut could leave at this point.

    Args:
        all_up_to: if there are no more combinations of kept and lost than this, all of them are
            tried. Words (the slots) do not count and are left to chance.
        samples: how many random ones, if there are any.
    """
    matters = [not _is_word(each.change) for each in disk.pending]
    if 2 ** sum(matters) <= all_up_to:
        for chosen in product(_EITHER, repeat=sum(matters)):
            next_fate = iter(chosen).__next__
            yield disk.cut([next_fate() if m else rng.choice(_EITHER) for m in matters], rng)
    if disk.pending:
        for _ in range(samples):
            yield disk.cut(_random_fates(disk.pending, rng), rng)


def _random_fates(pending: Sequence[Pending], rng: Random) -> list[Fate]:
    """A fate for each change: one of a few patterns that file systems show, or all at random."""
    fates = rng.choice((_in_order, _one_damaged, _one_kept, _independent))(len(pending), rng)
    names = rng.choice((Fate.KEPT, Fate.LOST, None))
    for index, each in enumerate(pending):
        if isinstance(each.change, (Made, Renamed, Unlinked)):
            fates[index] = names or rng.choice((Fate.KEPT, Fate.LOST))
    return fates


def _in_order(count: int, rng: Random) -> list[Fate]:
    """All up to one of them, which is damaged."""
    where = rng.randrange(count)
    return [Fate.KEPT] * where + [rng.choice(_DAMAGES)] + [Fate.LOST] * (count - where - 1)


def _one_damaged(count: int, rng: Random) -> list[Fate]:
    fates = [Fate.KEPT] * count
    fates[rng.randrange(count)] = rng.choice((Fate.LOST, *_DAMAGES))
    return fates


def _one_kept(count: int, rng: Random) -> list[Fate]:
    fates = [Fate.LOST] * count
    fates[rng.randrange(count)] = Fate.KEPT
    return fates


def _independent(count: int, rng: Random) -> list[Fate]:
    return rng.choices(list(Fate), [8, 4, *[1] * (len(Fate) - 2)], k=count)
