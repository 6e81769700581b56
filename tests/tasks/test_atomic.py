"""What a task that is declared with `atomic=True` enqueues: all of it by returning, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobqueue import Config, DuplicateJobError, JobQueue, Status, Unique, UnknownJobError, chain
from jobqueue.tasks import QueueNotOpenError, Tasks
from jobqueue.testing import ManualClock, run_all
from tests.support import process_tasks
from tests.support.waiting import PATIENCE, eventually

tasks = Tasks()
other = Tasks()
seen: list[object] = []
clock = ManualClock()


@tasks.task
def note(text: str) -> str:
    seen.append(text)
    return text


@other.task(name="note")
def note_elsewhere(text: str) -> str:
    return text


@tasks.task(atomic=True, max_retries=0)
def fan_out(count: int, fails: bool = False) -> int:
    for number in range(count):
        returned: object = note.using(id=f"child-{number}").enqueue(f"{number}")
        seen.append(returned)
    seen.append("returns")
    if fails:
        raise ValueError
    return count


@tasks.task
def fan_out_at_once() -> str:
    return note.enqueue("at once").id


@tasks.task(atomic=True, max_retries=0)
def with_map() -> list[str]:
    return list(note.map(["a"]))


@tasks.task(atomic=True)
def into_another_queue() -> str:
    return note_elsewhere.enqueue("there").id


@tasks.task(atomic=True, max_retries=0)
def twice_the_same() -> str:
    note.using(id="same").enqueue("1")
    with pytest.raises(DuplicateJobError, match="held back"):
        note.using(id="same").enqueue("2")
    return "told"


@tasks.task(atomic=True)
def later(seconds: float) -> None:
    note.using(id="in a while", delay=seconds).enqueue("a")
    due = datetime.fromtimestamp(tasks.queue.clock.time(), UTC) + timedelta(seconds=seconds)
    note.using(id="at", at=due).enqueue("b")


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    with tasks.open(start=False, clock=clock) as queue:
        yield queue


def test_what_an_atomic_task_enqueues_is_there_when_it_has_returned(queue: JobQueue) -> None:
    handle = fan_out.enqueue(2)
    run_all(queue)
    assert handle.result(0) == 2
    assert seen == [None, None, "returns", "0", "1"]  # nothing is returned, and nothing runs before
    assert queue.status("child-1") is Status.COMPLETED


def test_one_that_fails_has_enqueued_nothing_and_its_ids_are_free(queue: JobQueue) -> None:
    handle = fan_out.enqueue(2, fails=True)
    run_all(queue)
    assert handle.status is Status.FAILED
    with pytest.raises(UnknownJobError):
        queue.status("child-0")
    assert note.using(id="child-0").enqueue("a").status is Status.QUEUED


def test_one_that_is_not_atomic_enqueues_at_once(queue: JobQueue) -> None:
    handle = fan_out_at_once.enqueue()
    run_all(queue)
    assert queue.status(handle.result(0)) is Status.COMPLETED


def test_a_task_that_an_atomic_one_has_enqueued_is_not_atomic_itself(queue: JobQueue) -> None:
    fan_out.enqueue(1)
    handle = fan_out_at_once.enqueue()
    run_all(queue)
    assert handle.status is Status.COMPLETED


def test_a_task_of_another_queue_is_enqueued_there_at_once(queue: JobQueue) -> None:
    with other.open(start=False) as elsewhere:
        handle = into_another_queue.enqueue()
        run_all(queue)
        assert elsewhere.status(handle.result(0)) is Status.QUEUED


def test_tasks_of_another_collection_that_is_bound_to_the_same_queue_are_held_back() -> None:
    one, two = Tasks(), Tasks()

    @two.task(name="child")
    def child() -> None: ...

    @one.task(name="parent", atomic=True, max_retries=0)
    def parent() -> None:
        child.using(id="held").enqueue()
        raise ValueError

    with JobQueue(start=False) as queue:
        one.bind(queue)
        two.bind(queue)
        parent.enqueue()
        run_all(queue)
        with pytest.raises(UnknownJobError):
            queue.status("held")


def test_an_id_is_reserved_at_the_call(queue: JobQueue) -> None:
    handle = twice_the_same.enqueue()
    run_all(queue)
    assert handle.result(0) == "told"


def test_map_inside_of_an_atomic_task_says_what_to_write(queue: JobQueue) -> None:
    handle = with_map.enqueue()
    run_all(queue)
    with pytest.raises(RuntimeError, match=r"note\.enqueue\(\.\.\.\) for each"):
        handle.result(0)


def test_a_delay_counts_from_the_completion() -> None:
    job_clock = ManualClock()
    with tasks.open(start=False, clock=job_clock) as queue:
        later.enqueue(10)
        job_clock.advance(100)
        run_all(queue)
        for job_id in ("in a while", "at"):
            assert queue.status(job_id) is Status.SCHEDULED
        job_clock.advance(9)
        run_all(queue)
        assert seen == []
        job_clock.advance(1.1)
        run_all(queue)
        assert sorted(map(str, seen)) == ["a", "b"]


@pytest.mark.parametrize("durability", ["async", "write", "fsync"])
def test_a_delay_outlives_a_restart(tmp_path: Path, durability: Any) -> None:
    job_clock = ManualClock()
    config = Config(persist_path=tmp_path, durability=durability)
    with tasks.open(config, start=False, clock=job_clock) as queue:
        later.enqueue(50)
        run_all(queue)
    job_clock.advance(30)
    with tasks.open(config, start=False, clock=job_clock) as queue:
        run_all(queue)
        assert queue.status("in a while") is Status.SCHEDULED
        job_clock.advance(21)
        run_all(queue)
        assert queue.status("in a while") is Status.COMPLETED


def test_a_coroutine_function_may_be_atomic() -> None:
    awaited = Tasks()

    @awaited.task(name="child")
    async def child(text: str) -> str:
        return text

    @awaited.task(name="parent", atomic=True)
    async def parent() -> list[object]:
        await asyncio.sleep(0)
        held = await child.using(id="a").aenqueue("a")
        return [held, child.using(id="b").enqueue("b")]

    async def main() -> None:
        async with awaited.open(Config(executor="asyncio")) as queue:
            assert await (await parent.aenqueue()) == [None, None]
            await queue.ajoin(PATIENCE)
            assert [queue.status(each) for each in ("a", "b")] == [Status.COMPLETED] * 2

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@pytest.mark.slow
@pytest.mark.usefixtures("measured_children")
def test_in_a_process_it_holds_back_as_well(tmp_path: Path) -> None:
    config = Config(executor="process", num_workers=1, persist_path=tmp_path)
    with process_tasks.tasks.open(config) as queue:
        assert process_tasks.fan_out.enqueue(2, 0.0).result(PATIENCE) == 2
        eventually(lambda: queue.status("child-1") is Status.COMPLETED)
        failed = process_tasks.fan_out.enqueue(3, 0.0, fails=True)
        assert failed.wait(PATIENCE) is Status.FAILED
        with pytest.raises(UnknownJobError):
            queue.status("child-2")


@pytest.mark.slow
@pytest.mark.usefixtures("measured_children")
def test_in_a_process_a_delay_goes_along() -> None:
    with process_tasks.tasks.open(Config(executor="process", num_workers=1)) as queue:
        assert process_tasks.fan_out.enqueue(1, 60.0).result(PATIENCE) == 1
        assert queue.status("child-0") is Status.SCHEDULED


@pytest.mark.slow
@pytest.mark.usefixtures("measured_children")
def test_in_a_process_a_task_that_is_not_atomic_is_told_how_to_enqueue() -> None:
    with process_tasks.tasks.open(Config(executor="process", num_workers=1)):
        handle = process_tasks.enqueue_at_once.enqueue("a")
        with pytest.raises(QueueNotOpenError, match=r"process.*@tasks\.task\(atomic=True\)"):
            handle.result(PATIENCE)


@tasks.task(atomic=True)
def unique_then(on_conflict: str) -> None:
    unique = Unique(by="key", on_conflict=on_conflict)  # type: ignore[arg-type]
    first = note.using(id="first", key="k", unique=unique).call("first")
    chain(first, note.using(id="then").call("then"))


@pytest.mark.parametrize(
    ("on_conflict", "ran", "status"),
    [
        ("existing", ["there", "then"], Status.COMPLETED),
        ("replace", ["first", "then"], Status.CANCELLED),
    ],
)
def test_what_is_after_a_unique_call_is_after_the_job_that_is_there(
    queue: JobQueue, on_conflict: str, ran: list[str], status: Status
) -> None:
    there = note.using(key="k", unique=Unique(by="key"), delay=60).enqueue("there")
    unique_then.enqueue(on_conflict)
    run_all(queue)
    clock.advance(61)
    run_all(queue)
    assert (seen, there.status) == (ran, status)
    assert queue.status("then") is Status.COMPLETED
