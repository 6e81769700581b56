"""What a log keeps of jobs, from one queue to the next that opens it."""

from __future__ import annotations

import logging
import os
import random
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobqueue.final import (
    Config,
    DuplicateJobError,
    Job,
    JobContext,
    JobHandle,
    JobQueue,
    LogCorruptError,
    Priority,
    RejectJobError,
    ResultGoneError,
    RetryJobError,
    Status,
    UnknownJobError,
)
from jobqueue.final.testing import ManualClock
from jobqueue.final.wal.writing import active_segment as tail
from tests.support.handlers import Recorder, in_thread
from tests.support.queues import Attempts, Store, until
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually

EPOCH = 1_000_000_000.0  # Unix time at which manual clocks start
DAY = 86_400.0


@pytest.fixture
def write_store(tmp_path: Path) -> Iterator[Store]:
    """For what has nothing to do with the level of durability."""
    store = Store("write", tmp_path)
    yield store
    store.close()


def _fail(_payload: bytes) -> None:
    raise ValueError("boom")


def _finish(jq: JobQueue, job: Job) -> JobHandle:
    """Enqueue a job and wait until it is finished."""
    handle = jq.enqueue(job)
    assert handle.wait(PATIENCE) in {Status.COMPLETED, Status.FAILED, Status.CANCELLED}
    return handle


def _segments(store: Store) -> list[str]:
    return sorted(path.name for path in store.path.glob("*.jsonl"))


# --- queued -------------------------------------------------------------------------------------


def test_queued_jobs_run_after_a_restart_in_their_order(log_store: Store) -> None:
    jq = log_store.open(len, start=False)
    for n in range(20):
        jq.enqueue(Job(id=str(n)))
    jq.close()

    recorder = Recorder()
    with log_store.open(recorder, num_workers=1) as jq:
        assert jq.join(PATIENCE)
    assert recorder.ids() == [str(n) for n in range(20)]


def test_a_queued_job_keeps_all_that_it_was_given(log_store: Store) -> None:
    given_job = Job(
        b"pay\nload",
        id="the id",
        priority=Priority.HIGH,
        max_retries=7,
        headers={"trace": "4bf9", "é": ""},
        key="customer 7",
    )
    jq = log_store.open(len, start=False)
    jq.enqueue(given_job)
    info = jq.info("the id")
    jq.close()

    recorder = Recorder()
    jq = log_store.open(recorder, start=False)
    assert jq.info("the id") == info
    assert info.headers == {"trace": "4bf9", "é": ""}
    jq.start()
    job = recorder.next()
    names = ("payload", "id", "priority", "handler", "max_retries", "headers", "created", "key")
    for name in names:
        assert getattr(job, name) == getattr(given_job, name), name


def test_the_name_of_a_handler_is_kept(log_store: Store) -> None:
    recorder = Recorder()
    jq = log_store.open(len, handlers={"other": len}, start=False)
    jq.enqueue(Job(id="a", handler="other"))
    jq.close()

    with log_store.open(len, handlers={"other": recorder}):
        assert recorder.next().handler == "other"


def test_a_limit_of_retries_is_kept(log_store: Store) -> None:
    jq = log_store.open(len, start=False)
    jq.enqueue(Job(id="a", max_retries=0))
    jq.close()

    with log_store.open(_fail, max_retries=5, base_delay=0) as jq:
        assert jq.handle("a").wait(PATIENCE) is Status.FAILED
        assert jq.info("a").retries == 0


def test_jobs_of_enqueue_many_are_kept(log_store: Store) -> None:
    jq = log_store.open(len, start=False)
    jq.enqueue_many([Job(id=str(n)) for n in range(50)])
    jq.close()

    jq = log_store.open(len, start=False)

    assert [jq.status(str(n)) for n in range(50)] == [Status.QUEUED] * 50


def test_a_handler_given_with_the_job_is_found_again_by_its_name(log_store: Store) -> None:
    jq = log_store.open(start=False)
    jq.enqueue_with_handler(Job(b"abc", id="a"), noted)
    jq.close()

    jq = log_store.open(handlers={f"{__name__}.noted": noted}, start=False)
    handle = jq.handle("a")
    jq.start()
    assert handle.result(PATIENCE) == 3


def noted(payload: bytes) -> int:
    return len(payload)


def test_replayed_jobs_take_no_room_in_their_lane(write_store: Store) -> None:
    jq = write_store.open(len, start=False, queue_size=10)
    for n in range(10):
        jq.enqueue(Job(id=str(n)))
    jq.close()

    jq = write_store.open(len, start=False, queue_size=1)

    assert jq.enqueue(Job(), timeout=0).status is Status.QUEUED
    assert jq.metrics().queued == 11


def test_unfinished_jobs_count_as_enqueued_after_a_restart(write_store: Store) -> None:
    jq = write_store.open(len)
    _finish(jq, Job())
    jq.close()
    jq = write_store.open(len, start=False)
    jq.enqueue(Job())
    jq.enqueue(Job(), delay=DAY)
    jq.close()

    metrics = write_store.open(len, start=False).metrics()

    assert (metrics.enqueued, metrics.queued, metrics.scheduled, metrics.completed) == (2, 1, 1, 0)


def test_a_job_that_was_running_when_close_gave_up_is_queued_again(log_store: Store) -> None:
    blocker = log_store.blocker()
    jq = log_store.open(blocker)
    jq.enqueue(Job(id="a"))
    blocker.await_entered()
    jq.close(0)

    assert log_store.open(len, start=False).status("a") is Status.QUEUED


def test_each_restart_may_leave_the_job_once_more(log_store: Store) -> None:
    log_store.open(len, start=False).enqueue(Job(b"abc", id="a"))
    log_store.close()
    for _ in range(4):
        log_store.open(len, start=False).close()

    recorder = Recorder()
    with log_store.open(recorder) as jq:
        assert jq.join(PATIENCE)
        assert jq.metrics().enqueued == 1
    assert recorder.ids() == ["a"]


# --- scheduled ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jump", "left"),
    [
        pytest.param(0.0, 100.0, id="at once"),
        pytest.param(40.0, 60.0, id="after some of it"),
        pytest.param(100.0, 0.0, id="just when it is due"),
        pytest.param(DAY, 0.0, id="the wall clock a day ahead"),
        pytest.param(-DAY, 100.0, id="the wall clock a day back"),
        pytest.param(-1.0, 100.0, id="the wall clock a second back"),
    ],
)
def test_what_is_left_of_a_delay_is_between_nothing_and_what_was_asked_for(
    log_store: Store, jump: float, left: float
) -> None:
    """Fault 22 of docs/reliability.md."""
    jq = log_store.open(len, start=False, clock=ManualClock(EPOCH))
    jq.enqueue(Job(id="a"), delay=100.0)
    jq.close()

    clock = ManualClock(EPOCH + jump)
    jq = log_store.open(len, start=False, clock=clock)

    _assert_falls_due_in(jq, "a", clock, left)


def _assert_falls_due_in(jq: JobQueue, job_id: str, clock: ManualClock, seconds: float) -> None:
    """The job of a queue that was not started waits for just so long."""
    if seconds:
        clock.advance(seconds - 0.01)
        assert jq.status(job_id) is Status.SCHEDULED
        clock.advance(0.01)
    assert jq.status(job_id) is Status.QUEUED


@pytest.mark.parametrize(
    ("jump", "left"),
    [
        pytest.param(3.0, 7.0, id="after some of it"),
        pytest.param(DAY, 0.0, id="the wall clock a day ahead"),
        pytest.param(-DAY, 10.0, id="the wall clock a day back"),
    ],
)
def test_what_is_left_of_a_backoff_is_between_nothing_and_the_backoff(
    log_store: Store, jump: float, left: float
) -> None:
    jq = log_store.open(_fail, base_delay=10.0, clock=ManualClock(EPOCH))
    until(jq.enqueue(Job(id="a")), Status.SCHEDULED)
    jq.close()

    clock = ManualClock(EPOCH + jump)
    jq = log_store.open(len, start=False, clock=clock)

    _assert_falls_due_in(jq, "a", clock, left)


def test_a_delay_that_a_handler_asked_for_is_kept(log_store: Store) -> None:
    jq = log_store.open(Attempts(RetryJobError(delay=77.0)), clock=ManualClock(EPOCH))
    until(jq.enqueue(Job(id="a")), Status.SCHEDULED)
    jq.close()

    clock = ManualClock(EPOCH)
    jq = log_store.open(len, start=False, clock=clock)

    _assert_falls_due_in(jq, "a", clock, 77.0)


def test_a_delay_is_kept_over_several_restarts(log_store: Store) -> None:
    jq = log_store.open(len, start=False, clock=ManualClock(EPOCH))
    jq.enqueue(Job(id="a"), delay=100.0)
    jq.close()
    for elapsed in (10.0, 20.0, 30.0):
        log_store.open(len, start=False, clock=ManualClock(EPOCH + elapsed)).close()

    clock = ManualClock(EPOCH + 40.0)
    jq = log_store.open(len, start=False, clock=clock)

    _assert_falls_due_in(jq, "a", clock, 60.0)


def test_a_delayed_job_that_fell_due_and_was_not_run_is_queued_again(log_store: Store) -> None:
    clock = ManualClock(EPOCH)
    jq = log_store.open(len, start=False, clock=clock)
    jq.enqueue(Job(id="a"), delay=5.0)
    clock.advance(5.0)
    jq.close()

    jq = log_store.open(len, start=False, clock=ManualClock(EPOCH + 5.0))

    assert jq.status("a") is Status.QUEUED


# --- retried ------------------------------------------------------------------------------------


def test_retries_are_counted_across_restarts(log_store: Store) -> None:
    clock = ManualClock(EPOCH)
    jq = log_store.open(Attempts(ValueError("boom")), clock=clock, base_delay=10.0)
    handle = until(jq.enqueue(Job(id="a")), Status.SCHEDULED)
    clock.advance(10.0)
    eventually(lambda: handle.status is Status.SCHEDULED and jq.info("a").retries == 2)
    before = jq.info("a")
    jq.close()

    clock = ManualClock(EPOCH + 10.0)
    last = Attempts()
    jq = log_store.open(last, clock=clock, base_delay=10.0)

    assert jq.info("a") == before
    assert before.last_error == "ValueError: boom"
    assert before.last_traceback is not None
    assert "queues.py" in before.last_traceback
    clock.advance(20.0)
    assert jq.handle("a").wait(PATIENCE) is Status.COMPLETED
    assert (last.contexts[0].attempt, last.contexts[0].job.retries) == (2, 2)


def test_a_job_fails_after_its_retries_in_whatever_run_they_were(log_store: Store) -> None:
    jq = log_store.open(_fail, clock=ManualClock(EPOCH), base_delay=10.0, max_retries=1)
    until(jq.enqueue(Job(id="a")), Status.SCHEDULED)
    jq.close()

    with log_store.open(_fail, clock=ManualClock(EPOCH + 10.0), max_retries=1) as jq:
        eventually(lambda: jq.status("a") is Status.FAILED)
        assert jq.info("a").retries == 1


# --- completed and cancelled --------------------------------------------------------------------


def test_a_completed_job_is_remembered_and_does_not_run_again(log_store: Store) -> None:
    with log_store.open(Attempts(RetryJobError(delay=0.0), None)) as jq:
        _finish(jq, Job(id="a", priority=Priority.LOW, headers={"k": "v"}))
        before = jq.info("a")

    recorder = Recorder()
    with log_store.open(recorder) as jq:
        assert jq.join(PATIENCE)
        assert jq.status("a") is Status.COMPLETED
        assert jq.info("a") == before
        assert before.retries == 1
        assert before.last_error == "RetryJobError: retry after 0 s"
        assert before.finished is not None
        with pytest.raises(DuplicateJobError, match="'a' is already known"):
            jq.enqueue(Job(id="a"))
    assert recorder.ids() == []


def test_a_cancelled_job_is_remembered_and_does_not_run(log_store: Store) -> None:
    jq = log_store.open(len, start=False)
    jq.enqueue(Job(id="queued"))
    jq.enqueue(Job(id="scheduled"), delay=DAY)
    assert jq.cancel("queued")
    assert jq.cancel("scheduled")
    jq.close()

    recorder = Recorder()
    with log_store.open(recorder) as jq:
        assert jq.join(PATIENCE)
        for job_id in ("queued", "scheduled"):
            assert jq.status(job_id) is Status.CANCELLED
            assert jq.info(job_id).started is None
            assert jq.cancel(job_id) is False
            with pytest.raises(DuplicateJobError, match="cancelled"):
                jq.enqueue(Job(id=job_id))
    assert recorder.ids() == []


def test_a_job_that_gave_up_when_it_was_cancelled_is_remembered(log_store: Store) -> None:
    blocker = log_store.blocker(ConnectionError("stopped"))
    with log_store.open(blocker) as jq:
        handle = jq.enqueue(Job(id="a"))
        blocker.await_entered()
        jq.cancel("a")
        blocker.gate.set()
        assert handle.wait(PATIENCE) is Status.CANCELLED
        before = jq.info("a")

    jq = log_store.open(len, start=False)

    assert jq.status("a") is Status.CANCELLED
    assert jq.info("a") == before
    assert before.last_error == "ConnectionError: stopped"
    assert before.started is not None


def test_only_so_many_finished_jobs_are_remembered_the_oldest_forgotten_first(
    log_store: Store,
) -> None:
    with log_store.open(len, num_workers=1) as jq:
        for n in range(10):
            _finish(jq, Job(id=str(n)))

    jq = log_store.open(len, start=False, status_retention=3)

    for n in range(7):
        with pytest.raises(UnknownJobError, match=f"'{n}'"):
            jq.status(str(n))
    assert [jq.status(str(n)) for n in range(7, 10)] == [Status.COMPLETED] * 3
    jq.enqueue(Job(id="0"))
    with pytest.raises(DuplicateJobError):
        jq.enqueue(Job(id="9"))


def test_a_forgotten_id_that_was_used_again_is_one_job(log_store: Store) -> None:
    with log_store.open(len, num_workers=1, status_retention=1) as jq:
        for job_id in ("a", "b"):
            _finish(jq, Job(id=job_id))
        jq.pause()
        jq.enqueue(Job(b"again", id="a"))

    recorder = Recorder()
    with log_store.open(recorder, status_retention=1) as jq:
        assert recorder.next().payload == b"again"
        assert jq.join(PATIENCE)
    assert recorder.ids() == []


def test_the_result_of_an_earlier_run_is_not_there_and_is_not_made_up(log_store: Store) -> None:
    with log_store.open(len) as jq:
        _finish(jq, Job(id="a"))

    handle = log_store.open(len, start=False).handle("a")

    assert handle.wait(0) is Status.COMPLETED
    with pytest.raises(ResultGoneError, match="result is not in memory"):
        handle.result(0)


# --- dead letters -------------------------------------------------------------------------------


def test_a_dead_letter_is_kept_with_its_error_and_traceback(log_store: Store) -> None:
    with log_store.open(_fail, max_retries=1, base_delay=0) as jq:
        _finish(jq, Job(b"payload", id="a", headers={"k": "v"}))
        before = jq.dead_letters()

    jq = log_store.open(len, start=False)

    assert jq.dead_letters() == before
    (letter,) = before
    assert (letter.id, letter.status, letter.retries) == ("a", Status.FAILED, 1)
    assert letter.last_error == "ValueError: boom"
    assert letter.last_traceback is not None
    assert letter.last_traceback.endswith("ValueError: boom\n")
    assert "in _fail" in letter.last_traceback
    with pytest.raises(DuplicateJobError, match="failed"):
        jq.enqueue(Job(id="a"))


def test_a_dead_letter_of_an_earlier_run_can_be_requeued_with_its_payload(
    log_store: Store,
) -> None:
    with log_store.open(_fail, max_retries=1, base_delay=0) as jq:
        _finish(jq, Job(b"\xff\x00payload", id="a", headers={"k": "v"}, priority=Priority.LOW))

    recorder = Recorder()
    with log_store.open(recorder) as jq:
        assert jq.requeue("a").wait(PATIENCE) is Status.COMPLETED
        job = recorder.next()
        assert (job.payload, job.headers, job.priority) == (
            b"\xff\x00payload",
            {"k": "v"},
            Priority.LOW,
        )
        assert job.retries == 0
        assert jq.dead_letters() == []


def test_a_rejected_job_is_kept_as_a_dead_letter(log_store: Store) -> None:
    with log_store.open(Attempts(RejectJobError("bad data"))) as jq:
        _finish(jq, Job(id="a"))

    (letter,) = log_store.open(len, start=False).dead_letters()

    assert (letter.last_error, letter.retries) == ("RejectJobError: bad data", 0)


def test_a_requeued_job_is_queued_after_a_restart(log_store: Store) -> None:
    with log_store.open(_fail, max_retries=1, base_delay=0) as jq:
        _finish(jq, Job(id="a"))
        jq.pause()
        assert jq.requeue("a").status is Status.QUEUED

    jq = log_store.open(len, start=False)

    assert jq.status("a") is Status.QUEUED
    assert jq.info("a").retries == 0
    assert jq.dead_letters() == []


def test_a_discarded_job_is_unknown_after_a_restart_and_its_id_free(log_store: Store) -> None:
    with log_store.open(_fail, max_retries=0) as jq:
        _finish(jq, Job(id="a"))
        jq.discard("a")

    jq = log_store.open(len, start=False)

    with pytest.raises(UnknownJobError):
        jq.status("a")
    assert jq.enqueue(Job(id="a")).status is Status.QUEUED


def test_a_dead_letter_that_had_to_go_stays_gone(log_store: Store) -> None:
    with log_store.open(_fail, max_retries=0, max_dead_letters=2, num_workers=1) as jq:
        for job_id in "abc":
            _finish(jq, Job(id=job_id))

    jq = log_store.open(len, start=False)

    assert [letter.id for letter in jq.dead_letters()] == ["b", "c"]
    with pytest.raises(UnknownJobError):
        jq.status("a")


def test_dead_letters_above_a_lower_limit_go_the_oldest_first_and_with_a_warning(
    log_store: Store, records: Records
) -> None:
    with log_store.open(_fail, max_retries=0, num_workers=1) as jq:
        for job_id in "abc":
            _finish(jq, Job(id=job_id))
    records.rest()

    jq = log_store.open(len, start=False, max_dead_letters=1)

    assert [letter.id for letter in jq.dead_letters()] == ["c"]
    warnings = [record.getMessage() for record in records.rest()]
    assert any("max_dead_letters" in warning for warning in warnings), warnings
    jq.close()
    assert [letter.id for letter in log_store.open(len, start=False).dead_letters()] == ["c"]


def test_dead_letters_come_back_oldest_first(log_store: Store) -> None:
    clock = ManualClock(EPOCH)
    with log_store.open(handlers={"bad": _fail}, max_retries=0, num_workers=1, clock=clock) as jq:
        late = jq.enqueue(Job(id="enqueued first", handler="bad"), delay=5.0)
        _finish(jq, Job(id="failed first", handler="bad"))
        clock.advance(5.0)
        assert late.wait(PATIENCE) is Status.FAILED
        order = [letter.id for letter in jq.dead_letters()]

    jq = log_store.open(start=False)

    assert [letter.id for letter in jq.dead_letters()] == order


@pytest.mark.parametrize("last", ["requeue", "discard", "cancel"])
def test_a_change_is_in_the_log_when_its_call_returns(log_store: Store, last: str) -> None:
    jq = log_store.open(_fail, max_retries=0)
    _finish(jq, Job(id="a"))
    jq.pause()
    jq.enqueue(Job(id="b"))
    if last == "cancel":
        jq.cancel("b")
    else:
        getattr(jq, last)("a")
    if log_store.kind == "async":
        jq.flush()

    copy = _copy(log_store)

    if last == "cancel":
        assert copy.status("b") is Status.CANCELLED
    elif last == "requeue":
        assert copy.status("a") is Status.QUEUED
    else:
        with pytest.raises(UnknownJobError):
            copy.status("a")


def _copy(store: Store) -> JobQueue:
    """What a queue finds in a copy of the log as it is now."""
    other = Store(store.kind, store.path.parent / "copy")
    other.path.mkdir(parents=True)
    for path in store.path.glob("*.jsonl"):
        (other.path / path.name).write_bytes(path.read_bytes())
    copy = JobQueue(other.config(), handler=len, start=False)
    copy.close()
    return copy


# --- handlers that are not registered -----------------------------------------------------------


def test_jobs_of_unknown_handlers_wait_and_one_warning_names_them(
    log_store: Store, records: Records
) -> None:
    jq = log_store.open(handlers={"one": len, "two": len}, start=False)
    for n in range(3):
        jq.enqueue(Job(id=f"one-{n}", handler="one"))
        jq.enqueue(Job(id=f"two-{n}", handler="two"))
    jq.close()
    assert records.rest() == []

    jq = log_store.open(len)
    assert jq.join(PATIENCE)

    assert {jq.status(f"{name}-{n}") for name in ("one", "two") for n in range(3)} == {
        Status.QUEUED
    }
    jq.close()
    (warning,) = records.rest()
    assert warning.levelno == logging.WARNING
    assert "one, two" in warning.getMessage()


def test_jobs_that_wait_for_a_handler_run_once_it_is_registered(log_store: Store) -> None:
    jq = log_store.open(handlers={"name": len}, start=False)
    jq.enqueue(Job(b"abc", id="a", handler="name"))
    jq.close()
    jq = log_store.open()
    assert jq.status("a") is Status.QUEUED

    handle = jq.handle("a")

    jq.register("name", len)

    assert handle.result(PATIENCE) == 3


def test_jobs_of_the_default_handler_wait_where_there_is_none(
    log_store: Store, records: Records
) -> None:
    jq = log_store.open(len, start=False)
    jq.enqueue(Job(id="a"))
    jq.close()

    jq = log_store.open()

    assert jq.join(PATIENCE)
    assert jq.status("a") is Status.QUEUED
    assert "default" in records.next().getMessage()


def test_a_new_job_of_an_unknown_handler_is_accepted_kept_and_warned_of_once(
    log_store: Store, records: Records
) -> None:
    with log_store.open() as jq:
        for n in range(3):
            jq.enqueue(Job(id=str(n), handler="later"))
        assert jq.status("0") is Status.QUEUED
    (warning,) = records.rest()
    assert "later" in warning.getMessage()

    with log_store.open(handlers={"later": len}) as jq:
        assert jq.join(PATIENCE)
        assert jq.status("2") is Status.COMPLETED


def test_nothing_is_imported_by_the_name_of_a_handler(log_store: Store) -> None:
    """Fault 25 of docs/reliability.md."""
    jq = log_store.open(start=False)
    jq.enqueue(Job(id="a", handler="os.getpid"))
    jq.enqueue(Job(id="b", handler=f"{__name__}.noted"))
    jq.close()

    jq = log_store.open()

    assert jq.join(PATIENCE)
    assert jq.status("a") is jq.status("b") is Status.QUEUED


def test_a_job_that_waits_for_a_handler_can_be_cancelled(log_store: Store) -> None:
    with log_store.open() as jq:
        jq.enqueue(Job(id="a", handler="never"))
        assert jq.cancel("a")
        assert jq.metrics().queued == 0

    assert log_store.open().status("a") is Status.CANCELLED


# --- any bytes, any text ------------------------------------------------------------------------

PAYLOADS = [
    b"",
    b"\n",
    b"\r\n",
    b"\x00",
    b"\x00" * 5000,
    "\u2028\u2029\x85".encode(),
    b'{"op":"completed","job":1}\n{"commit":1,"records":1,"synced":0,"crc":0}\n',
    b'"\\',
    b"\xff\xfe\xfd",
    b"\xed\xa0\x80",  # a lone surrogate, as UTF-8 does not have it
    b"\xc3",
    "é\U0001f600".encode(),
    bytes(range(256)),
    b"x" * 300_000,
    random.Random(1).randbytes(100_000),
]


def test_any_payload_comes_back_as_it_was(log_store: Store) -> None:
    """Fault 24 of docs/reliability.md."""
    jq = log_store.open(len, start=False)
    for n, payload in enumerate(PAYLOADS):
        jq.enqueue(Job(payload, id=str(n)))
    jq.close()

    recorder = Recorder()
    with log_store.open(recorder, num_workers=1):
        assert [recorder.next().payload for _ in PAYLOADS] == PAYLOADS


IDS = [
    "\n",
    "a\r\nb",
    "\u2028",
    "\x85",
    "\x00",
    "../../etc/passwd",
    "/dev/null",
    '"\\',
    "é",
    "e\u0301",  # not the same as the one above
    "\U0001f600" * 255,
    " ",
    "\x7f",
    "a" * 255,
]


def test_any_id_header_and_handler_name_comes_back_as_it_was(log_store: Store) -> None:
    jq = log_store.open(start=False)
    for text in IDS:
        jq.enqueue(Job(id=text, handler=text, headers={text: text}))
    jq.close()
    before = sorted(path.name for path in log_store.path.parent.iterdir())

    jq = log_store.open(start=False)

    for text in IDS:
        info = jq.info(text)
        assert (info.id, info.handler, info.headers) == (text, text, {text: text})
    assert sorted(path.name for path in log_store.path.parent.iterdir()) == before


@given(
    jobs=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        st.tuples(
            st.binary(max_size=60),
            st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
                st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
                max_size=2,
            ),
        ),
        max_size=5,
    )
)
@settings(max_examples=25)
@pytest.mark.slow
def test_whatever_a_job_holds_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, jobs: dict[str, tuple[bytes, dict[str, str]]]
) -> None:
    path = tmp_path_factory.mktemp("log")
    jq = JobQueue(Config(persist_path=path), handler=len, start=False)
    for job_id, (payload, headers) in jobs.items():
        jq.enqueue(Job(payload, id=job_id, headers=headers))
    jq.close()

    recorder = Recorder()
    with JobQueue(Config(persist_path=path, num_workers=1), handler=recorder):
        found = {
            job.id: (job.payload, dict(job.headers)) for job in map(_next, jobs, [recorder] * 9)
        }

    assert found == jobs


def _next(_job: object, recorder: Recorder) -> Job:
    return recorder.next()


def test_an_error_text_that_utf8_cannot_hold_is_kept_legibly(log_store: Store) -> None:
    with log_store.open(Attempts(RejectJobError("\ud800 \x00\n\u2028"))) as jq:
        _finish(jq, Job(id="a"))
        before = jq.info("a").last_error

    assert log_store.open(start=False).info("a").last_error == before
    assert before == "RejectJobError: \\ud800 \x00\n\u2028"


# --- durability ---------------------------------------------------------------------------------


def test_fsync_makes_each_job_durable_before_enqueue_returns(tmp_path: Path) -> None:
    config = Config(persist_path=tmp_path, durability="fsync", fsync_interval=3600.0)
    with JobQueue(config, handler=len, start=False) as jq:
        for n in range(1, 4):
            jq.enqueue(Job())
            log = jq.metrics().log
            assert log is not None
            assert (log.fsyncs, log.lag_records) == (n, 0)


def test_jobs_of_several_producers_share_an_fsync(tmp_path: Path) -> None:
    config = Config(persist_path=tmp_path, durability="fsync")
    with JobQueue(config, handler=len, start=False) as jq:
        jq.enqueue_many([Job() for _ in range(100)])

        log = jq.metrics().log

    assert log is not None
    assert (log.batches, log.fsyncs) == (1, 1)


def test_written_records_are_fsynced_within_the_interval(write_store: Store) -> None:
    jq = write_store.open(len, start=False, fsync_interval=0.01)
    jq.enqueue(Job())

    eventually(lambda: _lag(jq) == 0)


def _lag(jq: JobQueue) -> int:
    log = jq.metrics().log
    assert log is not None
    return log.lag_records


def test_outcomes_are_written_within_the_interval_without_being_asked_for(
    log_store: Store,
) -> None:
    jq = log_store.open(len, fsync_interval=0.01)
    _finish(jq, Job(id="a"))

    (segment,) = log_store.path.glob("*.jsonl")
    eventually(lambda: b'"completed"' in segment.read_bytes())


# --- flush and metrics --------------------------------------------------------------------------


def test_flush_returns_when_everything_is_fsynced(log_store: Store) -> None:
    jq = log_store.open(len, start=False, fsync_interval=3600.0)
    for _ in range(10):
        jq.enqueue(Job())
    before = jq.metrics().log
    assert before is not None

    jq.flush()

    after = jq.metrics().log
    assert after is not None
    assert after.lag_records == 0
    assert after.fsyncs > before.fsyncs
    assert after.last_fsync_seconds > 0
    assert after.error is None


def test_flush_in_memory_returns_at_once(memory: Store) -> None:
    memory.open(len, start=False).flush()


def test_flush_from_several_threads_returns_to_each(log_store: Store) -> None:
    jq = log_store.open(len, start=False)

    flushing = [in_thread(jq.flush) for _ in range(8)]

    assert [each.result(PATIENCE) for each in flushing] == [None] * 8


def test_the_metrics_of_the_log_grow_with_it(log_store: Store) -> None:
    jq = log_store.open(len, start=False, fsync_interval=3600.0)
    first = jq.metrics().log
    assert first is not None
    assert (first.batches, first.fsyncs, first.last_fsync_seconds) == (0, 0, 0.0)
    for _ in range(5):
        jq.enqueue(Job(b"x" * 1000))
    jq.flush()

    second = jq.metrics().log
    assert second is not None
    assert second.bytes >= first.bytes + 5000
    assert second.batches >= 1


def test_the_size_of_the_log_is_that_of_its_files(log_store: Store) -> None:
    jq = log_store.open(len, start=False, segment_bytes=4096)
    for _ in range(30):
        jq.enqueue(Job(b"x" * 500))
    jq.close()

    log = log_store.open(len, start=False, segment_bytes=4096).metrics().log
    assert log is not None
    log_store.close()

    last = _segments(log_store)[-1]
    sealed = sum((log_store.path / n).stat().st_size for n in _segments(log_store) if n != last)
    assert sealed < log.bytes < sealed + 500


def test_in_memory_there_are_no_metrics_of_a_log(memory: Store) -> None:
    assert memory.open(len).metrics().log is None


# --- segments -----------------------------------------------------------------------------------


def test_a_full_segment_is_sealed_and_all_jobs_are_there_after_a_restart(
    log_store: Store,
) -> None:
    jq = log_store.open(len, start=False, segment_bytes=4096)
    for n in range(60):
        jq.enqueue(Job(b"x" * 200, id=str(n)))
    if log_store.kind == "async":
        jq.flush()
    jq.close()
    sizes = [(log_store.path / name).stat().st_size for name in _segments(log_store)]
    if log_store.kind != "async":  # there a whole batch may be larger than a segment
        assert len(sizes) > 3
        assert max(sizes) <= 4096 + 200

    recorder = Recorder()
    with log_store.open(recorder, num_workers=1, segment_bytes=4096) as jq:
        assert jq.join(PATIENCE)
    assert recorder.ids() == [str(n) for n in range(60)]


def test_a_job_larger_than_a_segment_is_kept(log_store: Store) -> None:
    jq = log_store.open(len, start=False, segment_bytes=4096)
    jq.enqueue(Job(b"x" * 20_000, id="a"))
    jq.enqueue(Job(b"y", id="b"))
    jq.close()

    recorder = Recorder()
    with log_store.open(recorder, num_workers=1, segment_bytes=4096):
        assert [len(recorder.next().payload) for _ in range(2)] == [20_000, 1]


def test_jobs_that_are_too_much_for_one_batch_are_several(
    log_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "BATCH_BYTES_MAX", 4096)
    jq = log_store.open(start=False)

    handles = jq.enqueue_many([Job(b"x" * 100_000, handler="x") for _ in range(5)])
    jq.flush()

    log = jq.metrics().log
    assert log is not None
    assert log.batches >= len(handles)
    jq.close()
    again = log_store.open(start=False)
    assert {again.status(handle.id) for handle in handles} == {Status.QUEUED}


def test_jobs_run_and_finish_while_segments_are_sealed(log_store: Store) -> None:
    with log_store.open(len, segment_bytes=4096) as jq:
        for n in range(200):
            jq.enqueue(Job(b"x" * 100, id=str(n)))
        assert jq.join(PATIENCE)
    log_store.close()

    jq = log_store.open(len, start=False)

    assert {jq.status(str(n)) for n in range(200)} == {Status.COMPLETED}


# --- the directory ------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_the_directory_and_its_files_are_the_owners_alone_under_any_umask(
    write_store: Store, mask: int
) -> None:
    """Fault 27 of docs/reliability.md."""
    old = os.umask(mask)
    try:
        with write_store.open(len) as jq:
            _finish(jq, Job())
    finally:
        os.umask(old)

    assert stat.S_IMODE(write_store.path.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in write_store.path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_missing_parents_of_the_directory_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "jobs.db"

    JobQueue(Config(persist_path=path), handler=len).close()

    assert (path / "LOCK").is_file()


def test_the_path_may_be_relative_and_the_working_directory_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    config = Config(persist_path="jobs.db", segment_bytes=4096, durability="fsync")
    with JobQueue(config, handler=len, start=False) as jq:
        monkeypatch.chdir(tmp_path / "elsewhere")
        for _ in range(20):
            jq.enqueue(Job(b"x" * 500))

    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(list((tmp_path / "jobs.db").glob("*.jsonl"))) > 1


# --- damage -------------------------------------------------------------------------------------


def test_a_torn_end_is_cut_off_kept_aside_and_warned_of(log_store: Store, records: Records) -> None:
    jq = log_store.open(len, start=False)
    jq.enqueue(Job(id="a"))
    jq.close()
    last = log_store.path / _segments(log_store)[-1]
    with last.open("ab") as file:
        file.write(b'{"op":"enqueued","job":2,"id":"b"')

    jq = log_store.open(len, start=False)

    assert jq.status("a") is Status.QUEUED
    (warning,) = records.rest()
    assert "torn" in warning.getMessage()
    copy = log_store.path / f"{last.name}.torn"
    assert str(copy) in warning.getMessage()
    assert copy.read_bytes() == b'{"op":"enqueued","job":2,"id":"b"'


def test_damage_to_what_was_fsynced_is_refused_and_nothing_is_changed(log_store: Store) -> None:
    jq = log_store.open(len, start=False)
    jq.enqueue(Job(b"payload", id="a"))
    jq.close()
    first = log_store.path / _segments(log_store)[0]
    first.write_bytes(first.read_bytes().replace(b'payload"', b'paXload"', 1))
    before = {path.name: path.read_bytes() for path in log_store.path.glob("*.jsonl")}

    for _ in range(2):  # it is not locked after the first
        with pytest.raises(LogCorruptError, match="is corrupt") as caught:
            log_store.open(len)

    assert caught.value.path == str(log_store.path)
    assert caught.value.segment == first.name
    assert caught.value.offset > 0
    after = {path.name: path.read_bytes() for path in log_store.path.glob("*.jsonl")}
    assert after == before


def test_only_the_queues_threads_write_while_jobs_run(log_store: Store) -> None:
    """Handlers may use the queue while the log is written."""
    done = threading.Event()

    def handler(payload: bytes, context: JobContext) -> Any:
        if payload == b"0":
            done.set()
            return
        jq.enqueue(Job(str(int(payload) - 1).encode(), id=f"{context.job.id}-"))

    with log_store.open(handler) as jq:
        jq.enqueue(Job(b"20", id="a"))
        assert done.wait(PATIENCE)
        assert jq.join(PATIENCE)
        assert jq.metrics().completed == 21
