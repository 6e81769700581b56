"""Names and order of the log's files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

from ..errors import LogCorruptError
from .files import Files, name_of, path_in

LOCK_NAME = "LOCK"

FILE_NUMBER_MAX = 10**17
"""The highest number of a file in a log that is not damaged."""

TOO_HIGH = f"its number is above {FILE_NUMBER_MAX}, which no queue gets to"

_NAME = re.compile(r"([0-9]{8,18})(\.snapshot)?\.jsonl")


def segment_name(number: int) -> str:
    """Return the file name of a segment."""
    return f"{number:08d}.jsonl"


def snapshot_name(number: int) -> str:
    """Return the file name of the snapshot of segments 1 to `number`."""
    return f"{number:08d}.snapshot.jsonl"


@dataclass(frozen=True)
class LogFile:
    """A segment or snapshot of the log."""

    path: str
    number: int
    snapshot: bool = False

    @property
    def name(self) -> str:
        """The file's name in its directory."""
        return name_of(self.path)


@dataclass(frozen=True)
class Listing:
    """The files of a log: what is to be read, in order, and what is left over.

    Attributes:
        files: the latest snapshot, if there is one, then the segments that follow it.
        stale: paths of temporary files, and of files that the snapshot has replaced.
        missing: ranges of segments that should be there: the first and the last of each.
    """

    files: list[LogFile] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    missing: list[tuple[int, int]] = field(default_factory=list)

    @property
    def next_segment(self) -> int:
        """The number of the segment that a start opens."""
        return self.files[-1].number + 1 if self.files else 1

    @property
    def after_snapshot(self) -> LogFile | None:
        """The segment directly behind the snapshot, if there is one."""
        return self.files[1] if len(self.files) > 1 and self.files[0].snapshot else None


def _parse_name(directory: str, name: str) -> LogFile | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    number, snapshot = int(match[1]), match[2] is not None
    if number == 0 or name != (snapshot_name if snapshot else segment_name)(number):
        return None
    return LogFile(path_in(directory, name), number, snapshot)


def list_log(files: Files, directory: str, through: int | None = None) -> Listing:
    """List the files of the log in `directory`. Names that are none of its own are passed over.

    Args:
        through: the last segment to list; `None` lists them all.

    Raises:
        LogCorruptError: a segment is missing, or one has a number that no queue gets to.
    """
    listing = list_present(files, directory, through)
    if listing.files and (highest := listing.files[-1]).number > FILE_NUMBER_MAX:
        raise LogCorruptError(directory, highest.name, 0, TOO_HIGH)
    for first, _ in listing.missing:
        raise LogCorruptError(directory, segment_name(first), 0, "the segment is missing")
    return listing


def list_present(files: Files, directory: str, through: int | None = None) -> Listing:
    """List what there is, as `list_log` does, even if segments are missing in between."""
    names = files.list_directory(directory)
    found = [f for name in names if (f := _parse_name(directory, name)) is not None]
    if through is not None:
        found = [f for f in found if f.number <= through]
    stale = [path_in(directory, name) for name in sorted(names) if name.endswith(".tmp")]
    base = max((f.number for f in found if f.snapshot), default=0)
    stale += sorted(f.path for f in found if f.number < base + (not f.snapshot))
    snapshot = [f for f in found if f.snapshot and f.number == base]
    segments = sorted((f for f in found if not f.snapshot and f.number > base), key=_number)
    numbers = [f.number for f in segments]
    if snapshot and not segments:
        missing = [(base + 1, base + 1)]  # compaction leaves the active segment alone
    else:
        pairs = pairwise([base, *numbers])
        missing = [(before + 1, after - 1) for before, after in pairs if after - before > 1]
    return Listing(snapshot + segments, stale, missing)


def _number(file: LogFile) -> int:
    return file.number
