"""`JobHandle.wait` and `JobHandle.result`, and how long results live."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import time
import weakref
from collections.abc import Callable

import pytest

from jobqueue.final import (
    Job,
    JobCancelledError,
    JobHandle,
    JobQueue,
    JobQueueError,
    QueueClosedError,
    RejectJobError,
    ResultGoneError,
    Status,
)
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.queues import Attempts, Store, every_store, until
from tests.support.waiting import PATIENCE, eventually


class Thing:
    """A result that can be watched."""


@pytest.mark.parametrize("value", [None, 0, "text", b"\0", [1], Status.FAILED, ValueError("v")])
def test_result_is_what_the_handler_returned(store: Store, value: object) -> None:
    handle = store.open(lambda payload: value).enqueue(Job())
    assert handle.result(PATIENCE) is value
    assert handle.result(0) is value  # and again
    assert handle.wait(0) is Status.COMPLETED


def test_result_of_a_failed_job_is_its_last_exception(store: Store) -> None:
    first, last = ConnectionError("first"), ValueError("last")
    jq = store.open(Attempts(first, last), base_delay=0, max_retries=1)
    handle = jq.enqueue(Job())
    assert handle.wait(PATIENCE) is Status.FAILED
    for _ in range(2):
        with pytest.raises(ValueError, match="last") as caught:
            handle.result(PATIENCE)
        assert caught.value is last


def test_result_of_a_rejected_job_is_the_rejection(store: Store) -> None:
    handle = store.open(Attempts(RejectJobError("never"))).enqueue(Job())
    with pytest.raises(RejectJobError, match="never"):
        handle.result(PATIENCE)


def test_result_of_a_cancelled_job_raises(store: Store) -> None:
    handle = store.open(len, start=False).enqueue(Job(id="a"))
    handle.cancel()
    assert handle.wait(PATIENCE) is Status.CANCELLED
    with pytest.raises(JobCancelledError, match="'a' was cancelled"):
        handle.result(PATIENCE)


def test_wait_whose_time_runs_out_returns_the_last_status(store: Store) -> None:
    jq = store.open(len, start=False)
    queued, scheduled = jq.enqueue(Job()), jq.enqueue(Job(), delay=3600)
    begin = time.monotonic()
    assert queued.wait(0.02) is Status.QUEUED
    assert time.monotonic() - begin >= 0.02
    assert scheduled.wait(0) is Status.SCHEDULED


def test_result_whose_time_runs_out_raises(store: Store) -> None:
    handle = store.open(len, start=False).enqueue(Job(id="a"))
    with pytest.raises(TimeoutError, match=r"'a' is not finished yet \(queued\)"):
        handle.result(0.01)
    with pytest.raises(TimeoutError):
        handle.result(timeout=0)


def test_wait_that_ran_out_leaves_nothing_behind(memory: Store) -> None:
    handle = memory.open(len, start=False).enqueue(Job())
    for _ in range(10):
        handle.wait(0)
        handle.wait(0.0001)
    assert not insides.waiters(handle)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_timeout_that_cannot_be_waited_is_refused(memory: Store, value: float) -> None:
    handle = memory.open(len, start=False).enqueue(Job())
    with pytest.raises(ValueError, match="timeout"):
        handle.wait(value)
    with pytest.raises(ValueError, match="timeout"):
        handle.result(value)


@every_store
def test_all_who_wait_are_woken(store: Store) -> None:
    jq = store.open(lambda payload: payload, start=False)
    handle = jq.enqueue(Job(b"x"))
    waits = [in_thread(handle.wait) for _ in range(5)]
    results = [in_thread(handle.result) for _ in range(5)]
    assert eventually(lambda: len(insides.waiters(handle)) == 10)
    jq.start()
    assert {wait.result(PATIENCE) for wait in waits} == {Status.COMPLETED}
    assert {result.result(PATIENCE) for result in results} == {b"x"}


def test_handles_of_the_same_job_give_the_same_result(store: Store) -> None:
    jq = store.open(lambda payload: Thing(), start=False)
    first = jq.enqueue(Job(id="a"))
    second = jq.handle("a")
    jq.start()
    assert first.result(PATIENCE) is second.result(PATIENCE)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_handle_is_not_copied_for_its_copy_would_be_told_of_nothing(
    memory: Store, copied: Callable[[object], object]
) -> None:
    handle = memory.open(len).enqueue(Job(id="a"))
    with pytest.raises(TypeError, match=r"hand on its id, 'a', and write queue\.handle\(id\)"):
        copied(handle)


def test_wait_goes_on_through_retries(store: Store, clock: ManualClock) -> None:
    jq = store.open(Attempts(ConnectionError("down"), "done"), clock=clock)
    handle = jq.enqueue(Job())
    waiting = in_thread(handle.result)
    until(handle, Status.SCHEDULED)
    assert not waiting.done()
    clock.advance(1)
    assert waiting.result(PATIENCE) == "done"


# ── when the queue closes first ──────────────────────────────────────────────────────────────


def test_wait_tells_how_the_job_ended_though_it_was_requeued_at_once(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = memory.open(Attempts(RejectJobError()))
    handle = jq.enqueue(Job(id="a"))
    until(handle, Status.FAILED)
    jq.pause()
    wait_for = getattr(*insides.waiting_for(jq))

    def requeued_meanwhile(handle: JobHandle, timeout: float | None) -> JobHandle:
        finished: JobHandle = wait_for(handle, timeout)
        jq.requeue("a")
        return finished

    monkeypatch.setattr(*insides.waiting_for(jq), requeued_meanwhile)

    assert handle.wait(PATIENCE) is Status.FAILED


@every_store
def test_queue_that_closes_first_ends_the_wait(store: Store) -> None:
    jq = store.open(len, start=False)
    queued, scheduled = jq.enqueue(Job(id="a")), jq.enqueue(Job(), delay=3600)
    waits = [in_thread(queued.wait), in_thread(scheduled.wait)]
    result = in_thread(queued.result)
    assert eventually(lambda: len(insides.waiters(queued)) == 2 and insides.waiters(scheduled))
    jq.close()
    assert [wait.result(PATIENCE) for wait in waits] == [Status.QUEUED, Status.SCHEDULED]
    with pytest.raises(QueueClosedError, match="before job 'a' was finished"):
        result.result(PATIENCE)


def test_handle_of_an_unfinished_job_does_not_block_on_a_closed_queue(store: Store) -> None:
    jq = store.open(len, start=False)
    handle = jq.enqueue(Job())
    jq.close()
    assert (handle.wait(), handle.status) == (Status.QUEUED, Status.QUEUED)
    with pytest.raises(QueueClosedError):
        handle.result()


def test_result_can_be_had_from_a_closed_queue(store: Store) -> None:
    jq = store.open(len, handlers={"fails": Attempts(RejectJobError("no"))})
    completed, failed = jq.enqueue(Job(b"abc")), jq.enqueue(Job(handler="fails"))
    assert jq.join(PATIENCE)
    jq.close()
    assert (completed.result(), completed.wait()) == (3, Status.COMPLETED)
    with pytest.raises(RejectJobError):
        failed.result()


# ── how long results live ────────────────────────────────────────────────────────────────────


def watched(jq: JobQueue) -> tuple[JobHandle, weakref.ref[Thing]]:
    """A job's handle and its result, which nobody but the queue and the handle holds."""
    handle = jq.enqueue(Job(id="a"))
    result = handle.result(PATIENCE)
    assert isinstance(result, Thing)
    return handle, weakref.ref(result)


def is_gone(thing: weakref.ref[Thing]) -> bool:
    return thing() is None or (gc.collect() >= 0 and thing() is None)


def test_result_that_is_not_kept_goes_with_its_handle(store: Store) -> None:
    jq = store.open(lambda payload: Thing(), result_retention=0)
    handle, thing = watched(jq)
    assert handle.result(0) is thing()
    del handle
    assert eventually(lambda: is_gone(thing))
    assert jq.status("a") is Status.COMPLETED


@every_store
def test_the_last_results_alone_are_kept_when_nobody_keeps_their_handles(store: Store) -> None:
    things: list[weakref.ref[Thing]] = []

    def handle(payload: bytes) -> Thing:
        thing = Thing()
        things.append(weakref.ref(thing))
        return thing

    jq = store.open(handle, result_retention=2)
    for _ in range(3):
        jq.enqueue(Job())
    assert jq.join(PATIENCE)
    assert eventually(lambda: is_gone(things[0]))  # though the worker waits for its next job
    assert not any(is_gone(each) for each in things[1:])


def test_what_the_handler_of_a_job_holds_is_not_kept(memory: Store) -> None:
    def handler_with(thing: Thing) -> Callable[[bytes], str]:
        return lambda payload: repr(thing)

    thing = Thing()
    jq = memory.open(len)
    jq.enqueue_with_handler(Job(), handler_with(thing)).wait(PATIENCE)
    watcher = weakref.ref(thing)
    del thing
    assert eventually(lambda: is_gone(watcher))


def test_payload_of_a_completed_job_is_not_kept(memory: Store) -> None:
    payload = b"x" * 100
    before = sys.getrefcount(payload)
    jq = memory.open(lambda payload: None)
    jq.enqueue(Job(payload)).wait(PATIENCE)
    assert eventually(lambda: sys.getrefcount(payload) <= before)


def test_handle_that_was_made_after_the_end_has_no_result_if_none_is_kept(store: Store) -> None:
    fails = {"fails": Attempts(RejectJobError("no"))}
    jq = store.open(len, handlers=fails, result_retention=0)
    jq.enqueue_many([Job(id="good"), Job(id="bad", handler="fails")])
    assert jq.join(PATIENCE)
    good, bad = jq.handle("good"), jq.handle("bad")
    assert (good.wait(0), bad.wait(0)) == (Status.COMPLETED, Status.FAILED)
    with pytest.raises(ResultGoneError, match="'good' is completed; its result is not in memory"):
        good.result()
    with pytest.raises(JobQueueError, match="'bad' is failed: RejectJobError: no; its error"):
        bad.result()


def test_handle_of_an_earlier_run_has_no_result(log_store: Store) -> None:
    jq = log_store.open(len)
    jq.enqueue(Job(id="a")).wait(PATIENCE)
    jq.enqueue(Job(id="b"), delay=3600).cancel()
    jq.close()
    again = log_store.open(len)
    with pytest.raises(ResultGoneError, match="store_result=True"):
        again.handle("a").result(0)
    with pytest.raises(JobCancelledError):
        again.handle("b").result(0)
