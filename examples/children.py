"""The processes of a story: started, listened to, and killed at its end, whatever that is."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TypeVar

STALL_SECONDS = 30.0  # without a word from a process, or without progress
_spawn = multiprocessing.get_context("spawn")  # a fork would take this one's state along
T = TypeVar("T")


class StoryError(Exception):
    """The run cannot go on: a process has ended, or nothing happens any more."""


@dataclass(frozen=True)
class Child:
    """A process, and this end of the pipe to it."""

    name: str
    process: SpawnProcess
    pipe: Connection

    def check(self) -> None:
        if not self.process.is_alive():
            raise StoryError(f"the {self.name} has ended by itself: {self.process.exitcode}")

    def receive(self, kind: type[T]) -> T:
        """Return the next message, which must be of that type."""
        try:
            message = self.pipe.recv() if self.pipe.poll(STALL_SECONDS) else None
        except (EOFError, ConnectionError):
            self.process.join(STALL_SECONDS)
            self.check()
            raise
        if not isinstance(message, kind):
            raise StoryError(f"the {self.name} says nothing for {STALL_SECONDS:g} s")
        return message


@contextmanager
def child(name: str, main: Callable[..., None], *args: object) -> Iterator[Child]:
    """Run `main(*args, pipe)` in a process, which gets a SIGKILL at the end of the block,
    whatever has led there: success, an error, Ctrl-C.
    """
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=main, args=(*args, theirs), daemon=True)
    # Ctrl-C reaches all processes of a terminal. The children inherit that they ignore it: this
    # process sees to them.
    ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, ctrl_c)
    try:
        theirs.close()  # the child holds the only one now, so that its death closes the pipe
        yield Child(name, process, ours)
    finally:
        process.kill()
        process.join()
        ours.close()
