"""`handlers` and `metrics().by_handler`: what is known of each handler."""

from __future__ import annotations

import pytest

from jobqueue.final import Job, JobQueue, Limit, RejectJobError, Status
from jobqueue.final.testing import ManualClock, run_all
from tests.support.handlers import LastWord
from tests.support.queues import Attempts, Store
from tests.support.waiting import PATIENCE


def rejects(_payload: bytes) -> None:
    raise RejectJobError("no such customer")


def named(jq: JobQueue) -> dict[str | None, tuple[int, ...]]:
    """completed, failed, retried, cancelled, queued of each."""
    return {
        each.name: (each.completed, each.failed, each.retried, each.cancelled, each.queued)
        for each in jq.handlers()
    }


def test_each_handler_has_its_counts(memory: Store, clock: ManualClock) -> None:
    twice = Attempts(ValueError("boom"), None)
    jq = memory.open(len, handlers={"mail": twice, "bad": rejects}, start=False, clock=clock)
    for name in (None, None, "mail", "bad"):
        jq.enqueue(Job(handler=name))
    run_all(jq)
    clock.advance(1.0)
    run_all(jq)
    for name in (None, "mail"):
        jq.enqueue(Job(handler=name))
    jq.enqueue(Job(id="x", handler="mail"), delay=3600)
    jq.cancel("x")

    assert named(jq) == {
        None: (2, 0, 0, 0, 1),
        "bad": (0, 1, 0, 0, 0),
        "mail": (1, 0, 1, 1, 1),
    }
    assert [each.name for each in jq.handlers()] == [None, "bad", "mail"]


def test_failures_are_counted_by_the_class_of_the_error(memory: Store, clock: ManualClock) -> None:
    errors = Attempts(ValueError("a: b"), ValueError(), OSError("c"), RejectJobError("d"))
    jq = memory.open(handlers={"mail": errors}, start=False, clock=clock)
    jq.enqueue(Job(handler="mail"))
    for _ in range(4):
        run_all(jq)
        clock.advance(60.0)

    failures = {"ValueError": 2, "OSError": 1, "RejectJobError": 1}
    assert jq.handlers()[0].failures == failures
    counts = jq.metrics().by_handler["mail"]
    assert (counts.completed, counts.failed, counts.retried, counts.cancelled) == (0, 1, 3, 0)
    assert (counts.processing, counts.failures) == (0, failures)


def test_classes_of_errors_without_end_are_counted_together(memory: Store) -> None:
    def fails(payload: bytes) -> None:
        raise type(payload.decode(), (RejectJobError,), {})("no")

    jq = memory.open(fails, start=False)
    jq.enqueue_many([Job(f"Error{n}".encode()) for n in range(150)])
    run_all(jq)

    failures = jq.handlers()[0].failures
    assert len(failures) == 101
    assert failures["(others)"] == 50


def test_a_job_that_runs_is_told_with_its_handler(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(handlers={"mail": blocker}, num_workers=2)
    jq.enqueue(Job(handler="mail"))
    blocker.await_entered()

    assert [(each.name, each.processing) for each in jq.handlers()] == [("mail", 1)]
    assert jq.metrics().by_handler["mail"].processing == 1


def test_jobs_of_a_handler_that_is_missing_count_under_its_name(memory: Store) -> None:
    jq = memory.open(len, start=False)
    jq.enqueue_many([Job(handler="late"), Job(handler="late")])

    assert named(jq) == {None: (0, 0, 0, 0, 0), "late": (0, 0, 0, 0, 2)}


def test_times_are_told(memory: Store, clock: ManualClock) -> None:
    def takes_three_seconds(_payload: bytes) -> None:
        clock.advance(3.0)

    jq = memory.open(takes_three_seconds, start=False, clock=clock)
    jq.enqueue(Job())
    clock.advance(2.0)
    run_all(jq)

    told = jq.handlers()[0]
    assert (told.queue_wait.p50, told.run_time.p50) == (2.0, 3.0)


def test_each_attempt_is_timed_while_a_handler_has_run_few(
    memory: Store, clock: ManualClock
) -> None:
    def takes(payload: bytes) -> None:
        clock.advance(float(payload))

    jq = memory.open(len, handlers={"takes": takes}, start=False, clock=clock)
    for seconds in (b"1", b"3", b"2"):
        jq.enqueue(Job())
        jq.enqueue(Job(seconds, handler="takes"))
    run_all(jq)

    told = jq.handlers()[1]
    assert (told.run_time.p50, told.run_time.max) == (2.0, 3.0)
    assert (told.queue_wait.p50, told.queue_wait.max) == (1.0, 4.0)


def test_of_many_attempts_some_are_timed_and_all_are_counted(memory: Store) -> None:
    jq = memory.open(len, start=False)
    jq.enqueue_many([Job() for _ in range(600)])
    run_all(jq)

    assert jq.handlers()[0].completed == 600
    assert jq.handlers()[0].run_time.max > 0


def test_options_are_those_that_were_given(memory: Store) -> None:
    jq = memory.open(len, start=False)
    limit = Limit(2)
    jq.register("mail", len, timeout=5, retry_on=OSError, limit=limit)

    options = {each.name: dict(each.options) for each in jq.handlers()}
    given = {"timeout": 5.0, "retry_on": (OSError,), "limit": limit}
    assert options == {None: {}, "mail": given}


def test_a_handler_that_takes_another_ones_place_goes_on_with_its_counts(memory: Store) -> None:
    jq = memory.open(handlers={"mail": len})
    jq.enqueue(Job(handler="mail")).wait(PATIENCE)
    jq.register("mail", rejects, replace=True)
    assert jq.enqueue(Job(handler="mail")).wait(PATIENCE) is Status.FAILED

    assert named(jq) == {"mail": (1, 1, 0, 0, 0)}


def test_a_handler_whose_place_was_taken_may_ask_the_queue_as_it_goes(memory: Store) -> None:
    jq, asked = memory.open(), list[int]()
    jq.register("mail", LastWord(lambda: asked.append(len(jq.handlers()))))
    jq.register("mail", len, replace=True)
    assert asked == [1]


@pytest.mark.parametrize("executor", ["process", "asyncio"])
def test_handlers_are_counted_wherever_they_run(memory: Store, executor: str) -> None:
    with memory.open(handlers={"mail": len}, executor=executor, num_workers=1) as jq:
        jq.enqueue(Job(handler="mail")).wait(PATIENCE)
        assert named(jq) == {"mail": (1, 0, 0, 0, 0)}
