"""How a queue ends, in every tier."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from tests.contract.tiers import Tier
from tests.support.waiting import PATIENCE, eventually


def test_close_finishes_the_accepted_jobs(tier: Tier) -> None:
    jq = tier.open(num_workers=1)
    for n in range(50):
        tier.enqueue_plain(jq, str(n), priority=n % 3)
    jq.close()

    assert len(tier.next_ran(50)) == 50
    metrics = jq.metrics()
    assert (metrics.queued, metrics.processing, metrics.completed) == (0, 0, 50)


def test_close_finishes_retries(tier: Tier) -> None:
    jq = tier.open(base_delay=0.005)
    tier.enqueue_failing(jq, "succeeds at last", times=2)
    tier.enqueue_failing(jq, "never succeeds")
    jq.close()

    metrics = jq.metrics()
    assert (metrics.completed, metrics.failed, metrics.retried) == (1, 1, 5)


def test_after_close_a_job_is_refused(tier: Tier) -> None:
    jq = tier.open()
    jq.close()

    with pytest.raises(RuntimeError) as raised:
        tier.enqueue_plain(jq, "late")
    assert raised.type is tier.QueueClosedError


def test_a_producer_that_waits_for_room_is_accepted_or_refused(tier: Tier) -> None:
    jq = tier.open(num_workers=1, queue_size=1)
    tier.hold(jq)
    calls = {str(n): tier.call(tier.enqueue_plain, jq, str(n)) for n in range(8)}
    assert eventually(lambda: sum(call.done() for call in calls.values()) == 1)
    closing = tier.call(jq.close)
    tier.gate.set()
    closing.result(PATIENCE)

    refused = [call.exception(PATIENCE) for call in calls.values()]
    assert {type(error) for error in refused if error} <= {tier.QueueClosedError}
    accepted = [name for name, error in zip(calls, refused, strict=True) if not error]
    assert sorted(tier.next_ran(len(accepted))) == accepted
    assert tier.ran.empty()


def test_a_producer_that_waits_for_room_does_not_wait_for_ever(tier: Tier) -> None:
    jq = tier.open(num_workers=1, queue_size=1, shutdown_timeout=0.0)
    tier.hold(jq)
    tier.enqueue_plain(jq, "accepted")
    call = tier.call(tier.enqueue_plain, jq, "refused")
    jq.close()

    assert isinstance(call.exception(PATIENCE), tier.QueueClosedError)  # the gate is still shut


@pytest.mark.slow
@pytest.mark.parametrize("produced_before", [0, 1, 10, 100])
def test_a_close_among_producers_finishes_what_was_accepted_and_only_that(
    tier: Tier, produced_before: int
) -> None:
    jq = tier.open(num_workers=2, queue_size=3)
    accepted: list[str] = []
    enough = threading.Semaphore(0)

    def produce(producer: int) -> None:
        for n in range(100_000):
            try:
                tier.enqueue_plain(jq, f"{producer}-{n}")
            except tier.QueueClosedError:
                return
            accepted.append(f"{producer}-{n}")
            enough.release()

    calls = [tier.call(produce, producer) for producer in range(8)]
    for _ in range(produced_before):
        assert enough.acquire(timeout=PATIENCE)
    jq.close()
    for call in calls:
        call.result(PATIENCE)

    assert sorted(tier.next_ran(len(accepted))) == sorted(accepted)
    assert tier.ran.empty()
    assert jq.metrics().completed == len(accepted)


def test_close_returns_by_its_timeout_while_a_handler_still_runs(tier: Tier) -> None:
    jq = tier.open(num_workers=1, shutdown_timeout=0.02)
    tier.hold(jq)

    tier.call(jq.close).result(PATIENCE)  # the gate is still shut


def test_after_a_close_that_gave_up_no_job_is_started(tier: Tier) -> None:
    before = set(threading.enumerate())
    jq = tier.open(num_workers=1, shutdown_timeout=0.0)
    tier.hold(jq)
    tier.enqueue_plain(jq, "waits")
    jq.close()
    tier.gate.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive()

    assert tier.ran.empty()


def test_close_may_be_called_again(tier: Tier) -> None:
    jq = tier.open()
    jq.close()
    jq.close()


def test_close_may_be_called_by_several_threads(tier: Tier) -> None:
    jq = tier.open(num_workers=1)
    tier.hold(jq)
    tier.enqueue_plain(jq, "a")
    calls = [tier.call(jq.close) for _ in range(4)]
    tier.gate.set()

    for call in calls:
        call.result(PATIENCE)
        assert jq.metrics().completed == 2


def test_close_from_a_handler_is_refused_and_the_queue_stays_open(tier: Tier) -> None:
    jq = tier.open(num_workers=1, max_retries=0)
    refusal: Future[BaseException] = Future()

    def close() -> None:
        try:
            jq.close()
        except BaseException as error:
            refusal.set_result(error)
            raise

    tier.enqueue(jq, "closes", close)

    assert type(refusal.result(PATIENCE)) is RuntimeError
    tier.enqueue_plain(jq, "next")
    assert tier.next_ran(1) == ["next"]


def test_the_end_of_the_with_block_closes(tier: Tier) -> None:
    with tier.open() as jq:
        tier.enqueue_plain(jq, "a")

    assert jq.metrics().completed == 1
    with pytest.raises(tier.QueueClosedError):
        tier.enqueue_plain(jq, "late")


def test_close_ends_all_threads(tier: Tier) -> None:
    before = set(threading.enumerate())
    jq = tier.open(num_workers=3)
    assert set(threading.enumerate()) - before
    tier.enqueue_plain(jq, "a")
    jq.close()

    assert set(threading.enumerate()) - before == set()
