"""`jobs`: looking at all jobs that are known, page by page."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobqueue.final import (
    Attempt,
    Config,
    DuplicateJobError,
    Job,
    JobInfo,
    JobQueue,
    Priority,
    RejectJobError,
    Status,
    UnknownJobError,
)
from jobqueue.final.callers import looking
from jobqueue.final.core.order import Block, Walk
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.queues import Attempts, Store, every_log, until, until_retried
from tests.support.waiting import PATIENCE

EPOCH = 1_000_000_000.0


def ids(infos: list[JobInfo]) -> list[str]:
    return [each.id for each in infos]


def rejects(_payload: bytes) -> None:
    raise RejectJobError("no such customer")


def pages(jq: JobQueue, size: int, **filters: Any) -> list[str]:
    """All jobs, page by page."""
    found: list[str] = []
    before = None
    while page := jq.jobs(limit=size, before=before, **filters):
        assert len(page) <= size
        found += ids(page)
        before = found[-1]
    return found


# --- order and pages ------------------------------------------------------------------------------


def test_the_newest_jobs_come_first(memory: Store) -> None:
    jq = memory.open(len, start=False)
    for n in range(5):
        jq.enqueue(Job(id=str(n), priority=Priority(n % 3)), delay=n % 2)

    assert ids(jq.jobs()) == ["4", "3", "2", "1", "0"]
    assert ids(jq.jobs(limit=2)) == ["4", "3"]
    assert ids(jq.jobs(limit=2, before="3")) == ["2", "1"]
    assert jq.jobs(before="0") == []


def test_each_job_is_on_one_page(memory: Store) -> None:
    jq = memory.open(len, start=False, queue_size=10_000)
    jq.enqueue_many([Job(id=str(n)) for n in range(1000)])

    assert pages(jq, 7) == [str(n) for n in reversed(range(1000))]
    assert pages(jq, 1000) == [str(n) for n in reversed(range(1000))]


def test_jobs_keep_their_place_when_they_end_or_are_requeued(memory: Store) -> None:
    jq = memory.open(len, handlers={"rejects": rejects}, num_workers=1)
    for n in range(3):
        jq.enqueue(Job(id=str(n), handler="rejects" if n == 0 else None)).wait(PATIENCE)
    jq.pause()
    assert ids(jq.jobs()) == ["2", "1", "0"]

    jq.requeue("0")

    assert ids(jq.jobs()) == ["2", "1", "0"]


@every_log
def test_jobs_keep_their_place_in_a_restart(log_store: Store) -> None:
    with log_store.open(len, handlers={"rejects": rejects}, num_workers=1) as jq:
        for n in range(300):
            handler = "rejects" if n % 3 == 0 else None
            last = jq.enqueue(Job(id=str(n), handler=handler), delay=3600 * (n % 3 == 1))
        assert last.wait(PATIENCE)
        jq.pause()
        before = ids(jq.jobs(limit=1000))
    assert before == [str(n) for n in reversed(range(300))]

    again = log_store.open(len, start=False)

    assert pages(again, 50) == before


def test_what_is_forgotten_is_not_told_of(memory: Store) -> None:
    jq = memory.open(len, handlers={"rejects": rejects}, status_retention=2, num_workers=1)
    for n in range(5):
        jq.enqueue(Job(id=str(n))).wait(PATIENCE)
    jq.enqueue(Job(id="dead", handler="rejects")).wait(PATIENCE)
    jq.discard("dead")

    assert ids(jq.jobs()) == ["4", "3"]
    with pytest.raises(UnknownJobError, match="'0'"):
        jq.jobs(before="0")


def test_an_id_that_is_used_again_stands_at_its_new_place(memory: Store) -> None:
    jq = memory.open(len, status_retention=1, num_workers=1)
    for job_id in ("again", "other"):
        jq.enqueue(Job(id=job_id)).wait(PATIENCE)
    jq.pause()
    for n in range(5):
        jq.enqueue(Job(id=str(n)))
    jq.enqueue(Job(id="again"))

    assert ids(jq.jobs()) == ["again", "4", "3", "2", "1", "0", "other"]
    assert ids(jq.jobs(before="0")) == ["other"]


def test_an_id_that_is_used_again_during_a_look_is_not_told_of_at_its_old_place(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = memory.open(handlers={"rejects": rejects}, num_workers=1)
    jq.enqueue(Job(id="again", handler="rejects")).wait(PATIENCE)
    jq.pause()
    jq.enqueue_many([Job(id=str(n), handler="rejects") for n in range(150)])
    slices = iter(range(9))

    def between_slices(_mutex: object) -> None:
        if next(slices) == 2:  # in the middle of the oldest block
            jq.discard("again")
            jq.enqueue(Job(id="again", handler="rejects"))

    monkeypatch.setattr(looking, "let_others_first", between_slices)

    assert ids(jq.jobs(limit=1000)) == [str(n) for n in reversed(range(150))]


@pytest.mark.usefixtures("no_tracer")
@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_the_order_holds_what_is_known_and_nothing_else(seed: int) -> None:
    choose = random.Random(seed)
    with JobQueue(
        Config(status_retention=40, max_dead_letters=5, max_retries=0),
        handlers={"ok": len, "rejects": rejects},
    ) as jq:
        accepted: list[str] = []
        first_look = choose.randrange(600)
        for n in range(600):
            if n == first_look:
                jq.jobs(limit=1)
            job_id = str(n if choose.random() < 0.9 else choose.randrange(n + 1))
            name = choose.choice(["ok", "ok", "rejects", "nobody"])
            try:
                handle = jq.enqueue(Job(id=job_id, handler=name))
            except DuplicateJobError:
                continue
            if choose.random() < 0.2:
                handle.cancel()
            if job_id in accepted:
                accepted.remove(job_id)
            accepted.append(job_id)
        assert jq.join(PATIENCE)
        with insides.mutex(jq):
            insides.check_order(jq)
        found = pages(jq, 13)
        assert found == [each for each in reversed(accepted) if each in set(found)]


def test_what_happens_during_the_first_look_is_seen(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = memory.open(handlers={"rejects": rejects}, num_workers=1, max_retries=0)
    for n in range(4):
        jq.enqueue(Job(id=str(n), handler="rejects")).wait(PATIENCE)
    jq.pause()
    jq.enqueue_many([Job(id=str(n), handler="rejects") for n in range(4, 8)])

    def meanwhile() -> None:
        if jq.status("1") is Status.FAILED:
            jq.requeue("1")
            jq.discard("2")
            jq.enqueue(Job(id="2", handler="rejects"))
            jq.discard("3")
            jq.cancel("5")
            jq.enqueue(Job(id="new", handler="rejects"))

    insides.during_first_look(monkeypatch, meanwhile)

    assert pages(jq, 2) == ["new", "2", "7", "6", "5", "4", "1", "0"]
    with insides.mutex(jq):
        insides.check_order(jq)


def test_a_job_that_is_requeued_as_the_first_look_begins_is_not_missed(memory: Store) -> None:
    jq = memory.open(handlers={"rejects": rejects}, num_workers=1, max_retries=0)
    jq.enqueue(Job(id="0", handler="rejects")).wait(PATIENCE)
    jq.pause()

    class Requeueing(dict[str, Any]):
        """Has the job go to where has been looked already."""

        def __iter__(self) -> Iterator[str]:
            if "0" in self:
                jq.requeue("0")
            return super().__iter__()

    insides.watch_dead_letters(jq, Requeueing)

    assert pages(jq, 1) == ["0"]


def test_a_look_holds_the_mutex_for_a_slice_at_a_time(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = memory.open(len, start=False, queue_size=10_000)
    jq.enqueue_many([Job(id=str(n)) for n in range(2000)])
    counts: list[int] = []
    really_next = Walk.next

    def counted(walk: Walk, count: int) -> tuple[Block, list[str]] | None:
        found = really_next(walk, count)
        counts.append(0 if found is None else len(found[1]))
        return found

    monkeypatch.setattr(Walk, "next", counted)

    assert jq.jobs(text="not there") == []

    assert sum(counts) == 2000
    assert max(counts) <= 64


# --- filters --------------------------------------------------------------------------------------


@pytest.fixture
def jq(memory: Store) -> JobQueue:
    jq = memory.open(len, handlers={"rejects": rejects, "mail": len}, num_workers=1, max_retries=0)
    jq.enqueue(Job(b"first", id="done", handler="mail", key="anna")).wait(PATIENCE)
    jq.enqueue(
        Job("für anna".encode(), id="dead", handler="rejects", headers={"trace": "7f3a"})
    ).wait(PATIENCE)
    jq.pause()
    jq.enqueue(Job(b"\xff", id="high", priority=Priority.HIGH, key="bert"))
    jq.enqueue(Job(id="later"), delay=3600)
    return jq


FILTERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a status": ({"status": Status.FAILED}, ["dead"]),
    "its text": ({"status": "scheduled"}, ["later"]),
    "several": ({"status": ["queued", Status.COMPLETED]}, ["high", "done"]),
    "a handler": ({"handler": "mail"}, ["done"]),
    "a priority": ({"priority": Priority.HIGH}, ["high"]),
    "a key": ({"key": "anna"}, ["done"]),
    "an error": ({"error": "RejectJobError"}, ["dead"]),
    "a part of its name": ({"error": "Reject"}, []),
    "text in an id": ({"text": "ate"}, ["later"]),
    "text in a payload": ({"text": "für"}, ["dead"]),
    "text in a header": ({"text": "7f3"}, ["dead"]),
    "text in a key": ({"text": "ber"}, ["high"]),
    "text in an error": ({"text": "such customer"}, ["dead"]),
    "text in a payload that is gone": ({"text": "first"}, []),
    "two": ({"status": "failed", "handler": "mail"}, []),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_leaves_those_that_fit(jq: JobQueue, name: str) -> None:
    filters, expected = FILTERS[name]

    assert ids(jq.jobs(**filters)) == expected
    assert pages(jq, 1, **filters) == expected


def test_a_text_that_is_rare_is_found_however_many_jobs_stand_before_it(memory: Store) -> None:
    jq = memory.open(len, start=False, queue_size=10_000)
    jq.enqueue(Job(b"needle", id="oldest"))
    jq.enqueue_many([Job(b"hay") for _ in range(500)])

    assert ids(jq.jobs(text="needle", limit=1)) == ["oldest"]
    assert len(jq.jobs(text="hay", limit=3)) == 3


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "status": ({"status": "done"}, ValueError, "status must be one of 'queued'"),
    "no status": ({"status": 3}, TypeError, "status must be a Status"),
    "a list of none": ({"status": [3]}, TypeError, "a status must be a Status"),
    "handler": ({"handler": ""}, ValueError, "handler must have 1 to 255"),
    "priority": ({"priority": 7}, ValueError, "priority must be Priority.HIGH"),
    "key": ({"key": 1}, TypeError, "key must be text"),
    "error": ({"error": ValueError}, TypeError, "error must be text"),
    "text": ({"text": b"x"}, TypeError, "text must be text"),
    "limit": ({"limit": 0}, ValueError, "limit must be 1 or more"),
    "no limit": ({"limit": 1.5}, TypeError, "limit must be a whole number"),
    "before": ({"before": 1}, TypeError, "a job's id is text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_named(memory: Store, name: str) -> None:
    filters, kind, message = WRONG[name]
    jq = memory.open(len, start=False)

    with pytest.raises(kind, match=message):
        jq.jobs(**filters)


# --- what is told ---------------------------------------------------------------------------------


def test_the_payload_is_told_until_the_queue_lets_go_of_it(jq: JobQueue) -> None:
    payloads = {each.id: each.payload for each in jq.jobs()}

    assert payloads == {"done": None, "dead": "für anna".encode(), "high": b"\xff", "later": b""}
    assert jq.info("dead").payload == "für anna".encode()


def test_a_scheduled_job_tells_when_it_is_due(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(len, start=False, clock=clock)
    jq.enqueue(Job(id="a"), delay=90.0)
    clock.advance(30.0)

    assert jq.info("a").due == EPOCH + 90.0
    clock.advance(60.0)
    assert jq.info("a").due is None


def test_a_stored_result_is_told(memory: Store) -> None:
    jq = memory.open(len)
    jq.enqueue(Job(b"abc", id="kept", store_result=True)).wait(PATIENCE)

    assert [each.result for each in jq.jobs()] == [3]


def attempts_of(jq: JobQueue, job_id: str) -> list[tuple[int, float | None, float | None, Any]]:
    attempts = jq.info(job_id).attempts
    assert attempts == jq.jobs(text=job_id)[0].attempts
    return [(each.number, each.started, each.finished, each.error) for each in attempts]


def test_each_attempt_is_told_with_its_times_and_its_error(
    memory: Store, clock: ManualClock
) -> None:
    def takes_two_seconds(_payload: bytes) -> None:
        clock.advance(2.0)
        if clock.time() < EPOCH + 4.0:
            raise ValueError("boom")

    jq = memory.open(takes_two_seconds, clock=clock, num_workers=1)
    jq.enqueue(Job(id="a"))
    until_retried(jq, "a", 1)
    clock.advance(1.0)
    assert jq.handle("a").wait(PATIENCE) is Status.COMPLETED

    assert attempts_of(jq, "a") == [
        (0, EPOCH, EPOCH + 2.0, "ValueError: boom"),
        (1, EPOCH + 3.0, EPOCH + 5.0, None),
    ]


def test_an_attempt_that_goes_on_is_told_without_an_end(memory: Store, clock: ManualClock) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker, clock=clock)
    jq.enqueue(Job(id="a"))
    blocker.await_entered()

    assert jq.info("a").attempts == (Attempt(0, EPOCH),)


def test_the_last_attempt_of_a_failed_job_is_the_one_that_failed_it(
    memory: Store, clock: ManualClock
) -> None:
    jq = memory.open(
        Attempts(ValueError("first"), RejectJobError("last")), clock=clock, num_workers=1
    )
    handle = jq.enqueue(Job(id="a"))
    until_retried(jq, "a", 1)
    clock.advance(1.0)
    handle.wait(PATIENCE)

    assert [(each.number, each.error) for each in jq.info("a").attempts] == [
        (0, "ValueError: first"),
        (1, "RejectJobError: last"),
    ]


def test_a_job_that_was_cancelled_while_it_waited_tells_of_what_had_failed(
    memory: Store, clock: ManualClock
) -> None:
    jq = memory.open(Attempts(ValueError("boom")), clock=clock)
    jq.enqueue(Job(id="a"))
    until_retried(jq, "a", 1)
    jq.cancel("a")
    jq.pause()
    jq.enqueue(Job(id="never run"))
    jq.cancel("never run")

    assert [each.error for each in jq.info("a").attempts] == ["ValueError: boom"]
    assert jq.info("never run").attempts == ()


def test_a_job_that_gave_up_when_asked_to_tells_of_that_attempt(
    memory: Store, clock: ManualClock
) -> None:
    blocker = memory.blocker(ValueError("gave up"))
    jq = memory.open(blocker, clock=clock)
    handle = jq.enqueue(Job(id="a"))
    blocker.await_entered()
    handle.cancel()
    blocker.gate.set()
    assert handle.wait(PATIENCE) is Status.CANCELLED

    assert attempts_of(jq, "a") == [(0, EPOCH, EPOCH, "ValueError: gave up")]


def fail_times(store: Store, times: int, clock: ManualClock) -> JobQueue:
    """A queue whose job "a" has failed so many times, a second after the other."""
    jq = store.open(
        Attempts(*(ValueError(str(n)) for n in range(times + 1))),
        clock=clock,
        max_retries=100,
        max_delay=1.0,
        num_workers=1,
    )
    jq.enqueue(Job(id="a"))
    for n in range(1, times + 1):
        until_retried(jq, "a", n)
        if n < times:
            clock.advance(1.0)
    return jq


def test_the_last_ten_attempts_are_told(memory: Store, clock: ManualClock) -> None:
    jq = fail_times(memory, 12, clock)

    assert [each.number for each in jq.info("a").attempts] == list(range(2, 12))


RESTARTS: dict[str, Callable[[Store], object]] = {
    "a restart": lambda _store: None,
    "a compaction": Store.compact,
}


@pytest.mark.parametrize("restart", RESTARTS)
def test_attempts_are_told_after_a_restart(
    log_store: Store, clock: ManualClock, restart: str
) -> None:
    jq = fail_times(log_store, 12, clock)
    told = jq.info("a")
    jq.close(drain=False)
    RESTARTS[restart](log_store)

    again = log_store.open(len, clock=clock, start=False)

    assert again.info("a").attempts == told.attempts
    assert again.info("a").last_traceback == told.last_traceback


@pytest.mark.parametrize("restart", RESTARTS)
@pytest.mark.parametrize("end", ["completed", "failed", "gave up", "cancelled"])
def test_attempts_of_what_has_ended_are_told_after_a_restart(
    log_store: Store, clock: ManualClock, restart: str, end: str
) -> None:
    blocker = log_store.blocker(ValueError("gave up") if end == "gave up" else None)
    last = {"completed": None, "failed": RejectJobError("last")}.get(end)
    attempts = Attempts(ValueError("first"), last)
    jq = log_store.open(
        lambda payload, context: (blocker if context.attempt and end == "gave up" else attempts)(
            payload, context
        ),
        clock=clock,
        num_workers=1,
    )
    handle = jq.enqueue(Job(id="a"))
    until_retried(jq, "a", 1)
    if end == "cancelled":
        handle.cancel()
    clock.advance(1.0)
    if end == "gave up":
        blocker.await_entered()
        handle.cancel()
        blocker.gate.set()
    assert handle.wait(PATIENCE).value in {end, "cancelled"}
    told = jq.info("a")
    assert len(told.attempts) == (1 if end == "cancelled" else 2)
    jq.close(drain=False)
    RESTARTS[restart](log_store)

    assert log_store.open(len, clock=clock, start=False).info("a") == told


@pytest.mark.parametrize("restart", RESTARTS)
def test_a_job_that_never_started_has_no_attempts_after_a_restart_either(
    log_store: Store, clock: ManualClock, restart: str
) -> None:
    jq = log_store.open(len, handlers={"rejects": rejects}, clock=clock, start=False)
    jq.enqueue(Job(id="expired", expires=5))
    jq.enqueue(Job(id="after it", after=["expired"]))
    clock.advance(6)
    assert jq.handle("after it").wait(PATIENCE) is Status.CANCELLED
    told = [jq.info("expired"), jq.info("after it")]
    assert [each.attempts for each in told] == [(), ()]
    assert [each.last_error for each in told] == [
        "expired after 5 s",
        "job 'expired', which it waits for, was cancelled",
    ]
    jq.close(drain=False)
    RESTARTS[restart](log_store)

    again = log_store.open(len, clock=clock, start=False)

    assert [again.info("expired"), again.info("after it")] == told


def test_a_requeued_job_begins_anew(memory: Store) -> None:
    jq = memory.open(handlers={"rejects": rejects}, num_workers=1)
    jq.enqueue(Job(id="a", handler="rejects")).wait(PATIENCE)
    jq.pause()
    jq.requeue("a")

    assert jq.info("a").attempts == ()


def test_a_look_goes_on_while_jobs_come_and_go(memory: Store) -> None:
    jq = memory.open(len, num_workers=2, queue_size=100, status_retention=300)
    jq.pause()
    kept = [jq.enqueue(Job(id=f"kept {n}"), delay=3600).id for n in range(50)]
    jq.resume()
    producing = in_thread(lambda: [jq.enqueue(Job(id=str(n))) for n in range(3000)])
    while not producing.done():
        found = pages(jq, 1000, status=Status.SCHEDULED)
        assert found == kept[::-1]
    until(producing.result(PATIENCE)[-1], Status.COMPLETED)
