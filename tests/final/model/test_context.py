"""What code that runs in an attempt can ask, and tell, of it."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from jobqueue.final import Job, JobContext, Progress, RejectJobError, Status, current_job
from tests.support.handlers import in_thread
from tests.support.queues import Attempts, Store
from tests.support.records import Records
from tests.support.waiting import PATIENCE

# ── current_job ──────────────────────────────────────────────────────────────────────────────


def test_outside_of_a_handler_there_is_no_current_job(memory: Store) -> None:
    memory.open(len).enqueue(Job()).wait(PATIENCE)
    assert current_job() is None


def test_a_plain_handler_and_what_it_calls_know_the_job(memory: Store) -> None:
    def deeper() -> tuple[str, int]:
        context = current_job()
        assert context is not None
        assert context is current_job()
        return context.job.id, context.attempt

    jq = memory.open(lambda payload: deeper(), num_workers=1)
    handles = [jq.enqueue(Job(id=id)) for id in "ab"]
    assert [handle.result(PATIENCE) for handle in handles] == [("a", 0), ("b", 0)]


def test_a_handler_that_takes_the_context_finds_the_same_one(memory: Store) -> None:
    def same(payload: bytes, context: JobContext) -> bool:
        return current_job() is context

    assert memory.open(same).enqueue(Job()).result(PATIENCE) is True


def test_a_plain_handler_can_be_told_to_stop(memory: Store) -> None:
    entered = threading.Event()

    def wait(payload: bytes) -> None:
        context = current_job()
        assert context is not None
        entered.set()
        assert context.wait(PATIENCE)
        assert context.cancelled
        raise ValueError("stopped")

    handle = memory.open(wait).enqueue(Job())
    assert entered.wait(PATIENCE)
    handle.cancel()
    assert handle.wait(PATIENCE) is Status.CANCELLED


def test_a_cancel_that_came_before_a_plain_handler_asked_is_seen(memory: Store) -> None:
    gate, entered = threading.Event(), threading.Event()

    def ask(payload: bytes) -> bool:
        entered.set()
        assert gate.wait(PATIENCE)
        context = current_job()
        return context is not None and context.cancelled

    handle = memory.open(ask).enqueue(Job())
    assert entered.wait(PATIENCE)
    handle.cancel()
    gate.set()
    assert handle.result(PATIENCE) is True


def test_a_coroutine_that_a_handler_runs_knows_the_job(memory: Store) -> None:
    async def ask() -> str | None:
        context = current_job()
        return None if context is None else context.job.id

    jq = memory.open(lambda payload: asyncio.run(ask()))
    assert jq.enqueue(Job(id="a")).result(PATIENCE) == "a"


def test_a_thread_with_a_copy_of_the_handlers_context_belongs_to_the_attempt(
    memory: Store,
) -> None:
    def start(payload: bytes, context: JobContext) -> tuple[bool, bool]:
        copy = contextvars.copy_context()
        within = in_thread(copy.run, current_job).result(PATIENCE)
        without = in_thread(current_job).result(PATIENCE)
        return within is context, without is None

    assert memory.open(start).enqueue(Job()).result(PATIENCE) == (True, True)


def test_a_callback_of_a_job_belongs_to_no_attempt(memory: Store) -> None:
    seen: list[object] = []
    jq = memory.open(lambda payload: current_job(), start=False, num_workers=1)
    first, second = jq.enqueue(Job()), jq.enqueue(Job())
    first.add_done_callback(lambda _: seen.append(current_job()))
    jq.start()
    second.wait(PATIENCE)
    assert seen == [None]


# ── progress ─────────────────────────────────────────────────────────────────────────────────


def test_progress_is_read_through_the_handle_and_the_queue(memory: Store) -> None:
    told, gate = threading.Event(), threading.Event()

    def work(payload: bytes, context: JobContext) -> None:
        for done in range(4):
            context.progress(done, 10, "reading")
        told.set()
        assert gate.wait(PATIENCE)

    jq = memory.open(work)
    handle = jq.enqueue(Job(id="a"))
    assert told.wait(PATIENCE)
    assert handle.progress == Progress(3, 10, "reading") == jq.info("a").progress
    gate.set()
    handle.wait(PATIENCE)
    assert handle.progress == Progress(3, 10, "reading") == jq.info("a").progress
    assert jq.handle("a").progress == Progress(3, 10, "reading")


def test_no_progress_is_none(memory: Store) -> None:
    jq = memory.open(len, start=False)
    handle = jq.enqueue(Job(id="a"))
    assert handle.progress is None
    assert jq.info("a").progress is None


def test_the_progress_of_a_failed_job_stays_until_it_is_requeued(
    memory: Store,
) -> None:
    def work(payload: bytes, context: JobContext) -> None:
        if not told:
            context.progress(1.5)
            told.append(True)
        raise RejectJobError("no")

    told: list[bool] = []
    jq = memory.open(work)
    handle = jq.enqueue(Job(id="a"))
    handle.wait(PATIENCE)
    assert handle.progress == Progress(1.5, None, "") == jq.info("a").progress
    (letter,) = jq.dead_letters()
    assert letter.progress == Progress(1.5)
    jq.pause()
    jq.requeue("a")
    assert handle.progress is None


@pytest.mark.parametrize("what", [("1",), (1, "2"), (1, 2, 3), (None,), (True,)])
def test_what_is_no_progress_is_refused(memory: Store, what: tuple[object, ...]) -> None:
    jq = memory.open(lambda payload, context: context.progress(*what), max_retries=0)
    with pytest.raises(TypeError, match="a progress's"):
        jq.enqueue(Job()).result(PATIENCE)


# ── the logger ───────────────────────────────────────────────────────────────────────────────


def test_records_of_the_contexts_logger_carry_job_task_and_attempt(
    memory: Store, records: Records
) -> None:
    def work(payload: bytes, context: JobContext) -> None:
        context.logger.warning("at %s", "work")
        if context.attempt == 0:
            raise ValueError("boom")

    jq = memory.open(handlers={"mail": work}, base_delay=0)
    jq.enqueue(Job(id="a", handler="mail")).wait(PATIENCE)
    told = [each for each in records.rest() if each.name == "jobqueue.job"]
    assert [each.getMessage() for each in told] == ["at work"] * 2
    assert [
        (vars(each)["job_id"], vars(each)["task_name"], vars(each)["attempt"]) for each in told
    ] == [("a", "mail", 0), ("a", "mail", 1)]


def test_what_a_call_of_the_contexts_logger_says_besides_is_in_its_record(
    memory: Store, records: Records
) -> None:
    def work(payload: bytes, context: JobContext) -> None:
        context.logger.warning("refunded", extra={"cents": 250, "job_id": "another"})

    memory.open(work).enqueue(Job(id="a")).wait(PATIENCE)
    (told,) = (each for each in records.rest() if each.name == "jobqueue.job")
    assert (vars(told)["cents"], vars(told)["job_id"]) == (250, "a")


def test_a_retry_tells_its_own_attempt(memory: Store) -> None:
    attempts = Attempts(ValueError("1"), "done")
    seen: list[int] = []

    def work(payload: bytes) -> object:
        context = current_job()
        assert context is not None
        seen.append(context.attempt)
        return attempts(payload, context)

    assert memory.open(work, base_delay=0).enqueue(Job()).result(PATIENCE) == "done"
    assert seen == [0, 1]
