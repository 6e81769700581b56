"""Jobs from jobs: none is refused for room; those of the context come with the completion."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    DuplicateJobError,
    Job,
    JobContext,
    JobHandle,
    JobQueue,
    Priority,
    QueueClosedError,
    RejectJobError,
    Status,
    Unique,
    UnknownHandlerError,
    UnknownJobError,
)
from jobqueue.final.testing import ManualClock, run_all
from tests.support import process_handlers
from tests.support.handlers import Recorder, in_thread
from tests.support.queues import Store, every_log, every_store, until
from tests.support.ties import check_rest, check_whole
from tests.support.waiting import PATIENCE, eventually

FAN_OUT = 1500

Parent = Callable[[JobContext], object]


def open_with(store: Store, parent: Parent, **settings: Any) -> tuple[JobQueue, Recorder]:
    """A queue that is not started; "parent" runs `parent`, other jobs are recorded."""
    recorder = Recorder()
    jq = store.open(recorder, start=False, **settings)
    jq.register("parent", lambda payload, context: parent(context))
    return jq, recorder


def is_unknown(jq: JobQueue, job_id: str) -> bool:
    try:
        jq.status(job_id)
    except UnknownJobError:
        return True
    return False


# ── enqueue in a handler ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["enqueue", "enqueue_many", "context"])
def test_six_handlers_that_fan_out_lose_no_child_with_all_defaults(how: str) -> None:
    """Fault 87 of docs/reliability.md."""

    ran: list[bytes] = []

    def handler(payload: bytes, context: JobContext) -> None:
        if payload != b"parent":
            ran.append(payload)
            return
        jobs = [Job(b"%s %d" % (context.job.id.encode(), number)) for number in range(FAN_OUT)]
        if how == "enqueue":
            for job in jobs:
                jq.enqueue(job)
        elif how == "enqueue_many":
            assert len(jq.enqueue_many(jobs)) == FAN_OUT
        else:
            context.enqueue_many(jobs)

    with JobQueue(handler=handler) as jq:
        parents = [jq.enqueue(Job(b"parent")) for _ in range(6)]
        assert {each.wait(60) for each in parents} == {Status.COMPLETED}
        assert jq.join(60)
        assert len(set(ran)) == len(ran) == 6 * FAN_OUT
        assert jq.metrics().failed == 0
        check_rest(jq)


@every_store
def test_what_a_handler_enqueues_on_a_full_lane_is_accepted_without_a_place(store: Store) -> None:
    def parent(_context: JobContext) -> None:
        for _ in range(5):
            jq.enqueue(Job(), timeout=0)
        jq.enqueue_many([Job(), Job()], timeout=0)

    jq, recorder = open_with(store, parent, queue_size=1, num_workers=1)
    jq.enqueue(Job(handler="parent"))
    jq.start()
    assert jq.join(PATIENCE)
    assert len(recorder.ids()) == 7
    check_rest(jq)


# ── all of them or none ──────────────────────────────────────────────────────────────────────


@every_store
def test_children_are_held_back_until_the_handler_returns_and_then_run(store: Store) -> None:
    held, gate = threading.Event(), threading.Event()

    def parent(context: JobContext) -> str:
        nothing: list[object] = [
            context.enqueue(Job(b"1", id="a")),  # type: ignore[func-returns-value]
            context.enqueue_many([Job(b"2", id="b"), Job(b"3", id="c", priority=Priority.LOW)]),  # type: ignore[func-returns-value]
        ]
        assert nothing == [None, None]
        held.set()
        assert gate.wait(PATIENCE)
        return "result"

    jq, recorder = open_with(store, parent)
    handle = jq.enqueue(Job(handler="parent"))
    jq.start()
    assert held.wait(PATIENCE)
    assert all(is_unknown(jq, each) for each in "abc")
    assert jq.metrics().enqueued == 1
    check_whole(jq)

    gate.set()

    assert handle.result(PATIENCE) == "result"
    assert jq.join(PATIENCE)
    assert sorted(recorder.ids()) == ["a", "b", "c"]
    assert jq.metrics().enqueued == 4
    check_rest(jq)


@every_log
@pytest.mark.parametrize("many", [1, 300])
def test_they_stand_in_the_record_of_the_completion(log_store: Store, many: int) -> None:
    def parent(context: JobContext) -> None:
        context.enqueue_many([Job(id=str(number)) for number in range(many)])
        jq.pause()

    jq, _ = open_with(log_store, parent)
    handle = jq.enqueue(Job(id="parent", handler="parent"))
    jq.start()
    assert handle.wait(PATIENCE) is Status.COMPLETED
    jq.close(PATIENCE, drain=False)
    lines = [
        line
        for path in sorted(log_store.path.glob("*.jsonl"))
        for line in path.read_text().splitlines()
        if '"children"' in line
    ]
    assert len(lines) == 1
    assert lines[0].startswith('{"op":"completed"')
    again, recorder = open_with(log_store, lambda context: None, num_workers=1)
    assert {again.status(str(n)) for n in range(many)} == {Status.QUEUED}
    check_whole(again)
    again.start()
    assert again.join(PATIENCE)
    assert recorder.ids() == [str(n) for n in range(many)]
    check_rest(again)


@pytest.mark.parametrize("outcome", ["raises", "rejects", "cancelled", "overruns", "system exit"])
def test_an_attempt_that_fails_has_enqueued_nothing(
    store: Store, clock: ManualClock, outcome: str
) -> None:
    blocker = store.blocker()

    def parent(context: JobContext) -> None:
        context.enqueue_many([Job(id="a"), Job(id="b")])
        if outcome in ("cancelled", "overruns"):
            blocker(b"", context)
        if outcome != "overruns":
            raise {"rejects": RejectJobError, "system exit": SystemExit}.get(outcome, ValueError)

    recorder = Recorder()
    jq = store.open(recorder, clock=clock, max_retries=0)
    jq.register("parent", lambda payload, context: parent(context), timeout=10.0)
    handle = jq.enqueue(Job(handler="parent"))
    if outcome in ("cancelled", "overruns"):
        blocker.await_entered()
        handle.cancel() if outcome == "cancelled" else clock.advance(10.0)
        blocker.gate.set()
    assert handle.wait(PATIENCE) in (Status.FAILED, Status.CANCELLED)
    assert jq.join(PATIENCE)

    assert is_unknown(jq, "a")
    assert jq.enqueue(Job(id="a")).wait(PATIENCE) is Status.COMPLETED  # its id is free
    assert recorder.ids() == ["a"]
    check_rest(jq)


@every_store
def test_retries_enqueue_them_once(store: Store, clock: ManualClock) -> None:
    def parent(context: JobContext) -> None:
        context.enqueue_many([Job(id="a"), Job(id="b")])
        if context.attempt < 2:
            raise ValueError

    recorder = Recorder()
    jq = store.open(recorder, clock=clock, num_workers=1)
    jq.register("parent", lambda payload, context: parent(context))
    handle = jq.enqueue(Job(handler="parent"))
    for _ in range(2):
        until(handle, Status.SCHEDULED)
        check_whole(jq)
        clock.advance(10.0)
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert jq.join(PATIENCE)
    assert recorder.ids() == ["a", "b"]
    check_rest(jq)


def test_they_take_no_room_and_wait_for_none(memory: Store) -> None:
    jq, recorder = open_with(
        memory,
        lambda context: context.enqueue_many([Job() for _ in range(20)]),
        queue_size=2,
        num_workers=1,
    )
    jq.enqueue(Job(handler="parent"))
    fillers = [jq.enqueue(Job())]
    jq.start()
    assert jq.join(PATIENCE)
    assert len(recorder.ids()) == 20 + len(fillers)
    check_rest(jq)


# ── ids ──────────────────────────────────────────────────────────────────────────────────────


@every_store
def test_each_id_is_checked_and_reserved_at_the_call(store: Store) -> None:
    held, gate = threading.Event(), threading.Event()
    told: list[BaseException] = []

    def parent(context: JobContext) -> None:
        context.enqueue(Job(id="a"))
        for job in (Job(id="a"), Job(id="known"), Job(id=context.job.id)):
            with pytest.raises(DuplicateJobError) as error:
                context.enqueue(job)
            told.append(error.value)
        with pytest.raises(DuplicateJobError):
            context.enqueue_many([Job(id="b"), Job(id="c"), Job(id="b")])
        with pytest.raises(DuplicateJobError):
            context.enqueue_many([Job(id="d"), Job(id="known")])
        held.set()
        assert gate.wait(PATIENCE)

    jq, recorder = open_with(store, parent, num_workers=1)
    parent_handle = jq.enqueue(Job(id="parent", handler="parent"))
    jq.enqueue(Job(id="known"), delay=3600.0)
    jq.start()
    assert held.wait(PATIENCE)

    with pytest.raises(DuplicateJobError, match="'a' is held back by job 'parent', whose handler"):
        jq.enqueue(Job(id="a"))
    with pytest.raises(DuplicateJobError):
        jq.enqueue_many([Job(id="x"), Job(id="a")])
    check_whole(jq)
    for free in "bcd":
        assert jq.enqueue(Job(id=free), delay=3600.0).status is Status.SCHEDULED
    gate.set()
    assert parent_handle.wait(PATIENCE) is Status.COMPLETED
    assert eventually(lambda: jq.status("a") is Status.COMPLETED)
    assert recorder.ids() == ["a"]
    assert len(told) == 3


def test_two_attempts_cannot_hold_back_the_same_id(memory: Store) -> None:
    both = threading.Barrier(2)
    refused: list[str] = []

    def parent(context: JobContext) -> None:
        both.wait(PATIENCE)
        try:
            context.enqueue(Job(id="a"))
        except DuplicateJobError as error:
            refused.append(str(error))
        both.wait(PATIENCE)

    jq, recorder = open_with(memory, parent, num_workers=2)
    for _ in range(2):
        jq.enqueue(Job(handler="parent"))
    jq.start()
    assert jq.join(PATIENCE)
    assert recorder.ids() == ["a"]
    assert len(refused) == 1
    check_rest(jq)


def test_what_cannot_be_enqueued_is_refused_at_the_call_and_all_with_it(memory: Store) -> None:
    refused: list[type[BaseException]] = []

    def parent(context: JobContext) -> None:
        for wrong, error in [
            (Job(after=["nobody"]), UnknownJobError),
            (Job(b"x" * 200), ValueError),
            ("no job", TypeError),
        ]:
            with pytest.raises(error):
                context.enqueue_many([Job(id="a"), wrong])  # type: ignore[list-item]
            refused.append(error)
        with pytest.raises(TypeError):
            context.enqueue_many(Job())  # type: ignore[arg-type]

    jq, recorder = open_with(memory, parent, max_payload_bytes=100)
    jq.enqueue(Job(handler="parent"))
    jq.start()
    assert jq.join(PATIENCE)
    assert (len(refused), recorder.ids(), jq.metrics().completed) == (3, [], 1)
    check_rest(jq)


def test_a_queue_without_a_default_handler_refuses_jobs_without_a_name(memory: Store) -> None:
    def parent(context: JobContext) -> None:
        with pytest.raises(UnknownHandlerError):
            context.enqueue(Job())
        context.enqueue(Job(id="later", handler="late"))

    jq = memory.open()
    jq.register("parent", lambda payload, context: parent(context))
    assert jq.enqueue(Job(handler="parent")).wait(PATIENCE) is Status.COMPLETED
    assert jq.status("later") is Status.QUEUED
    check_whole(jq)
    jq.register("late", len)
    assert jq.handle("later").wait(PATIENCE) is Status.COMPLETED
    check_rest(jq)


def test_an_attempt_that_has_ended_enqueues_nothing_more(memory: Store) -> None:
    contexts: list[JobContext] = []
    jq, _ = open_with(memory, contexts.append)
    handle = jq.enqueue(Job(id="parent", handler="parent"))
    jq.start()
    handle.wait(PATIENCE)
    with pytest.raises(RuntimeError, match="the attempt of job 'parent' has ended"):
        contexts[0].enqueue(Job())
    check_rest(jq)


def test_an_earlier_attempt_enqueues_nothing_for_a_later_one(
    memory: Store, clock: ManualClock
) -> None:
    contexts: list[JobContext] = []

    def parent(context: JobContext) -> None:
        contexts.append(context)
        if context.attempt == 0:
            raise ValueError
        with pytest.raises(RuntimeError, match="has ended"):
            contexts[0].enqueue(Job())

    jq, recorder = open_with(memory, parent, clock=clock)
    handle = jq.enqueue(Job(handler="parent"))
    jq.start()
    until(handle, Status.SCHEDULED)
    clock.advance(10.0)
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert recorder.ids() == []


def test_an_attempt_that_close_waits_for_enqueues_its_jobs(memory: Store) -> None:
    entered = threading.Event()

    def parent(context: JobContext) -> None:
        context.enqueue(Job(id="before"))
        entered.set()
        assert eventually(lambda: jq.closed)
        context.enqueue(Job(id="after"))

    jq, recorder = open_with(memory, parent)
    jq.enqueue(Job(handler="parent"))
    jq.start()
    assert entered.wait(PATIENCE)
    report = jq.close(PATIENCE, drain=True)
    assert (report.remaining, report.unfinished) == (0, ())
    assert sorted(recorder.ids()) == ["after", "before"]  # at once, if there are workers for both


def test_an_attempt_that_close_gave_up_enqueues_nothing(memory: Store) -> None:
    entered, closed = threading.Event(), threading.Event()
    refused: list[BaseException] = []

    def parent(context: JobContext) -> None:
        entered.set()
        assert closed.wait(PATIENCE)
        try:
            context.enqueue(Job(id="late"))
        except QueueClosedError as error:
            refused.append(error)

    jq, recorder = open_with(memory, parent)
    jq.enqueue(Job(handler="parent"))
    jq.start()
    assert entered.wait(PATIENCE)
    assert jq.close(0.0).unfinished
    closed.set()
    assert eventually(lambda: refused)
    assert recorder.ids() == []


@every_log
def test_close_without_drain_leaves_them_in_the_log(log_store: Store) -> None:
    entered = threading.Event()

    def parent(context: JobContext) -> None:
        context.enqueue(Job(id="child"))
        entered.set()
        assert eventually(lambda: jq.closed)

    jq, _ = open_with(log_store, parent)
    jq.enqueue(Job(id="parent", handler="parent"))
    jq.start()
    assert entered.wait(PATIENCE)
    jq.close(PATIENCE, drain=False)
    again, recorder = open_with(log_store, parent)
    assert again.status("parent") is Status.COMPLETED
    again.start()
    assert again.join(PATIENCE)
    assert again.status("child") is Status.COMPLETED
    assert len(recorder.ids()) <= 1


# ── with what else jobs ask for ──────────────────────────────────────────────────────────────


@every_store
def test_children_may_come_after_each_other_and_after_others(store: Store) -> None:
    def parent(context: JobContext) -> None:
        context.enqueue(Job(id="1", after=["before"]))
        context.enqueue_many([Job(id="2", after=["1"]), Job(id="3", after=["2", context.job.id])])
        with pytest.raises(UnknownJobError):
            context.enqueue_many([Job(id="4", after=["5"]), Job(id="5")])

    jq, recorder = open_with(store, parent, num_workers=3)
    before = jq.enqueue(Job(id="before"), delay=0.01)
    handle = jq.enqueue(Job(id="parent", handler="parent"))
    jq.start()
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert jq.join(PATIENCE)
    assert before.status is Status.COMPLETED
    assert recorder.ids() == ["before", "1", "2", "3"]
    check_rest(jq)


def test_a_child_after_a_job_that_fails_meanwhile_is_cancelled(store: Store) -> None:
    def parent(context: JobContext) -> None:
        context.enqueue_many([Job(id="child", after=["before"]), Job(id="next", after=["child"])])
        jq.cancel("before")

    jq, recorder = open_with(store, parent)
    jq.enqueue(Job(id="before"), delay=3600.0)
    jq.enqueue(Job(id="parent", handler="parent"))
    jq.start()
    assert jq.handle("parent").wait(PATIENCE) is Status.COMPLETED
    assert jq.join(PATIENCE)
    assert recorder.ids() == []
    assert "'before', which it waits for, was cancelled" in str(jq.info("child").last_error)
    assert "'child', which it waits for, was cancelled" in str(jq.info("next").last_error)
    check_rest(jq)
    jq.close(PATIENCE)
    again, _ = open_with(store, parent)
    assert again.status("child") is again.status("next") is Status.CANCELLED


def test_a_child_after_a_job_that_is_forgotten_meanwhile_is_not_lost_silently(
    memory: Store,
) -> None:
    def parent(context: JobContext) -> None:
        context.enqueue_many([Job(id="child", after=["before"]), Job(id="other")])
        for _ in range(5):
            jq.enqueue(Job(), delay=3600.0).cancel()

    jq, _ = open_with(memory, parent, status_retention=4, num_workers=1)
    jq.enqueue(Job(id="before"))
    jq.enqueue(Job(id="parent", handler="parent"))
    told = threading.Event()
    jq.start()
    assert jq.join(PATIENCE)
    info = jq.info("child")
    assert info.status is Status.CANCELLED
    assert "'before'" in str(info.last_error)
    assert jq.status("other") is Status.COMPLETED
    assert not told.is_set()
    check_rest(jq)


@pytest.mark.parametrize("on_conflict", ["existing", "raise", "replace"])
def test_a_unique_child_is_not_added_beside_one_like_it(store: Store, on_conflict: Any) -> None:
    unique = Unique("key", on_conflict=on_conflict)

    def parent(context: JobContext) -> None:
        context.enqueue_many(
            [Job(id="new", key="k", unique=unique), Job(id="newer", key="k", unique=Unique("key"))]
        )
        jq.enqueue(Job(id="old", key="k", unique=Unique("key")), delay=3600.0)

    jq, recorder = open_with(store, parent, num_workers=1)
    jq.enqueue(Job(id="parent", handler="parent"))
    jq.start()
    assert jq.handle("parent").wait(PATIENCE) is Status.COMPLETED
    replaces = on_conflict == "replace"
    if replaces:
        assert jq.join(PATIENCE)
    assert jq.status("old") is (Status.CANCELLED if replaces else Status.SCHEDULED)
    assert recorder.ids() == ["new"] * replaces
    assert is_unknown(jq, "newer")
    check_whole(jq)


def test_a_unique_child_that_says_raise_is_refused_at_the_call(memory: Store) -> None:
    def parent(context: JobContext) -> None:
        with pytest.raises(DuplicateJobError, match="'old'"):
            context.enqueue(Job(key="k", unique=Unique("key", on_conflict="raise")))

    jq, recorder = open_with(memory, parent)
    jq.enqueue(Job(id="old", key="k", unique=Unique("key")), delay=3600.0)
    handle = jq.enqueue(Job(handler="parent"))
    jq.start()
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert recorder.ids() == []


@every_store
def test_a_child_expires_counted_from_the_handlers_return(store: Store, clock: ManualClock) -> None:
    def parent(context: JobContext) -> None:
        context.enqueue(Job(id="child", handler="nobody", expires=5.0))
        clock.advance(10.0)

    jq, _ = open_with(store, parent, clock=clock)
    jq.enqueue(Job(id="parent", handler="parent"))
    run_all(jq)
    assert jq.status("child") is Status.QUEUED
    clock.advance(5.0)
    assert jq.status("child") is Status.CANCELLED
    check_rest(jq)


@every_store
def test_run_all_runs_them_too(store: Store) -> None:
    def parent(context: JobContext) -> None:
        depth = int(context.job.payload)
        for _ in range(3 if depth else 0):
            context.enqueue(Job(b"%d" % (depth - 1), handler="parent"))

    jq, _ = open_with(store, parent)
    jq.enqueue(Job(b"4", handler="parent"))
    run_all(jq)
    assert jq.metrics().completed == sum(3**n for n in range(5))
    check_rest(jq)


def test_children_have_children(store: Store) -> None:
    def parent(context: JobContext) -> None:
        depth = int(context.job.payload)
        if depth:
            context.enqueue_many([Job(b"%d" % (depth - 1), handler="parent") for _ in range(3)])

    jq, _ = open_with(store, parent)
    jq.enqueue(Job(b"5", handler="parent"))
    jq.start()
    assert jq.join(PATIENCE)
    assert jq.metrics().completed == sum(3**n for n in range(6))
    check_rest(jq)


def test_a_job_object_may_be_used_again_by_a_retry(memory: Store, clock: ManualClock) -> None:
    job = Job(id="child")

    def parent(context: JobContext) -> None:
        context.enqueue(job)
        if context.attempt == 0:
            raise ValueError

    jq, recorder = open_with(memory, parent, clock=clock)
    handle = jq.enqueue(Job(handler="parent"))
    jq.start()
    until(handle, Status.SCHEDULED)
    clock.advance(10.0)
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert jq.join(PATIENCE)
    assert recorder.ids() == ["child"]


def test_from_threads_of_the_handler_too(memory: Store) -> None:
    def parent(context: JobContext) -> None:
        calls = [in_thread(context.enqueue, Job()) for _ in range(30)]
        for each in calls:
            each.result(PATIENCE)

    jq, recorder = open_with(memory, parent)
    jq.enqueue(Job(handler="parent"))
    jq.start()
    assert jq.join(PATIENCE)
    assert len(recorder.ids()) == 30
    check_rest(jq)


# ── where handlers run elsewhere ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("durability", ["memory", "write"])
def test_from_a_coroutine(tmp_path: Path, durability: str) -> None:
    async def handler(payload: bytes, context: JobContext) -> None:
        ran.append(context.job.id)
        if payload == b"parent":
            context.enqueue_many([Job(id="a"), Job(id="b", after=["a"])])
            await asyncio.sleep(0)
            if context.attempt == 0:
                raise ValueError

    async def main() -> None:
        path = None if durability == "memory" else tmp_path / "log"
        config = Config(executor="asyncio", base_delay=0.001, persist_path=path)
        async with JobQueue(config, handler=handler) as jq:
            await jq.aenqueue(Job(b"parent", id="parent"))
            assert await jq.ajoin(PATIENCE)
            check_rest(jq)

    ran: list[str] = []
    asyncio.run(main())
    assert ran == ["parent", "parent", "a", "b"]


@pytest.mark.slow
def test_from_a_process(log_store: Store) -> None:
    handlers: dict[str, Callable[..., object]] = {
        "fan": process_handlers.fans_out,
        "len": process_handlers.measures,
    }
    jq = log_store.open(
        handlers=handlers, executor="process", num_workers=2, base_delay=0.001, max_retries=1
    )
    parent = jq.enqueue(Job(b"1", id="p", handler="fan", store_result=True))
    assert parent.result(PATIENCE) == 3
    assert jq.join(PATIENCE)
    assert {jq.status(f"p {n}") for n in range(3)} == {Status.COMPLETED}
    check_rest(jq)
    taken = jq.enqueue(Job(b"0", id="q", handler="fan"))
    assert taken.wait(PATIENCE) is Status.COMPLETED
    jq.enqueue(Job(id="r 1", handler="len"))
    conflicting = jq.enqueue(Job(b"0", id="r", handler="fan"))
    assert conflicting.wait(PATIENCE) is Status.FAILED
    assert "'r 1' is already known" in str(jq.info("r").last_error)
    assert is_unknown(jq, "r 0")
    check_whole(jq)


def processes(store: Store, **handlers: Callable[..., object]) -> JobQueue:
    handlers["len"] = process_handlers.measures
    return store.open(
        handlers=handlers,
        executor="process",
        num_workers=1,
        base_delay=0.001,
        max_payload_bytes=1000,
    )


@pytest.mark.slow
def test_from_a_process_an_id_is_checked_and_reserved_at_the_call(memory: Store) -> None:
    jq = processes(memory, refused=process_handlers.is_refused)
    jq.enqueue(Job(id="known", handler="len")).wait(PATIENCE)

    parent: JobHandle[Any] = jq.enqueue(Job(id="p", handler="refused"))

    held, known, twice, late, no_handler, large = parent.result(PATIENCE)
    assert held.startswith("DuplicateJobError: job 'held' is held back by job 'p'")
    assert known.startswith("DuplicateJobError: job 'known' is already known")
    assert twice.startswith("DuplicateJobError: job 'twice' stands more than once")
    assert late.startswith("UnknownJobError: ")
    assert "'nobody'" in late
    assert no_handler.startswith("UnknownHandlerError: job 'no handler'")
    assert large.startswith("ValueError: ")
    assert jq.info("p").retries == 1  # the ids of the first attempt were free again
    assert jq.join(PATIENCE)
    assert {each.id for each in jq.jobs()} == {"known", "p", "held", "free"}
    check_rest(jq)


@pytest.mark.slow
def test_a_fork_of_a_process_cannot_enqueue(memory: Store) -> None:
    jq = processes(memory, forks=process_handlers.enqueues_in_a_fork)
    assert jq.enqueue(Job(handler="forks")).result(PATIENCE) == 7
    assert jq.metrics().enqueued == 1


@pytest.mark.slow
def test_a_call_in_a_process_that_an_exception_breaks_off_disturbs_no_other(memory: Store) -> None:
    jq = processes(memory, struck=process_handlers.is_struck_while_it_enqueues)
    parent: JobHandle[Any] = jq.enqueue(Job(id="p", handler="struck"))
    assert jq.join(PATIENCE)
    assert {"p", *parent.result(0)} <= {each.id for each in jq.jobs(limit=1000)}
    check_rest(jq)
