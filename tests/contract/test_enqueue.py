"""What enqueue promises in every tier: backpressure, order, and whom it refuses."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial

import pytest

from tests.contract.tiers import HIGH, LOW, MEDIUM, Tier
from tests.support.waiting import PATIENCE, eventually


def test_an_accepted_job_runs_exactly_once(tier: Tier) -> None:
    jq = tier.open()
    tier.enqueue_plain(jq, "a")
    jq.close()

    assert tier.next_ran(1) == ["a"]
    assert tier.ran.empty()


@pytest.mark.slow
def test_each_job_of_many_producers_runs_exactly_once(tier: Tier) -> None:
    jq = tier.open(num_workers=10, queue_size=50)
    names = [str(n) for n in range(2_000)]

    def produce(share: list[str]) -> None:
        for n, name in enumerate(share):
            tier.enqueue_plain(jq, name, priority=n % 3)

    calls = [tier.call(produce, names[n::20]) for n in range(20)]
    for call in calls:
        call.result(3 * PATIENCE)
    jq.close()

    assert Counter(tier.next_ran(2_000)) == Counter(names)
    assert tier.ran.empty()
    assert jq.metrics().completed == 2_000


def test_a_full_lane_lets_in_as_many_as_there_is_room_for(tier: Tier) -> None:
    jq = tier.open(num_workers=1, queue_size=3)
    tier.hold(jq)
    names = [str(n) for n in range(10)]
    calls = [tier.call(tier.enqueue_plain, jq, name) for name in names]

    assert eventually(lambda: sum(call.done() for call in calls) == 3)
    assert jq.metrics().queued == 3
    with pytest.raises(tier.EnqueueTimeoutError):
        tier.enqueue_plain(jq, "one too many", timeout=0.01)
    assert sum(call.done() for call in calls) == 3
    tier.gate.set()
    for call in calls:
        call.result(PATIENCE)
    assert sorted(tier.next_ran(10)) == names


def test_a_full_lane_refuses_after_the_timeout_and_the_job_never_runs(tier: Tier) -> None:
    jq = tier.open(num_workers=1, queue_size=1)
    tier.hold(jq)
    tier.enqueue_plain(jq, "accepted")

    with pytest.raises(TimeoutError) as raised:
        tier.enqueue_plain(jq, "refused", timeout=0.01)
    tier.gate.set()
    jq.close()

    assert raised.type is tier.EnqueueTimeoutError
    assert "refused" in str(raised.value)  # the job's id: an error names the job
    assert tier.next_ran(1) == ["accepted"]
    assert tier.ran.empty()


def test_a_full_lane_leaves_the_others_open(tier: Tier) -> None:
    jq = tier.open(num_workers=1, queue_size=1)
    tier.hold(jq)

    for priority in (LOW, MEDIUM, HIGH):
        tier.enqueue_plain(jq, str(priority), priority, timeout=0)


def test_what_is_no_job_is_refused(tier: Tier) -> None:
    jq = tier.open()

    for thing in (None, "job", print):
        with pytest.raises(TypeError):
            tier.enqueue_thing(jq, thing)


def test_a_handler_may_enqueue(tier: Tier) -> None:
    jq = tier.open(num_workers=1)
    tier.enqueue(jq, "outer", partial(tier.enqueue_plain, jq, "inner"))

    assert tier.next_ran(1) == ["inner"]


def test_as_many_jobs_run_at_once_as_there_are_workers(tier: Tier) -> None:
    jq = tier.open(num_workers=3)
    together = threading.Barrier(3 + 1)

    for n in range(3):
        tier.enqueue(jq, str(n), partial(together.wait, PATIENCE))

    together.wait(PATIENCE)  # broken unless all three handlers are in it as well


def test_no_more_jobs_run_at_once_than_there_are_workers(tier: Tier) -> None:
    jq = tier.open(num_workers=2)
    tier.hold(jq, workers=2)
    tier.enqueue_plain(jq, "third")

    assert (jq.metrics().processing, jq.metrics().queued) == (2, 1)
    assert tier.ran.empty()


def test_high_goes_before_medium_before_low_and_each_lane_keeps_its_order(tier: Tier) -> None:
    jq = tier.open(num_workers=1)
    tier.hold(jq)
    for turn in ("a", "b"):
        for name, priority in (("low", LOW), ("medium", MEDIUM), ("high", HIGH)):
            tier.enqueue_plain(jq, f"{name} {turn}", priority)
    tier.gate.set()

    assert tier.next_ran(6) == ["high a", "high b", "medium a", "medium b", "low a", "low b"]


def test_one_worker_runs_the_jobs_of_a_lane_in_their_order(tier: Tier) -> None:
    jq = tier.open(num_workers=1)
    names = [str(n) for n in range(100)]
    for name in names:
        tier.enqueue_plain(jq, name)

    assert tier.next_ran(100) == names
