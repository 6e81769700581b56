"""Awaited calls through middleware: in a few threads of the queue's own, and never in their way."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from jobqueue.final import (
    EnqueueTimeoutError,
    Job,
    JobHandle,
    JobQueue,
    Middleware,
    Priority,
    QueueClosedError,
    Status,
    UnknownJobError,
)
from jobqueue.final.aio.through_middleware import AT_ONCE
from tests.support import insides
from tests.support.queues import Store
from tests.support.waiting import PATIENCE, eventually

TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


class Passing(Middleware):
    """Passes each job on."""

    def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
        return call_next(job)


class Holding(Middleware):
    """Holds on to each job, before or after its acceptance, until its gate is set."""

    def __init__(self, *, after: bool) -> None:
        self.after = after
        self.entered = threading.Event()
        self.gate = threading.Event()

    def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
        handle = call_next(job) if self.after else None
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        return handle or call_next(job)


def opened(
    store: Store,
    handler: Callable[..., object] | None = None,
    middleware: Middleware | None = None,
    *,
    start: bool = True,
    **settings: Any,
) -> JobQueue:
    jq = JobQueue(
        store.config(**settings), handler=handler, middleware=[middleware or Passing()], start=start
    )
    store.queues.append(jq)
    return jq


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it on a loop of its own; a loop that hangs fails the test."""

    async def in_time() -> Any:
        return await asyncio.wait_for(coroutine, PATIENCE)

    return asyncio.run(in_time())


async def until(predicate: Callable[[], object]) -> None:
    """As `eventually`, on a loop that goes on."""
    await asyncio.to_thread(eventually, predicate)


def begin(jq: JobQueue, count: int, prefix: str = "") -> list[asyncio.Task[JobHandle]]:
    """Have so many calls of `aenqueue` begin."""
    jobs = [Job(id=f"{prefix}{number}") for number in range(count)]
    return [asyncio.ensure_future(jq.aenqueue(job)) for job in jobs]


async def until_waiting(jq: JobQueue, count: int = AT_ONCE) -> None:
    """Wait until the threads of so many calls wait for room."""
    await until(lambda: len(insides.producers(jq)) == count)


def call_threads() -> int:
    return sum(each.name.startswith("jobqueue-call-") for each in threading.enumerate())


# ── threads ──────────────────────────────────────────────────────────────────────────────────


def test_calls_that_wait_for_room_leave_the_loops_own_threads_to_the_handlers(
    memory: Store,
) -> None:
    async def handler(payload: bytes) -> int:
        return await asyncio.to_thread(len, payload)

    async def main() -> None:
        async with opened(memory, handler, executor="asyncio", num_workers=2, queue_size=5) as jq:
            handles = await asyncio.gather(*begin(jq, 50))
            assert await asyncio.gather(*handles) == [0] * 50

    run(main())


def test_many_calls_that_wait_take_a_few_threads(memory: Store) -> None:
    jq = opened(memory, len, queue_size=1, start=False)

    async def main() -> None:
        calls = begin(jq, 100)
        await until_waiting(jq)
        assert call_threads() == AT_ONCE
        jq.start()
        await asyncio.gather(*calls)

    run(main())


def test_a_call_that_waits_for_room_holds_up_none_for_another_lane(memory: Store) -> None:
    jq = opened(memory, len, queue_size=1, start=False)

    async def main() -> None:
        calls = begin(jq, 20)
        await until_waiting(jq)
        await jq.aenqueue(Job(priority=Priority.HIGH))
        await jq.aenqueue_many([Job(priority=Priority.LOW)])
        await jq.aenqueue(Job(), delay=60)
        jq.start()
        await asyncio.gather(*calls)

    run(main())


@pytest.mark.parametrize("executor", ["asyncio", "thread"])
def test_a_handlers_call_waits_neither_for_room_nor_for_calls_that_do(
    memory: Store, executor: str
) -> None:
    gate = threading.Event()

    async def parent(payload: bytes) -> None:
        await asyncio.to_thread(gate.wait, PATIENCE)
        await jq.aenqueue(Job(handler="child"))
        await jq.aenqueue_many([Job(handler="child") for _ in range(5)])

    def plain_parent(payload: bytes) -> None:
        asyncio.run(parent(payload))

    jq = opened(memory, executor=executor, num_workers=1, queue_size=1, start=False)
    jq.register("child", len)
    jq.register("parent", parent if executor == "asyncio" else plain_parent)

    async def main() -> None:
        async with jq:
            jq.start()
            first = await jq.aenqueue(Job(handler="parent"))
            await until(lambda: first.status is Status.PROCESSING)
            jobs = [Job(handler="child") for _ in range(20)]
            calls = [asyncio.ensure_future(jq.aenqueue(job)) for job in jobs]
            await until_waiting(jq)
            gate.set()
            await first
            await asyncio.gather(*calls)
        assert jq.metrics().completed == 27

    run(main())


def test_it_runs_in_the_callers_context(memory: Store) -> None:
    class Stamping(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
            return call_next(job.with_headers({"tenant": TENANT.get()}))

    jq = opened(memory, len, Stamping())

    async def main() -> None:
        TENANT.set("acme")
        handle = await jq.aenqueue(Job())
        assert dict(handle.job.headers) == {"tenant": "acme"}

    run(main())


def test_what_it_raises_the_call_raises_whatever_it_is(memory: Store) -> None:
    class Raising(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
            raise StopIteration if job.id == "stop" else PermissionError(job.id)

    jq = opened(memory, len, Raising())

    async def main() -> None:
        with pytest.raises(PermissionError, match="mine"):
            await jq.aenqueue(Job(id="mine"))
        with pytest.raises(RuntimeError, match="StopIteration"):
            await jq.aenqueue(Job(id="stop"))
        with pytest.raises(TypeError, match="only a Job"):
            await jq.aenqueue_many([b"payload"])  # type: ignore[list-item]  # the mistake

    run(main())


# ── time ─────────────────────────────────────────────────────────────────────────────────────


def test_a_call_that_waits_for_a_thread_gives_up_when_its_time_is_over(memory: Store) -> None:
    jq = opened(memory, len, queue_size=1, start=False)

    async def main() -> None:
        calls = begin(jq, 20)
        await until_waiting(jq)
        with pytest.raises(EnqueueTimeoutError, match=r"MEDIUM lane .* for 0.01 s"):
            await jq.aenqueue(Job(id="late"), timeout=0.01)
        with pytest.raises(EnqueueTimeoutError, match="MEDIUM lane"):
            await jq.aenqueue_many([Job(id="late")], timeout=0)
        jq.start()
        await asyncio.gather(*calls)

    run(main())
    with pytest.raises(UnknownJobError):
        jq.status("late")


def test_the_time_bounds_the_wait_for_room_and_not_that_for_a_thread(memory: Store) -> None:
    holding = Holding(after=False)
    jq = opened(memory, len, holding, start=False)

    async def main() -> None:
        calls = [asyncio.ensure_future(jq.aenqueue(Job(), timeout=0)) for _ in range(20)]
        await until(holding.entered.is_set)
        holding.gate.set()
        await asyncio.gather(*calls)

    run(main())
    assert jq.metrics().enqueued == 20


# ── cancellation ─────────────────────────────────────────────────────────────────────────────


def test_of_calls_that_were_cancelled_while_they_waited_nothing_is_accepted_later(
    memory: Store,
) -> None:
    jq = opened(memory, len, queue_size=1, start=False)

    async def main() -> None:
        await jq.aenqueue(Job(id="first"))
        cancelled = begin(jq, 20)
        await until_waiting(jq)
        for call in cancelled:
            call.cancel()
        ends = await asyncio.gather(*cancelled, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        jq.start()
        assert await jq.ajoin(PATIENCE)
        assert await (await jq.aenqueue(Job(id="last"))) == 0

    run(main())
    assert jq.metrics().enqueued == 2


def test_a_cancelled_call_for_many_jobs_accepts_no_more_of_them(memory: Store) -> None:
    jq = opened(memory, len, queue_size=1, start=False)

    async def main() -> None:
        many = jq.aenqueue_many([Job() for _ in range(300)])
        call = asyncio.ensure_future(many)
        await until_waiting(jq, 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        jq.start()
        assert await jq.ajoin(PATIENCE)

    run(main())
    assert jq.metrics().enqueued == 1


def test_a_call_that_is_cancelled_before_the_acceptance_ends_after_its_thread_and_accepts_nothing(
    memory: Store,
) -> None:
    holding = Holding(after=False)
    jq = opened(memory, len, holding)

    async def main() -> None:
        call = asyncio.ensure_future(jq.aenqueue(Job(id="mine")))
        await until(holding.entered.is_set)
        for _ in range(2):  # again, while it waits for its thread
            call.cancel()
            assert not (await asyncio.wait([call], timeout=0))[0]
        holding.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(UnknownJobError):
            jq.status("mine")

    run(main())
    assert jq.metrics().enqueued == 0


def test_a_job_that_was_accepted_as_its_call_was_cancelled_runs(memory: Store) -> None:
    """As without middleware: the call is cancelled, and the job is not."""
    holding = Holding(after=True)
    jq = opened(memory, len, holding)

    async def main() -> None:
        call = asyncio.ensure_future(jq.aenqueue(Job(id="mine")))
        await until(holding.entered.is_set)
        call.cancel()
        holding.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await jq.handle("mine") == 0

    run(main())


# ── the end ──────────────────────────────────────────────────────────────────────────────────


def test_a_close_ends_the_calls_that_wait_and_their_threads(memory: Store) -> None:
    jq = opened(memory, len, queue_size=1, start=False)

    async def main() -> None:
        await jq.aenqueue(Job())
        calls = begin(jq, 20)
        await until_waiting(jq)
        await jq.aclose(0)
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} == {QueueClosedError}
        await until(lambda: not call_threads())
        with pytest.raises(QueueClosedError):
            await jq.aenqueue(Job())
        await until(lambda: not call_threads())

    run(main())


def test_a_first_call_after_the_end_leaves_no_thread(memory: Store) -> None:
    jq = opened(memory, len)
    jq.close()

    async def main() -> None:
        with pytest.raises(QueueClosedError):
            await jq.aenqueue(Job())

    run(main())
    assert eventually(lambda: not call_threads())
