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
from functools import partial
from operator import call
from typing import TYPE_CHECKING, Protocol

from .libc import FDATASYNC as _FDATASYNC
from .libc import allocate_portably, error_of, lock_in_memory, pwrite, sync_portably
from .mappable import no_store_can_fail
from .opening import FULL, Opener, Owner, Problem
from .place import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "FULL",
    "PAGE_BYTES",
    "Files",
    "Memory",
    "Owner",
    "Problem",
    "directory_of",
    "name_of",
    "path_in",
]

PAGE_BYTES = mmap.ALLOCATIONGRANULARITY
"""Offsets of maps are multiples of this."""


class Memory(Protocol):
    """A part of a file mapped into memory."""

    def __setitem__(self, where: slice, data: bytes, /) -> None: ...

    def close(self) -> None:
        """Unmap it."""
        ...


class Files(Opener):
    """File system calls of the log. They may be made from any thread.

    All methods but `sync` raise `OSError` as the call does; those that open a file name it.
    `EINTR` is never seen. See `Opener` for how files are found
    and locked.
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
        os.mkdir(path, self._directory_mode)
        os.chmod(path, self._directory_mode)  # whatever the umask left of it

    def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory, in no order."""
        place = self._places.get(path)
        if place is None:
            return os.listdir(path)
        fd = os.open(".", DIRECTORY, dir_fd=place.fd)  # not its own: two threads would share it
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

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

    def write_now(self, fd: int, data: bytes, offset: int) -> int:
        """Write by one call that keeps the GIL: no other thread runs before it has returned.

        A call that lets go of it hands over to another thread, and has to wait for its turn. So
        this is for few bytes that go to the kernel's memory.

        Returns:
            How many bytes were written; another number than that of `data` if it failed. It is
            not told why: a `write` that is tried after it will tell.
        """
        return pwrite(fd, data, offset)

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file to `length` bytes."""
        os.ftruncate(fd, length)

    def can_map(self, fd: int) -> bool:
        """Tell whether no store into a map of the file can fail, which would kill the process.

        It is asked of a file whose mapped part was written before, as `allocate` does.
        """
        return no_store_can_fail(fd)

    def allocate(self, fd: int, offset: int, length: int) -> None:
        """Reserve blocks for a part of the file, which grows to hold it, by filling it with NULs.

        fallocate(2) would take less time, and leave pages for whose first store the file system
        has something to do that may fail. Page by page, for what is written at once the kernel may
        keep as one large page, and write as a whole at each fsync of a record in it. By calls that
        keep the GIL: this thread would have to wait for it after each.

        Raises:
            OSError: as `ENOSPC`; some of it may be there.
        """
        end = offset + length
        while offset < end:
            page = bytes(min(PAGE_BYTES - offset % PAGE_BYTES, end - offset))
            if pwrite(fd, page, offset) != len(page):
                Files.write(self, fd, page, offset)  # or it tells why not
            offset += len(page)

    def map(self, fd: int, length: int, offset: int) -> Memory:
        """Map a part of the file, shared and locked; `offset` is a multiple of `PAGE_BYTES`.

        A page that had to be read again before a store could not be, if the disk fails.

        Raises:
            OSError: as `ENOMEM` if that is more memory than the process may lock.
        """
        memory = mmap.mmap(
            fd, length, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=offset
        )
        lock_in_memory(memory)  # guard: pages of a map stay in memory
        return memory

    def map_words(self, fd: int, count: int) -> memoryview:
        """Map the file's first 8-byte words, as `map` does, in the machine's own order."""
        memory = mmap.mmap(fd, count * 8, flags=mmap.MAP_SHARED)
        lock_in_memory(memory)
        return memoryview(memory).cast("Q")

    def fill(self, path: str, size: int) -> None:
        """Have a file take up so much of the disk, with no content; it is made if it is not there.

        Raises:
            OSError: as `ENOSPC`; it is not larger than it was.
        """
        fd = self._open(path, os.O_RDWR | os.O_CREAT)
        # guard: a file that has another name too is not filled
        if os.fstat(fd).st_nlink > 1:  # it is somebody's, and would be changed or cut
            os.close(fd)
            self.unlink(path)
            fd = self._open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            os.fchmod(fd, self._file_mode)
            before = os.fstat(fd).st_size
            if size < before:
                os.ftruncate(fd, size)
                return
            try:
                allocate_portably(fd, size)
            except OSError:
                os.ftruncate(fd, before)
                raise
        finally:
            os.close(fd)

    def free(self, directory: str) -> tuple[int, int]:
        """Return how many bytes are free for this user where a directory is, and of how many."""
        status = self._statvfs(directory)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    def has_inodes(self, directory: str, count: int = 1) -> bool:
        """Tell whether so many files could be made where a directory is, if inodes are counted."""
        status = self._statvfs(directory)
        return not status.f_files or status.f_favail >= count

    def lack(self, directory: str) -> str:
        """Say in words what there is none of where a directory is, after an error of `FULL`."""
        status = self._statvfs(directory)
        free = status.f_bavail * status.f_frsize
        if not self.has_inodes(directory):
            return f"its file system has no inode left (df -i), though {free} bytes are free"
        return f"{free} bytes and {status.f_favail} inodes are free on its file system"

    def _statvfs(self, directory: str) -> os.statvfs_result:
        place = self._places.get(directory)
        return os.statvfs(directory if place is None else place.fd)

    def size_of(self, path: str) -> int:
        """Return the length of a file in bytes."""
        name, directory = self._at(path)
        with _named(path):
            return os.stat(name, dir_fd=directory, follow_symlinks=False).st_size

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
        place = self._places.get(path)
        fd = os.open(path, DIRECTORY) if place is None else os.dup(place.fd)
        try:
            os.fsync(fd)  # guard: fsync of a directory, the call itself
        finally:
            os.close(fd)

    def rename(self, old: str, new: str) -> None:
        """Rename a file, replacing what has the new name."""
        (old_name, old_directory), (new_name, new_directory) = self._at(old), self._at(new)
        with _named(old):
            os.rename(old_name, new_name, src_dir_fd=old_directory, dst_dir_fd=new_directory)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        name, directory = self._at(path)
        with _named(path):
            os.unlink(name, dir_fd=directory)

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


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Have an error name the path, not a name that is relative to a descriptor."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise
