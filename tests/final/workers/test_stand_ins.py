"""Jobs that wait for jobs: other workers stand in for theirs, and nothing waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from jobqueue.final import Job, JobHandle, JobQueue, Status
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.queues import Store, every_store, until
from tests.support.waiting import PATIENCE, eventually


def open_tree(store: Store, num_workers: int, **settings: Any) -> JobQueue:
    """A queue whose jobs each have so many children as their payload's first number, and so on.

    A job returns how many jobs there are from it on.
    """

    def work(payload: bytes) -> int:
        children, rest = payload[:1], payload[1:]
        handles = [jq.enqueue(Job(rest)) for _ in range(int(children or b"0"))]
        return 1 + sum(int(str(handle.result())) for handle in handles)

    jq = store.open(work, num_workers=num_workers, max_retries=0, **settings)
    return jq


@every_store
def test_the_one_worker_may_wait_for_a_job(store: Store) -> None:
    """Fault 64 of docs/reliability.md."""
    assert open_tree(store, 1).enqueue(Job(b"3")).result(PATIENCE) == 4


def test_as_many_as_there_are_workers_may_wait(memory: Store) -> None:
    jq = open_tree(memory, 3, queue_size=2)
    handles = [jq.enqueue(Job(b"2")) for _ in range(3)]

    assert [handle.result(PATIENCE) for handle in handles] == [3, 3, 3]
    assert jq.join(PATIENCE)


def test_workers_stand_in_for_jobs_in_a_chain(memory: Store) -> None:
    assert open_tree(memory, 2).enqueue(Job(b"11")).result(PATIENCE) == 3


def test_past_that_the_call_raises_at_once_and_the_rest_goes_on(memory: Store) -> None:
    """Fault 64 of docs/reliability.md."""
    jq = open_tree(memory, 1)
    chain = jq.enqueue(Job(b"11"))

    with pytest.raises(RuntimeError, match=r"1 workers \(num_workers\) stand in"):
        chain.result(PATIENCE)
    assert jq.join(PATIENCE)
    metrics = jq.metrics()
    assert (metrics.completed, metrics.failed) == (1, 2)  # the last job of the chain waits for none
    assert eventually(lambda: jq.metrics().workers.count == 1)  # those that stood in have left
    assert jq.enqueue(Job(b"1")).result(PATIENCE) == 2


def test_there_are_as_many_workers_as_before_when_the_waits_are_over(memory: Store) -> None:
    jq = open_tree(memory, 2)
    for _ in range(3):
        assert jq.enqueue(Job(b"4")).result(PATIENCE) == 5

    assert eventually(lambda: jq.metrics().workers.count == 2)
    blocker = memory.blocker()
    jq.register("held", blocker)
    for _ in range(3):
        jq.enqueue(Job(handler="held"))
    assert blocker.await_entered(2)
    assert jq.metrics().queued == 1


def test_one_that_waits_and_is_past_its_time_is_stood_in_for_once(
    memory: Store, clock: ManualClock
) -> None:
    def parent(payload: bytes) -> object:
        return jq.enqueue(Job(handler="child")).result()

    blocker = memory.blocker()
    jq = memory.open(parent, num_workers=2, job_timeout=5, max_retries=0, clock=clock)
    jq.register("child", blocker, timeout=60)
    handle = jq.enqueue(Job())
    assert blocker.await_entered()
    assert eventually(lambda: jq.metrics().workers.count == 3)  # it may be about to wait still
    clock.advance(6)
    assert jq.metrics().overrunning == 1
    assert jq.metrics().workers.count == 3
    blocker.gate.set()
    assert handle.wait(PATIENCE) is Status.FAILED
    assert eventually(lambda: jq.metrics().workers.count == 2)


def test_what_has_ended_is_waited_for_without_a_stand_in(memory: Store) -> None:
    jq = memory.open(num_workers=1)
    done = jq.enqueue_with_handler(Job(b"abc"), len)
    done.wait(PATIENCE)
    never = jq.enqueue(Job(handler="never"))

    def look(payload: bytes) -> tuple[object, Status, int]:
        return done.result(), never.wait(0), len(insides.seats(jq))

    assert jq.enqueue_with_handler(Job(), look).result(PATIENCE) == (3, Status.QUEUED, 1)


def test_a_wait_with_a_timeout_is_stood_in_for_as_well(memory: Store) -> None:
    jq = memory.open(num_workers=1)
    jq.register("child", len)
    jq.register("parent", lambda _: jq.enqueue(Job(b"abc", handler="child")).result(PATIENCE))

    assert jq.enqueue(Job(handler="parent")).result(PATIENCE) == 3


@pytest.mark.parametrize("call", [JobHandle.wait, JobHandle.result])
def test_a_job_that_waits_for_itself_is_told_at_once(
    memory: Store, call: Callable[[JobHandle], object]
) -> None:
    """Fault 64 of docs/reliability.md."""
    jq = memory.open(num_workers=1, max_retries=0)
    jq.register("own", lambda _: call(jq.handle("a")))
    handle = jq.enqueue(Job(id="a", handler="own"))

    with pytest.raises(RuntimeError, match="job 'a' cannot wait for itself"):
        handle.result(PATIENCE)


def test_jobs_that_wait_for_each_other_in_a_circle_are_told(memory: Store) -> None:
    all_run = threading.Barrier(3)
    following = {"a": "b", "b": "c", "c": "a"}
    jq = memory.open(num_workers=3, max_retries=0)

    def work(payload: bytes) -> object:
        all_run.wait(PATIENCE)
        return jq.handle(following[payload.decode()]).result()

    jq.register("work", work)
    handles = [jq.enqueue(Job(id.encode(), id=id, handler="work")) for id in "abc"]

    for handle in handles:  # one was told, and the others get its error
        with pytest.raises(RuntimeError, match=r"cannot wait for job '.', which waits for it"):
            handle.result(PATIENCE)


def test_if_no_worker_can_stand_in_the_call_raises_and_a_later_one_may_succeed(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = memory.open(num_workers=1, max_retries=0)
    jq.register("child", len)
    jq.register("parent", lambda _: jq.enqueue(Job(b"abc", handler="child")).result(PATIENCE))

    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            jq.enqueue(Job(handler="parent")).result(PATIENCE)
    assert jq.join(PATIENCE)
    assert jq.metrics().workers.count == 1

    assert jq.enqueue(Job(handler="parent")).result(PATIENCE) == 3


def test_close_drains_jobs_that_wait_for_jobs(memory: Store) -> None:
    go_on, entered = threading.Event(), threading.Event()

    def parent(payload: bytes) -> int:
        children = jq.enqueue_many([Job(b"abc") for _ in range(5)])
        entered.set()
        assert go_on.wait(PATIENCE)
        return sum(int(str(child.result())) for child in children)

    jq = memory.open(len, handlers={"parent": parent}, num_workers=1)
    handle = jq.enqueue(Job(handler="parent"))
    assert entered.wait(PATIENCE)
    closing = in_thread(jq.close, PATIENCE)
    assert eventually(lambda: insides.waiting_for_rest(jq))
    go_on.set()

    report = closing.result(PATIENCE)
    assert (report.completed, report.unfinished, report.remaining) == (6, (), 0)
    assert handle.result() == 15


def test_a_handler_that_waits_is_let_go_when_the_queue_closes_without_draining(
    memory: Store,
) -> None:
    blocker = memory.blocker()
    jq = memory.open(handlers={"held": blocker}, num_workers=1)
    jq.register("parent", lambda _: jq.enqueue(Job(id="child", handler="held")).wait())
    parent = jq.enqueue(Job(id="parent", handler="parent"))
    blocker.await_entered()
    closing = in_thread(jq.close, 0.05, drain=False)

    assert set(closing.result(PATIENCE).unfinished) == {"parent", "child"}
    until(parent, Status.PROCESSING)  # its late end touches nothing


def test_attempts_past_their_time_and_waits_are_stood_in_for_apart(
    memory: Store,
) -> None:
    hang = memory.blocker()
    jq = memory.open(handlers={"hangs": hang, "child": len}, num_workers=1, job_timeout=0.02)
    jq.register("parent", lambda _: jq.enqueue(Job(b"abc", handler="child")).result(PATIENCE))
    jq.enqueue(Job(handler="hangs", max_retries=0))
    hang.await_entered()

    assert jq.enqueue(Job(handler="parent", max_retries=9)).result(PATIENCE) == 3
