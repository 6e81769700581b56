"""The one place where the log meets the operating system.

Everything else in this package takes a `Files`. So a test can put one behind it that records what
is written, fails, or loses what was not fsynced. Paths are text, files are descriptors.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import stat
import sys
from dataclasses import dataclass
from functools import partial
from operator import call
from typing import TYPE_CHECKING, Protocol

from ..errors import LogLockedError
from .libc import FDATASYNC as _FDATASYNC
from .libc import error_of, reserve, sync_portably

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "PAGE_BYTES",
    "Files",
    "Memory",
    "Owner",
    "directory_of",
    "name_of",
    "path_in",
]

PAGE_BYTES = mmap.ALLOCATIONGRANULARITY
"""Offsets of maps are multiples of this."""

# guard: files for their owner alone
#   without: _FILE_MODE = 0o644
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
# O_NONBLOCK: opening a FIFO in place of a log file must not wait for its other end.
# guard: O_NOFOLLOW
#   without: _SAFE = 0 | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


class Memory(Protocol):
    """A part of a file mapped into memory."""

    def __setitem__(self, where: slice, data: bytes, /) -> None: ...

    def close(self) -> None:
        """Unmap it."""
        ...


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lock: its id, or `None` if it cannot be told."""

    pid: int | None


class Files:
    """File system calls of the log. Stateless, so it may be used from any thread.

    All methods but `sync` raise `OSError` as the call does; those that open a file name it.
    `EINTR` is never seen.
    """

    def make_directory(self, path: str) -> None:
        """Make a directory for its owner alone, and its parents, each of them durable.

        One that exists is left as it is. If it is empty, the process that made it may have died
        before it was durable. So it is made durable now, as far as its parent can be opened.

        Raises:
            NotADirectoryError: something else is there.
        """
        parent = os.path.dirname(os.path.abspath(path))
        if not self.is_directory(path):
            self.make_directory(parent)
            self.create_directory(path)
            self.sync_directory(parent)  # guard: fsync of the parent of a new directory
            return
        with contextlib.suppress(PermissionError):
            if not self.list_directory(path):
                self.sync_directory(parent)  # guard: fsync of the parent of an empty directory

    def is_directory(self, path: str) -> bool:
        """Tell whether a directory is there."""
        return os.path.isdir(path)

    def create_directory(self, path: str) -> None:
        """Create a directory for its owner alone; see `make_directory`, which calls it."""
        if os.path.lexists(path):
            raise NotADirectoryError(errno.ENOTDIR, "the log needs a directory, not a file", path)
        os.mkdir(path, _DIRECTORY_MODE)
        os.chmod(path, _DIRECTORY_MODE)  # whatever the umask left of it

    def lock(self, path: str) -> int:
        """Lock the log through the file `path` and write the process id into it.

        `flock`, not `lockf`: it holds within a process too, and closing another descriptor of
        the file does not drop it.

        Returns:
            A descriptor, for `unlock`. A forked child shares the lock and must only `close` it.

        Raises:
            LogLockedError: another owner has it; at once.
        """
        _refuse_windows()
        fd = self._open(path, os.O_RDWR | os.O_CREAT)
        try:
            _flock(fd, path)
            os.fchmod(fd, _FILE_MODE)
            os.ftruncate(fd, 0)
            self.write(fd, b"%d\n" % os.getpid(), 0)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def unlock(self, fd: int) -> None:
        """Release the lock, even if a forked child still holds a copy of the descriptor."""
        try:
            fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            os.close(fd)

    def owner(self, path: str) -> Owner | None:
        """Tell which process holds the lock on the file `path`, without taking it; `None` if none.

        It looks by asking for a shared lock, which it lets go at once.
        """
        _refuse_windows()
        try:
            fd = self.open_read(path)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Owner(_read_pid(fd))
        finally:
            os.close(fd)
        return None

    def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory, in no order."""
        return os.listdir(path)

    def create(self, path: str) -> int:
        """Create a file that must not exist, for its owner alone, to read and write."""
        # guard: exclusive creation
        #   without: fd = self._open(path, os.O_RDWR | os.O_CREAT)
        fd = self._open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            os.fchmod(fd, _FILE_MODE)  # whatever the umask left of it
        except BaseException:
            os.close(fd)
            raise
        return fd

    def open_read(self, path: str) -> int:
        """Open a regular file to read; a symbolic link or anything else is refused."""
        return self._open(path, os.O_RDONLY)

    def open_write(self, path: str) -> int:
        """Open a regular file to read and write; a symbolic link or anything else is refused."""
        return self._open(path, os.O_RDWR)

    def _open(self, path: str, flags: int) -> int:
        try:
            fd = os.open(path, flags | _SAFE, _FILE_MODE)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                raise OSError(
                    error.errno, "a symbolic link where a log file should be is refused", path
                ) from None
            raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "a log file must be a regular file", path)
        return fd

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read up to `size` bytes at `offset`; empty at the end of the file."""
        return os.pread(fd, size, offset)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`; if it fails, some of it may have been written."""
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            if written == 0:
                raise OSError(errno.EIO, "a write wrote nothing")
            view = view[written:]
            offset += written

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file to `length` bytes."""
        os.ftruncate(fd, length)

    def allocate(self, fd: int, offset: int, length: int) -> None:
        """Reserve blocks for a part of the file, which grows to hold it, filled with NULs.

        fallocate(2) itself: `posix_fallocate` pretends if the file system cannot.

        Raises:
            OSError: `EOPNOTSUPP` if the file system does not promise the blocks; `ENOSPC`.
        """
        reserve(fd, offset, length)

    def map(self, fd: int, length: int, offset: int) -> Memory:
        """Map a part of the file, shared; `offset` is a multiple of `PAGE_BYTES`."""
        return mmap.mmap(
            fd, length, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=offset
        )

    def map_words(self, fd: int, count: int) -> memoryview:
        """Map the file's first 8-byte words, shared, in the machine's own order."""
        return memoryview(mmap.mmap(fd, count * 8, flags=mmap.MAP_SHARED)).cast("Q")

    def size_of(self, path: str) -> int:
        """Return the length of a file in bytes."""
        return os.lstat(path).st_size

    def sync(self, fd: int) -> int:
        """Return when the file's data, and the size to find it, are on the disk.

        An exception that comes out of it is never the disk's, but one that a signal's handler
        raised; `sync_portably` names the exception to that. The kernel tells of a failure once:
        a caller that stores the result at once, with no call between, cannot miss it.

        Returns:
            0, or the errno of the call that failed.
        """
        if _FDATASYNC is None:
            return sync_portably(fd)
        calls: tuple[Callable[[], int], ...] = (partial(_FDATASYNC, fd), ctypes.get_errno)
        number = errno.EINTR
        while number == errno.EINTR:
            # Both calls are made within one step of the interpreter, and no signal's handler can
            # run, and raise, before their results are stored. It could right after a plain call.
            # guard: fdatasync, the call itself
            #   without: failed = 0
            failed, number = map(call, calls)
            if not failed:
                return 0
        return number

    def sync_or_raise(self, fd: int) -> None:
        """Call `sync`, for callers that need no errno: its failure is raised as an `OSError`."""
        number = self.sync(fd)
        if number:
            raise error_of(number)

    def forget_cached(self, fd: int) -> None:
        """Have the file read from the disk from now on, as far as it has been fsynced.

        After an fsync that failed, what the kernel has in memory may never have got there. It
        is asked, not forced; if it cannot be asked, nothing happens.
        """
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync_directory(self, path: str) -> None:
        """Return when the names in a directory are on the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)  # guard: fsync of a directory, the call itself
        finally:
            os.close(fd)

    def rename(self, old: str, new: str) -> None:
        """Rename a file, replacing what has the new name."""
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)

    def size(self, fd: int) -> int:
        """Return the length of the file in bytes."""
        return os.fstat(fd).st_size

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)


def path_in(directory: str, name: str) -> str:
    """Return the path of a file in a directory."""
    return os.path.join(directory, name)


def name_of(path: str) -> str:
    """Return a file's name in its directory."""
    return os.path.basename(path)


def directory_of(path: str) -> str:
    """Return the directory that a file is in."""
    return os.path.dirname(path)


def _refuse_windows() -> None:
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, "persist_path needs Linux or macOS; Windows has no flock")


def _flock(fd: int, path: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # guard: flock
    except BlockingIOError:
        raise LogLockedError(os.path.dirname(path), _read_pid(fd)) from None


def _read_pid(fd: int) -> int | None:
    """The process that wrote the lock file last; `None` if the file does not say."""
    owner = os.pread(fd, 32, 0).strip()
    return int(owner) if owner.isdigit() else None
