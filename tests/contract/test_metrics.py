"""The counts that all tiers give."""

from __future__ import annotations

import pytest

from tests.contract.tiers import Tier


def test_each_job_is_counted_where_it_is(tier: Tier) -> None:
    jq = tier.open(num_workers=1, base_delay=0.0, max_retries=2)
    tier.enqueue_plain(jq, "completes")
    tier.enqueue_failing(jq, "fails")
    tier.until(jq, lambda m: m.completed == 1 and m.failed == 1)
    tier.hold(jq)
    for name in ("waits", "waits too"):
        tier.enqueue_plain(jq, name)

    metrics = jq.metrics()
    assert metrics.queued == 2
    assert metrics.processing == 1
    assert metrics.completed == 1
    assert metrics.failed == 1
    assert metrics.retried == 2


def test_an_unused_queue_counts_nothing(tier: Tier) -> None:
    metrics = tier.open().metrics()

    for field in ("queued", "processing", "completed", "failed", "retried"):
        assert getattr(metrics, field) == 0


def test_a_snapshot_does_not_change(tier: Tier) -> None:
    jq = tier.open()
    metrics = jq.metrics()
    tier.enqueue_plain(jq, "a")
    tier.until(jq, lambda m: m.completed == 1)

    assert metrics.completed == 0
    with pytest.raises(AttributeError):
        metrics.completed = 1
