"""Calls of the operating system that Python lacks, or does not make the way the log needs them.

Only `files` makes them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FDATASYNC", "error_of", "reserve", "sync_portably"]

# Magic numbers of statfs(2): file systems whose fallocate(2) keeps blocks for all later writes.
# Btrfs and ZFS copy on write, and network file systems promise nothing.
_RESERVING = {0xEF53: "ext4", 0x58465342: "XFS", 0x01021994: "tmpfs"}


def error_of(number: int) -> OSError:
    """Return the exception that stands for an errno."""
    return OSError(number, os.strerror(number))


def _load_libc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    return libc if hasattr(libc, "fallocate") and hasattr(libc, "fstatfs") else None


_LIBC = _load_libc()


def _find_fdatasync(libc: ctypes.CDLL | None) -> Callable[[int], int] | None:
    """The call itself, which lets go of the GIL; `None` if the platform's own way must do."""
    if libc is None or not hasattr(libc, "fdatasync"):
        return None
    libc.fdatasync.argtypes = (ctypes.c_int,)
    return libc.fdatasync


FDATASYNC = _find_fdatasync(_LIBC)


def sync_portably(fd: int) -> int:
    """Do what `Files.sync` does by way of `os` and `fcntl`, if libc's own call is not there.

    An `OSError` with a number that a signal's handler raises just then is taken for the disk's.
    The log then fails for nothing, which is the safe side.
    """
    try:
        if sys.platform == "darwin":
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync stops at the drive's cache there
        elif hasattr(os, "fdatasync"):
            os.fdatasync(fd)
        else:
            os.fsync(fd)
    except OSError as error:
        if error.errno is None:  # no system call raises that
            raise
        return error.errno
    return 0


def _reserves_blocks(libc: ctypes.CDLL, fd: int) -> bool:
    """Tell whether the file lies on a file system on which `fallocate` keeps its promise."""
    buffer = ctypes.create_string_buffer(512)  # struct statfs takes 120 bytes at most
    if libc.fstatfs(ctypes.c_int(fd), buffer) != 0:
        return False
    # f_type comes first, a long; if it is not, nothing matches and the log is written plainly.
    return ctypes.c_long.from_buffer(buffer).value in _RESERVING


def reserve(fd: int, offset: int, length: int) -> None:
    """Reserve blocks for a part of a file; see `Files.allocate`."""
    if _LIBC is None or not _reserves_blocks(_LIBC, fd):
        raise OSError(errno.EOPNOTSUPP, "the file system does not reserve blocks")
    function = getattr(_LIBC, "fallocate64", None) or _LIBC.fallocate
    start, count = ctypes.c_int64(offset), ctypes.c_int64(length)
    while function(ctypes.c_int(fd), ctypes.c_int(0), start, count) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise error_of(number)
