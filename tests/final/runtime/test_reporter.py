"""Log handlers and filters of the user's may do anything; a queue makes all its records aside."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobqueue.final import Job, Status
from jobqueue.final.runtime import reporting
from jobqueue.final.runtime.clock import SystemClock
from jobqueue.final.runtime.parking import Parker
from jobqueue.final.runtime.reporting import Reporter
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.queues import Store, until
from tests.support.records import Records, reporters
from tests.support.waiting import PATIENCE, eventually

LOGGER = logging.getLogger("jobqueue")


class Rude(logging.Handler):
    """A log handler that does something with each record; it tells on which thread."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__(logging.DEBUG)
        self.threads: list[str] = []
        self._then = then

    def emit(self, record: logging.LogRecord) -> None:
        self.threads.append(threading.current_thread().name)
        self._then()


@contextmanager
def told(handler: logging.Handler) -> Iterator[None]:
    LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)


def fails(payload: bytes) -> None:
    if payload == b"bad":
        raise ValueError("boom")


def raises(error: BaseException) -> Callable[..., bool]:
    def raise_it(*_args: object) -> bool:
        raise error

    return raise_it


ERRORS = [OSError("the log server is down"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_workers_outlive_log_handlers_that_raise(memory: Store, error: BaseException) -> None:
    """Fault 60 of docs/reliability.md."""
    with told(Rude(raises(error))):
        jq = memory.open(fails, num_workers=1, max_retries=0)
        for payload, status in ((b"bad", Status.FAILED), (b"good", Status.COMPLETED)) * 2:
            assert jq.enqueue(Job(payload)).wait(PATIENCE) is status


def test_workers_outlive_a_filter_that_raises(memory: Store) -> None:
    broken = raises(SystemExit(1))
    LOGGER.addFilter(broken)
    try:
        jq = memory.open(fails, num_workers=1, max_retries=0)
        assert jq.enqueue(Job(b"bad")).wait(PATIENCE) is Status.FAILED
        assert jq.enqueue(Job(b"good")).wait(PATIENCE) is Status.COMPLETED
    finally:
        LOGGER.removeFilter(broken)


def test_a_log_handler_that_raises_fails_no_call_that_accepted_a_job(log_store: Store) -> None:
    """Fault 60 of docs/reliability.md."""
    with told(Rude(raises(OSError("the log server is down")))):
        jq = log_store.open()
        assert jq.enqueue(Job(id="a", handler="later")).status is Status.QUEUED
        jobs = [Job(id="b", handler="x"), Job(id="c", handler="y")]
        assert [handle.id for handle in jq.enqueue_many(jobs)] == ["b", "c"]
        jq.close()

        again = log_store.open()

        assert again.status("c") is Status.QUEUED


def test_every_record_is_made_on_the_one_thread_for_it(
    log_store: Store, clock: ManualClock
) -> None:
    rude = Rude(lambda: None)
    blocker = log_store.blocker()
    with told(rude):
        jq = log_store.open(
            handlers={"bad": raises(ValueError()), "slow": blocker},
            clock=clock,
            max_retries=0,
            job_timeout=1,
        )
        jq.enqueue(Job(handler="unknown"))  # told by the caller's thread
        jq.enqueue(Job(handler="bad")).wait(PATIENCE)  # by a worker's
        jq.enqueue(Job(handler="slow"))
        blocker.await_entered()
        clock.advance(1)  # by the timer's
        assert eventually(lambda: len(rude.threads) == 3)
        jq.close(0)
    assert set(rude.threads) == {"jobqueue-report"}


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def test_a_log_handler_that_hangs_holds_up_neither_delays_nor_jobs(
    memory: Store, clock: ManualClock, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 60 of docs/reliability.md."""
    monkeypatch.setattr(reporting, "STUCK_SECONDS", 0.02)
    blocker = memory.blocker()
    rude = Rude(lambda: gate.wait(PATIENCE))
    with told(rude):
        jq = memory.open(
            handlers={"slow": blocker, "fails": raises(ValueError()), "ok": len},
            clock=clock,
            num_workers=1,
            max_retries=0,
            job_timeout=1,
        )
        delayed = jq.enqueue(Job(handler="ok"), delay=2)
        jq.enqueue(Job(handler="slow"))
        blocker.await_entered()
        clock.advance(1)  # the job is past its time, which is told
        assert eventually(lambda: rude.threads)

        clock.advance(1)
        until(delayed, Status.COMPLETED)
        for _ in range(3):
            assert jq.enqueue(Job(handler="fails")).wait(PATIENCE) is Status.FAILED
        assert jq.enqueue(Job(handler="ok")).wait(PATIENCE) is Status.COMPLETED

        gate.set()
        blocker.gate.set()
        jq.close()


def test_a_log_handler_may_close_the_queue(memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "STUCK_SECONDS", 0.01)
    others = reporters()
    jq = memory.open(fails, max_retries=0)
    closed = threading.Event()

    def close() -> None:
        jq.close()
        closed.set()

    with told(Rude(close)):
        jq.enqueue(Job(b"bad"))
        assert closed.wait(PATIENCE)
        jq.close()
    assert eventually(lambda: reporters() <= others)


def test_a_record_tells_when_and_on_which_thread_it_was_asked_for(records: Records) -> None:
    reporter = Reporter()
    before = SystemClock.time()
    in_thread(reporter.report, logging.WARNING, "100 % full").result(PATIENCE)
    after = SystemClock.time()
    reporter.close(PATIENCE)

    record = records.next()
    assert record.getMessage() == "100 % full"
    assert record.threadName == "test-caller"
    assert before <= record.created <= after


# --- the reporter alone -------------------------------------------------------------------------


@pytest.fixture
def stuck(gate: threading.Event) -> Iterator[tuple[Reporter, list[str]]]:
    """A reporter whose first record hangs in a log handler, and the messages of the others."""
    entered = threading.Event()
    seen: list[str] = []

    class Hangs(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            entered.set()
            assert gate.wait(PATIENCE)
            seen.append(record.getMessage())

    reporter = Reporter()
    reporter.open(lambda function: function())
    with told(Hangs()):
        reporter.report(logging.ERROR, "first")
        assert entered.wait(PATIENCE)
        yield reporter, seen
        gate.set()
        reporter.close(PATIENCE)


def test_what_waits_when_closed_is_made_and_what_is_left_at_the_deadline_is_dropped(
    stuck: tuple[Reporter, list[str]], gate: threading.Event
) -> None:
    reporter, seen = stuck
    reporter.report(logging.ERROR, "second")
    reporter.close(0.01)
    gate.set()
    reporter.report(logging.ERROR, "too late")

    reporter.close(PATIENCE)

    assert seen == ["first"]


def test_records_are_bounded_and_those_that_were_dropped_are_counted(
    stuck: tuple[Reporter, list[str]], gate: threading.Event
) -> None:
    """Fault 60 of docs/reliability.md."""
    reporter, seen = stuck
    for number in range(reporting.RECORDS_MAX + 2):
        reporter.report(logging.ERROR, str(number))
    gate.set()
    reporter.close(PATIENCE)

    assert len(seen) == reporting.RECORDS_MAX + 2
    assert seen[-1] == "2 log records were dropped: the log handlers are too slow for them"


def test_nobody_waits_for_a_log_handler_that_is_stuck(
    stuck: tuple[Reporter, list[str]], gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "STUCK_SECONDS", 0.01)
    reporter, seen = stuck
    call = in_thread(reporter.report_and_wait, logging.ERROR, "bad", OSError("lost"))
    call.result(PATIENCE)
    monkeypatch.setattr(Parker, "park", raises(AssertionError("it waits")))

    reporter.report_and_wait(logging.ERROR, "worse", OSError("gone"))

    monkeypatch.undo()
    gate.set()
    reporter.close(PATIENCE)

    assert seen == ["first", "bad\nOSError: lost\n", "worse\nOSError: gone\n"]


def test_if_no_thread_can_be_had_records_are_made_by_close(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    reporter = Reporter()
    reporter.open(lambda function: function())
    reporter.report(logging.ERROR, "first")
    reporter.prepare()
    reporter.report_and_wait(logging.ERROR, "second", ValueError("boom"))
    assert records.rest() == []

    reporter.close(0)

    assert [each.getMessage() for each in records.rest()] == ["first", "second\nValueError: boom\n"]


def test_a_thread_that_went_for_want_of_records_is_there_again_for_the_next(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "IDLE_SECONDS", 0.0)
    others = reporters()
    reporter = Reporter()
    reporter.open(lambda function: function())
    for number in range(200):  # it is about to go when the next record comes
        reporter.report(logging.ERROR, str(number))
        assert records.next().getMessage() == str(number)
    assert eventually(lambda: reporters() <= others)

    reporter.close(PATIENCE)


def test_what_a_start_says_is_said_when_it_returns(log_store: Store, records: Records) -> None:
    jq = log_store.open(fails, max_retries=0)
    for _ in range(2):
        jq.enqueue(Job(b"bad")).wait(PATIENCE)
    jq.close()
    records.rest()

    log_store.open(fails, max_dead_letters=1)

    (record,) = records.rest()
    assert "1 dead letters were dropped" in record.getMessage()


def test_a_record_that_is_about_to_be_made_is_waited_for(
    gate: threading.Event, records: Records
) -> None:
    # 1. The reporter's thread takes a record out. 2. Now none waits, and none is made yet.
    held = HeldRecords(gate)
    reporter = Reporter()
    insides.set_waiting_records(reporter, held)
    reporter.open(lambda function: function())
    reporter.report(logging.WARNING, "about to be made")
    assert held.taken.wait(PATIENCE)

    caught_up = in_thread(reporter.catch_up)
    assert eventually(lambda: held or caught_up.done())
    assert not caught_up.done()

    gate.set()
    caught_up.result(PATIENCE)
    (record,) = records.rest()
    assert record.getMessage() == "about to be made"
    reporter.close(PATIENCE)


class HeldRecords(deque[Any]):
    """Those that wait; the thread that takes one out is held until the gate opens."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self.taken = threading.Event()
        self._gate = gate

    def popleft(self) -> Any:
        record = super().popleft()
        self.taken.set()
        assert self._gate.wait(PATIENCE)
        return record


def test_a_log_handler_that_hangs_holds_up_no_start_for_long(
    log_store: Store, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = log_store.open(handlers={"later": len}, start=False)
    jq.enqueue(Job(b"abc", id="a", handler="later"))
    jq.close()
    monkeypatch.setattr(reporting, "STUCK_SECONDS", 0.01)
    with told(Rude(lambda: gate.wait(PATIENCE))):
        jq = log_store.open()
        jq.register("later", len)
        assert jq.handle("a").result(PATIENCE) == 3
        gate.set()
        jq.close()
