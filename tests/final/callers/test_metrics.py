from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import pytest

from jobqueue.final import (
    Job,
    JobQueue,
    LaneMetrics,
    Metrics,
    Priority,
    Quantiles,
    RejectJobError,
    Status,
)
from jobqueue.final.core.counters import BusyMeter
from jobqueue.final.core.telling import quantiles
from jobqueue.final.model.handler_meter import SAMPLES
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.queues import Attempts, Store, every_log, every_store, until
from tests.support.waiting import PATIENCE, eventually

HIGH, MEDIUM, LOW = Priority
COUNTERS = (
    *("enqueued", "queued", "scheduled", "processing", "overrunning"),
    *("completed", "failed", "retried", "cancelled"),
)


def counts(metrics: object) -> dict[str, int]:
    """The counters that are not 0."""
    return {name: value for name in COUNTERS if (value := getattr(metrics, name))}


def assert_consistent(metrics: Metrics) -> None:
    """The counters add up, over the lanes and over the statuses."""
    for name in COUNTERS:
        lanes = [getattr(lane, name) for lane in metrics.by_priority.values()]
        assert getattr(metrics, name) == sum(lanes), name
    everywhere: list[Metrics | LaneMetrics] = [metrics, *metrics.by_priority.values()]
    for each in everywhere:
        ended = each.completed + each.failed + each.cancelled
        assert each.enqueued == ended + each.queued + each.scheduled + each.processing


def taking(clock: ManualClock) -> Callable[[bytes], None]:
    """A handler that takes as many seconds of the clock as its payload says."""
    return lambda payload: clock.advance(float(payload))


# ── counters ─────────────────────────────────────────────────────────────────────────────────


def test_new_queue_has_counted_nothing(store: Store) -> None:
    jq = store.open(len, start=False)
    metrics = jq.metrics()
    assert counts(metrics) == {}
    assert set(metrics.by_priority) == set(Priority)
    assert (metrics.oldest_wait, metrics.queue_wait, metrics.run_time) == (
        0.0,
        Quantiles(),
        Quantiles(),
    )
    assert_consistent(metrics)


@every_store
def test_each_counter_counts_what_it_says(store: Store, clock: ManualClock) -> None:
    blocker = store.blocker()
    handlers: dict[str, Callable[..., object]] = {
        "well": len,
        "flaky": Attempts(ConnectionError("down")),
        "never": Attempts(RejectJobError("no")),
        "held": blocker,
    }
    jq = store.open(handlers=handlers, clock=clock, num_workers=1, job_timeout=60)
    jq.enqueue(Job(handler="well", priority=HIGH)).wait(PATIENCE)
    jq.enqueue(Job(handler="never", priority=HIGH)).wait(PATIENCE)
    jq.enqueue(Job(handler="well", priority=LOW), delay=5).cancel()
    until(jq.enqueue(Job(handler="flaky", priority=LOW)), Status.SCHEDULED)
    jq.enqueue(Job(handler="well"), delay=5)
    jq.enqueue(Job(handler="held"))
    blocker.await_entered()
    jq.enqueue(Job(handler="well"))
    metrics = jq.metrics()
    assert counts(metrics.by_priority[HIGH]) == {"enqueued": 2, "completed": 1, "failed": 1}
    assert counts(metrics.by_priority[MEDIUM]) == {
        "enqueued": 3,
        "queued": 1,
        "scheduled": 1,
        "processing": 1,
    }
    assert counts(metrics.by_priority[LOW]) == {
        "enqueued": 2,
        "scheduled": 1,
        "retried": 1,
        "cancelled": 1,
    }
    assert_consistent(metrics)


@every_store
def test_counters_are_exact_at_rest_after_many_threads(store: Store) -> None:
    """A third of the jobs of each lane succeeds, one is rejected, one fails after a retry."""

    def handle(payload: bytes) -> None:
        if payload == b"1":
            raise RejectJobError("no")
        if payload == b"2":
            raise ValueError("boom")

    jq = store.open(handle, base_delay=0, max_retries=1, num_workers=3, queue_size=5)

    def produce(priority: Priority) -> None:
        for n in range(30):
            jq.enqueue(Job(b"%d" % (n % 3), priority=priority), timeout=PATIENCE)

    threads = [threading.Thread(target=produce, args=(each,)) for each in Priority]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert jq.join(PATIENCE)
    metrics = jq.metrics()
    for lane in metrics.by_priority.values():
        assert counts(lane) == {"enqueued": 30, "completed": 10, "failed": 20, "retried": 10}
    assert_consistent(metrics)


def test_snapshots_are_consistent_while_jobs_run(memory: Store) -> None:
    def handle(payload: bytes) -> None:
        if payload:
            jq.enqueue(Job(payload[1:], priority=LOW))
        snapshots.append(jq.metrics())
        if len(payload) % 2:
            raise ValueError("boom")

    snapshots: list[Metrics] = []
    jq = memory.open(handle, base_delay=0, max_retries=1, num_workers=3)
    for _ in range(10):
        jq.enqueue(Job(b"12345"))
        snapshots.append(jq.metrics())
    assert jq.join(PATIENCE)
    for snapshot in snapshots:
        assert_consistent(snapshot)


def test_requeued_dead_letter_counts_as_enqueued_again(store: Store) -> None:
    jq = store.open(Attempts(RejectJobError("no"), "done"))
    handle = jq.enqueue(Job(id="a"))
    handle.wait(PATIENCE)
    jq.requeue("a").wait(PATIENCE)
    assert counts(jq.metrics()) == {"enqueued": 2, "completed": 1, "failed": 1}
    assert_consistent(jq.metrics())


def test_discarded_dead_letter_still_counts_as_failed(store: Store) -> None:
    jq = store.open(Attempts(RejectJobError("no")), max_dead_letters=1)
    for id in ("a", "b"):
        jq.enqueue(Job(id=id)).wait(PATIENCE)
    jq.discard("b")
    assert counts(jq.metrics()) == {"enqueued": 2, "failed": 2}


def test_refused_jobs_count_nowhere(store: Store) -> None:
    jq = store.open(len, start=False, queue_size=1)
    jq.enqueue(Job(id="a"))
    with pytest.raises(ValueError, match="known"):
        jq.enqueue(Job(id="a"))
    with pytest.raises(TimeoutError):
        jq.enqueue(Job(), timeout=0)
    assert counts(jq.metrics()) == {"enqueued": 1, "queued": 1}


def test_jobs_replayed_unfinished_count_as_enqueued_and_finished_ones_do_not(
    log_store: Store, clock: ManualClock
) -> None:
    jq = log_store.open(len, handlers={"never": Attempts(RejectJobError("no"))}, clock=clock)
    jq.enqueue(Job()).wait(PATIENCE)
    jq.enqueue(Job(handler="never")).wait(PATIENCE)
    jq.enqueue(Job(), delay=10).cancel()
    jq.enqueue(Job(), delay=20)
    jq.pause()
    jq.enqueue(Job(priority=HIGH))
    jq.close()
    again = log_store.open(len, start=False, clock=clock)
    metrics = again.metrics()
    assert counts(metrics) == {"enqueued": 2, "queued": 1, "scheduled": 1}
    assert_consistent(metrics)
    clock.advance(20)
    again.start()
    assert again.join(PATIENCE)
    assert counts(again.metrics()) == {"enqueued": 2, "completed": 2}


def test_snapshot_is_frozen_and_does_not_change(store: Store) -> None:
    jq = store.open(len, start=False)
    before = jq.metrics()
    jq.enqueue(Job())
    assert (before.enqueued, before.by_priority[MEDIUM].enqueued) == (0, 0)
    for each in (before, before.by_priority[HIGH], before.workers, before.queue_wait):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(each, dataclasses.fields(each)[0].name, 1)


# ── times ────────────────────────────────────────────────────────────────────────────────────


def test_oldest_wait_is_the_age_of_the_oldest_queued_job_of_each_lane(
    store: Store, clock: ManualClock
) -> None:
    jq = store.open(len, start=False, clock=clock)
    jq.enqueue(Job(id="a"))
    clock.advance(3)
    jq.enqueue(Job(priority=LOW))
    jq.enqueue(Job())
    clock.advance(4)
    metrics = jq.metrics()
    assert [metrics.by_priority[each].oldest_wait for each in Priority] == [0.0, 7.0, 4.0]
    assert metrics.oldest_wait == 7.0
    jq.cancel("a")
    assert jq.metrics().oldest_wait == 4.0
    jq.start()
    assert jq.join(PATIENCE)
    assert jq.metrics().oldest_wait == 0.0


def test_scheduled_job_has_not_waited_until_it_comes_due(store: Store, clock: ManualClock) -> None:
    jq = store.open(len, start=False, clock=clock)
    jq.enqueue(Job(), delay=10)
    clock.advance(9)
    assert jq.metrics().oldest_wait == 0.0
    clock.advance(1)
    clock.advance(5)
    assert jq.metrics().oldest_wait == 5.0


def test_queue_wait_is_from_the_lane_to_the_start_and_run_time_from_there_to_the_end(
    store: Store, clock: ManualClock
) -> None:
    jq = store.open(taking(clock), start=False, clock=clock, num_workers=1)
    jq.enqueue(Job(b"3", priority=HIGH))
    jq.enqueue(Job(b"5", priority=HIGH))
    clock.advance(10)
    jq.start()
    assert jq.join(PATIENCE)
    lane = jq.metrics().by_priority[HIGH]
    assert (lane.queue_wait.p50, lane.queue_wait.max) == (13, 13)  # the waits were 10 and 13
    assert (lane.run_time.max, jq.metrics().run_time.max) == (5, 5)
    assert jq.metrics().by_priority[MEDIUM].run_time == Quantiles()


def test_run_time_counts_failed_and_cancelled_attempts_too(
    memory: Store, clock: ManualClock
) -> None:
    def handle(payload: bytes) -> None:
        clock.advance(float(payload))
        if payload == b"4":
            jq.cancel("c")
        raise ValueError("boom")

    jq = memory.open(handle, clock=clock, num_workers=1, max_retries=0)
    for id, seconds, longest in (("a", b"2", 2), ("b", b"3", 3), ("c", b"4", 4)):
        jq.enqueue(Job(seconds, id=id)).wait(PATIENCE)
        assert jq.metrics().run_time.max == longest
    assert jq.status("c") is Status.CANCELLED


def test_queue_wait_of_a_retry_starts_when_it_enters_its_lane(
    memory: Store, clock: ManualClock
) -> None:
    jq = memory.open(Attempts(ValueError("boom"), "done"), clock=clock, base_delay=100)
    handle = until(jq.enqueue(Job()), Status.SCHEDULED)
    jq.pause()
    clock.advance(100)
    clock.advance(7)
    jq.resume()
    handle.wait(PATIENCE)
    assert jq.metrics().queue_wait.max == 7


def test_quantiles_are_those_of_the_times_of_all_jobs(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(taking(clock), clock=clock, num_workers=1)
    jq.enqueue_many([Job(b"%d" % n, priority=Priority(n % 3)) for n in range(1, 101)])
    assert jq.join(PATIENCE)
    found = jq.metrics().run_time
    assert found.p50 in {50, 51}
    assert found.p95 in {95, 96}
    assert found.p99 in {99, 100}
    assert found.max == 100


@pytest.mark.parametrize("count", [1, 2, 3, 10, 99, 100, 101, 1000])
def test_each_quantile_has_its_share_of_the_samples_at_or_below_it(count: int) -> None:
    samples = [float(n) for n in range(count)]
    found = quantiles(samples)
    for quantile, share in ((found.p50, 0.5), (found.p95, 0.95), (found.p99, 0.99)):
        at_or_below = sum(sample <= quantile for sample in samples)
        below = sum(sample < quantile for sample in samples)
        assert below <= share * count <= at_or_below
    assert found.max == samples[-1]


def test_quantiles_of_nothing_are_0() -> None:
    assert quantiles([]) == Quantiles(0.0, 0.0, 0.0, 0.0)


def test_quantiles_forget_what_is_long_ago(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(taking(clock), clock=clock, num_workers=1)
    jq.enqueue(Job(b"1000")).wait(PATIENCE)
    jq.enqueue_many([Job(b"1") for _ in range(SAMPLES)])
    assert jq.join(PATIENCE)
    assert jq.metrics().run_time.max == 1


# ── workers ──────────────────────────────────────────────────────────────────────────────────


def test_workers_are_counted_and_those_that_are_busy(store: Store) -> None:
    blocker = store.blocker()
    jq = store.open(blocker, start=False, num_workers=3)
    assert (jq.metrics().workers.count, jq.metrics().workers.busy) == (0, 0)
    jq.start()
    jq.enqueue_many([Job(), Job()])
    blocker.await_entered(2)
    assert (jq.metrics().workers.count, jq.metrics().workers.busy) == (3, 2)
    blocker.gate.set()
    assert jq.join(PATIENCE)
    assert eventually(lambda: jq.metrics().workers.busy == 0)


def utilization(jq: JobQueue) -> float:
    return jq.metrics().workers.utilization


def test_utilization_is_the_busy_part_of_the_last_10_seconds(
    store: Store, clock: ManualClock
) -> None:
    jq = store.open(taking(clock), clock=clock, num_workers=1)
    assert utilization(jq) == 0.0
    clock.advance(100)
    assert utilization(jq) == 0.0
    jq.enqueue(Job(b"4")).wait(PATIENCE)
    assert utilization(jq) == pytest.approx(0.4)
    clock.advance(6)
    assert utilization(jq) == pytest.approx(0.4)
    clock.advance(3)
    assert utilization(jq) == pytest.approx(0.1)
    clock.advance(1)
    assert utilization(jq) == 0.0


def test_utilization_is_shared_by_all_workers(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(taking(clock), clock=clock, num_workers=4)
    clock.advance(100)
    jq.enqueue(Job(b"10")).wait(PATIENCE)
    assert utilization(jq) == pytest.approx(0.25)


def test_utilization_counts_what_still_runs(store: Store, clock: ManualClock) -> None:
    blocker = store.blocker()
    jq = store.open(blocker, clock=clock, num_workers=1)
    clock.advance(100)
    jq.enqueue(Job())
    blocker.await_entered()
    clock.advance(5)
    assert utilization(jq) == pytest.approx(0.5)
    clock.advance(50)
    assert utilization(jq) == pytest.approx(1.0)


def test_utilization_of_a_young_queue_is_over_its_own_age(
    memory: Store, clock: ManualClock
) -> None:
    jq = memory.open(taking(clock), clock=clock, num_workers=1)
    clock.advance(1)
    jq.enqueue(Job(b"3")).wait(PATIENCE)
    assert utilization(jq) == pytest.approx(0.75)


def test_utilization_of_many_short_attempts_adds_up(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(taking(clock), clock=clock, num_workers=1)
    clock.advance(100)
    jq.enqueue_many([Job(b"0.125") for _ in range(40)])
    assert jq.join(PATIENCE)
    assert utilization(jq) == pytest.approx(0.5)
    clock.advance(5)
    assert utilization(jq) == pytest.approx(0.5)


def test_utilization_is_above_1_while_a_stand_in_works_beside_a_stuck_worker(
    memory: Store, clock: ManualClock
) -> None:
    blocker = memory.blocker()
    jq = memory.open(
        taking(clock), handlers={"stuck": blocker}, clock=clock, num_workers=1, job_timeout=20
    )
    jq.enqueue(Job(handler="stuck"))
    blocker.await_entered()
    clock.advance(20)
    jq.enqueue(Job(b"10")).wait(PATIENCE)
    assert utilization(jq) == pytest.approx(2.0)


def test_busy_meter_keeps_no_more_than_its_window() -> None:
    meter = BusyMeter(0.0)
    for n in range(1000):
        meter.add(float(n), n + 0.5)
    meter.add(0.0, 5000.0)
    assert len(insides.past_seconds(meter)) <= 12
    assert meter.utilization(5000.0, [], 1) == pytest.approx(1.0)


# ── the log ──────────────────────────────────────────────────────────────────────────────────


def test_there_is_no_log_in_memory(memory: Store) -> None:
    assert memory.open(len).metrics().log is None


@every_log
def test_log_is_measured(log_store: Store) -> None:
    jq = log_store.open(len, start=False)
    before = jq.metrics().log
    assert before is not None
    jq.enqueue_many([Job(b"x" * 1000) for _ in range(10)])
    jq.flush()
    after = jq.metrics().log
    assert after is not None
    assert after.bytes >= before.bytes + 10_000
    assert after.batches == before.batches + 1
    assert after.fsyncs > before.fsyncs
    assert after.last_fsync_seconds > 0
    assert (after.lag_records, after.error) == (0, None)


def test_size_of_the_log_is_that_of_its_files(log_store: Store) -> None:
    jq = log_store.open(len, start=False)
    jq.enqueue(Job(b"x" * 5000))
    jq.close()
    on_disk = sum(file.stat().st_size for file in log_store.path.glob("*.jsonl"))
    again = log_store.open(start=False).metrics().log
    assert again is not None
    assert on_disk <= again.bytes <= on_disk + 1000  # the new segment has its header


@every_log
def test_records_that_are_not_fsynced_yet_are_the_lag(log_store: Store) -> None:
    jq = log_store.open(len, start=False, fsync_interval=3600)
    jq.enqueue_many([Job() for _ in range(5)])
    log = jq.metrics().log
    assert log is not None
    assert log.lag_records == (0 if log_store.kind == "fsync" else 5)
    jq.flush()
    log = jq.metrics().log
    assert log is not None
    assert log.lag_records == 0
