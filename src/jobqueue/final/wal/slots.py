"""Which jobs are running, in a few bytes that survive the process.

A file of aligned 8-byte words in the machine's own order. The first names the run, by the number of
the segment that it started. Each of the others names the job of one live attempt, 0 for none. A
word is stored as the log's segments are: by a copy into a map of the file if no such store can
fail, else by one call that keeps the GIL. `kill -9` does not undo it. A power cut may: then no job
is blamed for it.

A number is stored times 65,521. That is a prime, so any one byte that is wrong, or any 15 bits in a
row, make another word than a multiple of it: it names nobody.
"""

from __future__ import annotations

import sys
from array import array
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .files import FULL, path_in

if TYPE_CHECKING:
    from .files import Files

SLOTS_NAME = "SLOTS"
_WORD_BYTES = 8
_SLOTS_MAX = 1 << 16
_FACTOR = 65_521
_WORD_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Interrupted:
    """What the last run left.

    Attributes:
        run: its segment's number.
        jobs: numbers of the jobs that were running at its end.
        damaged: how many words could not be read; if the run's could not, there are no jobs.
    """

    run: int
    jobs: frozenset[int]
    damaged: int = 0


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
    return decode_slots(data)


def decode_slots(data: bytes) -> Interrupted:
    """Take the content of a slots file apart."""
    words = array("Q", data[: len(data) - len(data) % _WORD_BYTES])
    damaged = sum(word % _FACTOR != 0 for word in words)
    if not words or words[0] % _FACTOR:
        return Interrupted(0, frozenset(), damaged)
    # guard: a damaged slot names nobody
    #   without: jobs = frozenset(word // _FACTOR for word in words[1:])
    jobs = frozenset(word // _FACTOR for word in words[1:] if word % _FACTOR == 0)
    return Interrupted(words[0] // _FACTOR, jobs - {0}, damaged)


def encode_slots(run: int, jobs: list[int]) -> bytes:
    """Return the content of a slots file."""
    return array("Q", [number * _FACTOR & _WORD_MASK for number in (run, *jobs)]).tobytes()


def _create(files: Files, temporary: str, path: str) -> int:
    """Create the file that is to replace `path`; if there is no inode, in the place of that."""
    try:
        return files.create(temporary)
    except OSError as error:
        if error.errno not in FULL:
            raise
        # What it says of the last run is in the log by now.
        with suppress(FileNotFoundError):
            files.unlink(path)
        return files.create(temporary)


class Slots:
    """The slots of this run.

    Relies on: the queue's mutex, held by the caller of every method.

    Args:
        run: number of the segment that this run started.
        count: how many attempts can be live at once.
        map_log: whether to store through a map; `None`: if no store into it can fail.

    Raises:
        OSError: the file cannot be made; that of the last run is still there, if the disk has room.
    """

    def __init__(
        self, files: Files, directory: str, run: int, count: int, map_log: bool | None = None
    ) -> None:
        path = path_in(directory, SLOTS_NAME)
        temporary = f"{path}.tmp"
        content = encode_slots(run, [0] * count)
        self._files = files
        self._write_now = files.write_now
        self._words = memoryview(bytearray(content)).cast("Q")
        self._is_behind = False
        self._released: int | None = None
        with suppress(FileNotFoundError):
            files.unlink(temporary)  # of an attempt that found the disk full
        fd = _create(files, temporary, path)
        self._fd: int | None = fd  # if stores are calls
        try:
            # Written out, so that the blocks are there and a full disk is an error here.
            files.write(fd, content, 0)
            files.sync_or_raise(fd)
            if files.can_map(fd) if map_log is None else map_log:
                self._words = files.map_words(fd, 1 + count)
                self._fd = None
                files.close(fd)
            files.rename(temporary, path)
            files.sync_directory(directory)
        except BaseException:
            self._release()
            self.close()
            raise

    def set(self, slot: int, job: int) -> None:
        """A job's attempt is live; the one before it on this slot has ended."""
        index = slot + 1
        self._words[index] = word = job * _FACTOR & _WORD_MASK
        fd = self._fd
        if fd is None:
            return
        if self._is_behind:
            self._store_all(fd)
        elif self._write_now(fd, word.to_bytes(8, sys.byteorder), index * 8) != 8:
            # guard: a slot that could not be stored is stored with the next one
            self._is_behind = True

    def clear(self, slot: int) -> None:
        """The attempt has ended."""
        self.set(slot, 0)

    def _store_all(self, fd: int) -> None:
        """Store all words: one that failed is made up for by the next one.

        It must not fail a job, and the log tells of the disk.
        """
        data = self._words.tobytes()
        self._is_behind = self._write_now(fd, data, 0) != len(data)

    def __len__(self) -> int:
        return len(self._words) - 1

    def clear_all(self) -> None:
        """Whatever still runs is given up, not interrupted. Nothing is stored from here on."""
        for index in range(1, len(self._words)):
            self._words[index] = 0
        if self._fd is not None:
            self._store_all(self._fd)
        self._release()

    def _release(self) -> None:
        self._words = memoryview(bytearray(self._words.nbytes)).cast("Q")
        self._released, self._fd = self._fd, None

    def close(self) -> None:
        """Let go of the file, after `clear_all`. Without the mutex; twice does no harm."""
        fd, self._released = self._released, None
        if fd is not None:
            self._files.close(fd)
