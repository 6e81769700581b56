"""Jobs that fail now and then, by the thousand: each is tried as often as promised."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from jobqueue.final import Status
from jobqueue.final.runtime.reporting import Reporter
from tests.stress.crowd import (
    LONG,
    Tally,
    check_at_rest,
    deal,
    in_threads,
    make_job,
    random_priorities,
    watched,
)
from tests.support.queues import Store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_tracer")]

MAX_RETRIES = 2
SETTINGS: dict[str, Any] = {
    "num_workers": 10,
    "queue_size": 100,
    "max_retries": MAX_RETRIES,
    "base_delay": 0.001,
    "jitter": 1.0,
    "max_dead_letters": 10_000,
}


def failures_of(ids: list[str], rng: random.Random) -> dict[str, int]:
    """Four in ten fail once or twice, one in ten for good."""
    return {job_id: rng.choice([0, 0, 0, 0, 0, 1, 1, 2, 2, 3]) for job_id in ids}


def expected_attempts(failures: dict[str, int]) -> Counter[str]:
    return Counter({job_id: min(count, MAX_RETRIES) + 1 for job_id, count in failures.items()})


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand records with tracebacks would be most of the work."""
    monkeypatch.setattr(Reporter, "report_and_wait", lambda *_args: None)


def test_10_000_jobs_are_each_tried_until_they_succeed_or_have_failed_for_good(
    log_store: Store, rng: random.Random
) -> None:
    ids = [str(number) for number in range(10_000)]
    failures, priorities = failures_of(ids, rng), random_priorities(ids, rng)
    tally = Tally(failures)
    jq = log_store.open(tally, **SETTINGS)

    def produce(share: list[str]) -> None:
        for job_id in share:
            jq.enqueue(make_job(job_id, priorities[job_id]))

    with watched(jq, 100):
        in_threads(produce, deal(ids, 100))
        assert jq.join(LONG)

    assert tally.attempts == expected_attempts(failures)
    check_at_rest(jq)
    metrics = jq.metrics()
    failed = {job_id for job_id, count in failures.items() if count > MAX_RETRIES}
    assert metrics.enqueued == len(ids)
    assert metrics.failed == len(failed)
    assert metrics.retried == tally.attempts.total() - len(ids)
    assert {info.id for info in jq.dead_letters()} == failed


def test_a_close_in_the_midst_of_retries_costs_no_attempt_and_repeats_none(
    log_store: Store, rng: random.Random
) -> None:
    ids = [str(number) for number in range(5_000)]
    failures, priorities = failures_of(ids, rng), random_priorities(ids, rng)
    tally = Tally(failures)
    jq = log_store.open(tally, **SETTINGS)

    def produce(share: list[str]) -> None:
        for job_id in share:
            jq.enqueue(make_job(job_id, priorities[job_id]))

    in_threads(produce, deal(ids, 50))
    report = jq.close()
    assert report.unfinished == ()

    for _ in range(3):
        with log_store.open(tally, **SETTINGS) as jq:
            assert jq.metrics().enqueued <= report.remaining
            report = jq.close()
    last = log_store.open(tally, **SETTINGS)
    assert last.join(LONG)

    assert tally.attempts == expected_attempts(failures)
    for job_id, count in failures.items():
        ended = Status.FAILED if count > MAX_RETRIES else Status.COMPLETED
        assert last.status(job_id) is ended
    check_at_rest(last)
