"""The calls that are awaited: as those of threads, and the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any

import pytest

from jobqueue.final import (
    DuplicateJobError,
    EnqueueTimeoutError,
    Job,
    JobCancelledError,
    JobHandle,
    Priority,
    QueueClosedError,
    Status,
)
from tests.support import insides
from tests.support.queues import Store, every_store
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it on a loop of its own; a loop that hangs fails the test."""

    async def in_time() -> Any:
        return await asyncio.wait_for(coroutine, PATIENCE)

    return asyncio.run(in_time())


async def result_of(handle: JobHandle) -> object:
    return await handle


async def goes_on(awaited: Awaitable[Any]) -> int:
    """How often the loop came round while something was awaited."""
    rounds = 0
    future = asyncio.ensure_future(awaited)
    while not future.done():
        rounds += 1
        await asyncio.sleep(0)
    await future
    return rounds


@every_store
def test_an_awaited_enqueue_accepts_a_job_and_awaiting_its_handle_gives_the_result(
    store: Store,
) -> None:
    jq = store.open(len)

    async def main() -> None:
        handle = await jq.aenqueue(Job(b"abc"))
        assert await handle == 3
        assert await handle == 3  # again, once it has ended
        many = await jq.aenqueue_many([Job(b"x" * size) for size in range(5)])
        assert await asyncio.gather(*many) == [0, 1, 2, 3, 4]
        assert await jq.ajoin(PATIENCE)

    run(main())


def test_awaiting_a_handle_raises_what_result_raises(memory: Store) -> None:
    def fail(payload: bytes) -> None:
        raise ValueError(payload.decode())

    jq = memory.open(fail, max_retries=0, start=False)

    async def main() -> None:
        failed, cancelled = await jq.aenqueue(Job(b"boom")), await jq.aenqueue(Job())
        cancelled.cancel()
        with pytest.raises(JobCancelledError):
            await cancelled
        jq.start()
        with pytest.raises(ValueError, match="boom"):
            await failed

    run(main())


def test_a_coroutine_that_is_cancelled_while_it_awaits_a_handle_leaves_the_job_alone(
    memory: Store,
) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker)

    async def main() -> JobHandle:
        handle = await jq.aenqueue(Job())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.01)
        assert handle.status in {Status.QUEUED, Status.PROCESSING}
        return handle

    handle = run(main())
    blocker.gate.set()
    assert handle.wait(PATIENCE) is Status.COMPLETED


@every_store
def test_a_full_lane_holds_up_the_call_and_not_the_loop(store: Store) -> None:
    jq = store.open(len, queue_size=1, start=False)

    async def main() -> None:
        await jq.aenqueue(Job())
        waiting = asyncio.ensure_future(jq.aenqueue(Job(b"second")))
        with pytest.raises(EnqueueTimeoutError, match="MEDIUM lane"):
            await jq.aenqueue(Job(), timeout=0.01)
        assert not waiting.done()
        jq.start()
        assert await (await waiting) == 6

    run(main())


def test_many_that_find_no_room_in_time_are_told_for_how_long(memory: Store) -> None:
    jq = memory.open(len, queue_size=1, start=False)

    async def main() -> None:
        await jq.aenqueue(Job())
        # The second job waits for what the first has left of the time.
        with pytest.raises(
            EnqueueTimeoutError, match=r"\(1 job\) stayed full for 0(\.\d{1,3})? s;"
        ):
            await jq.aenqueue_many([Job(), Job()], timeout=0.2)

    run(main())


def test_many_more_jobs_than_there_is_room_for_are_accepted_in_their_order(memory: Store) -> None:
    jq = memory.open(bytes.decode, queue_size=3, num_workers=1)

    async def main() -> None:
        handles = await jq.aenqueue_many([Job(str(n).encode()) for n in range(50)])
        assert await asyncio.gather(*handles) == [str(n) for n in range(50)]

    run(main())


def test_a_call_that_is_cancelled_while_it_waits_for_room_has_enqueued_nothing(
    memory: Store,
) -> None:
    jq = memory.open(len, queue_size=1, start=False)

    async def main() -> None:
        await jq.aenqueue(Job(id="first"))
        cancelled = asyncio.ensure_future(jq.aenqueue(Job(id="second")))
        third = asyncio.ensure_future(jq.aenqueue(Job(id="third")))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        jq.start()
        await (await third)  # the one behind is not left in the line
        with pytest.raises(KeyError):
            jq.status("second")

    run(main())


def test_a_handler_that_is_missing_for_an_awaited_call_is_told_of(
    memory: Store, records: Records
) -> None:
    jq = memory.open(len)

    async def main() -> None:
        await jq.aenqueue(Job(handler="one"))
        await jq.aenqueue_many([Job(handler="two")])

    run(main())
    assert "not registered: one" in records.next().getMessage()
    assert "not registered: two" in records.next().getMessage()


def test_an_awaited_call_is_refused_as_that_of_a_thread_is(memory: Store) -> None:
    jq = memory.open(len)

    async def main() -> None:
        await jq.aenqueue(Job(id="one"))
        with pytest.raises(DuplicateJobError):
            await jq.aenqueue(Job(id="one"))
        with pytest.raises(DuplicateJobError) as refused:
            await jq.aenqueue_many([Job(id="two"), Job(id="two")])
        assert refused.value.accepted == ()
        with pytest.raises(ValueError, match="timeout"):
            await jq.aenqueue(Job(), timeout=-1)
        with pytest.raises(TypeError, match="Job"):
            await jq.aenqueue("text")  # type: ignore[arg-type]
        await jq.aclose()
        with pytest.raises(QueueClosedError):
            await jq.aenqueue(Job())

    run(main())


def test_a_close_ends_the_wait_for_room_and_for_a_job(memory: Store) -> None:
    jq = memory.open(len, queue_size=1, start=False)

    async def main() -> None:
        handle = await jq.aenqueue(Job())
        ended = asyncio.ensure_future(result_of(handle))
        accepted = asyncio.ensure_future(jq.aenqueue(Job()))
        await asyncio.sleep(0)
        report = await jq.aclose(0)
        assert report.remaining == 1
        for refused in (ended, accepted):
            with pytest.raises(QueueClosedError):
                await refused

    run(main())


def test_async_with_closes_the_queue_and_the_loop_goes_on_while_it_drains(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker)

    async def main() -> None:
        async with jq:
            handle = await jq.aenqueue(Job())
            asyncio.get_running_loop().call_later(0.01, blocker.gate.set)
        assert handle.status is Status.COMPLETED

    run(main())
    with pytest.raises(QueueClosedError):
        jq.enqueue(Job())


def test_an_async_with_that_is_cancelled_finishes_what_runs_and_drops_what_waits(
    memory: Store, records: Records
) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker, num_workers=1)

    async def main() -> None:
        async with jq:
            await jq.aenqueue_many([Job() for _ in range(3)])
            await asyncio.to_thread(blocker.await_entered)
            asyncio.get_running_loop().call_later(0.01, blocker.gate.set)
            raise asyncio.CancelledError  # as Ctrl-C comes to a coroutine

    with pytest.raises(asyncio.CancelledError):
        run(main())
    assert jq.metrics().completed == 1
    assert "2 jobs that waited were dropped" in records.next().getMessage()


def test_an_awaited_join_tells_that_the_queue_was_at_rest_though_it_is_busy_again(
    memory: Store,
) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker)

    async def main() -> None:
        await jq.aenqueue(Job())
        joining = asyncio.ensure_future(jq.ajoin())
        while not insides.watchers(jq).waiting:
            await asyncio.sleep(0)
        # No `await` until the next job is there: the coroutine cannot look in between.
        blocker.gate.set()
        assert jq.join(PATIENCE)
        blocker.gate.clear()
        jq.enqueue(Job())
        try:
            assert await joining is True
        finally:
            blocker.gate.set()

    run(main())


def test_a_join_is_awaited_until_all_is_at_rest_or_the_time_is_over(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker)

    async def main() -> None:
        assert await jq.ajoin()
        await jq.aenqueue(Job())
        assert not await jq.ajoin(0.01)
        asyncio.get_running_loop().call_soon(blocker.gate.set)
        assert await goes_on(jq.ajoin(PATIENCE)) > 0

    run(main())


@pytest.mark.usefixtures("no_tracer")
@pytest.mark.slow
@pytest.mark.parametrize("store", ["fsync"], indirect=True)
def test_ten_thousand_coroutines_wait_for_room_the_disk_and_results_without_a_thread(
    store: Store,
) -> None:
    jq = store.open(len, queue_size=100)

    async def main() -> None:
        async def one(number: int) -> int:
            handle = await jq.aenqueue(Job(str(number).encode(), priority=Priority(number % 3)))
            result = await handle
            assert isinstance(result, int)
            return result

        before = threading.active_count()
        calls = [asyncio.ensure_future(one(number)) for number in range(10_000)]
        await asyncio.sleep(0)
        assert threading.active_count() == before
        assert sum(await asyncio.gather(*calls)) == sum(len(str(n)) for n in range(10_000))

    asyncio.run(main())


def test_a_handle_may_be_awaited_in_several_loops_at_once(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker)
    handle = jq.enqueue(Job(b"x"))
    results: list[object] = []

    async def wait() -> None:
        results.append(await handle)

    threads = [threading.Thread(target=run, args=(wait(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    blocker.gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [b"x"] * 3


def test_a_loop_that_is_closed_before_its_job_ends_harms_nobody(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker)

    async def main() -> JobHandle:
        handle = await jq.aenqueue(Job())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.001)
        return handle

    handle = run(main())
    gc.collect()
    blocker.gate.set()
    assert eventually(lambda: handle.status is Status.COMPLETED)
    assert jq.metrics().workers.count == jq.config.num_workers
