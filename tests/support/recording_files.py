"""A file system in memory behind `Files`, which keeps all that was done to it, in order.

`power_cut` makes of such a recording the disks that a crash could have left. The events say what a
disk may still lose. What was written to a file, and its length, may be lost until a `sync` of the
file that began later has ended. What became of a name may be lost until one of its directory has.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from random import Random
from typing import TYPE_CHECKING, cast

from jobqueue.final.errors import LogLockedError
from jobqueue.final.wal.files import Files, Memory, Owner
from tests.support.disk_tree import (
    Change,
    Event,
    Evicted,
    Image,
    Made,
    Renamed,
    SyncBegan,
    Synced,
    SyncFailed,
    Tree,
    Truncated,
    Unlinked,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

LOG = "/disk/jobs.db"
"""Where the tests have their log."""

CHANGES = ("create", "write", "allocate", "truncate", "rename", "unlink")
SYNCS = ("sync", "sync_directory")
"""The calls that may fail; see `RecordingFiles.inject`."""

EMPTY_DISK: Image = {"/": None, "/disk": None}


class RecordingFiles(Files):
    """The files of one disk in memory. Thread-safe.

    Args:
        base: what is on the disk already, and stays there.
        unsynced: what was done to it and may still be lost: the recording begins with it.
        maps: whether no store into a map can fail, so that a log is written through one.
        sync_seconds: how long an fsync takes, in which others may write; `None`: they may not.

    Attributes:
        events: what was done, in order. Its length serves as the time.
        started: how long it was at the start.
        inject: asked before each call that may fail: the errno it fails with, or 0.
        injected: how many calls failed for that.
    """

    def __init__(
        self,
        base: Tree,
        unsynced: Iterable[Event] = (),
        *,
        maps: bool,
        sync_seconds: float | None = None,
    ) -> None:
        self.base = base
        self.events = list(unsynced)
        self.started = len(self.events)
        self.inject: Callable[[str], int] | None = None
        self.injected = 0
        self._maps = maps
        self._sync_seconds = sync_seconds
        self._lock = threading.RLock()  # guards all that follows and `events`; held for no wait
        self._tree = base.copy()
        for event in self.events:
            if isinstance(event, Change):
                self._tree.do(event)
        self._open_files: dict[int, int] = {}
        self._locked: dict[int, int] = {}
        self._next_descriptor = 1000

    def now(self) -> int:
        """How many events there are by now."""
        return len(self.events)

    def image(self) -> Image:
        """Everything, as it is for programs that read and write it."""
        with self._lock:
            return self._tree.image()

    def _do(self, change: Change) -> None:
        self._tree.do(change)
        self.events.append(change)

    # ── calls that change something ──────────────────────────────────────────────────────────

    def create_directory(self, path: str) -> None:
        with self._lock:
            self._make(path, directory=True)

    def create(self, path: str) -> int:
        with self._lock:
            self._fail_if_due("create")
            return self._descriptor(self._make(path, directory=False))

    def _make(self, path: str, *, directory: bool) -> int:
        if path in self._tree.names:
            raise FileExistsError(errno.EEXIST, "exists", path)
        inode = self._tree.next_inode()
        self._do(Made(path, inode, directory))
        return inode

    def write(self, fd: int, data: bytes, offset: int) -> None:
        with self._lock:
            number = self._due("write")
            if number:
                data = data[: len(data) // 2]  # a full disk takes a part of it
            self._store(self._inode(fd), offset, bytes(data), mapped=False)
            self._fail(number)

    def _store(self, inode: int, offset: int, data: bytes, *, mapped: bool) -> None:
        with self._lock:
            self._do(Written(inode, offset, data, mapped))

    def write_now(self, fd: int, data: bytes, offset: int) -> int:
        with self._lock:
            if self._due("write"):
                data = data[: len(data) // 2]
            self._store(self._inode(fd), offset, bytes(data), mapped=False)
            return len(data)

    def truncate(self, fd: int, length: int) -> None:
        with self._lock:
            self._fail_if_due("truncate")
            self._do(Truncated(self._inode(fd), length))

    def can_map(self, fd: int) -> bool:
        return self._maps

    def allocate(self, fd: int, offset: int, length: int) -> None:
        with self._lock:
            number = self._due("allocate")
            if number:
                length //= 2
            self._store(self._inode(fd), offset, bytes(length), mapped=False)
            self._fail(number)

    def fill(self, path: str, size: int) -> None:
        with self._lock:
            inode = self._tree.names.get(path)
            if inode is None:
                inode = self._make(path, directory=False)
            self._do(Truncated(inode, size))

    def free(self, directory: str) -> tuple[int, int]:
        return 1 << 40, 1 << 41

    def has_inodes(self, directory: str, count: int = 1) -> bool:
        return True

    def lack(self, directory: str) -> str:
        return "nothing is lacking but for an injected error"

    def map(self, fd: int, length: int, offset: int) -> Memory:
        with self._lock:
            return _Memory(self, self._inode(fd), offset, length)

    def map_words(self, fd: int, count: int) -> memoryview:
        with self._lock:
            return cast("memoryview", _Words(self, self._inode(fd), count))

    def rename(self, old: str, new: str) -> None:
        with self._lock:
            self._fail_if_due("rename")
            self._do(Renamed(old, new, self._named(old)))

    def unlink(self, path: str) -> None:
        with self._lock:
            self._fail_if_due("unlink")
            self._do(Unlinked(path, self._named(path)))

    def sync(self, fd: int) -> int:
        return self._sync("sync", self._inode(fd))

    def sync_directory(self, path: str) -> None:
        self._fail(self._sync("sync_directory", path))

    def _sync(self, method: str, target: int | str) -> int:
        with self._lock:
            began = self.now()
            self.events.append(SyncBegan(target))
        if self._sync_seconds is not None:
            time.sleep(self._sync_seconds)
        with self._lock:
            number = self._due(method)
            self.events.append((SyncFailed if number else Synced)(target, began))
            return number

    def forget_cached(self, fd: int) -> None:
        from tests.support.power_cut import Disk

        with self._lock:
            disk = Disk(self)
            disk.advance(self.now())
            inode = self._inode(fd)
            content = disk.evict(inode, Random(self.now()))
            if content is not None:
                self._tree.replace(inode, content)
                self.events.append(Evicted(inode, content))

    # ── calls that do not ────────────────────────────────────────────────────────────────────

    def is_directory(self, path: str) -> bool:
        with self._lock:
            return self._tree.names.get(path) in self._tree.directories

    def list_directory(self, path: str) -> list[str]:
        with self._lock:
            inside = [p for p in self._tree.names if p.startswith(f"{path}/")]
            return [name for p in inside if "/" not in (name := p[len(path) + 1 :])]

    def open_read(self, path: str) -> int:
        with self._lock:
            return self._descriptor(self._named(path))

    def open_write(self, path: str) -> int:
        return self.open_read(path)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        with self._lock:
            return bytes(self._tree.content(self._inode(fd))[offset : offset + size])

    def size(self, fd: int) -> int:
        with self._lock:
            return len(self._tree.content(self._inode(fd)))

    def size_of(self, path: str) -> int:
        with self._lock:
            return len(self._tree.content(self._named(path)))

    def close(self, fd: int) -> None:
        with self._lock:
            del self._open_files[fd]

    def lock(self, path: str) -> int:
        with self._lock:
            fd = (self.open_read if path in self._tree.names else self.create)(path)
            inode = self._inode(fd)
            if inode in self._locked.values():
                raise LogLockedError(os.path.dirname(path), os.getpid())
            self.truncate(fd, 0)
            self.write(fd, b"%d\n" % os.getpid(), 0)
            self._locked[fd] = inode
            return fd

    def unlock(self, fd: int) -> None:
        with self._lock:
            del self._locked[fd]
            self.close(fd)

    def owner(self, path: str) -> Owner | None:
        with self._lock:
            inode = self._tree.names.get(path)
            return Owner(os.getpid()) if inode in self._locked.values() else None

    # ── within ───────────────────────────────────────────────────────────────────────────────

    def _descriptor(self, inode: int) -> int:
        self._next_descriptor += 1
        self._open_files[self._next_descriptor] = inode
        return self._next_descriptor

    def _named(self, path: str) -> int:
        inode = self._tree.names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "is not there", path)
        return inode

    def _inode(self, fd: int) -> int:
        with self._lock:
            if fd not in self._open_files:
                raise OSError(errno.EBADF, "not open")
            return self._open_files[fd]

    def _due(self, method: str) -> int:
        number = self.inject(method) if self.inject is not None else 0
        self.injected += number != 0
        return number

    def _fail_if_due(self, method: str) -> None:
        self._fail(self._due(method))

    @staticmethod
    def _fail(number: int) -> None:
        if number:
            raise OSError(number, os.strerror(number))


class _Memory:
    """A map of a part of a file."""

    def __init__(self, files: RecordingFiles, inode: int, offset: int, length: int) -> None:
        self._files = files
        self._inode = inode
        self._offset = offset
        self._length = length

    def __setitem__(self, where: slice, data: bytes, /) -> None:
        assert 0 <= where.start <= where.stop <= self._length
        assert where.stop - where.start == len(data)
        self._files._store(self._inode, self._offset + where.start, bytes(data), mapped=True)

    def close(self) -> None:
        self._length = 0


class _Words:
    """A map of a file as 8-byte words."""

    def __init__(self, files: RecordingFiles, inode: int, count: int) -> None:
        self._files = files
        self._inode = inode
        self._count = count

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        return 8 * self._count

    def __setitem__(self, index: int, word: int) -> None:
        assert 0 <= index < self._count
        data = memoryview(bytearray(8))
        data.cast("Q")[0] = word
        self._files._store(self._inode, 8 * index, bytes(data), mapped=True)


class RandomFaults:
    """Has calls fail by chance; for `RecordingFiles.inject`.

    Args:
        rng: which ones.
        rate: how likely each of them fails.
        numbers: the errnos by method; other methods never fail.
    """

    def __init__(self, rng: Random, rate: float, numbers: Mapping[str, int]) -> None:
        self._rng = rng
        self._rate = rate
        self._numbers = numbers

    def __call__(self, method: str) -> int:
        number = self._numbers.get(method, 0)
        return number if number and self._rng.random() < self._rate else 0
