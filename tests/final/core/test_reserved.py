"""Workers that are reserved for High: Medium and Low together never hold them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from jobqueue.final import Config, ConfigError, Job, JobContext, JobQueue, Limit, Priority, Status
from jobqueue.final.testing import ManualClock, run_all
from tests.support.handlers import Blocker
from tests.support.queues import Store, fill, until
from tests.support.ties import check_rest
from tests.support.waiting import PATIENCE, eventually

HIGH, MEDIUM, LOW = Priority
THREE_JOBS = 3


class Gauge:
    """Measures how many attempts of lower lanes go on at a time; those that are held say so."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()  # guards them both

    def __call__(self, _payload: bytes, context: JobContext) -> None:
        is_lower = context.job.priority is not HIGH
        with self._lock:
            self._now += is_lower
            self.most = max(self.most, self._now)
        threading.Event().wait(0.001)
        with self._lock:
            self._now -= is_lower


@pytest.mark.parametrize("reserved", [1, 2, 3])
def test_lower_lanes_never_hold_more_workers_than_are_not_reserved(
    memory: Store, reserved: int
) -> None:
    gauge = Gauge()
    jq = memory.open(gauge, num_workers=4, reserved_workers=reserved, queue_size=200)
    for number in range(240):
        jq.enqueue(Job(priority=Priority(number % 3)))
    assert jq.join(PATIENCE)
    assert gauge.most == 4 - reserved
    check_rest(jq)


def test_a_high_job_never_waits_for_a_long_low_one(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(len, num_workers=3, reserved_workers=1)
    jq.register("long", blocker)
    for priority in (LOW, MEDIUM, LOW, MEDIUM):
        jq.enqueue(Job(handler="long", priority=priority))
    blocker.await_entered(2)
    for _ in range(20):
        assert jq.enqueue(Job(priority=HIGH)).wait(PATIENCE) is Status.COMPLETED
    assert jq.metrics().queued == 2
    blocker.gate.set()
    assert jq.join(PATIENCE)
    check_rest(jq)


def test_high_may_hold_all_workers(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker, num_workers=3, reserved_workers=2)
    fill(jq, 3, HIGH)
    blocker.await_entered(3)
    low = jq.enqueue(Job(priority=LOW))
    blocker.gate.set()
    assert low.wait(PATIENCE) is Status.COMPLETED


def test_without_reserved_workers_low_may_hold_all(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker, num_workers=3)
    fill(jq, 3, LOW)
    blocker.await_entered(3)


def test_a_low_job_starts_as_soon_as_a_worker_is_free_for_it(memory: Store) -> None:
    blockers = [memory.blocker() for _ in range(2)]
    jq = memory.open(len, num_workers=2, reserved_workers=1)
    jq.register("first", blockers[0])
    jq.register("second", blockers[1])
    jq.enqueue(Job(handler="first", priority=LOW))
    blockers[0].await_entered()
    second = jq.enqueue(Job(handler="second", priority=MEDIUM))
    assert jq.enqueue(Job(priority=HIGH)).wait(PATIENCE) is Status.COMPLETED
    assert second.status is Status.QUEUED
    blockers[0].gate.set()
    blockers[1].await_entered()


@pytest.mark.parametrize("outcome", ["returns", "raises", "is cancelled"])
def test_however_the_attempt_ends_the_worker_is_free_again(memory: Store, outcome: str) -> None:
    blocker = memory.blocker(None if outcome == "returns" else ValueError())
    jq = memory.open(len, num_workers=2, reserved_workers=1, max_retries=0)
    jq.register("work", blocker)
    first = jq.enqueue(Job(handler="work", priority=LOW))
    blocker.await_entered()
    second = jq.enqueue(Job(priority=LOW))
    if outcome == "is cancelled":
        first.cancel()
    assert jq.enqueue(Job(priority=HIGH)).wait(PATIENCE) is Status.COMPLETED
    assert second.status is Status.QUEUED
    blocker.gate.set()
    assert second.wait(PATIENCE) is Status.COMPLETED
    check_rest(jq) if jq.join(PATIENCE) else pytest.fail("it does not come to rest")


def test_an_attempt_that_overruns_and_is_stood_in_for_holds_no_worker(
    memory: Store, clock: ManualClock
) -> None:
    blocker = memory.blocker()
    jq = memory.open(len, num_workers=2, reserved_workers=1, clock=clock, max_retries=0)
    jq.register("long", blocker, timeout=1.0)
    jq.enqueue(Job(handler="long", priority=LOW))
    blocker.await_entered()
    waiting = jq.enqueue(Job(priority=LOW))
    clock.advance(1.0)
    assert waiting.wait(PATIENCE) is Status.COMPLETED
    blocker.gate.set()
    assert jq.join(PATIENCE)
    check_rest(jq)


def test_one_that_waits_for_a_job_of_its_lane_is_stood_in_for(memory: Store) -> None:
    jq = memory.open(len, num_workers=2, reserved_workers=1)

    def waits(_payload: bytes) -> int:
        result = jq.enqueue(Job(b"abc", priority=LOW)).result(PATIENCE)
        assert isinstance(result, int)
        return result

    jq.register("waits", waits)
    assert jq.enqueue(Job(handler="waits", priority=LOW)).result(PATIENCE) == 3
    assert jq.join(PATIENCE)
    check_rest(jq)


def test_with_limits_too(memory: Store) -> None:
    gauge = Gauge()
    jq = memory.open(num_workers=4, reserved_workers=1, queue_size=500)
    jq.register("work", gauge, limit=Limit(2))
    jq.register("free", gauge.__call__)
    for number in range(150):
        jq.enqueue(Job(handler=("work", "free")[number % 2], priority=Priority(number % 3)))
    assert jq.join(PATIENCE)
    assert gauge.most <= 3
    check_rest(jq)


def test_run_all_has_one_worker_of_those_that_are_not_reserved(memory: Store) -> None:
    jq = memory.open(len, start=False, num_workers=2, reserved_workers=1)
    handles = [jq.enqueue(Job(priority=each)) for each in (LOW, MEDIUM, HIGH)]
    run_all(jq)
    assert {each.status for each in handles} == {Status.COMPLETED}


def test_in_coroutines_too() -> None:
    most = now = 0

    async def handler(_payload: bytes, context: JobContext) -> None:
        nonlocal most, now
        is_lower = context.job.priority is not HIGH
        now += is_lower
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= is_lower

    async def main() -> None:
        config = Config(executor="asyncio", num_workers=8, reserved_workers=5)
        async with JobQueue(config, handler=handler) as jq:
            for number in range(120):
                await jq.aenqueue(Job(priority=Priority(number % 3)))
            assert await jq.ajoin(PATIENCE)
            check_rest(jq)

    asyncio.run(main())
    assert most == THREE_JOBS


def test_replayed_jobs_go_by_it(log_store: Store) -> None:
    blocker: Blocker = log_store.blocker()
    jq = log_store.open(blocker, start=False)
    fill(jq, 4, LOW)
    jq.close(PATIENCE)
    again = log_store.open(blocker, num_workers=3, reserved_workers=2)
    blocker.await_entered(1)
    high = again.enqueue(Job(priority=HIGH))
    blocker.await_entered(1)
    until(high, Status.PROCESSING)
    assert again.metrics().processing == 2
    assert eventually(lambda: again.metrics().queued == 3)


@pytest.mark.parametrize("wrong", [-1, 4, 5, 10**30])
def test_as_many_as_there_are_workers_are_refused(wrong: int) -> None:
    with pytest.raises(ConfigError, match="reserved_workers"):
        Config(num_workers=4, reserved_workers=wrong)
    assert Config(num_workers=4, reserved_workers=3).reserved_workers == 3


@pytest.mark.parametrize("wrong", ["1", 1.5, True, None])
def test_what_is_no_whole_number_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="reserved_workers"):
        Config(reserved_workers=wrong)
