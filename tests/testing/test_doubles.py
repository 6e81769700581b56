"""`immediate`, `recorded`, `assert_enqueued`: tests of a user's code without an open queue."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from jobqueue import (
    DuplicateJobError,
    JobContext,
    Priority,
    QueueNotOpenError,
    RejectJobError,
    RetryJobError,
    Status,
    Tasks,
    Unique,
    achain,
    chain,
    current_job,
    group,
)
from jobqueue.testing import assert_enqueued, immediate, recorded, run_all

tasks = Tasks()
mail = Tasks()
plain = Tasks()


@tasks.task(priority=Priority.LOW)
def add(a: int, b: int = 2) -> int:
    return a + b


@tasks.task
def twice(a: int) -> int:
    return add.enqueue(a, a).result()


@tasks.task
def fail() -> None:
    raise RetryJobError(delay=60.0)


def len_of(text: str) -> int:
    return len(text)


noted: list[str] = []


@tasks.task
def note(text: str) -> None:
    noted.append(text)


@tasks.task(atomic=True)
def note_later(text: str, fails: bool = False) -> str:
    returned: object = note.using(delay=60).enqueue(text)
    chain(note.call(f"{text} after it"), note.call(f"{text} after that"))
    noted.append("returns")
    if fails:
        raise RetryJobError(delay=60.0)
    return f"{returned}"


@tasks.task
def about(context: JobContext) -> bool:
    return current_job() is context


@plain.task
def name_of_job() -> str | None:
    job = current_job()
    return None if job is None else job.job.handler


@tasks.task
def name_of_children() -> list[str | None]:
    return [name.enqueue().result(), name_of_job()]


@tasks.task(store_result=True)
def large(size: int) -> str:
    return "x" * size


@mail.task
async def name() -> str:
    job = current_job()
    return "" if job is None else str(job.job.handler)


@mail.task
async def send(to: str) -> str:
    await asyncio.sleep(0)
    return f"to {to}"


tasks.include(mail, prefix="mail.")


def test_immediate_runs_each_call_inside_of_enqueue() -> None:
    with immediate(tasks):
        handle = add.using(delay=timedelta(days=1), id="one").enqueue(1)
        assert (handle.id, handle.status, handle.result()) == ("one", Status.COMPLETED, 3)
        assert twice.enqueue(4).result() == 8
        assert about.enqueue().result()
        assert list(add.map([1, 2], [3, 4])) == [4, 6]
    with pytest.raises(QueueNotOpenError):
        add.enqueue(1)


def test_a_handler_knows_its_job_on_the_thread_of_the_test() -> None:
    with plain.open(start=False) as queue:
        handle = name_of_job.enqueue()
        run_all(queue)
        assert handle.result(0) == "name_of_job"
    with immediate(tasks), immediate(plain):
        assert name_of_job.enqueue().result() == "name_of_job"
        assert name_of_children.enqueue().result() == ["mail.name", "name_of_children"]
    assert current_job() is None


def test_immediate_runs_a_coroutine_within_one_that_calls_it() -> None:
    async def call() -> tuple[str, str]:
        with immediate(tasks):
            return send.enqueue("ada").result(), name.enqueue().result()

    assert asyncio.run(call()) == ("to ada", "mail.name")


def test_immediate_refuses_a_result_that_could_not_be_stored() -> None:
    with immediate(tasks), pytest.raises(RejectJobError, match="at most 65536"):
        large.enqueue(1 << 20)


def test_immediate_raises_what_the_function_raises_and_retries_nothing() -> None:
    with immediate(tasks), pytest.raises(RetryJobError):
        fail.enqueue()


def test_immediate_runs_coroutine_functions_in_a_loop_of_their_own() -> None:
    async def in_a_coroutine() -> str:
        return await (await send.aenqueue("bob"))

    with immediate(tasks):
        assert send.enqueue("ann").result() == "to ann"
        assert asyncio.run(in_a_coroutine()) == "to bob"


def test_recorded_runs_nothing_and_tells_what_was_enqueued() -> None:
    with recorded(tasks) as calls:
        handle = add.using(delay=5).enqueue(1, b=3)
        send.using(priority=Priority.HIGH).enqueue("ann")
        assert handle.status is Status.SCHEDULED
    assert [(call.name, call.arguments, call.priority, call.delay) for call in calls] == [
        ("add", {"a": 1, "b": 3}, Priority.LOW, 5.0),
        ("mail.send", {"to": "ann"}, Priority.HIGH, 0.0),
    ]


def test_recorded_refuses_what_a_queue_refuses() -> None:
    with recorded(tasks) as calls:
        add.using(id="one").enqueue(1)
        with pytest.raises(DuplicateJobError):
            add.using(id="one").enqueue(1)
        with pytest.raises(TypeError, match="argument 'a'"):
            add.enqueue("one")  # type: ignore[arg-type]
    assert len(calls) == 1


def test_assert_enqueued_compares_the_arguments_that_are_given() -> None:
    with recorded(tasks):
        add.enqueue(1, b=3)
        assert_enqueued(tasks, add)
        assert_enqueued(tasks, add, b=3)
        with pytest.raises(AssertionError, match=r"(?s)add\(b=4\) was not.*add\(a=1, b=3\)"):
            assert_enqueued(tasks, add, b=4)
        with pytest.raises(AssertionError, match=r"mail\.send"):
            assert_enqueued(tasks, send)
        with pytest.raises(TypeError, match="no argument 'c'"):
            assert_enqueued(tasks, add, c=1)
    assert_enqueued(tasks, add, a=1)  # after it, too


def test_assert_enqueued_takes_an_argument_that_was_left_out_for_its_default() -> None:
    more = Tasks()

    @more.task(name="pack")
    def pack(a: int, *rest: int, b: int = 2, **named: int) -> None: ...

    with recorded(more):
        pack.enqueue(1)
        assert_enqueued(more, pack, a=1, rest=[], b=2, named={})
        with pytest.raises(AssertionError, match=r"pack\(b=3\) was not enqueued"):
            assert_enqueued(more, pack, b=3)
        pack.enqueue(5, 6, b=2, c=7)
        assert_enqueued(more, pack, a=5)  # the default that was written out needs not be
        assert_enqueued(more, pack, a=5, rest=[6], b=2, named={"c": 7})
        with pytest.raises(AssertionError):
            assert_enqueued(more, pack, a=5, rest=[])


def test_assert_enqueued_without_a_recording_says_what_to_write() -> None:
    with pytest.raises(RuntimeError, match=r"with recorded\(tasks\)"):
        assert_enqueued(Tasks(), add)


def test_assert_enqueued_refuses_what_is_no_task_of_these() -> None:
    other: Any = Tasks().task(name="add")(len)
    with recorded(tasks):
        with pytest.raises(TypeError, match=r"len.* is no task"):
            assert_enqueued(tasks, cast("Any", len))
        with pytest.raises(ValueError, match="task 'add' is none of these tasks"):
            assert_enqueued(tasks, other)
        with pytest.raises(TypeError, match=r"assert_enqueued\(\) takes a Tasks first, not 3"):
            assert_enqueued(cast("Any", 3), add)
    with pytest.raises(TypeError, match=r"immediate\(\) takes a Tasks first"), immediate(other):
        pass
    with pytest.raises(TypeError, match=r"recorded\(\) takes a Tasks first"), recorded(other):
        pass


def test_assert_enqueued_takes_arguments_of_any_name() -> None:
    more = Tasks()

    @more.task(name="remind")
    def remind(task: str, tasks: int) -> None: ...

    with recorded(more):
        remind.enqueue(task="wash", tasks=1)
        assert_enqueued(more, remind, task="wash", tasks=1)


def test_a_double_takes_the_place_of_an_open_queue_and_gives_it_back() -> None:
    more = Tasks()

    @more.task(name="add")
    def plus(a: int) -> int:
        return a + 1

    with more.open():
        with recorded(more) as calls:
            plus.enqueue(1)
        assert plus.enqueue(1).result(10) == 2
    assert len(calls) == 1


def test_immediate_runs_a_chain_and_a_group_in_order() -> None:
    with immediate(tasks):
        first, second, third = chain(add.call(1), twice.call(2), add.call(3))
        assert (first.result(), second.result(), third.result()) == (3, 4, 5)
        assert [each.result() for each in group(add.call(a) for a in range(3))] == [2, 3, 4]
        with pytest.raises(RetryJobError):
            chain(add.call(1), fail.call())
        assert (
            add.using(after=[first], unique=Unique(), key="k", expires=1).enqueue(1).result() == 3
        )

    async def in_a_coroutine() -> int:
        with immediate(tasks):
            _, last = await achain(add.call(1), add.call(2))
            return await last

    assert asyncio.run(in_a_coroutine()) == 4


def test_immediate_runs_what_an_atomic_task_enqueues_when_it_has_returned() -> None:
    noted.clear()
    with immediate(tasks):
        assert note_later.enqueue("a").result() == "None"
        assert noted == ["returns", "a", "a after it", "a after that"]
        noted.clear()
        with pytest.raises(RetryJobError):
            note_later.enqueue("a", fails=True)
    assert noted == ["returns"]


def test_recorded_tells_the_options_of_scheduling_and_of_chains() -> None:
    with recorded(tasks) as calls:
        first, second = chain(add.using(key="k", unique=Unique()).call(1), add.call(2))
        again = add.using(key="k", unique=Unique()).enqueue(3)
        assert again.existing
        twice.using(key="k", unique=Unique(), expires=5).enqueue(4)  # is like no call of `add`
    assert [call.arguments for call in calls] == [{"a": 1}, {"a": 2}, {"a": 4}]
    assert [call.job.key for call in calls] == ["k", None, "k"]
    assert calls[1].job.after == (first.id,)
    assert second.status is Status.SCHEDULED


def test_assert_enqueued_compares_the_options_that_using_has_set() -> None:
    with recorded(tasks):
        first = add.using(key="k", expires=5, delay=3).enqueue(1)
        add.using(after=[first]).enqueue(2)
    assert_enqueued(tasks, add.using(key="k"), a=1)
    assert_enqueued(tasks, add.using(expires=timedelta(seconds=5), delay=3))
    assert_enqueued(tasks, add.using(after=[first]), a=2)
    for other in (add.using(key="other"), add.using(after=["x"]), add.using(delay=4)):
        with pytest.raises(AssertionError, match=r"add\(\) with (key|after|delay)=.* was not"):
            assert_enqueued(tasks, other)


def test_assert_enqueued_compares_the_time_that_using_has_set() -> None:
    now, hour = datetime.now(UTC), timedelta(hours=1)
    with recorded(tasks):
        add.using(at=now + hour).enqueue(1)
        add.using(at=now - hour).enqueue(2)
    assert_enqueued(tasks, add.using(at=now + hour), a=1)
    assert_enqueued(tasks, add.using(at=now - 2 * hour), a=2)  # passed, too: it is now
    for a, other in ((1, now + 2 * hour), (1, now), (2, now + hour)):
        with pytest.raises(AssertionError, match=rf"add\(a={a}\) with at=.* was not"):
            assert_enqueued(tasks, add.using(at=other), a=a)


def test_assert_enqueued_tells_the_options_that_the_calls_had() -> None:
    with recorded(tasks):
        add.using(key="k", delay=3).enqueue(1)
    with pytest.raises(AssertionError, match=r"\n  add\(a=1\) with key='k', delay=3\.0$"):
        assert_enqueued(tasks, add.using(key="other", delay=3), a=1)


def test_assert_enqueued_knows_the_recording_that_goes_on_around_another() -> None:
    with recorded(tasks) as outer:
        add.enqueue(1)
        with recorded(tasks):
            add.enqueue(2)
            with pytest.raises(AssertionError):
                assert_enqueued(tasks, add, a=1)
        add.enqueue(3)
        assert_enqueued(tasks, add, a=1)
        assert_enqueued(tasks, add, a=3)
    assert_enqueued(tasks, add, a=3)  # the last one, when none goes on
    assert [call.arguments["a"] for call in outer] == [1, 3]


def test_a_recording_is_that_of_included_tasks_too() -> None:
    whole, part = Tasks(), Tasks()
    inner: Any = part.task(name="inner")(len_of)
    whole.include(part, "part.")
    for recorded_by in (part, whole):
        with recorded(recorded_by):
            inner.enqueue("a" if recorded_by is part else "b")
        for tasks_of in (part, whole):
            assert_enqueued(tasks_of, inner, text="a" if recorded_by is part else "b")
