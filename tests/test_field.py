"""The features that one looks for in a job queue, one test each, with the package as installed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from jobqueue import (
    Config,
    EnqueueTimeoutError,
    Job,
    JobContext,
    JobQueue,
    Priority,
    QueueClosedError,
    Status,
)
from jobqueue.final.testing import ManualClock
from tests.support.waiting import PATIENCE, eventually


def test_enqueue() -> None:
    with JobQueue(handler=lambda payload: payload.upper()) as jq:
        handle = jq.enqueue(Job(b"hello", id="greeting"))

        assert handle.result(PATIENCE) == b"HELLO"
        assert jq.status("greeting") is Status.COMPLETED


def test_priority() -> None:
    ran: list[bytes] = []
    with JobQueue(Config(num_workers=1), handler=ran.append, start=False) as jq:
        jq.enqueue(Job(b"low", priority=Priority.LOW))
        jq.enqueue(Job(b"medium", priority=Priority.MEDIUM))
        jq.enqueue(Job(b"high", priority=Priority.HIGH))
        jq.start()
        assert jq.join(PATIENCE)

    assert ran == [b"high", b"medium", b"low"]


def test_fairness() -> None:
    ran: list[bytes] = []
    config = Config(num_workers=1, queue_size=1200, fairness=10)
    with JobQueue(config, handler=ran.append, start=False) as jq:
        for priority in Priority:
            jq.enqueue_many([Job(priority.name.encode(), priority=priority) for _ in range(1200)])
        jq.start()
        assert jq.join(PATIENCE)

    started = ran[:1200]
    assert 960 <= started.count(b"HIGH") <= 1030
    assert started.count(b"MEDIUM") >= 90
    assert started.count(b"LOW") >= 90


def test_retry() -> None:
    clock = ManualClock()
    attempts: list[float] = []

    def fails_twice(_payload: bytes, context: JobContext) -> str:
        attempts.append(clock.monotonic())
        if context.attempt < 2:
            raise ConnectionError("try again")
        return "done"

    config = Config(base_delay=1.0, jitter=0)
    with JobQueue(config, handler=fails_twice, clock=clock) as jq:
        handle = jq.enqueue(Job())
        for delay in (1.0, 2.0):
            assert eventually(lambda: handle.status is Status.SCHEDULED)
            clock.advance(delay)

        assert handle.result(PATIENCE) == "done"
        assert attempts == [0.0, 1.0, 3.0]


def test_dead_letter() -> None:
    def fails(_payload: bytes) -> None:
        raise ValueError("boom")

    with JobQueue(Config(max_retries=0), handler=fails) as jq:
        handle = jq.enqueue(Job(id="a"))

        assert handle.wait(PATIENCE) is Status.FAILED
        assert [(dead.id, dead.last_error) for dead in jq.dead_letters()] == [
            ("a", "ValueError: boom")
        ]


def test_graceful_shutdown() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_payload: bytes) -> str:
        begun.set()
        assert go_on.wait(PATIENCE)
        return "done"

    jq = JobQueue(Config(num_workers=1), handler=slow)
    running, queued = jq.enqueue(Job()), jq.enqueue(Job())
    assert begun.wait(PATIENCE)
    closing = threading.Thread(target=jq.close)
    closing.start()
    assert eventually(lambda: _refuses(lambda: jq.enqueue(Job())))
    go_on.set()
    closing.join(PATIENCE)

    assert not closing.is_alive()
    assert running.result(0) == queued.result(0) == "done"
    assert (jq.close().unfinished, jq.close().remaining) == ((), 0)


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except QueueClosedError:
        return True
    return False


def test_persistence(tmp_path: Path) -> None:
    config = Config(persist_path=tmp_path / "jobs.db")
    with JobQueue(config, handler=len, start=False) as jq:
        jq.enqueue(Job(b"survives", id="a"))

    with JobQueue(config, handler=len, start=False) as jq:
        handle = jq.handle("a")
        jq.start()
        assert handle.result(PATIENCE) == len(b"survives")

    with JobQueue(config, handler=len) as jq:
        assert jq.status("a") is Status.COMPLETED


def test_backpressure() -> None:
    with JobQueue(Config(queue_size=2), handler=len, start=False) as jq:
        jq.enqueue(Job())
        jq.enqueue(Job())
        with pytest.raises(EnqueueTimeoutError):
            jq.enqueue(Job(), timeout=0.01)
        blocked = threading.Thread(target=jq.enqueue, args=[Job(id="waited")])
        blocked.start()

        jq.start()

        blocked.join(PATIENCE)
        assert not blocked.is_alive()
        assert jq.handle("waited").wait(PATIENCE) is Status.COMPLETED


def test_metrics() -> None:
    def handler(payload: bytes) -> None:
        if payload == b"bad":
            raise ValueError("bad")

    config = Config(max_retries=1, base_delay=0)
    with JobQueue(config, handler=handler, start=False) as jq:
        jq.enqueue(Job(b"good", priority=Priority.HIGH))
        jq.enqueue(Job(b"bad"))
        jq.enqueue(Job(id="unwanted")).cancel()
        queued = jq.metrics()
        jq.start()
        assert jq.join(PATIENCE)
        rest = jq.metrics()

    assert (queued.enqueued, queued.queued, queued.cancelled) == (3, 2, 1)
    assert queued.by_priority[Priority.HIGH].queued == 1
    assert (rest.completed, rest.failed, rest.retried, rest.cancelled) == (1, 1, 1, 1)
    assert rest.enqueued == rest.completed + rest.failed + rest.cancelled
    assert rest.run_time.max >= rest.run_time.p50 > 0
