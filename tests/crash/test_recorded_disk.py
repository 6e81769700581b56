"""The disk in memory does as a real one, and its crashes leave what they are said to leave."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from jobqueue.final import LogLockedError
from jobqueue.final.wal.files import PAGE_BYTES, Files
from tests.support.disk_tree import Tree
from tests.support.power_cut import SECTOR_BYTES, Disk, power_cuts
from tests.support.recording_files import EMPTY_DISK, LOG, RecordingFiles

FILE = f"{LOG}/file"


@pytest.fixture
def disk() -> RecordingFiles:
    files = RecordingFiles(Tree(EMPTY_DISK), maps=True)
    files.make_directory(LOG)
    return files


def left_by_power_cuts(files: RecordingFiles, samples: int = 300) -> list[bytes | None]:
    """The different contents that `FILE` may have after a power cut now; `None` for no file."""
    disk = Disk(files)
    disk.advance(files.now())
    images = [each.image() for each in power_cuts(disk, Random(1), all_up_to=64, samples=samples)]
    return list(dict.fromkeys(image.get(FILE) for image in images))


def created(files: RecordingFiles, data: bytes) -> int:
    """Make `FILE`, for good."""
    fd = files.create(FILE)
    files.write(fd, data, 0)
    files.sync(fd)
    files.sync_directory(LOG)
    return fd


# ── as a real disk ───────────────────────────────────────────────────────────────────────────


def observations(files: Files, directory: str) -> Iterator[object]:
    """What one sees who does a bit of everything."""
    path, other = f"{directory}/a", f"{directory}/b"
    fd = files.create(path)
    with pytest.raises(FileExistsError):
        files.create(path)
    with pytest.raises(FileNotFoundError):
        files.open_read(other)
    files.write(fd, b"0123456789", 0)
    files.write(fd, b"ab", 14)
    yield files.read(fd, 100, 0)
    files.truncate(fd, 3)
    files.truncate(fd, 5)
    yield files.read(fd, 100, 0)
    files.truncate(fd, PAGE_BYTES)
    with contextlib.suppress(OSError):  # where the real one reserves no blocks
        files.allocate(fd, 0, 2 * PAGE_BYTES)
    files.truncate(fd, 2 * PAGE_BYTES)
    window = files.map(fd, PAGE_BYTES, PAGE_BYTES)
    window[1:4] = b"map"
    window.close()
    yield files.read(fd, 6, PAGE_BYTES)
    files.sync(fd)
    files.forget_cached(fd)
    yield files.size(fd), files.size_of(path), files.read(fd, 2, 0)
    files.map_words(fd, 2)[1] = 7
    yield files.read(fd, 16, 0)
    files.rename(path, other)
    files.sync_directory(directory)
    yield files.list_directory(directory), files.is_directory(directory), files.is_directory(other)
    with pytest.raises(FileNotFoundError):
        files.rename(path, other)
    files.unlink(other)
    yield files.read(fd, 3, 0)
    with pytest.raises(FileNotFoundError):
        files.unlink(other)
    files.close(fd)
    with pytest.raises(OSError, match=r"descriptor|open"):
        files.size(fd)


def test_a_disk_in_memory_shows_what_a_real_one_shows(disk: RecordingFiles, tmp_path: Path) -> None:
    real = list(observations(Files(), str(tmp_path)))
    assert list(observations(disk, LOG)) == real


def test_no_call_gets_past_the_recording() -> None:
    """All that reaches for the disk is there anew; what is not goes through that."""
    calls = {name for name in vars(Files) if not name.startswith("_")}
    assert calls - set(vars(RecordingFiles)) == {"make_directory", "sync_or_raise"}


def test_a_lock_holds_until_it_is_released(disk: RecordingFiles) -> None:
    path = f"{LOG}/LOCK"
    assert disk.owner(path) is None
    fd = disk.lock(path)
    assert disk.owner(path) is not None
    with pytest.raises(LogLockedError):
        disk.lock(path)
    disk.unlock(fd)
    disk.unlock(disk.lock(path))


# ── as one that loses its power ──────────────────────────────────────────────────────────────


def test_what_was_fsynced_stays(disk: RecordingFiles) -> None:
    created(disk, b"there")
    assert left_by_power_cuts(disk) == [b"there"]


def test_a_file_may_be_gone_whose_directory_was_not_fsynced(disk: RecordingFiles) -> None:
    fd = disk.create(FILE)
    disk.write(fd, b"there", 0)
    disk.sync(fd)
    assert left_by_power_cuts(disk) == [b"there", None]


def test_a_rename_or_a_removal_may_be_undone(disk: RecordingFiles) -> None:
    created(disk, b"old")
    fd = disk.create(f"{FILE}.tmp")
    disk.write(fd, b"new", 0)
    disk.sync(fd)
    disk.sync_directory(LOG)
    disk.rename(f"{FILE}.tmp", FILE)
    assert left_by_power_cuts(disk) == [b"new", b"old"]
    disk.unlink(FILE)
    assert left_by_power_cuts(disk) == [None, b"new", b"old"]


def test_a_write_that_was_not_fsynced_may_be_there_in_part_or_as_something_else(
    disk: RecordingFiles,
) -> None:
    fd = created(disk, b"safe")
    disk.write(fd, b"xyz", 4)
    left = left_by_power_cuts(disk)
    assert all(data is not None and data.startswith(b"safe") for data in left)
    assert {b"safe", b"safexyz", b"safex", b"safe\0\0z", b"safe\0\0\0"} <= set(left)
    assert any(data is not None and len(data) == 7 and b"\0" not in data for data in left[2:])


def test_a_later_write_may_be_there_without_an_earlier_one(disk: RecordingFiles) -> None:
    fd = created(disk, b"")
    disk.write(fd, b"first", 0)
    disk.write(fd, b"second", 5)
    assert b"\0\0\0\0\0second" in left_by_power_cuts(disk)


def test_a_large_write_may_have_holes(disk: RecordingFiles) -> None:
    fd = created(disk, b"")
    disk.write(fd, b"x" * 3 * SECTOR_BYTES, 0)
    hole = b"x" * SECTOR_BYTES + bytes(SECTOR_BYTES) + b"x" * SECTOR_BYTES
    assert hole in left_by_power_cuts(disk)


def test_what_is_written_while_an_fsync_goes_on_is_not_fsynced() -> None:
    files = RecordingFiles(Tree(EMPTY_DISK), maps=True)
    files.make_directory(LOG)
    fd = created(files, b"a")

    def write_meanwhile(method: str) -> int:
        if method == "sync":
            files.write(fd, b"b", 1)
        return 0

    files.inject = write_meanwhile
    files.sync(fd)
    assert left_by_power_cuts(files)[:2] == [b"ab", b"a"]


def test_what_failed_to_be_fsynced_stays_uncertain_until_it_is_read_from_the_disk(
    disk: RecordingFiles,
) -> None:
    fd = created(disk, b"a")
    disk.write(fd, b"b", 1)
    disk.inject = lambda method: errno.EIO if method == "sync" else 0
    assert disk.sync(fd) == errno.EIO
    disk.inject = None
    assert disk.sync(fd) == 0
    assert left_by_power_cuts(disk)[:2] == [b"ab", b"a"]
    assert disk.read(fd, 2, 0) == b"ab"
    disk.forget_cached(fd)
    assert left_by_power_cuts(disk) == [disk.read(fd, 2, 0)]


def test_kill_loses_nothing_that_was_written_and_saves_nothing_from_a_power_cut_that_follows(
    disk: RecordingFiles,
) -> None:
    fd = created(disk, b"a")
    disk.write(fd, b"b", 1)
    killed = Disk(disk)
    killed.advance(disk.now())
    remains = killed.killed_after()
    assert remains.image()[FILE] == b"ab"
    assert left_by_power_cuts(remains.files(maps=False))[:2] == [b"ab", b"a"]


def test_kill_within_a_copy_into_a_map_leaves_any_part_of_it(disk: RecordingFiles) -> None:
    fd = created(disk, b"")
    disk.allocate(fd, 0, PAGE_BYTES)
    disk.map(fd, PAGE_BYTES, 0)[0:3] = b"xyz"
    killed = Disk(disk)
    killed.advance(disk.now())
    left = {
        remains.image()[FILE] or b""
        for seed in range(200)
        for remains in killed.killed_within(Random(seed))
    }
    assert {b"xyz", b"x\0\0", b"\0\0z", b"\0\0\0"} <= {data[:3] for data in left}
    assert {len(data) for data in left} == {PAGE_BYTES}
