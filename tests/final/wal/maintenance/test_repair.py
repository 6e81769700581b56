from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from jobqueue.final.errors import LogCorruptError
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.format.record import Crashed, Record
from jobqueue.final.wal.maintenance.repair import Salvage, repair
from jobqueue.final.wal.names import segment_name, snapshot_name
from jobqueue.final.wal.reading.closed import CLOSED_NAME
from jobqueue.final.wal.reading.damage_scan import Lost
from jobqueue.final.wal.reading.fold import LogState
from jobqueue.final.wal.slots import SLOTS_NAME, Interrupted, encode_slots, read_slots
from tests.support.dying_files import DiedError, DyingFiles
from tests.support.faulty_files import FaultyFiles
from tests.support.logs import HastyFiles, Image, LogDirectory, done, job, segment

if TYPE_CHECKING:
    from pathlib import Path

BATCHES: list[list[Record]] = [[job(1)], [job(2), done(1)], [job(3)], [done(2)]]


class Patient:
    """A log that is to be repaired, and where the new one goes."""

    def __init__(self, path: Path) -> None:
        (path / "old").mkdir()
        self.old = LogDirectory(path / "old")
        self.new = LogDirectory(path / "new")

    def repair(self, files: Files | None = None) -> Salvage:
        return repair(files or HastyFiles(), str(self.old.path), str(self.new.path))

    def damage(self, index: int = 1) -> Image:
        """Put a log whose batch of this index is damaged; return the sound one."""
        whole = segment(1, 1, BATCHES)
        data = bytearray(whole.data)
        data[whole.starts[index] + 20] ^= 1
        self.old.put(Image(whole.name, bytes(data)))
        return whole


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


def test_all_other_batches_are_in_the_new_log(patient: Patient) -> None:
    patient.damage()
    patient.repair()
    assert patient.new.read().records == [job(1), job(3), done(2)]


def test_what_was_lost_is_reported_by_batch_and_by_bytes(patient: Patient) -> None:
    whole = patient.damage()
    result = patient.repair()
    start, end = whole.starts[1], whole.starts[2]
    assert (result.batches, result.records) == (3, 3)
    assert result.lost == (Lost(2, 2, in_snapshot=False),)
    assert [(f.file, f.offset, f.end) for f in result.findings] == [(whole.name, start, end)]
    assert result.bytes_lost == end - start


def test_the_old_log_stays_as_it_is(patient: Patient) -> None:
    patient.damage()
    before = patient.old.content()
    patient.repair()
    assert patient.old.content() == before


@pytest.mark.slow
def test_a_flip_in_any_byte_of_a_synced_batch_is_refused_at_a_start_and_salvaged_around(
    patient: Patient,
) -> None:
    """Check 4: nothing is modified, all other batches are salvaged. Each bit: `test_damage_scan`.

    Fault 4 of docs/reliability.md.
    """
    whole = segment(1, 1, BATCHES)
    start, end = whole.starts[1], whole.starts[2]
    for offset in range(start, end):
        data = bytearray(whole.data)
        data[offset] ^= 1 << offset % 8
        patient.old.put(Image(whole.name, bytes(data)))
        with pytest.raises(LogCorruptError) as caught:
            patient.old.read()
        assert (caught.value.segment, caught.value.offset) == (whole.name, start)
        patient.repair()
        assert patient.new.read().records == [job(1), job(3), done(2)], offset
        assert patient.old.content() == {whole.name: bytes(data)}
        for path in patient.new.path.iterdir():
            path.unlink()
        patient.new.path.rmdir()


def test_a_sound_log_is_copied_and_nothing_lost(patient: Patient) -> None:
    patient.old.put(segment(1, 1, BATCHES))
    result = patient.repair()
    assert patient.new.read().records == [record for batch in BATCHES for record in batch]
    assert (result.findings, result.lost, result.bytes_lost) == ((), (), 0)


def test_a_batch_that_is_whole_and_out_of_place_is_not_counted_as_lost(patient: Patient) -> None:
    whole = segment(1, 1, BATCHES)
    data = whole.data[: whole.starts[1]] + whole.batch(2) + whole.batch(1)
    patient.old.put(Image(whole.name, data))
    result = patient.repair()
    assert result.bytes_lost == 0
    assert result.records == 4


def test_a_new_log_opens_and_goes_on(patient: Patient) -> None:
    patient.damage()
    patient.repair()
    reading = patient.new.open()
    assert reading.torn is None
    patient.new.append(reading, done(3))
    assert patient.new.read().records == [job(1), job(3), done(2), done(3)]


def test_of_a_log_that_is_nothing_but_garbage_an_empty_one_is_left(patient: Patient) -> None:
    patient.old.put(Image(segment_name(1), b"garbage\n" * 100))
    result = patient.repair()
    assert (result.batches, result.bytes_lost) == (0, 800)
    assert patient.new.open().records == []


def test_segments_go_on_from_the_old_numbers(patient: Patient) -> None:
    patient.old.put(segment(1, 1, BATCHES), segment(2, 5, []))
    patient.repair()
    assert sorted(patient.new.content()) == [snapshot_name(2), segment_name(3), CLOSED_NAME]


def test_a_crash_is_not_counted_as_one_of_the_old_runs(patient: Patient) -> None:
    """A run is named by its first segment, and `Crashed` tells which run was counted."""
    patient.old.put(segment(1, 1, [[job(1)]]), segment(2, 2, [[Crashed(1, 1, 2)]]))
    patient.repair()
    reading = patient.new.open()
    state = LogState(10)
    state.apply_all(reading.records)
    assert state.jobs[1].crashed_run < reading.next_segment


def test_who_was_running_is_taken_over(patient: Patient) -> None:
    patient.damage()
    (patient.old.path / SLOTS_NAME).write_bytes(encode_slots(1, [3, 0, 1]))
    patient.repair()
    taken = read_slots(HastyFiles(), str(patient.new.path))
    assert taken == Interrupted(1, frozenset({1, 3}))


def test_slots_that_cannot_be_read_blame_nobody(patient: Patient, tmp_path: Path) -> None:
    patient.damage()
    (patient.old.path / SLOTS_NAME).symlink_to(tmp_path)
    patient.repair()
    assert read_slots(HastyFiles(), str(patient.new.path)).jobs == frozenset()


class NoAccess(HastyFiles):
    """Files of which one must not be read."""

    def open_read(self, path: str) -> int:
        if path.endswith(SLOTS_NAME):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return super().open_read(path)


class FailingDisk(HastyFiles):
    """A disk that cannot read any more what stands at some offset of a file."""

    def __init__(self, name: str, offset: int) -> None:
        self._name = name
        self._offset = offset
        self._fds: set[int] = set()

    def open_read(self, path: str) -> int:
        fd = super().open_read(path)
        self._fds.discard(fd)
        if path.endswith(self._name):
            self._fds.add(fd)
        return fd

    def read(self, fd: int, size: int, offset: int) -> bytes:
        if fd in self._fds and offset <= self._offset < offset + size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(fd, size, offset)


@pytest.mark.parametrize("offset", [0, 600])
def test_a_file_that_the_disk_cannot_read_is_named_and_must_be_copied_first(
    patient: Patient, offset: int
) -> None:
    patient.old.put(segment(1, 1, BATCHES[:2]), segment(2, 3, [*BATCHES[2:], [job(4)], [job(5)]]))
    before = patient.old.content()
    with pytest.raises(OSError, match="ddrescue") as caught:
        patient.repair(FailingDisk(segment_name(2), offset))
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == str(patient.old.path / segment_name(2))
    assert patient.old.content() == before
    assert not patient.new.path.exists()
    assert patient.repair().findings == ()


def test_slots_that_the_disk_cannot_read_blame_nobody(patient: Patient) -> None:
    patient.damage()
    (patient.old.path / SLOTS_NAME).write_bytes(encode_slots(1, [3]))
    patient.repair(FailingDisk(SLOTS_NAME, 0))
    assert read_slots(HastyFiles(), str(patient.new.path)).jobs == frozenset()


def test_slots_that_must_not_be_read_are_an_error(patient: Patient) -> None:
    patient.damage()
    with pytest.raises(PermissionError, match=SLOTS_NAME):
        patient.repair(NoAccess())
    assert not patient.new.path.exists()


@pytest.mark.parametrize("umask", [0, 0o777 & ~0o700])
def test_the_new_log_is_its_owners_alone(patient: Patient, umask: int) -> None:
    patient.damage()
    (patient.old.path / SLOTS_NAME).write_bytes(b"")
    before = os.umask(umask)
    try:
        patient.repair()
    finally:
        os.umask(before)
    assert patient.new.path.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in patient.new.path.iterdir()} == {0o600}


def test_there_must_be_nothing_at_the_new_place(patient: Patient, tmp_path: Path) -> None:
    patient.damage()
    patient.new.path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="new"):
        patient.repair()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "old"]


def test_a_directory_without_a_log_is_not_repaired(patient: Patient, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="old"):
        patient.repair()
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


# Interrupted


def steps_of_a_repair(tmp_path: Path) -> list[str]:
    files = DyingFiles()
    patient = Patient(tmp_path)
    patient.damage()
    (patient.old.path / SLOTS_NAME).write_bytes(bytes(16))
    patient.repair(files)
    return files.made


def test_all_is_on_the_disk_before_the_new_log_has_its_name(tmp_path: Path) -> None:
    steps = steps_of_a_repair(tmp_path)
    assert steps[-3:] == ["sync_directory", "rename", "sync_directory"]
    _, *made = " ".join(steps).split("create ")
    assert len(made) == 4  # snapshot, segment, how far it goes, slots
    for calls in made:
        assert "sync " in calls.rpartition("write ")[2]


@pytest.mark.slow
def test_a_repair_that_is_killed_anywhere_can_be_made_again(tmp_path: Path) -> None:
    (tmp_path / "count").mkdir()
    for calls in range(len(steps_of_a_repair(tmp_path / "count"))):
        (tmp_path / str(calls)).mkdir()
        patient = Patient(tmp_path / str(calls))
        patient.damage()
        (patient.old.path / SLOTS_NAME).write_bytes(bytes(16))
        with pytest.raises(DiedError):
            patient.repair(DyingFiles(calls))
        if not patient.new.path.exists():
            patient.repair()
        assert patient.new.read().records == [job(1), job(3), done(2)], calls
        assert [p.name for p in patient.new.path.parent.iterdir() if "partial" in p.name] == []


@pytest.mark.parametrize("method", ["create", "write", "sync", "sync_directory"])
def test_a_full_disk_leaves_no_new_log_and_the_next_attempt_works(
    patient: Patient, method: str
) -> None:
    patient.damage()
    files = FaultyFiles()
    files.fail(method, errno.ENOSPC, skip=1)
    with pytest.raises(OSError, match="No space"):
        patient.repair(files)
    assert not patient.new.path.exists()
    patient.repair(files)
    assert patient.new.read().records == [job(1), job(3), done(2)]


def test_what_no_repair_has_left_is_not_removed(patient: Patient, tmp_path: Path) -> None:
    patient.damage()
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"precious\.txt"):
        patient.repair()
    assert (tmp_path / "new.partial" / "precious.txt").read_text() == "mine"


def test_an_old_snapshot_is_salvaged_with_the_segments_behind_it(patient: Patient) -> None:
    patient.old.put(segment(1, 1, BATCHES))
    patient.repair()
    (patient.new.path / segment_name(2)).unlink()
    again = LogDirectory(patient.new.path.parent / "again")
    result = repair(HastyFiles(), str(patient.new.path), str(again.path))
    assert [f.problem for f in result.findings] == ["the segment is missing"]
    assert again.read().records == [record for batch in BATCHES for record in batch]
