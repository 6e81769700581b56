"""`enqueue_together`: all of the jobs are accepted, or none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    DuplicateJobError,
    EnqueueTimeoutError,
    Job,
    JobHandle,
    JobQueue,
    Middleware,
    Priority,
    QueueClosedError,
    RejectJobError,
    Status,
    Unique,
    UnknownHandlerError,
    UnknownJobError,
)
from jobqueue.final.testing import ManualClock, run_all
from tests.support import insides
from tests.support.handlers import Blocker, Recorder, in_thread
from tests.support.waiting import PATIENCE, eventually

HIGH, LOW = Priority.HIGH, Priority.LOW
LEVELS: list[Any] = [None, "async", "write", "fsync"]


@pytest.fixture
def jq() -> Iterator[JobQueue]:
    with JobQueue(Config(queue_size=3), handler=len, start=False, clock=ManualClock()) as jq:
        yield jq


def _opened(level: str | None, path: Path, **options: Any) -> JobQueue:
    log: dict[str, Any] = {} if level is None else {"persist_path": path, "durability": level}
    return JobQueue(Config(**log, **options), handler=len, start=False)


@pytest.mark.parametrize("level", LEVELS)
def test_jobs_run_after_those_before_them_that_they_name(tmp_path: Path, level: str | None) -> None:
    recorder = Recorder()
    config: dict[str, Any] = (
        {} if level is None else {"persist_path": tmp_path, "durability": level}
    )
    with JobQueue(Config(**config, num_workers=4), handler=recorder) as jq:
        jobs = [Job(id="a"), Job(id="b", after=["a"]), Job(id="c", after=["b"])]
        handles = jq.enqueue_together(jobs)
        assert [each.id for each in handles] == ["a", "b", "c"]
        assert handles[2].wait(PATIENCE) is Status.COMPLETED
    assert recorder.ids() == ["a", "b", "c"]


@pytest.mark.parametrize("level", ["async", "write", "fsync"])
def test_they_stand_in_one_batch_and_are_there_after_a_restart(tmp_path: Path, level: str) -> None:
    with _opened(level, tmp_path) as jq:
        jq.enqueue_together([Job(id="a"), Job(id="b", after=["a"]), Job(id="c")])
        jq.flush()
        (segment,) = tmp_path.glob("*.jsonl")
        batches = [each.count(b'"op":"enqueued"') for each in segment.read_bytes().split(b"commit")]
        assert 3 in batches
        assert segment.read_bytes().count(b'"joined":true') == 2
    with _opened(level, tmp_path) as jq:
        statuses = [jq.status(each) for each in "abc"]
        assert statuses == [Status.QUEUED, Status.SCHEDULED, Status.QUEUED]
        run_all(jq)
        assert {jq.status(each) for each in "abc"} == {Status.COMPLETED}


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (Job(id="known"), DuplicateJobError),
        (Job(id="a"), DuplicateJobError),
        (Job(after=["never"]), UnknownJobError),
        (Job(id="x", after=["x"]), UnknownJobError),
        (Job(key="k", unique=Unique(on_conflict="raise")), DuplicateJobError),
        (Job(b"x" * 2000), ValueError),
        (Job(handler="nobody", priority=HIGH), UnknownHandlerError),
        (b"no job", TypeError),
    ],
)
def test_one_that_is_refused_refuses_all(last: Any, kind: type[Exception]) -> None:
    config = Config(queue_size=3, max_payload_bytes=1000)
    with JobQueue(config, handler=len, start=False) as jq:
        jq.enqueue(Job(id="known"))
        jq.enqueue(Job(id="like it", key="k", unique=Unique()))
        for _ in range(3):
            jq.enqueue(Job(handler="nobody", priority=HIGH))
        with pytest.raises(kind):
            jq.enqueue_together([Job(id="a"), Job(id="b"), last], timeout=0)
        for each in "ab":
            with pytest.raises(UnknownJobError):
                jq.status(each)
        assert jq.metrics().enqueued == 5


def test_those_that_wait_for_a_handler_are_as_many_as_by_single_calls() -> None:
    with JobQueue(Config(queue_size=3), handler=len, start=False) as jq:
        jobs = [Job(id=each, handler="nobody") for each in "abcd"]
        with pytest.raises(UnknownHandlerError, match="'d'"):
            jq.enqueue_together(jobs)
        jq.enqueue_together(jobs[:3])
        assert jq.metrics().queued == 3


@pytest.mark.parametrize("tried_again", [False, True])
def test_one_replaces_all_that_are_like_it_or_none(tried_again: bool) -> None:
    def handle(payload: bytes) -> None:
        if payload:
            raise RejectJobError if payload == b"fails" else ValueError

    with JobQueue(Config(base_delay=100), handler=handle, start=False) as jq:
        jq.enqueue(Job(b"fails", id="a", key="k", unique=Unique()))
        run_all(jq)
        jq.enqueue(Job(b"again" if tried_again else b"", id="b", key="k", unique=Unique()))
        if tried_again:
            run_all(jq)
        jq.requeue("a")
        replaces = Unique(on_conflict="replace")
        (handle_of_c,) = jq.enqueue_together([Job(id="c", key="k", unique=replaces)])
        told = [jq.status(each) for each in "ab"]
        if tried_again:
            assert handle_of_c.id == "b"
            assert told == [Status.QUEUED, Status.SCHEDULED]
        else:
            assert handle_of_c.status is Status.QUEUED
            assert told == [Status.CANCELLED, Status.CANCELLED]


def test_a_delay_is_that_of_one_of_them() -> None:
    clock = ManualClock()
    with JobQueue(handler=len, start=False, clock=clock) as jq:
        jq.enqueue_together([Job(id="a"), Job(id="b", after=["a"])], delays=[10, 0])
        run_all(jq)
        assert [jq.status(each) for each in "ab"] == [Status.SCHEDULED] * 2
        clock.advance(11)
        run_all(jq)
        assert [jq.status(each) for each in "ab"] == [Status.COMPLETED] * 2
        with pytest.raises(ValueError, match="one for each job"):
            jq.enqueue_together([Job()], delays=[1, 2])


def test_nothing_is_nothing(jq: JobQueue) -> None:
    assert jq.enqueue_together([]) == []


# ── unique ───────────────────────────────────────────────────────────────────────────────────


def test_one_that_is_had_as_another_passes_its_place_on_to_that(jq: JobQueue) -> None:
    first = jq.enqueue(Job(id="first", key="k", unique=Unique()))
    jobs = [
        Job(id="a", key="k", unique=Unique()),
        Job(id="b", after=["a"]),
        Job(id="c", key="new", unique=Unique()),
        Job(id="d", key="new", unique=Unique()),
        Job(id="e", after=["d", "c"]),
    ]
    handles = jq.enqueue_together(jobs)
    assert [each.existing for each in handles] == [True, False, False, True, False]
    assert [each.id for each in handles] == ["first", "b", "c", "c", "e"]
    assert (handles[1].job.after, handles[4].job.after) == (("first",), ("c",))
    run_all(jq)
    assert {each.status for each in [first, *handles]} == {Status.COMPLETED}


def test_one_that_is_like_one_of_its_own_is_refused_if_it_asks_for_that(jq: JobQueue) -> None:
    unique = Unique(on_conflict="raise")
    with pytest.raises(DuplicateJobError, match="before it in this call"):
        jq.enqueue_together([Job(key="k", unique=unique), Job(key="k", unique=unique)])
    assert jq.metrics().enqueued == 0


def test_one_may_take_the_place_of_another_unless_all_are_refused(jq: JobQueue) -> None:
    first = jq.enqueue(Job(id="first", key="k", unique=Unique()))
    new = Job(id="new", key="k", unique=Unique(on_conflict="replace"))
    with pytest.raises(UnknownJobError):
        jq.enqueue_together([new, Job(after=["never"])])
    assert first.status is Status.QUEUED
    handles = jq.enqueue_together([new, Job(after=["new"])])
    assert jq.status("first") is Status.CANCELLED
    run_all(jq)
    assert [each.status for each in handles] == [Status.COMPLETED] * 2


def test_one_that_waits_for_the_job_whose_place_it_takes_is_cancelled(jq: JobQueue) -> None:
    first = jq.enqueue(Job(key="k", unique=Unique()))
    new = Job(key="k", unique=Unique(on_conflict="replace"), after=[first])
    (handle,) = jq.enqueue_together([new])
    assert (first.status, handle.status) == (Status.CANCELLED, Status.CANCELLED)
    last = jq.enqueue(Job(key="k", unique=Unique()))
    assert jq.enqueue(Job(key="k", unique=new.unique, after=[last])).status is Status.CANCELLED


def test_those_after_one_that_can_never_run_are_cancelled_with_it(jq: JobQueue) -> None:
    failed = jq.enqueue(Job())
    failed.cancel()
    handles = jq.enqueue_together([Job(id="a", after=[failed]), Job(id="b", after=["a"])])
    eventually(lambda: {each.status for each in handles} == {Status.CANCELLED})


def test_close_does_not_wait_for_what_is_cancelled_already() -> None:
    for _ in range(20):
        jq = JobQueue(handler=len, start=False)
        failed = jq.enqueue(Job())
        failed.cancel()
        jq.enqueue_together([Job(id="a", after=[failed]), Job(id="b", after=["a"])])
        closing = in_thread(jq.close)
        closing.result(PATIENCE / 2)


# ── room ─────────────────────────────────────────────────────────────────────────────────────


def test_it_waits_for_room_for_all_of_them(jq: JobQueue) -> None:
    jq.enqueue_many([Job(), Job()])
    with pytest.raises(EnqueueTimeoutError, match="stayed full"):
        jq.enqueue_together([Job(id="a"), Job()], timeout=0)
    assert jq.metrics().queued == 2
    jq.enqueue(Job(), timeout=0)  # what was kept for them is room again
    call = in_thread(jq.enqueue_together, [Job(id="a"), Job(id="b"), Job(priority=LOW)])
    run_all(jq)
    assert [each.id for each in call.result(PATIENCE)[:2]] == ["a", "b"]


def test_those_that_wait_for_others_need_no_room(jq: JobQueue) -> None:
    jobs = [Job(id="0"), *(Job(id=f"{n}", after=[f"{n - 1}"]) for n in range(1, 10))]
    jq.enqueue_many([Job(), Job()])
    assert len(jq.enqueue_together(jobs, timeout=0)) == 10


def test_more_than_there_ever_is_room_for_is_refused_at_once(jq: JobQueue) -> None:
    with pytest.raises(ValueError, match=r"4 jobs of one lane.*room for 3.*queue_size"):
        jq.enqueue_together([Job() for _ in range(4)])


def test_a_handler_never_waits_for_room() -> None:
    with JobQueue(Config(queue_size=2, num_workers=1)) as jq:
        jq.register("child", len)

        @jq.handler("parent")
        def parent(_: bytes) -> int:
            return len(jq.enqueue_together([Job(handler="child") for _ in range(9)]))

        assert jq.enqueue(Job(handler="parent")).result(PATIENCE) == 9
        assert jq.join(PATIENCE)


def test_a_group_gets_its_room_beside_producers_of_single_jobs() -> None:
    """It keeps the places that come: it would hardly ever find three at once."""
    blocker = Blocker()
    with JobQueue(Config(queue_size=3, num_workers=1), handler=blocker) as jq:
        jq.enqueue_many([Job() for _ in range(4)])
        blocker.await_entered()
        stop = threading.Event()

        def produce() -> None:
            while not stop.is_set():
                jq.enqueue(Job())

        group = in_thread(jq.enqueue_together, [Job(id=each) for each in "abc"])
        producers = [in_thread(produce) for _ in range(3)]
        blocker.gate.set()
        assert len(group.result(PATIENCE)) == 3
        stop.set()
        for each in producers:
            each.result(PATIENCE)


def test_groups_come_one_after_the_other_and_leave_no_place_lost() -> None:
    with JobQueue(Config(queue_size=4, num_workers=2), handler=len) as jq:
        jobs = [[Job(priority=Priority(n % 3)) for n in range(m, m + 9)] for m in range(20)]
        calls = [in_thread(jq.enqueue_together, each) for each in jobs]
        assert sum(len(call.result(PATIENCE)) for call in calls) == 180
        assert jq.join(PATIENCE)
        for priority in Priority:
            jq.pause()
            jq.enqueue_together([Job(priority=priority) for _ in range(4)], timeout=0)
            jq.resume()


def test_a_group_that_gives_up_lets_the_next_one_in(jq: JobQueue) -> None:
    jq.enqueue_many([Job(), Job()])
    first = in_thread(jq.enqueue_together, [Job(), Job()], timeout=0.1)
    second = in_thread(jq.enqueue_together, [Job(), Job(), Job(priority=LOW)])
    with pytest.raises(EnqueueTimeoutError):
        first.result(PATIENCE)
    run_all(jq)
    assert len(second.result(PATIENCE)) == 3


def test_groups_that_wait_are_told_when_the_queue_closes() -> None:
    jq = JobQueue(Config(queue_size=2), handler=len, start=False)
    jq.enqueue(Job())
    calls = [in_thread(jq.enqueue_together, [Job(), Job()]) for _ in range(3)]
    never = threading.Event()
    never.wait(0.05)
    jq.close(0)
    for call in calls:
        with pytest.raises(QueueClosedError):
            call.result(PATIENCE)


# ── awaited, and through middleware ──────────────────────────────────────────────────────────


class Tagging(Middleware):
    """Puts a header on each job; refuses those with the payload `no`."""

    def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
        if job.payload == b"no":
            raise PermissionError
        return call_next(job.with_headers({"tagged": "yes"}))


@pytest.mark.parametrize("middleware", [[], [Tagging()]])
@pytest.mark.parametrize("level", LEVELS)
def test_it_can_be_awaited(tmp_path: Path, level: str | None, middleware: list[Middleware]) -> None:
    log: dict[str, Any] = {} if level is None else {"persist_path": tmp_path, "durability": level}

    async def main() -> None:
        config = Config(**log, queue_size=2, num_workers=1)
        async with JobQueue(config, handler=len, middleware=middleware) as jq:
            calls = [jq.aenqueue_together([Job(), Job()]) for _ in range(10)]
            for handles in await asyncio.gather(*calls):
                await asyncio.gather(*handles)
            with pytest.raises(ValueError, match="room for 2"):
                await jq.aenqueue_together([Job(), Job(), Job()])

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_a_cancelled_await_has_accepted_none_and_keeps_no_place(jq: JobQueue) -> None:
    async def main() -> None:
        jq.enqueue_many([Job(), Job()])
        call = asyncio.create_task(jq.aenqueue_together([Job(id="a"), Job()]))
        async with asyncio.timeout(PATIENCE):
            while not insides.producers(jq):  # until it waits for room
                await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(EnqueueTimeoutError):
            await jq.aenqueue_together([Job(id="a"), Job()], timeout=0.01)

    asyncio.run(main())
    with pytest.raises(UnknownJobError):
        jq.status("a")
    assert jq.enqueue(Job(), timeout=0).status is Status.QUEUED


def test_each_job_goes_through_the_layers_and_one_that_is_refused_refuses_all() -> None:
    with JobQueue(handler=len, middleware=[Tagging()], start=False) as jq:
        jobs = [Job(id="a"), Job(b"yes", after=["a"])]
        handles = jq.enqueue_together(jobs, delays=[0, 60])
        assert [each.job.headers["tagged"] for each in handles] == ["yes", "yes"]
        with pytest.raises(PermissionError):
            jq.enqueue_together([Job(id="b"), Job(b"no")])
        with pytest.raises(UnknownJobError):
            jq.status("b")
        with pytest.raises(ValueError, match="101 jobs are to be enqueued together"):
            jq.enqueue_together([Job() for _ in range(101)])


class Known(Middleware):
    """Answers for the job `a` with the handle of another."""

    answer: JobHandle

    def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
        return self.answer if job.id == "a" else call_next(job)


def test_what_is_after_a_job_that_a_layer_answers_for_is_after_its_answer() -> None:
    layer = Known()
    with JobQueue(handler=len, middleware=[layer], start=False) as jq:
        layer.answer = jq.enqueue(Job(id="first"))
        _, after = jq.enqueue_together([Job(id="a"), Job(after=["a"])])
        assert after.job.after == ("first",)


def test_a_repeated_id_among_very_many_is_found_at_once(jq: JobQueue) -> None:
    jobs = [Job(id=str(n)) for n in range(30_000)]
    before = time.thread_time()
    with pytest.raises(DuplicateJobError, match="'29999' stands more than once"):
        jq.enqueue_together([*jobs, Job(id="29999")])
    assert time.thread_time() - before < 1.0  # of the processor; if it looked for each, 5
