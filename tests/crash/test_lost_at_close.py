"""`close` says what it loses: jobs that "async" accepted and that could not be written."""

from __future__ import annotations

import errno
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from jobqueue.final import Config, Job, JobQueue, LogWriteError, ShutdownReport, Status
from tests.support import insides
from tests.support.handlers import Blocker, in_thread
from tests.support.held_files import HeldFiles
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> HeldFiles:
    """What logs that are opened from here on are written through."""
    files = HeldFiles()
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", lambda: files)
    return files


def _open(
    tmp_path: Path, handler: Callable[..., object] = len, *, level: str = "async"
) -> JobQueue:
    config = Config(
        persist_path=tmp_path / "jobs.db",
        durability=level,  # type: ignore[arg-type]  # one of the three
        num_workers=1,
        max_retries=0,
        shutdown_timeout=0.05,
    )
    return JobQueue(config, handler=handler, start=False)


def _full(files: HeldFiles) -> None:
    for method in ("write", "allocate"):
        files.fail(method, errno.ENOSPC, for_ever=True, partial=20)


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """`close` waits no two seconds for space."""
    monkeypatch.setattr("jobqueue.final.life.shutdown.LOG_SECONDS_MIN", 0.05)


@pytest.mark.usefixtures("no_patience")
def test_close_raises_and_reports_the_jobs_that_could_not_be_written(
    tmp_path: Path, files: HeldFiles, records: Records
) -> None:
    """Fault 33 of docs/reliability.md."""
    jq = _open(tmp_path)
    jq.enqueue_many([Job(id="kept-0"), Job(id="kept-1")])
    jq.flush()
    _full(files)
    lost = jq.enqueue_many([Job(id=f"lost-{n}") for n in range(3)])

    with pytest.raises(LogWriteError, match="3 accepted jobs are lost") as caught:
        jq.close()

    assert caught.value.errno == errno.ENOSPC
    assert caught.value.report == ShutdownReport(
        completed=0, unfinished=(), remaining=2, lost=len(lost)
    )
    told = [each for each in records.rest() if each.levelno == logging.ERROR]
    assert ["3 accepted jobs are lost" in each.getMessage() for each in told] == [True]
    assert eventually(lambda: not insides.log_thread(jq).is_alive())
    files.heal()
    with _open(tmp_path) as jq:
        assert jq.metrics().queued == 2


@pytest.mark.usefixtures("no_patience")
def test_every_close_raises_the_same_and_a_second_one_that_waits_does_too(
    tmp_path: Path, files: HeldFiles
) -> None:
    jq = _open(tmp_path)
    _full(files)
    jq.enqueue(Job())
    closing = [in_thread(jq.close, 0.0)]
    assert eventually(lambda: insides.is_closing(insides.writer(jq)))
    closing += [in_thread(jq.close, PATIENCE) for _ in range(2)]

    reports = []
    for each in closing:
        with pytest.raises(LogWriteError) as caught:
            each.result(PATIENCE)
        reports.append(caught.value.report)
    with pytest.raises(LogWriteError) as caught:
        jq.close()

    assert reports == [ShutdownReport(0, (), 0, lost=1)] * 3
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.report == caught.value.report


@pytest.mark.usefixtures("no_patience")
def test_a_job_that_has_run_is_not_lost_though_nothing_of_it_was_written(
    tmp_path: Path, files: HeldFiles
) -> None:
    jq = _open(tmp_path)
    _full(files)
    handle = jq.enqueue(Job(b"abc"))
    jq.start()
    assert handle.result(PATIENCE) == 3

    assert jq.close() == ShutdownReport(completed=0, unfinished=(), remaining=0, lost=0)


@pytest.mark.usefixtures("no_patience")
def test_a_dead_letter_whose_payload_is_in_no_log_is_lost(tmp_path: Path, files: HeldFiles) -> None:
    def fail(_payload: bytes) -> None:
        raise ValueError("boom")

    jq = _open(tmp_path, fail)
    _full(files)
    jq.start()
    assert jq.enqueue(Job()).wait(PATIENCE) is Status.FAILED

    with pytest.raises(LogWriteError, match="1 accepted job is lost") as caught:
        jq.close()

    assert caught.value.report == ShutdownReport(0, (), 0, lost=1)


@pytest.mark.usefixtures("no_patience")
def test_a_running_job_that_is_in_no_log_is_named_as_unfinished_and_counted_as_lost(
    tmp_path: Path, files: HeldFiles
) -> None:
    blocker = Blocker()
    jq = _open(tmp_path, blocker)
    _full(files)
    jq.start()
    jq.enqueue_many([Job(id="runs"), Job(id="waits")])
    blocker.await_entered()

    with pytest.raises(LogWriteError) as caught:
        jq.close(0)

    blocker.gate.set()
    assert caught.value.report == ShutdownReport(0, ("runs",), 0, lost=2)


def test_after_a_failed_fsync_what_was_accepted_later_is_lost(
    tmp_path: Path, files: HeldFiles
) -> None:
    jq = _open(tmp_path)
    jq.enqueue(Job(id="written"))
    jq.flush()
    files.hold("sync")
    files.fail("sync", errno.EIO)
    flush = in_thread(jq.flush)
    files.await_held()
    jq.enqueue(Job(id="later"))  # while the fsync that is going to fail goes on
    files.let_go("sync")
    with pytest.raises(LogWriteError):
        flush.result(PATIENCE)

    with pytest.raises(LogWriteError) as caught:
        jq.close()

    assert (caught.value.errno, caught.value.report) == (
        errno.EIO,
        ShutdownReport(0, (), 1, lost=1),
    )


@pytest.mark.usefixtures("no_patience")
def test_a_log_that_hangs_past_the_deadline_loses_what_is_not_written(
    tmp_path: Path, files: HeldFiles
) -> None:
    jq = _open(tmp_path)
    files.hold("write")
    jq.enqueue(Job())
    files.await_held()

    with pytest.raises(LogWriteError, match="in time") as caught:
        jq.close(0)

    files.let_go("write")
    assert caught.value.report == ShutdownReport(0, (), 0, lost=1)
    assert eventually(lambda: not insides.log_thread(jq).is_alive())


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("level", ["write", "fsync"])
def test_the_other_levels_lose_nothing_and_close_returns(
    tmp_path: Path, files: HeldFiles, level: str
) -> None:
    jq = _open(tmp_path, level=level)
    jq.enqueue(Job(id="kept"))
    _full(files)
    with pytest.raises(LogWriteError):
        for n in range(10):
            jq.enqueue(Job(bytes(300_000), id=f"refused-{n}"))
    count = jq.metrics().queued

    assert jq.close() == ShutdownReport(0, (), count, lost=0)


@pytest.mark.usefixtures("no_patience")
def test_a_with_block_that_ends_well_raises_what_close_raises(
    tmp_path: Path, files: HeldFiles
) -> None:
    with pytest.raises(LogWriteError) as caught, _open(tmp_path) as jq:
        _full(files)
        jq.enqueue(Job())

    assert caught.value.report is not None


@pytest.mark.usefixtures("no_patience")
def test_what_ends_a_with_block_goes_on_with_a_note_of_the_loss(
    tmp_path: Path, files: HeldFiles
) -> None:
    with pytest.raises(KeyError) as caught, _open(tmp_path) as jq:
        _full(files)
        jq.enqueue(Job())
        raise KeyError("the program's own")

    assert "1 accepted job is lost" in caught.value.__notes__[0]


@pytest.mark.usefixtures("no_patience")
def test_the_exit_of_the_interpreter_closes_the_other_queues_too_and_leaves_a_record(
    tmp_path: Path, files: HeldFiles, records: Records
) -> None:
    losing, other = _open(tmp_path / "a"), _open(tmp_path / "b")
    other.enqueue(Job())
    other.flush()
    _full(files)
    losing.enqueue(Job())

    for jq in (losing, other):
        insides.life(jq).close_aside(None, drain=None)

    assert other.close().remaining == 1
    assert any("1 accepted job is lost" in each.getMessage() for each in records.rest())
    assert eventually(lambda: not insides.log_thread(losing).is_alive())
