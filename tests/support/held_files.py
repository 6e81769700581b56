"""A file system some of whose calls are held on to until they are let go."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field

from tests.support.faulty_files import FaultyFiles
from tests.support.waiting import PATIENCE


@dataclass
class HeldFiles(FaultyFiles):
    """Faulty files, one of whose methods can be made to wait.

    Attributes:
        held: tells of each call that waits.
    """

    held: queue.Queue[str] = field(default_factory=queue.Queue)
    _gates: dict[str, threading.Event] = field(default_factory=dict)

    def hold(self, method: str) -> None:
        """Have calls of `sync` or `write` wait from here on."""
        self._gates[method] = threading.Event()

    def let_go(self, method: str) -> None:
        """Have those that wait, and all later ones, go on."""
        self._gates.pop(method).set()

    def await_held(self) -> None:
        """Return when a call waits."""
        self.held.get(timeout=PATIENCE)

    def _wait(self, method: str) -> None:
        gate = self._gates.get(method)
        if gate is not None:
            self.held.put(method)
            assert gate.wait(PATIENCE)

    def sync(self, fd: int) -> int:
        self._wait("sync")
        return super().sync(fd)

    def write_now(self, fd: int, data: bytes, offset: int) -> int:
        """If writes are held this one fails, for no lock must be held with it; `write` follows."""
        if "write" in self._gates:
            return -1
        return super().write_now(fd, data, offset)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self._wait("write")
        super().write(fd, data, offset)
