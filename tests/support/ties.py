"""Whether what ties jobs to each other, to limits and to times is as it should be."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from jobqueue.final import Status
from tests.support import insides
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.final import JobQueue


def check_whole(jq: JobQueue) -> None:
    """All that is counted fits what is there, each job is in one place, each tie will be loosed.

    What is left to the timer's thread is waited for.
    """
    until_looked_after(jq)
    with insides.mutex(jq):
        insides.mutex(jq).settle()
        insides.check_lanes(insides.scheduler(jq))
        insides.check_places(jq)
        insides.check_ties(jq)
    check_counts(jq)


def until_looked_after(jq: JobQueue) -> None:
    """Wait until the jobs are cancelled, or queued, that those before them have ended."""
    if insides.journal(jq) is not None:
        jq.flush()
    eventually(lambda: not insides.bindings(jq).has_doomed)


def check_counts(jq: JobQueue) -> None:
    """What was accepted has ended, or is there still."""
    with insides.mutex(jq):
        status = insides.status_map(jq)
        statuses = Counter(map(insides.recorded_status, status.live.values()))
        meters = status.meters
        assert statuses[Status.QUEUED] == sum(each.queued for each in meters)
        assert statuses[Status.SCHEDULED] == sum(each.scheduled for each in meters)
        assert statuses[Status.PROCESSING] == sum(each.processing for each in meters)


def check_rest(jq: JobQueue) -> None:
    """All jobs have ended, and nothing is left of what tied them."""
    until_looked_after(jq)
    check_whole(jq)
    metrics = jq.metrics()
    ended = metrics.completed + metrics.failed + metrics.cancelled
    assert metrics.enqueued == ended, list(insides.status_map(jq).live.values())
    assert (metrics.queued, metrics.limited) == (0, 0)
