"""How far a log went when it was last closed, in a small file beside it.

Without it nothing tells a last segment that was lost later from one that was never written. What
it says stays true: a log only grows, and a snapshot stands for what it replaces. So it is not
removed by a start; the next close replaces it.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from ..files import path_in

if TYPE_CHECKING:
    from ..files import Files

__all__ = ["CLOSED_NAME", "Closed", "read_closed", "write_closed"]

CLOSED_NAME = "CLOSED"
_BYTES_MAX = 512
_N = rb"(0|[1-9][0-9]{0,18})"
_LINE = re.compile(
    rb'(\{"format":"jobqueue-closed","segment":%b,"batch":%b),"crc":%b\}\n' % ((_N,) * 3)
)


class Closed(NamedTuple):
    """Up to segment `segment` and batch `batch` all was on the disk."""

    segment: int
    batch: int


def read_closed(files: Files, directory: str) -> Closed | None:
    """Read how far the log went; `None` if the file is not there, or is damaged.

    It may be missing: the log was never closed, or by the first release, or on a full disk.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    try:
        fd = files.open_read(path_in(directory, CLOSED_NAME))
    except FileNotFoundError:
        return None
    try:
        match = _LINE.fullmatch(files.read(fd, _BYTES_MAX, 0))
    finally:
        files.close(fd)
    # guard: checksum test of how far a log went
    #   without: if match is None:
    if match is None or crc32(match[1]) != int(match[4]):
        return None
    return Closed(int(match[2]), int(match[3]))


def write_closed(files: Files, directory: str, segment: int, batch: int) -> None:
    """Write down how far the log goes. All of it is on the disk, and nothing is appended any more.

    If it is killed, or the disk is full or fails, the file says what it said before, which is still
    true: so no such error is told of.
    """
    head = b'{"format":"jobqueue-closed","segment":%d,"batch":%d' % (segment, batch)
    path = path_in(directory, CLOSED_NAME)
    temporary = f"{path}.tmp"
    try:
        _write(files, temporary, b'%b,"crc":%d}\n' % (head, crc32(head)))
        files.rename(temporary, path)
        files.sync_directory(directory)
    except OSError:
        with contextlib.suppress(OSError):  # the next start removes it
            files.unlink(temporary)


def _write(files: Files, path: str, data: bytes) -> None:
    fd = files.create(path)
    try:
        files.write(fd, data, 0)
        files.sync_or_raise(fd)  # guard: fsync of how far a log went before its rename
    finally:
        files.close(fd)
