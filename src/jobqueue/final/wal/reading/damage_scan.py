"""Reads all of a log, whatever is wrong with it: each whole batch, each damage by its place.

A start reads through `replay`, which stops where something is wrong; this goes on behind it. It is
for verifying and for salvaging, and does not decide whether a log may be used.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..format.codec import RecordError
from ..names import LogFile, list_present
from .closed import CLOSED_NAME, read_closed
from .scan import Batches, Damage, blames_the_file
from .walk import End, Finding, Follows, Run, Walk, decode, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..files import Files
    from ..format.record import Record
    from .closed import Closed
    from .walk import Event

__all__ = ["FINDINGS_MAX", "DamageScan", "FileSummary", "Lost"]


FINDINGS_MAX = 1000
"""So many are told of one by one: a file can be nothing but damage."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Batches that are gone, or hold what is no record: from number `first` to number `last`."""

    first: int
    last: int
    in_snapshot: bool


@dataclass(slots=True)
class FileSummary:
    """What a file holds: its size, its whole batches, their records, their highest number."""

    file: LogFile
    bytes: int
    batches: int = 0
    records: int = 0
    last: int = 0

    def add(self, batches: Batches) -> None:
        """Count more batches in."""
        self.batches += len(batches)
        self.records += sum(batches.counts)
        self.last = max(self.last, *batches.numbers)


class DamageScan:
    """One pass through a log that may be damaged, in bounded memory (and 4 bytes a batch).

    Iterate over it once: it yields the records of all whole batches in the order in which they
    stand, in lists of one or more batches. An exact repetition is left out. After the end, the
    attributes tell what was found.

    Args:
        growing: the log is in use: its last file may end in a batch that is being written.

    Attributes:
        findings: what is wrong, in the order of the files. Beyond `FINDINGS_MAX` the last of them
            stands for all that follow.
        bytes_lost: size of all that is no whole batch.
        files: what each file holds.
        lost: the batches that are gone.
        batches: how many whole batches there are, each counted once, whose records are records.

    Raises:
        OSError: a file cannot be read, though it is a regular file; the error names it.
    """

    def __init__(self, files: Files, directory: str, *, growing: bool = False) -> None:
        self.findings: list[Finding] = []
        self.bytes_lost = 0
        self._more = 0  # findings that are not told of one by one
        self.files: list[FileSummary] = []
        self.batches = 0
        self._files = files
        self._directory = directory
        self._growing = growing
        self._may_lack_header: LogFile | None = None
        self._gone: list[Lost] = []
        self._undecodable: list[Lost] = []
        # Bytes that are no batch, not told of yet: what follows says more about them.
        self._damage: Damage | None = None

    @property
    def lost(self) -> list[Lost]:
        """The batches that are gone."""
        return self._gone + self._undecodable

    def __iter__(self) -> Iterator[list[Record]]:
        listing = list_present(self._files, self._directory)
        closed = self._read_closed()
        last = listing.files[-1] if listing.files else None
        was_closed = closed is not None and last is not None and last.number <= closed.segment
        if last != listing.after_snapshot and not was_closed:
            self._may_lack_header = last
        walk = Walk(self._files, listing, closed, lenient=True)
        with closing(walk.events()) as events:
            for event in events:
                self._heed(event)
                if isinstance(event, Run) and not event.repeated:
                    yield self._decode(event.batches)
        self._tell_of_more()

    def _read_closed(self) -> Closed | None:
        try:
            return read_closed(self._files, self._directory)
        except OSError as error:
            if not blames_the_file(error):
                raise
            self._tell(CLOSED_NAME, 0, 0, f"it cannot be read: {error.strerror}")
            return None

    def _heed(self, event: Event) -> None:
        """Note what is wrong."""
        match event:
            case LogFile():
                self.files.append(FileSummary(event, self._files.size_of(event.path)))
            case Batches():
                self.files[-1].add(event)
            case Damage():
                self._note_damage(event)
            case Run(batches, expected):
                self._close_gap(batches.file, batches.offset, expected, batches.numbers[0])
                if event.problem is not None:
                    self._tell_batch(batches, event.problem, whole=True)
            case Follows():
                self._follow(event)
            case Finding():
                if not event.whole:  # else the run that comes next tells more of the damage
                    self._tell_damage(unless_spare=True)
                self._add(event)
            case End():
                self._end(event)

    def _follow(self, event: Follows) -> None:
        """Check that a segment goes on where the last one ended."""
        if event.expected is None or event.first == event.expected:
            self._tell_damage(unless_spare=True)
            return
        self._close_gap(event.file, 0, event.expected, event.first)
        if event.first < event.expected:
            self._tell(event.file.name, 0, 0, event.problem)

    def _close_gap(self, file: LogFile, offset: int, expected: int | None, number: int) -> None:
        """Tell of batches missing before `number`, and of the damage that may be the reason."""
        if expected is None or number <= expected:
            self._tell_damage()
            return
        problem = missing(expected, number - 1)
        damage, self._damage = self._damage, None
        if damage is None:
            self._tell(file.name, offset, offset, problem)
        else:
            problem = f"{damage.problem}; {problem}"
            self._tell(damage.file.name, damage.offset, damage.end, problem)

    def _end(self, event: End) -> None:
        if self._is_being_written(event):
            self._damage = None
        self._tell_damage(unless_spare=not event.in_snapshot)
        self._gone += [Lost(first, last, event.in_snapshot) for first, last in event.gaps]

    def _is_being_written(self, event: End) -> bool:
        damage = self._damage
        growing = self._growing and not event.in_snapshot
        return growing and damage is not None and damage.file == self.files[-1].file

    def _decode(self, batches: Batches) -> list[Record]:
        try:
            records = decode(batches)
        except RecordError as error:
            if len(batches) > 1:
                return [record for one in batches.singly() for record in self._decode(one)]
            self._tell_batch(batches, str(error), whole=False)
            (number,) = batches.numbers
            if len(self._undecodable) < FINDINGS_MAX:
                self._undecodable.append(Lost(number, number, batches.file.snapshot))
            return []
        self.batches += len(batches)
        return records

    # Findings

    def _note_damage(self, damage: Damage) -> None:
        self._tell_damage(unless_spare=True)  # the end of the last file, if this has no header
        self._damage = damage

    def _tell_damage(self, *, unless_spare: bool = False) -> None:
        """Tell of damage; `unless_spare`: unless it is space that was reserved ahead.

        Reserved space follows a header. Only the last segment may have been left without one,
        unless it stands behind a snapshot.
        """
        damage, self._damage = self._damage, None
        if damage is None:
            return
        has_header = damage.offset > 0 or damage.file == self._may_lack_header
        if not (unless_spare and damage.nuls and has_header):
            self._tell(damage.file.name, damage.offset, damage.end, damage.problem)

    def _tell_batch(self, batch: Batches, problem: str, *, whole: bool) -> None:
        finding = Finding(batch.file.name, batch.offset, batch.offset_of(1), problem, whole)
        self._add(finding)

    def _tell(self, file: str, offset: int, end: int, problem: str) -> None:
        self._add(Finding(file, offset, end, problem))

    def _add(self, finding: Finding) -> None:
        if not finding.whole:
            self.bytes_lost += finding.end - finding.offset
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)
        else:
            self._more += 1

    def _tell_of_more(self) -> None:
        if self._more:
            last = self.findings[-1]
            problem = f"{last.problem}; and {self._more} more damages from here on"
            self.findings[-1] = replace(last, problem=problem)
