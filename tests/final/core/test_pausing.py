"""Pausing one handler or one lane: its jobs wait in their order, and all others go on."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobqueue.final import (
    Config,
    EnqueueTimeoutError,
    Job,
    JobQueue,
    Paused,
    Priority,
    RejectJobError,
    Status,
)
from jobqueue.final.testing import ManualClock, run_all
from tests.support import insides
from tests.support.handlers import Recorder, in_thread
from tests.support.interrupts import each_place
from tests.support.queues import Attempts, Store, until, until_retried
from tests.support.waiting import PATIENCE

HIGH, MEDIUM, LOW = Priority
NOTHING = Paused(all=False, handlers=frozenset(), priorities=frozenset(), periodics=frozenset())


@pytest.fixture
def ran() -> Recorder:
    return Recorder()


def opened(store: Store, ran: Recorder, **settings: Any) -> JobQueue:
    """A queue with two handlers, one worker, and a default handler."""
    settings.setdefault("num_workers", 1)
    return store.open(ran, handlers={"mail": ran, "thumb": ran}, **settings)


# --- a handler ------------------------------------------------------------------------------------


def test_jobs_of_a_paused_handler_wait_and_delay_no_other(memory: Store, ran: Recorder) -> None:
    jq = opened(memory, ran)
    jq.pause(handler="mail")
    for n in range(6):
        last = jq.enqueue(Job(id=str(n), handler="thumb" if n % 2 else "mail"))
    assert last.wait(PATIENCE) is Status.COMPLETED

    assert ran.ids() == ["1", "3", "5"]
    assert [jq.status(each) for each in ("0", "2", "4")] == [Status.QUEUED] * 3
    assert jq.metrics().queued == 3


def test_they_run_in_their_order_when_it_is_resumed(memory: Store, ran: Recorder) -> None:
    jq = opened(memory, ran)
    jq.pause("mail")
    for n in range(4):
        jq.enqueue(Job(id=str(n), handler="mail"))
    jq.enqueue(Job(id="other", handler="thumb")).wait(PATIENCE)
    ran.ids()

    jq.resume("mail")

    assert jq.join(PATIENCE)
    assert ran.ids() == ["0", "1", "2", "3"]


def test_they_come_before_jobs_of_their_lane_that_came_later(memory: Store, ran: Recorder) -> None:
    jq = opened(memory, ran, start=False)
    jq.pause(handler="mail")
    for n in range(3):
        jq.enqueue(Job(id=f"mail {n}", handler="mail"))
    run_all(jq)
    for n in range(2):
        jq.enqueue(Job(id=f"thumb {n}", handler="thumb"))

    jq.resume(handler="mail")
    run_all(jq)

    assert ran.ids() == ["mail 0", "mail 1", "mail 2", "thumb 0", "thumb 1"]


def test_they_keep_their_place_in_the_lane(memory: Store, ran: Recorder) -> None:
    jq = opened(memory, ran, start=False, queue_size=2)
    jq.pause(handler="mail")
    jq.enqueue(Job(handler="mail"))
    jq.enqueue(Job(handler="mail"))
    run_all(jq)

    with pytest.raises(EnqueueTimeoutError):
        jq.enqueue(Job(handler="thumb"), timeout=0)


def test_one_that_is_cancelled_is_passed_over(memory: Store, ran: Recorder) -> None:
    jq = opened(memory, ran, start=False, queue_size=5)
    jq.pause(handler="mail")
    for n in range(5):
        jq.enqueue(Job(id=str(n), handler="mail"))
    run_all(jq)
    for n in (0, 1, 2, 4):
        assert jq.cancel(str(n))
    assert jq.metrics().queued == 1
    with insides.mutex(jq):
        insides.check_places(jq)
        insides.check_lanes(insides.scheduler(jq))

    jq.resume(handler="mail")
    run_all(jq)

    assert ran.ids() == ["3"]
    assert jq.metrics().cancelled == 4


def test_cancelled_ones_are_let_go_of_while_it_is_paused(memory: Store, ran: Recorder) -> None:
    jq = opened(memory, ran, start=False)
    jq.pause(handler="mail")
    for n in range(100):
        jq.enqueue(Job(id=str(n), handler="mail"))
    run_all(jq)
    for n in range(100):
        jq.cancel(str(n))

    assert insides.held_in_lane(jq, MEDIUM) == 0


def test_the_oldest_of_them_counts_as_waiting(
    memory: Store, ran: Recorder, clock: ManualClock
) -> None:
    jq = opened(memory, ran, start=False, clock=clock)
    jq.pause(handler="mail")
    jq.enqueue(Job(handler="mail"))
    run_all(jq)
    clock.advance(7.0)
    jq.enqueue(Job(handler="thumb"))
    clock.advance(1.0)

    assert jq.metrics().by_priority[MEDIUM].oldest_wait == 8.0


def test_a_retry_waits_too_and_so_does_a_requeued_job(memory: Store, clock: ManualClock) -> None:
    attempts = Attempts(ValueError("boom"), None)
    jq = memory.open(
        handlers={"mail": attempts, "rejects": Attempts(RejectJobError("no"))},
        clock=clock,
        num_workers=1,
    )
    retried = jq.enqueue(Job(id="a", handler="mail"))
    until_retried(jq, "a", 1)
    jq.enqueue(Job(id="dead", handler="rejects")).wait(PATIENCE)
    jq.pause(handler="mail")
    jq.pause(handler="rejects")
    clock.advance(1.0)
    jq.requeue("dead")

    until(retried, Status.QUEUED)
    assert jq.metrics().queued == 2
    jq.resume(handler="mail")
    assert retried.wait(PATIENCE) is Status.COMPLETED
    assert jq.status("dead") is Status.QUEUED


def test_a_handler_may_be_paused_before_it_is_registered(memory: Store, ran: Recorder) -> None:
    jq = memory.open(num_workers=1)
    jq.pause(handler="late")
    handle = jq.enqueue(Job(id="a", handler="late"))
    jq.register("late", ran)
    jq.register("other", ran)
    jq.enqueue(Job(id="b", handler="other")).wait(PATIENCE)
    assert ran.ids() == ["b"]

    jq.resume(handler="late")

    assert handle.wait(PATIENCE) is Status.COMPLETED


def test_what_the_log_brings_back_is_held_too(log_store: Store, ran: Recorder) -> None:
    with opened(log_store, ran, start=False) as jq:
        for n in range(4):
            jq.enqueue(Job(id=str(n), handler="thumb" if n % 2 else "mail"))

    again = opened(log_store, ran, start=False)
    again.pause(handler="mail")
    again.start()
    again.handle("3").wait(PATIENCE)
    assert ran.ids() == ["1", "3"]
    again.resume(handler="mail")
    assert again.join(PATIENCE)
    assert ran.ids() == ["0", "2"]


# --- a lane ---------------------------------------------------------------------------------------


def test_a_paused_lane_gives_out_nothing_and_the_others_go_on(memory: Store, ran: Recorder) -> None:
    jq = opened(memory, ran, start=False)
    for n in range(6):
        jq.enqueue(Job(id=str(n), priority=Priority(n % 3)))
    jq.pause(priority=MEDIUM)

    run_all(jq)
    assert ran.ids() == ["0", "3", "2", "5"]
    jq.resume(priority=MEDIUM)
    run_all(jq)
    assert ran.ids() == ["1", "4"]


def test_no_token_is_paid_to_a_lane_that_is_paused(memory: Store, ran: Recorder) -> None:
    jq = opened(memory, ran, start=False, fairness=3)
    jq.pause(priority=LOW)
    jq.enqueue(Job(id="low", priority=LOW))
    jq.enqueue_many([Job(id=str(n), priority=HIGH) for n in range(20)])
    run_all(jq)

    jq.enqueue_many([Job(id=f"again {n}", priority=HIGH) for n in range(20)])
    jq.resume(priority=LOW)
    ran.ids()
    run_all(jq)

    assert ran.ids().index("low") == 3  # as if nothing had overtaken it


def test_handler_and_lane_together(memory: Store, ran: Recorder) -> None:
    jq = opened(memory, ran, start=False)
    jq.pause(handler="mail", priority=LOW)
    jq.enqueue(Job(id="a", handler="mail"))
    jq.enqueue(Job(id="b", priority=LOW))
    jq.enqueue(Job(id="c"))
    run_all(jq)
    assert ran.ids() == ["c"]

    jq.resume(priority=LOW)
    run_all(jq)
    assert ran.ids() == ["b"]


# --- what is paused -------------------------------------------------------------------------------


def test_paused_tells_what_is(memory: Store) -> None:
    jq = memory.open(len, start=False)
    assert jq.paused() == NOTHING
    jq.pause()
    jq.pause(handler="mail")
    jq.pause(priority=LOW)

    assert jq.paused() == Paused(
        all=True,
        handlers=frozenset({"mail"}),
        priorities=frozenset({LOW}),
        periodics=frozenset(),
    )
    jq.resume()
    assert jq.paused().handlers == {"mail"}
    jq.resume(handler="mail", priority=LOW)
    assert jq.paused() == NOTHING


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no handler": ({"handler": 3}, TypeError, "handler must be text"),
    "no priority": ({"priority": "high"}, ValueError, "priority must be Priority.HIGH"),
    "no such schedule": ({"periodic": "nightly"}, ValueError, "there is no schedule 'nightly'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_named_and_changes_nothing(memory: Store, name: str) -> None:
    filters, kind, message = WRONG[name]
    jq = memory.open(len, start=False)

    with pytest.raises(kind, match=message):
        jq.pause(**filters)
    with pytest.raises(kind, match=message):
        jq.resume(**filters)
    assert jq.paused() == NOTHING


# --- waiting and closing --------------------------------------------------------------------------


@pytest.mark.parametrize("paused", [{"handler": "mail"}, {"priority": MEDIUM}])
def test_join_waits_for_what_is_paused(
    memory: Store, ran: Recorder, paused: dict[str, Any]
) -> None:
    jq = opened(memory, ran)
    jq.pause(**paused)
    jq.enqueue(Job(handler="mail"))
    assert not jq.join(0.0)
    joining = in_thread(jq.join, PATIENCE)

    jq.resume(**paused)

    assert joining.result(PATIENCE)


@pytest.mark.parametrize("paused", [{"handler": "mail"}, {"priority": MEDIUM}])
def test_a_drain_leaves_what_is_paused_and_finishes_the_rest(
    memory: Store, ran: Recorder, paused: dict[str, Any]
) -> None:
    jq = opened(memory, ran)
    jq.pause(**paused)
    for n in range(3):
        jq.enqueue(Job(id=f"mail {n}", handler="mail"))
        jq.enqueue(Job(id=f"thumb {n}", handler="thumb", priority=LOW))
    jq.enqueue(Job(handler="mail"), delay=0.1)

    report = jq.close(PATIENCE, drain=True)

    assert report.remaining == 4
    assert sorted(ran.ids()) == ["thumb 0", "thumb 1", "thumb 2"]


# --- wherever handlers run ------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["thread", "process", "asyncio"])
def test_a_handler_is_paused_wherever_it_runs(memory: Store, executor: str) -> None:
    handlers = {"mail": len, "thumb": len}
    with memory.open(handlers=handlers, executor=executor, num_workers=2) as jq:
        jq.pause(handler="mail")
        held = [jq.enqueue(Job(handler="mail")) for _ in range(5)]
        for handle in [jq.enqueue(Job(handler="thumb")) for _ in range(5)]:
            assert handle.wait(PATIENCE) is Status.COMPLETED
        assert {handle.status for handle in held} == {Status.QUEUED}

        jq.resume(handler="mail")

        assert all(handle.wait(PATIENCE) is Status.COMPLETED for handle in held)


def test_a_paused_job_that_is_to_run_alone_keeps_no_other_out(image: Store, ran: Recorder) -> None:
    jq = image.open(ran, num_workers=1, max_crashes=2)
    jq.pause(handler="late")
    jq.register("late", ran)

    assert jq.enqueue(Job(id="other")).wait(PATIENCE) is Status.COMPLETED
    assert jq.status("suspect") is Status.QUEUED
    jq.resume(handler="late")
    assert jq.handle("suspect").wait(PATIENCE) is Status.COMPLETED
    assert ran.ids() == ["other", "suspect"]


def test_one_that_waits_to_run_alone_lets_others_in_when_it_is_paused(
    image: Store, ran: Recorder
) -> None:
    jq = image.open(ran, num_workers=1, max_crashes=2)
    jq.pause()
    jq.register("late", ran)
    handle = jq.enqueue(Job(id="other"))

    jq.pause(handler="late")
    jq.resume()

    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert jq.cancel("suspect")
    assert jq.join(PATIENCE)


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Store]:
    """A log in which the job "suspect", of the handler "late", was running when all ended."""
    died = Store("write", tmp_path / "died")
    jq = died.open(handlers={"late": died.blocker()})
    until(jq.enqueue(Job(id="suspect", handler="late")), Status.PROCESSING)
    image = Store("write", tmp_path / "image")
    shutil.copytree(died.path, image.path)
    died.close()
    yield image
    image.close()


# --- broken off -----------------------------------------------------------------------------------


def test_a_look_that_is_broken_off_leaves_each_job_in_one_place(
    memory: Store, ran: Recorder
) -> None:
    jq = opened(memory, ran, start=False)
    lane, count = insides.lane(jq, MEDIUM), 0
    for interruption in each_place():
        jq.pause(handler="mail")
        for _ in range(3):
            jq.enqueue(Job(id=str(count), handler="mail"))
            count += 1
        try:
            with interruption, insides.mutex(jq):
                lane.has_work()
        except KeyboardInterrupt:
            pass
        if count % 2:
            with insides.mutex(jq):
                lane.has_work()
        jq.resume(handler="mail")
        with insides.mutex(jq):
            insides.check_places(jq)
        run_all(jq)
        assert ran.ids() == [str(n) for n in range(count - 3, count)]
    assert count > 20


@pytest.mark.usefixtures("no_tracer")
@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_whatever_is_paused_each_handler_and_lane_keeps_its_order(seed: int) -> None:
    choose = random.Random(seed)
    ran = Recorder()
    names = ["a", "b", "c"]
    jq = JobQueue(Config(queue_size=1000), handlers=dict.fromkeys(names, ran), start=False)
    held: set[object] = set()
    waiting: list[tuple[str, Priority, str]] = []
    with jq:
        for n in range(120):
            what = choose.choice([*names, *Priority])
            argument: dict[str, Any] = (
                {"priority": what} if isinstance(what, Priority) else {"handler": what}
            )
            step = choose.random()
            if step < 0.1:
                jq.pause(**argument)
                held.add(what)
            elif step < 0.2:
                jq.resume(**argument)
                held.discard(what)
            elif step < 0.3 and waiting:
                gone = waiting.pop(choose.randrange(len(waiting)))
                assert jq.cancel(gone[2])
            elif step < 0.4:
                run_all(jq)
                done = ran.ids()
                free = [each for each in waiting if not {each[0], each[1]} & held]
                waiting = [each for each in waiting if each not in free]
                for line in itertools.product(names, Priority):
                    expected = [each[2] for each in free if each[:2] == line]
                    assert [each for each in done if each in expected] == expected
                assert sorted(done) == sorted(each[2] for each in free)
            else:
                job = Job(
                    id=str(n), handler=choose.choice(names), priority=choose.choice([*Priority])
                )
                jq.enqueue(job)
                waiting.append((str(job.handler), job.priority, job.id))
            with insides.mutex(jq):
                insides.check_places(jq)
                insides.check_lanes(insides.scheduler(jq))
        jq.close(drain=False)
