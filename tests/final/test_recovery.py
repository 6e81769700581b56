"""What recovery settles by itself; the round trips are in test_persistence.py."""

from __future__ import annotations

from jobqueue.final import Job, Status
from tests.support.queues import Attempts, Store
from tests.support.waiting import PATIENCE


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
