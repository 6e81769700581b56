"""How the files of a log are found and opened, and how a log is locked.

Only `files` uses this module.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING

from .place import Owner, Place, Problem, check_trust, is_named, lock_place, owner_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FULL", "Opener", "Owner", "Problem"]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errnos of a file system, or of a user's share of it, that has no room."""

# guard: files for their owner alone
#   without: _FILE_MODE = 0o644
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_SHARED_FILE_MODE = 0o660
_SHARED_DIRECTORY_MODE = 0o770
# O_NONBLOCK: opening a FIFO in place of a log file must not wait for its other end.
# guard: O_NOFOLLOW
#   without: _SAFE = 0 | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


class Opener:
    """The part of `Files` that finds, opens and locks.

    A directory that is locked is held open, and the files in it are found by its descriptor: what
    its path leads to meanwhile is of no consequence.

    Attributes:
        shared: whether directories and files of logs may belong to other users, and be written to
            by others (`Config.allow_shared`).
    """

    shared = False
    _places: Mapping[str, Place] = MappingProxyType({})  # by path; replaced as a whole

    @property
    def _file_mode(self) -> int:
        return _SHARED_FILE_MODE if self.shared else _FILE_MODE

    @property
    def _directory_mode(self) -> int:
        return _SHARED_DIRECTORY_MODE if self.shared else _DIRECTORY_MODE

    def create(self, path: str) -> int:
        """Create a file that must not exist, for its owner alone, to read and write."""
        # guard: exclusive creation
        #   without: fd = self._open(path, os.O_RDWR | os.O_CREAT)
        fd = self._open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            os.fchmod(fd, self._file_mode)  # whatever the umask left of it
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

    def _open(self, path: str, flags: int, place: Place | None = None) -> int:
        name, directory = self._at(path)
        if place is not None:
            name, directory = os.path.basename(path), place.fd
        try:
            fd = os.open(name, flags | _SAFE, self._file_mode, dir_fd=directory)
        except OSError as error:
            error.filename = path
            if error.errno in (errno.ELOOP, errno.EMLINK):
                raise OSError(
                    error.errno, "a symbolic link where a log file should be is refused", path
                ) from None
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "a log file must be a regular file", path)
            check_trust(status, path, self.shared)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _at(self, path: str) -> tuple[str, int | None]:
        directory, name = os.path.split(path)
        place = self._places.get(directory)
        return (path, None) if place is None else (name, place.fd)

    def lock(self, path: str) -> int:
        """Lock the log through its directory and the file `path` in it; see `lock_place`.

        Returns:
            A descriptor, for `unlock`. A forked child shares the lock and must only `disown` it.

        Raises:
            LogLockedError: another owner has it; at once.
            PermissionError: the directory or the file is not for its owner alone.
        """
        _refuse_windows()
        place = lock_place(
            path, lambda place: self._open(path, os.O_RDWR | os.O_CREAT, place), self.shared
        )
        try:
            self._sign(place.lock_fd)
        except BaseException:
            place.close()
            raise
        self._places = MappingProxyType({**self._places, place.path: place})
        return place.lock_fd

    def _sign(self, lock_fd: int) -> None:
        """Write the process id into the lock's file; on a full disk it stays empty."""
        if os.fstat(lock_fd).st_uid == os.geteuid():
            os.fchmod(lock_fd, self._file_mode)
        pid = b"%d\n" % os.getpid()
        try:
            os.pwrite(lock_fd, pid, 0)
            os.ftruncate(lock_fd, len(pid))
        except OSError as error:
            if error.errno not in FULL:
                raise
            os.ftruncate(lock_fd, 0)  # it is for people alone

    def unlock(self, fd: int) -> None:
        """Release the lock, even if a forked child still holds a copy of the descriptor."""
        self._forget(fd).unlock()

    def disown(self, fd: int) -> None:
        """In a forked child: close the copies of the lock's descriptors."""
        self._forget(fd).close()

    def _forget(self, fd: int) -> Place:
        (place,) = (each for each in self._places.values() if each.lock_fd == fd)
        rest = {path: each for path, each in self._places.items() if each is not place}
        self._places = MappingProxyType(rest)
        return place

    def why_unlocked(self, directory: str) -> str | None:
        """Why a directory that is locked is so by a file alone; `None` if it is itself."""
        place = self._places.get(directory)
        return None if place is None else place.why_unlocked

    def astray(self, path: str, fd: int) -> Problem | None:
        """Tell what happened if a log is no longer where its path leads.

        Args:
            path: of a file in the log's directory; if that is not locked, nothing can be told.
            fd: the file's descriptor.
        """
        directory, name = os.path.split(path)
        place = self._places.get(directory)
        if place is None:
            return None
        text = place.problem()
        if text is None and not is_named(fd, name, place.fd):
            text = f"its file {name} was removed, renamed or replaced"
        if text is None:
            return None
        directory_gone = os.fstat(place.fd).st_nlink == 0
        return Problem(text, directory_gone, directory_gone or os.fstat(fd).st_nlink == 0)

    def owner(self, path: str) -> Owner | None:
        """Tell which process holds the log's lock, the file `path`, without taking it.

        Returns:
            `None` if none does.

        Raises:
            PermissionError: the directory or the file is not for its owner alone.
        """
        _refuse_windows()
        lock_fd = None
        with contextlib.suppress(FileNotFoundError):
            lock_fd = self.open_read(path)
        try:
            return owner_of(os.path.dirname(path), lock_fd, self.shared)
        finally:
            if lock_fd is not None:
                os.close(lock_fd)


def _refuse_windows() -> None:
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, "persist_path needs Linux or macOS; Windows has no flock")
