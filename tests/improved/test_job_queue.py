"""The queue while it is open: enqueue, backpressure, priority, retry, metrics."""

from __future__ import annotations

import logging
import math
import threading
import weakref
from functools import partial
from typing import Any

import pytest

from jobqueue.improved import EnqueueTimeoutError, Job, JobQueue, Metrics, Priority
from tests.improved.rig import PATIENCE, Rig
from tests.support import insides
from tests.support.records import log_handler_that_raises
from tests.support.waiting import eventually_freed

HIGH, MEDIUM, LOW = Priority


# --- enqueue ------------------------------------------------------------------------------


def test_enqueue_has_the_job_run_once(rig: Rig) -> None:
    jq = rig.open()
    jq.enqueue(rig.job("a"))
    jq.close()

    assert rig.next_ran(1) == ["a"]
    assert rig.ran.empty()


def test_enqueue_takes_a_job_again_as_another_one(rig: Rig) -> None:
    jq = rig.open()
    job = rig.job("a")
    jq.enqueue(job)
    jq.enqueue(job)

    assert rig.next_ran(2) == ["a", "a"]


def test_enqueue_may_be_called_from_a_handler(rig: Rig) -> None:
    jq = rig.open(num_workers=1)
    jq.enqueue(Job("outer", partial(jq.enqueue, rig.job("inner"))))

    assert rig.next_ran(1) == ["inner"]


@pytest.mark.parametrize("thing", [None, "job", print])
def test_enqueue_refuses_what_is_no_job(rig: Rig, thing: Any) -> None:
    with pytest.raises(TypeError, match="enqueue takes a Job, not "):
        rig.open().enqueue(thing)


@pytest.mark.parametrize("timeout", [-1, math.nan])
def test_enqueue_refuses_a_timeout_that_is_no_length_of_time(rig: Rig, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be None or a number from 0 up"):
        rig.open().enqueue(rig.job("a"), timeout=timeout)


def test_a_queue_without_config_has_the_default_one() -> None:
    with JobQueue() as jq:
        assert len(insides.worker_threads(jq)) == 4


def test_as_many_jobs_run_at_once_as_there_are_workers(rig: Rig) -> None:
    jq = rig.open(num_workers=3)
    together = threading.Barrier(3 + 1)

    for n in range(3):
        jq.enqueue(Job(str(n), partial(together.wait, PATIENCE)))

    together.wait(PATIENCE)  # broken unless all three handlers are in it as well


# --- backpressure -------------------------------------------------------------------------


def test_backpressure_blocks_a_producer_until_a_worker_takes_a_job(rig: Rig) -> None:
    jq = rig.open(num_workers=1, queue_size=2)
    rig.hold(jq)
    jq.enqueue(rig.job("a"))
    jq.enqueue(rig.job("b"))
    blocked = rig.waits(insides.room(jq, MEDIUM))
    call = rig.call(jq.enqueue, rig.job("c"))

    assert blocked.get(timeout=PATIENCE) is None  # it waits, without a timeout
    assert not call.done()
    rig.gate.set()
    call.result(PATIENCE)
    assert rig.next_ran(3) == ["a", "b", "c"]


def test_backpressure_times_out_and_the_job_never_runs(rig: Rig) -> None:
    jq = rig.open(num_workers=1, queue_size=1)
    rig.hold(jq)
    jq.enqueue(rig.job("a"))

    with pytest.raises(
        TimeoutError, match=r"'b' was refused: the MEDIUM lane stayed full \(1 jobs\)"
    ) as raised:
        jq.enqueue(rig.job("b"), timeout=0.01)
    rig.gate.set()
    jq.close()

    assert raised.type is EnqueueTimeoutError
    assert rig.next_ran(1) == ["a"]
    assert rig.ran.empty()


def test_backpressure_with_timeout_zero_never_waits(rig: Rig) -> None:
    jq = rig.open(num_workers=1, queue_size=1)
    rig.hold(jq)
    jq.enqueue(rig.job("a"), timeout=0)

    with pytest.raises(EnqueueTimeoutError):
        jq.enqueue(rig.job("b"), timeout=0)


@pytest.mark.parametrize("timeout", [math.inf, 10**400])
def test_backpressure_may_wait_for_ever(rig: Rig, timeout: float) -> None:
    jq = rig.open(num_workers=1, queue_size=1)
    rig.hold(jq)
    jq.enqueue(rig.job("a"))
    blocked = rig.waits(insides.room(jq, MEDIUM))
    call = rig.call(jq.enqueue, rig.job("b"), timeout=timeout)
    blocked.get(timeout=PATIENCE)
    rig.gate.set()

    call.result(PATIENCE)
    assert rig.next_ran(2) == ["a", "b"]


def test_backpressure_in_one_lane_leaves_the_others_open(rig: Rig) -> None:
    jq = rig.open(num_workers=1, queue_size=1)
    rig.hold(jq)

    for priority in Priority:
        jq.enqueue(rig.job(priority.name, priority), timeout=0)


def test_backpressure_lets_every_blocked_producer_in_at_last(rig: Rig) -> None:
    jq = rig.open(num_workers=2, queue_size=1)
    rig.hold(jq, workers=2)
    names = [str(n) for n in range(20)]
    calls = [rig.call(jq.enqueue, rig.job(name)) for name in names]
    rig.gate.set()

    for call in calls:
        call.result(PATIENCE)
    assert sorted(rig.next_ran(20)) == sorted(names)


# --- priority -----------------------------------------------------------------------------


def test_priority_high_goes_before_medium_before_low(rig: Rig) -> None:
    jq = rig.open(num_workers=1)
    rig.hold(jq)
    for name in ("a", "b"):
        for priority in (LOW, MEDIUM, HIGH):
            jq.enqueue(rig.job(f"{priority.name} {name}", priority))
    rig.gate.set()

    assert rig.next_ran(6) == ["HIGH a", "HIGH b", "MEDIUM a", "MEDIUM b", "LOW a", "LOW b"]


def test_priority_keeps_the_order_within_a_lane(rig: Rig) -> None:
    jq = rig.open(num_workers=1)
    names = [str(n) for n in range(100)]
    for name in names:
        jq.enqueue(rig.job(name))

    assert rig.next_ran(100) == names


def test_priority_puts_a_due_retry_before_its_lane_and_behind_the_higher_ones(rig: Rig) -> None:
    jq = rig.frozen(num_workers=1)
    jq.enqueue(rig.failing("retry", times=1))
    rig.await_metrics(jq, lambda m: m.retried == 1)
    rig.hold(jq)
    for priority in (LOW, MEDIUM, HIGH):
        jq.enqueue(rig.job(priority.name, priority))
    rig.advance(1.0)
    rig.gate.set()

    assert rig.next_ran(5) == ["retry", "HIGH", "retry", "MEDIUM", "LOW"]


# --- retry --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("max_retries", "delays"), [(3, [1.0, 2.0, 4.0]), (4, [1.0, 2.0, 4.0, 8.0])]
)
def test_retry_waits_twice_as_long_each_time_and_then_gives_up(
    rig: Rig, max_retries: int, delays: list[float]
) -> None:
    jq = rig.frozen(num_workers=1, max_retries=max_retries)
    jq.enqueue(rig.failing("a"))
    for n, delay in enumerate(delays, start=1):
        rig.await_metrics(jq, lambda m, n=n: m.retried == n)  # type: ignore[misc] # n: bound now
        assert rig.next_ran(1) == ["a"]
        rig.advance(delay - 0.001)
        jq.enqueue(rig.job("too early for a"))
        assert rig.next_ran(1) == ["too early for a"]
        rig.advance(0.001)

    rig.await_metrics(jq, lambda m: m.failed == 1)
    assert rig.next_ran(1) == ["a"]
    assert rig.ran.empty()


def test_retry_ends_with_the_first_success(rig: Rig) -> None:
    jq = rig.open(base_delay=0.001)
    jq.enqueue(rig.failing("a", times=2))

    metrics = rig.await_metrics(jq, lambda m: m.completed == 1)
    assert metrics == Metrics(queued=0, processing=0, completed=1, failed=0, retried=2)
    assert rig.next_ran(3) == ["a", "a", "a"]


def test_retry_can_be_turned_off(rig: Rig) -> None:
    jq = rig.frozen(max_retries=0)
    jq.enqueue(rig.failing("a"))

    metrics = rig.await_metrics(jq, lambda m: m.failed == 1)
    assert metrics.retried == 0


def test_retry_takes_no_room_and_no_worker_while_it_waits(rig: Rig) -> None:
    jq = rig.frozen(num_workers=1, queue_size=1)
    for n in range(5):
        jq.enqueue(rig.failing(str(n)))
        rig.await_metrics(jq, lambda m, n=n: m.retried == n + 1)  # type: ignore[misc] # n: bound now
    rig.next_ran(5)

    jq.enqueue(rig.job("new"), timeout=0)
    assert rig.next_ran(1) == ["new"]


def test_retry_enters_while_its_lane_is_full(rig: Rig) -> None:
    jq = rig.frozen(num_workers=1, queue_size=1)
    jq.enqueue(rig.failing("retry", times=1))
    rig.await_metrics(jq, lambda m: m.retried == 1)
    rig.hold(jq)
    jq.enqueue(rig.job("fills the lane"))
    rig.advance(1.0)
    rig.gate.set()

    assert rig.next_ran(3) == ["retry", "retry", "fills the lane"]


def test_retry_wakes_a_worker_by_itself(rig: Rig) -> None:
    jq = rig.open(num_workers=1, base_delay=0.01)
    jq.enqueue(rig.failing("a", times=1))

    assert rig.next_ran(2) == ["a", "a"]


def test_retry_makes_every_idle_worker_sleep_no_longer_than_until_it_is_due(rig: Rig) -> None:
    """Or the retry waits, while others sleep, for the one worker that knew of it:

    1. Worker A fails a job, schedules the retry and sleeps until that is due.
    2. A job comes. A is notified, and its handler runs for an hour.
    3. The retry is due. The workers B and C sleep on.
    """
    jq = rig.frozen(num_workers=3, base_delay=64.0)
    slept = rig.waits(insides.work(jq))
    jq.enqueue(rig.failing("a"))

    timeouts = [slept.get(timeout=PATIENCE) for _ in range(3)]
    while None in timeouts:  # from a worker that had not yet come to sleep for the first time
        timeouts.remove(None)
        timeouts.append(slept.get(timeout=PATIENCE))
    assert timeouts == [64.0, 64.0, 64.0]


@pytest.mark.parametrize("longest", [1e300, 10**300])
def test_retry_may_be_due_in_all_eternity(rig: Rig, longest: float) -> None:
    jq = rig.frozen(num_workers=1, base_delay=longest)
    slept = rig.waits(insides.work(jq))
    jq.enqueue(rig.failing("a"))
    while slept.get(timeout=PATIENCE) is None:
        pass  # the worker had not yet come to sleep for the first time
    jq.enqueue(rig.job("b"))

    assert rig.next_ran(2) == ["a", "b"]  # the worker lives


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_retry_follows_whatever_a_handler_raises_and_the_worker_lives_on(
    rig: Rig, raised: type[BaseException]
) -> None:
    jq = rig.open(num_workers=1, base_delay=0.0, max_retries=2)

    def fail() -> None:
        rig.ran.put("bad")
        raise raised

    jq.enqueue(Job("bad", fail))
    assert rig.await_metrics(jq, lambda m: m.failed == 1).retried == 2
    jq.enqueue(rig.job("good"))
    assert rig.next_ran(4) == ["bad", "bad", "bad", "good"]


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt])
def test_retry_follows_whatever_a_log_handler_raises_and_the_worker_lives_on(
    rig: Rig, raised: type[BaseException]
) -> None:
    with log_handler_that_raises(raised):
        jq = rig.open(num_workers=1, base_delay=0.0, max_retries=2)
        jq.enqueue(Job("bad", lambda: 1 // 0))
        assert rig.await_metrics(jq, lambda m: m.failed == 1).retried == 2
        jq.enqueue(rig.job("good"))
        assert rig.next_ran(1) == ["good"]


def test_each_failed_attempt_is_logged_with_its_traceback(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    jq = rig.open(base_delay=0.0, max_retries=1)
    with caplog.at_level(logging.ERROR, logger="jobqueue"):
        jq.enqueue(rig.failing("invoice-7"))
        jq.close()

    assert [record.getMessage() for record in caplog.records] == [
        "job 'invoice-7' failed in attempt 1 of 2",
        "job 'invoice-7' failed in attempt 2 of 2",
    ]
    for record in caplog.records:
        assert record.name == "jobqueue"
        assert record.exc_info is not None
        assert record.exc_info[0] is ConnectionError


# --- metrics ------------------------------------------------------------------------------


def test_metrics_count_every_job_where_it_is(rig: Rig) -> None:
    jq = rig.frozen(num_workers=1, max_retries=1)
    jq.enqueue(rig.job("completes"))
    jq.enqueue(rig.failing("fails"))
    rig.await_metrics(jq, lambda m: m.retried == 1)
    rig.advance(1.0)
    rig.await_metrics(jq, lambda m: m.failed == 1)
    jq.enqueue(rig.failing("waits for its retry"))
    rig.await_metrics(jq, lambda m: m.retried == 2)
    rig.hold(jq)
    jq.enqueue(rig.job("waits in its lane"))

    assert jq.metrics() == Metrics(queued=2, processing=1, completed=1, failed=1, retried=2)


def test_metrics_of_an_unused_queue_are_zero(rig: Rig) -> None:
    assert rig.open().metrics() == Metrics(0, 0, 0, 0, 0)


# --- workers ------------------------------------------------------------------------------


def test_an_idle_worker_sleeps_until_it_is_woken(rig: Rig) -> None:
    jq = rig.open(num_workers=1)
    slept = rig.waits(insides.work(jq))
    jq.enqueue(rig.job("a"))
    rig.next_ran(1)

    assert slept.get(timeout=PATIENCE) is None  # no timeout: it does not look up by itself


def test_an_idle_worker_keeps_no_finished_job_alive(rig: Rig) -> None:
    class Payload:
        def handle(self) -> None: ...

    jq = rig.open(num_workers=1)
    slept = rig.waits(insides.work(jq))
    payload = Payload()
    dead = threading.Event()
    weakref.finalize(payload, dead.set)
    jq.enqueue(Job("a", payload.handle))
    slept.get(timeout=PATIENCE)
    del payload

    assert eventually_freed(dead.is_set)
