from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from jobqueue.final.wal.files import Files
from jobqueue.final.wal.names import segment_name, snapshot_name
from jobqueue.final.wal.reading.cut import distrust_memory, recover
from tests.support.faulty_files import FaultyFiles
from tests.support.logs import Image, LogDirectory, job, nothing, segment, snapshot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyFiles()


@pytest.fixture
def log(tmp_path: Path, files: FaultyFiles) -> LogDirectory:
    return LogDirectory(tmp_path, files)


def torn_log(log: LogDirectory) -> Image:
    """A log whose two last files are torn."""
    image = segment(1, 1, [[job(1)], [job(2)]], nothing)
    log.put(Image(image.name, image.data + b"torn"), Image(segment_name(2), b"torn too"))
    return image


def test_the_copies_are_on_the_disk_before_anything_is_cut(
    log: LogDirectory, files: FaultyFiles
) -> None:
    torn_log(log)
    log.open()
    calls = [c for c in files.calls if c not in ("close", "create", "write")]
    assert calls == [
        *("sync", "sync", "sync_directory"),  # both copies
        *("truncate", "sync", "unlink", "truncate", "sync"),  # the later file first
        *("sync", "sync_directory"),  # what a dead writer left to the kernel
    ]


@pytest.mark.parametrize("method", ["create", "write", "sync", "sync_directory"])
def test_nothing_is_cut_where_the_copy_could_not_be_made(
    log: LogDirectory, files: FaultyFiles, method: str
) -> None:
    torn_log(log)
    before = log.content()
    files.fail(method, errno.ENOSPC, for_ever=True)
    with pytest.raises(OSError, match="No space"):
        log.open()
    for name, data in before.items():
        assert log.content()[name] == data


def test_a_recovery_that_dies_at_any_call_can_be_made_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    died = 0
    for method in ("create", "write", "sync", "sync_directory", "truncate", "unlink"):
        for skip in range(6):
            files = FaultyFiles()
            log = LogDirectory(tmp_path_factory.mktemp("log"), files)
            image = torn_log(log)
            files.fail(method, errno.EIO, skip=skip, for_ever=True)
            try:
                log.open()
            except OSError:
                died += 1
            files.heal()
            reading = log.open()
            assert reading.records == [job(1), job(2)]
            assert reading.next_segment == 2
            content = log.content()
            assert content.pop(image.name) == image.data
            copies = {name: data for name, data in content.items() if data}
            assert set(copies.values()) == {b"torn", b"torn too"}
    assert died == 14  # calls that recovering this log makes


def test_the_last_segment_is_fsynced_for_the_writer_that_died(
    log: LogDirectory, files: FaultyFiles
) -> None:
    log.put(segment(1, 1, [[job(1)]]), segment(2, 2, [[job(2)]]))
    log.open()
    assert [c for c in files.calls if c != "close"] == ["sync", "sync_directory"]


def test_temporary_and_replaced_files_are_removed(log: LogDirectory) -> None:
    log.put(
        segment(1, 1, [[job(1)]]),
        snapshot(1, 2, [[job(1)]]),
        segment(2, 2, []),
        snapshot(2, 2, [[job(1)]]),
        segment(3, 2, [[job(2)]]),
        Image("00000003.snapshot.jsonl.tmp", b"half"),
        Image("notes.txt", b"mine"),
    )
    assert log.open().records == [job(1), job(2)]
    assert set(log.content()) == {snapshot_name(2), segment_name(3), "notes.txt"}


def test_a_snapshot_has_its_name_on_the_disk_before_what_it_replaced_goes(
    log: LogDirectory, files: FaultyFiles
) -> None:
    # Whoever renamed it may have died before it could see to that.
    log.put(segment(1, 1, [[job(1)]]), snapshot(1, 2, [[job(1)]]), segment(2, 2, []))
    log.open()
    assert "sync_directory" in files.calls[: files.calls.index("unlink")]


@pytest.mark.parametrize("name", [segment_name(1), f"{segment_name(1)}.torn"])
def test_a_symbolic_link_is_never_followed(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    directory = tmp_path / "log"
    directory.mkdir()
    log = LogDirectory(directory, Files())
    torn_log(log)
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(target)
    if name == segment_name(1):
        with pytest.raises(OSError, match="symbolic link"):
            log.open()
    else:
        log.open()
        assert (directory / f"{segment_name(1)}.torn.2").read_bytes() == b"torn"
    assert target.read_bytes() == b"precious"


def test_recovering_a_sound_log_copies_nothing(log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    assert recover(log.files, str(log.path), None) == []


def test_a_file_that_is_empty_already_needs_no_copy(log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)]]), Image(segment_name(2), b""))
    reading = log.read()
    assert recover(log.files, str(log.path), reading.torn) == []
    assert set(log.content()) == {segment_name(1)}


class Forgetting(FaultyFiles):
    """Tells which files were forgotten, among the other calls."""

    def open_read(self, path: str) -> int:
        self.calls.append(f"open {path.rpartition('/')[2]}")
        return super().open_read(path)

    def forget_cached(self, fd: int) -> None:
        self.calls.append("forget")
        super().forget_cached(fd)


def test_the_last_segment_is_read_from_the_disk_and_not_from_memory(tmp_path: Path) -> None:
    files = Forgetting()
    log = LogDirectory(tmp_path, files)
    log.put(segment(1, 1, [[job(1)]]), segment(2, 2, [[job(2)]]))
    distrust_memory(files, str(tmp_path))
    assert files.calls == [f"open {segment_name(2)}", "sync", "forget", "close"]


def test_an_empty_log_has_nothing_to_distrust(log: LogDirectory, files: FaultyFiles) -> None:
    distrust_memory(files, str(log.path))
    assert files.calls == []
