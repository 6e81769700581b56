from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobqueue.final.errors import LogCorruptError, LogWriteError
from jobqueue.final.wal.appender import (
    WINDOW_BYTES,
    Appender,
    MappedWindow,
    PlainWindow,
    open_appender,
)
from jobqueue.final.wal.files import PAGE_BYTES, Files
from jobqueue.final.wal.names import Listing, list_log, segment_name, snapshot_name
from tests.support.faulty_files import FaultyFiles
from tests.support.logs import HastyFiles

if TYPE_CHECKING:
    from pathlib import Path

HEADER = b"a header\n"


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyFiles()


def names(listing: Listing) -> list[str]:
    return [file.name for file in listing.files]


def list_names(tmp_path: Path, *present: str) -> Listing:
    for name in present:
        (tmp_path / name).touch()
    return list_log(Files(), str(tmp_path))


# Listing


def test_an_empty_directory_is_a_log_that_starts_with_segment_1(tmp_path: Path) -> None:
    listing = list_names(tmp_path)
    assert listing.files == []
    assert listing.next_segment == 1


def test_segments_are_listed_in_order_and_other_names_passed_over(tmp_path: Path) -> None:
    others = [
        "LOCK",
        "SLOTS",
        "1.jsonl",
        "00000000.jsonl",
        "000000003.jsonl",
        "00000002.jsonl.torn",
    ]
    listing = list_names(tmp_path, *others, "00000002.jsonl", "00000001.jsonl")
    assert names(listing) == ["00000001.jsonl", "00000002.jsonl"]
    assert listing.stale == []
    assert listing.next_segment == 3


def test_numbers_of_more_than_eight_digits_go_on(tmp_path: Path) -> None:
    present = [snapshot_name(99_999_998), segment_name(99_999_999), segment_name(100_000_000)]
    assert names(list_names(tmp_path, *present)) == present


def test_the_latest_snapshot_replaces_the_files_before_it(tmp_path: Path) -> None:
    old = [snapshot_name(1), segment_name(2), segment_name(3)]
    listing = list_names(tmp_path, *old, snapshot_name(3), segment_name(4), "x.tmp")
    assert names(listing) == [snapshot_name(3), segment_name(4)]
    stale = ["x.tmp", *sorted(old)]
    assert listing.stale == [str(tmp_path / name) for name in stale]


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        ([segment_name(2)], segment_name(1)),
        ([segment_name(1), segment_name(3)], segment_name(2)),
        ([snapshot_name(3), segment_name(5)], segment_name(4)),
        ([snapshot_name(3)], segment_name(4)),
        ([snapshot_name(3), segment_name(3)], segment_name(4)),
    ],
)
def test_a_missing_segment_is_named(tmp_path: Path, present: list[str], missing: str) -> None:
    with pytest.raises(LogCorruptError) as caught:
        list_names(tmp_path, *present)
    assert caught.value.segment == missing
    assert caught.value.path == str(tmp_path)


# Appending


def open_segment(files: Files, tmp_path: Path, mapped: bool) -> Appender:
    return open_appender(files, str(tmp_path / segment_name(1)), HEADER, mapped=mapped)


def open_mapped(files: Files, tmp_path: Path) -> Appender:
    appender = open_segment(files, tmp_path, mapped=True)
    if not isinstance(appender.window, MappedWindow):
        appender.finish()
        pytest.skip("this file system does not reserve blocks")
    return appender


def content(appender: Appender) -> bytes:
    with open(appender.path, "rb") as file:
        return file.read()


def append(appender: Appender, data: bytes) -> None:
    if not appender.fits(len(data)):
        appender.reserve(len(data))
    appender.append(data)


both_ways = pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])


@both_ways
def test_a_new_segment_is_durable_with_its_header_before_it_is_used(
    files: FaultyFiles, tmp_path: Path, mapped: bool
) -> None:
    appender = open_segment(files, tmp_path, mapped)
    calls = [call for call in files.calls if call not in ("allocate", "map")]
    assert calls[-2:] == ["sync", "sync_directory"]
    assert appender.position == len(HEADER)
    appender.finish()
    assert content(appender) == HEADER


@both_ways
def test_an_existing_file_is_never_taken_for_a_new_segment(tmp_path: Path, mapped: bool) -> None:
    (tmp_path / segment_name(1)).write_bytes(b"jobs")
    with pytest.raises(FileExistsError):
        open_segment(Files(), tmp_path, mapped)
    assert (tmp_path / segment_name(1)).read_bytes() == b"jobs"


@both_ways
@settings(max_examples=20)
@given(
    sizes=st.lists(st.integers(0, 5 * PAGE_BYTES) | st.integers(0, 2 * WINDOW_BYTES), max_size=5)
)
def test_a_segment_holds_exactly_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, mapped: bool, sizes: list[int]
) -> None:
    appender = open_segment(HastyFiles(), tmp_path_factory.mktemp("log"), mapped)
    expected = HEADER
    for index, size in enumerate(sizes):
        data = bytes([index + 1]) * size
        append(appender, data)
        expected += data
        assert appender.position == len(expected)
    appender.finish()
    assert content(appender) == expected


@both_ways
def test_what_was_appended_is_the_kernels_at_once(tmp_path: Path, mapped: bool) -> None:
    appender = open_segment(Files(), tmp_path, mapped)
    append(appender, b"a batch")
    assert content(appender).rstrip(b"\0") == HEADER + b"a batch"
    appender.abandon()
    assert content(appender).rstrip(b"\0") == HEADER + b"a batch"


@both_ways
def test_sync_reaches_the_file(files: FaultyFiles, tmp_path: Path, mapped: bool) -> None:
    appender = open_segment(files, tmp_path, mapped)
    files.fail("sync", errno.EIO)
    assert appender.sync() == errno.EIO
    files.fail("sync", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        appender.sync_or_raise()
    assert appender.sync() == 0
    appender.finish()


@both_ways
@pytest.mark.parametrize("method", ["write", "sync", "sync_directory"])
def test_nothing_is_left_of_a_segment_that_could_not_be_started(
    files: FaultyFiles, tmp_path: Path, mapped: bool, method: str
) -> None:
    files.fail(method, errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        open_segment(files, tmp_path, mapped)
    assert list(tmp_path.iterdir()) == []
    assert files.calls[-1] == "close"


def test_the_first_error_is_told_where_the_clearing_up_fails_too(
    files: FaultyFiles, tmp_path: Path
) -> None:
    files.fail("sync", errno.ENOSPC)
    files.fail("unlink", errno.EIO)
    with pytest.raises(OSError, match="No space"):
        open_segment(files, tmp_path, mapped=False)


@both_ways
def test_a_failure_to_finish_is_told_and_leaves_nothing_open(
    files: FaultyFiles, tmp_path: Path, mapped: bool
) -> None:
    appender = open_segment(files, tmp_path, mapped)
    appender.window.store_now(appender.position, b"never acknowledged")
    files.fail("truncate", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        appender.finish()
    assert files.calls[-1] == "close"


# Plain


def test_a_plain_append_never_fits_without_a_system_call(tmp_path: Path) -> None:
    appender = open_segment(Files(), tmp_path, mapped=False)
    assert isinstance(appender.window, PlainWindow)
    assert not appender.fits(0)
    assert not appender.window.is_memory
    assert appender.window.place(appender.position, 0) is None
    appender.finish()


def test_a_store_at_once_that_fails_is_cut_off_before_the_next_append(
    files: FaultyFiles, tmp_path: Path
) -> None:
    appender = open_segment(files, tmp_path, mapped=False)
    append(appender, b"first\n")
    files.fail("write", errno.ENOSPC, partial=20)
    appender.is_torn = True
    assert not appender.window.store_now(appender.position, b"a batch that is torn\n")
    assert content(appender) == HEADER + b"first\n" + b"a batch that is torn"
    files.heal()
    append(appender, b"next\n")
    assert not appender.is_torn
    assert content(appender) == HEADER + b"first\n" + b"next\n"
    assert appender.window.store_now(appender.position, b"last\n")
    appender.position += 5
    appender.finish()
    assert content(appender) == HEADER + b"first\n" + b"next\n" + b"last\n"


def test_what_is_left_of_a_store_at_once_and_cannot_be_cut_off_is_the_end_of_the_segment(
    files: FaultyFiles, tmp_path: Path
) -> None:
    appender = open_segment(files, tmp_path, mapped=False)
    files.fail("write", errno.ENOSPC, partial=3)
    appender.is_torn = True
    assert not appender.window.store_now(appender.position, b"batch\n")
    files.heal()
    files.fail("truncate", errno.EIO)
    with pytest.raises(LogWriteError, match="cut off") as caught:
        append(appender, b"next\n")
    assert caught.value.errno == errno.EIO
    assert content(appender) == HEADER + b"bat"
    appender.abandon()


@pytest.mark.parametrize("partial", [0, 1, 5])
def test_a_full_disk_leaves_no_glue(files: FaultyFiles, tmp_path: Path, partial: int) -> None:
    appender = open_segment(files, tmp_path, mapped=False)
    append(appender, b"first\n")
    files.fail("write", errno.ENOSPC, partial=partial)
    with pytest.raises(OSError, match="No space"):
        append(appender, b"second\n")
    assert content(appender) == HEADER + b"first\n"
    append(appender, b"third\n")
    appender.finish()
    assert content(appender) == HEADER + b"first\nthird\n"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_part_that_a_full_disk_does_not_let_be_cut_off_is_cut_off_later(
    files: FaultyFiles, tmp_path: Path, code: int
) -> None:
    appender = open_segment(files, tmp_path, mapped=False)
    append(appender, b"first\n")
    files.fail("write", errno.ENOSPC, partial=3)
    files.fail("truncate", code, for_ever=True)
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            append(appender, b"second\n")
        assert not isinstance(caught.value, LogWriteError)
        assert appender.is_torn
    files.heal()
    append(appender, b"3\n")
    appender.finish()
    assert content(appender) == HEADER + b"first\n3\n"


@pytest.mark.parametrize("now", [False, True])
def test_a_write_that_left_nothing_needs_no_cut(
    files: FaultyFiles, tmp_path: Path, now: bool
) -> None:
    appender = open_segment(files, tmp_path, mapped=False)
    files.fail("truncate", errno.EIO, for_ever=True)
    files.fail("write", errno.ENOSPC)
    if now:
        appender.is_torn = True
        assert not appender.window.store_now(appender.position, b"batch\n")
    with pytest.raises(OSError, match="No space"):
        append(appender, b"batch\n")
    append(appender, b"next\n")
    appender.finish()
    assert content(appender) == HEADER + b"next\n"


def test_a_part_that_cannot_be_cut_off_is_the_end_of_the_segment(
    files: FaultyFiles, tmp_path: Path
) -> None:
    appender = open_segment(files, tmp_path, mapped=False)
    files.fail("write", errno.ENOSPC, partial=3)
    files.fail("truncate", errno.EIO)
    with pytest.raises(LogWriteError, match="No space") as caught:
        append(appender, b"batch\n")
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == appender.path
    appender.abandon()


# Mapped


def test_a_mapped_segment_has_a_window_of_room_from_the_start(tmp_path: Path) -> None:
    appender = open_mapped(Files(), tmp_path)
    assert appender.window.is_memory
    assert appender.fits(WINDOW_BYTES)
    assert appender.window.place(appender.position, WINDOW_BYTES) is not None
    assert not appender.fits(2 * WINDOW_BYTES)
    assert appender.window.place(appender.position, 2 * WINDOW_BYTES) is None
    appender.finish()


def test_appending_more_than_fits_is_refused(tmp_path: Path) -> None:
    appender = open_mapped(Files(), tmp_path)
    with pytest.raises(ValueError, match="reserve"):
        appender.append(b"x" * 2 * WINDOW_BYTES)
    appender.finish()
    assert content(appender) == HEADER


def test_a_caller_may_copy_into_the_window_itself(tmp_path: Path) -> None:
    appender = open_mapped(Files(), tmp_path)
    for data in (b"one\n", b"two\n"):
        place = appender.window.place(appender.position, len(data))
        assert place is not None
        memory, start = place
        memory[start : start + len(data)] = data
        appender.position += len(data)
    appender.finish()
    assert content(appender) == HEADER + b"one\ntwo\n"


def test_an_append_makes_no_system_call(files: FaultyFiles, tmp_path: Path) -> None:
    appender = open_mapped(files, tmp_path)
    files.calls.clear()
    appender.append(b"batch\n")
    assert files.calls == []
    appender.finish()


def test_a_file_is_never_cut_while_it_is_mapped(files: FaultyFiles, tmp_path: Path) -> None:
    appender = open_mapped(files, tmp_path)
    append(appender, b"batch\n")
    files.calls.clear()
    appender.finish()
    assert files.calls == ["unmap", "truncate", "sync", "close"]


@pytest.mark.parametrize("method", ["allocate", "map"])
def test_a_reservation_that_fails_leaves_all_as_it_was(
    files: FaultyFiles, tmp_path: Path, method: str
) -> None:
    appender = open_mapped(files, tmp_path)
    append(appender, b"first\n")
    files.fail(method, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        appender.reserve(2 * WINDOW_BYTES)
    assert not appender.fits(2 * WINDOW_BYTES)
    append(appender, b"second\n")
    appender.finish()
    assert content(appender) == HEADER + b"first\nsecond\n"


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EFBIG])
def test_where_blocks_cannot_be_reserved_the_segment_is_written_plainly(
    files: FaultyFiles, tmp_path: Path, code: int
) -> None:
    files.fail("allocate", code)
    appender = open_segment(files, tmp_path, mapped=True)
    assert isinstance(appender.window, PlainWindow)
    appender.finish()


def test_a_file_that_cannot_be_mapped_is_written_plainly_from_its_end(
    files: FaultyFiles, tmp_path: Path
) -> None:
    files.fail("map", errno.ENODEV)
    appender = open_segment(files, tmp_path, mapped=True)
    assert content(appender) == HEADER
    append(appender, b"batch\n")
    appender.finish()
    assert content(appender) == HEADER + b"batch\n"


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EAGAIN, errno.EPERM])
def test_where_no_more_memory_may_be_locked_the_segment_is_written_from_there_on(
    files: FaultyFiles, tmp_path: Path, code: int
) -> None:
    appender = open_mapped(files, tmp_path)
    append(appender, b"first\n")
    files.fail("map", code)
    appender.reserve(2 * WINDOW_BYTES)
    assert isinstance(appender.window, PlainWindow)
    assert "unmap" in files.calls
    append(appender, b"second\n")
    assert appender.window.store_now(appender.position, b"third\n")
    appender.position += 6
    appender.finish()
    assert content(appender) == HEADER + b"first\nsecond\nthird\n"


def test_a_reservation_that_fails_gives_back_what_it_took(tmp_path: Path) -> None:
    class Filling(FaultyFiles):
        def allocate(self, fd: int, offset: int, length: int) -> None:
            super().write(fd, bytes(length // 2), offset)
            super().allocate(fd, offset, length)

    filling = Filling()
    appender = open_mapped(filling, tmp_path)
    size = len(content(appender))
    filling.fail("allocate", errno.ENOSPC)
    appender.reserve(2 * WINDOW_BYTES)
    assert len(content(appender)) == size
    appender.finish()


@pytest.mark.parametrize(
    ("maps", "map_log", "is_mapped"),
    [
        (True, None, True),
        (False, None, False),
        (True, False, False),
        (False, True, True),
    ],
)
def test_a_segment_is_mapped_where_no_store_can_fail_or_as_it_is_wished(
    files: FaultyFiles, tmp_path: Path, maps: bool, map_log: bool | None, is_mapped: bool
) -> None:
    files.maps = maps
    path = str(tmp_path / segment_name(1))
    appender = open_appender(files, path, HEADER, mapped=True, map_log=map_log)
    assert appender.window.is_memory == is_mapped
    appender.finish()
    path = str(tmp_path / segment_name(2))
    appender = open_appender(files, path, HEADER, mapped=False, map_log=map_log)
    assert not appender.window.is_memory
    appender.finish()


@pytest.mark.parametrize("nth", [0, 1])
def test_a_disk_with_less_room_than_a_window_is_written_plainly(
    files: FaultyFiles, tmp_path: Path, nth: int
) -> None:
    files.fail("allocate", errno.ENOSPC, skip=nth)
    appender = open_segment(files, tmp_path, mapped=True)
    appender.reserve(2 * WINDOW_BYTES)

    append(appender, b"batch\n")

    assert isinstance(appender.window, PlainWindow)
    appender.finish()
    assert content(appender) == HEADER + b"batch\n"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_what_there_is_no_room_to_cut_off_is_cut_off_before_the_next_batch(
    files: FaultyFiles, tmp_path: Path, code: int
) -> None:
    """As btrfs refuses an ftruncate on a full disk."""
    appender = open_segment(files, tmp_path, mapped=False)
    files.fail("write", code, partial=100)
    files.fail("truncate", code)
    with pytest.raises(OSError, match=os.strerror(code)):
        append(appender, b"x" * 200)
    files.fail("truncate", code)
    with pytest.raises(OSError, match=os.strerror(code)):
        append(appender, b"still no room\n")

    append(appender, b"batch\n")

    appender.finish()
    assert content(appender) == HEADER + b"batch\n"


def test_an_end_that_there_is_no_room_to_cut_off_is_left_when_the_segment_is_finished(
    files: FaultyFiles, tmp_path: Path
) -> None:
    appender = open_mapped(files, tmp_path)
    append(appender, b"batch\n")
    files.fail("truncate", errno.ENOSPC)

    appender.finish()

    assert content(appender).rstrip(b"\0") == HEADER + b"batch\n"


def test_the_window_may_move_while_another_thread_appends(tmp_path: Path) -> None:
    appender = open_mapped(Files(), tmp_path)
    done = threading.Event()

    def move() -> None:
        while not done.is_set():
            appender.reserve(0)

    mover = threading.Thread(target=move)
    mover.start()
    lines = [b"%07d\n" % number for number in range(20_000)]
    for line in lines:
        append(appender, line)
    done.set()
    mover.join()
    appender.finish()
    assert content(appender) == HEADER + b"".join(lines)
