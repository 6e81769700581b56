"""Many threads at once: nothing lost, nothing run twice, every count exact."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from jobqueue.improved import Job, Metrics, Priority, QueueClosedError
from tests.improved.rig import PATIENCE, Rig


@pytest.mark.slow
def test_ten_thousand_jobs_of_a_hundred_producers_run_exactly_once(rig: Rig) -> None:
    jq = rig.open(num_workers=10, queue_size=100)
    ids = [f"{producer}-{n}" for producer in range(100) for n in range(100)]

    def produce(share: list[str]) -> None:
        for n, name in enumerate(share):
            jq.enqueue(rig.job(name, Priority(n % 3)))

    calls = [rig.call(produce, ids[n::100]) for n in range(100)]
    for call in calls:
        call.result(6 * PATIENCE)
    jq.close()

    assert Counter(rig.next_ran(10_000)) == Counter(ids)
    assert rig.ran.empty()
    assert jq.metrics() == Metrics(0, 0, completed=10_000, failed=0, retried=0)


@pytest.mark.slow
def test_jobs_that_fail_now_and_then_are_all_tried_until_they_succeed(rig: Rig) -> None:
    jq = rig.open(num_workers=8, queue_size=20, base_delay=0.0001)
    failures = {str(n): n % 4 for n in range(2_000)}

    def produce(share: list[str]) -> None:
        for name in share:
            jq.enqueue(rig.failing(name, times=failures[name], priority=int(name) % 3))

    names = list(failures)
    for call in [rig.call(produce, names[n::20]) for n in range(20)]:
        call.result(3 * PATIENCE)
    jq.close()

    assert Counter(rig.next_ran(2_000 + 3_000)) == Counter(
        {name: times + 1 for name, times in failures.items()}
    )
    assert rig.ran.empty()
    assert jq.metrics() == Metrics(0, 0, completed=2_000, failed=0, retried=3_000)


@pytest.mark.slow
@pytest.mark.parametrize("produced_before", [0, 1, 10, 100])
def test_a_close_among_producers_finishes_what_was_accepted_and_only_that(
    rig: Rig, produced_before: int
) -> None:
    jq = rig.open(num_workers=2, queue_size=3)
    accepted: list[str] = []
    enough = threading.Semaphore(0)

    def produce(producer: int) -> None:
        for n in range(100_000):
            name = f"{producer}-{n}"
            try:
                jq.enqueue(rig.job(name))
            except QueueClosedError:
                return
            accepted.append(name)
            enough.release()

    calls = [rig.call(produce, producer) for producer in range(8)]
    for _ in range(produced_before):
        assert enough.acquire(timeout=PATIENCE)
    jq.close()
    for call in calls:
        call.result(PATIENCE)

    assert sorted(rig.next_ran(len(accepted))) == sorted(accepted)
    assert rig.ran.empty()
    assert jq.metrics() == Metrics(0, 0, completed=len(accepted), failed=0, retried=0)


@pytest.mark.slow
def test_a_snapshot_taken_at_any_moment_adds_up(rig: Rig) -> None:
    jq = rig.open(num_workers=2, queue_size=1_000, base_delay=0.0)
    for n in range(500):
        jq.enqueue(rig.failing(str(n), times=n % 2))
    snapshots: list[Metrics] = []
    last = threading.Event()
    jq.enqueue(Job("last", last.set, Priority.LOW))
    while not last.is_set():
        snapshots.append(jq.metrics())
    jq.close()

    for snapshot in [*snapshots, jq.metrics()]:
        waiting_or_done = snapshot.queued + snapshot.completed + snapshot.failed
        assert 0 <= snapshot.processing <= 2
        assert waiting_or_done + snapshot.processing == 501
