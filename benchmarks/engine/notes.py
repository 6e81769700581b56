"""What the handlers do, in all queues alike: they write down when they ran.

They append to a file that is named in the environment, one `write` each: a note outlives a SIGKILL
of its process, and the process that measures reads all of them while they come.
"""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

FILE = "JOBQUEUE_BENCH_NOTES"
_NOTE = struct.Struct("<ddq")
_FOREVER = 3600.0
_BLOCK = "block"


@dataclass(frozen=True)
class Note:
    """A job has been started.

    Attributes:
        at: when, by the clock that all processes share, in seconds.
        sent: what its payload said: when it was about to be enqueued.
        pid: by whom.
    """

    at: float
    sent: float
    pid: int


def payload(*, block: bool = False) -> str:
    """A payload for a job that is enqueued now; with `block` it never ends."""
    return f"{time.monotonic():.6f}:{_BLOCK if block else 'go'}"


class Notebook:
    """The file, for the process that writes to it; safe from any thread."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, text: str) -> None:
        """Write down that a job with this payload runs here."""
        sent, _, kind = text.partition(":")
        os.write(self._file, _NOTE.pack(time.monotonic(), float(sent), os.getpid()))
        if kind == _BLOCK:
            time.sleep(_FOREVER)


_books: dict[str, Notebook] = {}


def note(text: str) -> None:
    """Do it in the file that the environment names: the handler, where one is named by its name."""
    path = os.environ[FILE]
    book = _books.get(path)
    if book is None:
        book = _books[path] = Notebook(path)
    book.note(text)


def read(path: Path) -> list[Note]:
    """All notes so far."""
    if not path.exists():
        return []
    raw = path.read_bytes()
    whole = len(raw) - len(raw) % _NOTE.size
    return [Note(*fields) for fields in _NOTE.iter_unpack(raw[:whole])]


def count(path: Path) -> int:
    """How many there are so far."""
    return path.stat().st_size // _NOTE.size if path.exists() else 0
