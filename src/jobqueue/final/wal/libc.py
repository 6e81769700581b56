"""Calls of the operating system that Python lacks, or does not make the way the log needs them.

Only `files` makes them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING, Protocol

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

__all__ = [
    "FDATASYNC",
    "allocate_portably",
    "error_of",
    "lock_in_memory",
    "pwrite",
    "sync_portably",
]


def error_of(number: int) -> OSError:
    """Return the exception that stands for an errno."""
    return OSError(number, os.strerror(number))


def _load_libc() -> ctypes.CDLL | None:
    return None if sys.platform == "win32" else ctypes.CDLL(None, use_errno=True)


_LIBC = _load_libc()


def _find_fdatasync(libc: ctypes.CDLL | None) -> Callable[[int], int] | None:
    """The call itself, which lets go of the GIL; `None` if the platform's own way must do."""
    if sys.platform != "linux" or libc is None or not hasattr(libc, "fdatasync"):
        return None  # on macOS it stops at the drive's cache
    libc.fdatasync.argtypes = (ctypes.c_int,)
    return libc.fdatasync


FDATASYNC = _find_fdatasync(_LIBC)


class _Pwrite(Protocol):
    def __call__(self, fd: int, data: bytes, size: int, offset: int, /) -> int: ...


def _no_pwrite(_fd: int, _data: bytes, _size: int, _offset: int, /) -> int:
    return -1


def _find_pwrite(*, typed: bool) -> _Pwrite:
    """The call itself, which keeps the GIL; one that always fails if there is none (Windows)."""
    if sys.platform == "win32":
        return _no_pwrite
    libc = ctypes.PyDLL(None)  # a CDLL lets go of the GIL; if there is no GIL they are the same
    function = libc["pwrite64" if hasattr(libc, "pwrite64") else "pwrite"]  # offsets of 64 bits
    if typed:
        function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int64)
        function.restype = ctypes.c_ssize_t
    return function


_TYPED_PWRITE = _find_pwrite(typed=True)
_PWRITE = _find_pwrite(typed=False)
# Up to here an argument may be passed as a C int: a register has 64 bits, which libffi fills.
_INT_MAX = (1 << 31) - 1 if ctypes.sizeof(ctypes.c_void_p) == 8 else -1


def pwrite(fd: int, data: bytes, offset: int) -> int:
    """Write by one call that keeps the GIL; see `Files.write_now`."""
    size = len(data)
    if offset + size <= _INT_MAX:  # to convert to declared types takes as long as the call itself
        return _PWRITE(fd, data, size, offset)
    # guard: a large offset is passed as one
    #   without: return _PWRITE(fd, data, size, offset)
    return _TYPED_PWRITE(fd, data, size, offset)


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


def lock_in_memory(memory: mmap.mmap) -> None:
    """Have the pages of a map stay in memory for as long as it is mapped.

    Raises:
        OSError: as `ENOMEM` if that is more than the process may lock (RLIMIT_MEMLOCK).
    """
    if _LIBC is None:
        raise OSError(errno.EOPNOTSUPP, "the system does not lock pages in memory")
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if _LIBC.mlock(ctypes.c_void_p(address), ctypes.c_size_t(len(memory))) != 0:
        raise error_of(ctypes.get_errno())


def allocate_portably(fd: int, size: int) -> None:
    """Have a file take up so many bytes of the disk, by the fastest way that there is."""
    if hasattr(os, "posix_fallocate"):
        if size:
            os.posix_fallocate(fd, 0, size)
        return
    block = bytes(1 << 16)
    for offset in range(0, size, len(block)):
        os.pwrite(fd, block[: size - offset], offset)
