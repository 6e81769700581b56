"""Walks once through a whole log and yields all that it comes across, in the order of the files.

Every rule on headers, on the order of batches and on repetitions stands here. What follows from a
breach is for the readers: `replay` stops and judges, `damage_scan` goes on and collects.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from operator import ge
from typing import TYPE_CHECKING, NamedTuple

from ..format.codec import VERSION, Header, RecordError, decode_lines
from ..format.record import NUMBER_MAX
from ..names import FILE_NUMBER_MAX, TOO_HIGH, LogFile, segment_name
from .batch_numbers import BatchNumbers
from .scan import Batches, Damage, blames_the_file, scan

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ..files import Files
    from ..format.record import Record
    from ..names import Listing
    from .closed import Closed

__all__ = ["End", "Event", "Finding", "Follows", "Run", "Walk", "decode", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        file: name of the file.
        offset, end: the bytes that are damaged; equal if bytes are missing.
        problem: what is wrong there.
        whole: the bytes are a whole batch all the same.
    """

    file: str
    offset: int
    end: int
    problem: str
    whole: bool = False


class Follows(NamedTuple):
    """A file starts with batch `first`; `expected` should follow, `None` if it is not known."""

    file: LogFile
    first: int
    expected: int | None

    @property
    def problem(self) -> str:
        """What is wrong if the two differ."""
        if self.expected is not None and self.first > self.expected:
            return missing(self.expected, self.first - 1)
        return f"it starts with batch {self.first}; batch {self.expected} should follow"


class Run(NamedTuple):
    """Batches one after the other.

    Attributes:
        expected: the number that should follow; `None` if it is not known.
        repeated: they were seen before; otherwise they are new.
        problem: it is a single one whose number is too low, in these words; otherwise they are
            numbered one by one.
    """

    batches: Batches
    expected: int | None
    repeated: bool = False
    problem: str | None = None


class End(NamedTuple):
    """The end of the snapshot or the log: ranges of batches it lacks, and the number that follows.

    Nobody knows what follows if the snapshot lost its header.
    """

    in_snapshot: bool
    gaps: list[tuple[int, int]]
    following: int | None


Event = LogFile | Follows | Damage | Batches | Run | Finding | End


class Walk:
    """One pass through the files of a listing, in bounded memory (and 4 bytes a batch).

    Args:
        closed: how far the log went when it was last closed.
        lenient: what is no regular file is a finding, and no error.

    Attributes:
        orders: batches are put in order. A reader that has no use for their order any more clears
            it, and is given `Batches` without `Run`: that bounds what a hostile log costs.
    """

    def __init__(
        self,
        files: Files,
        listing: Listing,
        closed: Closed | None = None,
        *,
        lenient: bool = False,
    ) -> None:
        self.orders = True
        self._files = files
        self._log_files = listing.files
        self._missing = dict(listing.missing)
        self._closed = closed
        self._lenient = lenient
        self._numbers = BatchNumbers(1)
        self._following: int | None = None  # the batch behind the snapshot, by its header
        self._lacks_end = True  # the last batch of a snapshot is empty

    def events(self) -> Generator[Event, None, None]:
        """Yield each file, then what is in it; `Batches` come before what is told of them.

        Raises:
            OSError: a file cannot be read; the error names it.
        """
        number = 1
        for file in self._log_files:
            yield from self._tell_missing(number)
            yield file
            if file.number > FILE_NUMBER_MAX:
                yield Finding(file.name, 0, 0, TOO_HIGH)
            yield from self._read(file)
            if file.snapshot:
                yield from self._end_snapshot(file)
            number = file.number + 1
        yield from self._tell_missing(number)
        if self._closed is not None:
            yield from self._tell_lost_end(self._closed)
        yield End(False, list(self._numbers.gaps()), self._numbers.expected)

    def _tell_missing(self, number: int) -> Iterator[Finding]:
        last = self._missing.get(number)
        if last is not None:
            also = f", and so are all up to {segment_name(last)}" if last > number else ""
            yield Finding(segment_name(number), 0, 0, f"the segment is missing{also}")

    def _tell_lost_end(self, closed: Closed) -> Iterator[Finding]:
        """Compare where the log ends with where it ended when it was closed."""
        last = self._log_files[-1] if self._log_files else None
        number = 0 if last is None else last.number
        batch = self._numbers.last
        # guard: the last segments of a log that was closed are missed
        if number < closed.segment and number + 1 not in self._missing:
            problem = (
                f"the segment is missing; the log was closed with {segment_name(closed.segment)}"
            )
            yield Finding(segment_name(number + 1), 0, 0, problem)
        # guard: the last batches of a log that was closed are missed
        elif last is not None and self.orders and batch < closed.batch:
            size = self._files.size_of(last.path)
            problem = (
                f"it ends with batch {batch}; batch {closed.batch} was there at the last close"
            )
            yield Finding(last.name, size, size, problem)
        self._numbers.expect(closed.batch + 1)

    def _read(self, file: LogFile) -> Iterator[Event]:
        try:
            with closing(scan(self._files, file)) as items:
                for item in items:
                    if isinstance(item, Header):
                        yield self._check_header(file, item)
                        continue
                    yield item
                    if isinstance(item, Batches):
                        yield from _boasts(item)
                        yield from _too_high(item)
                        yield from self._order(item)
                    else:
                        self._lacks_end = False  # that is told by the damage, if it is the end
        except OSError as error:
            if not (self._lenient and blames_the_file(error)):
                raise
            yield Finding(file.name, 0, 0, f"it cannot be read: {error.strerror}")

    def _check_header(self, file: LogFile, header: Header) -> Finding | Follows:
        problem = _header_problem(header, file)
        if problem is not None:
            return Finding(file.name, 0, 0, problem)
        self._following = header.next
        expected = self._numbers.expected
        self._numbers.expect(header.first)
        return Follows(file, header.first, expected)

    def _end_snapshot(self, file: LogFile) -> Iterator[Finding | End]:
        if self._lacks_end:
            size = self._files.size_of(file.path)
            yield Finding(file.name, size, size, "the snapshot does not end as a snapshot does")
        yield End(True, list(self._numbers.gaps()), self._following)
        self._numbers = BatchNumbers(self._following)

    def _order(self, batches: Batches) -> Iterator[Run]:
        numbers = self._numbers
        start = 0
        while start < len(batches) and self.orders:
            number = batches.numbers[start]
            if number > NUMBER_MAX:  # that was told
                stop = start + 1
                yield Run(batches.part(start, stop), None)
                start = stop
                continue
            if number > numbers.last:
                stop = _end_of_order(batches, start)
                yield Run(batches.part(start, stop), numbers.expected)
            elif (stop := _end_of_repetition(batches, start, numbers)) > start:
                yield Run(batches.part(start, stop), numbers.expected, repeated=True)
                start = stop
                continue
            else:
                stop = start + 1
                problem = f"batch {number} stands behind batch {numbers.last}"
                if numbers.has_number(number):
                    problem = f"another batch with the number {number}"
                yield Run(batches.part(start, stop), numbers.expected, problem=problem)
            numbers.add(number, batches.crcs[start:stop])
            self._lacks_end = batches.counts[stop - 1] > 0
            start = stop


def missing(first: int, last: int) -> str:
    """Tell of batches that are not there, in the words of whoever reads a log."""
    return (
        f"batch {first} is missing" if first == last else f"batches {first} to {last} are missing"
    )


def _header_problem(header: Header, file: LogFile) -> str | None:
    """Tell what is wrong with a header whose checksum is right."""
    if header.version != VERSION:
        return f"its format version is {header.version}, this release reads {VERSION}"
    if header.number != file.number or (header.next is not None) != file.snapshot:
        return "the header is that of another file"
    if not 1 <= header.first <= NUMBER_MAX or (
        file.snapshot and (header.first != 1 or not 1 <= (header.next or 0) <= NUMBER_MAX)
    ):
        return "the header's batch numbers are impossible"
    return None


def _boasts(batches: Batches) -> Iterator[Finding]:
    """Find batches that attest what was not on the disk when they were written."""
    impossible = list(map(ge, batches.synced, batches.numbers))
    if True in impossible:  # guard: a batch attests earlier ones only
        problem = "a batch says of itself or a later one that it is on the disk"
        for index in (index for index, each in enumerate(impossible) if each):
            start, end = batches.offset_of(index), batches.offset_of(index + 1)
            yield Finding(batches.file.name, start, end, problem, whole=True)


def _too_high(batches: Batches) -> Iterator[Finding]:
    """Find batches whose number no queue gets to."""
    if max(batches.numbers) > NUMBER_MAX:  # guard: a batch's number is one that a queue gets to
        for index, number in enumerate(batches.numbers):
            if number > NUMBER_MAX:
                start, end = batches.offset_of(index), batches.offset_of(index + 1)
                problem = f"a batch with the number {number}, which no queue gets to"
                yield Finding(batches.file.name, start, end, problem, whole=True)


def _end_of_order(batches: Batches, start: int) -> int:
    """Return the index up to which the batches from `start` on are numbered one by one."""
    numbers = batches.numbers
    if start == 0 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return len(numbers)
    stop = start + 1
    # guard: sequence test within batches in a row
    #   without: while stop < len(numbers):
    while stop < len(numbers) and numbers[stop] == numbers[stop - 1] + 1:
        stop += 1
    return stop


def _end_of_repetition(batches: Batches, start: int, numbers: BatchNumbers) -> int:
    """Return the index up to which the batches from `start` on were all seen before."""
    stop = start
    while stop < len(batches) and numbers.has(batches.numbers[stop], batches.crcs[stop]):
        stop += 1
    return stop


def decode(batches: Batches) -> list[Record]:
    """Decode the records of batches.

    Raises:
        RecordError: it says what is wrong, of a single batch to the user.
    """
    try:
        records = decode_lines(b"\n".join(batches.texts))
    except RecordError as error:
        raise RecordError(f"a record that cannot be decoded ({str(error)[:200]})") from error
    count = sum(batches.counts)
    if len(records) != count:
        raise RecordError(f"it should hold {count} records and holds {len(records)}")
    return records
