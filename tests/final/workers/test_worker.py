"""One attempt: its context, its time, and who stands in for a worker that is stuck in one."""

from __future__ import annotations

import decimal
import logging
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from jobqueue.final import Job, JobContext, JobHandle, JobQueue, Priority, RejectJobError, Status
from jobqueue.final.core.queue_state import State
from jobqueue.final.core.seats import Seat
from jobqueue.final.model.context import Closing, StopRequest
from jobqueue.final.runtime.parking import Parker
from jobqueue.final.testing import ManualClock
from jobqueue.final.workers.pool import WorkerPool
from jobqueue.final.workers.worker import Worker
from tests.support import insides
from tests.support.gil import is_gil_on
from tests.support.handlers import Blocker, in_thread
from tests.support.queues import Attempts, Store, every_store, until
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually

# ── the context ──────────────────────────────────────────────────────────────────────────────


def test_context_tells_the_job_and_the_attempt(store: Store) -> None:
    attempts = Attempts(ValueError("1"), ValueError("2"), "done")
    jq = store.open(attempts, base_delay=0)
    job = Job(b"abc", headers={"trace": "7"}, priority=Priority.LOW)
    assert jq.enqueue(job).result(PATIENCE) == "done"
    assert [context.attempt for context in attempts.contexts] == [0, 1, 2]
    for context in attempts.contexts:
        assert context.job is job
        assert (context.deadline, context.cancelled) == (None, False)
    assert job.retries == 2


def test_context_of_a_replayed_job_tells_job_and_attempt(
    log_store: Store, clock: ManualClock
) -> None:
    jq = log_store.open(Attempts(ValueError("1")), clock=clock)
    until(jq.enqueue(Job(b"\xff", id="a", headers={"trace": "7"})), Status.SCHEDULED)
    jq.close()
    attempts = Attempts("done")
    again = log_store.open(attempts, clock=clock)
    clock.advance(1)
    assert again.handle("a").wait(PATIENCE) is Status.COMPLETED
    context = attempts.contexts[0]
    assert (context.attempt, context.job.id, context.job.payload) == (1, "a", b"\xff")
    assert (context.job.retries, dict(context.job.headers)) == (1, {"trace": "7"})


def test_deadline_is_the_start_of_the_attempt_and_the_timeout_on_the_monotonic_clock(
    store: Store, clock: ManualClock
) -> None:
    attempts = Attempts(ValueError("1"), "done")
    jq = store.open(attempts, clock=clock, job_timeout=30)
    clock.advance(100)
    handle = until(jq.enqueue(Job()), Status.SCHEDULED)
    clock.advance(1)
    assert handle.result(PATIENCE) == "done"
    assert [context.deadline for context in attempts.contexts] == [130, 131]


def test_context_wait_sleeps_on_real_time(store: Store) -> None:
    def sleep(payload: bytes, context: JobContext) -> tuple[bool, float]:
        begin = time.monotonic()
        return context.wait(0.02), time.monotonic() - begin

    result = store.open(sleep).enqueue(Job()).result(PATIENCE)
    assert isinstance(result, tuple)
    assert result[0] is False
    assert result[1] >= 0.02


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")], ids=lambda s: f"{s}"[:9])
def test_context_wait_of_what_cannot_be_waited_is_refused(memory: Store, seconds: float) -> None:
    jq = memory.open(lambda payload, context: context.wait(seconds), max_retries=0)
    with pytest.raises(ValueError, match="finite number of seconds"):
        jq.enqueue(Job()).result(PATIENCE)


def test_all_threads_of_a_handler_that_wait_are_woken_by_a_cancel(memory: Store) -> None:
    def spread(payload: bytes, context: JobContext) -> list[bool]:
        naps = [in_thread(context.wait, 3600) for _ in range(3)]
        assert eventually(lambda: len(insides.sleepers(context)) == 3)
        ready.set()
        return [nap.result(PATIENCE) for nap in naps] + [context.wait(3600)]

    ready = threading.Event()
    handle = memory.open(spread).enqueue(Job())
    assert ready.wait(PATIENCE)
    assert handle.cancel()
    assert handle.result(PATIENCE) == [True] * 4


def test_sleeper_that_is_woken_twice_does_not_mind() -> None:
    """1. The time is up. 2. Before the sleeper has left, it is cancelled too."""

    def sleep(parker: Parker, seconds: float) -> None:
        parker.unpark()
        request.cancel()
        request.overrun()

    request = StopRequest(sleep, Closing())
    assert request.wait(5) is True
    assert (request.cancelled, request.overran) == (True, True)


def test_handler_is_not_equipped_where_nothing_asks_for_it(memory: Store) -> None:
    """A handler of the payload alone costs neither context nor timer."""
    jq = memory.open(lambda payload: insides.stop_of(handle_of("a")), start=False)

    def handle_of(id: str) -> JobHandle:
        return insides.status_map(jq).live[id]

    handle = jq.enqueue(Job(id="a"))
    jq.start()
    assert handle.result(PATIENCE) is None


# ── job_timeout ──────────────────────────────────────────────────────────────────────────────


class Stuck(Blocker):
    """A handler that does not leave when it is told to; it notes whether it was."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[JobContext] = []

    def __call__(self, payload: bytes, context: JobContext) -> bytes:
        self.contexts.append(context)
        return super().__call__(payload, context)


def stuck(store: Store) -> Stuck:
    blocker = Stuck()
    store.keep(blocker)
    return blocker


def test_attempt_past_its_timeout_is_told_to_stop_and_counted(
    store: Store, clock: ManualClock
) -> None:
    blocker = stuck(store)
    jq = store.open(blocker, clock=clock, job_timeout=5, num_workers=2)
    jq.enqueue(Job(priority=Priority.HIGH))
    blocker.await_entered()
    clock.advance(4.999)
    assert (blocker.contexts[0].cancelled, jq.metrics().overrunning) == (False, 0)
    clock.advance(0.001)
    metrics = jq.metrics()
    assert (blocker.contexts[0].cancelled, metrics.overrunning, metrics.processing) == (True, 1, 1)
    assert [metrics.by_priority[each].overrunning for each in Priority] == [1, 0, 0]


@every_store
def test_attempt_that_returns_past_its_timeout_has_failed_and_is_retried(
    store: Store, clock: ManualClock
) -> None:
    blocker = stuck(store)
    jq = store.open(blocker, clock=clock, job_timeout=5)
    handle = jq.enqueue(Job(id="a"))
    blocker.await_entered()
    clock.advance(5)
    blocker.gate.set()
    until(handle, Status.SCHEDULED)
    assert jq.info("a").last_error == "TimeoutError: the attempt took longer than 5 s (job_timeout)"
    metrics = jq.metrics()
    assert (metrics.overrunning, metrics.retried, metrics.completed) == (0, 1, 0)
    clock.advance(1)
    assert handle.wait(PATIENCE) is Status.COMPLETED  # the second attempt is in time


def test_attempt_that_raises_past_its_timeout_fails_with_its_own_error(
    store: Store, clock: ManualClock
) -> None:
    blocker = store.blocker(error=RejectJobError("too late"))
    jq = store.open(blocker, clock=clock, job_timeout=5)
    handle = jq.enqueue(Job())
    blocker.await_entered()
    clock.advance(5)
    blocker.gate.set()
    with pytest.raises(RejectJobError, match="too late"):
        handle.result(PATIENCE)
    assert jq.metrics().overrunning == 0


def test_handler_without_context_overruns_too(store: Store, clock: ManualClock) -> None:
    begun, go = threading.Event(), threading.Event()

    def handle(payload: bytes) -> None:
        begun.set()
        assert go.wait(PATIENCE)

    jq = store.open(handle, clock=clock, job_timeout=5, max_retries=0)
    job = jq.enqueue(Job())
    assert begun.wait(PATIENCE)
    clock.advance(5)
    assert jq.metrics().overrunning == 1
    go.set()
    with pytest.raises(TimeoutError, match="longer than 5 s"):
        job.result(PATIENCE)


def test_timeout_holds_on_real_time(store: Store) -> None:
    jq = store.open(
        lambda payload, context: context.wait(PATIENCE), job_timeout=0.02, max_retries=0
    )
    with pytest.raises(TimeoutError, match="longer than 0"):
        jq.enqueue(Job()).result(PATIENCE)


def test_overrun_is_reported_with_the_stack_of_the_handler(
    store: Store, clock: ManualClock, records: Records
) -> None:
    blocker = stuck(store)
    jq = store.open(blocker, clock=clock, job_timeout=5)
    jq.enqueue(Job(id="order-7"))
    blocker.await_entered()
    clock.advance(5)
    record = records.next()
    message = record.getMessage()
    assert (record.name, record.levelno) == ("jobqueue", logging.WARNING)
    assert "job 'order-7' runs longer than 5 s" in message
    where = "self.gate.wait(PATIENCE)" if is_gil_on() else "cannot be told without the GIL"
    assert where in message
    clock.advance(100)
    assert records.rest() == []  # once is enough


def test_attempts_in_time_are_not_reported_and_leave_no_timer(
    memory: Store, clock: ManualClock, records: Records
) -> None:
    jq = memory.open(len, clock=clock, job_timeout=5)
    jq.enqueue_many([Job() for _ in range(20)])
    assert jq.join(PATIENCE)
    insides.timer(jq).expire()
    assert len(insides.wheel_of(insides.timer(jq))) == 0
    clock.advance(100)
    assert (records.rest(), jq.metrics().overrunning) == ([], 0)


def test_cancelled_attempt_that_then_overruns_is_not_retried(
    store: Store, clock: ManualClock
) -> None:
    blocker = stuck(store)
    jq = store.open(blocker, clock=clock, job_timeout=5)
    handle = jq.enqueue(Job())
    blocker.await_entered()
    assert handle.cancel()
    clock.advance(5)
    blocker.gate.set()
    assert handle.wait(PATIENCE) is Status.CANCELLED


# ── stand-ins ────────────────────────────────────────────────────────────────────────────────


def open_with_stuck(
    store: Store, clock: ManualClock, workers: int, jobs: int
) -> tuple[JobQueue, Stuck, list[JobHandle]]:
    """A queue with so many workers, and so many jobs that are stuck and overrun."""
    blocker = stuck(store)
    jq = store.open(
        len,
        handlers={"stuck": blocker},
        clock=clock,
        job_timeout=5,
        num_workers=workers,
        max_retries=0,
    )
    handles = []
    for _ in range(jobs):
        handles.append(jq.enqueue(Job(handler="stuck")))
        blocker.await_entered()
        clock.advance(5)
    return jq, blocker, handles


def test_stand_in_keeps_the_pool_at_full_strength(store: Store, clock: ManualClock) -> None:
    jq, _, _ = open_with_stuck(store, clock, workers=1, jobs=1)
    assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3
    workers = jq.metrics().workers
    assert (workers.count, workers.busy) == (2, 1)


def test_pool_has_its_old_size_when_the_handler_has_returned(
    store: Store, clock: ManualClock
) -> None:
    jq, blocker, handles = open_with_stuck(store, clock, workers=2, jobs=2)
    assert jq.metrics().workers.count == 4
    blocker.gate.set()
    assert [handle.wait(PATIENCE) for handle in handles] == [Status.FAILED] * 2
    assert eventually(lambda: jq.metrics().workers.count == 2)
    assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3


def test_there_are_at_most_as_many_stand_ins_as_workers(memory: Store, clock: ManualClock) -> None:
    jq, blocker, handles = open_with_stuck(memory, clock, workers=2, jobs=4)
    workers = jq.metrics().workers
    assert (workers.count, workers.busy, jq.metrics().overrunning) == (4, 4, 4)
    waiting = jq.enqueue(Job())
    clock.advance(100)
    assert (waiting.status, jq.metrics().workers.count) == (Status.QUEUED, 4)
    blocker.gate.set()
    assert [handle.wait(PATIENCE) for handle in handles] == [Status.FAILED] * 4
    assert waiting.wait(PATIENCE) is Status.COMPLETED
    assert eventually(lambda: jq.metrics().workers.count == 2)


def test_worker_that_comes_back_stands_in_for_one_that_has_no_stand_in(
    store: Store, clock: ManualClock
) -> None:
    """1. The worker is stuck, a stand-in comes. 2. That is stuck too: the limit is reached.
    3. The worker comes back: it is not one too many, but the only one that can work."""
    jq, first, _ = open_with_stuck(store, clock, workers=1, jobs=1)
    second = stuck(store)
    jq.register("stuck too", second)
    late = jq.enqueue(Job(handler="stuck too"))
    second.await_entered()
    clock.advance(5)
    waiting = jq.enqueue(Job(b"abc"))
    assert waiting.status is Status.QUEUED
    first.gate.set()
    assert waiting.result(PATIENCE / 2) == 3  # before the other stuck one loses its patience
    second.gate.set()
    assert late.wait(PATIENCE) is Status.FAILED
    assert eventually(lambda: jq.metrics().workers.count == 1)
    assert jq.enqueue(Job(b"ab")).result(PATIENCE) == 2


def test_no_stand_in_comes_while_the_queue_closes(memory: Store, clock: ManualClock) -> None:
    blocker = stuck(memory)
    jq = memory.open(blocker, clock=clock, job_timeout=5, num_workers=1)
    jq.enqueue(Job())
    blocker.await_entered()
    closing = in_thread(jq.close, PATIENCE)
    assert eventually(lambda: insides.state(jq) is State.CLOSING)
    clock.advance(5)
    assert (jq.metrics().workers.count, jq.metrics().overrunning) == (1, 1)
    blocker.gate.set()
    assert closing.result(PATIENCE).unfinished == ()


def test_system_that_gives_no_thread_for_a_stand_in_is_reported_and_survived(
    memory: Store, clock: ManualClock, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = stuck(memory)
    jq = memory.open(len, handlers={"stuck": blocker}, clock=clock, job_timeout=5, num_workers=1)
    no_threads(monkeypatch)
    jq.enqueue(Job(handler="stuck", max_retries=0))
    blocker.await_entered()
    clock.advance(5)
    record = records.next()
    assert record.levelno == logging.ERROR
    assert "no worker could be started" in record.getMessage()
    assert "runs longer than" in records.next().getMessage()
    assert jq.metrics().workers.count == 1
    blocker.gate.set()
    assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3  # the worker is still there


def no_threads(
    monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None
) -> list[Worker]:
    """From now on the system gives no thread for a worker; returns those that it was asked for."""
    make = getattr(*insides.making_worker(WorkerPool))
    asked_for: list[Worker] = []

    def make_one_that_cannot_start(pool: WorkerPool, seat: Seat) -> Worker:
        worker: Worker = make(pool, seat)

        def start() -> None:
            asked_for.append(worker)
            meanwhile()
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(worker.thread, "start", start)
        return worker

    monkeypatch.setattr(*insides.making_worker(WorkerPool), make_one_that_cannot_start)
    return asked_for


def test_stand_in_that_could_not_start_is_tried_again_until_it_can(
    memory: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    """Fault 69 of docs/reliability.md."""
    blocker = stuck(memory)
    jq = memory.open(len, handlers={"stuck": blocker}, clock=clock, job_timeout=5, num_workers=1)
    with monkeypatch.context() as patch:
        asked_for = no_threads(patch)
        slow = jq.enqueue(Job(handler="stuck", max_retries=0))
        blocker.await_entered()
        clock.advance(5)
        waiting = jq.enqueue(Job(b"abc"))
        clock.advance(1)
        clock.advance(1)
        assert (len(asked_for), waiting.status) == (3, Status.QUEUED)
    clock.advance(1)

    assert waiting.result(PATIENCE) == 3
    assert [records.next().levelno for _ in range(2)] == [logging.ERROR, logging.WARNING]
    blocker.gate.set()
    assert slow.wait(PATIENCE) is Status.FAILED
    assert eventually(lambda: jq.metrics().workers.count == 1)


def test_stand_in_that_could_not_start_is_not_tried_again_when_it_is_not_needed(
    memory: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = stuck(memory)
    jq = memory.open(len, handlers={"stuck": blocker}, clock=clock, job_timeout=5, num_workers=1)
    asked_for = no_threads(monkeypatch)
    slow = jq.enqueue(Job(handler="stuck", max_retries=0))
    blocker.await_entered()
    clock.advance(5)
    blocker.gate.set()
    assert slow.wait(PATIENCE) is Status.FAILED
    clock.advance(100)

    assert (len(asked_for), jq.metrics().workers.count) == (1, 1)
    assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3


def test_worker_that_left_for_a_stand_in_that_cannot_start_is_made_up_for(
    memory: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A stand-in is made. 2. The slow worker is back, and ends. 3. The stand-in cannot start.

    Fault 69 of docs/reliability.md.
    """
    blocker = stuck(memory)
    jq = memory.open(len, handlers={"stuck": blocker}, clock=clock, job_timeout=5, num_workers=1)

    def come_back() -> None:
        blocker.gate.set()
        assert eventually(lambda: len(insides.seats(jq)) == 1)  # that of the stand-in

    jq.enqueue(Job(handler="stuck", max_retries=0))
    blocker.await_entered()
    with monkeypatch.context() as patch:
        no_threads(patch, come_back)
        clock.advance(5)
    assert jq.metrics().workers.count == 0
    clock.advance(1)

    assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3
    assert jq.metrics().workers.count == 1


def test_time_that_is_up_just_after_the_attempt_changes_nothing(
    memory: Store, clock: ManualClock, records: Records
) -> None:
    """1. The handler returns. 2. The timer, which had its deadline in hand already, calls."""
    attempts = Attempts("done")
    jq = memory.open(attempts, clock=clock, job_timeout=5, num_workers=1)
    handle = jq.enqueue(Job())
    assert handle.result(PATIENCE) == "done"
    [worker] = insides.pool(jq).workers
    insides.pool(jq).overran(worker, handle, insides.stop_in(attempts.contexts[0]), 30.0)
    metrics = jq.metrics()
    assert (metrics.overrunning, metrics.workers.count, records.rest()) == (0, 1, [])
    assert not attempts.contexts[0].cancelled


def test_time_that_is_up_between_return_and_outcome_leaves_a_pool_of_its_size(
    memory: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. The handler returns, in time. 2. Its time is up. 3. Its outcome is recorded."""
    attempts = Attempts("done")
    jq = memory.open(attempts, clock=clock, job_timeout=5, num_workers=1)
    (worker,) = insides.pool(jq).workers
    returned = insides.outcomes(jq).returned

    def overrun_first(seat: Seat, handle: JobHandle, *outcome: Any) -> None:
        monkeypatch.undo()
        stop = insides.stop_of(handle)
        assert stop is not None
        finish = insides.pool(jq).overran(worker, handle, stop, 30.0)
        assert finish is not None
        finish()
        returned(seat, handle, *outcome)

    monkeypatch.setattr(insides.outcomes(jq), "returned", overrun_first)
    assert jq.enqueue(Job()).result(PATIENCE) == "done"
    assert jq.enqueue(Job()).result(PATIENCE) == "done"
    assert eventually(lambda: jq.metrics().workers.count == 1)
    assert jq.metrics().overrunning == 0


# ── context variables ────────────────────────────────────────────────────────────────────────


VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


def test_no_attempt_sees_what_another_one_set_in_its_context(memory: Store) -> None:
    """Fault 61 of docs/reliability.md."""

    def leave(payload: bytes) -> tuple[str, int]:
        seen = (VARIABLE.get(), decimal.getcontext().prec)
        VARIABLE.set("left")
        decimal.getcontext().prec = 3
        return seen

    jq = memory.open(leave, num_workers=1)
    handles = [jq.enqueue(Job()) for _ in range(3)]
    prec = decimal.DefaultContext.prec
    assert [handle.result(PATIENCE) for handle in handles] == [("unset", prec)] * 3


def test_neither_a_retry_nor_an_attempt_with_the_context_sees_what_one_that_failed_set(
    memory: Store,
) -> None:
    seen: list[str] = []

    def fail(payload: bytes, context: JobContext) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("left")
        raise ValueError("boom")

    jq = memory.open(fail, num_workers=1, max_retries=2, base_delay=0)
    assert jq.enqueue(Job()).wait(PATIENCE) is Status.FAILED
    assert seen == ["unset"] * 3


def test_an_attempt_sees_nothing_of_the_context_in_which_queue_and_job_were_made(
    memory: Store,
) -> None:
    token = VARIABLE.set("request 7")
    try:
        jq = memory.open(lambda payload: VARIABLE.get())
        assert jq.enqueue(Job()).result(PATIENCE) == "unset"
    finally:
        VARIABLE.reset(token)


def test_nothing_is_kept_of_the_context_of_an_attempt_that_has_ended(memory: Store) -> None:
    """Fault 61 of docs/reliability.md."""

    class Kept:
        pass

    held: ContextVar[Kept] = ContextVar("held")

    def hold(payload: bytes) -> weakref.ref[Kept]:
        held.set(Kept())
        return weakref.ref(held.get())

    result = memory.open(hold).enqueue(Job()).result(PATIENCE)
    assert isinstance(result, weakref.ref)
    assert eventually(lambda: result() is None)
