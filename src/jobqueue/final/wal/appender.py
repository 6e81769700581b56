"""The two ways to append to the active segment."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Protocol

from ..errors import LogWriteError
from .files import PAGE_BYTES, directory_of

if TYPE_CHECKING:
    from .files import Files, Window

__all__ = [
    "WINDOW_BYTES",
    "Appender",
    "MappedAppender",
    "PlainAppender",
    "open_appender",
]

WINDOW_BYTES = 1 << 20
"""How far ahead of the last batch a mapped segment is allocated and mapped, about."""


class Appender(Protocol):
    """The active segment. Not thread-safe but where `reserve` says so.

    Attributes:
        path: the segment's file.
        position: length in bytes of what has been appended, header line included.
        mapped: whether there is a map to copy into.
    """

    path: str
    position: int
    mapped: bool

    def fits(self, size: int) -> bool:
        """Tell whether `size` bytes can be appended without a system call."""
        ...

    def place(self, size: int) -> tuple[Window, int] | None:
        """Return the map and the index in it of `position`, where so many bytes fit.

        For a caller that must not be interrupted between the copy and its own bookkeeping: it
        copies them and moves `position` on by itself.
        """
        ...

    def reserve(self, size: int) -> None:
        """Make room so that `size` bytes fit, where the appender has room to make.

        Raises:
            OSError: as `ENOSPC`; all is as it was.
        """
        ...

    def append(self, data: bytes) -> None:
        """Append a batch; with `fits` it is a copy in memory that cannot fail.

        Raises:
            OSError: as `ENOSPC`; nothing of `data` is left in the segment.
            LogWriteError: some of `data` may be left and could not be cut off.
        """
        ...

    def sync(self) -> int:
        """Return when all that was appended before the call is on the disk; see `Files.sync`."""
        ...

    def sync_or_raise(self) -> None:
        """Do what `sync` does; see `Files.sync_or_raise`."""
        ...

    def finish(self) -> None:
        """Cut the file to its length, fsync and close it. Nothing else may follow."""
        ...

    def abandon(self) -> None:
        """Close the file as it is. Nothing else may follow."""
        ...


class PlainAppender:
    """Appends with a system call each; see `Appender`."""

    mapped = False

    def __init__(self, files: Files, path: str, fd: int, position: int) -> None:
        self.path = path
        self.position = position
        self._files = files
        self._fd = fd

    def fits(self, size: int) -> bool:
        """Never: each append is a system call."""
        return False

    def place(self, size: int) -> tuple[Window, int] | None:
        """There is none: nothing ever fits."""
        return None

    def reserve(self, size: int) -> None:
        """Do nothing: whether there is room shows when it is written."""

    def append(self, data: bytes) -> None:
        """Write `data`, or nothing of it; see `Appender`."""
        try:
            self._files.write(self._fd, data, self.position)
        except OSError as error:
            self._cut_off(error)
            raise
        self.position += len(data)

    def _cut_off(self, cause: OSError) -> None:
        try:
            self._files.truncate(self._fd, self.position)
        except OSError as error:
            raise LogWriteError(
                error.errno,
                f"part of a batch could not be cut off after a failed write ({cause})",
                self.path,
            ) from error

    def sync(self) -> int:
        """Return when all that was appended before the call is on the disk; see `Files.sync`."""
        return self._files.sync(self._fd)

    def sync_or_raise(self) -> None:
        """Do what `sync` does; see `Files.sync_or_raise`."""
        self._files.sync_or_raise(self._fd)

    def finish(self) -> None:
        """Cut the file to its length, fsync and close it."""
        _finish(self._files, self._fd, self.position)

    def abandon(self) -> None:
        """Close the file as it is."""
        self._files.close(self._fd)


class MappedAppender:
    """Appends by copying into a shared map of blocks that are reserved ahead.

    Guarantees: what `append` copied is the kernel's when it returns and survives the death of
    the process. Relies on: `Files.allocate` really reserves, or a full disk would be a SIGBUS;
    the file is never cut while it is mapped.

    One thread may `reserve` while another one appends: the new window begins before the end of
    what is appended, covers all that the old one did from there on, and takes its place in one
    assignment. The old one is unmapped when the last user lets go of it.
    """

    mapped = True

    def __init__(self, files: Files, path: str, fd: int, position: int) -> None:
        """Raises `OSError` where the file cannot be allocated or mapped."""
        self.path = path
        self.position = position
        self._files = files
        self._fd = fd
        # Where the window begins and ends in the file, and the window: replaced together.
        self._view: tuple[int, int, Window] = self._map(WINDOW_BYTES)

    def _map(self, size: int) -> tuple[int, int, Window]:
        position = self.position
        base = position - position % PAGE_BYTES
        length = -(-(position + max(size, WINDOW_BYTES) - base) // PAGE_BYTES) * PAGE_BYTES
        self._files.allocate(self._fd, base, length)
        return base, base + length, self._files.map(self._fd, length, base)

    def fits(self, size: int) -> bool:
        """Tell whether `size` bytes are left in the window."""
        return self.position + size <= self._view[1]

    def place(self, size: int) -> tuple[Window, int] | None:
        """Return the map and where in it the next `size` bytes go, where they fit."""
        base, end, window = self._view
        if self.position + size > end:
            return None
        return window, self.position - base

    def reserve(self, size: int) -> None:
        """Allocate and map the next window, of `size` bytes or more; see the class."""
        self._view = self._map(size)

    def append(self, data: bytes) -> None:
        """Copy `data`, which must fit."""
        place = self.place(len(data))
        if place is None:
            raise ValueError(f"{len(data)} bytes do not fit; reserve them first")
        window, start = place
        window[start : start + len(data)] = data
        self.position += len(data)

    def sync(self) -> int:
        """Return when all that was appended before the call is on the disk; see `Files.sync`."""
        return self._files.sync(self._fd)

    def sync_or_raise(self) -> None:
        """Do what `sync` does; see `Files.sync_or_raise`."""
        self._files.sync_or_raise(self._fd)

    def finish(self) -> None:
        """Unmap the window, then cut the file to its length, fsync and close it."""
        self._view[2].close()
        _finish(self._files, self._fd, self.position)

    def abandon(self) -> None:
        """Unmap the window and close the file as it is."""
        self._view[2].close()
        self._files.close(self._fd)


def _finish(files: Files, fd: int, length: int) -> None:
    try:
        files.truncate(fd, length)
        files.sync_or_raise(fd)
    finally:
        files.close(fd)


def open_appender(files: Files, path: str, header: bytes, mapped: bool) -> Appender:
    """Create a segment whose header line is on the disk, and so is its name.

    Args:
        files: the file system.
        path: must not exist.
        header: its header line.
        mapped: append through a map of the file where the file system allows that.

    Raises:
        OSError: nothing is left of the file, as far as it can be removed.
    """
    fd = files.create(path)
    try:
        files.write(fd, header, 0)
        appender = _appender(files, path, fd, len(header), mapped)
        files.sync_or_raise(fd)
        files.sync_directory(directory_of(path))
    except BaseException:
        _abandon(files, path, fd)
        raise
    return appender


def _appender(files: Files, path: str, fd: int, position: int, mapped: bool) -> Appender:
    if mapped:
        try:
            return MappedAppender(files, path, fd, position)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EINVAL):
                raise
            files.truncate(fd, position)  # of blocks that could be reserved but not mapped
    return PlainAppender(files, path, fd, position)


def _abandon(files: Files, path: str, fd: int) -> None:
    with contextlib.suppress(OSError):  # the failure that led here is the one to tell of
        files.unlink(path)
    files.close(fd)
