"""What the stress tests share: many producers, a handler that keeps count, a watcher of metrics."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from jobqueue.final import Job, JobContext, JobQueue, LaneMetrics, Metrics, Priority
from tests.support import insides
from tests.support.handlers import in_thread

LONG = 100.0
"""Seconds until something that takes a few is taken for hung."""


class Tally:
    """A handler that counts the attempts of each job, and fails some of them.

    Args:
        failures: how many attempts of a job fail before one succeeds; none where it is not there.
    """

    def __init__(self, failures: dict[str, int] | None = None) -> None:
        self._lock = threading.Lock()
        self._failures = failures or {}
        self.attempts: Counter[str] = Counter()

    def __call__(self, payload: bytes, context: JobContext) -> bytes:
        job_id = context.job.id
        assert payload == job_id.encode()
        with self._lock:
            self.attempts[job_id] += 1
            number = self.attempts[job_id]
        if number <= self._failures.get(job_id, 0):
            raise ConnectionError(f"attempt {number} of {job_id}")
        return payload


def make_job(job_id: str, priority: Priority = Priority.MEDIUM) -> Job:
    return Job(job_id.encode(), id=job_id, priority=priority)


def deal(ids: list[str], hands: int) -> list[list[str]]:
    return [ids[number::hands] for number in range(hands)]


def in_threads(call: Callable[[list[str]], object], shares: Iterable[list[str]]) -> None:
    """Make a call in a thread of its own for each share, all at once; raise what one raises."""
    shares = list(shares)
    all_here = threading.Barrier(len(shares))

    def make(share: list[str]) -> None:
        all_here.wait(LONG)
        call(share)

    await_all([in_thread(make, share) for share in shares])


def await_all(futures: Iterable[Future[object]]) -> None:
    for future in futures:
        future.result(LONG)


def random_priorities(ids: list[str], rng: random.Random) -> dict[str, Priority]:
    return {job_id: Priority(rng.randrange(3)) for job_id in ids}


def check_consistent(metrics: Metrics) -> None:
    """What holds in each snapshot, whatever goes on."""
    counted: list[Metrics | LaneMetrics] = [metrics, *metrics.by_priority.values()]
    for lane in counted:
        ended = lane.completed + lane.failed + lane.cancelled
        assert lane.enqueued == lane.queued + lane.scheduled + lane.processing + ended, metrics
        assert min(lane.queued, lane.scheduled, lane.processing, lane.retried) >= 0, metrics
    assert metrics.workers.busy == metrics.processing <= metrics.workers.count, metrics


@contextmanager
def watched(jq: JobQueue, queue_size: int) -> Iterator[None]:
    """Ask for the metrics, over and over, while the block runs; each snapshot is consistent.

    No lane holds more than `queue_size` jobs, apart from those that were retried.
    """
    stop = threading.Event()

    def watch() -> int:
        looks = 0
        while not stop.wait(0.002):
            metrics = jq.metrics()
            check_consistent(metrics)
            for lane in metrics.by_priority.values():
                assert lane.queued <= queue_size + lane.retried, metrics
            looks += 1
        return looks

    looking = in_thread(watch)
    try:
        yield
    finally:
        stop.set()
    assert looking.result(LONG) > 0


def check_at_rest(jq: JobQueue) -> None:
    """Nothing is left, and all places are free."""
    metrics = jq.metrics()
    assert (metrics.queued, metrics.scheduled, metrics.processing) == (0, 0, 0)
    assert metrics.enqueued == metrics.completed + metrics.failed + metrics.cancelled
    with insides.mutex(jq):
        scheduler = insides.scheduler(jq)
        insides.check_lanes(scheduler)
        assert all(lane.room == lane.maxsize for lane in scheduler.lanes)
        assert not any(lane.producers for lane in scheduler.lanes)
    assert insides.waiting_for_rest(jq) == []
