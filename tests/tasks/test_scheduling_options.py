"""`key`, `unique`, `after`, `expires`, `limit` and `rate` of tasks and of their calls."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from jobqueue import Config, DuplicateJobError, JobHandle, Limit, Rate, Status, Unique
from jobqueue.tasks import Tasks
from jobqueue.testing import ManualClock, run_all
from tests.support.waiting import PATIENCE

tasks = Tasks()


@tasks.task
def note(text: str) -> str:
    return text


@tasks.task(max_retries=0)
def fail() -> None:
    raise ValueError


@tasks.task(key="the report", unique=Unique(), expires=timedelta(minutes=1))
def report(day: int) -> int:
    return day


@tasks.task(unique=Unique(on_conflict="raise"))
def charge(cents: int) -> int:
    return cents


def test_the_options_of_a_call_are_those_of_its_job() -> None:
    unique = Unique(by="key")
    with tasks.open(start=False):
        first, second = note.enqueue("a"), note.enqueue("b")
        after: list[str | JobHandle[str]] = [first, second.id]
        call = note.using(key="k", unique=unique, after=iter(after), expires=5)
        for job in (call.job("c"), call.enqueue("c").job):  # an iterator is not used up
            assert (job.key, job.unique, job.expires) == ("k", unique, 5.0)
            assert job.after == (first.id, second.id)
        assert note.job("d").key is None


def test_the_options_of_a_task_are_those_of_its_jobs_and_a_call_may_have_others() -> None:
    job = report.job(1)
    assert (job.key, job.unique, job.expires) == ("the report", Unique(), 60.0)
    other = report.using(key="another", expires=timedelta(seconds=2)).job(1)
    assert (other.key, other.unique, other.expires) == ("another", Unique(), 2.0)


def test_a_call_that_is_like_one_that_waits_gives_a_handle_of_that() -> None:
    with tasks.open(start=False) as queue:
        first, second = report.enqueue(1), report.enqueue(2)
        assert (first.existing, second.existing) == (False, True)
        run_all(queue)
        assert (second.result(0), second.id) == (1, first.id)
        assert not report.enqueue(3).existing


def test_a_task_may_refuse_a_second_one() -> None:
    with tasks.open(start=False):
        charge.using(key="order 7").enqueue(100)
        charge.using(key="order 8").enqueue(100)
        with pytest.raises(DuplicateJobError, match="unique by"):
            charge.using(key="order 7").enqueue(100)


def test_a_unique_call_without_a_key_says_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"task 'charge' is unique.*charge\.using\(key=\.\.\.\)"):
        charge.job(1)
    by_payload = charge.using(unique=Unique(by="handler+payload"))
    assert by_payload.job(1).key is None


def test_a_call_runs_after_others_and_is_cancelled_with_them() -> None:
    with tasks.open(start=False) as queue:
        first, failing = note.enqueue("a"), fail.enqueue()
        second = note.using(after=[first]).enqueue("b")
        never = note.using(after=[first.id, failing]).enqueue("c")
        assert (second.status, never.status) == (Status.SCHEDULED, Status.SCHEDULED)
        run_all(queue)
        assert (second.status, never.status) == (Status.COMPLETED, Status.CANCELLED)


def test_a_call_that_has_not_started_in_time_is_cancelled() -> None:
    job_clock = ManualClock()
    with tasks.open(start=False, clock=job_clock) as queue:
        by_task, by_call = report.enqueue(1), note.using(expires=5).enqueue("a")
        job_clock.advance(6)
        run_all(queue)
        assert (by_task.status, by_call.status) == (Status.COMPLETED, Status.CANCELLED)
        assert queue.info(by_call.id).last_error == "expired after 5 s"


def test_tasks_share_a_limit_by_being_given_the_same() -> None:
    limited, limit = Tasks(), Limit(1)
    running, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1

    one = limited.task(name="one", limit=limit)(work)
    two = limited.task(name="two", limit=limit)(work)
    with limited.open(Config(num_workers=4)) as queue:
        for _ in range(5):
            one.enqueue()
            two.enqueue()
        assert queue.join(PATIENCE)
    assert most == 1


def test_a_rate_is_that_of_the_queue() -> None:
    paced, job_clock = Tasks(), ManualClock()

    @paced.task(name="paced", rate=Rate(2, per=10.0))
    def step(number: int) -> int:
        return number

    with paced.open(start=False, clock=job_clock) as queue:
        handles = [step.enqueue(number) for number in range(3)]
        run_all(queue)
        assert [each.status for each in handles].count(Status.COMPLETED) == 2
        job_clock.advance(5)
        run_all(queue)
        assert handles[2].result(0) == 2


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"key": ""}, ValueError, "key must have 1 to 255 characters"),
        ({"key": 7}, TypeError, "key must be text"),
        ({"unique": True}, TypeError, r"unique must be a Unique, as in unique=Unique\(\)"),
        ({"after": "id"}, TypeError, r"after must be a list of handles or ids"),
        ({"after": [3]}, TypeError, "after must list handles or ids"),
        ({"expires": -1}, ValueError, "expires"),
        ({"expires": "soon"}, TypeError, "expires"),
    ],
)
def test_a_wrong_option_of_a_call_is_refused_at_the_call(
    options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        note.using(**options)


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"key": ""}, ValueError, "key must have 1 to 255 characters"),
        ({"unique": "key"}, TypeError, r"unique must be a Unique, as in unique=Unique\(\)"),
        ({"expires": -1}, ValueError, "expires"),
        ({"limit": 2}, TypeError, r"limit must be a Limit, as in limit=Limit\(2\), not 2"),
        ({"rate": Limit(2)}, TypeError, r"rate must be a Rate, as in rate=Rate\(100, per=60.0\)"),
        ({"atomic": 1}, TypeError, "atomic must be True or False, not 1"),
    ],
)
def test_a_wrong_option_of_a_task_is_refused_at_its_declaration(
    options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=rf"@tasks\.task\(\.\.\.\): .*{says}"):
        Tasks().task(**options)
