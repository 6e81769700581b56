"""What the queue knows of its jobs: status, handle, info, retention, dead letters."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from jobqueue.final import (
    DuplicateJobError,
    Job,
    JobHandle,
    JobInfo,
    JobQueue,
    JobQueueError,
    Priority,
    QueueClosedError,
    RejectJobError,
    Status,
    UnknownJobError,
)
from jobqueue.final.testing import ManualClock
from tests.support.queues import Attempts, Store, every_log, every_store, until, until_retried
from tests.support.records import Records
from tests.support.waiting import PATIENCE

START = 1_000_000_000.0  # where the clock of these tests stands first


def fail(payload: bytes) -> None:
    raise ValueError(payload.decode() or "boom")


def failed(jq: JobQueue, id: str, **job: Any) -> JobHandle:
    """A job that failed for good."""
    handle = jq.enqueue(Job(id=id, handler="fails", max_retries=0, **job))
    assert handle.wait(PATIENCE) is Status.FAILED
    return handle


def letters(jq: JobQueue) -> list[str]:
    return [info.id for info in jq.dead_letters()]


# ── status, handle ───────────────────────────────────────────────────────────────────────────


def test_status_follows_a_job(store: Store, clock: ManualClock) -> None:
    blocker = store.blocker()
    jq = store.open(blocker, clock=clock)
    handle = jq.enqueue(Job(id="a"), delay=1)
    seen = [jq.status("a")]
    jq.pause()
    clock.advance(1)
    seen.append(jq.status("a"))
    jq.resume()
    blocker.await_entered()
    seen.append(jq.status("a"))
    blocker.gate.set()
    seen.append(handle.wait(PATIENCE))
    assert seen == [Status.SCHEDULED, Status.QUEUED, Status.PROCESSING, Status.COMPLETED]
    assert jq.status("a") is Status.COMPLETED


@pytest.mark.parametrize("call", ["status", "handle", "info", "cancel", "requeue", "discard"])
def test_unknown_id_raises_a_key_error_that_reads_well(store: Store, call: str) -> None:
    jq = store.open(len)
    with pytest.raises(UnknownJobError) as caught:
        getattr(jq, call)("nobody")
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, JobQueueError)
    assert str(caught.value).startswith("no job 'nobody' is known")


def test_handle_of_a_live_job_stands_for_the_same_job(store: Store) -> None:
    jq = store.open(len, start=False)
    jq.enqueue(Job(b"abc", id="a"))
    handle = jq.handle("a")
    jq.start()
    assert (handle.id, handle.result(PATIENCE)) == ("a", 3)


def test_handle_of_a_job_of_an_earlier_run_follows_it(log_store: Store) -> None:
    jq = log_store.open(len, start=False)
    jq.enqueue(Job(b"abc", id="a"))
    jq.close()
    again = log_store.open(len, start=False)
    handle = again.handle("a")
    assert handle.status is Status.QUEUED
    again.start()
    assert handle.result(PATIENCE) == 3


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.CANCELLED, Status.FAILED])
def test_finished_jobs_answer_after_a_restart(log_store: Store, status: Status) -> None:
    handlers = {Status.COMPLETED: len, Status.FAILED: fail, Status.CANCELLED: len}
    jq = log_store.open(handlers[status], max_retries=0, start=False)
    handle = jq.enqueue(Job(id="a"))
    if status is Status.CANCELLED:
        handle.cancel()
    jq.start()
    handle.wait(PATIENCE)
    jq.close()
    again = log_store.open(len)
    assert again.status("a") is again.handle("a").status is status
    assert again.handle("a").wait(PATIENCE) is status
    assert again.info("a").status is status


def test_repr_of_a_handle_shows_job_and_status(memory: Store) -> None:
    assert repr(memory.open(len, start=False).enqueue(Job(id="a"))) == "<JobHandle 'a' QUEUED>"


# ── info ─────────────────────────────────────────────────────────────────────────────────────


def test_info_tells_all_of_a_job_that_waits(store: Store, clock: ManualClock) -> None:
    jq = store.open(handlers={"ship": len}, clock=clock, start=False)
    job = Job(id="a", priority=Priority.HIGH, handler="ship", headers={"trace": "7"})
    jq.enqueue(job)
    info = jq.info("a")
    assert isinstance(info, JobInfo)
    assert (info.id, info.status, info.priority) == ("a", Status.QUEUED, Priority.HIGH)
    assert (info.handler, dict(info.headers), info.retries) == ("ship", {"trace": "7"}, 0)
    assert (info.last_error, info.last_traceback) == (None, None)
    assert (info.created, info.started, info.finished) == (job.created, None, None)


def test_info_tells_when_a_job_started_and_finished(store: Store, clock: ManualClock) -> None:
    jq = store.open(lambda payload: clock.advance(3), clock=clock, start=False)
    jq.enqueue(Job(id="a"))
    clock.advance(5)
    jq.start()
    jq.handle("a").wait(PATIENCE)
    info = jq.info("a")
    assert (info.status, info.started, info.finished) == (Status.COMPLETED, START + 5, START + 8)


def test_info_tells_the_start_of_the_attempt_that_runs(store: Store, clock: ManualClock) -> None:
    blocker = store.blocker()
    jq = store.open(blocker, clock=clock)
    clock.advance(2)
    jq.enqueue(Job(id="a"))
    blocker.await_entered()
    info = jq.info("a")
    assert (info.status, info.started, info.finished) == (Status.PROCESSING, START + 2, None)


def test_info_tells_error_and_traceback_of_the_last_failure(
    store: Store, clock: ManualClock
) -> None:
    jq = store.open(Attempts(ValueError("first"), KeyError("second"), "done"), clock=clock)
    handle = until(jq.enqueue(Job(id="a")), Status.SCHEDULED)
    assert jq.info("a").last_error == "ValueError: first"
    clock.advance(1)
    until(handle, Status.SCHEDULED)
    assert jq.info("a").last_error == "KeyError: 'second'"
    clock.advance(2)
    handle.wait(PATIENCE)
    info = jq.info("a")  # completed: what went wrong before is still told
    assert (info.status, info.retries, info.last_error) == (
        Status.COMPLETED,
        2,
        "KeyError: 'second'",
    )
    assert info.last_traceback is not None
    assert info.last_traceback.startswith("Traceback (most recent call last)")
    assert info.last_traceback.endswith("KeyError: 'second'\n")
    assert "in __call__" in info.last_traceback


def test_error_without_a_message_is_told_by_its_name(memory: Store) -> None:
    jq = memory.open(Attempts(RejectJobError()))
    jq.enqueue(Job(id="a")).wait(PATIENCE)
    assert jq.info("a").last_error == "RejectJobError"


@pytest.mark.parametrize("letter", ["x", "é", "🔑"])
def test_last_traceback_is_the_last_8_kib(store: Store, letter: str) -> None:
    jq = store.open(Attempts(RejectJobError("first " + letter * 20_000 + " last")))
    jq.enqueue(Job(id="a")).wait(PATIENCE)
    trace = jq.info("a").last_traceback
    assert trace is not None
    assert 8 * 1024 - 4 < len(trace.encode()) <= 8 * 1024
    assert trace.endswith(letter + " last\n")


class BrokenError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class SurrogateError(Exception):
    """Says what UTF-8 cannot hold."""

    def __str__(self) -> str:
        return "\ud800"


@every_store
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BrokenError(), "BrokenError: <its text cannot be had: RuntimeError>"),
        (SurrogateError(), r"SurrogateError: \ud800"),
        (ValueError("a\nb\0"), "ValueError: a\nb\0"),
    ],
    ids=["no text", "lone surrogate", "control characters"],
)
def test_error_of_any_kind_can_be_told_and_persisted(
    store: Store, error: Exception, text: str
) -> None:
    jq = store.open(Attempts(error), max_retries=0)
    assert jq.enqueue(Job(id="a")).wait(PATIENCE) is Status.FAILED
    assert jq.info("a").last_error == text
    if store.kind != "memory":
        jq.close()
        assert store.open(len).info("a").last_error == text


@every_log
@pytest.mark.parametrize("ended", ["retried", "failed", "completed", "cancelled"])
def test_info_is_the_same_after_a_restart(log_store: Store, clock: ManualClock, ended: str) -> None:
    last = {"retried": None, "failed": RejectJobError("no"), "completed": "done"}.get(ended)
    attempts = Attempts(ConnectionError("down"), last or ConnectionError("gone"))
    jq = log_store.open(handlers={"a": attempts}, clock=clock, max_retries=5)
    job = Job(id="a", priority=Priority.LOW, handler="a", headers={"k": "v"})
    handle = until(jq.enqueue(job), Status.SCHEDULED)
    clock.advance(1)
    if ended in {"retried", "cancelled"}:
        until_retried(jq, "a", 2)
    if ended == "cancelled":
        handle.cancel()
    if ended != "retried":
        handle.wait(PATIENCE)
    before = jq.info("a")
    jq.close()
    after = log_store.open(handlers={"a": len}, clock=clock, start=False).info("a")
    assert after == before


# ── retention ────────────────────────────────────────────────────────────────────────────────


def test_oldest_completed_and_cancelled_jobs_are_forgotten_first(store: Store) -> None:
    jq = store.open(len, status_retention=2)
    for id in ("a", "b"):
        jq.enqueue(Job(id=id)).wait(PATIENCE)
    jq.enqueue(Job(id="c"), delay=3600).cancel()
    with pytest.raises(UnknownJobError):
        jq.status("a")
    assert (jq.status("b"), jq.status("c")) == (Status.COMPLETED, Status.CANCELLED)


def test_id_of_a_forgotten_job_is_free(store: Store) -> None:
    jq = store.open(len, status_retention=1)
    jq.enqueue(Job(id="a")).wait(PATIENCE)
    with pytest.raises(DuplicateJobError):
        jq.enqueue(Job(id="a"))
    jq.enqueue(Job(id="b")).wait(PATIENCE)
    assert jq.enqueue(Job(b"abc", id="a")).result(PATIENCE) == 3


def test_handle_outlives_the_memory_of_its_job(store: Store) -> None:
    jq = store.open(len, status_retention=1)
    handle = jq.enqueue(Job(b"abc", id="a"))
    handle.wait(PATIENCE)
    jq.enqueue(Job(id="b")).wait(PATIENCE)
    assert (handle.status, handle.wait(0), handle.result(0)) == (Status.COMPLETED,) * 2 + (3,)


def test_retention_holds_over_restarts(log_store: Store) -> None:
    jq = log_store.open(len, num_workers=1)
    for id in ("a", "b", "c"):
        jq.enqueue(Job(id=id)).wait(PATIENCE)
    jq.close()
    again = log_store.open(len, status_retention=2)
    with pytest.raises(UnknownJobError):
        again.status("a")
    assert (again.status("b"), again.status("c")) == (Status.COMPLETED, Status.COMPLETED)
    again.enqueue(Job(id="d")).wait(PATIENCE)
    with pytest.raises(UnknownJobError):
        again.status("b")


def test_failed_and_unfinished_jobs_are_not_forgotten(store: Store) -> None:
    jq = store.open(len, handlers={"fails": fail}, status_retention=1)
    failed(jq, "dead")
    jq.enqueue(Job(id="later"), delay=3600)
    for id in ("a", "b", "c"):
        jq.enqueue(Job(id=id)).wait(PATIENCE)
    assert (jq.status("dead"), jq.status("later")) == (Status.FAILED, Status.SCHEDULED)


# ── dead letters ─────────────────────────────────────────────────────────────────────────────


def test_failed_jobs_are_kept_oldest_first(store: Store) -> None:
    jq = store.open(handlers={"fails": fail})
    assert jq.dead_letters() == []
    for id in ("c", "a", "b"):
        failed(jq, id)
    assert letters(jq) == ["c", "a", "b"]
    assert jq.dead_letters()[0] == jq.info("c")
    assert jq.dead_letters()[0].last_error == "ValueError: boom"


def test_dead_letters_are_there_after_a_restart_in_the_order_of_their_failures(
    log_store: Store, clock: ManualClock
) -> None:
    jq = log_store.open(handlers={"fails": fail}, clock=clock)
    slow = until(jq.enqueue(Job(b"slow", id="slow", handler="fails")), Status.SCHEDULED)
    failed(jq, "fast", payload=b"fast")
    for seconds in (1, 2, 4):
        clock.advance(seconds)
        if seconds < 4:
            until(slow, Status.SCHEDULED)
            until_retried(jq, "slow", {1: 2, 2: 3}[seconds])
    slow.wait(PATIENCE)
    before = jq.dead_letters()
    assert [info.id for info in before] == ["fast", "slow"]
    jq.close()
    again = log_store.open(handlers={"fails": len}, clock=clock)
    assert again.dead_letters() == before
    assert again.requeue("slow").result(PATIENCE) == 4  # with its payload


@every_store
def test_requeued_job_runs_anew_with_its_retries_back_at_0(
    store: Store, clock: ManualClock
) -> None:
    attempts = Attempts(ValueError("1"), ValueError("2"), ValueError("3"), "done")
    jq = store.open(attempts, clock=clock, max_retries=1)
    handle = until(jq.enqueue(Job(b"x", id="a")), Status.SCHEDULED)
    clock.advance(1)
    assert handle.wait(PATIENCE) is Status.FAILED
    again = until(jq.requeue("a"), Status.SCHEDULED)  # it failed once more, and is retried
    assert jq.info("a").retries == 1
    clock.advance(1)
    assert again.result(PATIENCE) == "done"
    assert [context.attempt for context in attempts.contexts] == [0, 1, 0, 1]
    assert jq.dead_letters() == []


def test_requeued_job_is_queued_after_a_restart(log_store: Store) -> None:
    jq = log_store.open(handlers={"fails": fail})
    failed(jq, "a", payload=b"abc")
    jq.pause()
    jq.requeue("a")
    jq.close()
    again = log_store.open(handlers={"fails": len}, start=False)
    handle = again.handle("a")
    assert (handle.status, again.info("a").retries, again.dead_letters()) == (Status.QUEUED, 0, [])
    again.start()
    assert handle.result(PATIENCE) == 3


def test_requeued_job_waits_for_its_handler_where_that_is_missing(log_store: Store) -> None:
    jq = log_store.open(handlers={"fails": fail})
    failed(jq, "a")
    jq.close()
    again = log_store.open()
    handle = again.requeue("a")
    assert handle.status is Status.QUEUED
    again.register("fails", len)
    assert handle.result(PATIENCE) == 0


def test_handle_from_before_a_requeue_follows_the_job(store: Store) -> None:
    attempts = Attempts(ValueError("first"), "done")
    jq = store.open(attempts, max_retries=0)
    old = jq.enqueue(Job(id="a"))
    assert old.wait(PATIENCE) is Status.FAILED
    jq.pause()
    new = jq.requeue("a")
    assert old.status is Status.QUEUED
    jq.resume()
    assert new.result(PATIENCE) == "done"
    assert (old.status, old.wait(PATIENCE)) == (Status.COMPLETED, Status.COMPLETED)
    assert old.result(PATIENCE) == "done"  # and not the error of the run before


@every_store
def test_discarded_job_is_unknown_and_its_id_is_free(store: Store) -> None:
    jq = store.open(len, handlers={"fails": fail})
    handle = failed(jq, "a")
    assert jq.discard("a") is None  # type: ignore[func-returns-value]  # that is what is tested
    for ask in (jq.status, jq.info, jq.handle, jq.requeue, jq.discard):
        with pytest.raises(UnknownJobError):
            ask("a")
    assert (jq.dead_letters(), handle.status) == ([], Status.FAILED)
    assert jq.enqueue(Job(b"abc", id="a")).result(PATIENCE) == 3


def test_handle_of_a_discarded_job_tells_nothing_of_a_later_one_with_its_id(store: Store) -> None:
    jq = store.open(len, handlers={"fails": fail})
    old = failed(jq, "a")
    jq.discard("a")
    jq.enqueue(Job(b"abc", id="a")).wait(PATIENCE)
    assert old.status is Status.FAILED


def test_discarded_job_stays_so_after_a_restart(log_store: Store) -> None:
    jq = log_store.open(handlers={"fails": fail})
    failed(jq, "a")
    jq.discard("a")
    jq.close()
    with pytest.raises(UnknownJobError):
        log_store.open(len).status("a")


@pytest.mark.parametrize("call", ["requeue", "discard"])
@pytest.mark.parametrize("status", [s for s in Status if s is not Status.FAILED])
def test_only_a_failed_job_can_be_requeued_or_discarded(
    store: Store, call: str, status: Status
) -> None:
    blocker = store.blocker()
    jq = store.open(len, handlers={"held": blocker})
    if status in {Status.QUEUED, Status.CANCELLED}:
        jq.pause()
    handler = "held" if status is Status.PROCESSING else None
    delay = 3600.0 if status is Status.SCHEDULED else 0.0
    handle = jq.enqueue(Job(id="a", handler=handler), delay=delay)
    if status is Status.CANCELLED:
        handle.cancel()
    until(handle, status)
    with pytest.raises(ValueError, match=f"'a' is {status.value}"):
        getattr(jq, call)("a")
    assert handle.status is status


@every_store
def test_closed_queue_requeues_and_discards_nothing(store: Store) -> None:
    jq = store.open(handlers={"fails": fail})
    failed(jq, "a")
    jq.close()
    for call in (jq.requeue, jq.discard):
        with pytest.raises(QueueClosedError):
            call("a")
    assert (jq.status("a"), letters(jq)) == (Status.FAILED, ["a"])


# ── max_dead_letters ─────────────────────────────────────────────────────────────────────────


@every_store
def test_oldest_dead_letter_goes_with_a_warning_when_there_are_too_many(
    store: Store, records: Records
) -> None:
    jq = store.open(handlers={"fails": fail}, max_dead_letters=2, num_workers=1)
    for id in ("a", "b", "c"):
        failed(jq, id)
    assert letters(jq) == ["b", "c"]
    with pytest.raises(UnknownJobError):
        jq.status("a")
    for _ in range(3):
        assert "failed" in records.next().getMessage()
    warning = records.next()
    assert warning.levelno == logging.WARNING
    assert "'a' was dropped" in warning.getMessage()
    assert "max_dead_letters" in warning.getMessage()


def test_the_error_for_a_dropped_dead_letter_names_the_setting_that_it_was_dropped_by(
    memory: Store,
) -> None:
    jq = memory.open(handlers={"fails": fail}, max_dead_letters=1)
    for id in ("a", "b"):
        failed(jq, id)
    with pytest.raises(UnknownJobError, match="or dead letters than max_dead_letters"):
        jq.requeue("a")


def test_dropped_dead_letter_stays_dropped_after_a_restart(log_store: Store) -> None:
    jq = log_store.open(handlers={"fails": fail}, max_dead_letters=2)
    for id in ("a", "b", "c"):
        failed(jq, id)
    jq.close()
    assert letters(log_store.open(max_dead_letters=10)) == ["b", "c"]


def test_requeued_job_that_fails_again_is_the_youngest_dead_letter(store: Store) -> None:
    jq = store.open(handlers={"fails": fail}, max_dead_letters=2)
    failed(jq, "a")
    failed(jq, "b")
    assert jq.requeue("a").wait(PATIENCE) is Status.FAILED
    failed(jq, "c")
    assert letters(jq) == ["a", "c"]


def test_restart_with_a_smaller_limit_keeps_the_youngest_dead_letters(
    log_store: Store, records: Records
) -> None:
    jq = log_store.open(handlers={"fails": fail})
    for id in ("a", "b", "c"):
        failed(jq, id)
    jq.close()
    records.rest()
    again = log_store.open(max_dead_letters=1)
    assert letters(again) == ["c"]
    assert "dropped" in records.next().getMessage()
    again.close()
    assert letters(log_store.open()) == ["c"]
