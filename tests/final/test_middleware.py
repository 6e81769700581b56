"""Middleware: around the acceptance of a job, around its attempts, and after its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
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
    JobQueueError,
    Middleware,
    RejectJobError,
    Status,
)
from tests.support import process_middleware
from tests.support.process_handlers import echo
from tests.support.waiting import PATIENCE


class Noting(Middleware):
    """Notes what goes through it."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes

    def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
        self.notes.append(f"{self.name} takes {job.id}")
        handle = call_next(job.with_headers({**job.headers, self.name: "seen"}))
        self.notes.append(f"{self.name} gives {job.id}")
        return handle

    def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
        self.notes.append(f"{self.name} begins {context.job.id}")
        try:
            return call_next(context)
        finally:
            self.notes.append(f"{self.name} ends {context.job.id}")


@pytest.fixture
def opened() -> Iterator[Callable[..., JobQueue]]:
    queues: list[JobQueue] = []

    def open(
        *middleware: Any, handler: Callable[..., object] = bytes.upper, **more: Any
    ) -> JobQueue:
        start = more.pop("start", True)
        config = Config(jitter=0, **more)
        jq = JobQueue(config, handler=handler, middleware=middleware, start=start)
        queues.append(jq)
        return jq

    yield open
    for jq in queues:
        jq.close(PATIENCE, drain=False)


# ── enqueue ──────────────────────────────────────────────────────────────────────────────────


def test_the_first_is_outermost_around_the_acceptance(opened: Callable[..., JobQueue]) -> None:
    notes: list[str] = []
    jq = opened(Noting("A", notes), Noting("B", notes), start=False)
    handle = jq.enqueue(Job(id="1"))
    assert notes == ["A takes 1", "B takes 1", "B gives 1", "A gives 1"]
    assert dict(handle.job.headers) == {"A": "seen", "B": "seen"}


def test_it_runs_on_the_callers_thread_without_the_mutex(opened: Callable[..., JobQueue]) -> None:
    seen: list[object] = []

    class Asking(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
            other = threading.Thread(target=lambda: seen.append(jq.metrics().enqueued))
            other.start()  # it needs the mutex
            other.join(PATIENCE)
            seen.append(threading.current_thread())
            return call_next(job)

    jq = opened(Asking())
    jq.enqueue(Job())
    assert seen == [0, threading.current_thread()]


def test_an_error_in_it_refuses_the_job(opened: Callable[..., JobQueue]) -> None:
    class Refusing(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
            raise PermissionError(job.id)

    jq = opened(Refusing())
    with pytest.raises(PermissionError):
        jq.enqueue(Job(id="a"))
    assert jq.metrics().enqueued == 0


def test_it_sees_why_a_job_was_not_accepted(opened: Callable[..., JobQueue]) -> None:
    errors: list[BaseException] = []

    class Watching(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
            try:
                return call_next(job)
            except JobQueueError as error:
                errors.append(error)
                raise

    jq = opened(Watching())
    jq.enqueue(Job(id="a"))
    with pytest.raises(DuplicateJobError) as raised:
        jq.enqueue(Job(id="a"))
    assert errors == [raised.value]


def test_one_that_forgets_to_return_the_handle_is_told(opened: Callable[..., JobQueue]) -> None:
    class Forgetful(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:  # type: ignore[return]  # the mistake
            call_next(job)

    with pytest.raises(TypeError, match="return call_next"):
        opened(Forgetful()).enqueue(Job())


def test_what_is_no_job_is_refused_before_it_gets_there(opened: Callable[..., JobQueue]) -> None:
    notes: list[str] = []
    with pytest.raises(TypeError, match="only a Job"):
        opened(Noting("A", notes)).enqueue(b"payload")  # type: ignore[arg-type]  # the mistake
    assert notes == []


def test_a_job_with_its_own_handler_goes_through(opened: Callable[..., JobQueue]) -> None:
    notes: list[str] = []
    jq = opened(Noting("A", notes))
    assert jq.enqueue_with_handler(Job(b"abc", id="1"), len).result(PATIENCE) == 3
    assert sorted(notes) == ["A begins 1", "A ends 1", "A gives 1", "A takes 1"]


# ── enqueue_many ─────────────────────────────────────────────────────────────────────────────


def test_many_jobs_go_through_before_the_first_is_accepted(
    opened: Callable[..., JobQueue],
) -> None:
    notes: list[str] = []
    jq = opened(Noting("A", notes), start=False)
    handles = jq.enqueue_many([Job(id="1"), Job(id="2")])
    assert notes == ["A takes 1", "A takes 2", "A gives 2", "A gives 1"]
    assert [(handle.id, dict(handle.job.headers)) for handle in handles] == [
        ("1", {"A": "seen"}),
        ("2", {"A": "seen"}),
    ]


def test_many_more_jobs_than_python_nests_calls_go_through(
    opened: Callable[..., JobQueue],
) -> None:
    notes: list[str] = []
    jq = opened(Noting("A", notes), Noting("B", notes), start=False, queue_size=3000)
    handles = jq.enqueue_many(Job(id=str(number)) for number in range(2500))
    assert [handle.id for handle in handles] == [str(number) for number in range(2500)]
    assert jq.metrics().enqueued == 2500


def test_many_jobs_through_it_are_one_batch_of_the_log(tmp_path: Path) -> None:
    with JobQueue(
        Config(persist_path=tmp_path / "jobs.db", durability="fsync"),
        handler=bytes.upper,
        middleware=[Noting("A", [])],
        start=False,
    ) as jq:
        before = jq.metrics().log
        jq.enqueue_many([Job() for _ in range(50)])
        after = jq.metrics().log
    assert before is not None
    assert after is not None
    assert after.batches - before.batches == 1


def test_one_that_refuses_one_of_many_refuses_all(opened: Callable[..., JobQueue]) -> None:
    class Refusing(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
            if job.id == "2":
                raise PermissionError(job.id)
            return call_next(job)

    jq = opened(Refusing(), start=False)
    with pytest.raises(PermissionError):
        jq.enqueue_many([Job(id="1"), Job(id="2"), Job(id="3")])
    assert jq.metrics().enqueued == 0


def test_one_that_settles_a_job_by_itself_leaves_the_others_to_be_accepted(
    opened: Callable[..., JobQueue],
) -> None:
    class Once(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
            return known if job.id == "again" else call_next(job)

    jq = opened(Once(), start=False)
    known = jq.enqueue(Job(id="known"))
    handles = jq.enqueue_many([Job(id="1"), Job(id="again"), Job(id="2")])
    assert [handle.id for handle in handles] == ["1", "known", "2"]
    assert jq.metrics().enqueued == 3


def test_one_that_swallows_the_refusal_of_its_job_does_not_hold_up_the_others(
    opened: Callable[..., JobQueue],
) -> None:
    class Swallowing(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
            try:
                return call_next(Job(id="taken") if job.id == "2" else job)
            except DuplicateJobError:
                if job.id != "2":
                    raise
                return jq.handle("taken")

    jq = opened(Swallowing(), start=False)
    jq.enqueue(Job(id="taken"))
    handles = jq.enqueue_many([Job(id="1"), Job(id="2"), Job(id="3")])
    assert [handle.id for handle in handles] == ["1", "taken", "3"]


def test_of_many_with_a_known_id_none_is_accepted_and_none_goes_through(
    opened: Callable[..., JobQueue],
) -> None:
    notes: list[str] = []
    jq = opened(Noting("A", notes), start=False)
    with pytest.raises(DuplicateJobError):
        jq.enqueue_many([Job(id="1"), Job(id="1")])
    assert (notes, jq.metrics().enqueued) == ([], 0)


# ── attempt ──────────────────────────────────────────────────────────────────────────────────


def test_an_attempt_runs_within_all_of_them(opened: Callable[..., JobQueue]) -> None:
    notes: list[str] = []
    seen: list[JobContext] = []

    def handler(payload: bytes, context: JobContext) -> bytes:
        seen.append(context)
        notes.append("handler")
        return payload

    class Changing(Middleware):
        def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
            return (call_next(context), context.job.id)

    jq = opened(Noting("A", notes), Changing(), handler=handler, start=False)
    handle = jq.enqueue(Job(b"x", id="1"))
    jq.start()
    assert handle.result(PATIENCE) == (b"x", "1")
    assert notes[2:] == ["A begins 1", "handler", "A ends 1"]
    assert seen[0].job.id == "1"


def test_what_it_raises_counts_as_the_handlers(opened: Callable[..., JobQueue]) -> None:
    class Rejecting(Middleware):
        def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
            raise RejectJobError("never")

    handle = opened(Rejecting()).enqueue(Job())
    assert handle.wait(PATIENCE) is Status.FAILED
    assert handle.job.retries == 0


def test_what_it_swallows_is_no_failure(opened: Callable[..., JobQueue]) -> None:
    class Swallowing(Middleware):
        def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
            try:
                return call_next(context)
            except ZeroDivisionError:
                return "swallowed"

    jq = opened(Swallowing(), handler=lambda payload: 1 / len(payload))
    assert jq.enqueue(Job()).result(PATIENCE) == "swallowed"


def test_it_is_around_handlers_that_are_registered_later(opened: Callable[..., JobQueue]) -> None:
    notes: list[str] = []
    jq = opened(Noting("A", notes))
    jq.register("later", len)
    jq.register("later", len)  # the same function still
    assert jq.enqueue(Job(b"abc", id="1", handler="later")).result(PATIENCE) == 3
    assert "A begins 1" in notes


# ── in processes ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry", [process_middleware.Marking, process_middleware.Marking(), process_middleware.make]
)
def test_it_is_made_anew_in_a_process(opened: Callable[..., JobQueue], entry: Any) -> None:
    jq = opened(entry, handler=echo, executor="process", num_workers=1)
    assert jq.enqueue(Job(b"x")).result(PATIENCE) == (b"x", "marked")


def test_one_that_a_process_cannot_make_is_refused(opened: Callable[..., JobQueue]) -> None:
    class Local(Middleware):
        def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
            return call_next(context)

    with pytest.raises(ValueError, match=r"middleware .*Local.* could not import it by name"):
        opened(Local(), executor="process")
    with pytest.raises(TypeError, match=r"MarkingWith overrides attempt.*takes arguments"):
        opened(process_middleware.MarkingWith("this"), executor="process")


def test_one_that_has_no_part_in_attempts_may_be_any_object_with_processes(
    opened: Callable[..., JobQueue],
) -> None:
    class Local(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
            return call_next(job.with_headers({"a": "b"}))

    jq = opened(Local(), handler=echo, executor="process", start=False)
    assert dict(jq.enqueue(Job()).job.headers) == {"a": "b"}


# ── what may be in the list ──────────────────────────────────────────────────────────────────


def test_the_class_may_stand_for_the_object(opened: Callable[..., JobQueue]) -> None:
    jq = opened(process_middleware.Marking)
    assert jq.enqueue(Job(b"x")).result(PATIENCE) == (b"X", "marked")


@pytest.mark.parametrize("entry", ["Noting", object(), dict])
def test_what_is_no_middleware_is_refused(opened: Callable[..., JobQueue], entry: object) -> None:
    with pytest.raises(TypeError, match="must be a list of Middleware objects"):
        opened(entry)


def test_a_method_that_is_set_on_the_object_counts_as_overridden(
    opened: Callable[..., JobQueue],
) -> None:
    middleware = Middleware()
    middleware.attempt = lambda context, call_next: "set"  # type: ignore[method-assign]  # as some do
    assert opened(middleware).enqueue(Job()).result(PATIENCE) == "set"


def test_one_that_is_not_in_a_list_is_refused_and_told_to_be_put_into_one() -> None:
    for alone in (Middleware(), Middleware, process_middleware.make):
        with pytest.raises(TypeError, match=r"put it into a list: middleware=\[\.\.\.\]"):
            JobQueue(middleware=alone)  # type: ignore[arg-type]  # the mistake
    for other in (None, 3, "Noting"):
        with pytest.raises(TypeError, match=r"must be a list of Middleware objects, not .*write"):
            JobQueue(middleware=other)  # type: ignore[arg-type]  # the mistake


def test_one_that_cannot_be_made_without_arguments_is_refused(
    opened: Callable[..., JobQueue],
) -> None:
    with pytest.raises(TypeError, match=r"MarkingWith.* without arguments .*missing 1 required"):
        opened(process_middleware.MarkingWith)


async def _coroutine_function(*_: object) -> None: ...


def _plain_function(*_: object) -> None: ...


def _generator_function(*_: object) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("method", "function", "message"),
    [
        ("enqueue", _coroutine_function, r"write def enqueue\(self, job, call_next\)"),
        ("attempt", _coroutine_function, r"write def attempt\(.*async def aattempt\("),
        ("finished", _coroutine_function, r"write def finished\(self, info\)"),
        ("aattempt", _plain_function, r"write async def aattempt\(.*await call_next\(context\)"),
        ("enqueue", _generator_function, "without yield"),
    ],
)
def test_a_method_that_would_not_do_its_work_is_refused_when_the_queue_is_made(
    opened: Callable[..., JobQueue], method: str, function: Any, message: str
) -> None:
    mistaken = type("Mistaken", (Middleware,), {method: function})
    with pytest.raises(TypeError, match=rf"middleware Mistaken\.{method} is a .*{message}"):
        opened(mistaken())
