"""Jobs whose handler is not registered: they wait aside, bounded, and few words tell of them."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from typing import Any

import pytest

from jobqueue.final import (
    EnqueueTimeoutError,
    Job,
    JobQueue,
    Priority,
    Status,
    UnknownHandlerError,
)
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.queues import Store, every_store, until
from tests.support.records import Records
from tests.support.waiting import PATIENCE


def park(jq: JobQueue, count: int, name: str = "mail.sned") -> None:
    for _ in range(count):
        jq.enqueue(Job(handler=name), timeout=0)


# --- room ----------------------------------------------------------------------------------------


@every_store
def test_jobs_of_an_unknown_name_take_no_room(store: Store) -> None:
    """Fault 62 of docs/reliability.md."""
    jq = store.open(handlers={"mail.send": len}, queue_size=5)
    park(jq, 5)

    assert jq.enqueue(Job(b"abc", handler="mail.send"), timeout=0).result(PATIENCE) == 3


def test_an_unknown_name_needs_no_room(memory: Store) -> None:
    jq = memory.open(len, queue_size=1, start=False)
    jq.enqueue(Job())
    with pytest.raises(EnqueueTimeoutError):
        jq.enqueue(Job(), timeout=0)

    park(jq, 1)
    assert len(jq.enqueue_many([Job(handler="x", priority=Priority.LOW)], timeout=0)) == 1


@every_store
def test_no_more_than_queue_size_of_them_are_accepted_per_lane(store: Store) -> None:
    """Fault 62 of docs/reliability.md."""
    jq = store.open(queue_size=3)
    park(jq, 2)
    with pytest.raises(UnknownHandlerError) as caught:
        jq.enqueue_many([Job(id=name, handler="other") for name in "abc"])
    assert [handle.id for handle in caught.value.accepted] == ["a"]
    with pytest.raises(UnknownHandlerError, match=r"'d'.*'mail\.sned'.*3 jobs of the MEDIUM lane"):
        jq.enqueue(Job(id="d", handler="mail.sned"))

    jq.enqueue(Job(handler="mail.sned", priority=Priority.HIGH))
    assert jq.cancel("a")
    jq.enqueue(Job(id="d", handler="mail.sned"))

    jq.register("mail.sned", len)
    assert jq.handle("d").wait(PATIENCE) is Status.COMPLETED
    park(jq, 3, "other")


@every_store
def test_delayed_ones_count_from_their_acceptance_on(store: Store, clock: ManualClock) -> None:
    """Fault 62 of docs/reliability.md."""
    jq = store.open(queue_size=3, clock=clock)
    for id in "ab":
        jq.enqueue(Job(id=id, handler="x"), delay=1)
    park(jq, 1)
    for delay in (0, 1):
        with pytest.raises(UnknownHandlerError, match="3 jobs of the MEDIUM lane"):
            jq.enqueue(Job(handler="x"), delay=delay)
    jq.enqueue(Job(handler="x", priority=Priority.HIGH), delay=1)

    clock.advance(1)
    with pytest.raises(UnknownHandlerError):
        park(jq, 1)
    assert jq.cancel("a")
    jq.enqueue(Job(id="c", handler="x"), delay=1)
    assert jq.cancel("c")
    park(jq, 1)


def test_delayed_ones_whose_handler_is_there_now_count_no_more(
    memory: Store, clock: ManualClock
) -> None:
    jq = memory.open(queue_size=1, clock=clock)
    late = jq.enqueue(Job(handler="x"), delay=1)
    jq.register("x", len)
    park(jq, 1)
    clock.advance(1)
    assert late.wait(PATIENCE) is Status.COMPLETED


def test_delayed_ones_of_an_earlier_run_count(log_store: Store, clock: ManualClock) -> None:
    jq = log_store.open(queue_size=1, clock=clock)
    jq.enqueue(Job(handler="x"), delay=1)
    jq.close()

    jq = log_store.open(queue_size=1, clock=clock)
    with pytest.raises(UnknownHandlerError):
        park(jq, 1)


def test_a_restart_keeps_all_that_wait_and_the_bound(log_store: Store) -> None:
    jq = log_store.open(queue_size=3, handlers={"gone": len}, start=False)
    park(jq, 3)
    jq.enqueue(Job(id="a", handler="gone"))
    jq.close()

    jq = log_store.open(len, queue_size=3)  # four wait now
    assert jq.enqueue(Job()).wait(PATIENCE) is Status.COMPLETED
    with pytest.raises(UnknownHandlerError):
        park(jq, 1)

    jq.register("gone", len)
    assert jq.handle("a").wait(PATIENCE) is Status.COMPLETED
    with pytest.raises(UnknownHandlerError):
        park(jq, 1)


def test_a_job_whose_record_could_not_be_written_waits_no_more(
    log_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = log_store.open(queue_size=1)

    class Interrupted(BaseException):
        pass

    def interrupt(*_args: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(insides.journal(jq), "enqueued", interrupt)
        with pytest.raises(Interrupted):
            park(jq, 1)

    assert insides.parked_count(jq) == 0
    park(jq, 1)


@pytest.mark.parametrize("log_store", ["fsync"], indirect=True)
def test_a_handler_that_comes_while_the_record_is_on_its_way_runs_the_job_once(
    log_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = log_store.open(num_workers=1)
    writer = insides.writer(jq)
    insides.leave_to_callers(writer)
    ran: list[bytes] = []
    wait = writer.wait

    def register_first(*args: Any) -> None:
        jq.register("late", ran.append)
        assert insides.parked_count(jq) == 0
        wait(*args)

    monkeypatch.setattr(writer, "wait", register_first)
    handle = jq.enqueue(Job(b"x", handler="late"))
    until(handle, Status.COMPLETED)
    assert jq.join(PATIENCE)
    assert ran == [b"x"]


# --- what is told --------------------------------------------------------------------------------


def messages(records: Records) -> list[str]:
    """What was told, but for what a queue in memory drops at its close."""
    found = [record.getMessage() for record in records.rest()]
    return [each for each in found if " dropped" not in each]


def told(names: str) -> str:
    return f"jobs wait for handlers that are not registered: {names}; register them to run the jobs"


def test_a_name_is_told_of_once_and_again_if_all_its_jobs_had_gone(
    memory: Store, records: Records
) -> None:
    jq = memory.open()
    for id in "abc":
        jq.enqueue(Job(id=id, handler="x"))
    for id in "abc":
        jq.cancel(id)
    jq.enqueue(Job(handler="y"))
    jq.enqueue(Job(handler="x"))
    jq.close()

    assert messages(records) == [told("x"), told("y"), told("x")]


def test_a_name_is_told_of_when_its_first_delayed_job_is_due(
    memory: Store, records: Records, clock: ManualClock
) -> None:
    jq = memory.open(clock=clock)
    for delay in (1, 2):
        jq.enqueue(Job(handler="x"), delay=delay)
    jq.enqueue(Job(handler="y"), delay=3)
    assert records.rest() == []
    for _ in range(3):
        clock.advance(1)
    jq.close()

    assert messages(records) == [told("x"), told("y")]


def test_the_thread_that_finds_a_job_due_makes_no_record(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers: queue.Queue[str] = queue.Queue()

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            makers.put(threading.current_thread().name)

    monkeypatch.setattr(logging.getLogger("jobqueue"), "handlers", [Noting()])
    memory.open().enqueue(Job(handler="x"), delay=0.001)
    assert makers.get(timeout=PATIENCE) == "jobqueue-report"


def test_a_start_tells_once_of_all_names(log_store: Store, records: Records) -> None:
    jq = log_store.open(handlers=dict.fromkeys("abc", len), start=False)
    for name in "cabcab":
        jq.enqueue(Job(handler=name))
    jq.close()

    jq = log_store.open()
    jq.enqueue(Job(handler="a"))
    jq.close()

    assert messages(records) == [told("a, b, c")]


def test_characters_that_would_break_a_line_are_escaped(memory: Store, records: Records) -> None:
    """Fault 63 of docs/reliability.md."""
    jq = memory.open()
    jq.enqueue(Job(handler="x\n2026-01-01 CRITICAL \x1b[31mmoney was sent\u2028\x85größe"))
    jq.close()

    expected = r"x\n2026-01-01 CRITICAL \x1b[31mmoney was sent\u2028\x85größe"
    assert messages(records) == [told(expected)]


def test_beyond_ten_records_a_minute_names_are_gathered_for_its_end(
    memory: Store, records: Records, clock: ManualClock
) -> None:
    """Fault 63 of docs/reliability.md."""
    jq = memory.open(clock=clock)
    names = [f"{number:03}" for number in range(40)]
    for name in names:
        jq.enqueue(Job(handler=name))
    assert [records.next().getMessage() for _ in range(10)] == [told(each) for each in names[:10]]
    assert records.rest() == []

    jq.register("020", len)
    clock.advance(60)
    gathered = [name for name in names[10:] if name != "020"]
    assert records.next().getMessage() == told(", ".join(gathered))

    jq.enqueue(Job(handler="new"))
    assert records.next().getMessage() == told("new")
    jq.close()
    assert messages(records) == []


def test_close_tells_of_the_names_that_were_gathered(memory: Store, records: Records) -> None:
    jq = memory.open(queue_size=2000)
    for number in range(2000):
        jq.enqueue(Job(handler=f"tenant-{number:05}.sync"))
    jq.close()

    told_of = messages(records)
    assert len(told_of) == 11
    assert told_of[-1].endswith("and 1932 more; register them to run the jobs")
    assert sum(map(len, told_of)) < 5000


def test_a_name_of_one_record_may_be_longer_than_all_are_to_be(
    memory: Store, records: Records
) -> None:
    jq = memory.open()
    jq.enqueue(Job(handler="\x00" * 255))
    jq.close()

    assert messages(records) == [told(r"\x00" * 255)]


def test_names_without_jobs_leave_nothing_behind(memory: Store) -> None:
    jq = memory.open()
    for number in range(100):
        jq.enqueue(Job(id=str(number), handler=f"name-{number}"))
        jq.cancel(str(number))

    assert insides.parked_names(jq) == []
    assert jq.metrics().oldest_wait == 0.0


def test_the_job_that_has_waited_longest_for_its_handler_counts_in_the_metrics(
    memory: Store, clock: ManualClock
) -> None:
    jq = memory.open(clock=clock)
    for id, priority in itertools.product("ab", Priority):
        jq.enqueue(Job(id=f"{id}{priority.name}", handler=id, priority=priority))
        clock.advance(1)
    jq.cancel("aHIGH")

    waits = {each: jq.metrics().by_priority[each].oldest_wait for each in Priority}
    assert waits == {Priority.HIGH: 3, Priority.MEDIUM: 5, Priority.LOW: 4}
