"""`chain` and `group`: calls that are enqueued in one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import jobqueue
from jobqueue import Config, Job, JobHandle, JobQueue, Middleware, Status, Unique
from jobqueue.tasks import QueueNotOpenError, Tasks, achain, agroup, chain, gather, group
from jobqueue.testing import ManualClock, run_all
from tests.support.waiting import PATIENCE, eventually

tasks = Tasks()
other = Tasks()
seen: list[str] = []


@tasks.task
def note(text: str) -> str:
    seen.append(text)
    return text


@tasks.task
def size(text: str) -> int:
    seen.append(f"size of {text}")
    return len(text)


@tasks.task(max_retries=0)
def fail() -> None:
    raise ValueError


@other.task(name="elsewhere")
def elsewhere() -> None: ...


@tasks.task(atomic=True, max_retries=0)
def start_chain(fails: bool) -> None:
    returned: object = chain(note.using(id="a").call("a"), note.using(id="b").call("b"))
    seen.append(f"got {returned}")
    if fails:
        raise ValueError


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    with tasks.open(start=False, clock=ManualClock()) as queue:
        yield queue


def test_a_chain_runs_in_order_and_gives_the_handles_in_order() -> None:
    with tasks.open(Config(num_workers=4)):
        first, second, third = chain(note.call("a"), size.call("bc"), note.call("d"))
        assert third.result(PATIENCE) == "d"
        assert (first.result(0), second.result(0)) == ("a", 2)
    assert seen == ["a", "size of bc", "d"]


def test_a_step_of_several_runs_at_the_same_time_and_the_next_after_all_of_them() -> None:
    both = threading.Barrier(2)
    more = Tasks()

    @more.task(name="meet")
    def meet(text: str) -> None:
        both.wait(PATIENCE)
        seen.append(text)

    @more.task(name="say")
    def say(text: str) -> None:
        seen.append(text)

    with more.open(Config(num_workers=3)):
        handles = chain(say.call("a"), (meet.call("b"), meet.call("b")), say.call("d"))
        assert [each.wait(PATIENCE) for each in handles] == [Status.COMPLETED] * 4
    assert seen == ["a", "b", "b", "d"]


def test_a_group_runs_all_of_its_calls(queue: JobQueue) -> None:
    number, text = group(size.call("abc"), note.call("d"))
    run_all(queue)
    assert (number.result(0), text.result(0)) == (3, "d")
    many = group(size.call("x" * count) for count in range(3))
    run_all(queue)
    assert gather(many) == [0, 1, 2]
    assert group([]) == chain() == ()


def test_those_after_one_that_fails_are_cancelled(queue: JobQueue) -> None:
    handles = chain(note.call("a"), fail.call(), note.call("c"), note.call("d"))
    run_all(queue)
    statuses = [Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.CANCELLED]
    eventually(lambda: [each.status for each in handles] == statuses)
    assert seen == ["a"]


def test_each_enqueueing_of_a_call_is_a_new_job_and_keeps_its_options(queue: JobQueue) -> None:
    call = note.using(key="k", priority=jobqueue.Priority.LOW).call("a")
    first, second = group(call, call)
    assert first.id != second.id
    assert {(each.job.key, each.job.priority) for each in (first, second)} == {
        ("k", jobqueue.Priority.LOW)
    }
    before = note.enqueue("before")
    _, last = chain(note.call("b"), note.using(after=[before], delay=5).call("c"))
    assert last.job.after[0] == before.id
    assert len(last.job.after) == 2
    run_all(queue)
    assert last.status is Status.SCHEDULED


def test_a_unique_call_passes_its_place_on_to_the_job_that_is_there(queue: JobQueue) -> None:
    unique = note.using(key="k", unique=Unique())
    there = unique.enqueue("there")
    first, second = chain(unique.call("again"), note.call("then"))
    assert (first.existing, first.id, second.job.after) == (True, there.id, (there.id,))
    run_all(queue)
    assert seen == ["there", "then"]


def test_a_chain_that_is_refused_has_enqueued_nothing(queue: JobQueue) -> None:
    note.using(id="taken").enqueue("x")
    with pytest.raises(jobqueue.DuplicateJobError):
        chain(note.call("a"), note.using(id="taken").call("b"))
    with pytest.raises(jobqueue.EnqueueTimeoutError), tasks_with_no_room():
        pass
    assert queue.metrics().enqueued == 1


def tasks_with_no_room() -> JobQueue:
    more = Tasks()
    step = more.task(name="step")(lambda: None)
    queue = more.open(Config(queue_size=1), start=False)
    try:
        step.enqueue()
        chain(step.using(enqueue_timeout=60).call(), step.using(enqueue_timeout=0).call())
    finally:
        queue.close(0)
    return queue


def test_a_chain_is_in_the_log_as_a_whole(tmp_path: Path) -> None:
    with tasks.open(Config(persist_path=tmp_path), start=False):
        ids = [each.id for each in chain(note.call("a"), note.call("b"), note.call("c"))]
    with tasks.open(Config(persist_path=tmp_path), start=False) as queue:
        assert queue.status(ids[2]) is Status.SCHEDULED
        run_all(queue)
        assert queue.status(ids[2]) is Status.COMPLETED
    assert seen == ["a", "b", "c"]


def test_inside_of_an_atomic_task_they_are_held_back(queue: JobQueue) -> None:
    handle = start_chain.enqueue(fails=True)
    run_all(queue)
    assert (handle.status, seen) == (Status.FAILED, ["got None"])
    start_chain.enqueue(fails=False)
    run_all(queue)
    assert seen == ["got None", "got None", "a", "b"]


def test_they_can_be_awaited() -> None:
    async def main() -> None:
        async with tasks.open(Config(executor="asyncio", queue_size=1)):
            first, second = await achain(size.call("abc"), note.call("d"))
            assert (await second, await first) == ("d", 3)
            (only,) = await agroup([note.call("e")])
            assert await only == "e"

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


class Counting(Middleware):
    """Counts what goes through it."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
        self.jobs.append(job)
        return call_next(job.with_headers({"seen": "yes"}))


def test_each_call_goes_through_the_middleware() -> None:
    counting = Counting()
    with tasks.open(middleware=[counting], start=False) as queue:
        handles = chain(note.call("a"), (note.call("b"), note.call("c")), note.call("d"))
        assert [each.job.headers["seen"] for each in handles] == ["yes"] * 4
        run_all(queue)
        assert [each.status for each in handles] == [Status.COMPLETED] * 4
    assert len(counting.jobs) == 4


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (
            lambda: chain(cast("Any", note)),
            TypeError,
            r"chain\(\) takes calls.*task\.call\(\.\.\.\)",
        ),
        (lambda: group(cast("Any", [3])), TypeError, r"group\(\) takes calls of tasks.*not 3"),
        (lambda: chain(note.call("a"), ()), TypeError, "empty step"),
        (lambda: note.call(cast("Any", 3)), TypeError, "argument 'text'"),
        (lambda: note.using(unique=Unique()).call("a"), ValueError, "needs a key"),
        (lambda: chain(note.call("a"), elsewhere.call()), ValueError, "tasks of one queue"),
    ],
)
def test_wrong_calls_are_refused_at_the_call(
    queue: JobQueue, call: Callable[[], object], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        call()
    assert queue.metrics().enqueued == 0


def test_without_an_open_queue_a_chain_says_what_to_write() -> None:
    with pytest.raises(QueueNotOpenError, match=r"with tasks\.open\(\)"):
        chain(note.call("a"), note.call("b"))


def test_the_package_has_them_too() -> None:
    assert (jobqueue.chain, jobqueue.group) == (chain, group)
