"""Keeps room on the disk for what a log must always be able to do.

A log that fills its disk could never empty it again: outcomes, a start and a compaction, which
would give space back, need some themselves. So a part of the disk is held by files of no content:
`RESERVE`, about as large as a snapshot would be, and some empty ones, for a file system may run out
of inodes too. They are given up when one of these finds no room, and taken again later. Until that
has been done the log is *short*: it takes no new jobs, which would only fill what was given up.

Nothing that is read depends on these files. They need not be on the disk, and a process may die at
any step: at the next start there are fewer of them, and they are taken anew.
"""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ..errors import LogWriteError
from .files import FULL, path_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from .files import Files

__all__ = ["RESERVE_BYTES_MIN", "RESERVE_NAMES", "Room"]

_T = TypeVar("_T")

RESERVE_NAMES = ("RESERVE", "RESERVE.2", "RESERVE.3", "RESERVE.4")
"""A start makes two files, a new segment and a compaction one each."""
RESERVE_BYTES_MIN = 256 << 10
_BLOCK_BYTES = 4096


class Room:
    """The room that is held for one log.

    Thread-safe. Its own lock is held for system calls; the log's thread takes it, the compactor's,
    and the one that opens the log.

    Args:
        files: the file system.
        directory: the log's, which is locked.

    Attributes:
        is_short: whether something found no room since the reserve was whole. Only `take_again`
            sets it back.
        lacks_inodes: whether it was inodes that there were none of.
    """

    def __init__(self, files: Files, directory: str) -> None:
        self._files = files
        self._directory = directory
        # Guards all below. The log's thread and a compaction's take it, never with the mutex: files
        # are made and removed under it.
        self._lock = threading.Lock()
        self._held = 0  # bytes of `RESERVE`
        self._is_known = False  # whether that has been looked up, and the file filled
        self._owed = 0  # what it held when it was given up
        self.is_short = False
        self.lacks_inodes = False
        self._has_inodes = False  # held by the empty files
        self._users = 0  # threads for which it was given up, and which are at it

    def provide(self, work: Callable[[], _T]) -> _T:
        """Do something that must have room: if there is none, once more without the reserve.

        Args:
            work: may be done twice; it leaves nothing behind if it fails.

        Raises:
            OSError: as `work` does; if there is no room even so, it says what is lacking.
        """
        try:
            return work()
        except OSError as error:
            if not self.notes(error):
                raise
            # guard: the reserve is given up
            #   without: raise
            self._give_up()
        try:
            return work()
        except OSError as error:
            self.notes(error)
            raise
        finally:
            with self._lock:
                self._users -= 1

    def notes(self, error: OSError) -> bool:
        """Tell whether it is an error for lack of room; then it says so, and the log is short."""
        if error.errno not in FULL or isinstance(error, LogWriteError):
            return False
        self.is_short = True
        self.lacks_inodes = not self._files.has_inodes(self._directory)
        lack = self._files.lack(self._directory)
        if error.strerror is not None and lack not in error.strerror:
            error.strerror = f"{error.strerror}: {lack}"
        return True

    def _give_up(self) -> None:
        with self._lock:
            self.is_short = True  # in here, for another thread may take it again
            if not self._is_known:
                with suppress(OSError):
                    self._held = self._files.size_of(path_in(self._directory, RESERVE_NAMES[0]))
            self._owed = max(self._owed, self._held)
            self._users += 1  # before anything can fail
            self._remove()

    def _remove(self) -> None:
        """With the lock: hold nothing any more, as far as files can be removed."""
        self._held, self._is_known, self._has_inodes = 0, True, False
        for name in RESERVE_NAMES:
            with suppress(OSError):  # whether there is room by now is seen by what needs it
                self._files.unlink(path_in(self._directory, name))

    def usable_bytes(self) -> int:
        """How many bytes are free for the log, what is held included.

        Raises:
            OSError: it cannot be told.
        """
        with self._lock:
            return self._files.free(self._directory)[0] + self._held

    def take(self, wanted: int) -> None:
        """Hold so many bytes if it can be done; with less need, less.

        A twentieth of the file system is left to others if it is free, and a half of what is free
        on a small one. Where files cannot be filled there is no reserve, and the log goes on.
        """
        with self._lock, suppress(OSError):
            if self.is_short:
                return  # what it was given up for goes first
            self._look_up()
            free, total = self._files.free(self._directory)
            most = self._held + max(free - total // 20, min(free // 2, RESERVE_BYTES_MIN))
            self._hold(min(max(wanted, RESERVE_BYTES_MIN), most))

    def take_again(self, wanted: int) -> None:
        """Have what was given up back, or as much of it as is wanted now.

        Half of it will do, as it does at a start: what the log needs may have grown so much
        meanwhile that there never is room for all.

        Raises:
            OSError: there is no room for it.
        """
        with self._lock:
            if self._users:
                raise OSError(
                    errno.ENOSPC, "the reserve of disk space is in use, to make room; try again"
                )
            size = min(max(wanted, RESERVE_BYTES_MIN), self._owed)
            try:
                free, total = self._files.free(self._directory)
                most = self._held + free - total // 20
                if most > size // 2:
                    size = min(size, most)
                self._hold(max(self._held, size))
            except OSError as error:
                self.notes(error)
                self._owed = max(self._owed, self._held)
                self._remove()  # a part of it would only be in the way of what it is for
                raise
            self._owed = 0
            self.is_short = False

    def keep_files(self) -> None:
        """Hold what inodes there are, if there are too few, as the log closes.

        The next start needs some, and others may take them meanwhile.
        """
        with self._lock, suppress(OSError):
            if self.is_short and self.lacks_inodes:
                for name in RESERVE_NAMES[1:]:
                    self._files.fill(path_in(self._directory, name), 0)

    def _look_up(self) -> None:
        """With the lock: see what the last run has left; a copy of it may have holes."""
        if not self._is_known:
            path = path_in(self._directory, RESERVE_NAMES[0])
            with suppress(FileNotFoundError):
                self._held = self._files.size_of(path)
                self._files.fill(path, self._held)
            self._is_known = True

    def _hold(self, size: int) -> None:
        """With the lock: hold `size` bytes and all inodes.

        Raises:
            OSError: as `ENOSPC`; less is held.
        """
        size -= size % _BLOCK_BYTES
        if not self._has_inodes:
            for name in RESERVE_NAMES[1:]:
                self._files.fill(path_in(self._directory, name), 0)
            self._has_inodes = True
        if not self._held // 2 <= size <= self._held:  # it is not made smaller for a little
            self._files.fill(path_in(self._directory, RESERVE_NAMES[0]), size)
            self._held = size
