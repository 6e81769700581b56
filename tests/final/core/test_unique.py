"""Unique jobs: of those that are alike there is one at a time, whatever comes between."""

from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    DuplicateJobError,
    EnqueueTimeoutError,
    Job,
    JobCancelledError,
    JobHandle,
    JobQueue,
    Limit,
    LogWriteError,
    Priority,
    Status,
    Unique,
)
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.crash_check import on_disk
from tests.support.disk_tree import Tree
from tests.support.handlers import Recorder, in_thread
from tests.support.queues import Attempts, Store, every_log, every_store, until, until_blocked
from tests.support.recording_files import EMPTY_DISK, LOG, RecordingFiles
from tests.support.ties import check_rest, check_whole
from tests.support.waiting import PATIENCE, eventually

THREADS = 1000


def unique_job(payload: bytes = b"", **options: Any) -> Job:
    """A job for "work", about "k", unique by its handler and key unless that is said otherwise."""
    told: dict[str, Any] = {"handler": "work", "key": "k", "unique": Unique()} | options
    return Job(payload, **told)


def open_waiting(store: Store, **settings: Any) -> JobQueue:
    """A queue whose jobs wait: it is not started."""
    return store.open(handlers={"work": len, "other": len}, start=False, **settings)


# ── which jobs are alike ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("by", "other", "is_alike"),
    [
        ("handler+key", {}, True),
        ("handler+key", {"payload": b"another"}, True),
        ("handler+key", {"handler": "other"}, False),
        ("handler+key", {"key": "another"}, False),
        ("handler+payload", {}, True),
        ("handler+payload", {"key": "another"}, True),
        ("handler+payload", {"key": None}, True),
        ("handler+payload", {"payload": b"another"}, False),
        ("handler+payload", {"handler": "other"}, False),
        ("key", {}, True),
        ("key", {"handler": "other"}, True),
        ("key", {"payload": b"another"}, True),
        ("key", {"key": "another"}, False),
    ],
)
def test_jobs_are_alike_by_what_they_say(
    memory: Store, by: Any, other: dict[str, Any], is_alike: bool
) -> None:
    jq = open_waiting(memory)
    first = jq.enqueue(unique_job(unique=Unique(by=by)))

    second = jq.enqueue(unique_job(**{"unique": Unique(by=by)} | other))

    assert second.existing is is_alike
    assert (second.id == first.id) is is_alike
    assert jq.metrics().queued == 2 - is_alike
    check_whole(jq)


def test_jobs_that_are_unique_by_other_things_are_not_alike(memory: Store) -> None:
    jq = open_waiting(memory)
    for by in ("handler+key", "handler+payload", "key"):
        assert not jq.enqueue(unique_job(unique=Unique(by=by))).existing


def test_a_job_that_is_not_unique_is_like_no_other(memory: Store) -> None:
    jq = open_waiting(memory)
    jq.enqueue(unique_job(unique=None))
    assert not jq.enqueue(unique_job()).existing
    assert not jq.enqueue(unique_job(unique=None)).existing


def test_the_priority_is_no_part_of_what_jobs_are(memory: Store) -> None:
    jq = open_waiting(memory)
    jq.enqueue(unique_job(priority=Priority.LOW))
    assert jq.enqueue(unique_job(priority=Priority.HIGH)).existing


# ── how long ─────────────────────────────────────────────────────────────────────────────────


@every_store
def test_one_is_not_added_while_another_is_queued_scheduled_or_running(store: Store) -> None:
    blocker = store.blocker()
    jq = store.open(handlers={"work": blocker}, num_workers=1)
    delayed = jq.enqueue(unique_job(key="delayed"), delay=3600.0)
    running = jq.enqueue(unique_job())
    blocker.await_entered()
    queued = jq.enqueue(unique_job(key="queued"))

    for first, status in [
        (delayed, Status.SCHEDULED),
        (running, Status.PROCESSING),
        (queued, Status.QUEUED),
    ]:
        second = jq.enqueue(unique_job(key=first.job.key))
        assert (second.id, second.status) == (first.id, status)
    assert jq.metrics().enqueued == 3
    check_whole(jq)


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled", "expired", "discarded"])
def test_once_it_has_ended_another_one_is_added(
    memory: Store, clock: ManualClock, outcome: str
) -> None:
    attempts = Attempts(ValueError() if outcome in ("failed", "discarded") else None)
    jq = memory.open(handlers={"work": attempts}, start=False, max_retries=0, clock=clock)
    first = jq.enqueue(unique_job(expires=5.0))
    if outcome == "cancelled":
        first.cancel()
    elif outcome == "expired":
        clock.advance(5.0)
    else:
        jq.start()
    first.wait(PATIENCE)
    if outcome == "discarded":
        jq.discard(first.id)

    second = jq.enqueue(unique_job(), delay=3600.0)

    assert not second.existing
    assert second.id != first.id
    check_whole(jq)


def test_until_finished_counts_all_retries(memory: Store, clock: ManualClock) -> None:
    attempts = Attempts(ValueError(), None)
    jq = memory.open(handlers={"work": attempts}, clock=clock)
    first = until(jq.enqueue(unique_job()), Status.SCHEDULED)

    assert jq.enqueue(unique_job()).existing

    clock.advance(1.0)
    assert first.wait(PATIENCE) is Status.COMPLETED
    assert not jq.enqueue(unique_job()).existing
    check_rest(jq) if jq.join(PATIENCE) else pytest.fail("it does not come to rest")


@every_store
def test_until_started_another_one_is_added_while_the_first_runs(store: Store) -> None:
    blocker = store.blocker()
    jq = store.open(handlers={"work": blocker}, num_workers=1)
    unique = Unique(until="started")
    first = jq.enqueue(unique_job(unique=unique))
    blocker.await_entered()

    second = jq.enqueue(unique_job(unique=unique))
    third = jq.enqueue(unique_job(unique=unique))

    assert not second.existing
    assert (third.id, third.existing) == (second.id, True)
    check_whole(jq)
    blocker.gate.set()
    assert jq.join(PATIENCE)
    assert (first.status, second.status) == (Status.COMPLETED, Status.COMPLETED)
    check_rest(jq)


def test_until_started_a_retry_is_not_counted(memory: Store, clock: ManualClock) -> None:
    attempts = Attempts(ValueError(), None)
    jq = memory.open(handlers={"work": attempts}, clock=clock)
    unique = Unique(until="started")
    until(jq.enqueue(unique_job(unique=unique)), Status.SCHEDULED)

    assert not jq.enqueue(unique_job(unique=unique)).existing


# ── what becomes of the newcomer ─────────────────────────────────────────────────────────────


def test_a_handle_of_its_own_for_the_first_job_alone_says_that_it_is_existing(
    memory: Store,
) -> None:
    blocker = memory.blocker()
    jq = memory.open(handlers={"work": blocker})
    first = jq.enqueue(unique_job(b"first"))
    second = jq.enqueue(unique_job(b"second"))
    told: list[Any] = []
    second.add_done_callback(told.append)
    first.add_done_callback(told.append)

    assert (first.existing, second.existing) == (False, True)
    assert second is not first
    assert second.job is first.job
    assert second.job.payload == b"first"
    assert "existing" in repr(second)
    assert first.status is second.status
    blocker.gate.set()
    assert second.result(PATIENCE) == b"first"
    assert second.wait(0) is Status.COMPLETED
    assert jq.join(PATIENCE)
    assert eventually(lambda: set(told) == {first, second})


def test_the_existing_handle_cancels_the_first_job(memory: Store) -> None:
    jq = open_waiting(memory)
    first = jq.enqueue(unique_job())
    second = jq.enqueue(unique_job())

    assert second.cancel()

    assert first.status is Status.CANCELLED
    with pytest.raises(JobCancelledError):
        second.result(0)


@every_store
def test_raise_names_the_first_job_and_adds_none(store: Store) -> None:
    jq = open_waiting(store)
    jq.enqueue(unique_job(id="the first"))
    job = unique_job(id="the second", unique=Unique(on_conflict="raise"))

    said = r"'the second'.*'the first'.*handler\+key.*queued; Unique\(on_conflict="
    with pytest.raises(DuplicateJobError, match=said):
        jq.enqueue(job)

    jq.cancel("the first")
    assert jq.enqueue(job).status is Status.QUEUED  # its id is free
    check_whole(jq)


@every_store
def test_replace_cancels_one_that_has_not_started_and_takes_its_place(store: Store) -> None:
    jq = open_waiting(store)
    replacing = Unique(on_conflict="replace")
    queued = jq.enqueue(unique_job(b"old"))
    scheduled = jq.enqueue(unique_job(key="later"), delay=3600.0)

    new = jq.enqueue(unique_job(b"new", unique=replacing))
    newer = jq.enqueue(unique_job(key="later", unique=replacing), delay=1.0)

    assert (queued.status, scheduled.status) == (Status.CANCELLED, Status.CANCELLED)
    assert (new.existing, new.job.payload, new.status) == (False, b"new", Status.QUEUED)
    assert newer.status is Status.SCHEDULED
    assert jq.enqueue(unique_job()).id == new.id
    check_whole(jq)


@every_store
def test_replace_acts_as_existing_against_one_that_runs_or_has_run(store: Store) -> None:
    blocker = store.blocker(ValueError())
    jq = store.open(handlers={"work": blocker}, base_delay=3600.0, max_delay=3600.0)
    first = jq.enqueue(unique_job())
    blocker.await_entered()
    replacing = Unique(on_conflict="replace")

    assert jq.enqueue(unique_job(unique=replacing)).id == first.id

    blocker.gate.set()
    until(first, Status.SCHEDULED)  # to be tried again
    assert jq.enqueue(unique_job(unique=replacing)).existing
    check_whole(jq)


def test_the_on_conflict_of_the_newcomer_counts(memory: Store) -> None:
    jq = open_waiting(memory)
    first = jq.enqueue(unique_job(unique=Unique(on_conflict="raise")))
    assert jq.enqueue(unique_job(unique=Unique(on_conflict="existing"))).id == first.id
    assert not jq.enqueue(unique_job(unique=Unique(on_conflict="replace"))).existing
    assert first.status is Status.CANCELLED
    with pytest.raises(DuplicateJobError):
        jq.enqueue(unique_job(unique=Unique(on_conflict="raise")))


def test_the_default_is_handler_and_key_until_finished_and_existing() -> None:
    assert Unique() == Unique("handler+key", "finished", "existing")


def test_callbacks_and_waiters_of_a_job_that_is_replaced_are_told(memory: Store) -> None:
    jq = open_waiting(memory)
    first = jq.enqueue(unique_job())
    told = threading.Event()
    first.add_done_callback(lambda _: told.set())
    waiting = in_thread(first.wait, PATIENCE)

    jq.enqueue(unique_job(unique=Unique(on_conflict="replace")))

    assert told.wait(PATIENCE)
    assert waiting.result(PATIENCE) is Status.CANCELLED


# ── room ─────────────────────────────────────────────────────────────────────────────────────


def test_replace_takes_the_place_also_in_a_full_lane(memory: Store) -> None:
    jq = open_waiting(memory, queue_size=1)
    first = jq.enqueue(unique_job())

    jq.enqueue(unique_job(unique=Unique(on_conflict="replace")), timeout=0)

    assert first.status is Status.CANCELLED
    with pytest.raises(EnqueueTimeoutError):
        jq.enqueue(Job(handler="work"), timeout=0)
    check_whole(jq)


def test_replace_cancels_nothing_before_there_is_room_for_the_newcomer(memory: Store) -> None:
    jq = open_waiting(memory, queue_size=1)
    first = jq.enqueue(unique_job(priority=Priority.LOW))
    filler = jq.enqueue(Job(handler="work"))
    newcomer = unique_job(unique=Unique(on_conflict="replace"))

    with pytest.raises(EnqueueTimeoutError):
        jq.enqueue(newcomer, timeout=0)
    assert first.status is Status.QUEUED

    waiting = in_thread(jq.enqueue, newcomer)
    until_blocked(jq)
    filler.cancel()
    assert waiting.result(PATIENCE).status is Status.QUEUED
    assert jq.status(first.id) is Status.CANCELLED
    check_whole(jq)


def test_one_that_waits_for_room_looks_again_for_one_like_it(memory: Store) -> None:
    # 1. A finds none like it, and no room. 2. B, like it, comes where there is room. 3. A looks.
    jq = open_waiting(memory, queue_size=1)
    filler = jq.enqueue(Job(handler="work"))
    waiting = in_thread(jq.enqueue, unique_job())
    until_blocked(jq)
    other = jq.enqueue(unique_job(priority=Priority.HIGH))

    filler.cancel()

    assert waiting.result(PATIENCE).id == other.id
    check_whole(jq)


def test_an_existing_one_needs_no_room(memory: Store) -> None:
    jq = open_waiting(memory, queue_size=1)
    first = jq.enqueue(unique_job())
    assert jq.enqueue(unique_job(), timeout=0).id == first.id


# ── many at once ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("on_conflict", ["existing", "raise", "replace"])
def test_of_a_thousand_threads_at_once_one_adds_a_job(memory: Store, on_conflict: Any) -> None:
    """Fault 86 of docs/reliability.md."""
    jq = open_waiting(memory, queue_size=2)
    ready = threading.Barrier(THREADS)

    def enqueue(_: int) -> str | None:
        ready.wait(PATIENCE)
        try:
            handle = jq.enqueue(unique_job(unique=Unique(on_conflict=on_conflict)))
        except DuplicateJobError:
            return None
        return None if handle.existing else handle.id

    with ThreadPoolExecutor(THREADS) as threads:
        added = [each for each in threads.map(enqueue, range(THREADS)) if each is not None]

    metrics = jq.metrics()
    assert metrics.queued == 1
    assert len(added) == (THREADS if on_conflict == "replace" else 1)
    assert metrics.enqueued == len(added) == metrics.cancelled + 1
    check_whole(jq)


@every_log
def test_each_of_those_that_get_the_first_has_it_at_the_level_of_the_log(log_store: Store) -> None:
    jq = open_waiting(log_store)
    with ThreadPoolExecutor(16) as threads:
        handles = list(threads.map(lambda n: jq.enqueue(unique_job(key=str(n // 8))), range(64)))
    ids = {handle.id for handle in handles}
    assert len(ids) == 8
    jq.close(PATIENCE)

    again = open_waiting(log_store)
    assert {again.status(each) for each in ids} == {Status.QUEUED}
    check_whole(again)


def test_in_one_call_of_many_too(store: Store) -> None:
    jq = open_waiting(store)
    jobs = [unique_job(b"1"), unique_job(b"2"), unique_job(key="other"), Job(handler="work")]

    handles = jq.enqueue_many(jobs)

    assert [each.existing for each in handles] == [False, True, False, False]
    assert handles[0].id == handles[1].id
    replaced = jq.enqueue_many([unique_job(unique=Unique(on_conflict="replace"))] * 1)
    assert handles[0].status is Status.CANCELLED
    assert not replaced[0].existing
    check_whole(jq)


def test_one_that_raises_in_a_call_of_many_is_told_with_those_accepted(memory: Store) -> None:
    jq = open_waiting(memory)
    jq.enqueue(unique_job())
    jobs = [Job(id="a", handler="work"), unique_job(unique=Unique(on_conflict="raise"))]

    with pytest.raises(DuplicateJobError) as told:
        jq.enqueue_many(jobs)

    known = {handle.id for handle in told.value.accepted}
    assert known == ({"a"} if insides.status_map(jq).live.get("a") else set())
    check_whole(jq)


# ── restarts ─────────────────────────────────────────────────────────────────────────────────


@every_log
def test_after_a_restart_a_job_that_waits_is_unique_still(log_store: Store) -> None:
    jq = open_waiting(log_store)
    kinds = [Unique(by=by, until=until) for by in ("handler+key", "key", "handler+payload")
             for until in ("finished", "started")][::2]  # fmt: skip
    firsts = [jq.enqueue(unique_job(unique=unique)) for unique in kinds]
    jq.close(PATIENCE)

    again = open_waiting(log_store)

    for unique, first in zip(kinds, firsts, strict=True):
        assert again.enqueue(unique_job(unique=unique)).id == first.id
        job = again.handle(first.id).job
        assert (job.unique, job.key) == (Unique(unique.by, unique.until), "k")
    check_whole(again)


def test_after_a_restart_one_that_has_started_is_unique_only_until_finished(
    log_store: Store,
) -> None:
    def fails(_payload: bytes) -> None:
        raise ValueError

    jq = log_store.open(handlers={"work": fails}, base_delay=3600.0, max_delay=3600.0)
    unique = Unique(until="started")
    started = until(jq.enqueue(unique_job(unique=unique)), Status.SCHEDULED)
    finished = until(jq.enqueue(unique_job()), Status.SCHEDULED)
    jq.close(PATIENCE)

    again = open_waiting(log_store)

    assert again.enqueue(unique_job()).id == finished.id
    assert again.enqueue(unique_job(unique=Unique("key", "started"))).existing is False
    assert started.id in insides.status_map(again).live
    check_whole(again)


@every_log
def test_after_a_restart_what_was_replaced_does_not_run(log_store: Store) -> None:
    jq = open_waiting(log_store)
    old = jq.enqueue(unique_job(b"old"))
    new = jq.enqueue(unique_job(b"new", unique=Unique(on_conflict="replace")))
    jq.close(PATIENCE)
    recorder = Recorder()

    again = log_store.open(handlers={"work": recorder})

    assert again.join(PATIENCE)
    assert recorder.ids() == [new.id]
    assert again.status(old.id) is Status.CANCELLED
    check_rest(again)


# ── dead letters ─────────────────────────────────────────────────────────────────────────────


def test_a_requeued_job_is_unique_again_if_there_is_none_like_it(store: Store) -> None:
    def fails(_payload: bytes) -> None:
        raise ValueError

    jq = store.open(handlers={"work": fails}, max_retries=0)
    first = jq.enqueue(unique_job())
    assert first.wait(PATIENCE) is Status.FAILED
    jq.pause()
    requeued = jq.requeue(first.id)
    assert jq.enqueue(unique_job()).id == requeued.id
    check_whole(jq)

    requeued.cancel()
    other = jq.enqueue(unique_job())
    assert not other.existing
    check_whole(jq)


def test_a_requeued_job_that_meets_one_like_it_runs_beside_it(memory: Store) -> None:
    attempts = Attempts(ValueError(), None)
    jq = memory.open(handlers={"work": attempts}, max_retries=0)
    first = jq.enqueue(unique_job())
    assert first.wait(PATIENCE) is Status.FAILED
    jq.pause()
    second = jq.enqueue(unique_job())
    requeued = jq.requeue(first.id)
    check_whole(jq)

    requeued.cancel()

    assert jq.enqueue(unique_job()).id == second.id
    jq.resume()
    assert second.wait(PATIENCE) is Status.COMPLETED
    assert jq.join(PATIENCE)
    check_rest(jq)


@pytest.mark.parametrize("durability", ["write", "fsync"])
def test_a_job_that_could_not_be_requeued_is_not_unique(durability: Any) -> None:
    def fails(_payload: bytes) -> None:
        raise ValueError

    files = RecordingFiles(Tree(EMPTY_DISK), maps=False, sync_seconds=0)
    config = Config(persist_path=LOG, durability=durability, max_retries=0)
    with on_disk(files):
        jq = JobQueue(config, handlers={"work": fails})
    with jq:
        first = jq.enqueue(unique_job())
        assert first.wait(PATIENCE) is Status.FAILED
        jq.flush()
        jq.pause()
        files.inject = lambda _call: errno.ENOSPC
        with pytest.raises(LogWriteError):
            jq.requeue(first.id)
        files.inject = None

        assert jq.status(first.id) is Status.FAILED
        second = eventually_enqueued(jq, unique_job())
        assert not second.existing
        check_whole(jq)


def eventually_enqueued(jq: JobQueue, job: Job) -> JobHandle:
    """Enqueue it once the log has found that there is space again."""
    handles: list[JobHandle] = []

    def is_accepted() -> bool:
        try:
            handles.append(jq.enqueue(job))
        except LogWriteError:
            return False
        return True

    eventually(is_accepted)
    return handles[0]


# ── together with limits ─────────────────────────────────────────────────────────────────────


def test_one_that_waits_for_a_limit_is_replaced(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open()
    jq.register("work", blocker, limit=Limit(1))
    jq.enqueue(unique_job(key="other"))
    blocker.await_entered()
    first = jq.enqueue(unique_job())
    jq.metrics()  # has it step aside

    second = jq.enqueue(unique_job(unique=Unique(on_conflict="replace")))

    assert first.status is Status.CANCELLED
    check_whole(jq)
    blocker.gate.set()
    assert second.wait(PATIENCE) is Status.COMPLETED
    assert jq.join(PATIENCE)
    check_rest(jq)
