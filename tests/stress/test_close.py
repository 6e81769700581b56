"""Close, cancel and start in the midst of everything else: each job is accounted for."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import pytest

from jobqueue.final import JobQueue, QueueClosedError, Status
from jobqueue.final.runtime.reporting import Reporter
from tests.stress.crowd import (
    LONG,
    Tally,
    await_all,
    check_at_rest,
    check_consistent,
    deal,
    in_threads,
    make_job,
    random_priorities,
)
from tests.support.handlers import in_thread
from tests.support.left_out import often
from tests.support.queues import Store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_tracer")]


TIMES = often(2, 5)


class Producers:
    """Threads that enqueue until the queue is closed, and note what was accepted.

    Attributes:
        accepted: ids of jobs whose call returned, or that the error of `enqueue_many` lists.
        refused: those of the others.
    """

    def __init__(self, jq: JobQueue, count: int, rng: random.Random, prefix: str = "") -> None:
        self._jq = jq
        self._prefix = prefix
        self._lock = threading.Lock()
        self._count = count
        self._begun = threading.Semaphore(0)
        self._seeds = [rng.randrange(1 << 32) for _ in range(count)]
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self._done = [in_thread(self._produce, number) for number in range(count)]

    def _produce(self, number: int) -> None:
        rng = random.Random(self._seeds[number])
        accepted: list[str] = []
        for count in range(1_000_000):
            ids = [f"{self._prefix}{number}-{count}-{n}" for n in range(rng.choice([1, 1, 1, 5]))]
            try:
                self._enqueue(ids, rng)
            except QueueClosedError as error:
                taken = [handle.id for handle in error.accepted]
                accepted += taken
                with self._lock:
                    self.accepted += accepted
                    self.refused += [job_id for job_id in ids if job_id not in taken]
                return
            accepted += ids
            if count == 3:
                self._begun.release()

    def _enqueue(self, ids: list[str], rng: random.Random) -> None:
        jobs = [make_job(job_id, random_priorities([job_id], rng)[job_id]) for job_id in ids]
        if len(jobs) > 1:
            self._jq.enqueue_many(jobs)
        elif rng.random() < 0.2:
            self._jq.enqueue(jobs[0], delay=0.001)
        else:
            self._jq.enqueue(jobs[0])

    def await_begun(self) -> None:
        """Return when all of them are at it."""
        for _ in range(self._count):
            assert self._begun.acquire(timeout=LONG)

    def await_refused(self) -> None:
        """Return when all of them have met the closed queue."""
        await_all(self._done)


@pytest.mark.parametrize("queue_size", [2, 100])
def test_close_among_producers_in_memory_runs_all_that_was_accepted_and_nothing_else(
    memory: Store, rng: random.Random, queue_size: int
) -> None:
    for _ in range(TIMES):
        tally = Tally()
        jq = memory.open(tally, queue_size=queue_size)
        producers = Producers(jq, 30, rng)
        producers.await_begun()

        report = jq.close(LONG)

        producers.await_refused()
        assert (report.unfinished, report.remaining) == ((), 0)
        assert tally.attempts == Counter(producers.accepted)
        check_at_rest(jq)


@pytest.mark.parametrize("queue_size", [2, 100])
def test_close_among_producers_with_a_log_leaves_there_what_it_did_not_run(
    log_store: Store, rng: random.Random, queue_size: int
) -> None:
    tally = Tally()
    accepted: list[str] = []
    for number in range(TIMES):
        jq = log_store.open(tally, queue_size=queue_size)
        found = jq.metrics().enqueued
        producers = Producers(jq, 30, rng, prefix=f"run {number}: ")
        producers.await_begun()

        report = jq.close(LONG)

        producers.await_refused()
        accepted += producers.accepted
        metrics = jq.metrics()
        assert metrics.enqueued == found + len(producers.accepted)
        assert metrics.enqueued == metrics.completed + report.remaining
        check_consistent(metrics)
    last = log_store.open(tally, queue_size=queue_size)
    assert last.metrics().enqueued == report.remaining
    assert last.join(LONG)
    assert tally.attempts == Counter(accepted)


def test_producers_retries_and_close_at_once_lose_nothing(
    store: Store, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reporter, "report_and_wait", lambda *_args: None)
    settings: dict[str, Any] = {"queue_size": 20, "base_delay": 0.001, "jitter": 1.0}

    class Flaky(Tally):
        def __call__(self, payload: bytes, context: Any) -> bytes:
            if context.attempt < len(payload) % 3:
                raise ConnectionError
            return super().__call__(payload, context)

    tally = Flaky()
    jq = store.open(tally, **settings)
    producers = Producers(jq, 30, rng)
    producers.await_begun()
    finished_before = jq.metrics().completed

    report = jq.close(LONG)

    producers.await_refused()
    metrics = jq.metrics()
    assert report.unfinished == ()
    assert finished_before + report.completed <= metrics.completed
    assert metrics.enqueued == len(producers.accepted)
    assert metrics.enqueued == metrics.completed + report.remaining
    if store.kind == "memory":
        assert report.remaining == 0
    else:
        again = store.open(tally, **settings)
        assert again.metrics().enqueued == report.remaining
        assert again.join(LONG)
        check_at_rest(again)
    assert tally.attempts == Counter(producers.accepted)


def test_cancels_that_race_with_the_start_each_win_or_lose(
    store: Store, rng: random.Random
) -> None:
    for _ in range(3):
        tally = Tally()
        jq = store.open(tally, start=False, num_workers=8, queue_size=3_000)
        ids = [f"{rng.random()}" for _ in range(3_000)]
        priorities = random_priorities(ids, rng)
        jq.enqueue_many([make_job(job_id, priorities[job_id]) for job_id in ids])
        rng.shuffle(ids)
        answers: dict[str, bool] = {}

        def cancel(share: list[str], jq: JobQueue = jq, answers: dict[str, bool] = answers) -> None:
            if not share:
                jq.start()
            for job_id in share:
                answers[job_id] = jq.cancel(job_id)

        in_threads(cancel, [*deal(ids, 6), []])
        assert jq.join(LONG)

        check_at_rest(jq)
        statuses = {job_id: jq.status(job_id) for job_id in ids}
        ran = {job_id for job_id, status in statuses.items() if status is Status.COMPLETED}
        assert tally.attempts == Counter(ran)
        assert all(answers[job_id] for job_id in ids if job_id not in ran)
        assert set(statuses.values()) <= {Status.COMPLETED, Status.CANCELLED}
        metrics = jq.metrics()
        assert (metrics.completed, metrics.cancelled) == (len(ran), len(ids) - len(ran))
        jq.close()


def test_many_who_close_at_once_get_the_same_report(store: Store, rng: random.Random) -> None:
    tally = Tally()
    jq = store.open(tally, queue_size=10)
    producers = Producers(jq, 10, rng)
    producers.await_begun()

    closed = [in_thread(jq.close, LONG) for _ in range(8)]

    reports = {future.result(LONG) for future in closed}
    producers.await_refused()
    assert len(reports) == 1
    assert jq.metrics().enqueued == jq.metrics().completed + reports.pop().remaining
