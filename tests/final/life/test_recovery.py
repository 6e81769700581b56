"""What recovery settles by itself; the round trips are in test_persistence.py."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from jobqueue.final import Job, Priority, Status, UnknownJobError
from jobqueue.final.testing import ManualClock
from tests.support.queues import Attempts, Store
from tests.support.waiting import PATIENCE


def fails(_payload: bytes) -> None:
    raise ValueError


def test_an_id_that_was_forgotten_and_used_again_stands_for_its_last_job(
    log_store: Store,
) -> None:
    jq = log_store.open(Attempts(), status_retention=1)
    jq.enqueue(Job(b"first", id="job")).wait(PATIENCE)
    jq.enqueue(Job(id="other")).wait(PATIENCE)  # now the first is forgotten
    jq.enqueue(Job(b"second", id="job", handler="later"))
    jq.close()

    jq = log_store.open(start=False, status_retention=100)

    assert jq.status("job") is Status.QUEUED
    assert jq.status("other") is Status.COMPLETED


def test_of_two_finished_jobs_with_one_id_the_last_is_remembered(log_store: Store) -> None:
    jq = log_store.open(Attempts(), status_retention=1)
    jq.enqueue(Job(id="job", headers={"run": "first"})).wait(PATIENCE)
    jq.enqueue(Job(id="other")).wait(PATIENCE)
    jq.enqueue(Job(id="job", headers={"run": "second"})).wait(PATIENCE)
    jq.close()

    jq = log_store.open(Attempts(), status_retention=2)

    assert jq.info("job").headers == {"run": "second"}
    jq.enqueue(Job(id="third")).wait(PATIENCE)
    assert jq.status("job") is Status.COMPLETED  # it is the younger of two, and still remembered


def test_what_ended_last_is_forgotten_last_though_the_wall_clock_was_set_back(
    log_store: Store,
) -> None:
    settings: dict[str, Any] = {"status_retention": 3, "max_dead_letters": 2, "max_retries": 0}
    for start, ids in ((2_000_000_000.0, "ab"), (1_000_000_000.0, "cd")):
        clock = ManualClock(start=start)
        jq = log_store.open(len, handlers={"fails": fails}, clock=clock, **settings)
        jq.enqueue(Job(id=ids[0])).wait(PATIENCE)
        jq.enqueue(Job(id=ids[1])).wait(PATIENCE)
        jq.enqueue(Job(id=f"dead {ids[0]}", handler="fails")).wait(PATIENCE)
        jq.close()

    settings["max_dead_letters"] = 1
    jq = log_store.open(len, start=False, **settings)

    assert [info.id for info in jq.dead_letters()] == ["dead c"]
    assert [jq.status(job_id) for job_id in "bcd"] == [Status.COMPLETED] * 3
    jq.start()
    jq.enqueue(Job(id="e")).wait(PATIENCE)
    with pytest.raises(UnknownJobError):
        jq.status("b")
    assert jq.status("c") is Status.COMPLETED


def test_jobs_of_all_lanes_come_back_in_their_order_and_are_counted(log_store: Store) -> None:
    jq = log_store.open(Attempts(), start=False)
    for number in range(6):
        jq.enqueue(Job(b"%d" % number, priority=Priority(number % 3)))
    jq.close()

    attempts = Attempts()
    jq = log_store.open(attempts, start=False, num_workers=1)

    for lane in jq.metrics().by_priority.values():
        assert (lane.enqueued, lane.queued, lane.scheduled) == (2, 2, 0)
    jq.start()
    jq.join(PATIENCE)
    assert [context.job.payload for context in attempts.contexts] == [
        b"%d" % number for number in (0, 3, 1, 4, 2, 5)
    ]


def test_jobs_that_wait_for_a_time_or_a_handler_are_counted_once(log_store: Store) -> None:
    jq = log_store.open(Attempts(), start=False)
    jq.enqueue(Job(id="now"))
    jq.enqueue(Job(id="parked", handler="later"))
    jq.enqueue(Job(id="delayed"), delay=3600)
    jq.close()

    jq = log_store.open(Attempts(), start=False, clock=ManualClock())

    lane = jq.metrics().by_priority[Priority.MEDIUM]
    assert (lane.enqueued, lane.queued, lane.scheduled) == (3, 2, 1)
    assert jq.status("delayed") is Status.SCHEDULED


@pytest.mark.parametrize("enabled", [True, False])
def test_opening_a_log_leaves_the_garbage_collector_as_it_was(
    log_store: Store, enabled: bool
) -> None:
    log_store.open(start=False).close()
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        log_store.open(start=False)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
