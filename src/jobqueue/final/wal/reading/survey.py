"""Walks through a whole log, whatever is wrong with it: each whole batch, each damage by its place.

A start reads through `replay`, which stops where something is wrong; this goes on behind it. It is
for verifying and for salvaging, and does not decide whether a log may be used.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..format.codec import VERSION, Header, RecordError, decode_lines
from ..names import LogFile, list_present, segment_name
from .batch_numbers import BatchNumbers
from .replay import end_of_order
from .scan import Batches, Damage, blames_the_file, scan

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ..files import Files
    from ..format.record import Record

__all__ = ["FileSummary", "Finding", "Lost", "Survey"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        file: name of the file.
        offset, end: the bytes that are damaged; equal where bytes are missing.
        problem: what is wrong there.
        whole: the bytes are a whole batch all the same.
    """

    file: str
    offset: int
    end: int
    problem: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """Batches that are gone, or hold what is no record: from number `first` to number `last`."""

    first: int
    last: int
    in_snapshot: bool


@dataclass(slots=True)
class FileSummary:
    """What a file holds: its size, its whole batches, their records, their highest number.

    `ends_empty`: the last batch has no record, as that of a snapshot and of a sealed segment.
    """

    file: LogFile
    bytes: int
    batches: int = 0
    records: int = 0
    last: int = 0
    ends_empty: bool = False

    def add(self, batches: Batches) -> None:
        """Count more batches in."""
        self.batches += len(batches)
        self.records += sum(batches.counts)
        self.last = max(self.last, *batches.numbers)
        self.ends_empty = batches.counts[-1] == 0


class Survey:
    """One pass through a log that may be damaged, in bounded memory (and 4 bytes a batch).

    Iterate over it once: it yields the records of all whole batches in the order in which they
    stand, in lists of one or more batches; an exact repetition is left out. After the end, the
    attributes tell what was found.

    Args:
        growing: the log is in use: its last file may end in a batch that is being written.

    Attributes:
        findings: all that is wrong, in the order of the files.
        files: what each file holds.
        batches: how many whole batches there are, each counted once, whose records are records.

    Raises:
        OSError: a file cannot be read, though it is a regular file; the error names it.
    """

    def __init__(self, files: Files, directory: str, *, growing: bool = False) -> None:
        self.findings: list[Finding] = []
        self.files: list[FileSummary] = []
        self.batches = 0
        self._files = files
        self._directory = directory
        self._growing = growing
        self._numbers = BatchNumbers(1)
        self._in_snapshot = False
        self._unreadable: list[Lost] = []
        self._lost: list[Lost] = []
        # Bytes that are no batch, not told of yet: what follows says more about them.
        self._damage: Damage | None = None

    @property
    def lost(self) -> list[Lost]:
        """The batches that are gone."""
        return self._lost + self._unreadable

    @property
    def next_segment(self) -> int:
        """The number of the segment that would follow."""
        return self.files[-1].file.number + 1 if self.files else 1

    def __iter__(self) -> Iterator[list[Record]]:
        listing = list_present(self._files, self._directory)
        missing = dict(listing.missing)
        for file in listing.files:
            self._note_missing(self.next_segment, missing)
            summary = FileSummary(file, self._files.size_of(file.path))
            self.files.append(summary)
            yield from self._read_snapshot(summary) if file.snapshot else self._read(summary)
        self._note_missing(self.next_segment, missing)
        self._end()

    def _note_missing(self, first: int, missing: dict[int, int]) -> None:
        last = missing.get(first)
        if last is not None:
            self._tell_damage()
            also = f", and so are all up to {segment_name(last)}" if last > first else ""
            self._tell(segment_name(first), 0, 0, f"the segment is missing{also}")

    # Files

    def _read_snapshot(self, summary: FileSummary) -> Iterator[list[Record]]:
        self._in_snapshot = True
        header = yield from self._read(summary)
        if self._damage is not None:
            self._tell_damage()
        elif not summary.ends_empty:
            size = summary.bytes
            problem = "the snapshot does not end as a snapshot does"
            self._tell(summary.file.name, size, size, problem)
        self._note_lost()
        self._numbers = BatchNumbers(None if header is None else header.next)
        self._in_snapshot = False

    def _read(self, summary: FileSummary) -> Generator[list[Record], None, Header | None]:
        file = summary.file
        header: Header | None = None
        try:
            with closing(scan(self._files, file)) as items:
                for item in items:
                    if isinstance(item, Header):
                        header = self._check_header(file, item)
                    elif isinstance(item, Damage):
                        self._note_damage(item)
                    else:
                        yield from self._take(item, summary)
        except OSError as error:
            if not blames_the_file(error):
                raise
            self._tell(file.name, 0, 0, f"it cannot be read: {error.strerror}")
        return header

    def _check_header(self, file: LogFile, header: Header) -> Header | None:
        problem = _problem_of(header, file)
        if problem is not None:
            self._tell_damage()
            self._tell(file.name, 0, 0, problem)
            return None
        if not file.snapshot:
            self._follow(file, header.first)
        return header

    def _follow(self, file: LogFile, first: int) -> None:
        """Check that a segment goes on where the last one ended."""
        expected = self._numbers.expected
        if expected is not None and first > expected:
            self._tell_gap(file, 0, expected, first - 1)
        elif expected is not None and first < expected:
            self._tell_damage()
            problem = f"it starts with batch {first}; batch {expected} should follow"
            self._tell(file.name, 0, 0, problem)
        else:
            self._tell_damage(unless_nuls=True)  # those were reserved space
        self._numbers.expect(first)

    # Batches

    def _take(self, batches: Batches, summary: FileSummary) -> Iterator[list[Record]]:
        """Yield the records of those batches that were not seen before."""
        self._note_boasts(batches)
        summary.add(batches)
        start = 0
        while start < len(batches):
            number = batches.numbers[start]
            stop = start + 1
            if number > self._numbers.last:
                stop = end_of_order(batches, start)
                self._close_gap(batches.file, batches.offset_of(start), number)
            elif self._numbers.has(number, batches.crcs[start]):
                self._tell_damage()
                start = stop
                continue
            else:
                self._note_disorder(batches, start)
            self._numbers.add(number, batches.crcs[start:stop])
            self.batches += stop - start
            yield self._decode(batches.part(start, stop))
            start = stop

    def _close_gap(self, file: LogFile, offset: int, number: int) -> None:
        expected = self._numbers.expected
        if expected is not None and number > expected:
            self._tell_gap(file, offset, expected, number - 1)
        else:
            self._tell_damage()

    def _note_boasts(self, batches: Batches) -> None:
        for index, synced in enumerate(batches.synced):
            if synced >= batches.numbers[index]:
                problem = "a batch says of itself or a later one that it is on the disk"
                self._tell_batch(batches, index, problem, whole=True)

    def _note_disorder(self, batches: Batches, index: int) -> None:
        self._tell_damage()
        number, last = batches.numbers[index], self._numbers.last
        if self._numbers.has_number(number):
            problem = f"another batch with the number {number}"
        else:
            problem = f"batch {number} stands behind batch {last}"
        self._tell_batch(batches, index, problem, whole=True)

    def _decode(self, batches: Batches) -> list[Record]:
        try:
            records = decode_lines(b"\n".join(batches.texts))
            if len(records) == sum(batches.counts):
                return records
        except RecordError:
            pass  # which of them it is shows below
        ones = (self._decode_one(batches, index) for index in range(len(batches)))
        return [record for one in ones for record in one]

    def _decode_one(self, batches: Batches, index: int) -> list[Record]:
        problem = "its records are not as many as it says"
        try:
            records = decode_lines(batches.texts[index])
            if len(records) == batches.counts[index]:
                return records
        except RecordError as error:
            problem = f"a record that cannot be decoded ({str(error)[:200]})"
        self._tell_batch(batches, index, problem, whole=False)
        self.batches -= 1
        number = batches.numbers[index]
        self._unreadable.append(Lost(number, number, self._in_snapshot))
        return []

    # Findings

    def _note_damage(self, damage: Damage) -> None:
        self._tell_damage(unless_nuls=True)  # the end of the last file, where this has no header
        if damage.offset == 0 < damage.end and not damage.nuls:
            damage = replace(damage, problem="the header is damaged")
        self._damage = damage

    def _tell_gap(self, file: LogFile, offset: int, first: int, last: int) -> None:
        """Tell of batches that are missing, and of the damage that is the reason, if there is."""
        problem = f"{_batches(first, last)} missing"
        damage, self._damage = self._damage, None
        if damage is None:
            self._tell(file.name, offset, offset, problem)
        else:
            problem = f"{damage.problem}; {problem}"
            self._tell(damage.file.name, damage.offset, damage.end, problem)

    def _tell_damage(self, *, unless_nuls: bool = False) -> None:
        damage, self._damage = self._damage, None
        if damage is not None and not (damage.nuls and unless_nuls):
            self._tell(damage.file.name, damage.offset, damage.end, damage.problem)

    def _tell_batch(self, batches: Batches, index: int, problem: str, *, whole: bool) -> None:
        start, end = batches.offset_of(index), batches.offset_of(index + 1)
        self.findings.append(Finding(batches.file.name, start, end, problem, whole))

    def _tell(self, file: str, offset: int, end: int, problem: str) -> None:
        self.findings.append(Finding(file, offset, end, problem))

    def _note_lost(self) -> None:
        gaps = self._numbers.gaps()
        self._lost += [Lost(first, last, self._in_snapshot) for first, last in gaps]

    def _end(self) -> None:
        damage = self._damage
        if damage is not None and self._growing and damage.file == self.files[-1].file:
            self._damage = None
        self._tell_damage(unless_nuls=True)
        self._note_lost()


def _problem_of(header: Header, file: LogFile) -> str | None:
    """Tell what is wrong with a header whose checksum is right."""
    if header.version != VERSION:
        return f"its format version is {header.version}, this release reads {VERSION}"
    if header.number != file.number or (header.next is not None) != file.snapshot:
        return "the header is that of another file"
    if header.first < 1 or (file.snapshot and (header.first != 1 or not header.next)):
        return "the header's batch numbers are impossible"
    return None


def _batches(first: int, last: int) -> str:
    return f"batch {first} is" if first == last else f"batches {first} to {last} are"
