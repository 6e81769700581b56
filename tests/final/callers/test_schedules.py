"""What is registered, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobqueue.final import Job, JobQueue, QueueClosedError
from jobqueue.final.callers.schedules import NAME_LENGTH_MAX
from jobqueue.final.testing import ManualClock
from tests.support.handlers import Recorder
from tests.support.queues import Store

HOUR = 3600.0


async def coroutine() -> Job:
    return Job()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"schedule": "0 0 30 2 *"}, ValueError, "no cron expression"),
        ({"schedule": 60}, TypeError, "a timedelta"),
        ({"tz": "Europe/Nowhere"}, ValueError, "no time zone"),
        ({"catch_up": "some"}, ValueError, "'none' or 'last' or 'all', not 'some'"),
        ({"catch_up": None}, ValueError, "'none' or 'last' or 'all', not None"),
        ({"name": ""}, ValueError, "1 to 255 characters"),
        ({"name": 5}, TypeError, "must be text"),
        ({"name": "\ud800"}, ValueError, "surrogate"),
        ({"name": "x" * (NAME_LENGTH_MAX + 1)}, ValueError, "1 to 227 characters"),
        ({"job_factory": Job()}, TypeError, "returns a Job"),
        ({"job_factory": coroutine}, TypeError, "plain function"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    memory: Store, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    jq = memory.open(len)
    arguments: dict[str, Any] = {"name": "a", "schedule": "@daily", "job_factory": Job}
    with pytest.raises(error, match=words):
        jq.periodic(**(arguments | changes))
    assert jq.periodics() == []


def test_the_longest_name_makes_ids_that_a_job_may_have(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(len, clock=clock)
    jq.periodic("x" * NAME_LENGTH_MAX, timedelta(milliseconds=1.5), Job)
    clock.advance(0.0015)
    assert jq.metrics().enqueued == 1


def test_the_same_schedule_again_takes_the_new_function(memory: Store, clock: ManualClock) -> None:
    recorder = Recorder()
    jq = memory.open(recorder, clock=clock)
    jq.periodic("report", "@hourly", lambda: Job(b"old"))
    jq.periodic("report", "0  * * * *", lambda: Job(b"new"), catch_up="all")
    clock.advance(2 * HOUR)
    assert jq.join(10)
    assert [recorder.next().payload for _ in range(2)] == [b"new"] * 2


@pytest.mark.parametrize(
    "other", [{"schedule": "@daily"}, {"schedule": timedelta(hours=1)}, {"tz": "Europe/Berlin"}]
)
def test_another_schedule_under_a_name_that_is_taken_is_refused(
    memory: Store, other: dict[str, Any]
) -> None:
    jq = memory.open(len)
    jq.periodic("report", "@hourly", Job)
    arguments: dict[str, Any] = {"schedule": "@hourly", "job_factory": Job} | other
    with pytest.raises(ValueError, match="'report' is taken by another schedule, '@hourly' in UTC"):
        jq.periodic("report", **arguments)


@pytest.mark.parametrize("call", [JobQueue.pause, JobQueue.resume])
def test_to_pause_a_schedule_that_is_not_there_is_refused(
    memory: Store, call: Callable[..., None]
) -> None:
    jq = memory.open(len)
    with pytest.raises(ValueError, match="no schedule 'reports'; there are: none"):
        call(jq, periodic="reports")
    jq.periodic("report", "@hourly", Job)
    with pytest.raises(ValueError, match="no schedule 'reports'; there are: 'report'"):
        call(jq, periodic="reports")
    with pytest.raises(TypeError, match="a schedule's name"):
        call(jq, periodic=5)


def test_a_closed_queue_takes_no_schedule(memory: Store) -> None:
    jq = memory.open(len)
    jq.close()
    with pytest.raises(QueueClosedError):
        jq.periodic("report", "@hourly", Job)
