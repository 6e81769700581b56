"""`JobQueueExecutor`: calls are jobs of a queue, and their futures follow them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import threading
import traceback
from concurrent.futures import Future
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import (
    Config,
    Job,
    JobCancelledError,
    JobQueue,
    Middleware,
    Priority,
    QueueClosedError,
    Status,
    current_job,
)
from jobqueue.futures import JobQueueExecutor
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jobqueue import JobContext


class Gate:
    """A function that says when it runs, and returns when it may."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, *_: object) -> str:
        self.entered.set()
        assert self.opened.wait(PATIENCE)
        return "through"


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    """With one worker and room for two."""
    with JobQueue(Config(num_workers=1, queue_size=2, base_delay=0)) as jq:
        yield jq


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


def fail(message: str) -> None:
    raise ValueError(message)


async def coroutine() -> None:
    """Refused."""


def at_the_gate(executor: JobQueueExecutor, gate: Gate) -> Future[str]:
    """The one worker is busy from here on."""
    future = executor.submit(gate)
    assert gate.entered.wait(PATIENCE)
    return future


# ── what becomes of a call ───────────────────────────────────────────────────────────────────────


def test_a_call_gets_its_arguments_and_its_future_what_it_returns(queue: JobQueue) -> None:
    future = JobQueueExecutor(queue).submit(dict, [("a", 1)], self=2, fn=3)
    assert type(future) is Future
    assert future.result(PATIENCE) == {"a": 1, "self": 2, "fn": 3}


def test_the_queue_counts_a_call_before_its_future_is_done(queue: JobQueue) -> None:
    counted = []
    gate = Gate()
    future = JobQueueExecutor(queue).submit(gate)
    future.add_done_callback(lambda _: counted.append(queue.metrics().completed))
    gate.opened.set()
    future.result(PATIENCE)
    assert eventually(lambda: counted == [1])


def test_an_error_is_the_futures_with_the_traceback_of_the_call_alone(queue: JobQueue) -> None:
    error = JobQueueExecutor(queue).submit(fail, "no").exception(PATIENCE)
    assert isinstance(error, ValueError)
    frames = [(frame.name, frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    assert [name for name, _ in frames] == ["run", "fail"]  # as in a ThreadPoolExecutor
    assert frames[-1][1] == __file__


def test_a_call_that_raised_is_not_retried_and_leaves_no_dead_letter(queue: JobQueue) -> None:
    calls = []

    def try_once() -> None:
        calls.append(1)
        raise ValueError

    assert JobQueueExecutor(queue).submit(try_once).exception(PATIENCE)
    metrics = queue.metrics()
    assert (len(calls), metrics.failed, metrics.retried) == (1, 1, 0)
    assert queue.dead_letters() == []


def test_an_error_of_the_queues_own_kinds_is_an_error_as_any_other(queue: JobQueue) -> None:
    def raise_it() -> None:
        raise JobCancelledError("of another job")

    future = JobQueueExecutor(queue).submit(raise_it)
    assert isinstance(future.exception(PATIENCE), JobCancelledError)
    assert not future.cancelled()


def test_a_call_is_an_attempt_with_a_context_of_its_own(queue: JobQueue) -> None:
    said: ContextVar[str] = ContextVar("said", default="nothing")
    said.set("by the caller")

    def look() -> tuple[str, Priority | None]:
        context = current_job()
        return said.get(), None if context is None else context.job.priority

    executor = JobQueueExecutor(queue, priority=Priority.LOW)
    assert executor.submit(look).result(PATIENCE) == ("nothing", Priority.LOW)


def test_what_middleware_makes_of_a_call_is_its_futures() -> None:
    class Replaces(Middleware):
        def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
            return "instead"

    class Refuses(Middleware):
        def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
            call_next(context)
            raise ValueError("refused")

    with JobQueue(Config(num_workers=1), middleware=[Replaces()]) as jq:
        assert JobQueueExecutor(jq).submit(int).result(PATIENCE) == "instead"  # type: ignore[comparison-overlap]
    with JobQueue(Config(num_workers=1), middleware=[Refuses()]) as jq:
        assert str(JobQueueExecutor(jq).submit(int).exception(PATIENCE)) == "refused"


# ── lanes ────────────────────────────────────────────────────────────────────────────────────────


def test_executors_of_a_queue_differ_in_their_lanes(queue: JobQueue, gate: Gate) -> None:
    low = JobQueueExecutor(queue, priority=Priority.LOW)
    high = JobQueueExecutor(queue, priority=Priority.HIGH)
    at_the_gate(low, gate)
    order: list[str] = []
    futures = [low.submit(order.append, "low"), high.submit(order.append, "high")]
    gate.opened.set()
    concurrent.futures.wait(futures, PATIENCE)
    assert order == ["high", "low"]


def test_a_lower_lane_gets_its_turn_in_time(gate: Gate) -> None:
    with JobQueue(Config(num_workers=1, fairness=2)) as jq:
        low = JobQueueExecutor(jq, priority=Priority.LOW)
        high = JobQueueExecutor(jq, priority=Priority.HIGH)
        at_the_gate(high, gate)
        order: list[str] = []
        futures = [low.submit(order.append, "low")]
        futures += [high.submit(order.append, "high") for _ in range(6)]
        gate.opened.set()
        concurrent.futures.wait(futures, PATIENCE)
    assert order.index("low") <= 2


def test_submit_waits_for_room_in_its_lane(queue: JobQueue, gate: Gate) -> None:
    executor = JobQueueExecutor(queue)
    at_the_gate(executor, gate)
    for _ in range(2):
        executor.submit(int)
    third: list[Future[int]] = []
    thread = threading.Thread(target=lambda: third.append(executor.submit(int)))
    thread.start()
    try:
        thread.join(0.05)
        assert thread.is_alive()
        assert third == []
    finally:
        gate.opened.set()
        thread.join(PATIENCE)
    assert third[0].result(PATIENCE) == 0


def test_a_call_that_submits_never_waits_for_room(queue: JobQueue) -> None:
    executor = JobQueueExecutor(queue)

    def submit_more() -> list[Future[int]]:
        return [executor.submit(int) for _ in range(5)]

    futures = executor.submit(submit_more).result(PATIENCE)
    assert [future.result(PATIENCE) for future in futures] == [0] * 5


# ── cancelling ───────────────────────────────────────────────────────────────────────────────────


def test_cancelling_a_future_cancels_the_job_that_waits(queue: JobQueue, gate: Gate) -> None:
    executor = JobQueueExecutor(queue)
    at_the_gate(executor, gate)
    waits = executor.submit(pytest.fail, "it ran")
    assert waits.cancel()
    assert queue.metrics().cancelled == 1
    assert queue.metrics().queued == 0
    done, _ = concurrent.futures.wait([waits], timeout=0)  # those who wait are told
    assert done == {waits}


def test_a_future_whose_call_runs_cannot_be_cancelled(queue: JobQueue, gate: Gate) -> None:
    future = at_the_gate(JobQueueExecutor(queue), gate)
    assert future.running()
    assert not future.cancel()
    gate.opened.set()
    assert future.result(PATIENCE) == "through"


def test_cancelling_the_job_cancels_the_future(queue: JobQueue, gate: Gate) -> None:
    ids: list[str] = []

    class Notes(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], Any]) -> Any:
            ids.append(job.id)
            return call_next(job)

    with JobQueue(Config(num_workers=1), middleware=[Notes()]) as jq:
        executor = JobQueueExecutor(jq)
        at_the_gate(executor, gate)
        future = executor.submit(int)
        assert jq.cancel(ids[-1])
        assert future.cancelled()
        gate.opened.set()


# ── shutting down ────────────────────────────────────────────────────────────────────────────────


def test_shutdown_waits_for_its_own_calls_and_leaves_the_queue_open(queue: JobQueue) -> None:
    mine, other = JobQueueExecutor(queue), JobQueueExecutor(queue)
    with mine:
        futures = [mine.submit(int) for _ in range(20)]
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        mine.submit(int)
    assert other.submit(int).result(PATIENCE) == 0


def test_shutdown_need_not_wait(queue: JobQueue, gate: Gate) -> None:
    executor = JobQueueExecutor(queue)
    running, waits = at_the_gate(executor, gate), executor.submit(int)
    executor.shutdown(wait=False)
    assert not running.done()
    gate.opened.set()
    assert waits.result(PATIENCE) == 0


def test_shutdown_cancels_what_has_not_started(queue: JobQueue, gate: Gate) -> None:
    executor, other = JobQueueExecutor(queue), JobQueueExecutor(queue)
    running, waits = at_the_gate(executor, gate), executor.submit(int)
    others = other.submit(int)
    executor.shutdown(wait=False, cancel_futures=True)
    assert waits.cancelled()
    gate.opened.set()
    assert running.result(PATIENCE) == "through"
    assert others.result(PATIENCE) == 0


def test_shutdown_leaves_to_free_workers_what_they_are_about_to_start() -> None:
    with JobQueue(Config(num_workers=2)) as jq:
        assert eventually(lambda: jq.metrics().workers.count == 2)
        jq.pause()  # so they take nothing before the cancelling is over
        executor = JobQueueExecutor(jq)
        futures = [executor.submit(int) for _ in range(5)]
        executor.shutdown(wait=False, cancel_futures=True)
        jq.resume()
        assert [future.cancelled() for future in futures] == [False, False, True, True, True]
        assert [future.result(PATIENCE) for future in futures[:2]] == [0, 0]


@pytest.mark.parametrize("in_callback", [False, True])
def test_a_call_that_would_wait_for_itself_is_told(queue: JobQueue, in_callback: bool) -> None:
    executor = JobQueueExecutor(queue)
    errors: list[BaseException] = []

    def shut_down(*_: object) -> None:
        try:
            executor.shutdown()
        except RuntimeError as error:
            errors.append(error)

    if in_callback:
        gate = Gate()
        future = at_the_gate(executor, gate)
        future.add_done_callback(shut_down)
        gate.opened.set()
        future.result(PATIENCE)
    else:
        executor.submit(shut_down).result(PATIENCE)
    assert eventually(lambda: errors)
    assert "shutdown(wait=False)" in str(errors[0])


def test_a_handler_may_wait_for_an_executor_of_its_own_queue(queue: JobQueue) -> None:
    """A worker stands in for the one that waits, or the only one would wait for itself."""

    def use_executor(_: bytes) -> int:
        with JobQueueExecutor(queue) as executor:
            future = executor.submit(int)
        return future.result(0)

    queue.register("uses", use_executor)
    assert queue.enqueue(Job(handler="uses")).result(PATIENCE) == 0


# ── a queue that closes first ────────────────────────────────────────────────────────────────────


def test_futures_of_calls_that_never_run_say_that_the_queue_closed(gate: Gate) -> None:
    jq = JobQueue(Config(num_workers=1))
    executor = JobQueueExecutor(jq)
    running, waits = at_the_gate(executor, gate), executor.submit(int)
    jq.close(0, drain=False)
    for future in (running, waits):  # the first runs on, but nobody waits for it any more
        assert isinstance(future.exception(PATIENCE), QueueClosedError)
    gate.opened.set()
    executor.shutdown()  # has nothing to wait for


def test_a_queue_that_drains_finishes_the_calls() -> None:
    with JobQueue(Config(num_workers=1)) as jq:
        futures = [JobQueueExecutor(jq).submit(int) for _ in range(20)]
    assert [future.result(0) for future in futures] == [0] * 20


def test_submit_on_a_closed_queue_says_so(queue: JobQueue) -> None:
    executor = JobQueueExecutor(queue)
    queue.close()
    with pytest.raises(QueueClosedError) as raised:
        executor.submit(int)
    assert isinstance(raised.value, RuntimeError)  # as the standard library's
    executor.shutdown()  # the refused call is not waited for


@pytest.mark.slow
def test_submit_after_the_end_of_the_interpreter_says_so() -> None:
    program = """if True:
        import atexit
        @atexit.register
        def last():
            try:
                executor.submit(int)
            except Exception as error:
                print(type(error).__name__, error)
        from jobqueue import JobQueue
        from jobqueue.futures import JobQueueExecutor
        executor = JobQueueExecutor(JobQueue())
        executor.submit(print, "ran")
    """
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.splitlines() == [
        "ran",
        "RuntimeError cannot schedule new futures after interpreter shutdown",
    ]
    assert run.stderr == ""


# ── event loops ──────────────────────────────────────────────────────────────────────────────────


def test_an_event_loop_runs_functions_in_it(queue: JobQueue) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        executor = JobQueueExecutor(queue, priority=Priority.HIGH)
        return await asyncio.gather(
            *(loop.run_in_executor(executor, partial(pow, 2), n) for n in range(4))
        )

    assert asyncio.run(main()) == [1, 2, 4, 8]
    assert queue.metrics().by_priority[Priority.HIGH].completed == 4


def test_a_task_that_is_cancelled_cancels_the_job_that_waits(queue: JobQueue, gate: Gate) -> None:
    async def main() -> None:
        executor = JobQueueExecutor(queue)
        at_the_gate(executor, gate)
        awaited = asyncio.get_running_loop().run_in_executor(executor, int)
        awaited.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaited

    asyncio.run(main())
    assert queue.metrics().cancelled == 1


def test_a_queue_for_coroutines_runs_functions_in_its_threads() -> None:
    with JobQueue(Config(executor="asyncio", num_workers=2)) as jq:
        executor = JobQueueExecutor(jq)
        assert executor.submit(pow, 2, 8).result(PATIENCE) == 256
        assert isinstance(executor.submit(fail, "no").exception(PATIENCE), ValueError)


# ── what cannot work ─────────────────────────────────────────────────────────────────────────────


def test_a_queue_with_a_log_is_refused(tmp_path: Path) -> None:
    with (
        JobQueue(Config(persist_path=tmp_path / "log")) as jq,
        pytest.raises(ValueError, match="cannot come back after a restart"),
    ):
        JobQueueExecutor(jq)


def test_a_queue_with_processes_is_refused() -> None:
    with (
        JobQueue(Config(executor="process"), start=False) as jq,
        pytest.raises(ValueError, match="ProcessPoolExecutor"),
    ):
        JobQueueExecutor(jq)


def test_what_is_no_queue_or_priority_is_refused(queue: JobQueue) -> None:
    with pytest.raises(TypeError, match="queue must be a JobQueue"):
        JobQueueExecutor(None)  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError), match="priority"):
        JobQueueExecutor(queue, priority=7)  # type: ignore[arg-type]


def test_what_cannot_be_called_is_refused(queue: JobQueue) -> None:
    executor = JobQueueExecutor(queue)
    with pytest.raises(TypeError, match="only what can be called"):
        executor.submit(17)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="coroutine function"):
        executor.submit(coroutine)
    executor.shutdown()  # the refused calls are not waited for
    assert queue.metrics().enqueued == 0


def test_status_of_a_finished_call_is_final_when_its_future_is_done(queue: JobQueue) -> None:
    def own_id() -> str:
        context = current_job()
        assert context is not None
        return context.job.id

    job_id = JobQueueExecutor(queue).submit(own_id).result(PATIENCE)
    assert queue.status(job_id) is Status.COMPLETED
