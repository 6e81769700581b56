"""What a handler can know of `close`: `context.closing`, and a sleep that ends early for it."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from typing import cast

from jobqueue.final import Job, JobContext, JobQueue, ShutdownReport, current_job
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.queues import Store, every_store
from tests.support.waiting import PATIENCE, eventually

LONG = 3600.0


class Sleeper:
    """A handler that sleeps as often as it is told, and notes what came of it."""

    def __init__(self, times: int) -> None:
        self.context: Future[JobContext] = Future()
        self.came: list[bool] = []
        self.saw: list[bool] = []
        self._times = times

    def __call__(self, payload: bytes, context: JobContext) -> None:
        self.saw.append(context.closing)
        self.context.set_result(context)
        for _ in range(self._times):
            self.came.append(context.wait(LONG))
            self.saw.append(context.closing)

    def sleeps(self) -> bool:
        """Whether it sleeps now."""
        return bool(insides.sleepers(self.context.result(PATIENCE)))


def _closing(jq: JobQueue, *, drain: bool = False) -> Future[ShutdownReport]:
    future = in_thread(jq.close, PATIENCE, drain=drain)
    eventually(lambda: jq.closed)
    return future


@every_store
def test_a_sleep_ends_early_as_close_begins(store: Store) -> None:
    sleeper = Sleeper(1)
    jq = store.open(sleeper)
    jq.enqueue(Job())
    eventually(sleeper.sleeps)

    report = jq.close()

    assert (sleeper.came, sleeper.saw) == ([False], [False, True])
    assert (report.completed, report.unfinished) == (1, ())


def test_later_sleeps_of_the_attempt_sleep(memory: Store) -> None:
    sleeper = Sleeper(2)
    jq = memory.open(sleeper)
    handle = jq.enqueue(Job())
    eventually(sleeper.sleeps)
    report = _closing(jq)
    eventually(lambda: sleeper.came == [False] and sleeper.sleeps())

    handle.cancel()

    assert report.result(PATIENCE).completed == 1
    assert sleeper.came == [False, True]


def test_a_cancel_wins_over_the_closing(memory: Store) -> None:
    """Both are there when the handler comes to sleep."""
    entered, gate = threading.Event(), threading.Event()

    def handler(payload: bytes, context: JobContext) -> tuple[bool, bool]:
        entered.set()
        assert gate.wait(PATIENCE)
        return context.wait(LONG), context.closing

    jq = memory.open(handler)
    handle = jq.enqueue(Job())
    assert entered.wait(PATIENCE)
    report = _closing(jq)
    handle.cancel()
    gate.set()

    assert handle.result(PATIENCE) == (True, True)
    assert report.result(PATIENCE).unfinished == ()


def test_a_sleep_that_begins_after_close_ends_early_once(memory: Store) -> None:
    """A look, `wait(0)`, is no sleep: it does not use that up."""
    entered, gate = threading.Event(), threading.Event()

    def handler(payload: bytes, context: JobContext) -> tuple[bool, float, float]:
        entered.set()
        assert gate.wait(PATIENCE)
        context.wait(0)
        begin = time.monotonic()
        came = context.wait(LONG)
        early = time.monotonic()
        context.wait(0.05)
        return came, early - begin, time.monotonic() - early

    jq = memory.open(handler)
    handle = jq.enqueue(Job())
    assert entered.wait(PATIENCE)
    report = _closing(jq)
    gate.set()

    came, first, second = cast("tuple[bool, float, float]", handle.result(PATIENCE))
    assert not came
    assert first < PATIENCE
    assert second >= 0.05
    report.result(PATIENCE)


def test_one_of_several_sleeps_that_go_on_ends_early(memory: Store) -> None:
    context: Future[JobContext] = Future()

    def handler(payload: bytes, its: JobContext) -> list[bool]:
        naps = [in_thread(its.wait, LONG) for _ in range(3)]
        eventually(lambda: len(insides.sleepers(its)) == 3)
        context.set_result(its)
        return [nap.result(PATIENCE) for nap in naps]

    jq = memory.open(handler)
    handle = jq.enqueue(Job())
    sleepers = context.result(PATIENCE)
    report = _closing(jq)
    eventually(lambda: len(insides.sleepers(sleepers)) == 2)
    handle.cancel()

    assert sorted(cast("list[bool]", handle.result(PATIENCE))) == [False, True, True]
    report.result(PATIENCE)


def test_an_attempt_that_begins_while_the_queue_drains_knows_it(memory: Store) -> None:
    entered, gate = threading.Event(), threading.Event()
    saw: list[tuple[bool, bool]] = []

    def handler(payload: bytes, context: JobContext) -> None:
        entered.set()
        assert gate.wait(PATIENCE)
        saw.append((context.closing, context.wait(LONG)))

    jq = memory.open(handler, num_workers=1)
    jq.enqueue_many([Job(), Job()])
    assert entered.wait(PATIENCE)
    report = _closing(jq, drain=True)
    gate.set()

    assert report.result(PATIENCE).completed == 2
    assert saw == [(True, False)] * 2


def test_a_function_without_a_context_of_its_own_can_ask_too(memory: Store) -> None:
    entered, gate = threading.Event(), threading.Event()

    def handler(payload: bytes) -> bool:
        entered.set()
        assert gate.wait(PATIENCE)
        context = current_job()
        return context is not None and context.closing

    jq = memory.open(handler)
    handle = jq.enqueue(Job())
    assert entered.wait(PATIENCE)
    report = _closing(jq)
    gate.set()

    assert handle.result(PATIENCE) is True
    report.result(PATIENCE)


def test_a_sleep_on_a_clock_that_stands_ends_early_too(memory: Store, clock: ManualClock) -> None:
    sleeper = Sleeper(1)
    jq = memory.open(sleeper, clock=clock)
    jq.enqueue(Job())
    eventually(sleeper.sleeps)

    jq.close()

    assert sleeper.came == [False]


def test_a_coroutine_sees_the_closing(memory: Store) -> None:
    entered = threading.Event()

    async def handler(payload: bytes, context: JobContext) -> None:
        entered.set()
        while not context.closing:
            await asyncio.sleep(0.001)

    jq = memory.open(handler, executor="asyncio")
    jq.start()
    handle = jq.enqueue(Job())
    assert entered.wait(PATIENCE)

    assert jq.close(PATIENCE).unfinished == ()
    assert handle.result(0) is None


def test_a_plain_function_beside_coroutines_is_woken(memory: Store) -> None:
    sleeper = Sleeper(1)
    jq = memory.open(sleeper, executor="asyncio")
    jq.start()
    jq.enqueue(Job())
    eventually(sleeper.sleeps)

    jq.close()

    assert sleeper.came == [False]
