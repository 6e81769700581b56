"""A job that a handler holds back may have a delay, which counts from the completion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import Config, Job, JobContext, JobQueue, Status, UnknownJobError
from jobqueue.final.testing import ManualClock, run_all


def _enqueue(context: JobContext) -> None:
    context.enqueue(Job(b"child", id="a", handler="child"), delay=10)
    jobs = [Job(id="b", handler="child"), Job(id="c", handler="child", after=["b"])]
    context.enqueue_many(jobs, delays=[5.0, 0.0])


def _queue(clock: ManualClock, fn: Callable[[JobContext], object], **config: Any) -> JobQueue:
    queue = JobQueue(Config(max_retries=0, **config), start=False, clock=clock)
    queue.register("parent", lambda _, context: fn(context))
    queue.register("child", len)
    return queue


@pytest.mark.parametrize("durability", [None, "async", "write", "fsync"])
def test_it_is_scheduled_when_the_handler_has_returned(
    tmp_path: Path, durability: str | None
) -> None:
    clock = ManualClock()
    log = {} if durability is None else {"persist_path": tmp_path, "durability": durability}
    with _queue(clock, _enqueue, **log) as queue:
        queue.enqueue(Job(handler="parent"))
        run_all(queue)
        assert [queue.status(each) for each in "abc"] == [Status.SCHEDULED] * 3
        clock.advance(5.1)
        run_all(queue)
        statuses = [Status.SCHEDULED, Status.COMPLETED, Status.COMPLETED]
        assert [queue.status(each) for each in "abc"] == statuses
    if durability is None:
        return
    with _queue(clock, _enqueue, **log) as queue:
        assert [queue.status(each) for each in "abc"] == statuses
        clock.advance(5)
        run_all(queue)
        assert queue.status("a") is Status.COMPLETED


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda context: context.enqueue(Job(id="a"), delay=-1), ValueError, "delay"),
        (lambda context: context.enqueue(Job(id="a"), delay="1"), TypeError, "delay"),
        (lambda context: context.enqueue_many([Job(id="a")], delays=[]), ValueError, "one for"),
        (lambda context: context.enqueue_many([Job(id="a")], delays=[-1]), ValueError, "delays"),
    ],
)
def test_a_wrong_delay_is_refused_at_the_call_and_nothing_is_held_back(
    call: Callable[[JobContext], object], kind: type[Exception], says: str
) -> None:
    def parent(context: JobContext) -> None:
        with pytest.raises(kind, match=says):
            call(context)

    with _queue(ManualClock(), parent) as queue:
        handle = queue.enqueue(Job(handler="parent"))
        run_all(queue)
        assert handle.result(0) is None
        with pytest.raises(UnknownJobError):
            queue.status("a")
