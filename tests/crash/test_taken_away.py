"""A log that is taken away while a queue has it open: that shows, and no second owner gets in.

A cleaner of temporary files, a deployment, a volume that is made anew: each removes, renames or
replaces the directory or a file in it, and the queue would write on into nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from jobqueue.final import Config, Job, JobQueue, LogLockedError, LogWriteError, ShutdownReport
from jobqueue.final.wal.names import LOCK_NAME, segment_name
from tests.support import insides
from tests.support.faulty_files import FaultyFiles
from tests.support.handlers import in_thread
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked every few milliseconds whether the log is still there."""
    monkeypatch.setattr("jobqueue.final.wal.writing.upkeep.LOOK_SECONDS", 0.005)


def _open(log: Path, level: str = "write", segment_bytes: int = 1 << 26) -> JobQueue:
    config = Config(
        persist_path=log,
        durability=level,  # type: ignore[arg-type]  # one of the three
        segment_bytes=segment_bytes,
        num_workers=1,
    )
    return JobQueue(config, handler=len, start=False)


@pytest.fixture
def jq(log: Path) -> Iterator[JobQueue]:
    jq = _open(log)
    jq.enqueue(Job(id="before"))
    yield jq
    jq.close()


def _remove(log: Path) -> None:
    shutil.rmtree(log)


def _rename(log: Path) -> None:
    log.rename(log.with_name("elsewhere"))


def _rename_parent(log: Path) -> None:
    log.parent.rename(log.parent.with_name("moved"))


def _replace(log: Path) -> None:
    _rename(log)
    log.mkdir(0o700)


def _remove_file(name: str) -> Callable[[Path], None]:
    return lambda log: (log / name).unlink()


def _replace_file(name: str) -> Callable[[Path], None]:
    def replace(log: Path) -> None:
        (log / name).rename(log / "old")
        shutil.copy(log / "old", log / name)

    return replace


WAYS: dict[str, tuple[Callable[[Path], None], str]] = {
    # The look may come between two steps of it.
    "directory removed": (_remove, "its directory was removed|its file .* was removed"),
    "directory renamed": (_rename, "its directory, or one above it, was renamed or removed"),
    "directory replaced": (_replace, "leads to another directory now|was renamed or removed"),
    "lock removed": (_remove_file(LOCK_NAME), "its file LOCK was removed, renamed or replaced"),
    "lock replaced": (_replace_file(LOCK_NAME), "its file LOCK was removed, renamed or replaced"),
    "segment removed": (_remove_file(segment_name(1)), "its file 00000001.jsonl was removed"),
    "segment replaced": (_replace_file(segment_name(1)), "its file 00000001.jsonl was removed"),
}


@pytest.mark.usefixtures("look_at_once")
@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_taken_away_is_seen_without_a_call_and_fails_the_log_for_good(
    log: Path, jq: JobQueue, way: str, records: Records
) -> None:
    """Fault 31 of docs/reliability.md."""
    take, problem = WAYS[way]

    take(log)

    assert eventually(lambda: insides.fault(jq) is not None)
    for call in (lambda: jq.enqueue(Job()), jq.flush, lambda: jq.cancel("before")):
        with pytest.raises(LogWriteError, match=problem) as caught:
            call()
        assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, str(log))
    told = records.next()
    assert told.levelno == logging.ERROR
    assert re.search(problem, told.getMessage())


@pytest.mark.parametrize("way", WAYS)
def test_flush_promises_nothing_of_a_log_that_is_not_there(
    log: Path, jq: JobQueue, way: str
) -> None:
    take, problem = WAYS[way]
    take(log)

    with pytest.raises(LogWriteError, match=problem):
        jq.flush()


def test_it_is_looked_every_half_second_by_the_clock_that_the_log_is_given(log: Path) -> None:
    with _open(log) as jq:
        writer = insides.writer(jq)
        first = insides.next_look(writer)

        assert not insides.looks(writer, first - 0.01)
        assert insides.looks(writer, first + 7.0)
        assert insides.next_look(writer) == first + 7.5


@pytest.mark.parametrize("take", [_rename, _replace, _remove_file(LOCK_NAME)])
def test_nobody_opens_a_log_whose_owner_has_not_seen_yet_that_it_was_taken_away(
    log: Path, jq: JobQueue, take: Callable[[Path], None]
) -> None:
    moved = log.with_name("elsewhere")

    take(log)

    with pytest.raises(LogLockedError):
        _open(moved if moved.exists() else log)


@pytest.mark.usefixtures("look_at_once")
@pytest.mark.parametrize("name", [LOCK_NAME, segment_name(1)])
def test_nobody_opens_a_log_whose_owner_has_seen_that_and_is_not_closed(
    log: Path, jq: JobQueue, name: str
) -> None:
    """Its handlers may still run. Fault 31 of docs/reliability.md."""
    (log / name).rename(log.with_name("elsewhere"))
    insides.log_thread(jq).join(PATIENCE)

    with pytest.raises(LogLockedError):
        _open(log)

    jq.close()
    _open(log).close()


def test_a_link_in_the_path_that_is_switched_leaves_both_logs_whole(tmp_path: Path) -> None:
    """Fault 31 of docs/reliability.md."""
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
    current = tmp_path / "current"
    current.symlink_to("v1")
    old = _open(current / "jobs", segment_bytes=4096)
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(current)
    new = _open(current / "jobs", segment_bytes=4096)
    for n in range(10):  # some segments of each
        new.enqueue(Job(b"x" * 600, id=f"new-{n}"))
        old.enqueue(Job(b"x" * 600, id=f"old-{n}"))

    with pytest.raises(LogWriteError, match="another directory"):
        old.flush()
    new.flush()

    assert old.close().lost == 0
    new.close()
    for name in ("v1", "v2"):
        with _open(tmp_path / name / "jobs") as jq:
            assert jq.metrics().queued == 10


def test_a_directory_that_is_gone_when_the_next_segment_is_due_is_no_full_disk(log: Path) -> None:
    jq = _open(log, segment_bytes=4096)
    jq.enqueue(Job())
    _remove(log)

    with pytest.raises(LogWriteError, match="its directory was removed"):
        for _ in range(10):
            jq.enqueue(Job(b"x" * 3000))

    jq.close()


@pytest.mark.parametrize("level", ["write", "fsync"])
def test_what_had_been_written_and_was_removed_counts_as_lost_in_the_report(
    log: Path, level: str, records: Records
) -> None:
    jq = _open(log, level)
    jq.enqueue_many([Job(), Job()])
    _remove(log)

    assert jq.close() == ShutdownReport(0, (), 0, lost=2)

    assert any("2 accepted jobs are lost" in each.getMessage() for each in records.rest())


def test_close_raises_if_async_had_accepted_what_was_removed(log: Path) -> None:
    """Fault 33 of docs/reliability.md."""
    with _open(log, "async") as jq:
        jq.enqueue(Job(id="of the last run"))
    jq = _open(log, "async")
    jq.enqueue_many([Job(), Job()])
    jq.flush()
    (log / segment_name(2)).unlink()

    with pytest.raises(LogWriteError, match="2 accepted jobs are lost") as caught:
        jq.close()

    assert caught.value.report == ShutdownReport(0, (), 1, lost=2)


def test_a_log_that_was_only_moved_has_lost_nothing(log: Path) -> None:
    jq = _open(log, "async")
    jq.enqueue(Job(id="kept"))
    jq.flush()
    _rename(log)

    assert jq.close() == ShutdownReport(0, (), 1, lost=0)
    with _open(log.with_name("elsewhere")) as jq:
        assert jq.metrics().queued == 1


@pytest.mark.parametrize("left", [0, 20, 1500])
def test_a_segment_that_was_cut_short_is_seen_though_it_has_grown_again(
    log: Path, left: int
) -> None:
    """As by `logrotate` with `copytruncate`. Fault 29 of docs/reliability.md."""
    jq = JobQueue(Config(persist_path=log, map_log=False), handler=len, start=False)
    jq.enqueue_many([Job(b"x" * 500) for _ in range(4)])
    jq.flush()
    os.truncate(log / segment_name(1), left)
    with suppress(LogWriteError):  # if it has been seen by now
        jq.enqueue(Job())

    with pytest.raises(LogWriteError, match=r"00000001\.jsonl was cut short or overwritten"):
        jq.flush()

    assert jq.close().lost >= 4


def test_a_segment_that_was_cut_short_is_seen_without_a_write(log: Path, jq: JobQueue) -> None:
    """It may be mapped: nothing is stored into it any more."""
    os.truncate(log / segment_name(1), 20)

    with pytest.raises(LogWriteError, match=r"00000001\.jsonl was cut short or overwritten"):
        jq.flush()


def test_a_parent_that_is_renamed_is_seen(tmp_path: Path) -> None:
    (tmp_path / "parent").mkdir()
    log = tmp_path / "parent" / "jobs.db"
    jq = _open(log)
    _rename_parent(log)

    with pytest.raises(LogWriteError, match="or one above it"):
        jq.flush()

    jq.close()


def test_a_look_that_fails_tells_nothing(
    log: Path, jq: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a network file system that is away for a moment."""
    real = os.stat

    def fail(path: object, **rest: object) -> os.stat_result:
        if path in (str(log), LOCK_NAME, segment_name(1)):
            raise OSError(errno.EIO, "away")
        return real(path, **rest)  # type: ignore[arg-type]  # as it was called

    with monkeypatch.context() as patched:
        patched.setattr("os.stat", fail)
        jq.flush()

    jq.flush()


def test_where_a_directory_cannot_be_locked_its_file_alone_is_and_a_record_says_so(
    log: Path, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    """NFS takes no lock on what is open to be read."""
    fcntl = pytest.importorskip("fcntl")
    real = fcntl.flock

    def flock(fd: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(fd, how)

    monkeypatch.setattr("fcntl.flock", flock)
    logging.getLogger("jobqueue").setLevel(logging.INFO)
    try:
        with _open(log):
            told = records.next()
            with pytest.raises(LogLockedError):
                _open(log)
        _open(log).close()
    finally:
        logging.getLogger("jobqueue").setLevel(logging.NOTSET)

    assert f"{log} cannot be locked itself (Bad file descriptor)" in told.getMessage()


def test_another_failure_of_the_lock_is_told(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_fd: int, _how: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", flock)
        with pytest.raises(OSError, match=str(log)) as caught:
            _open(log)

    assert caught.value.errno == errno.EIO
    _open(log).close()


def test_a_compaction_of_a_log_that_moved_touches_only_the_one_that_it_has(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory in the moved one's place is another queue's, and is left alone."""
    files = FaultyFiles()
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", lambda: files)
    jq = _open(log)
    _replace(log)
    (log / segment_name(1)).write_bytes(b"precious")

    names = files.list_directory(str(log))
    files.unlink(str(log / segment_name(1)))

    assert segment_name(1) in names
    assert not (log.with_name("elsewhere") / segment_name(1)).exists()
    assert (log / segment_name(1)).read_bytes() == b"precious"
    closing = in_thread(jq.close)
    closing.result(PATIENCE)
