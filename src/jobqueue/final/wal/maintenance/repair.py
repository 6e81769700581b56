"""Salvages what is whole in a damaged log into a new one.

The new log appears under its name when it is complete and on the disk. The old one is only read.
"""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..appender import open_appender
from ..files import directory_of, path_in
from ..format.codec import encode_header
from ..names import FILE_NUMBER_MAX, list_present, segment_name, snapshot_name
from ..reading.closed import CLOSED_NAME, write_closed
from ..reading.damage_scan import DamageScan, Lost
from ..reading.scan import blames_the_file
from ..reading.version import refuse_later_version
from ..slots import SLOTS_NAME
from .snapshot import write_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..files import Files
    from ..format.record import Record
    from ..reading.walk import Finding

__all__ = ["Salvage", "repair"]

_SLOTS_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Salvage:
    """What became of a damaged log.

    Attributes:
        batches: whole batches that were found, each counted once.
        records: the records in them, all of which are in the new log.
        findings: what is wrong with the old log; see `DamageScan`.
        lost: the batches that are gone, as far as their numbers tell.
        bytes_lost: size of what was read and is not in the new log, because it is no whole batch.
    """

    batches: int
    records: int
    findings: tuple[Finding, ...]
    lost: tuple[Lost, ...]
    bytes_lost: int


def repair(files: Files, directory: str, new: str) -> Salvage:
    """Write the records of all whole batches of a log into a new log in the directory `new`.

    They keep their order and are in batches of other sizes there: in a snapshot, as if the old
    segments had been compacted. Which jobs were running when the process died is taken over too.
    The caller holds the old log's lock. If it fails, `new` is not there; it may be called again.

    Raises:
        LogVersionError: a later release has written it.
        FileExistsError: `new` is there already.
        FileNotFoundError: there is no log in `directory`.
        OSError: as `ENOSPC`; or a file cannot be read, though it is a regular file. If the
            disk is failing (`EIO`) the error says how to copy the file first.
    """
    refuse_later_version(files, directory)
    segments = list_present(files, directory).files
    if not segments:
        raise FileNotFoundError(
            errno.ENOENT, "no file of the log is left: there is nothing to salvage", directory
        )
    if _exists(files, new):
        raise FileExistsError(
            errno.EEXIST,
            "there is something at the new log's place; move it away, or name another",
            new,
        )
    partial = f"{new}.partial"
    _make_empty(files, partial)
    scan = DamageScan(files, directory)
    counter = _Counter()
    last = segments[-1].number
    through = last if last <= FILE_NUMBER_MAX // 2 else 1  # else the new log had few numbers left
    _write(files, partial, through, counter.count(scan))
    _copy_slots(files, directory, partial)
    files.sync_directory(partial)
    files.rename(partial, new)
    files.sync_directory(directory_of(new))
    return Salvage(
        scan.batches,
        counter.records,
        tuple(scan.findings),
        tuple(scan.lost),
        scan.bytes_lost,
    )


class _Counter:
    """Counts records on their way."""

    def __init__(self) -> None:
        self.records = 0

    def count(self, scan: DamageScan) -> Iterator[Record]:
        for records in scan:
            self.records += len(records)
            yield from records


def _exists(files: Files, path: str) -> bool:
    try:
        files.size_of(path)
    except FileNotFoundError:
        return False
    return True


def _make_empty(files: Files, partial: str) -> None:
    """Make the directory, or clear it of what a repair left that was killed."""
    files.make_directory(partial)
    names = files.list_directory(partial)
    ours = {f.path for f in list_present(files, partial).files}
    for path in (path_in(partial, name) for name in names):
        if path not in ours and not path.endswith((".tmp", SLOTS_NAME, CLOSED_NAME)):
            raise FileExistsError(errno.EEXIST, "a file that no repair has left", path)
    for name in names:
        files.unlink(path_in(partial, name))


def _write(files: Files, partial: str, through: int, records: Iterator[Record]) -> None:
    """Write a snapshot and the empty segment that follows one.

    Segments go on from the old log's numbers, which tell one run from another in `Crashed`;
    batches start anew.
    """
    write_snapshot(
        files, path_in(partial, snapshot_name(through)), encode_header(through, 1, 1), records
    )
    header = encode_header(through + 1, 1)
    path = path_in(partial, segment_name(through + 1))
    open_appender(files, path, header, mapped=False).finish()
    write_closed(files, partial, through + 1, 0)


def _copy_slots(files: Files, directory: str, partial: str) -> None:
    """Take over which jobs were running; without that, no job is blamed for the last crash."""
    with contextlib.suppress(FileNotFoundError):
        data = _read_slots(files, path_in(directory, SLOTS_NAME))
        fd = files.create(path_in(partial, SLOTS_NAME))
        try:
            files.write(fd, data, 0)
            files.sync_or_raise(fd)
        finally:
            files.close(fd)


def _read_slots(files: Files, path: str) -> bytes:
    try:
        fd = files.open_read(path)
        try:
            return files.read(fd, _SLOTS_BYTES_MAX, 0)
        finally:
            files.close(fd)
    except OSError as error:
        if blames_the_file(error) or error.errno == errno.EIO:
            return b""
        raise
