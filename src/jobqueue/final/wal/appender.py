"""Appends to the active segment: one appender, over one of two windows into the file.

A window decides how bytes reach the kernel: by a copy into memory that is mapped, or by a system
call for each append. The appender knows how far the segment goes, and brings it to the disk.

A map is faster, but it has no way to tell that the file system could not take a store: the kernel
then kills the process (SIGBUS). So there is one only where no store can fail.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Protocol

from ..errors import LogWriteError
from .files import FULL, PAGE_BYTES, Problem, directory_of, name_of

if TYPE_CHECKING:
    from .files import Files, Memory

__all__ = [
    "WINDOW_BYTES",
    "Appender",
    "MappedWindow",
    "PlainWindow",
    "Window",
    "open_appender",
]

WINDOW_BYTES = 1 << 20
"""How far ahead of the last batch a mapped segment is allocated and mapped, about."""


# A file that cannot be mapped, or is more than the process may lock in memory, or for a part of
# which there is no room (EFBIG: `ulimit -f`): a batch may be smaller.
_NO_MAP = FULL | {
    *(errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EINVAL),
    *(errno.ENOMEM, errno.EAGAIN, errno.EPERM, errno.EFBIG),
}


class Window(Protocol):
    """How bytes reach the kernel. Offsets are those of the file.

    Guarantees: what was stored is the kernel's, and survives the death of the process. A store
    that fails leaves nothing of its bytes in the file, or says that it does.
    Relies on: one thread at a time stores and closes. Another one may `reserve` meanwhile.
    """

    @property
    def is_memory(self) -> bool:
        """Whether there is memory to copy into; if not, `place` never has any."""
        ...

    def place(self, position: int, size: int) -> tuple[Memory, int] | None:
        """Return memory with room for `size` bytes, and the index in it of `position`.

        It is for a caller that must not be interrupted between the copy and its own bookkeeping:
        the caller copies by itself. `None` if that many bytes do not fit without a system call.
        """
        ...

    def store_now(self, position: int, data: bytes) -> bool:
        """Store `data` without giving another thread a turn; `False` if not all of it was stored.

        Then some of it may be left in the file.
        """
        ...

    def reserve(self, position: int, size: int) -> None:
        """Make room so that `size` bytes fit at `position`, if the window has room to make.

        Raises:
            OSError: as `ENOSPC`; all is as it was.
        """
        ...

    def store(self, position: int, data: bytes) -> None:
        """Store `data`; if `place` has room for it, that is a copy in memory that cannot fail.

        Raises:
            OSError: as `ENOSPC`; if something of `data` is left in the file, `cut_off` is to be
                called before the next store.
            LogWriteError: some of `data` may be left and could not be cut off.
        """
        ...

    def cut_off(self, position: int) -> None:
        """Leave nothing in the file from `position` on, after a `store_now` that failed.

        Raises:
            OSError: the disk is so full that it cannot be done now.
            LogWriteError: it cannot be done.
        """
        ...

    def close(self) -> None:
        """Let go of memory. Nothing else may follow. The file stays open."""
        ...


class PlainWindow:
    """Stores with a system call each, and cuts off what is left of one that failed.

    `store` lets go of the GIL, which suits the log's thread and large batches. `store_now` keeps
    it: a caller's thread that lets go of it has to wait for its turn, ten times as long as the
    call takes, with the queue's mutex in its hands.
    """

    is_memory = False

    def __init__(self, files: Files, path: str, fd: int) -> None:
        self._files = files
        self._path = path
        self._fd = fd

    def place(self, position: int, size: int) -> tuple[Memory, int] | None:
        """There is no memory."""
        return None

    def reserve(self, position: int, size: int) -> None:
        """Do nothing: whether there is room shows when it is written."""

    def store(self, position: int, data: bytes) -> None:
        """Write `data`, or nothing of it; see `Window`."""
        try:
            self._files.write(self._fd, data, position)
        except OSError as error:
            self.cut_off(position, error)
            raise

    def store_now(self, position: int, data: bytes) -> bool:
        """Write `data` by one call that keeps the GIL; see `Window`."""
        return self._files.write_now(self._fd, data, position) == len(data)

    def cut_off(self, position: int, cause: OSError | None = None) -> None:
        """Cut the file, after a write that failed with `cause`, if that is known; see `Window`."""
        # guard: nothing is cut off if nothing is left
        if self._files.size(self._fd) <= position:
            return  # full, XFS and btrfs refuse to cut even there
        try:
            self._files.truncate(self._fd, position)  # guard: truncation of a write that broke off
        except OSError as error:
            # guard: a cut that a full disk refuses is made later
            if error.errno in FULL:
                raise
            raise LogWriteError(
                error.errno,
                "part of a batch could not be cut off after a failed write"
                + ("" if cause is None else f" ({cause})"),
                self._path,
            ) from error

    def close(self) -> None:
        """There is nothing to let go of."""


class MappedWindow:
    """Copies into a shared map of blocks that are reserved ahead; see `Window`.

    Relies on: a store into what `Files.allocate` has reserved cannot fail, or it would be a SIGBUS;
    the file is never cut where it is mapped.

    What `reserve` maps anew begins before the end of what is appended, covers all that the old
    map did from there on, and takes its place in one assignment: so another thread may copy
    meanwhile. The old map is unmapped when its last user lets go of it.
    """

    is_memory = True

    def __init__(self, files: Files, fd: int, position: int) -> None:
        """Raises `OSError` if the file cannot be allocated or mapped."""
        self._files = files
        self._fd = fd
        # Where the map begins and ends in the file, and the map: replaced together.
        self._view: tuple[int, int, Memory] = self._map(position, WINDOW_BYTES, position)

    def _map(self, position: int, size: int, reserved: int) -> tuple[int, int, Memory]:
        """Map what is behind `position`, of which what is behind `reserved` is new."""
        base = position - position % PAGE_BYTES
        length = -(-(position + max(size, WINDOW_BYTES) - base) // PAGE_BYTES) * PAGE_BYTES
        end = base + length
        try:
            self._files.allocate(self._fd, reserved, end - reserved)
        except OSError:
            with contextlib.suppress(OSError):  # the failure that led here is the one to tell of
                self._files.truncate(self._fd, reserved)  # it took the last blocks that are free
            raise
        return base, end, self._files.map(self._fd, length, base)

    def place(self, position: int, size: int) -> tuple[Memory, int] | None:
        """Return the map and where in it the next `size` bytes go, if they fit."""
        base, end, memory = self._view
        if position + size > end:
            return None
        return memory, position - base

    def reserve(self, position: int, size: int) -> None:
        """Allocate and map the next part, of `size` bytes or more; see the class."""
        self._view = self._map(position, size, self._view[1])

    def store(self, position: int, data: bytes) -> None:
        """Copy `data`, which must fit."""
        place = self.place(position, len(data))
        if place is None:
            raise ValueError(f"{len(data)} bytes do not fit; reserve them first")
        memory, start = place
        memory[start : start + len(data)] = data

    def store_now(self, position: int, data: bytes) -> bool:
        """Copy `data`, which must fit."""
        self.store(position, data)
        return True

    def cut_off(self, position: int) -> None:
        """Do nothing: what lies behind the end is taken for nothing, as reserved blocks are."""

    def close(self) -> None:
        """Unmap the file."""
        self._view[2].close()


class Appender:
    """A segment that grows at its end. One thread at a time, but `reserve` may run beside `append`.

    Attributes:
        path: the segment's file.
        position: length in bytes of what has been appended, header line included. A thread that
            copies into the window without `append` moves it on.
        window: how bytes get into the file.
        is_torn: whether something may be left behind `position`, of a store that failed or was
            interrupted.
    """

    def __init__(self, files: Files, path: str, fd: int, position: int, window: Window) -> None:
        self.path = path
        self.position = position
        self.window = window
        self.is_torn = False
        self._files = files
        self._fd = fd
        self._seen = position  # where it ended at the last look

    def fits(self, size: int) -> bool:
        """Tell whether `size` bytes can be appended without a system call."""
        return self.window.place(self.position, size) is not None

    def reserve(self, size: int) -> None:
        """Make room so that `size` bytes fit, if the window has room to make.

        A segment that cannot be mapped any more is written from here on. So is one on a
        disk that is nearly full.

        Raises:
            OSError: as `EIO`; all is as it was.
        """
        try:
            self.window.reserve(self.position, size)
        except OSError as error:
            if error.errno not in _NO_MAP:
                raise
            self.window.close()
            self.window = PlainWindow(self._files, self.path, self._fd)

    def append(self, data: bytes) -> None:
        """Append a batch; see `Window.store`, also for what it raises."""
        if self.is_torn:
            # guard: what is left of a store that failed is cut off
            self.window.cut_off(self.position)
        self.is_torn = True
        self.window.store(self.position, data)
        self.is_torn = False
        self.position += len(data)

    def sync(self) -> int:
        """Return when all that was appended before the call is on the disk; see `Files.sync`."""
        # guard: fdatasync of what was appended
        #   without: return 0
        return self._files.sync(self._fd)

    def sync_or_raise(self) -> None:
        """Do what `sync` does; see `Files.sync_or_raise`."""
        self._files.sync_or_raise(self._fd)

    def astray(self) -> Problem | None:
        """Tell what has become of the log; see `Files.astray`. Who delivers calls this.

        It is so, too, if somebody else has cut the file short: what is appended then would stand
        behind a hole, and no start would read it.
        """
        problem = self._files.astray(self.path, self._fd)
        if problem is None and self._is_cut():
            text = f"its file {name_of(self.path)} was cut short or overwritten by something else"
            problem = Problem(text, directory_gone=False, file_gone=True)
        return problem

    def _is_cut(self) -> bool:
        """Whether some of what was appended is not in the file any more."""
        end = self.position
        try:
            # guard: a segment that something else has cut short is noticed
            #   without: if False:
            if self._files.size(self._fd) < end:
                return True
            # Or it has grown again since, and there are NULs where a line ended.
            last = self._files.read(self._fd, 1, self._seen - 1)
        except OSError:
            return False  # it cannot be looked at just now: that tells nothing
        self._seen = end
        return last != b"\n"

    def finish(self) -> None:
        """Unmap the file, cut it to its length, fsync and close it. Nothing else may follow.

        If there is no room to cut it (btrfs), what is behind its end stays. The next start cuts it.
        """
        self.window.close()
        try:
            try:
                if self._files.size(self._fd) > self.position:
                    self._files.truncate(self._fd, self.position)
            except OSError as error:
                if error.errno not in FULL:
                    raise
            self._files.sync_or_raise(self._fd)
        finally:
            self._files.close(self._fd)

    def abandon(self) -> None:
        """Unmap the file and close it as it is. Nothing else may follow."""
        self.window.close()
        self._files.close(self._fd)


def open_appender(
    files: Files, path: str, header: bytes, *, mapped: bool, map_log: bool | None = None
) -> Appender:
    """Create a segment whose header line is on the disk, and so is its name.

    Args:
        files: the file system.
        path: must not exist.
        header: its header line.
        mapped: whether a map of the file is of use at all.
        map_log: whether to append through one then; `None`: if no store into it can fail.

    Raises:
        OSError: nothing is left of the file, as far as it can be removed.
    """
    fd = files.create(path)
    try:
        files.write(fd, header, 0)
        files.sync_or_raise(fd)  # guard: fsync of a new segment's header
        # guard: directory fsync after a segment was created
        files.sync_directory(directory_of(path))
        # Last, so that the fsync above has no window of NULs to write.
        window = _open_window(files, path, fd, len(header), mapped, map_log)
    except BaseException:
        _abandon(files, path, fd)
        raise
    return Appender(files, path, fd, len(header), window)


def _open_window(
    files: Files, path: str, fd: int, position: int, mapped: bool, map_log: bool | None
) -> Window:
    # guard: a map only where no store can fail
    #   without: if mapped and map_log is not False:
    if mapped and (files.can_map(fd) if map_log is None else map_log):
        try:
            return MappedWindow(files, fd, position)
        except OSError as error:
            if error.errno not in _NO_MAP:
                raise
            files.truncate(fd, position)  # of blocks that could be reserved but not mapped
    return PlainWindow(files, path, fd)


def _abandon(files: Files, path: str, fd: int) -> None:
    with contextlib.suppress(OSError):  # the failure that led here is the one to tell of
        files.unlink(path)
    files.close(fd)
