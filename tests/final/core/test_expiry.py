"""Jobs that expire: one that has not started in time is cancelled, whoever comes to it or not."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from jobqueue.final import Job, JobCancelledError, JobQueue, Limit, Priority, Rate, Status, Unique
from jobqueue.final.testing import ManualClock, run_all
from tests.support import insides
from tests.support.handlers import Recorder
from tests.support.queues import Attempts, Store, every_log, every_store, until
from tests.support.ties import check_rest, check_whole
from tests.support.waiting import PATIENCE


def open_waiting(store: Store, clock: ManualClock, **settings: Any) -> JobQueue:
    return store.open(len, start=False, clock=clock, **settings)


@every_store
def test_a_job_that_has_not_started_in_time_is_cancelled_and_says_so(
    store: Store, clock: ManualClock
) -> None:
    jq = open_waiting(store, clock)
    handle = jq.enqueue(Job(id="late", expires=5.0))
    clock.advance(4.999)
    assert handle.status is Status.QUEUED

    clock.advance(0.001)

    assert jq.status("late") is Status.CANCELLED
    assert jq.info("late").last_error == "expired after 5 s"
    assert jq.info("late").last_traceback is None
    with pytest.raises(JobCancelledError, match=r"'late' was cancelled.*: expired after 5 s"):
        handle.result(0)
    metrics = jq.metrics()
    assert (metrics.cancelled, metrics.expired, metrics.enqueued) == (1, 1, 1)
    check_rest(jq)
    jq.close(PATIENCE)
    if store.kind != "memory":
        again = open_waiting(store, clock)
        assert again.status("late") is Status.CANCELLED
        assert again.info("late").last_error == "expired after 5 s"
        with pytest.raises(JobCancelledError, match="expired after 5 s"):
            again.handle("late").result(0)


def test_those_that_wait_for_it_are_cancelled_when_the_move_of_the_clock_returns(
    memory: Store, clock: ManualClock
) -> None:
    jq = open_waiting(memory, clock)
    jq.enqueue(Job(id="late", expires=5.0))
    child = jq.enqueue(Job(id="child", after=["late"]))
    grandchild = jq.enqueue(Job(after=[child]))

    clock.advance(5.0)

    assert [child.status, grandchild.status] == [Status.CANCELLED] * 2
    assert jq.info(grandchild.id).last_error == "job 'child', which it waits for, was cancelled"
    check_rest(jq)


def test_the_time_counts_from_enqueue(memory: Store, clock: ManualClock) -> None:
    jq = open_waiting(memory, clock)
    job = Job(expires=5.0)
    clock.advance(100.0)
    handle = jq.enqueue(job)
    clock.advance(4.0)
    assert handle.status is Status.QUEUED


def test_one_that_was_cancelled_by_a_caller_is_not_counted_as_expired(
    memory: Store, clock: ManualClock
) -> None:
    jq = open_waiting(memory, clock)
    jq.enqueue(Job(expires=5.0)).cancel()
    clock.advance(10.0)
    metrics = jq.metrics()
    assert (metrics.cancelled, metrics.expired) == (1, 0)
    check_rest(jq)


def test_also_while_the_queue_is_paused(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(len, clock=clock)
    jq.pause()
    handle = jq.enqueue(Job(expires=5.0))
    clock.advance(5.0)
    assert handle.status is Status.CANCELLED
    check_rest(jq)


def test_in_real_time_by_the_timer_alone(memory: Store) -> None:
    jq = memory.open(len, start=False)
    handle = jq.enqueue(Job(expires=0.01))
    assert handle.wait(PATIENCE) is Status.CANCELLED
    check_rest(jq)


@pytest.mark.parametrize("at_work", ["running", "to be retried"])
def test_one_that_has_started_is_left_alone(
    memory: Store, clock: ManualClock, at_work: str
) -> None:
    blocker = memory.blocker()
    attempts = Attempts(ValueError(), None)
    jq = memory.open(
        blocker if at_work == "running" else attempts, clock=clock, base_delay=50, max_delay=50
    )
    handle = jq.enqueue(Job(expires=5.0))
    if at_work == "running":
        blocker.await_entered()
    else:
        until(handle, Status.SCHEDULED)
    clock.advance(10.0)
    assert handle.status in (Status.PROCESSING, Status.SCHEDULED)
    check_whole(jq)
    blocker.gate.set()
    clock.advance(50.0)
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert jq.metrics().expired == 0


@pytest.mark.parametrize("waits", ["delay", "handler", "job", "limit", "rate", "worker"])
def test_whatever_it_waits_for(memory: Store, clock: ManualClock, waits: str) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker, clock=clock, num_workers=2, queue_size=4)
    jq.register("limited", blocker, limit=Limit(1))
    jq.register("rated", lambda payload: None, rate=Rate(1, per=1e6))
    if waits in ("limit", "job", "worker"):
        parent = jq.enqueue(Job(handler="limited"))
        blocker.await_entered()
    if waits == "worker":
        jq.enqueue(Job())
        blocker.await_entered()
    if waits == "rate":
        assert jq.enqueue(Job(handler="rated")).wait(PATIENCE)
    options: dict[str, Any] = {
        "handler": {"handler": "nobody"},
        "limit": {"handler": "limited"},
        "rate": {"handler": "rated"},
    }.get(waits, {})
    if waits == "job":
        options = {"after": [parent]}
    handle = jq.enqueue(Job(expires=5.0, **options), delay=50.0 if waits == "delay" else 0.0)
    jq.metrics()
    check_whole(jq)

    clock.advance(5.0)

    assert handle.status is Status.CANCELLED
    check_whole(jq)
    blocker.gate.set()
    clock.advance(100.0)
    assert jq.join(PATIENCE)
    check_rest(jq)


def test_its_place_in_the_lane_is_free_again(memory: Store, clock: ManualClock) -> None:
    jq = open_waiting(memory, clock, queue_size=1)
    jq.enqueue(Job(expires=5.0))
    clock.advance(5.0)
    jq.enqueue(Job(), timeout=0)


def test_its_callbacks_are_called_by_the_thread_that_moves_the_clock(
    memory: Store, clock: ManualClock
) -> None:
    threads: list[threading.Thread] = []
    handle = open_waiting(memory, clock).enqueue(Job(expires=5.0))
    handle.add_done_callback(lambda _: threads.append(threading.current_thread()))
    clock.advance(5.0)
    assert threads == [threading.current_thread()]


def test_those_after_it_and_those_who_wait_for_it_are_told(
    memory: Store, clock: ManualClock
) -> None:
    jq = open_waiting(memory, clock)
    told = threading.Event()
    handle = jq.enqueue(Job(id="late", expires=5.0, key="k", unique=Unique()))
    handle.add_done_callback(lambda _: told.set())
    child = jq.enqueue(Job(id="child", after=[handle]))
    clock.advance(5.0)
    assert told.wait(PATIENCE)
    assert child.wait(PATIENCE) is Status.CANCELLED
    assert jq.info("child").last_error == "job 'late', which it waits for, was cancelled"
    assert not jq.enqueue(Job(key="k", unique=Unique()), delay=1.0).existing


def test_many_in_one_call(store: Store, clock: ManualClock) -> None:
    jq = open_waiting(store, clock)
    handles = jq.enqueue_many([Job(expires=float(number)) for number in range(1, 200)])
    clock.advance(100.0)
    expired = [each for each in handles if each.status is Status.CANCELLED]
    assert len(expired) == 100 == jq.metrics().expired
    check_whole(jq)


@pytest.mark.parametrize("expires", [0, 10**400, 1e300, 1e-9, True])
def test_extreme_times_are_taken_or_refused_and_harm_no_queue(
    log_store: Store, clock: ManualClock, expires: Any
) -> None:
    jq = open_waiting(log_store, clock)
    if expires is True:
        with pytest.raises(TypeError, match="expires must be a number of seconds"):
            Job(expires=expires)
        return
    handle = jq.enqueue(Job(expires=expires))
    clock.advance(1.0)
    jq.flush()
    assert handle.status is (Status.CANCELLED if expires < 1 else Status.QUEUED)
    check_whole(jq)
    jq.close(PATIENCE)
    again = open_waiting(log_store, clock)
    assert again.status(handle.id) is handle.status
    check_whole(again)


# ── restarts ─────────────────────────────────────────────────────────────────────────────────


@every_log
def test_the_time_goes_on_over_a_restart(log_store: Store, clock: ManualClock) -> None:
    jq = open_waiting(log_store, clock)
    handle = jq.enqueue(Job(expires=10.0))
    clock.advance(4.0)
    jq.close(PATIENCE)
    clock.advance(4.0)

    again = open_waiting(log_store, clock)
    assert again.handle(handle.id).job.expires == 10.0
    check_whole(again)
    clock.advance(1.999)
    assert again.status(handle.id) is Status.QUEUED
    clock.advance(0.001)
    assert again.status(handle.id) is Status.CANCELLED
    assert again.info(handle.id).last_error == "expired after 10 s"
    check_rest(again)


def test_one_whose_time_passed_while_no_queue_was_open_is_counted(
    log_store: Store, clock: ManualClock
) -> None:
    jq = open_waiting(log_store, clock)
    jq.register("work", len)
    jq.enqueue(Job(id="late", handler="work", expires=5.0))
    jq.enqueue(Job(id="after it", priority=Priority.LOW, after=["late"]))
    jq.close(PATIENCE)
    clock.advance(60.0)

    metrics = log_store.open(handlers={"work": len}, start=False, clock=clock).metrics()

    counts = (metrics.enqueued, metrics.cancelled, metrics.expired)
    assert counts == (2, 2, 1)
    work = metrics.by_handler["work"].by_priority[Priority.MEDIUM]
    assert (work.enqueued, work.cancelled, work.expired) == (1, 1, 1)
    low = metrics.by_priority[Priority.LOW]
    assert (low.enqueued, low.cancelled, low.expired) == (1, 1, 0)


@pytest.mark.parametrize("manual", [True, False])
def test_one_whose_time_passed_while_no_queue_was_open_does_not_run(
    log_store: Store, clock: ManualClock, manual: bool
) -> None:
    recorder = Recorder()
    jq = log_store.open(recorder, start=False, clock=clock if manual else ManualClock(1e9))
    ids = [jq.enqueue(Job(expires=5.0)).id for _ in range(50)]
    child = jq.enqueue(Job(after=[ids[0]]))
    jq.close(PATIENCE)
    clock.advance(60.0)

    again = log_store.open(recorder, clock=clock if manual else None, num_workers=4)

    assert {again.status(each) for each in ids} == {Status.CANCELLED}
    assert again.info(ids[0]).last_error == "expired after 5 s"
    assert recorder.ids() == []
    until(again.handle(child.id), Status.CANCELLED)
    check_rest(again)


def test_if_the_wall_clock_was_set_back_it_has_no_longer_than_it_had(
    log_store: Store, clock: ManualClock
) -> None:
    jq = open_waiting(log_store, clock)
    handle = jq.enqueue(Job(expires=10.0))
    jq.close(PATIENCE)
    back = ManualClock(clock.time() - 1e6)
    again = open_waiting(log_store, back)
    back.advance(9.999)
    assert again.status(handle.id) is Status.QUEUED
    back.advance(0.001)
    assert again.status(handle.id) is Status.CANCELLED


@every_log
def test_one_that_had_started_is_left_alone_after_a_restart(
    log_store: Store, clock: ManualClock
) -> None:
    jq = log_store.open(Attempts(ValueError()), clock=clock, base_delay=50, max_delay=50)
    handle = until(jq.enqueue(Job(expires=5.0)), Status.SCHEDULED)
    jq.close(PATIENCE)
    again = open_waiting(log_store, clock)
    clock.advance(50.0)
    assert again.status(handle.id) is Status.QUEUED
    run_all(again)
    assert again.status(handle.id) is Status.COMPLETED


@every_store
def test_a_requeued_job_does_not_expire(store: Store, clock: ManualClock) -> None:
    jq = store.open(Attempts(ValueError(), None), clock=clock, max_retries=0)
    handle = jq.enqueue(Job(expires=5.0))
    assert handle.wait(PATIENCE) is Status.FAILED
    jq.pause()
    jq.requeue(handle.id)
    clock.advance(50.0)
    assert jq.status(handle.id) is Status.QUEUED
    jq.close(PATIENCE, drain=False)
    if store.kind != "memory":
        again = open_waiting(store, clock)
        clock.advance(50.0)
        assert again.status(handle.id) is Status.QUEUED


def test_a_worker_that_comes_to_it_after_its_time_does_not_start_it(
    memory: Store, clock: ManualClock
) -> None:
    # 1. Time passes, and the timer has not come to the job yet. 2. A worker takes the next job.
    recorder = Recorder()
    jq = memory.open(recorder, clock=clock)
    jq.pause()
    handle = jq.enqueue(Job(expires=5.0))
    with insides.held(insides.timer(jq)):
        insides.move(clock, 5.0)
        jq.resume()
        other = jq.enqueue(Job())
        assert other.wait(PATIENCE) is Status.COMPLETED
    clock.advance(0.0)
    assert handle.status is Status.CANCELLED
    assert recorder.ids() == [other.id]
    check_rest(jq)
