"""The reserve of disk space: taken, given up for what needs it, and taken again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jobqueue.final.errors import LogWriteError
from jobqueue.final.wal.room import RESERVE_BYTES_MIN, RESERVE_NAMES, Room
from tests.support.dying_files import DiedError, DyingFiles
from tests.support.faulty_files import FaultyFiles


class SmallDisk(FaultyFiles):
    """Files on a disk with so much room, in bytes and in files."""

    def __init__(self, bytes_free: int = 1 << 30, files_free: int = 1 << 10) -> None:
        super().__init__()
        self.bytes_free = bytes_free
        self.files_free = files_free

    def fill(self, path: str, size: int) -> None:
        before = os.path.getsize(path) if os.path.exists(path) else 0
        if size - before > self.bytes_free or (not os.path.exists(path) and not self.files_free):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self.files_free -= not os.path.exists(path)
        super().fill(path, size)
        self.bytes_free -= size - before

    def unlink(self, path: str) -> None:
        size = os.path.getsize(path)
        super().unlink(path)
        self.bytes_free += size
        self.files_free += 1

    def free(self, directory: str) -> tuple[int, int]:
        return self.bytes_free, 1 << 30

    def has_inodes(self, directory: str, count: int = 1) -> bool:
        return self.files_free >= count


def _held(path: Path) -> int:
    reserve = path / RESERVE_NAMES[0]
    return reserve.stat().st_size if reserve.exists() else 0


class Work:
    """Fails for lack of room until so much is free."""

    def __init__(self, disk: SmallDisk, bytes_needed: int, number: int = errno.ENOSPC) -> None:
        self.tries = 0
        self._disk = disk
        self._bytes_needed = bytes_needed
        self._number = number

    def __call__(self) -> str:
        self.tries += 1
        if self._disk.bytes_free < self._bytes_needed:
            raise OSError(self._number, os.strerror(self._number))
        return "done"


def _room(path: Path, disk: SmallDisk, wanted: int = 1 << 20) -> Room:
    room = Room(disk, str(path))
    room.take(wanted)
    return room


def test_what_finds_no_room_gets_the_reserve(tmp_path: Path) -> None:
    disk = SmallDisk(100 << 20)
    room = _room(tmp_path, disk)
    disk.bytes_free = 0
    work = Work(disk, 1 << 20)

    assert room.provide(work) == "done"

    assert (work.tries, room.is_short, _held(tmp_path)) == (2, True, 0)


def test_what_finds_room_leaves_the_reserve_alone(tmp_path: Path) -> None:
    room = _room(tmp_path, disk := SmallDisk(100 << 20))

    assert room.provide(Work(disk, 5)) == "done"

    assert (room.is_short, _held(tmp_path)) == (False, 1 << 20)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_what_finds_no_room_even_so_says_what_is_lacking(tmp_path: Path, number: int) -> None:
    room = _room(tmp_path, disk := SmallDisk(100 << 20))
    disk.files_free = 0

    with pytest.raises(OSError, match=f"{os.strerror(number)}: .* are free on its") as caught:
        room.provide(Work(disk, 1 << 40, number))

    assert caught.value.errno == number
    assert _held(tmp_path) == 0


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "broken"), LogWriteError(errno.ENOSPC, "could not be cut off")]
)
def test_another_failure_is_not_tried_again(tmp_path: Path, error: OSError) -> None:
    room = _room(tmp_path, SmallDisk(100 << 20))
    tries = []

    def work() -> None:
        tries.append(1)
        raise error

    with pytest.raises(OSError, match=str(error.strerror)):
        room.provide(work)

    assert (len(tries), room.is_short, _held(tmp_path)) == (1, False, 1 << 20)


def test_it_is_short_until_all_that_was_given_up_is_back(tmp_path: Path) -> None:
    room = _room(tmp_path, disk := SmallDisk(100 << 20))
    disk.bytes_free = 0
    room.provide(Work(disk, 1 << 20))
    disk.bytes_free = (1 << 20) - 1

    with pytest.raises(OSError, match="No space left"):
        room.take_again(1 << 20)
    assert (room.is_short, _held(tmp_path)) == (True, 0)
    assert not list(tmp_path.iterdir())  # a part of it would only be in the way

    disk.bytes_free = 1 << 20
    room.take_again(1 << 20)
    assert (room.is_short, _held(tmp_path)) == (False, 1 << 20)


def test_less_is_taken_again_if_less_is_wanted_by_then(tmp_path: Path) -> None:
    room = _room(tmp_path, disk := SmallDisk(100 << 20))
    disk.bytes_free = 0
    room.provide(Work(disk, 1 << 20))
    disk.bytes_free = RESERVE_BYTES_MIN

    room.take_again(0)

    assert (room.is_short, _held(tmp_path)) == (False, RESERVE_BYTES_MIN)


def test_files_are_held_too(tmp_path: Path) -> None:
    room = _room(tmp_path, disk := SmallDisk(100 << 20, files_free=4))
    assert disk.files_free == 0
    disk.bytes_free = 0
    room.provide(Work(disk, 1 << 20))

    disk.files_free = 3  # what needed one has it
    with pytest.raises(OSError, match="No space left"):
        room.take_again(1 << 20)

    assert room.lacks_inodes
    disk.files_free = 4
    room.take_again(1 << 20)
    assert {path.name for path in tmp_path.iterdir()} == set(RESERVE_NAMES)


@pytest.mark.parametrize("name", RESERVE_NAMES[:2])
def test_a_file_of_another_name_too_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    others = tmp_path / "others"
    others.write_bytes(b"precious")
    (log := tmp_path / "log").mkdir()
    (log / name).hardlink_to(others)

    _room(log, SmallDisk(100 << 20))

    assert others.read_bytes() == b"precious"
    assert {path.name for path in log.iterdir()} == set(RESERVE_NAMES)
    assert _held(log) == 1 << 20


def test_it_is_not_taken_again_from_what_it_was_given_up_for(tmp_path: Path) -> None:
    room = _room(tmp_path, disk := SmallDisk(100 << 20))
    disk.bytes_free = 0
    refused = []

    def work() -> None:
        if disk.bytes_free == 0:
            raise OSError(errno.ENOSPC, "full")
        with pytest.raises(OSError, match="in use"):
            room.take_again(1 << 20)
        refused.append(1)

    room.provide(work)

    assert refused == [1]
    room.take_again(1 << 20)


def test_it_grows_and_shrinks_with_what_is_wanted(tmp_path: Path) -> None:
    room = _room(tmp_path, SmallDisk(100 << 20))
    held = []

    for wanted in (4 << 20, 3 << 20, 1 << 20, 0):
        room.take(wanted)
        held.append(_held(tmp_path))

    assert held == [4 << 20, 4 << 20, 1 << 20, RESERVE_BYTES_MIN]


def test_a_small_disk_keeps_half_of_what_is_free(tmp_path: Path) -> None:
    room = _room(tmp_path, disk := SmallDisk(100 << 10))

    assert _held(tmp_path) == 48 << 10  # whole blocks
    assert disk.bytes_free == 52 << 10
    assert not room.is_short


def test_what_the_last_run_left_is_not_made_smaller_on_a_full_disk(tmp_path: Path) -> None:
    _room(tmp_path, disk := SmallDisk(100 << 20), 4 << 20)
    disk.bytes_free = 0

    _room(tmp_path, disk, 4 << 20)

    assert _held(tmp_path) == 4 << 20


def test_a_file_system_that_cannot_hold_it_goes_without(tmp_path: Path) -> None:
    (tmp_path / RESERVE_NAMES[0]).mkdir()

    room = _room(tmp_path, SmallDisk())

    assert not room.is_short


@pytest.mark.parametrize("calls", range(4))
def test_killed_while_it_is_given_up_it_is_taken_anew(tmp_path: Path, calls: int) -> None:
    _room(tmp_path, SmallDisk(100 << 20))
    dying = DyingFiles(calls)

    def work() -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(DiedError):
        Room(dying, str(tmp_path)).provide(work)
    _room(tmp_path, SmallDisk(100 << 20))

    assert {path.name for path in tmp_path.iterdir()} == set(RESERVE_NAMES)
    assert _held(tmp_path) == 1 << 20
