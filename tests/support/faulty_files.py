"""A file system that fails when it is told to, and tells what was asked of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobqueue.final.wal.files import FULL, Files, Memory

if TYPE_CHECKING:
    from collections.abc import Iterator


_ROOM_TAKING = ("write", "allocate", "create")


@dataclass
class Fault:
    """Calls of `method` fail with `errno`: the one after `skip` others, or all from there on.

    A `write` that fails has written `partial` bytes first.
    """

    method: str
    errno: int
    skip: int = 0
    for_ever: bool = False
    partial: int = 0


@dataclass
class FaultyFiles(Files):
    """Real files, apart from the faults that are planned. Not thread-safe.

    Attributes:
        maps: whether they may be mapped, wherever they are.
        writes_now: whether a caller's thread can write by itself; if not, the log's thread does.
    """

    faults: list[Fault] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    maps: bool = True
    writes_now: bool = True

    def fail(
        self, method: str, errno: int, *, skip: int = 0, for_ever: bool = False, partial: int = 0
    ) -> None:
        """Plan a fault; see `Fault`."""
        self.faults.append(Fault(method, errno, skip, for_ever, partial))

    def heal(self) -> None:
        """Forget all planned faults."""
        self.faults.clear()

    def _due(self, method: str) -> Iterator[Fault]:
        """Count a call; yield the fault that hits it, if any."""
        self.calls.append(method)
        for fault in [f for f in self.faults if f.method == method]:
            if fault.skip:
                fault.skip -= 1
                continue
            if not fault.for_ever:
                self.faults.remove(fault)
            yield fault
            raise OSError(fault.errno, os.strerror(fault.errno))

    def _call(self, method: str) -> None:
        for _ in self._due(method):
            pass

    def write(self, fd: int, data: bytes, offset: int) -> None:
        for fault in self._due("write"):
            super().write(fd, data[: fault.partial], offset)
        super().write(fd, data, offset)

    def write_now(self, fd: int, data: bytes, offset: int) -> int:
        """One write for two calls: if a fault hits it, it is left for the `write` that follows."""
        if not self.writes_now:
            return -1
        fault = next((f for f in self.faults if f.method == "write"), None)
        if fault is not None and not fault.skip:
            super().write(fd, data[: fault.partial], offset)
            return fault.partial or -1
        self._call("write")
        return super().write_now(fd, data, offset)

    def fill(self, path: str, size: int) -> None:
        for fault in self.faults:  # a disk that is full for others is so for a reserve
            if fault.for_ever and fault.errno in FULL and fault.method in _ROOM_TAKING:
                raise OSError(fault.errno, os.strerror(fault.errno), path)
        super().fill(path, size)

    def create(self, path: str) -> int:
        self._call("create")
        return super().create(path)

    def truncate(self, fd: int, length: int) -> None:
        self._call("truncate")
        super().truncate(fd, length)

    def can_map(self, fd: int) -> bool:
        return self.maps

    def allocate(self, fd: int, offset: int, length: int) -> None:
        self._call("allocate")
        super().allocate(fd, offset, length)

    def map(self, fd: int, length: int, offset: int) -> Memory:
        self._call("map")
        return _ToldMemory(super().map(fd, length, offset), self.calls)

    def map_words(self, fd: int, count: int) -> memoryview:
        self._call("map_words")
        return super().map_words(fd, count)

    def sync(self, fd: int) -> int:
        for fault in self._due("sync"):
            return fault.errno
        return super().sync(fd)

    def sync_directory(self, path: str) -> None:
        self._call("sync_directory")
        super().sync_directory(path)

    def unlink(self, path: str) -> None:
        self._call("unlink")
        super().unlink(path)

    def close(self, fd: int) -> None:
        self._call("close")
        super().close(fd)


class _ToldMemory:
    """Memory whose end is told too."""

    def __init__(self, memory: Memory, calls: list[str]) -> None:
        self._memory = memory
        self._calls = calls

    def __setitem__(self, where: slice, data: bytes, /) -> None:
        self._memory[where] = data

    def close(self) -> None:
        self._calls.append("unmap")
        self._memory.close()
