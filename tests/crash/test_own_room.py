"""A log that fills its own disk gets room again: once its jobs are done, it does all it did before.

For real, on small file systems in memory.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jobqueue.cli import main
from jobqueue.final import Config, Job, JobQueue, LogWriteError, Status
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.maintenance.snapshot import Compaction, compact
from jobqueue.final.wal.room import RESERVE_BYTES_MIN, RESERVE_NAMES
from jobqueue.final.wal.writing import compactor, upkeep
from tests.support import insides
from tests.support.waiting import PATIENCE, eventually

Disk = Callable[[str], Path]


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Mounts a file system in memory with these options.

    Not below `tmp_path`: a run that is killed would leave it mounted where pytest cleans up.
    """
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    with ExitStack() as stack:

        def mount(options: str) -> Path:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobqueue-disk-")))
            command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"no file system could be mounted: {done.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", str(path)], check=True)
            return path

        yield mount


def _config(disk: Path, level: str = "write", segment_bytes: int = 1 << 20) -> Config:
    return Config(
        persist_path=disk / "jobs.db",
        durability=level,  # type: ignore[arg-type]  # one of the three
        segment_bytes=segment_bytes,
        queue_size=10**6,
        status_retention=100,
    )


def _fill(jq: JobQueue, payload: bytes) -> str:
    """Enqueue until the log refuses; returns what it said."""
    with pytest.raises(LogWriteError) as caught:
        while True:
            jq.enqueue(Job(payload))
    return str(caught.value)


def _takes_a_job(jq: JobQueue, payload: bytes = b"") -> bool:
    try:
        jq.enqueue(Job(payload))
    except LogWriteError:
        return False
    return True


def _flushes(jq: JobQueue) -> bool:
    """Whether all is on the disk: what "async" took may have to wait for the end of a compaction.

    While that uses the reserve there is no room for jobs, which those that enqueue learn late.
    """
    try:
        jq.flush()
    except LogWriteError:
        return False
    return True


def _free(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def _log_bytes(jq: JobQueue) -> int:
    log = jq.metrics().log
    assert log is not None
    return log.bytes


def _use_up_inodes(disk: Path, but: int) -> None:
    while os.statvfs(disk).f_favail > but:
        (disk / f"ballast-{uuid4()}").touch()


def _fill_to_the_brim(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


@pytest.mark.slow
@pytest.mark.parametrize("level", ["write", "fsync"])
def test_jobs_that_end_while_there_is_no_room_to_compact_are_freed_by_a_later_try(
    disk: Disk, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 32 of docs/reliability.md."""
    began, ended = threading.Event(), threading.Event()
    in_vain: list[int] = []

    def without_room(*args: Any) -> Compaction:
        began.set()
        if len(in_vain) < 4:
            ended.wait(PATIENCE)
            in_vain.append(1)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return compact(*args)

    monkeypatch.setattr(compactor, "compact", without_room)
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.02)
    gate = threading.Event()
    jq = JobQueue(_config(disk("size=4m"), level), handler=lambda _payload: gate.wait(PATIENCE))
    _fill(jq, b"x" * 1000)
    for number, handle in enumerate(list(insides.status_map(jq).live.values())):
        if number % 2 == 0:
            handle.cancel()  # so that there is something to gain
    # There may be a little room still, which is to be used up.
    assert eventually(lambda: began.is_set() or (_takes_a_job(jq, b"x" * 1000) and False))
    gate.set()
    assert jq.join(PATIENCE)

    ended.set()

    assert eventually(lambda: _takes_a_job(jq, b"x" * 500_000))
    jq.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "level", [pytest.param("async", marks=pytest.mark.daily), "write", "fsync"]
)
@pytest.mark.parametrize(
    ("options", "segment_bytes", "payload"),
    [
        ("size=8m", 1 << 20, b"x" * 4000),
        ("size=8m", 1 << 26, b"x" * 4000),  # all is in the active segment
        ("size=4m", 1 << 20, b"{}"),
        ("size=2m", 1 << 16, b"x" * 100),
        ("size=64m,nr_inodes=20", 1 << 15, b"x" * 1000),
    ],
)
def test_once_the_jobs_are_done_all_works_again(
    disk: Disk, level: str, options: str, segment_bytes: int, payload: bytes
) -> None:
    """Fault 32 of docs/reliability.md."""
    if level == "async" and "nr_inodes" in options:
        pytest.skip("its batches are as large as segments, and fill the disk before its inodes")
    config = _config(disk(options), level, segment_bytes)
    jq = JobQueue(config, handler=len)
    jq.pause()

    refusal = _fill(jq, payload)
    jq.resume()

    assert ("has no inode left" in refusal) == ("nr_inodes" in options)
    assert jq.join(PATIENCE)
    assert eventually(lambda: _takes_a_job(jq))
    if level == "async":
        assert eventually(lambda: _flushes(jq))
    jq.flush()
    jq.close()
    with JobQueue(config, handler=len) as jq:
        assert jq.join(PATIENCE)
        assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3
    retention = ["--status-retention", "100"]
    assert main(["log", "compact", *retention, str(config.persist_path)]) == 0


@pytest.mark.slow
def test_jobs_that_ended_before_they_were_written_do_not_keep_the_disk_full(disk: Disk) -> None:
    """Fault 32 of docs/reliability.md."""
    config = replace(_config(disk("size=2m"), "async"), status_retention=1000)
    jq = JobQueue(config, handler=len)
    jq.pause()
    jq.enqueue_many([Job(b"x", id=str(n)) for n in range(20_000)])  # one batch, of all the disk
    assert eventually(lambda: not _takes_a_job(jq))  # hundreds are accepted before it has noticed

    jq.resume()

    assert jq.join(PATIENCE)
    assert eventually(lambda: _takes_a_job(jq))
    assert jq.join(PATIENCE)
    assert eventually(lambda: _flushes(jq))
    last = jq.jobs(limit=1)[0]
    jq.close()
    with JobQueue(config, handler=len) as jq:
        assert jq.metrics().queued == 0
        assert jq.info(last.id) == last  # not all that has ended is forgotten
        for _ in range(20_000):  # as much again
            assert eventually(lambda: _takes_a_job(jq, b"x"))
        assert jq.join(PATIENCE)
        assert eventually(lambda: _flushes(jq))


def test_jobs_that_come_together_leave_room_for_their_ends(disk: Disk) -> None:
    """Fault 32 of docs/reliability.md."""
    with JobQueue(_config(disk("size=2m")), handler=len) as jq:
        jq.pause()
        count = 16_000

        def takes_so_many() -> bool:
            nonlocal count
            try:
                jq.enqueue_many([Job() for _ in range(count)])
            except LogWriteError:
                count //= 2
                return False
            return True

        assert eventually(takes_so_many)
        jq.resume()
        assert jq.join(PATIENCE)
        assert eventually(lambda: _takes_a_job(jq, b"x" * 300_000))


def test_if_there_is_no_room_for_all_finished_jobs_the_oldest_are_forgotten(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 32 of docs/reliability.md."""

    def with_little_room(
        files: Files, directory: str, through: int, retention: int, must_stop: Callable[[], bool]
    ) -> Compaction:
        if retention > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return compact(files, directory, through, retention, must_stop)

    monkeypatch.setattr(compactor, "compact", with_little_room)
    config = _config(disk("size=2m"))
    with JobQueue(config, handler=len) as jq:
        _fill(jq, b"x" * 1000)

        def is_told() -> bool:
            while not (told := "10 finished jobs were kept, not the last 100" in caplog.text):
                if not _takes_a_job(jq, b"x" * 1000):
                    break
            return told

        assert eventually(is_told)
        assert eventually(lambda: _takes_a_job(jq, b"x" * 100_000))
        last = jq.enqueue(Job())
        assert jq.join(PATIENCE)

    with JobQueue(config, handler=len) as jq:
        assert jq.status(last.id) is Status.COMPLETED


@pytest.mark.slow
def test_of_a_batch_that_is_larger_than_the_disk_a_part_is_written(disk: Disk) -> None:
    config = _config(disk("size=4m"), "async")
    jq = JobQueue(config, handler=len, start=False)
    jq.enqueue_many([Job(b"x" * 1000) for _ in range(10_000)])

    assert eventually(lambda: _log_bytes(jq) > 1 << 17)
    with pytest.raises(LogWriteError) as caught:
        jq.close(0)

    report = caught.value.report
    assert report is not None
    with JobQueue(config, handler=len, start=False) as jq:
        assert jq.metrics().queued == 10_000 - report.lost


@pytest.mark.slow
def test_with_no_byte_free_a_queue_starts_and_drains_and_its_outcomes_are_there(
    disk: Disk,
) -> None:
    """Fault 32 of docs/reliability.md."""
    config = _config(small := disk("size=6m"))
    with JobQueue(config, handler=len, start=False) as jq:
        jq.enqueue_many([Job(b"x" * 1000, id=str(n)) for n in range(500)])
    _fill_to_the_brim(small)

    with JobQueue(config, handler=len) as jq:
        assert jq.join(PATIENCE)
        jq.flush()

    (small / "ballast").unlink()
    with JobQueue(config, handler=len, start=False) as jq:
        assert jq.metrics().queued == 0
        assert _takes_a_job(jq)


@pytest.mark.slow
@pytest.mark.parametrize("files_free", [0, 1])
def test_with_no_inode_free_a_queue_starts_again_and_again(disk: Disk, files_free: int) -> None:
    """Fault 32 of docs/reliability.md."""
    config = _config(small := disk("size=8m,nr_inodes=60"))
    with JobQueue(config, handler=len, start=False) as jq:
        jq.enqueue_many([Job(b"x" * 100, id=str(n)) for n in range(50)])
    _use_up_inodes(small, files_free)

    for _ in range(12):
        with JobQueue(config, handler=len) as jq:
            assert jq.join(PATIENCE)
        _use_up_inodes(small, 0)

    assert main(["log", "compact", str(config.persist_path)]) == 0
    with JobQueue(config, handler=len) as jq:
        assert jq.status("49") is Status.COMPLETED


@pytest.mark.slow
def test_what_the_disk_has_not_is_not_taken_from_the_reserve_for_new_jobs(disk: Disk) -> None:
    config = _config(small := disk("size=6m"))
    with JobQueue(config, handler=len, start=False) as jq:
        _fill(jq, b"x" * 1000)
        _fill_to_the_brim(small)
        reserve = (small / "jobs.db" / RESERVE_NAMES[0]).stat().st_size

        for _ in range(5):
            assert not _takes_a_job(jq, b"x" * 100_000)

        assert (small / "jobs.db" / RESERVE_NAMES[0]).stat().st_size == reserve


@pytest.mark.slow
def test_the_command_compacts_a_log_on_a_full_disk(disk: Disk) -> None:
    config = _config(small := disk("size=6m"))
    with JobQueue(config, handler=len) as jq:
        jq.enqueue_many([Job(b"x" * 1000) for _ in range(500)])
        assert jq.join(PATIENCE)
    _fill_to_the_brim(small)

    assert main(["log", "compact", str(config.persist_path)]) == 0


def test_the_reserve_is_there_for_its_owner_alone_and_really_takes_up_the_disk(
    tmp_path: Path,
) -> None:
    with JobQueue(_config(tmp_path), handler=len):
        found = {name: (tmp_path / "jobs.db" / name).stat() for name in RESERVE_NAMES}

    assert {stat.S_IMODE(each.st_mode) for each in found.values()} == {0o600}
    assert found["RESERVE"].st_blocks * 512 >= RESERVE_BYTES_MIN


def test_a_log_of_which_the_reserve_is_gone_or_cut_opens_and_has_it_again(tmp_path: Path) -> None:
    config = _config(tmp_path)
    JobQueue(config, handler=len).close()
    for name in RESERVE_NAMES[1:]:
        (tmp_path / "jobs.db" / name).unlink()
    os.truncate(tmp_path / "jobs.db" / "RESERVE", 5)

    JobQueue(config, handler=len).close()

    assert (tmp_path / "jobs.db" / "RESERVE").stat().st_size == RESERVE_BYTES_MIN
    assert all((tmp_path / "jobs.db" / name).exists() for name in RESERVE_NAMES)


@pytest.mark.parametrize("command", ["verify", "cat", "inspect", "repair"])
def test_the_command_takes_no_notice_of_the_reserve(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(tmp_path)
    with JobQueue(config, handler=len, start=False) as jq:
        jq.enqueue(Job(id="a"))

    assert main(["log", command, str(config.persist_path)]) == 0

    assert "RESERVE" not in capsys.readouterr().out
    assert not list(tmp_path.glob("*.repaired/RESERVE*"))
