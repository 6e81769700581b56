"""Jobs that are tied to others: what becomes of them in the corners where two such ties meet."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from jobqueue.final import (
    Job,
    JobContext,
    JobInfo,
    JobQueue,
    Limit,
    Middleware,
    Priority,
    Rate,
    RejectJobError,
    Status,
    Unique,
    UnknownJobError,
)
from jobqueue.final.testing import ManualClock, run_all
from jobqueue.final.timing.timer import Timer
from tests.support import insides
from tests.support.queues import Store
from tests.support.waiting import PATIENCE, eventually

REPLACE = Unique(on_conflict="replace")


def no_worker(store: Store, handler: Any = len, **settings: Any) -> JobQueue:
    return store.open(handler, start=False, **settings)


# --- unique ---------------------------------------------------------------------------------


def test_a_job_that_is_requeued_counts_as_like_another_one_when_that_has_ended(
    memory: Store,
) -> None:
    clock = ManualClock()
    verdicts = iter([RejectJobError, None])

    def handler(_payload: bytes) -> None:
        if (error := next(verdicts)) is not None:
            raise error

    jq = no_worker(memory, handler, clock=clock)
    jq.enqueue(Job(id="first", key="k", unique=Unique()))
    run_all(jq)
    jq.enqueue(Job(id="second", key="k", unique=Unique()))
    jq.requeue("first")
    jq.cancel("second")
    assert jq.enqueue(Job(key="k", unique=Unique())).id == "first"
    jq.cancel("first")
    assert not jq.enqueue(Job(id="third", key="k", unique=Unique())).existing


def test_a_job_after_the_one_that_it_replaces_is_cancelled_with_it(memory: Store) -> None:
    jq = no_worker(memory)
    jq.enqueue(Job(id="first", key="k", unique=REPLACE))
    second = jq.enqueue(Job(id="second", key="k", unique=REPLACE, after=["first"]))
    assert jq.status("first") is Status.CANCELLED
    assert second.status is Status.CANCELLED
    assert jq.info("second").last_error == ("job 'first', which it waits for, was cancelled")


def test_a_job_from_a_job_after_the_one_that_it_replaces_is_cancelled_with_it(
    memory: Store,
) -> None:
    def handler(_payload: bytes, context: JobContext) -> None:
        if context.job.id == "parent":
            context.enqueue(Job(id="new", key="k", unique=REPLACE, after=["old"]))

    jq = no_worker(memory, handler)
    jq.enqueue(Job(id="old", key="k", unique=REPLACE), delay=60)
    jq.enqueue(Job(id="parent"))
    run_all(jq)
    assert jq.status("old") is Status.CANCELLED
    assert jq.status("new") is Status.CANCELLED


def test_a_job_that_replaces_one_may_run_after_one_that_is_forgotten_by_that(
    memory: Store,
) -> None:
    jq = no_worker(memory, status_retention=1)
    jq.enqueue(Job(id="done"))
    run_all(jq)
    jq.enqueue(Job(id="old", key="k", unique=REPLACE))
    new = jq.enqueue(Job(id="new", key="k", unique=REPLACE, after=["done"]))
    run_all(jq)
    assert new.status is Status.COMPLETED


def test_the_middleware_is_told_of_a_job_that_is_cancelled_as_it_is_accepted(
    memory: Store,
) -> None:
    told: list[JobInfo] = []

    class Listens(Middleware):
        def finished(self, info: JobInfo) -> None:
            told.append(info)

    jq = JobQueue(memory.config(), handler=len, start=False, middleware=[Listens()])
    with jq:
        jq.enqueue(Job(id="first"))
        jq.cancel("first")
        jq.enqueue(Job(id="second", after=["first"]))
        eventually(lambda: [info.id for info in told] == ["first", "second"])


# --- jobs after others ----------------------------------------------------------------------


def test_enqueue_many_refuses_all_if_a_job_is_to_run_after_a_later_one(memory: Store) -> None:
    jq = no_worker(memory)
    with pytest.raises(UnknownJobError):
        jq.enqueue_many([Job(id="other"), Job(id="a", after=["b"]), Job(id="b")])
    with pytest.raises(UnknownJobError):
        jq.status("other")


def test_a_job_after_one_that_a_start_cancels_is_cancelled_too(log_store: Store) -> None:
    blocker = log_store.blocker()
    jq = log_store.open(blocker)
    jq.enqueue(Job(id="parent"))
    eventually(lambda: jq.status("parent") is Status.PROCESSING)
    jq.enqueue(Job(id="child", after=["parent"]))
    jq.enqueue(Job(id="grandchild", after=["child"]))
    jq.cancel("parent")
    jq.close(0, drain=False)
    blocker.gate.set()
    again = log_store.open(len, start=False)
    assert again.status("parent") is Status.CANCELLED
    assert again.status("child") is Status.CANCELLED
    assert again.status("grandchild") is Status.CANCELLED


# --- expiry ---------------------------------------------------------------------------------


def test_a_job_that_has_expired_while_no_queue_was_open_is_not_run(
    log_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    jq = no_worker(log_store, clock=clock)
    jq.enqueue(Job(id="late", expires=5))
    jq.enqueue(Job(id="after it", after=["late"]))
    jq.close(drain=False)
    clock.advance(5)
    monkeypatch.setattr(Timer, "start", lambda _self: None)  # a worker may be faster than it
    again = no_worker(log_store, clock=clock)
    assert again.status("late") is Status.CANCELLED
    assert again.info("late").last_error == "expired after 5 s"
    assert again.status("after it") is Status.CANCELLED


# --- jobs from jobs -------------------------------------------------------------------------


def test_a_handler_may_enqueue_one_like_its_own_job(memory: Store) -> None:
    def handler(_payload: bytes, context: JobContext) -> None:
        if context.job.id == "first":
            context.enqueue(Job(id="next", key="k", unique=Unique()))

    jq = no_worker(memory, handler)
    jq.enqueue(Job(id="first", key="k", unique=Unique()))
    run_all(jq)
    assert jq.status("next") is Status.COMPLETED


def test_a_job_from_a_job_takes_the_place_of_one_that_waits(memory: Store) -> None:
    def handler(_payload: bytes, context: JobContext) -> None:
        if context.job.id == "parent":
            context.enqueue(Job(id="new", key="k", unique=REPLACE))

    jq = no_worker(memory, handler)
    jq.enqueue(Job(id="old", key="k", unique=REPLACE, priority=Priority.LOW), delay=60)
    jq.enqueue(Job(id="parent", priority=Priority.HIGH))
    run_all(jq)
    assert jq.status("old") is Status.CANCELLED
    assert jq.status("new") is Status.COMPLETED


# --- limits ---------------------------------------------------------------------------------


def test_jobs_that_pass_a_rate_together_start_in_their_order(memory: Store) -> None:
    clock = ManualClock()
    ran: list[bytes] = []
    jq = no_worker(memory, clock=clock)
    jq.register("work", ran.append, rate=Rate(3, per=3.0))
    names = [f"{number}".encode() for number in range(9)]
    for name in names:
        jq.enqueue(Job(name, handler="work"))
    for _ in range(3):
        run_all(jq)
        clock.advance(60)
    assert ran == names


def test_jobs_that_pass_a_limit_one_by_one_start_in_their_order(memory: Store) -> None:
    clock = ManualClock()
    ran: list[bytes] = []
    jq = no_worker(memory, clock=clock)
    jq.register("work", ran.append, rate=Rate(3, per=3.0), limit=Limit(9))
    jq.enqueue_many([Job(f"{number}".encode(), handler="work") for number in range(6)])
    run_all(jq)
    for _ in range(3):
        jq.metrics()
        clock.advance(1)
    run_all(jq)
    assert ran == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_jobs_that_wait_long_for_a_worker_start_no_faster_than_their_rate(memory: Store) -> None:
    clock = ManualClock()
    ran: list[bytes] = []
    jq = no_worker(memory, clock=clock)
    jq.register("work", ran.append, rate=Rate(2, per=2.0))
    jq.enqueue_many([Job(f"{number}".encode(), handler="work") for number in range(9)])
    for _ in range(60):
        jq.metrics()
        clock.advance(1)
    run_all(jq)
    assert ran == [b"0", b"1"]


def test_a_job_that_is_tried_again_goes_to_the_end_of_the_line(memory: Store) -> None:
    clock = ManualClock()
    ran: list[str] = []

    def work(_payload: bytes, context: JobContext) -> None:
        ran.append(f"{context.job.id}{context.attempt}")
        if context.job.id == "b" and context.attempt == 0:
            raise ValueError

    jq = no_worker(memory, clock=clock, base_delay=0)
    jq.register("work", work, rate=Rate(1, per=1.0))
    jq.enqueue_many([Job(id=name, handler="work") for name in "abcd"])
    for _ in range(6):
        run_all(jq)
        clock.advance(1)
    assert ran == ["a0", "b0", "c0", "d0", "b1"]


def test_one_that_has_passed_and_whose_handler_was_replaced_holds_up_no_other(
    memory: Store,
) -> None:
    ran: list[bytes] = []
    jq = no_worker(memory, clock=ManualClock())
    limits = [Limit(1), Limit(1)]
    for name, limit in zip("ab", limits, strict=True):
        jq.register(name, ran.append, limit=limit)
        insides.use_up(jq, limit)
    jq.enqueue_many([Job(name.encode(), handler=name) for name in "ab"])
    assert jq.metrics().limited == 2
    for name in "ab":
        insides.give_back(jq, name)
    jq.register("a", lambda payload: ran.append(payload * 2), replace=True)

    run_all(jq)

    assert ran == [b"aa", b"b"]


def test_a_job_that_has_passed_and_is_cancelled_lets_the_next_one_in_front(memory: Store) -> None:
    clock = ManualClock()
    ran: list[bytes] = []
    jq = no_worker(memory, clock=clock)
    jq.register("work", ran.append, rate=Rate(3, per=3.0))
    jq.enqueue_many([Job(f"{n}".encode(), id=f"{n}", handler="work") for n in range(6)])
    run_all(jq)
    clock.advance(60)
    jq.cancel("3")
    jq.cancel("4")
    run_all(jq)
    assert ran == [b"0", b"1", b"2", b"5"]
    with insides.mutex(jq):
        insides.check_lanes(insides.scheduler(jq))


@pytest.mark.parametrize("drain", [True, False])
def test_a_handler_that_close_waits_for_enqueues_jobs_with_its_completion(
    drain: bool, log_store: Store
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def handler(_payload: bytes, context: JobContext) -> None:
        if context.job.id == "parent":
            entered.set()
            assert go_on.wait(PATIENCE)
            context.enqueue(Job(id="child"))

    jq = log_store.open(handler, max_retries=0)
    jq.enqueue(Job(id="parent"))
    assert entered.wait(PATIENCE)
    closing = threading.Thread(target=lambda: jq.close(PATIENCE, drain=drain))
    closing.start()
    eventually(lambda: jq.closed)
    go_on.set()
    closing.join()
    again = no_worker(log_store)
    assert again.status("parent") is Status.COMPLETED
    assert again.status("child") is (Status.COMPLETED if drain else Status.QUEUED)
