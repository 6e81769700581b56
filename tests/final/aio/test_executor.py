"""`executor="asyncio"`: coroutine functions on an event loop, with all that threads promise."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobCancelledError,
    JobContext,
    JobHandle,
    JobQueue,
    JobQueueError,
    Middleware,
    Priority,
    RejectJobError,
    Status,
    current_job,
)
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.queues import Store, every_store
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually

SHARED: contextvars.ContextVar[str] = contextvars.ContextVar("shared", default="unset")


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it on a loop of its own; a loop that hangs fails the test."""

    async def in_time() -> Any:
        return await asyncio.wait_for(coroutine, PATIENCE)

    return asyncio.run(in_time())


async def length(payload: bytes) -> int:
    await asyncio.sleep(0)
    return len(payload)


def opened(store: Store, handler: Callable[..., object] | None = None, **settings: Any) -> JobQueue:
    return store.open(handler, executor="asyncio", **settings)


@every_store
def test_attempts_run_on_the_loop_that_entered_the_queue(store: Store) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def handler(payload: bytes) -> int:
        loops.append(asyncio.get_running_loop())
        return await length(payload)

    async def main() -> None:
        async with opened(store, handler) as jq:
            handles = await jq.aenqueue_many([Job(b"x" * n) for n in range(50)])
            assert await asyncio.gather(*handles) == list(range(50))
        assert set(loops) == {asyncio.get_running_loop()}

    run(main())


def test_without_a_loop_attempts_run_on_one_of_the_queues_own(memory: Store) -> None:
    async def where(payload: bytes) -> str:
        return threading.current_thread().name

    with opened(memory, where) as jq:
        assert jq.enqueue(Job()).result(PATIENCE) == "jobqueue-loop"


def test_nothing_starts_before_the_queue_is_entered_or_started(memory: Store) -> None:
    jq = opened(memory, length)
    handle = jq.enqueue(Job())
    with pytest.raises(TimeoutError):
        handle.result(0.01)
    jq.start()
    assert handle.result(PATIENCE) == 0


def test_plain_functions_run_in_threads_of_the_queues_own_and_hold_up_nothing(
    memory: Store,
) -> None:
    blocker = memory.blocker()

    async def main() -> None:
        async with opened(memory, length, num_workers=3) as jq:
            jq.register("plain", blocker)
            held = [jq.enqueue(Job(handler="plain")) for _ in range(2)]
            await asyncio.to_thread(blocker.entered.get)
            assert await jq.enqueue(Job(b"abc")) == 3
            blocker.gate.set()
            await asyncio.gather(*held)

    run(main())


def test_as_many_attempts_run_at_once_as_there_are_workers(memory: Store) -> None:
    running, most = 0, 0

    async def handler(payload: bytes) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    async def main() -> None:
        async with opened(memory, handler, num_workers=7) as jq:
            await jq.aenqueue_many([Job() for _ in range(50)])
            await jq.ajoin()

    run(main())
    assert most == 7


def test_a_thousand_attempts_wait_at_once_and_take_no_thread(memory: Store) -> None:
    gate: asyncio.Event | None = None

    async def handler(payload: bytes) -> None:
        assert gate is not None
        await gate.wait()

    async def main() -> None:
        nonlocal gate
        gate = asyncio.Event()
        async with opened(memory, handler, num_workers=1000) as jq:
            before = threading.active_count()
            await jq.aenqueue_many([Job() for _ in range(1000)])
            while jq.metrics().processing < 1000:
                await asyncio.sleep(0)
            assert threading.active_count() == before
            gate.set()
            assert await jq.ajoin(PATIENCE)

    run(main())


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopAsyncIteration()],
)
def test_whatever_a_coroutine_raises_is_a_failed_attempt_and_the_next_runs(
    memory: Store, error: BaseException
) -> None:
    async def handler(payload: bytes) -> None:
        if payload:
            await asyncio.sleep(0)
        raise error

    async def main() -> None:
        async with opened(memory, handler, max_retries=0, num_workers=1) as jq:
            jq.register("fine", length)
            failed = [jq.enqueue(Job()), jq.enqueue(Job(b"x"))]
            assert await jq.enqueue(Job(b"ab", handler="fine")) == 2
            assert [handle.status for handle in failed] == [Status.FAILED] * 2
            assert type(error).__name__ in (jq.info(failed[0].id).last_error or "")

    run(main())


def test_a_failed_attempt_is_retried_after_its_backoff(memory: Store, clock: ManualClock) -> None:
    attempts: list[int] = []

    async def handler(payload: bytes, context: JobContext) -> int:
        attempts.append(context.attempt)
        if context.attempt < 2:
            raise ValueError
        return context.attempt

    with opened(memory, handler, clock=clock, base_delay=10) as jq:
        handle = jq.enqueue(Job())
        eventually(lambda: jq.metrics().scheduled == 1)
        clock.advance(10)
        eventually(lambda: jq.metrics().retried == 2)
        clock.advance(20)
        assert handle.result(PATIENCE) == 2
    assert attempts == [0, 1, 2]


def test_a_rejected_job_is_not_retried(memory: Store) -> None:
    async def handler(payload: bytes) -> None:
        raise RejectJobError("no")

    with opened(memory, handler) as jq:
        assert jq.enqueue(Job()).wait(PATIENCE) is Status.FAILED


def test_the_order_and_the_tokens_are_those_of_the_scheduler(memory: Store) -> None:
    order: list[Priority] = []

    async def handler(payload: bytes, context: JobContext) -> None:
        order.append(context.job.priority)

    jq = opened(memory, handler, num_workers=1, fairness=2)
    for priority in (Priority.LOW, Priority.HIGH):
        jq.enqueue_many([Job(priority=priority) for _ in range(6)])
    with jq:
        jq.join(PATIENCE)
    assert order[:4] == [Priority.HIGH, Priority.HIGH, Priority.LOW, Priority.HIGH]


def test_cancel_cancels_the_coroutine(memory: Store) -> None:
    seen: list[BaseException] = []

    async def handler(payload: bytes) -> None:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError as error:
            seen.append(error)
            raise

    async def main() -> None:
        async with opened(memory, handler, num_workers=1) as jq:
            jq.register("fine", length)
            handle = jq.enqueue(Job())
            while handle.status is not Status.PROCESSING:
                await asyncio.sleep(0)
            assert handle.cancel()
            with pytest.raises(JobCancelledError):
                await handle
            assert jq.info(handle.id).status is Status.CANCELLED
            assert await jq.enqueue(Job(b"x", handler="fine")) == 1
        assert len(seen) == 1

    run(main())


def test_a_coroutine_that_swallows_its_cancellation_is_completed(memory: Store) -> None:
    async def handler(payload: bytes) -> str:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "done all the same"

    async def main() -> None:
        async with opened(memory, handler) as jq:
            handle = jq.enqueue(Job())
            while handle.status is not Status.PROCESSING:
                await asyncio.sleep(0)
            handle.cancel()
            assert await handle == "done all the same"

    run(main())


class Stubborn:
    """Makes coroutines that swallow their cancellations and go on, until they are let go."""

    def __init__(self) -> None:
        self.swallowed = 0
        self.begun = threading.Event()
        self.let_go = threading.Event()

    async def __call__(self, payload: bytes) -> str:
        self.begun.set()
        while not self.let_go.is_set():
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                self.swallowed += 1
        return "done all the same"


def test_one_that_goes_on_though_it_was_cancelled_overruns_and_is_stood_in_for(
    memory: Store,
) -> None:
    stubborn = Stubborn()
    with opened(memory, stubborn, num_workers=1) as jq:
        jq.register("fine", length)
        handle = jq.enqueue(Job())
        assert stubborn.begun.wait(PATIENCE)
        assert handle.cancel()
        assert jq.enqueue(Job(b"abc", handler="fine")).result(PATIENCE) == 3
        assert (jq.metrics().overrunning, jq.metrics().workers.count) == (1, 2)
        stubborn.let_go.set()
        assert handle.result(PATIENCE) == "done all the same"
        eventually(lambda: jq.metrics().workers.count == 1)
        assert jq.metrics().overrunning == 0
        assert jq.enqueue(Job(b"abc", handler="fine")).result(PATIENCE) == 3
    assert stubborn.swallowed == 1


def test_one_whose_tasks_go_on_overruns_too(memory: Store) -> None:
    stubborn = Stubborn()

    async def handler(payload: bytes) -> object:
        return await asyncio.gather(stubborn(payload))

    with opened(memory, handler, num_workers=1) as jq:
        jq.register("fine", length)
        handle = jq.enqueue(Job())
        assert stubborn.begun.wait(PATIENCE)
        handle.cancel()
        assert jq.enqueue(Job(b"abc", handler="fine")).result(PATIENCE) == 3
        assert jq.metrics().overrunning == 1
        stubborn.let_go.set()
        assert handle.wait(PATIENCE) is Status.CANCELLED
        assert jq.metrics().overrunning == 0


def test_one_that_ends_when_it_is_cancelled_does_not_overrun(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(payload: bytes) -> None:
        await asyncio.sleep(PATIENCE)

    with opened(memory, handler, num_workers=1) as jq:
        seats = insides.seats(jq)
        monkeypatch.setattr(seats, "replace", lambda seat: pytest.fail("it was stood in for"))
        handle = jq.enqueue(Job())
        eventually(lambda: handle.status is Status.PROCESSING)
        handle.cancel()
        assert handle.wait(PATIENCE) is Status.CANCELLED
        assert (jq.metrics().overrunning, jq.metrics().workers.count) == (0, 1)


def test_one_that_was_cancelled_and_is_past_its_time_later_overruns_once(
    memory: Store, clock: ManualClock
) -> None:
    stubborn = Stubborn()
    with opened(memory, stubborn, clock=clock, job_timeout=5, num_workers=2) as jq:
        jq.register("fine", length)
        handle = jq.enqueue(Job())
        assert stubborn.begun.wait(PATIENCE)
        handle.cancel()
        eventually(lambda: jq.metrics().overrunning == 1)
        clock.advance(6)
        eventually(lambda: stubborn.swallowed == 2)
        assert jq.metrics().overrunning == 1
        stubborn.let_go.set()
        assert handle.wait(PATIENCE) is Status.CANCELLED
        assert jq.enqueue(Job(b"abc", handler="fine")).result(PATIENCE) == 3
        eventually(lambda: jq.metrics().workers.count == 2)
        assert jq.metrics().overrunning == 0


def test_past_its_time_a_coroutine_is_cancelled_and_the_attempt_has_failed(
    memory: Store, clock: ManualClock
) -> None:
    cancelled = threading.Event()

    async def handler(payload: bytes) -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            cancelled.set()

    with opened(memory, handler, clock=clock, job_timeout=5, max_retries=0) as jq:
        handle = jq.enqueue(Job())
        eventually(lambda: handle.status is Status.PROCESSING)
        clock.advance(4)
        assert not cancelled.is_set()
        clock.advance(1.1)
        with pytest.raises(TimeoutError, match="longer than 5 s"):
            handle.result(PATIENCE)
        assert cancelled.is_set()


def test_one_that_swallows_that_counts_as_overrunning_and_is_stood_in_for(
    memory: Store, clock: ManualClock
) -> None:
    let_go = threading.Event()

    async def stubborn(payload: bytes) -> None:
        while not let_go.is_set():
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                pass

    with opened(memory, stubborn, clock=clock, job_timeout=5, num_workers=1, max_retries=0) as jq:
        jq.register("fine", length)
        handle = jq.enqueue(Job())
        eventually(lambda: handle.status is Status.PROCESSING)
        clock.advance(6)
        assert jq.enqueue(Job(b"abc", handler="fine")).result(PATIENCE) == 3
        assert jq.metrics().overrunning == 1
        assert jq.metrics().workers.count == 2
        let_go.set()
        assert handle.wait(PATIENCE) is Status.FAILED
        eventually(lambda: jq.metrics().workers.count == 1)
        assert jq.enqueue(Job(b"abc", handler="fine")).result(PATIENCE) == 3


def test_a_task_that_others_cancel_costs_its_attempt_and_no_worker(memory: Store) -> None:
    async def cancels_itself(payload: bytes) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(PATIENCE)

    async def main() -> None:
        async with opened(memory, cancels_itself, num_workers=1, max_retries=0) as jq:
            jq.register("fine", length)
            handle = jq.enqueue(Job())
            with pytest.raises(asyncio.CancelledError):
                await handle
            assert handle.status is Status.FAILED
            for _ in range(3):
                assert await jq.enqueue(Job(b"x", handler="fine")) == 1

    run(main())


def test_a_task_that_others_cancel_before_it_has_begun_costs_its_attempt_and_no_worker(
    memory: Store,
) -> None:
    def cancel_others() -> None:
        for other in asyncio.all_tasks() - {asyncio.current_task()}:
            if other.get_name() == "jobqueue-slot":  # not that of `wait_for`
                other.cancel()

    async def main() -> None:
        async with opened(memory, length, num_workers=1, max_retries=0) as jq:
            handle = jq.enqueue(Job())
            while handle.status is Status.QUEUED:
                await asyncio.sleep(0)
            cancel_others()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(handle, PATIENCE / 4)
            assert handle.status is Status.FAILED
            assert await jq.enqueue(Job(b"x")) == 1

    run(main())


def test_each_attempt_has_a_context_of_its_own_and_knows_its_job(memory: Store) -> None:
    seen: list[tuple[str, str]] = []

    async def handler(payload: bytes) -> None:
        context = current_job()
        assert context is not None
        seen.append((SHARED.get(), context.job.id))
        SHARED.set(payload.decode())
        await asyncio.sleep(0)
        assert SHARED.get() == payload.decode()
        assert await asyncio.to_thread(current_job) is context

    def plain(payload: bytes) -> None:
        context = current_job()
        assert context is not None
        seen.append((SHARED.get(), context.job.id))
        SHARED.set("plain")

    async def main() -> None:
        async with opened(memory, handler, num_workers=1) as jq:
            jq.register("plain", plain)
            for number in range(4):
                name = "plain" if number % 2 else None
                await jq.enqueue(Job(b"set", id=str(number), handler=name))
        assert current_job() is None

    run(main())
    assert seen == [("unset", str(number)) for number in range(4)]


def test_on_the_loops_thread_what_would_sleep_is_refused_and_names_the_awaited_form(
    memory: Store,
) -> None:
    async def main() -> None:
        async with opened(memory, length, queue_size=1, num_workers=1) as jq:
            jq.pause()
            handle = jq.enqueue(Job())
            refused: list[tuple[Callable[[], object], str]] = [
                (handle.wait, "await handle"),
                (handle.result, "await handle"),
                (jq.join, r"await queue.ajoin\(\)"),
                (lambda: jq.enqueue(Job()), r"await queue.aenqueue\(job\)"),
                (jq.close, r"await queue.aclose\(\)"),
            ]
            for call, instead in refused:
                with pytest.raises(RuntimeError, match=instead):
                    call()
            assert jq.metrics().queued == 1
            jq.resume()
            assert await handle == 0
            assert handle.result() == 0  # it has ended: nothing to wait for

    run(main())


def test_a_handler_that_awaits_jobs_of_its_own_queue_is_stood_in_for(memory: Store) -> None:
    async def main() -> None:
        async def parent(payload: bytes) -> int:
            children = await jq.aenqueue_many([Job(b"x", handler="child") for _ in range(3)])
            return len(await asyncio.gather(*children))

        def plain_parent(payload: bytes) -> int:
            return int(str(jq.enqueue(Job(b"xx", handler="child")).result()))

        async def itself(payload: bytes, context: JobContext) -> None:
            await jq.handle(context.job.id)

        jq = opened(memory, length, num_workers=2, max_retries=0)
        async with jq:
            jq.register("child", length)
            jq.register("parent", parent)
            jq.register("plain", plain_parent)
            jq.register("itself", itself)
            parents = [jq.enqueue(Job(handler="parent")) for _ in range(2)]
            assert await asyncio.gather(*parents) == [3, 3]
            assert await jq.enqueue(Job(handler="plain")) == 2
            with pytest.raises(RuntimeError, match="wait for itself"):
                await jq.enqueue(Job(handler="itself"))

    run(main())


@pytest.mark.parametrize("executor", ["asyncio", "thread"])
@pytest.mark.parametrize("what", ["aclose", "ajoin", "leave"])
def test_a_handler_that_awaits_the_end_of_its_own_queue_is_told_at_once(
    memory: Store, executor: str, what: str
) -> None:
    async def handler(payload: bytes) -> None:
        if what == "leave":
            await jq.__aexit__(None, None, None)
        else:
            await getattr(jq, what)()

    def plain(payload: bytes) -> None:
        asyncio.run(handler(payload))

    jq = memory.open(plain, executor=executor, max_retries=0)
    with jq:
        jq.start()
        if executor == "asyncio":
            jq.register("coroutine", handler)
        for name in ["coroutine", None] if executor == "asyncio" else [None]:
            with pytest.raises(RuntimeError, match=r"a handler cannot (close|join) its own queue"):
                jq.enqueue(Job(handler=name)).result(PATIENCE)
        assert not jq.closed


def test_close_gives_up_on_what_outlives_it_by_cancelling_it(log_store: Store) -> None:
    cancelled: list[str] = []

    async def handler(payload: bytes) -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            cancelled.append("now")

    async def main() -> str:
        jq = opened(log_store, handler)
        async with jq:
            handle = jq.enqueue(Job())
            while handle.status is not Status.PROCESSING:
                await asyncio.sleep(0)
            report = await jq.aclose(0.01)
            assert report.unfinished == (handle.id,)
        while not cancelled:
            await asyncio.sleep(0)
        return handle.id

    job_id = run(main())
    with opened(log_store, length) as jq:
        assert jq.handle(job_id).wait(PATIENCE) is Status.COMPLETED


def test_a_drain_finishes_what_was_accepted(memory: Store) -> None:
    async def main() -> list[JobHandle]:
        async with opened(memory, length, num_workers=2) as jq:
            return [await jq.aenqueue(Job()) for _ in range(20)]

    assert {handle.status for handle in run(main())} == {Status.COMPLETED}


def test_middleware_goes_around_coroutines_by_aattempt_and_around_others_by_attempt(
    memory: Store,
) -> None:
    told: list[str] = []

    class Telling(Middleware):
        def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
            told.append("attempt")
            return call_next(context)

        async def aattempt(
            self, context: JobContext, call_next: Callable[[JobContext], Awaitable[object]]
        ) -> object:
            told.append("aattempt")
            return await call_next(context)

    config = Config(executor="asyncio")
    with JobQueue(config, handlers={"a": length, "b": len}, middleware=[Telling()]) as jq:
        assert jq.enqueue(Job(b"x", handler="a")).result(PATIENCE) == 1
        assert jq.enqueue(Job(b"xy", handler="b")).result(PATIENCE) == 2
    assert told == ["aattempt", "attempt"]


def test_a_loop_that_is_closed_before_the_queue_is_told_of(memory: Store, records: Records) -> None:
    jq = opened(memory, length)

    async def main() -> None:
        await jq.__aenter__()
        assert await jq.enqueue(Job()) == 0

    asyncio.run(main())
    handle = jq.enqueue(Job())
    with pytest.raises(JobQueueError, match=r"event loop .* was closed before the queue"):
        handle.result(PATIENCE)


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_coroutine_function_elsewhere_is_refused_and_told_where_it_runs(
    memory: Store, executor: str
) -> None:
    jq = memory.open(executor=executor)
    with pytest.raises(TypeError, match='executor="asyncio"'):
        jq.register("x", length)
