"""Reads a log in order and stops where it is damaged; tells a torn tail from corruption.

Opening, compacting and the verdict of verifying are made here.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NoReturn

from ...errors import LogCorruptError
from ..format.codec import RecordError
from ..names import Listing, list_log
from .closed import read_closed
from .cut import Cut, Torn
from .scan import Batches, Damage
from .version import refuse_later_version
from .walk import End, Finding, Follows, Run, Walk, decode, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..files import Files
    from ..format.record import Record
    from .closed import Closed
    from .walk import Event

__all__ = ["Replay", "replay"]


def replay(files: Files, directory: str) -> Replay:
    """Start to read the log in `directory`; nothing in it is changed. See `Replay`."""
    return Replay(files, directory)


class Replay:
    """One pass through a log, in bounded memory (and 4 bytes a batch).

    Iterate over it once: it yields the records of whole batches in order, in lists of one or more
    batches. It raises `LogCorruptError` if the log lost what it had promised to keep, or holds
    what is no record. That may show only after records from before the damage were yielded. A
    file that cannot be read raises `OSError`. After the end, these tell what was found:

    Args:
        through: the last segment to read; `None` reads them all.

    Attributes:
        last: number of the last good batch, 0 for none.
        next_segment: number of the segment to be opened next.
        torn: what must be cut off first, by `recover`; `None` for a sound log.
    """

    def __init__(self, files: Files, directory: str, through: int | None = None) -> None:
        self.last = 0
        self.next_segment = 1
        self.torn: Torn | None = None
        self._files = files
        self._directory = directory
        self._through = through
        self._closed: Closed | None = None
        # The highest batch that any other one, or the last close, attests as fsynced.
        self._attested = 0
        # Where the good part ends, once it has ended; only attestations are read from there on.
        self._hole: Damage | None = None
        self._headless: Damage | None = None  # a segment behind it that begins with no header
        self._hole_is_tail = False  # nothing has come behind it
        self._has_only_nuls = False  # from there on
        self._spare: list[Cut] = []  # preallocated ends of sealed segments

    def __iter__(self) -> Iterator[list[Record]]:
        if self._through is None:
            refuse_later_version(self._files, self._directory)
            self._closed = read_closed(self._files, self._directory)
        if self._closed is not None:
            self._attested = self._closed.batch
        listing = list_log(self._files, self._directory, self._through)
        self.next_segment = listing.next_segment
        walk = Walk(self._files, listing, self._closed)
        with closing(walk.events()) as events:
            for event in events:
                # guard: sequence test: the next number comes next
                #   without: if isinstance(event, Run) and event.batches.numbers[0] > self.last:
                if isinstance(event, Run) and event.batches.numbers[0] == self.last + 1:
                    yield self._accept(event.batches)
                else:
                    self._heed(event)
                    walk.orders = self._hole is None
        self._judge(listing)

    def _accept(self, batches: Batches) -> list[Record]:
        try:
            records = decode(batches)
        except RecordError as error:
            if len(batches) == 1:
                self._corrupt(batches.file.name, batches.offset, str(error))
            return [record for one in batches.singly() for record in self._accept(one)]
        self.last += len(batches)
        return records

    def _heed(self, event: Event) -> None:
        """Take note of all but batches that come in order."""
        match event:
            case Batches():
                self._attested = max(self._attested, *event.synced)
                self._hole_is_tail = self._has_only_nuls = False
            case Run(repeated=False):
                self._note_disorder(event)
            case Damage():
                self._note_damage(event)
            case Follows():
                self._follow(event)
            case Finding():
                self._corrupt(event.file, event.offset, event.problem)
            case End(following=int(following)) if event.in_snapshot:
                self.last = following - 1

    def _note_disorder(self, run: Run) -> None:
        batches = run.batches
        problem = run.problem or missing(self.last + 1, batches.numbers[0] - 1)
        end = batches.offset_of(len(batches))
        self._note_damage(Damage(batches.file, batches.offset, end, problem, nuls=False))
        self._hole_is_tail = self._has_only_nuls = False

    def _note_damage(self, damage: Damage) -> None:
        if damage.file.snapshot:
            # It was whole when it got its name: whatever is wrong with it is corruption.
            self._refuse_hole(damage)
        is_first = self._hole is None
        self._hole_is_tail = is_first
        self._has_only_nuls = damage.nuls and (is_first or self._has_only_nuls)
        if is_first:
            self._hole = damage
        elif damage.offset == 0 and self._headless is None:
            self._headless = damage

    def _follow(self, event: Follows) -> None:
        """Check that a segment goes on where the last one ended."""
        hole = self._hole
        if hole is not None and self._is_spare(hole) and event.first == self.last + 1:
            self._spare.append(Cut(hole.file, hole.offset, keep=False))
            self._hole = None
        elif hole is not None:
            self._refuse_hole(hole, ", in a segment that was sealed")
        elif event.first != self.last + 1:  # guard: sequence test from segment to segment
            self._corrupt(event.file.name, 0, event.problem)

    def _is_spare(self, hole: Damage) -> bool:
        """Whether a segment that was sealed ends in space that was reserved ahead.

        Such a segment has a header, which was on the disk before the next segment was there.
        """
        # guard: a sealed segment of nothing but NULs is no reserved space
        #   without: return hole.nuls and self._hole_is_tail
        return hole.nuls and self._hole_is_tail and hole.offset > 0

    def _judge(self, listing: Listing) -> None:
        """Decide whether what is missing had been promised."""
        hole = self._hole
        if hole is not None and self._through is not None:
            if not self._is_spare(hole):
                self._refuse_hole(hole, ", in a sealed segment")
            hole = None
        if hole is None:
            self.torn = Torn(tuple(self._spare), "preallocated space") if self._spare else None
            return
        # guard: `synced`: what was promised is no torn tail
        # guard: `synced`: what was not is no corruption
        #   without: if True:
        if self._attested > self.last:
            self._refuse_hole(hole, f"; batch {self.last + 1} had been fsynced")
        for each in (hole, self._headless):
            # guard: a segment goes only if it was never begun
            if each is not None and each.offset == 0 and self._was_begun(each, listing):
                self._refuse_hole(each, ", in a segment that had been begun")
        keep = not self._has_only_nuls
        later = listing.files[listing.files.index(hole.file) + 1 :]
        cuts = [*self._spare, Cut(hole.file, hole.offset, keep)]
        cuts += [Cut(file, 0, keep) for file in later]
        self.torn = Torn(tuple(cuts), hole.problem)
        self.next_segment = min(
            [self.next_segment, *(c.file.number for c in cuts if c.offset == 0)]
        )

    def _was_begun(self, damage: Damage, listing: Listing) -> bool:
        """Whether the file's header had been on the disk.

        It is there before the next segment is, and before a snapshot is that stands for all
        segments before it.
        """
        if damage.file in (*listing.files[:-1], listing.after_snapshot):
            return True
        return self._closed is not None and damage.file.number <= self._closed.segment

    def _refuse_hole(self, hole: Damage, why: str = "") -> NoReturn:
        self._corrupt(hole.file.name, hole.offset, hole.problem + why)

    def _corrupt(self, file: str, offset: int, problem: str) -> NoReturn:
        raise LogCorruptError(self._directory, file, offset, problem)
