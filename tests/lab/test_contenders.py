"""The tiers behind one call."""

from __future__ import annotations

import threading

import pytest

from jobqueue.final import Config, JobQueue, Priority
from lab.contenders import Opener, open_final, open_improved, open_naive

WAIT_SECONDS_MAX = 10.0

OPENERS = {
    "naive": lambda: open_naive(1),
    "improved": lambda: open_improved(1, 10),
    "final": lambda: open_final(Config(num_workers=1, queue_size=10)),
}


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_each_tier_runs_what_it_is_given_even_twice(opener: Opener) -> None:
    ran = threading.Semaphore(0)

    def run() -> None:
        ran.release()

    with opener() as contender:
        for priority in Priority:
            contender.enqueue(priority, run)
        assert all(ran.acquire(timeout=WAIT_SECONDS_MAX) for _ in Priority)


@pytest.mark.parametrize("name", ["improved", "final"])
def test_tiers_that_count_tell_how_many_jobs_wait(name: str) -> None:
    begun, end = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        end.wait(WAIT_SECONDS_MAX)

    with OPENERS[name]() as contender:
        contender.enqueue(Priority.HIGH, block)
        assert begun.wait(WAIT_SECONDS_MAX)
        contender.enqueue(Priority.LOW, end.set)
        assert contender.queued() == 1
        end.set()


def test_another_part_is_put_in_before_the_workers_start() -> None:
    seen: list[int] = []

    def change(queue: JobQueue) -> None:
        seen.append(queue.metrics().workers.count)

    with open_final(Config(num_workers=3), change) as contender:
        assert contender.final is not None
    assert seen == [0]
