"""Cuts off what is torn, after a copy is kept, and makes a log ready for its next segment."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..names import Listing, LogFile, list_log, list_present

if TYPE_CHECKING:
    from ..files import Files

_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Cut:
    """What is to be cut off a file: all from `offset` on; `keep` if a copy must be kept."""

    file: LogFile
    offset: int
    keep: bool


@dataclass(frozen=True)
class Torn:
    """A torn tail: what is to be cut, first file first, and what is wrong where it begins."""

    cuts: tuple[Cut, ...]
    problem: str


def distrust_memory(files: Files, directory: str) -> None:
    """Have the last segment read from the disk by the replay that follows.

    After an fsync that failed, the kernel takes for clean what never reached the disk. Every read
    shows those bytes until the kernel happens to forget them; and the next fsync succeeds. Only
    the last segment can hold such bytes: no other was begun after that.

    Raises:
        OSError: what is in memory alone could not be brought to the disk now.
    """
    for file in list_present(files, directory).files[-1:]:
        fd = files.open_read(file.path)
        try:
            files.sync_or_raise(fd)
            files.forget_cached(fd)
        finally:
            files.close(fd)


def recover(files: Files, directory: str, torn: Torn | None) -> list[str]:
    """Make a log that was replayed ready for its next segment; call it with `torn` as found.

    Cuts off what is torn after copies are on the disk, removes temporary and replaced files, and
    fsyncs the last segment: its writer may have died before it did, and the next segment's header
    will attest all that came before it. May be killed at any point and called again.

    Returns:
        The paths of the copies.

    Raises:
        IsADirectoryError: a directory has the name of a temporary file; nothing was changed.
        OSError: as `ENOSPC`, if the copy could not be made; nothing was cut then.
    """
    # guard: a directory is refused before anything is changed
    refuse_directories(files, list_log(files, directory))
    cuts = torn.cuts if torn is not None else ()
    # guard: copy before truncation
    #   without: copies: list[str] = []
    copies = [copy for cut in cuts if cut.keep and (copy := _keep_copy(files, cut))]
    if copies:  # guard: directory fsync of the copy before truncation
        files.sync_directory(directory)
    # Last file first: a later segment would attest what is cut from an earlier one.
    # guard: the last file is cut first
    #   without: for cut in cuts:
    for cut in reversed(cuts):
        _cut_off(files, cut)
    listing = list_log(files, directory)
    if listing.stale:
        # The process may have died right after it renamed a snapshot: first that, then the rest.
        files.sync_directory(directory)  # guard: directory fsync before replaced files go
    for path in listing.stale:
        files.unlink(path)
    for file in listing.files[-1:]:
        _sync(files, file.path)  # guard: fsync of the last segment at a start
    files.sync_directory(directory)  # guard: directory fsync at the end of a recovery
    return copies


def refuse_directories(files: Files, listing: Listing) -> None:
    """Raise `IsADirectoryError` if one has the name of a file that `recover` would remove."""
    for path in listing.stale:
        if files.is_directory(path):
            raise IsADirectoryError(
                errno.EISDIR,
                "a directory has the name of a file that a start of the log removes; move it away",
                path,
            )


def _keep_copy(files: Files, cut: Cut) -> str | None:
    """Copy what is to be cut beside the file and fsync the copy."""
    source = files.open_read(cut.file.path)
    try:
        if files.size(source) <= cut.offset:
            return None
        path, copy = _create_copy(files, cut.file.path)
        try:
            offset = cut.offset
            while data := files.read(source, _COPY_BYTES, offset):
                files.write(copy, data, offset - cut.offset)
                offset += len(data)
            files.sync_or_raise(copy)  # guard: fsync of the copy before truncation
        finally:
            files.close(copy)
    finally:
        files.close(source)
    return path


def _create_copy(files: Files, path: str) -> tuple[str, int]:
    number = 1
    while True:
        name = f"{path}.torn" if number == 1 else f"{path}.torn.{number}"
        try:
            return name, files.create(name)
        except FileExistsError:
            number += 1


def _cut_off(files: Files, cut: Cut) -> None:
    fd = files.open_write(cut.file.path)
    try:
        files.truncate(fd, cut.offset)
        files.sync_or_raise(fd)
    finally:
        files.close(fd)
    if cut.offset == 0:
        files.unlink(cut.file.path)


def _sync(files: Files, path: str) -> None:
    fd = files.open_read(path)
    try:
        files.sync_or_raise(fd)
    finally:
        files.close(fd)
