"""A disk that fails to fsync: the log has failed for good, and everybody is told."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from jobqueue.final import Config, Job, JobHandle, JobQueue, LogWriteError, Status, UnknownJobError
from jobqueue.final.runtime.mutex import rlock_of
from jobqueue.final.runtime.parking import Parker
from jobqueue.final.wal.writing.batch import OpenBatch
from tests.support import insides
from tests.support.handlers import Blocker, Recorder, in_thread
from tests.support.held_files import HeldFiles
from tests.support.interrupts import each_place
from tests.support.leading import left_to_callers
from tests.support.records import reporters
from tests.support.waiting import PATIENCE, eventually

LEVELS = ["async", "write", "fsync"]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> HeldFiles:
    """What logs that are opened from here on are written through."""
    files = HeldFiles()
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", lambda: files)
    return files


@pytest.fixture(autouse=True)
def _no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each second a log's thread looks whether the log is still there, which would wake it."""
    monkeypatch.setattr("jobqueue.final.wal.writing.upkeep.LOOK_SECONDS", 1e6)


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


def _open(
    log: str,
    level: str = "fsync",
    handler: Callable[..., object] = len,
    *,
    start: bool = False,
    fsync_interval: float = 0.0,
    segment_bytes: int = 1 << 20,
    queue_size: int = 1000,
) -> JobQueue:
    config = Config(
        persist_path=log,
        durability=level,  # type: ignore[arg-type]  # one of the three
        fsync_interval=fsync_interval,
        segment_bytes=segment_bytes,
        queue_size=queue_size,
        num_workers=1,
        max_retries=0,
    )
    return JobQueue(config, handler=handler, start=start)


def _break(jq: JobQueue, files: HeldFiles) -> LogWriteError:
    """Have an fsync fail, once, and wait until the queue knows."""
    files.fail("sync", errno.EIO)
    with pytest.raises(LogWriteError) as caught:
        jq.flush()
    return caught.value


def test_the_log_of_the_program_says_once_that_the_job_log_has_failed(
    log: str, files: HeldFiles, caplog: pytest.LogCaptureFixture
) -> None:
    others = reporters()
    jq = _open(log)
    error = _break(jq, files)
    jq.close()
    assert eventually(lambda: reporters() <= others)

    records = [each for each in caplog.records if each.name == "jobqueue"]
    assert [each.levelname for each in records] == ["ERROR"]
    assert (
        records[0]
        .getMessage()
        .startswith(f"nothing runs any more, for the log has failed: {error}")
    )


class Rude(logging.Handler):
    """Does what no log handler should: closes the queue, or ends the thread."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__(logging.ERROR)
        self._then = then

    def emit(self, record: logging.LogRecord) -> None:
        self._then()


def exit_thread() -> None:
    raise SystemExit


@pytest.mark.parametrize("rude", [True, False], ids=["closes", "exits"])
def test_a_log_handler_that_is_told_of_it_holds_nobody_up(
    log: str, files: HeldFiles, rude: bool
) -> None:
    others = reporters()
    jq = _open(log)
    told = Rude(jq.close if rude else exit_thread)
    logging.getLogger("jobqueue").addHandler(told)
    try:
        _break(jq, files)
        closed = in_thread(jq.close)
        closed.result(PATIENCE)
    finally:
        logging.getLogger("jobqueue").removeHandler(told)
    assert eventually(lambda: reporters() <= others)


def _reopened(log: str) -> JobQueue:
    """What the next start finds; closed already."""
    jq = _open(log)
    jq.close()
    return jq


# --- who is told --------------------------------------------------------------------------------


def test_enqueue_raises_when_its_fsync_fails(log: str, files: HeldFiles) -> None:
    jq = _open(log)
    files.fail("sync", errno.EIO)

    with pytest.raises(LogWriteError) as caught:
        jq.enqueue(Job())

    assert caught.value.errno == errno.EIO
    assert log in str(caught.value)
    jq.close()


def test_every_producer_that_waits_for_the_disk_is_told(log: str, files: HeldFiles) -> None:
    jq = _open(log)
    files.hold("sync")
    waiting = [in_thread(jq.enqueue, Job(id="first"))]
    files.await_held()
    waiting += [in_thread(jq.enqueue, Job()) for _ in range(5)]
    waiting += [in_thread(jq.enqueue_many, [Job(), Job()]), in_thread(jq.flush)]
    eventually(lambda: jq.metrics().queued == 8 and insides.journal(jq) is not None)

    files.fail("sync", errno.EIO)
    files.let_go("sync")

    for each in waiting:
        with pytest.raises(LogWriteError):
            each.result(PATIENCE)
    jq.close()


def test_a_producer_that_waits_for_room_is_told(log: str, files: HeldFiles) -> None:
    jq = _open(log, queue_size=1)
    jq.enqueue(Job())
    waiting = in_thread(jq.enqueue, Job(id="b"))
    eventually(lambda: insides.producers(jq))

    _break(jq, files)

    with pytest.raises(LogWriteError):
        waiting.result(PATIENCE)
    with pytest.raises(UnknownJobError):
        jq.status("b")
    jq.close()


@pytest.mark.parametrize("level", LEVELS)
def test_those_who_wait_for_a_job_are_told(log: str, level: str, files: HeldFiles) -> None:
    jq = _open(log, level, fsync_interval=3600.0)
    handle = jq.enqueue(Job(id="a"))
    waiting = [in_thread(handle.result), in_thread(handle.wait), in_thread(jq.join)]
    eventually(lambda: len(insides.waiters(handle)) == 2 and insides.waiting_for_rest(jq))

    _break(jq, files)

    for each in waiting:
        with pytest.raises(LogWriteError):
            each.result(PATIENCE)
    jq.close()


Call = Callable[[JobQueue], object]
LATER: dict[str, Call] = {
    "enqueue": lambda jq: jq.enqueue(Job()),
    "delayed": lambda jq: jq.enqueue(Job(), delay=1.0),
    "enqueue_many": lambda jq: jq.enqueue_many([Job()]),
    "enqueue_with_handler": lambda jq: jq.enqueue_with_handler(Job(), noted),
    "requeue": lambda jq: jq.requeue("dead"),
    "discard": lambda jq: jq.discard("dead"),
    "cancel": lambda jq: jq.cancel("queued"),
    "flush": lambda jq: jq.flush(),
    "join": lambda jq: jq.join(),
    "wait": lambda jq: jq.handle("queued").wait(),
    "result": lambda jq: jq.handle("queued").result(),
}


def noted(payload: bytes) -> int:
    return len(payload)


def _fail_job(_payload: bytes) -> None:
    raise ValueError("boom")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("call", LATER)
def test_every_later_call_is_told(log: str, level: str, call: str, files: HeldFiles) -> None:
    """Fault 8 of docs/reliability.md."""
    jq = _open(log, level, _fail_job, start=True, fsync_interval=3600.0)
    jq.enqueue(Job(id="dead")).wait(PATIENCE)
    jq.pause()
    jq.enqueue(Job(id="queued"))
    _break(jq, files)

    for _ in range(2):  # and the second fsync, which would succeed, proves nothing
        with pytest.raises(LogWriteError):
            in_thread(LATER[call], jq).result(PATIENCE)

    jq.close()


def test_a_refused_change_is_not_made(log: str, files: HeldFiles) -> None:
    jq = _open(log, handler=_fail_job, start=True)
    jq.enqueue(Job(id="dead")).wait(PATIENCE)
    jq.pause()
    jq.enqueue(Job(id="queued"))
    _break(jq, files)

    for change in ("requeue", "discard", "cancel"):
        with pytest.raises(LogWriteError):
            LATER[change](jq)

    assert jq.status("dead") is Status.FAILED
    assert jq.status("queued") is Status.QUEUED
    jq.close()


@pytest.mark.parametrize("level", LEVELS)
def test_each_error_is_its_callers_own(log: str, level: str, files: HeldFiles) -> None:
    jq = _open(log, level, fsync_interval=3600.0)
    errors = [_break(jq, files)]

    for _ in range(3):
        with pytest.raises(LogWriteError, match="could not be written") as caught:
            jq.enqueue(Job())
        errors.append(caught.value)

    assert len({id(error) for error in errors}) == len(errors)
    jq.close()


@pytest.mark.parametrize("level", ["async", "write"])
def test_an_fsync_that_fails_in_the_background_is_told_to_the_next_caller(
    log: str, level: str, files: HeldFiles
) -> None:
    jq = _open(log, level, fsync_interval=0.001)
    files.fail("sync", errno.EIO)
    jq.enqueue(Job(id="a"))  # which had been promised no fsync

    eventually(lambda: _error(jq) is not None)

    with pytest.raises(LogWriteError):
        jq.enqueue(Job())
    jq.close()
    assert _reopened(log).status("a") is Status.QUEUED


def _error(jq: JobQueue) -> str | None:
    log = jq.metrics().log
    assert log is not None
    return log.error


def test_metrics_and_status_still_answer_and_tell_of_it(log: str, files: HeldFiles) -> None:
    jq = _open(log)
    jq.enqueue(Job(id="a"))
    _break(jq, files)

    assert jq.status("a") is Status.QUEUED
    assert "Input/output error" in str(_error(jq))
    jq.close()


# --- what is not done any more ------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_there_is_no_second_fsync_of_that_file(log: str, level: str, files: HeldFiles) -> None:
    """Fault 8 of docs/reliability.md."""
    jq = _open(log, level, fsync_interval=3600.0)
    jq.enqueue(Job())
    _break(jq, files)
    before = files.calls.count("sync"), files.calls.count("write")

    for call in LATER.values():
        if call is not LATER["requeue"] and call is not LATER["discard"]:
            with pytest.raises((LogWriteError, UnknownJobError)):
                call(jq)
    jq.close()

    assert (files.calls.count("sync"), files.calls.count("write")) == before


def test_workers_take_no_more_jobs(log: str, files: HeldFiles) -> None:
    blocker = Blocker()
    jq = _open(log, handler=blocker, start=True)
    jq.enqueue(Job(id="held"))
    blocker.await_entered()
    jq.enqueue(Job(id="queued"))

    _break(jq, files)
    blocker.gate.set()
    blocker.left.get(timeout=PATIENCE)
    report = jq.close(PATIENCE)

    assert report.remaining == 1
    assert blocker.entered.empty()
    assert jq.status("queued") is Status.QUEUED


# --- afterwards ---------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_close_returns_and_the_next_start_has_all_that_was_acknowledged(
    log: str, level: str, files: HeldFiles
) -> None:
    jq = _open(log, level, fsync_interval=3600.0)
    for n in range(10):
        jq.enqueue(Job(id=str(n)))
    if level == "async":
        jq.flush()
    _break(jq, files)

    assert jq.close(PATIENCE).remaining == 10

    recorder = Recorder()
    jq = _open(log, handler=recorder, start=True)
    assert jq.join(PATIENCE)
    jq.close()
    assert recorder.ids() == [str(n) for n in range(10)]


def test_what_became_of_a_job_whose_fsync_failed_is_told_by_its_status(
    log: str, files: HeldFiles
) -> None:
    jq = _open(log)
    files.fail("sync", errno.EIO)
    with pytest.raises(LogWriteError):
        jq.enqueue(Job(id="a"))

    assert jq.status("a") is Status.QUEUED  # it may run after a restart
    jq.close()
    assert _reopened(log).status("a") is Status.QUEUED  # where the kernel had it all the same


def test_a_job_that_finished_after_the_failure_runs_again(log: str, files: HeldFiles) -> None:
    blocker = Blocker()
    jq = _open(log, handler=blocker, start=True)
    handle = jq.enqueue(Job(id="a"))
    blocker.await_entered()
    _break(jq, files)
    blocker.gate.set()
    blocker.left.get(timeout=PATIENCE)
    jq.close(PATIENCE)

    assert isinstance(handle, JobHandle)
    assert _reopened(log).status("a") is Status.QUEUED


# --- where else it can fail ---------------------------------------------------------------------


def test_an_fsync_without_space_is_a_failed_fsync(log: str, files: HeldFiles) -> None:
    jq = _open(log)
    files.fail("sync", errno.ENOSPC)
    with pytest.raises(LogWriteError):
        jq.enqueue(Job())

    with pytest.raises(LogWriteError):
        jq.enqueue(Job())
    jq.close()


def test_an_fsync_that_fails_while_a_segment_is_sealed_breaks_the_log(
    log: str, files: HeldFiles
) -> None:
    jq = _open(log, "write", segment_bytes=4096, fsync_interval=3600.0)
    files.fail("sync", errno.EIO)
    accepted: list[str] = []

    with pytest.raises(LogWriteError):
        while len(accepted) < 100:
            accepted.append(jq.enqueue(Job(b"x" * 200, id=str(len(accepted)))).id)

    with pytest.raises(LogWriteError):
        jq.enqueue(Job())
    assert len(accepted) > 5
    jq.close()
    after = _reopened(log)
    assert {after.status(job_id) for job_id in accepted} == {Status.QUEUED}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("nth", [0, 1, 2])
def test_an_fsync_that_fails_while_the_queue_closes_does_not_keep_it_from_closing(
    log: str, level: str, nth: int, files: HeldFiles
) -> None:
    jq = _open(log, level, fsync_interval=3600.0)
    jq.enqueue(Job(id="a"))
    before = files.calls.count("sync")
    files.fail("sync", errno.EIO, skip=nth)

    assert jq.close(PATIENCE).remaining == 1

    assert files.calls.count("sync") == before + nth + 1
    assert _reopened(log).status("a") is Status.QUEUED


@pytest.mark.parametrize("method", ["create", "sync_directory"])
def test_a_segment_that_cannot_be_started_fails_its_callers_and_is_tried_again(
    log: str, method: str, files: HeldFiles
) -> None:
    jq = _open(log, segment_bytes=4096)
    files.fail(method, errno.EIO)
    accepted, refused = [], []

    for n in range(40):
        try:
            accepted.append(jq.enqueue(Job(b"x" * 200, id=str(n))).id)
        except LogWriteError:
            refused.append(str(n))

    assert len(refused) == 1
    jq.close()
    after = _reopened(log)
    assert {after.status(job_id) for job_id in accepted} == {Status.QUEUED}
    with pytest.raises(UnknownJobError):
        after.status(refused[0])


# --- a disk that hangs --------------------------------------------------------------------------


def test_close_returns_although_the_disk_hangs_and_unlocks_once_it_does_not(
    log: str, files: HeldFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.final.life.shutdown.LOG_SECONDS_MIN", 0.01)
    jq = _open(log, "write", fsync_interval=3600.0)
    jq.enqueue(Job(id="a"))
    files.hold("sync")

    assert jq.close(0).remaining == 1

    files.let_go("sync")
    eventually(lambda: not insides.holds_lock_file(jq))
    assert _reopened(log).status("a") is Status.QUEUED


def test_a_failed_fsync_is_final_also_where_its_caller_is_interrupted(
    tmp_path: Path, files: HeldFiles
) -> None:
    # The kernel tells of it once: a second fsync would succeed, and prove nothing.
    for n, interruption in enumerate(each_place()):
        jq = _open(str(tmp_path / str(n)))
        files.calls.clear()
        files.fail("sync", errno.EIO)
        try:
            with interruption:
                jq.enqueue(Job(id="a"))
        except (KeyboardInterrupt, LogWriteError):
            pass
        if files.faults and not jq.metrics().enqueued:  # it had not got so far
            _expect_failure(jq)
        eventually(lambda jq=jq: insides.fault(jq) is not None)  # type: ignore[misc]
        assert files.calls.count("sync") == 1, interruption.where
        jq.close(0)


def test_no_job_starts_any_more_when_the_first_of_those_who_wait_is_told(
    log: str, files: HeldFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = _open(log)
    files.hold("sync")
    waiting = [in_thread(jq.flush)]
    files.await_held()
    waiting += [in_thread(jq.enqueue, Job()), in_thread(jq.flush)]
    eventually(lambda: jq.metrics().queued == 1)
    end, stopped = OpenBatch.end, []

    def look(batch: OpenBatch, error: LogWriteError | None) -> None:
        stopped.append(insides.fault(jq) is not None and insides.scheduler(jq).stopped)
        end(batch, error)

    monkeypatch.setattr(OpenBatch, "end", look)
    files.fail("sync", errno.EIO)
    files.let_go("sync")

    for each in waiting:
        with pytest.raises(LogWriteError):
            each.result(PATIENCE)
    assert stopped
    assert all(stopped)
    jq.close(PATIENCE)


def test_no_caller_fsyncs_beside_the_logs_thread(log: str, files: HeldFiles) -> None:
    # Of two fsyncs at once the kernel would tell only one of the failure.
    jq = _open(log)
    jq.enqueue(Job(id="a"))
    files.hold("sync")
    flushed = in_thread(jq.flush)
    files.await_held()
    files.calls.clear()
    enqueued = in_thread(jq.enqueue, Job(id="b"))
    writer = insides.writer(jq)
    eventually(lambda: insides.open_batch(writer).waiters or files.calls)

    files.fail("sync", errno.EIO)
    files.let_go("sync")

    for each in (flushed, enqueued):
        with pytest.raises(LogWriteError):
            each.result(PATIENCE)
    assert files.calls.count("sync") <= 1
    jq.close(PATIENCE)


def test_a_caller_that_is_interrupted_at_the_end_of_its_fsync_forgets_nobody(
    log: str, files: HeldFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. A caller leads. 2. Another one leaves its job to the log's thread, which waits for the
    # first. 3. That is interrupted before it can tell the thread.
    jq = _open(log)
    writer = left_to_callers(jq)
    files.hold("sync")
    leader = in_thread(jq.enqueue, Job(id="a"))
    files.await_held()
    leading, is_wanted = insides.leader(writer), getattr(*insides.wanted(writer))
    other = in_thread(jq.enqueue, Job(id="b"))
    eventually(lambda: insides.open_batch(writer).urgent)

    def interrupted() -> bool:
        if threading.get_ident() == leading:
            raise KeyboardInterrupt
        return bool(is_wanted())

    monkeypatch.setattr(*insides.wanted(writer), interrupted)
    files.let_go("sync")

    assert isinstance(leader.exception(PATIENCE), KeyboardInterrupt)
    other.result(PATIENCE)
    assert (jq.status("a"), jq.status("b")) == (Status.QUEUED, Status.QUEUED)
    jq.close(PATIENCE)


def test_a_flush_is_not_kept_waiting_by_callers_that_lead_in_turn(log: str) -> None:
    jq = _open(log)
    writer = insides.writer(jq)
    flush = OpenBatch()
    with insides.mutex(jq):
        insides.flushes(writer).append(flush)

        assert not insides.take_lead(writer, insides.open_batch(writer), threading.get_ident())

    flush.wait(rlock_of(insides.mutex(jq)), Parker(), PATIENCE)
    assert flush.done
    jq.close(PATIENCE)


def _expect_failure(jq: JobQueue) -> None:
    with pytest.raises(LogWriteError):
        jq.enqueue(Job(id="b"))


# --- a log whose thread dies --------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("method", ["sync", "write"])
def test_when_the_logs_thread_dies_those_who_wait_are_told(
    log: str, method: str, files: HeldFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 20 of docs/reliability.md."""
    files.maps = files.writes_now = False  # so that all wait for the log's thread
    jq = _open(log)
    jq.enqueue(Job(id="a"))
    files.hold(method)
    waiting = [in_thread(jq.enqueue, Job(id="b"))]
    files.await_held()
    waiting += [in_thread(jq.enqueue, Job(id="c")), in_thread(jq.flush)]
    eventually(lambda: jq.metrics().queued == 3)

    def die(*_args: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("tests.support.faulty_files.FaultyFiles." + method, die)
        files.let_go(method)
        for each in waiting:
            with pytest.raises(LogWriteError):
                each.result(PATIENCE)
    with pytest.raises(LogWriteError):
        jq.enqueue(Job())
    jq.close(PATIENCE)
    assert _reopened(log).status("a") is Status.QUEUED
