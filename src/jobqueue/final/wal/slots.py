"""Which jobs are running, in a few bytes that survive the process.

A file of aligned 8-byte words in the machine's own order, mapped into memory. The first names the
run, by the number of the segment that it started. Each of the others names the job of one live
attempt, 0 for none. Setting one is a store in memory, no system call, and `kill -9` does not undo
it. A power cut may: then no job is blamed for it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .files import path_in

if TYPE_CHECKING:
    from .files import Files

SLOTS_NAME = "SLOTS"
_WORD_BYTES = 8
_SLOTS_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class Interrupted:
    """What the last run left: its segment's number, and the jobs that were running at its end."""

    run: int
    jobs: frozenset[int]


NOBODY = Interrupted(0, frozenset())


def read_slots(files: Files, directory: str) -> Interrupted:
    """What the slots of the last run say: no job was running if there are no slots.

    Raises:
        OSError: the file cannot be read, or is no regular file.
    """
    try:
        fd = files.open_read(path_in(directory, SLOTS_NAME))
    except FileNotFoundError:
        return NOBODY
    try:
        data = files.read(fd, (_SLOTS_MAX + 1) * _WORD_BYTES, 0)
    finally:
        files.close(fd)
    words = array("Q", data[: len(data) - len(data) % _WORD_BYTES])
    if not words:
        return NOBODY
    return Interrupted(words[0], frozenset(words[1:]) - {0})


class Slots:
    """The slots of this run. Each slot has one writer at a time; no lock is needed.

    Args:
        run: number of the segment that this run started.
        count: how many attempts can be live at once.

    Raises:
        OSError: the file cannot be made; that of the last run is still there.
    """

    def __init__(self, files: Files, directory: str, run: int, count: int) -> None:
        path = path_in(directory, SLOTS_NAME)
        temporary = f"{path}.tmp"
        fd = files.create(temporary)
        try:
            # Written out, so that the blocks are there and a full disk is an error here.
            files.write(fd, array("Q", [run, *([0] * count)]).tobytes(), 0)
            files.sync_or_raise(fd)
            self._words = files.map_words(fd, 1 + count)
        finally:
            files.close(fd)
        files.rename(temporary, path)
        files.sync_directory(directory)

    def set(self, slot: int, job: int) -> None:
        """A job's attempt is live."""
        self._words[slot + 1] = job

    def clear(self, slot: int) -> None:
        """The attempt has ended."""
        self._words[slot + 1] = 0

    def __len__(self) -> int:
        return len(self._words) - 1

    def clear_all(self) -> None:
        """Whatever still runs is given up, not interrupted; lets go of the file."""
        for index in range(1, len(self._words)):
            self._words[index] = 0
        self._words = memoryview(bytearray(self._words.nbytes)).cast("Q")
