"""What happens to a job that fails, in every tier."""

from __future__ import annotations

import logging

import pytest

from tests.contract.tiers import Queue, Tier


@pytest.mark.parametrize(
    ("max_retries", "delays"), [(3, [1.0, 2.0, 4.0]), (4, [1.0, 2.0, 4.0, 8.0])]
)
def test_each_retry_waits_twice_as_long_and_after_the_last_the_job_has_failed(
    tier: Tier, max_retries: int, delays: list[float]
) -> None:
    jq = tier.open(manual=True, num_workers=1, max_retries=max_retries)
    tier.enqueue_failing(jq, "a")
    for retried, delay in enumerate(delays, start=1):
        assert tier.next_ran(1) == ["a"]
        _until_retried(tier, jq, retried)
        tier.advance(0.9 * delay)
        tier.enqueue_plain(jq, f"before retry {retried}")
        assert tier.next_ran(1) == [f"before retry {retried}"]
        tier.advance(0.2 * delay)

    assert tier.next_ran(1) == ["a"]
    tier.until(jq, lambda m: m.failed == 1)
    assert tier.ran.empty()
    assert jq.metrics().retried == max_retries


def test_a_job_that_succeeds_at_last_has_completed(tier: Tier) -> None:
    jq = tier.open(base_delay=0.001)
    tier.enqueue_failing(jq, "a", times=2)
    jq.close()

    assert tier.next_ran(3) == ["a", "a", "a"]
    metrics = jq.metrics()
    assert (metrics.completed, metrics.failed, metrics.retried) == (1, 0, 2)


def test_without_retries_the_first_failure_is_the_last(tier: Tier) -> None:
    jq = tier.open(max_retries=0)
    tier.enqueue_failing(jq, "a")
    jq.close()

    assert tier.next_ran(1) == ["a"]
    assert tier.ran.empty()
    assert (jq.metrics().failed, jq.metrics().retried) == (1, 0)


def test_a_job_that_waits_for_its_retry_takes_neither_room_nor_a_worker(tier: Tier) -> None:
    jq = tier.open(manual=True, num_workers=1, queue_size=1)
    for n in range(3):
        tier.enqueue_failing(jq, str(n))
        _until_retried(tier, jq, n + 1)
    tier.next_ran(3)

    tier.enqueue_plain(jq, "new", timeout=0)
    assert tier.next_ran(1) == ["new"]


def test_a_retry_that_is_due_needs_no_room_in_its_lane(tier: Tier) -> None:
    jq = tier.open(manual=True, num_workers=1, queue_size=1)
    tier.enqueue_failing(jq, "retry", times=1)
    _until_retried(tier, jq, 1)
    tier.hold(jq)
    tier.enqueue_plain(jq, "fills the lane")
    tier.advance(1.1)
    tier.gate.set()

    assert sorted(tier.next_ran(3)) == ["fills the lane", "retry", "retry"]


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_a_handler_raises_is_a_failed_attempt_and_the_worker_lives_on(
    tier: Tier, raised: type[BaseException]
) -> None:
    jq = tier.open(num_workers=1, base_delay=0.0, max_retries=2)

    def fail() -> None:
        tier.ran.put("bad")
        raise raised

    tier.enqueue(jq, "bad", fail)
    tier.until(jq, lambda m: m.failed == 1)
    tier.enqueue_plain(jq, "good")

    assert tier.next_ran(4) == ["bad", "bad", "bad", "good"]


def test_each_failed_attempt_is_logged_with_its_traceback(
    tier: Tier, caplog: pytest.LogCaptureFixture
) -> None:
    jq = tier.open(base_delay=0.0, max_retries=2)
    with caplog.at_level(logging.DEBUG, logger="jobqueue"):
        tier.enqueue_failing(jq, "invoice-7")
        jq.close()

    attempts = [record for record in caplog.records if record.exc_info]
    assert len(attempts) == 3
    for record in attempts:
        assert record.name == "jobqueue"
        assert "invoice-7" in record.getMessage()
        assert record.exc_info is not None
        assert record.exc_info[0] is ConnectionError


def _until_retried(tier: Tier, jq: Queue, retried: int) -> None:
    tier.until(jq, lambda m: m.retried == retried and m.processing == 0)
