"""Tells whether a store into a shared map of a file can fail, which kills the process (SIGBUS).

A store into a page goes through the file system if the page is not in memory, or is stored to for
the first time since it was written to the disk. XFS and btrfs then begin a transaction, or look for
blocks, as ext4 does with some options; after an I/O error, or on a full disk, this fails, and a
store has no way to say so. ext4 with its default options has nothing to do for a page that was
written by a call before and is still in memory. tests/crash/test_maps.py has the trials, and
docs/guides/durability.md what came of them.
"""

from __future__ import annotations

import ctypes
import os
import sys

if sys.platform != "win32":
    import fcntl

__all__ = ["no_store_can_fail"]

_EXT4, _TMPFS = 0xEF53, 0x01021994  # of statfs(2); that of ext4 is ext2's and ext3's too
_GET_FLAGS = 0x80086601 if ctypes.sizeof(ctypes.c_long) == 8 else 0x80046601  # FS_IOC_GETFLAGS
_JOURNAL_DATA, _DAX = 0x4000, 0x02000000  # of the flags of a file
_EXT4_OPTIONS = "/proc/fs/ext4/{}/options"


def no_store_can_fail(fd: int) -> bool:
    """Tell whether no store into a map of the file fails, if its pages were written before.

    If that cannot be told it is `False`.
    """
    kind = _kind_of(fd)
    try:
        # guard: ext4 only with its default options
        #   without: return kind in (_TMPFS, _EXT4)
        return kind == _TMPFS or (kind == _EXT4 and _is_ext4_by_default(fd))
    except OSError:  # as if /proc or /sys is hidden
        return False


def _kind_of(fd: int) -> int:
    """The file system's magic number; 0 if it cannot be told."""
    if sys.platform != "linux":
        return 0
    buffer = ctypes.create_string_buffer(512)  # struct statfs takes 120 bytes at most
    if ctypes.CDLL(None).fstatfs(ctypes.c_int(fd), buffer) != 0:
        return 0
    return ctypes.c_long.from_buffer(buffer).value  # f_type comes first


def _is_ext4_by_default(fd: int) -> bool:
    """Whether blocks are allocated late, the file's data are not journalled, and pages are cached.

    /proc/mounts would not do: it does not show what is a default of this very file system.
    """
    device = os.fstat(fd).st_dev
    name = os.path.basename(os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
    with open(_EXT4_OPTIONS.format(name), encoding="ascii") as file:
        options = file.read().split()
    flags = fcntl.ioctl(fd, _GET_FLAGS, bytes(8))
    if int.from_bytes(flags[:4], sys.byteorder) & (_JOURNAL_DATA | _DAX):
        return False
    modes = [option for option in options if option.startswith(("data=", "dax"))]
    return "delalloc" in options and modes in ([], ["data=ordered"])  # none without a journal
