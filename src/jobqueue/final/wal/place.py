"""A log's directory, held open and locked: whatever becomes of its path, it stays the same one.

A path may come to name something else while a queue runs: a cleaner removes the directory, a
deployment renames it or switches a link in the path. So the files of a log are opened relative to
the directory's descriptor, and `Place.problem` tells when the path no longer leads there.

Only `files` uses this module.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import LogLockedError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DIRECTORY",
    "Owner",
    "Place",
    "Problem",
    "check_trust",
    "is_named",
    "lock_place",
    "owner_of",
]

_SHARED_ADVICE = (
    "whoever can write there can have any job run. If that is meant, allow it with "
    "Config(allow_shared=True), or the option --allow-shared"
)
_TAKEN = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})
# Of a flock on a directory: NFS wants a descriptor that can write; some file systems have none.
_NO_LOCK = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lock: its id, or `None` if it cannot be told."""

    pid: int | None


@dataclass(frozen=True, slots=True)
class Problem:
    """What has become of a log that was taken away.

    Attributes:
        text: what happened.
        directory_gone: whether the directory has been removed, not only its path taken from it.
        file_gone: whether the file that is written to has been removed, or cut short.
    """

    text: str
    directory_gone: bool
    file_gone: bool


@dataclass(slots=True)
class Place:
    """A directory that is held open, and locked by a lock of its own and by one on `LOCK` in it.

    Attributes:
        path: absolute; what it was opened by.
        fd: its descriptor; -1 after the end, so that no other file is taken for it.
        lock_name: the name of `LOCK`.
        lock_fd: its descriptor; -1 after the end.
        why_unlocked: why only `LOCK` could be locked, and not the directory itself.
    """

    path: str
    fd: int
    lock_name: str
    lock_fd: int = -1
    why_unlocked: str | None = None

    def problem(self) -> str | None:
        """Tell what happened, if the path or the lock's name no longer leads to what is held."""
        here = os.fstat(self.fd)
        if here.st_nlink == 0:
            return "its directory was removed"
        try:
            there = os.stat(self.path)
        except OSError as error:
            if error.errno in _TAKEN:
                return "its directory, or one above it, was renamed or removed"
            there = here  # it cannot be looked at just now: that tells nothing
        if not os.path.samestat(here, there):
            return "its path leads to another directory now, as after a rename or a switched link"
        if not is_named(self.lock_fd, self.lock_name, self.fd):
            return f"its file {self.lock_name} was removed, renamed or replaced"
        return None

    def unlock(self) -> None:
        """Release the locks, even if a forked child still holds copies of the descriptors."""
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_UN)
            if self.why_unlocked is None:
                fcntl.flock(self.fd, fcntl.LOCK_UN)
        finally:
            self.close()

    def close(self) -> None:
        """Close the descriptors, and with the last copies of them release the locks."""
        fds, self.fd, self.lock_fd = (self.lock_fd, self.fd), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)


def lock_place(path: str, open_lock: Callable[[Place], int], shared: bool) -> Place:
    """Open a log's directory and lock it: by itself if that can be, and by a file in it.

    `flock`, not `lockf`: it holds within a process too, and closing another descriptor of the
    file does not drop it.

    Args:
        path: of the file.
        open_lock: opens it, in the place that it is given.
        shared: whether others may write there.

    Raises:
        LogLockedError: another owner has it; at once.
        PermissionError: others may write there, or it is theirs.
    """
    directory, lock_name = os.path.split(path)
    place = Place(directory, os.open(directory, DIRECTORY), lock_name)
    try:
        check_trust(os.fstat(place.fd), directory, shared)
        is_free = _lock_directory(place)
        place.lock_fd = open_lock(place)
        if os.fstat(place.lock_fd).st_nlink > 1:  # guard: a lock with another name is refused
            raise PermissionError(
                errno.EPERM,
                "a file with several names (hard links) is refused as the log's lock, for the "
                "process id is written into it; remove this name",
                path,
            )
        if not (is_free and _flock(place.lock_fd)):
            raise LogLockedError(directory, read_pid(place.lock_fd))
    except BaseException:
        place.close()
        raise
    return place


def _lock_directory(place: Place) -> bool:
    """Lock the directory itself; `False` if another owner has."""
    try:
        # guard: flock of the directory
        #   without: return True
        return _flock(place.fd)
    except OSError as error:
        if error.errno not in _NO_LOCK:
            raise
        place.why_unlocked = error.strerror
        return True


def _flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # guard: flock
    except BlockingIOError:
        return False
    return True


def owner_of(path: str, lock_fd: int | None, shared: bool) -> Owner | None:
    """Tell which process has a directory, or the lock in it, locked; `None` if none has.

    It looks by asking for shared locks, which it lets go at once.

    Args:
        path: the directory.
        lock_fd: the file; `None` if it is not there.
        shared: whether others may write there.
    """
    fd = os.open(path, DIRECTORY)
    try:
        check_trust(os.fstat(fd), path, shared)
        if lock_fd is not None and _is_locked(lock_fd):
            return Owner(read_pid(lock_fd))
        return Owner(None) if _is_locked(fd) else None
    finally:
        os.close(fd)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            return True
        if error.errno not in _NO_LOCK:
            raise
    else:
        fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def read_pid(lock_fd: int) -> int | None:
    """The process that wrote a lock's file last; `None` if the file does not say."""
    owner = os.pread(lock_fd, 32, 0).strip()
    return int(owner) if owner.isdigit() else None


def check_trust(status: os.stat_result, path: str, shared: bool) -> None:
    """Refuse a directory or file that others may have put there, or may write to.

    Raises:
        PermissionError: it is so, and `shared` does not allow it.
    """
    problem = None
    if status.st_uid != os.geteuid():  # guard: what belongs to another user is refused
        problem = f"it belongs to user {status.st_uid}, and this is user {os.geteuid()}"
    elif status.st_mode & 0o022:  # guard: what others may write to is refused
        mode = stat.S_IMODE(status.st_mode)
        problem = f"others may write to it, for its mode is {mode:04o} (chmod go-w takes that away)"
    if problem is not None and not shared:
        raise PermissionError(errno.EPERM, f"refused: {problem}; {_SHARED_ADVICE}", path)


def is_named(fd: int, name: str, directory: int | None) -> bool:
    """Tell whether a name in a directory still is that of an open file.

    If that cannot be told just now, it is taken to be so.
    """
    here = os.fstat(fd)
    try:
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        return here.st_nlink > 0 and error.errno not in _TAKEN
    return os.path.samestat(here, there)
