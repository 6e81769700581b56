"""Reads a log in order, and tells a torn tail from corruption.

This is the one replay loop: opening, verifying and compacting all read through it.
"""

from __future__ import annotations

from array import array
from contextlib import closing
from operator import ge
from typing import TYPE_CHECKING, NoReturn

from ...errors import LogCorruptError
from ..format.codec import VERSION, Header, RecordError, decode_lines
from ..names import Listing, LogFile, list_log
from .cut import Cut, Torn
from .scan import Batches, Damage, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..files import Files
    from ..format.record import Record

__all__ = ["Replay", "end_of_order", "replay"]


def replay(files: Files, directory: str) -> Replay:
    """Start to read the log in `directory`; nothing in it is changed. See `Replay`."""
    return Replay(files, directory)


class Replay:
    """One pass through a log, in bounded memory (and 4 bytes a batch).

    Iterate over it once: it yields the records of whole batches in order, in lists of one or more
    batches, and raises `LogCorruptError` where the log lost what it had promised to keep, or holds
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
        # The highest batch that any other one attests as fsynced.
        self._attested = 0
        # Where the good part ends, once it has ended; only attestations are read from there on.
        self._hole: Damage | None = None
        self._hole_is_tail = False
        self._spare: list[Cut] = []  # preallocated ends of sealed segments
        # Numbers and CRCs of the batches read, to know an exact repetition.
        self._first = 1
        self._crcs = array("I")
        self._ends_empty = False

    def __iter__(self) -> Iterator[list[Record]]:
        listing = list_log(self._files, self._directory, self._through)
        self.next_segment = listing.next_segment
        for file in listing.files:
            if file.snapshot:
                yield from self._read_snapshot(file)
            else:
                yield from self._read_segment(file)
        self._judge(listing)

    # A snapshot was whole when it was renamed into place: whatever is wrong with it is corruption.

    def _read_snapshot(self, file: LogFile) -> Iterator[list[Record]]:
        header: Header | None = None
        end = 0
        with closing(scan(self._files, file)) as items:
            for item in items:
                if isinstance(item, Header):
                    header = self._check_header(file, item)
                elif isinstance(item, Damage):
                    self._corrupt(file, item.offset, item.problem)
                else:
                    yield from self._take(item)
                    self._refuse_hole()
                    end = item.offset_of(len(item))
        if header is None or header.next is None or not self._ends_empty:
            self._corrupt(file, end, "the snapshot does not end as a snapshot does")
        self._start_numbers(header.next)

    def _start_numbers(self, first: int) -> None:
        self.last = first - 1
        self._first = first
        self._crcs = array("I")

    def _read_segment(self, file: LogFile) -> Iterator[list[Record]]:
        with closing(scan(self._files, file)) as items:
            for item in items:
                if isinstance(item, Header):
                    self._follow(file, self._check_header(file, item))
                elif isinstance(item, Damage):
                    self._note_damage(item)
                else:
                    yield from self._take(item)

    def _check_header(self, file: LogFile, header: Header) -> Header:
        if header.version != VERSION:
            self._corrupt(
                file,
                0,
                f"its format version is {header.version}, this release reads {VERSION}",
            )
        if header.number != file.number or (header.next is not None) != file.snapshot:
            self._corrupt(file, 0, "the header is that of another file")
        if header.first < 1 or (file.snapshot and (header.first != 1 or not header.next)):
            self._corrupt(file, 0, "the header's batch numbers are impossible")
        return header

    def _follow(self, file: LogFile, header: Header) -> None:
        """Check that a segment goes on where the last one ended."""
        hole = self._hole
        if hole is not None and hole.nuls and self._hole_is_tail and header.first == self.last + 1:
            self._spare.append(Cut(hole.file, hole.offset, keep=False))
            self._hole = None
        elif hole is not None:
            self._corrupt(hole.file, hole.offset, f"{hole.problem}, in a segment that was sealed")
        elif header.first != self.last + 1:
            self._corrupt(
                file,
                0,
                f"it starts with batch {header.first}; batch {self.last + 1} should follow",
            )

    # Batches

    def _take(self, batches: Batches) -> Iterator[list[Record]]:
        """Yield the records of those batches that are new and in order."""
        self._attest(batches)
        start = 0
        while start < len(batches) and self._hole is None:
            number = batches.numbers[start]
            if number == self.last + 1:
                stop = end_of_order(batches, start)
                yield self._accept(batches.part(start, stop))
                start = stop
            elif self._is_repeated(number, batches.crcs[start]):
                start += 1
            else:
                self._note_disorder(batches, start)

    def _attest(self, batches: Batches) -> None:
        impossible = list(map(ge, batches.synced, batches.numbers))
        if True in impossible:
            where = batches.offset_of(impossible.index(True))
            self._corrupt(batches.file, where, "a batch attests itself or a later one")
        self._attested = max(self._attested, *batches.synced)
        self._hole_is_tail = False

    def _accept(self, batches: Batches) -> list[Record]:
        try:
            records = decode_lines(b"\n".join(batches.texts))
        except RecordError:
            self._refuse_records(batches)
        if len(records) != sum(batches.counts):
            self._refuse_records(batches)
        self.last += len(batches)
        self._crcs.extend(batches.crcs)
        self._ends_empty = batches.counts[-1] == 0
        return records

    def _refuse_records(self, batches: Batches) -> NoReturn:
        """Find the batch that cannot be decoded."""
        problems = map(_problem_of, batches.texts, batches.counts)
        index, problem = next((i, p) for i, p in enumerate(problems) if p is not None)
        self._corrupt(batches.file, batches.offset_of(index), problem)

    def _is_repeated(self, number: int, crc: int) -> bool:
        return self._first <= number <= self.last and self._crcs[number - self._first] == crc

    # Damage

    def _note_disorder(self, batches: Batches, index: int) -> None:
        number = batches.numbers[index]
        if number > self.last:
            problem = f"batch {self.last + 1} is missing before batch {number}"
        else:
            problem = f"another batch with the number {number}"
        offset = batches.offset_of(index)
        end = batches.offset_of(len(batches))
        self._note_damage(Damage(batches.file, offset, end, problem, nuls=False))
        self._hole_is_tail = False

    def _note_damage(self, damage: Damage) -> None:
        if self._hole is None:
            self._hole = damage
            self._hole_is_tail = True
        else:
            self._hole_is_tail = False

    def _refuse_hole(self) -> None:
        if self._hole is not None:
            self._corrupt(self._hole.file, self._hole.offset, self._hole.problem)

    def _judge(self, listing: Listing) -> None:
        """Decide whether what is missing had been promised."""
        hole = self._hole
        if hole is not None and self._through is not None:
            if not (hole.nuls and self._hole_is_tail):
                self._corrupt(hole.file, hole.offset, f"{hole.problem}, in a sealed segment")
            hole = None
        if hole is None:
            self.torn = Torn(tuple(self._spare), "preallocated space") if self._spare else None
            return
        if self._attested > self.last:
            self._corrupt(
                hole.file,
                hole.offset,
                f"{hole.problem}; batch {self.last + 1} had been fsynced",
            )
        cut = Cut(hole.file, hole.offset, keep=not (hole.nuls and self._hole_is_tail))
        later = listing.files[listing.files.index(hole.file) + 1 :]
        cuts = [*self._spare, cut, *(Cut(file, 0, keep=True) for file in later)]
        self.torn = Torn(tuple(cuts), hole.problem)
        self.next_segment = min(
            [self.next_segment, *(c.file.number for c in cuts if c.offset == 0)]
        )

    def _corrupt(self, file: LogFile, offset: int, problem: str) -> NoReturn:
        raise LogCorruptError(self._directory, file.name, offset, problem)


def _problem_of(text: bytes, count: int) -> str | None:
    """Tell what is wrong with a batch's record lines."""
    try:
        found = len(decode_lines(text))
    except RecordError as error:
        return f"a record that cannot be decoded ({str(error)[:200]})"
    return None if found == count else f"it should hold {count} records and holds {found}"


def end_of_order(batches: Batches, start: int) -> int:
    """Return up to where the batches from `start` on are numbered one by one."""
    numbers = batches.numbers
    if start == 0 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return len(numbers)
    stop = start + 1
    while stop < len(numbers) and numbers[stop] == numbers[stop - 1] + 1:
        stop += 1
    return stop
