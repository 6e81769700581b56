"""Limits and rates: how many attempts go on, or begin, and that no other job is in the way."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    EnqueueTimeoutError,
    Job,
    JobContext,
    JobHandle,
    JobQueue,
    Limit,
    Priority,
    Rate,
    Status,
)
from jobqueue.final.testing import ManualClock, run_all
from tests.support import insides
from tests.support.handlers import Recorder
from tests.support.queues import Attempts, Store, every_log, every_store
from tests.support.ties import check_rest, check_whole
from tests.support.waiting import PATIENCE, eventually


class Gauge:
    """A handler that measures how many of its attempts go on at a time, by key and in all."""

    def __init__(self, *errors: BaseException | None) -> None:
        self.most: Counter[str | None] = Counter()
        self.order: list[str] = []
        self._now: Counter[str | None] = Counter()
        self._lock = threading.Lock()  # guards them all
        self._errors = list(errors)

    def __call__(self, _payload: bytes, context: JobContext) -> None:
        keys = {context.job.key, "all"}
        with self._lock:
            self.order.append(context.job.id)
            for key in keys:
                self._now[key] += 1
                self.most[key] = max(self.most[key], self._now[key])
        threading.Event().wait(0.001)
        with self._lock:
            for key in keys:
                self._now[key] -= 1
            error = self._errors.pop() if self._errors else None
        if error is not None:
            raise error


def limited_jobs(jq: JobQueue, count: int, **options: Any) -> list[JobHandle]:
    return [jq.enqueue(Job(**{"handler": "work"} | options)) for _ in range(count)]


def started_at(recorder: Recorder) -> int:
    return len(recorder.ids())


# ── a limit ──────────────────────────────────────────────────────────────────────────────────


@every_store
@pytest.mark.parametrize("count", [1, 3])
def test_no_more_attempts_go_on_than_the_limit_says(store: Store, count: int) -> None:
    gauge = Gauge()
    jq = store.open(num_workers=6)
    jq.register("work", gauge, limit=Limit(count))
    limited_jobs(jq, 60)
    assert jq.join(PATIENCE)
    assert gauge.most["all"] == count
    check_rest(jq)


def test_a_job_that_has_to_wait_holds_no_worker_and_delays_no_other(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(len, num_workers=2)
    jq.register("work", blocker, limit=Limit(1))
    limited = limited_jobs(jq, 20, priority=Priority.HIGH)
    blocker.await_entered()

    others = [jq.enqueue(Job(priority=Priority.LOW)) for _ in range(20)]

    assert {each.wait(PATIENCE) for each in others} == {Status.COMPLETED}
    assert {each.status for each in limited[1:]} == {Status.QUEUED}
    check_whole(jq)
    blocker.gate.set()
    assert jq.join(PATIENCE)
    check_rest(jq)


def test_a_job_that_waits_is_queued_and_counted_as_limited(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(len, num_workers=2)
    jq.register("work", blocker, limit=Limit(1))
    handles = limited_jobs(jq, 3, priority=Priority.LOW)
    blocker.await_entered()
    assert jq.enqueue(Job(priority=Priority.LOW)).wait(PATIENCE) is Status.COMPLETED

    metrics = jq.metrics()

    assert (metrics.queued, metrics.limited, metrics.processing) == (2, 2, 1)
    assert metrics.by_priority[Priority.LOW].limited == 2
    assert {each.status for each in handles[1:]} == {Status.QUEUED}
    assert metrics.oldest_wait > 0


def test_it_keeps_its_place_in_the_queue_size_while_it_waits(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(num_workers=2, queue_size=3)
    jq.register("work", blocker, limit=Limit(1))
    limited_jobs(jq, 1)
    blocker.await_entered()
    limited_jobs(jq, 3)
    jq.metrics()  # has them step aside
    with pytest.raises(EnqueueTimeoutError):
        jq.enqueue(Job(handler="work"), timeout=0)
    check_whole(jq)
    blocker.gate.set()
    assert jq.enqueue(Job(handler="work")).wait(PATIENCE) is Status.COMPLETED
    assert jq.join(PATIENCE)
    check_rest(jq)


@pytest.mark.parametrize("workers", [1, 4])
def test_jobs_of_a_limit_run_in_order(memory: Store, workers: int) -> None:
    gauge = Gauge()
    jq = memory.open(num_workers=workers)
    jq.register("work", gauge, limit=Limit(1))
    ids = [each.id for each in limited_jobs(jq, 100)]
    assert jq.join(PATIENCE)
    assert gauge.order == ids


def test_within_a_line_a_higher_priority_is_served_first(memory: Store) -> None:
    gate, recorder = memory.blocker(), Recorder()
    jq = memory.open(recorder, num_workers=2, fairness=100)
    limit = Limit(1)
    jq.register("hold", gate, limit=limit)
    jq.register("work", recorder, limit=limit)
    jq.enqueue(Job(handler="hold"))
    gate.await_entered()
    for name in ("low", "medium", "high"):
        priority = Priority[name.upper()]
        jq.enqueue(Job(id=name, handler="work", priority=priority))
        assert jq.enqueue(Job(priority=priority)).wait(PATIENCE) is Status.COMPLETED
        recorder.next()
    gate.gate.set()
    assert [recorder.next().id for _ in range(3)] == ["high", "medium", "low"]


def test_within_a_line_no_lane_starves(memory: Store) -> None:
    gate, recorder = memory.blocker(), Recorder()
    jq = memory.open(recorder, num_workers=2, fairness=2)
    limit = Limit(1)
    jq.register("hold", gate, limit=limit)
    jq.register("work", recorder, limit=limit)
    jq.enqueue(Job(handler="hold"))
    gate.await_entered()
    for priority in Priority:
        for number in range(9):
            jq.enqueue(Job(id=f"{priority.name} {number}", handler="work", priority=priority))
    assert jq.enqueue(Job(priority=Priority.LOW)).wait(PATIENCE) is Status.COMPLETED
    recorder.next()
    assert jq.metrics().limited == 27
    gate.gate.set()
    order = [recorder.next().id.split()[0] for _ in range(27)]
    for lane in ("MEDIUM", "LOW"):
        first = order.index(lane)
        assert first <= 4, order
    assert order.index("LOW") < 9 > order.index("MEDIUM")
    assert jq.join(PATIENCE)
    check_rest(jq)


def test_handlers_share_a_limit_by_the_same_object(memory: Store) -> None:
    gauge, limit = Gauge(), Limit(2)
    jq = memory.open(num_workers=6)
    jq.register("work", gauge, limit=limit)
    jq.register("play", gauge.__call__, limit=limit)
    jq.register("rest", gauge, limit=limit)
    for _ in range(20):
        for name in ("work", "play", "rest"):
            jq.enqueue(Job(handler=name))
    assert jq.join(PATIENCE)
    assert gauge.most["all"] == 2
    check_rest(jq)


def test_equal_limits_that_are_two_objects_are_two(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(num_workers=4)
    for name in ("one", "two"):
        jq.register(name, blocker, limit=Limit(1))
        jq.enqueue(Job(handler=name))
    assert len(blocker.await_entered(2)) == 2


# ── by key ───────────────────────────────────────────────────────────────────────────────────


@every_store
def test_jobs_of_one_key_run_one_after_another_in_order_and_others_overtake(store: Store) -> None:
    gauge = Gauge()
    jq = store.open(num_workers=6)
    jq.register("work", gauge, limit=Limit(1, per_key=True))
    ids: dict[str, list[str]] = defaultdict(list)
    for number in range(90):
        key = "a" if number < 60 else str(number % 3)
        ids[key].append(jq.enqueue(Job(handler="work", key=key)).id)
    assert jq.join(PATIENCE)
    assert {gauge.most[key] for key in ids} == {1}
    assert gauge.most["all"] > 1
    for own in ids.values():
        assert [each for each in gauge.order if each in own] == own
    check_rest(jq)


def test_others_overtake_a_key_that_waits(memory: Store) -> None:
    blocker, recorder = memory.blocker(), Recorder()
    jq = memory.open(num_workers=2)

    def handler(payload: bytes, context: JobContext) -> None:
        (blocker if payload == b"hold" else recorder)(payload, context)

    jq.register("work", handler, limit=Limit(1, per_key=True))
    jq.enqueue(Job(b"hold", handler="work", key="a"))
    blocker.await_entered()
    limited_jobs(jq, 3, key="a")
    assert jq.enqueue(Job(handler="work", key="b")).wait(PATIENCE) is Status.COMPLETED
    assert started_at(recorder) == 1
    check_whole(jq)


def test_by_key_jobs_without_one_are_not_limited(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(num_workers=4)
    jq.register("work", blocker, limit=Limit(1, per_key=True))
    limited_jobs(jq, 4)
    blocker.await_entered(4)


def test_keys_that_nothing_waits_for_take_no_memory(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(start=False, clock=clock, queue_size=10_000)
    jq.register("work", len, limit=Limit(1, per_key=True), rate=Rate(1, per=1.0, per_key=True))
    for number in range(2000):
        jq.enqueue(Job(handler="work", key=str(number)))
        clock.advance(2.0)
        run_all(jq)
    kept = insides.count_turnstiles(jq)
    assert kept < 10, kept
    check_rest(jq)


# ── a rate ───────────────────────────────────────────────────────────────────────────────────


def test_at_most_count_start_at_a_stroke_and_the_rest_as_it_is_refilled(
    memory: Store, clock: ManualClock
) -> None:
    recorder = Recorder()
    jq = memory.open(start=False, clock=clock)
    jq.register("work", recorder, rate=Rate(10, per=60.0))
    limited_jobs(jq, 30)
    run_all(jq)
    assert started_at(recorder) == 10
    assert jq.metrics().limited == 20
    check_whole(jq)
    for _ in range(5):  # one each six seconds
        clock.advance(5.9)
        run_all(jq)
        assert started_at(recorder) == 0
        clock.advance(0.1)
        run_all(jq)
        assert started_at(recorder) == 1
        check_whole(jq)
    clock.advance(60.0)
    run_all(jq)
    assert started_at(recorder) == 10
    clock.advance(600.0)
    run_all(jq)
    assert started_at(recorder) == 5
    check_rest(jq)


def test_no_window_has_more_than_twice_as_many_and_the_long_run_no_more_than_it_says(
    memory: Store, clock: ManualClock
) -> None:
    rng = random.Random(7)
    attempts = Attempts(clock=clock)
    jq = memory.open(start=False, clock=clock, queue_size=10_000)
    jq.register("work", attempts, rate=Rate(5, per=10.0))
    for _ in range(400):
        limited_jobs(jq, rng.randrange(3))
        clock.advance(rng.choice([0.1, 0.5, 1.0, 20.0 * (rng.random() < 0.02)]))
        run_all(jq)
    times = attempts.times
    assert len(times) > 50
    for start in times:
        assert sum(start <= each < start + 10.0 for each in times) <= 10
        assert times.count(start) <= 5
    assert len(times) <= 5 + (times[-1] - times[0]) / 10.0 * 5 + 1


def test_a_rate_is_full_at_the_start_and_never_more_than_full(
    memory: Store, clock: ManualClock
) -> None:
    recorder = Recorder()
    jq = memory.open(start=False, clock=clock)
    jq.register("work", recorder, rate=Rate(2, per=1.0))
    clock.advance(1e6)
    limited_jobs(jq, 9)
    run_all(jq)
    assert started_at(recorder) == 2


def test_two_handlers_share_a_rate(memory: Store, clock: ManualClock) -> None:
    recorder, rate = Recorder(), Rate(3, per=timedelta(seconds=3))
    jq = memory.open(start=False, clock=clock)
    jq.register("work", recorder, rate=rate)
    jq.register("play", recorder.__call__, rate=rate)
    for name in ("work", "play") * 4:
        jq.enqueue(Job(handler=name))
    run_all(jq)
    assert started_at(recorder) == 3
    clock.advance(1.0)
    run_all(jq)
    assert started_at(recorder) == 1
    check_whole(jq)


def test_a_rate_by_key(memory: Store, clock: ManualClock) -> None:
    recorder = Recorder()
    jq = memory.open(start=False, clock=clock)
    jq.register("work", recorder, rate=Rate(1, per=10.0, per_key=True))
    for key in ("a", "a", "b", None, None, "a"):
        jq.enqueue(Job(handler="work", key=key))
    run_all(jq)
    assert started_at(recorder) == 4
    for _ in range(2):
        clock.advance(10.0)
        run_all(jq)
        assert started_at(recorder) == 1
    check_rest(jq)


def test_a_rate_of_fractions_wakes_by_itself(memory: Store) -> None:
    recorder = Recorder()
    jq = memory.open(num_workers=2)
    jq.register("work", recorder, rate=Rate(3, per=0.07))
    limited_jobs(jq, 12)
    assert jq.join(PATIENCE)
    assert started_at(recorder) == 12
    check_rest(jq)


def test_no_job_takes_the_token_that_another_one_has_waited_for(
    memory: Store, clock: ManualClock
) -> None:
    # 1. A token is there, and the timer has not let the job through yet that waits. 2. One comes.
    recorder = Recorder()
    jq = memory.open(len, clock=clock, num_workers=1)
    jq.register("work", recorder, rate=Rate(1, per=10.0))
    first, second = limited_jobs(jq, 2)
    assert recorder.next().id == first.id
    assert jq.enqueue(Job()).wait(PATIENCE) is Status.COMPLETED
    with insides.held(insides.timer(jq)):
        insides.move(clock, 10.0)
        (third,) = limited_jobs(jq, 1)
        assert jq.enqueue(Job(priority=Priority.LOW)).wait(PATIENCE) is Status.COMPLETED
        assert third.status is Status.QUEUED
    clock.advance(0.0)
    assert second.wait(PATIENCE) is Status.COMPLETED
    assert recorder.next().id == second.id
    check_whole(jq)


@pytest.mark.parametrize("rate", [Rate(7, per=3.0), Rate(3, per=0.001), Rate(1, per=1e9)])
def test_rates_whose_refill_is_no_whole_tick_lose_no_job(
    memory: Store, clock: ManualClock, rate: Rate
) -> None:
    recorder = Recorder()
    jq = memory.open(start=False, clock=clock)
    jq.register("work", recorder, rate=rate)
    limited_jobs(jq, 15)
    for _ in range(15):
        clock.advance(rate.per / rate.count)
        run_all(jq)
    clock.advance(rate.per)
    run_all(jq)
    assert started_at(recorder) == 15
    check_rest(jq)


@pytest.mark.parametrize(
    "rate",
    [
        Rate(10**400),
        Rate(1, per=10**400),
        Rate(10**308, per=1e-308),
        Rate(2, per=5e-324),
        Rate(1, per=timedelta.max),
    ],
    ids=["count", "per", "both", "tiny", "timedelta"],
)
def test_absurd_rates_limit_nothing_or_for_ever_and_harm_no_queue(
    memory: Store, clock: ManualClock, rate: Rate
) -> None:
    recorder = Recorder()
    jq = memory.open(len, start=False, clock=clock)
    jq.register("work", recorder, rate=rate)
    limited_jobs(jq, 3)
    run_all(jq)
    clock.advance(1.0)
    run_all(jq)
    assert started_at(recorder) in (1, 3)
    other = jq.enqueue(Job())
    run_all(jq)
    assert other.status is Status.COMPLETED
    check_whole(jq)


# ── both ─────────────────────────────────────────────────────────────────────────────────────


def test_a_limit_and_a_rate_hold_together(memory: Store) -> None:
    gauge = Gauge()
    jq = memory.open(num_workers=6)
    jq.register("work", gauge, limit=Limit(2), rate=Rate(5, per=0.02))
    ids = [each.id for each in limited_jobs(jq, 60)]
    assert jq.join(PATIENCE)
    assert gauge.most["all"] <= 2
    assert sorted(gauge.order) == sorted(ids)
    check_rest(jq)


def test_with_both_a_shared_limit_is_not_kept_from_those_that_no_rate_holds_up(
    memory: Store, clock: ManualClock
) -> None:
    recorder, limit = Recorder(), Limit(1)
    jq = memory.open(start=False, clock=clock)
    jq.register("slow", recorder, limit=limit, rate=Rate(1, per=100.0))
    jq.register("free", recorder.__call__, limit=limit)
    for name in ("slow", "slow", "slow", "free", "free"):
        jq.enqueue(Job(id=f"{name} {insides.number_of_live(jq)}", handler=name))
    run_all(jq)
    assert recorder.ids() == ["slow 0", "free 3", "free 4"]
    check_whole(jq)
    clock.advance(100.0)
    run_all(jq)
    clock.advance(100.0)
    run_all(jq)
    assert recorder.ids() == ["slow 1", "slow 2"]
    check_rest(jq)


def test_a_limit_by_key_and_a_rate_for_all(memory: Store, clock: ManualClock) -> None:
    gauge = Gauge()
    jq = memory.open(num_workers=4, clock=clock)
    jq.register("work", gauge, limit=Limit(1, per_key=True), rate=Rate(2, per=1.0))
    handles = [jq.enqueue(Job(handler="work", key=str(number % 3))) for number in range(12)]
    for number in range(2, 12, 2):
        assert eventually(lambda: jq.metrics().completed == number)  # noqa: B023
        check_whole(jq)
        clock.advance(1.0)
    assert jq.join(PATIENCE)
    assert gauge.most["0"] == gauge.most["1"] == gauge.most["2"] == 1
    assert {each.status for each in handles} == {Status.COMPLETED}
    check_rest(jq)


# ── whatever becomes of an attempt, its permit comes back ────────────────────────────────────


@pytest.mark.parametrize("outcome", ["fails", "retried", "cancelled", "expired"])
def test_the_permit_comes_back_however_the_attempt_ends(
    memory: Store, clock: ManualClock, outcome: str
) -> None:
    error = {"cancelled": None, "expired": None}.get(outcome, ValueError())
    attempts = Attempts(error, None)
    retries = 1 if outcome == "retried" else 0
    jq = memory.open(start=False, clock=clock, max_retries=retries)
    jq.register("work", attempts, limit=Limit(1))
    first, second = limited_jobs(jq, 2, expires=5.0 if outcome == "expired" else None)
    if outcome == "cancelled":
        first.cancel()
    elif outcome == "expired":
        clock.advance(5.0)
        third = jq.enqueue(Job(handler="work"))
        run_all(jq)
        assert third.status is Status.COMPLETED
    run_all(jq)
    clock.advance(1.0)
    run_all(jq)
    assert second.status is (Status.CANCELLED if outcome == "expired" else Status.COMPLETED)
    check_rest(jq)


def test_a_retry_waits_for_its_turn_again(memory: Store, clock: ManualClock) -> None:
    attempts = Attempts(ValueError(), None)
    jq = memory.open(start=False, clock=clock)
    jq.register("work", attempts, limit=Limit(1), rate=Rate(2, per=100.0))
    first, second = limited_jobs(jq, 2)
    run_all(jq)
    assert (first.status, second.status) == (Status.SCHEDULED, Status.COMPLETED)
    clock.advance(1.0)
    run_all(jq)
    assert first.status is Status.QUEUED
    assert jq.metrics().limited == 1
    check_whole(jq)
    clock.advance(49.0)
    run_all(jq)
    assert jq.status(first.id) is Status.COMPLETED
    check_rest(jq)


def test_an_attempt_that_overruns_holds_its_permit_until_its_handler_returns(
    memory: Store, clock: ManualClock
) -> None:
    blocker = memory.blocker()
    jq = memory.open(num_workers=1, clock=clock, max_retries=0)
    jq.register("work", blocker, limit=Limit(1), timeout=1.0)
    jq.register("free", len)
    first, second = limited_jobs(jq, 2)
    blocker.await_entered()
    clock.advance(1.0)
    assert eventually(lambda: jq.metrics().overrunning == 1)

    assert jq.enqueue(Job(handler="free")).wait(PATIENCE) is Status.COMPLETED  # stood in for

    assert second.status is Status.QUEUED
    check_whole(jq)
    blocker.gate.set()
    assert first.wait(PATIENCE) is Status.FAILED
    assert second.wait(PATIENCE) is Status.COMPLETED
    assert jq.join(PATIENCE)
    check_rest(jq)


def test_a_running_job_that_is_cancelled_holds_its_permit_until_it_stops(memory: Store) -> None:
    def handler(_payload: bytes, context: JobContext) -> None:
        entered.set()
        if context.wait(PATIENCE) and not gate.wait(PATIENCE):
            raise TimeoutError
        raise ValueError

    entered, gate = threading.Event(), threading.Event()
    jq = memory.open(num_workers=2)
    jq.register("work", handler, limit=Limit(1))
    first, second = limited_jobs(jq, 2)
    assert entered.wait(PATIENCE)
    first.cancel()
    jq.metrics()
    assert second.status is Status.QUEUED
    second.cancel()
    check_whole(jq)
    gate.set()
    assert first.wait(PATIENCE) is Status.CANCELLED
    assert jq.join(PATIENCE)
    check_rest(jq)


def test_a_job_that_is_cancelled_while_it_waits_leaves_the_line(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(num_workers=3)
    jq.register("work", blocker, limit=Limit(1))
    handles = limited_jobs(jq, 60)
    blocker.await_entered()
    assert eventually(lambda: jq.metrics().limited == 59)
    for each in handles[1:50]:
        assert each.cancel()
        check_whole(jq)
    blocker.gate.set()
    assert jq.join(PATIENCE)
    assert [each.status for each in handles[50:]] == [Status.COMPLETED] * 10
    check_rest(jq)


def test_one_that_has_passed_and_waits_for_a_worker_gives_its_permit_back_if_it_is_cancelled(
    memory: Store, clock: ManualClock
) -> None:
    # 1. A token lets a job through, to the front of its lane. 2. No worker takes it. 3. Cancelled.
    jq = memory.open(start=False, clock=clock)
    jq.register("work", len, limit=Limit(1), rate=Rate(1, per=10.0))
    limited_jobs(jq, 1)
    run_all(jq)
    second, third = limited_jobs(jq, 2)
    run_all(jq)
    clock.advance(10.0)
    assert jq.metrics().limited == 1
    check_whole(jq)

    second.cancel()

    check_whole(jq)
    clock.advance(10.0)
    run_all(jq)
    assert third.status is Status.COMPLETED
    check_rest(jq)


def test_requeued_jobs_are_limited_too(store: Store, clock: ManualClock) -> None:
    attempts = Attempts(ValueError(), ValueError(), None)
    jq = store.open(start=False, clock=clock, max_retries=0)
    jq.register("work", attempts, rate=Rate(2, per=10.0))
    dead = limited_jobs(jq, 2)
    run_all(jq)
    again = [jq.requeue(each.id) for each in dead]
    jq.flush() if store.kind != "memory" else None
    run_all(jq)
    assert {each.status for each in again} == {Status.QUEUED}
    check_whole(jq)
    clock.advance(10.0)
    run_all(jq)
    assert {each.status for each in again} == {Status.COMPLETED}


# ── what else the queue does meanwhile ───────────────────────────────────────────────────────


def test_pause_keeps_back_what_a_limit_lets_through(memory: Store, clock: ManualClock) -> None:
    recorder = Recorder()
    jq = memory.open(clock=clock)
    jq.register("work", recorder, rate=Rate(1, per=1.0))
    limited_jobs(jq, 3)
    recorder.next()
    jq.pause()
    clock.advance(10.0)
    assert jq.metrics().completed <= 1
    assert started_at(recorder) == 0
    check_whole(jq)
    jq.resume()
    for _ in range(2):
        recorder.next()
        clock.advance(1.0)
    assert jq.join(PATIENCE)
    check_rest(jq)


@pytest.mark.parametrize("limits", [{}, {"limit": Limit(3)}, {"rate": Rate(50, per=1.0)}])
def test_a_handler_in_the_place_of_another_goes_by_its_own_limits(
    memory: Store, limits: dict[str, Any]
) -> None:
    blocker, recorder = memory.blocker(), Recorder()
    jq = memory.open(num_workers=4)
    jq.register("work", blocker, limit=Limit(1))
    handles = limited_jobs(jq, 20)
    blocker.await_entered()
    assert eventually(lambda: jq.metrics().limited == 19)

    jq.register("work", recorder, replace=True, **limits)

    check_whole(jq)
    for _ in range(19):
        recorder.next()
    blocker.gate.set()
    assert jq.join(PATIENCE)
    assert {each.status for each in handles} == {Status.COMPLETED}
    check_rest(jq)


def test_the_same_function_again_with_another_limit_strands_no_job(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(num_workers=4)
    jq.register("work", blocker, limit=Limit(1))
    handles = limited_jobs(jq, 8)
    blocker.await_entered()
    assert eventually(lambda: jq.metrics().limited == 7)

    jq.register("work", blocker)  # says nothing of limits
    assert jq.metrics().limited == 7
    jq.register("work", blocker, limit=Limit(2))  # the one that runs counts for the limit before

    assert eventually(lambda: jq.metrics().processing == 3)
    check_whole(jq)
    blocker.gate.set()
    assert jq.join(PATIENCE)
    assert {each.status for each in handles} == {Status.COMPLETED}
    check_rest(jq)


def test_replace_keeps_the_order_of_those_that_wait(memory: Store) -> None:
    blocker, recorder = memory.blocker(), Recorder()
    jq = memory.open(num_workers=1)
    limit = Limit(1)
    jq.register("hold", blocker, limit=limit)
    jq.register("work", len, limit=limit)
    jq.enqueue(Job(handler="hold"))
    blocker.await_entered()
    ids = [each.id for each in limited_jobs(jq, 10)]
    jq.metrics()
    jq.register("work", recorder, replace=True, limit=limit)
    check_whole(jq)
    blocker.gate.set()
    assert [recorder.next().id for _ in range(10)] == ids


def test_a_handler_that_is_limited_from_now_on_limits_those_that_wait(memory: Store) -> None:
    gauge = Gauge()
    jq = memory.open(num_workers=4)
    jq.register("work", len)
    jq.pause()
    limited_jobs(jq, 20)
    jq.register("work", gauge, replace=True, limit=Limit(1))
    check_whole(jq)
    jq.resume()
    assert jq.join(PATIENCE)
    assert gauge.most["all"] == 1
    check_rest(jq)


def test_jobs_that_waited_for_a_handler_go_by_its_limit(store: Store) -> None:
    gauge = Gauge()
    jq = store.open(len, num_workers=4)
    limited_jobs(jq, 20)
    jq.register("work", gauge, limit=Limit(2))
    assert jq.join(PATIENCE)
    assert gauge.most["all"] <= 2
    check_rest(jq)


@every_log
def test_after_a_restart_jobs_go_by_the_limit_in_their_order(log_store: Store) -> None:
    jq = log_store.open(start=False)
    jq.register("work", len, limit=Limit(1))
    ids = [each.id for each in limited_jobs(jq, 20)]
    jq.metrics()
    jq.close(PATIENCE)
    gauge = Gauge()
    again = log_store.open(start=False, num_workers=4)
    again.register("work", gauge, limit=Limit(1))
    check_whole(again)
    again.start()
    assert again.join(PATIENCE)
    assert (gauge.order, gauge.most["all"]) == (ids, 1)
    check_rest(again)


def test_drain_runs_those_that_wait_for_a_limit(memory: Store) -> None:
    gauge = Gauge()
    jq = memory.open(num_workers=4)
    jq.register("work", gauge, limit=Limit(1))
    limited_jobs(jq, 30)
    assert jq.close(PATIENCE, drain=True).remaining == 0
    assert len(gauge.order) == 30


@pytest.mark.parametrize("manual", [True, False])
def test_drain_leaves_those_whose_token_cannot_come_in_time(
    memory: Store, clock: ManualClock, manual: bool
) -> None:
    jq = memory.open(num_workers=2, clock=clock if manual else None)
    jq.register("work", len, rate=Rate(1, per=3600.0))
    limited_jobs(jq, 3)
    assert eventually(lambda: jq.metrics().completed == 1)
    report = jq.close(PATIENCE / 2, drain=True)
    assert (report.remaining, report.unfinished) == (2, ())


def test_close_without_drain_leaves_those_that_wait_in_the_log(log_store: Store) -> None:
    blocker = log_store.blocker()
    jq = log_store.open(num_workers=2)
    jq.register("work", blocker, limit=Limit(1))
    handles = limited_jobs(jq, 5)
    blocker.await_entered()
    assert eventually(lambda: jq.metrics().limited == 4)
    blocker.gate.set()
    report = jq.close(PATIENCE, drain=False)
    again = log_store.open(start=False)
    left = [each for each in handles if again.status(each.id) is Status.QUEUED]
    assert len(left) == report.remaining


def test_a_job_that_is_run_alone_takes_its_permit_and_gives_it_back(
    log_store: Store, tmp_path: Path
) -> None:
    jq = log_store.open(start=False)
    jq.register("work", len, limit=Limit(1))
    handles = limited_jobs(jq, 4)
    jq.close(PATIENCE)
    gauge = Gauge()
    again = log_store.open(start=False, num_workers=3)
    again.register("work", gauge, limit=Limit(1))
    insides.suspect(again, handles[2].id)
    again.start()
    assert again.join(PATIENCE)
    assert len(gauge.order) == 4
    assert gauge.most["all"] == 1
    check_rest(again)
    assert tmp_path.exists()


def test_a_handler_that_waits_for_another_of_its_limit_is_told_by_its_timeout(
    memory: Store,
) -> None:
    # It is the user's deadlock: the limit says one at a time, and the one waits for another.
    jq = memory.open(num_workers=2, max_retries=0)

    def waits(payload: bytes) -> Status:
        return jq.enqueue(Job(b"", handler="work")).wait(0.05) if payload else Status.COMPLETED

    jq.register("work", waits, limit=Limit(1))
    assert jq.enqueue(Job(b"waits", handler="work")).result(PATIENCE) is Status.QUEUED
    assert jq.join(PATIENCE)
    check_rest(jq)


# ── everything at once ───────────────────────────────────────────────────────────────────────


def test_whatever_happens_no_limit_is_passed_and_no_permit_lost(memory: Store) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    gauge = Gauge(*(ValueError() if rng.random() < 0.2 else None for _ in range(300)))
    jq = memory.open(num_workers=5, queue_size=10_000, base_delay=0.001)
    rate = Rate(60, per=0.05)
    jq.register("a", gauge, limit=Limit(1))
    jq.register("b", gauge.__call__, limit=Limit(2, per_key=True), rate=rate)
    jq.register("c", gauge, rate=rate)
    handles: list[JobHandle] = []
    for number in range(400):
        name = rng.choice("abc")
        key = rng.choice([None, f"{name}1", f"{name}2"])
        job = Job(handler=name, key=key, priority=Priority(number % 3))
        handles.append(jq.enqueue(job, delay=rng.choice([0.0, 0.0, 0.002])))
        if rng.random() < 0.1:
            rng.choice(handles).cancel()
        if rng.random() < 0.02:
            check_whole(jq)
    assert jq.join(PATIENCE * 3)
    assert max(gauge.most["b1"], gauge.most["b2"]) <= 2
    assert gauge.most["a1"] <= 1
    check_rest(jq)


def test_limits_hold_for_coroutines() -> None:
    most: Counter[str | None] = Counter()
    now: Counter[str | None] = Counter()

    async def handler(_payload: bytes, context: JobContext) -> None:
        key = context.job.key
        now[key] += 1
        most[key] = max(most[key], now[key])
        await asyncio.sleep(0.001)
        now[key] -= 1
        if context.attempt == 0 and context.job.priority is Priority.LOW:
            raise ValueError

    async def main() -> None:
        config = Config(executor="asyncio", num_workers=16, base_delay=0.001)
        async with JobQueue(config) as jq:
            jq.register("work", handler, limit=Limit(2, per_key=True))
            jq.register("rated", handler, rate=Rate(10, per=0.01))
            for number in range(150):
                name = "rated" if number % 5 == 0 else "work"
                job = Job(handler=name, key=f"{name}{number % 2}", priority=Priority(number % 3))
                await jq.aenqueue(job)
            assert await jq.ajoin(PATIENCE)
            check_rest(jq)

    asyncio.run(main())
    assert most["work0"] == most["work1"] == 2


@pytest.mark.parametrize("wrong", [Limit, 2, "2", Rate(1)])
def test_a_limit_that_is_none_is_refused_at_registration(memory: Store, wrong: Any) -> None:
    jq = memory.open(start=False)
    with pytest.raises(TypeError, match=r"limit must be a Limit, as in limit=Limit\(2\)"):
        jq.register("work", len, limit=wrong)
    with pytest.raises(TypeError, match=r"rate must be a Rate, as in rate=Rate\(100, per=60.0\)"):
        jq.register("work", len, rate=Limit(1) if isinstance(wrong, Rate) else wrong)  # type: ignore[arg-type]


def test_the_same_function_registered_again_keeps_its_limit_unless_it_is_given_another(
    memory: Store,
) -> None:
    jq = memory.open(start=False)
    first, second = Limit(1), Limit(2)
    jq.register("work", len, limit=first)
    jq.register("work", len)
    assert jq.handlers()[0].options == {"limit": first}
    jq.register("work", len, limit=second)
    assert jq.handlers()[0].options == {"limit": second}
