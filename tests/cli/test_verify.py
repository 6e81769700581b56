from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobqueue.cli import access
from jobqueue.cli.live import LiveFiles
from jobqueue.final import Config, JobQueue
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.format.codec import encode_batch, encode_header
from jobqueue.final.wal.format.record import Enqueued
from jobqueue.final.wal.names import LOCK_NAME, segment_name
from jobqueue.final.wal.slots import SLOTS_NAME
from tests.support import insides
from tests.support.commands import Command
from tests.support.logs import Image, LogDirectory, done, job, nothing, segment, snapshot


def test_a_sound_log_is_said_to_be_sound(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)], [done(1)]]), segment(2, 3, [[job(2)]]))
    assert command("verify").lines == [
        "2 files, 3 whole batches",
        "sound: all batches are whole and follow one another",
    ]


def test_reserved_space_at_the_end_is_sound(command: Command, log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(1)]])
    log.put(Image(whole.name, whole.data + bytes(5000)))
    assert command("verify", "--json").object["verdict"] == "sound"


def test_every_damage_is_named_with_file_and_offset(command: Command, log: LogDirectory) -> None:
    first = segment(1, 1, [[job(1)], [job(2)], [job(3)]])
    second = segment(2, 4, [[done(1)], [done(2)]])
    data = bytearray(first.data)
    for index in (0, 2):
        data[first.starts[index] + 30] ^= 1
    log.put(Image(first.name, bytes(data)), Image(second.name, second.data[:-5]))
    outcome = command("verify", "--json")
    assert outcome.code == 1
    assert outcome.object["verdict"] == "corrupt"
    places = [(d["file"], d["offset"], d["end"]) for d in outcome.object["damages"]]
    assert places == [
        (first.name, first.starts[0], first.starts[1]),
        (first.name, first.starts[2], len(first.data)),
        (second.name, second.starts[1], len(second.data) - 5),
    ]


def test_people_get_a_line_for_each_damage(command: Command, log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)], [job(3)]])
    start, end = whole.starts[1], whole.starts[2]
    log.put(Image(whole.name, whole.data[:start] + b"?" + whole.data[start + 1 :]))
    path = log.path / whole.name
    assert command("verify").lines == [
        f"{path}, bytes {start} to {end - 1}: a batch whose checksum is wrong; batch 2 is missing",
        "1 file, 2 whole batches, 1 damage",
        "corrupt: no queue starts with it; 'jobqueue log repair' salvages the rest",
    ]


def test_what_is_missing_is_named_by_one_byte(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)]]), segment(3, 2, []))
    assert (
        command("verify").lines[0]
        == f"{log.path / segment_name(2)}, byte 0: the segment is missing"
    )


def test_a_torn_end_is_damage_that_the_next_start_cuts_off(
    command: Command, log: LogDirectory
) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)]], nothing)
    log.put(Image(whole.name, whole.data[:-5]))
    outcome = command("verify", "--json")
    assert (outcome.code, outcome.object["verdict"]) == (1, "torn")
    assert "the next start cuts it off" in command("verify").out
    log.open()
    assert command("verify").code == 0


def test_a_link_in_place_of_a_file_is_damage(
    command: Command, log: LogDirectory, tmp_path: Path
) -> None:
    whole = segment(1, 1, [[job(1)]])
    log.put(whole)
    (log.path / whole.name).rename(tmp_path / "elsewhere")
    (log.path / whole.name).symlink_to(tmp_path / "elsewhere")
    outcome = command("verify", "--json")
    assert (outcome.code, outcome.object["verdict"]) == (1, "corrupt")
    (damage,) = outcome.object["damages"]
    assert damage["file"] == whole.name
    assert "symbolic link" in damage["problem"]


@pytest.mark.parametrize("name", ["verify", "repair", "inspect"])
def test_a_file_that_the_disk_cannot_read_is_named_and_must_be_copied_first(
    command: Command, log: LogDirectory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(_files: Files, _fd: int, _size: int, _offset: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    whole = segment(1, 1, [[job(1)]])
    log.put(whole)
    monkeypatch.setattr(Files, "read", fail)
    outcome = command(name)
    assert outcome.code == 5
    assert str(log.path / whole.name) in outcome.err
    assert "ddrescue" in outcome.err


def test_what_only_a_start_would_refuse_is_a_damage_too(
    command: Command, log: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both walks are of one mind; should they ever differ, it must not pass for sound."""
    log.put(segment(1, 1, [[job(1)]], synced=lambda number: number))
    monkeypatch.setattr("jobqueue.cli.examination.DamageScan._heed", lambda *_: None)
    outcome = command("verify", "--json")
    assert (outcome.code, outcome.object["verdict"]) == (1, "corrupt")
    assert len(outcome.object["damages"]) == 1


@pytest.mark.parametrize("put", [os.mkdir, os.mkfifo])
def test_what_is_no_file_in_the_place_of_the_slots_is_refused_as_by_a_start(
    command: Command, log: LogDirectory, put: Callable[[Path], None]
) -> None:
    """Fault 36 of docs/reliability.md."""
    log.put(segment(1, 1, [[job(1)]]))
    put(log.path / SLOTS_NAME)

    outcome = command("verify", "--json")

    with pytest.raises(OSError, match=SLOTS_NAME):
        JobQueue(Config(persist_path=log.path), handler=len)
    assert (outcome.code, outcome.object["verdict"]) == (1, "corrupt")
    assert [damage["file"] for damage in outcome.object["damages"]] == [SLOTS_NAME]


# While a queue has the log open


@pytest.fixture
def locked(log: LogDirectory) -> Iterator[LogDirectory]:
    files = Files()
    lock = files.lock(str(log.path / LOCK_NAME))
    yield log
    files.unlock(lock)


@pytest.mark.parametrize("tail", [b"", b'{"op":"enq', bytes(5000), b'{"op":"enq' + bytes(5000)])
def test_a_batch_that_is_being_written_is_no_damage(
    command: Command, locked: LogDirectory, tail: bytes
) -> None:
    whole = segment(1, 1, [[job(1)]])
    locked.put(Image(whole.name, whole.data + tail))
    assert command("verify", "--json").object == {
        "log": str(locked.path),
        "in_use": True,
        "verdict": "sound",
        "files": 1,
        "batches": 1,
        "damages": [],
    }


def test_a_segment_that_is_being_started_is_no_damage(
    command: Command, locked: LogDirectory
) -> None:
    locked.put(segment(1, 1, [[job(1)]]), Image(segment_name(2), b""))
    assert command("verify").code == 0


def test_damage_in_what_was_written_before_is_damage(
    command: Command, locked: LogDirectory
) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)]])
    start = whole.starts[0]
    locked.put(Image(whole.name, whole.data[:start] + b"?" + whole.data[start + 1 :]))
    assert command("verify").code == 1


class BusyWriter:
    """A queue that leaps ahead of whoever reads its file, once in each walk through it."""

    def __init__(self, log: LogDirectory) -> None:
        self._number = 0
        self._path = log.path / segment_name(1)
        self._path.write_bytes(encode_header(1, 1))
        self._end = self._path.stat().st_size
        self._may_leap = False
        self.leaps = 0
        self.write(1000)

    def write(self, end: int) -> None:
        """Append batches up to some offset, and reserve space behind them."""
        with self._path.open("r+b") as file:
            while self._end < end:
                self._number += 1
                record = Enqueued(self._number, f"job-{self._number}", 1, 1.5, payload="x" * 10_000)
                file.seek(self._end)
                file.write(encode_batch([record], self._number, self._number - 1))
                self._end = file.tell()
            file.truncate(self._end + (1 << 20))

    def was_read(self, offset: int, size: int) -> None:
        """Somebody has read a part of the file: where that was into reserved space, fill it."""
        if offset == 0:
            self._may_leap = True
        elif self._may_leap and offset <= self._end < offset + size:
            self._may_leap = False
            self.leaps += 1
            self.write(offset + size + 50_000)


@pytest.mark.parametrize("name", ["verify", "inspect", "cat"])
def test_a_queue_that_writes_all_the_while_makes_no_damage(
    command: Command, locked: LogDirectory, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = BusyWriter(locked)

    def read_and_write(files: Files, fd: int, size: int, offset: int) -> bytes:
        data = read(files, fd, size, offset)
        writer.was_read(offset, size)
        return data

    read = Files.read
    monkeypatch.setattr(Files, "read", read_and_write)
    outcome = command(name)
    assert (outcome.code, outcome.err) == (0, "")
    assert writer.leaps


def test_what_is_written_behind_a_reader_makes_no_hole(log: LogDirectory) -> None:
    """The reader has read reserved space; the writer fills it and goes on behind it."""
    whole = segment(1, 1, [[job(1)], [job(2)]])
    path = log.path / whole.name
    half = whole.data[: whole.starts[1] + 10]
    path.write_bytes(half + bytes(200_000))
    files = LiveFiles()
    fd = files.open_read(str(path))
    try:
        path.write_bytes(whole.data + bytes(200_000))
        assert files.read(fd, 1 << 20, 0) == half
        assert files.read(fd, 10, len(half)) == b""
        assert files.read(fd, 10, len(half) + 50) == b""
    finally:
        files.close(fd)


def test_of_a_file_of_nothing_but_nuls_nothing_is_read(log: LogDirectory) -> None:
    (log.path / "file").write_bytes(bytes(100_000))
    files = LiveFiles()
    fd = files.open_read(str(log.path / "file"))
    try:
        assert files.read(fd, 10, 0) == b""
    finally:
        files.close(fd)


def test_a_file_whose_end_cannot_be_found_is_closed_again(
    log: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_files: Files, _fd: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (log.path / "file").write_bytes(b"x")
    monkeypatch.setattr(Files, "size", fail)
    descriptors = len(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        LiveFiles().open_read(str(log.path / "file"))
    assert len(os.listdir("/dev/fd")) == descriptors


class Compacted:
    """Compacts a log as soon as somebody has listed it."""

    def __init__(self, log: LogDirectory) -> None:
        self.looks = 0
        self._log = log

    def __call__(self, directory: str, shared: bool) -> access.Log:
        self.looks += 1
        log: access.Log = _look(directory, shared)
        if self.looks == 1:
            return access.Log(log.directory, _Vanishing(self._log), log.owner)
        return log


_look = getattr(*insides.looking_at_log())


class _Vanishing(Files):
    """Replaces a segment by a snapshot just before it is opened."""

    def __init__(self, log: LogDirectory) -> None:
        self._log = log

    def open_read(self, path: str) -> int:
        if path.endswith(segment_name(1)):
            self._log.put(snapshot(1, 2, [[job(1)]]))
            (self._log.path / segment_name(1)).unlink()
        return super().open_read(path)


@pytest.mark.parametrize("name", ["verify", "inspect", "cat", "dead"])
def test_a_file_that_a_compaction_replaced_meanwhile_is_no_error(
    command: Command, log: LogDirectory, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.put(segment(1, 1, [[job(1)]]), segment(2, 2, []))
    compacted = Compacted(log)
    monkeypatch.setattr(*insides.looking_at_log(), compacted)
    outcome = command(name, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert compacted.looks == 2


def test_a_file_that_goes_away_each_time_is_an_error(
    command: Command, log: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(_files: Files, path: str) -> int:
        raise FileNotFoundError(2, "No such file or directory", path)

    log.put(segment(1, 1, [[job(1)]]))
    monkeypatch.setattr(Files, "open_read", vanish)
    assert command("verify").code == 5


def test_a_listing_that_fell_into_a_compaction_is_made_again(
    command: Command, locked: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked.put(snapshot(1, 2, [[job(1)]]), segment(2, 2, []))
    listings = 0

    def list_half(files: Files, path: str) -> list[str]:
        nonlocal listings
        listings += 1
        # For the command's own check, for the versions; and then for the reading.
        return [segment_name(2)] if listings == 3 else list_all(files, path)

    list_all = Files.list_directory
    monkeypatch.setattr(Files, "list_directory", list_half)
    assert command("cat").code == 0


def test_damage_is_what_a_second_look_finds_as_well(
    command: Command, locked: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked.put(snapshot(1, 2, [[job(1)]]), segment(2, 2, []))
    listings = 0

    def list_half(files: Files, path: str) -> list[str]:
        nonlocal listings
        listings += 1
        return [segment_name(2)] if listings == 3 else list_all(files, path)

    list_all = Files.list_directory
    monkeypatch.setattr(Files, "list_directory", list_half)
    assert command("verify").code == 0
