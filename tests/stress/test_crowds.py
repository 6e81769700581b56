"""Crowds of producers: nothing is lost, nothing runs twice, every count is exact."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import JobContext, Priority, Status
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


def test_20_000_jobs_of_1_000_producers_run_exactly_once(memory: Store, rng: random.Random) -> None:
    tally = Tally()
    jq = memory.open(tally, num_workers=10, queue_size=200)
    ids = [str(number) for number in range(20_000)]
    priorities = random_priorities(ids, rng)

    def produce(share: list[str]) -> None:
        for job_id in share:
            jq.enqueue(make_job(job_id, priorities[job_id]))

    with watched(jq, 200):
        in_threads(produce, deal(ids, 1000))
        assert jq.join(LONG)

    assert tally.attempts == Counter(ids)
    check_at_rest(jq)
    metrics = jq.metrics()
    assert (metrics.enqueued, metrics.completed, metrics.retried) == (20_000, 20_000, 0)
    for priority, count in Counter(priorities.values()).items():
        assert metrics.by_priority[priority].completed == count
    assert all(jq.status(job_id) is Status.COMPLETED for job_id in ids)


def test_20_000_jobs_of_200_producers_go_through_a_log_and_are_all_told_of_after_it(
    log_store: Store, rng: random.Random
) -> None:
    tally = Tally()
    settings: dict[str, Any] = {"num_workers": 10, "queue_size": 1000, "segment_bytes": 1 << 20}
    jq = log_store.open(tally, **settings)
    ids = [str(number) for number in range(20_000)]
    priorities = random_priorities(ids, rng)

    def produce(share: list[str]) -> None:
        jobs = [make_job(job_id, priorities[job_id]) for job_id in share]
        jq.enqueue_many(jobs[:50])
        for job in jobs[50:]:
            jq.enqueue(job)

    with watched(jq, 1000):
        in_threads(produce, deal(ids, 200))
        assert jq.join(LONG)
    check_at_rest(jq)
    jq.close()

    again = log_store.open(tally, **settings)
    assert again.join(LONG)
    assert again.metrics().enqueued == 0
    assert tally.attempts == Counter(ids)
    assert all(again.status(job_id) is Status.COMPLETED for job_id in ids)


def test_64_producers_share_fsyncs_and_lose_nothing_that_was_accepted(
    fsynced: Store, tmp_path: Path
) -> None:
    jq = fsynced.open(Tally(), start=False, queue_size=10_000)
    ids = [str(number) for number in range(6_400)]

    def produce(share: list[str]) -> None:
        for job_id in share:
            jq.enqueue(make_job(job_id))

    in_threads(produce, deal(ids, 64))
    image = Store("fsync", tmp_path / "image")
    shutil.copytree(fsynced.path, image.path)  # what kill -9 leaves
    log = jq.metrics().log
    assert log is not None
    assert log.lag_records == 0
    assert log.fsyncs <= len(ids) // 4

    tally = Tally()
    again = image.open(tally, num_workers=10)
    assert again.join(LONG)
    assert tally.attempts == Counter(ids)
    image.close()


@pytest.mark.parametrize("num_workers", [1, 4])
def test_handlers_that_enqueue_more_than_there_is_room_for_get_it_all_done(
    store: Store, rng: random.Random, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reporter, "report_and_wait", lambda *_args: None)
    chains, length = 50, 20
    ran: Counter[str] = Counter()

    def link(payload: bytes, context: JobContext) -> None:
        chain, number = map(int, payload.split(b"-"))
        if number < length - 1:
            following = f"{chain}-{number + 1}"
            jq.enqueue(make_job(following, priorities[following]))
        ran[context.job.id] += 1  # one chain is never in two handlers

    jq = store.open(link, num_workers=num_workers, queue_size=10, max_retries=1_000_000)
    ids = [f"{chain}-{number}" for chain in range(chains) for number in range(length)]
    priorities = random_priorities(ids, rng)
    with watched(jq, chains):  # handlers wait for no room, so all chains may be in one lane
        for chain in range(chains):
            jq.enqueue(make_job(f"{chain}-0"))
        assert jq.join(LONG)

    assert ran == Counter(ids)
    check_at_rest(jq)
    assert jq.metrics().completed == chains * length


def test_of_full_lanes_each_gets_its_share_of_the_starts(memory: Store) -> None:
    order: list[Priority] = []

    def handler(_payload: bytes, context: JobContext) -> None:
        order.append(context.job.priority)

    jq = memory.open(handler, start=False, num_workers=1, queue_size=2_000)
    for number in range(6_000):
        jq.enqueue(make_job(str(number), Priority(number % 3)))
    jq.start()
    assert jq.join(LONG)

    served = Counter(order[:1_200])
    assert 960 <= served[Priority.HIGH] <= 1_030
    assert served[Priority.MEDIUM] >= 90
    assert served[Priority.LOW] >= 90
