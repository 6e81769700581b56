from __future__ import annotations

import asyncio
import errno
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    DuplicateJobError,
    EnqueueCancelledError,
    EnqueueTimeoutError,
    Job,
    JobContext,
    JobHandle,
    JobQueue,
    JobQueueError,
    LogWriteError,
    Priority,
    QueueClosedError,
    Status,
    UnknownHandlerError,
    UnknownJobError,
)
from jobqueue.final.callers import admission
from jobqueue.final.life import recovery
from jobqueue.final.runtime.parking import Parker
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.faulty_files import FaultyFiles
from tests.support.handlers import Recorder, in_thread
from tests.support.queues import Store, every_store, fill, until, until_blocked
from tests.support.waiting import PATIENCE, eventually

HIGH, MEDIUM, LOW = Priority


def jobs(*ids: str) -> list[Job]:
    return [Job(id=id) for id in ids]


def ids(handles: Any) -> list[str]:
    return [handle.id for handle in handles]


def full(store: Store, **settings: Any) -> JobQueue:
    """A queue with one worker, held by a job of the full lane's priority, and one place, taken.

    The worker is let go by `start`: it is not started yet.
    """
    jq = store.open(Recorder(), start=False, num_workers=1, queue_size=1, **settings)
    jq.enqueue(Job(id="first"))
    return jq


# ── enqueue ──────────────────────────────────────────────────────────────────────────────────


def test_enqueue_returns_a_handle_of_a_job_that_is_queued(store: Store) -> None:
    jq = store.open(len, start=False)
    handle = jq.enqueue(Job(b"abc", id="a"))
    assert isinstance(handle, JobHandle)
    assert (handle.id, handle.status, jq.status("a")) == ("a", Status.QUEUED, Status.QUEUED)


@every_store
def test_enqueued_job_runs_once_with_its_payload(store: Store) -> None:
    recorder = Recorder()
    jq = store.open(recorder)
    assert jq.enqueue(Job(b"\0\xffabc", id="a")).result(PATIENCE) == b"\0\xffabc"
    assert recorder.ids() == ["a"]


def test_jobs_of_one_lane_run_in_the_order_of_their_acceptance(store: Store) -> None:
    recorder = Recorder()
    jq = store.open(recorder, num_workers=1)
    names = [str(n) for n in range(50)]
    for name in names:
        jq.enqueue(Job(id=name))
    assert jq.join(PATIENCE)
    assert recorder.ids() == names


def fail(payload: bytes) -> None:
    raise ConnectionError(payload.decode())


@every_store
@pytest.mark.parametrize("status", list(Status), ids=lambda status: status.value)
def test_known_id_is_refused_whatever_became_of_its_job(store: Store, status: Status) -> None:
    handlers: dict[str, Callable[..., object]] = {
        "done": len,
        "held": store.blocker(),
        "fails": fail,
    }
    jq = store.open(handlers=handlers, max_retries=0)
    handler = {Status.PROCESSING: "held", Status.FAILED: "fails"}.get(status, "done")
    if status in {Status.QUEUED, Status.CANCELLED}:
        jq.pause()
    delay = 3600.0 if status is Status.SCHEDULED else 0.0
    handle = jq.enqueue(Job(id="a", handler=handler), delay=delay)
    if status is Status.CANCELLED:
        handle.cancel()
    until(handle, status)
    with pytest.raises(DuplicateJobError, match=f"'a' is already known .{status.value}") as caught:
        jq.enqueue(Job(id="a", handler="done"))
    assert isinstance(caught.value, ValueError)


def test_known_id_is_refused_after_a_restart_too(log_store: Store) -> None:
    jq = log_store.open(len)
    jq.enqueue(Job(id="done")).wait(PATIENCE)
    jq.close()
    again = log_store.open(len)
    with pytest.raises(DuplicateJobError):
        again.enqueue(Job(id="done"))


@pytest.mark.parametrize("what", ["job", None, b"payload", {"id": "a"}, 7])
def test_what_is_no_job_is_a_type_error(store: Store, what: Any) -> None:
    jq = store.open(len)
    with pytest.raises(TypeError, match="only a Job can be enqueued"):
        jq.enqueue(what)
    with pytest.raises(TypeError, match="only a Job can be enqueued"):
        jq.enqueue_many([Job(), what])
    assert jq.metrics().enqueued == 0


@pytest.mark.parametrize("what", [Job(), 7, None])
def test_what_is_no_list_of_jobs_is_refused_with_what_to_write(memory: Store, what: Any) -> None:
    async def awaited() -> None:
        await jq.aenqueue_many(what)

    def held_back(_: bytes, context: JobContext) -> None:
        context.enqueue_many(what)

    jq = memory.open(held_back, max_retries=0)
    calls: list[Callable[[], object]] = [
        lambda: jq.enqueue_many(what),
        lambda: jq.enqueue_together(what),
        lambda: asyncio.run(awaited()),
        lambda: jq.enqueue(Job()).result(PATIENCE),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"jobs must be a list of Job, as in \[job\], not "):
            call()


def test_job_of_a_subclass_is_a_job(store: Store) -> None:
    class Order(Job):
        pass

    assert store.open(len).enqueue(Order(b"abc")).result(PATIENCE) == 3


def test_payload_over_the_limit_is_refused_with_its_size(store: Store) -> None:
    """Fault 23 of docs/reliability.md."""
    jq = store.open(len, max_payload_bytes=10)
    assert jq.enqueue(Job(b"x" * 10, id="a")).result(PATIENCE) == 10
    with pytest.raises(ValueError, match="11 bytes"):
        jq.enqueue(Job(b"x" * 11, id="b"))
    with pytest.raises(ValueError, match="11 bytes"):
        jq.enqueue_many([Job(id="c"), Job(b"x" * 11, id="b")])
    with pytest.raises(UnknownJobError):
        jq.status("c")


@pytest.mark.parametrize("name", ["timeout", "delay"])
@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf], ids=lambda v: f"{v}"[:9])
def test_seconds_that_cannot_be_waited_are_refused(memory: Store, name: str, value: float) -> None:
    jq = memory.open(len)
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name} must be a finite number"):
        jq.enqueue(Job(), **arguments)


@pytest.mark.parametrize("value", ["1", True, [1]])
def test_what_is_no_number_of_seconds_is_refused(memory: Store, value: Any) -> None:
    jq = memory.open(len)
    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        jq.enqueue(Job(), timeout=value)
    with pytest.raises(TypeError, match="delay must be a number of seconds"):
        jq.enqueue(Job(), delay=value)
    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        jq.enqueue_many([], timeout=value)


def one_of_two(jq: JobQueue, job: Job) -> JobHandle:
    return jq.enqueue_many([job, Job(handler="fails")])[0]


@pytest.mark.parametrize("enqueue", [JobQueue.enqueue, one_of_two], ids=["one", "many"])
def test_a_job_that_two_queues_have_is_counted_in_each_apart(
    store: Store, memory: Store, enqueue: Callable[[JobQueue, Job], JobHandle]
) -> None:
    job = Job(handler="fails", max_retries=1)
    first = store.open(handlers={"fails": fail}, base_delay=0)
    second = memory.open(handlers={"fails": fail}, base_delay=60)
    mine, other = enqueue(first, job), enqueue(second, job)
    assert mine.wait(PATIENCE) is Status.FAILED
    until(other, Status.SCHEDULED)

    third = memory.open(handlers={"fails": len}, start=False)
    copy = enqueue(third, job).job

    assert (mine.job.retries, other.job.retries, copy.retries) == (1, 1, 0)
    assert first.info(job.id).retries == 1
    assert (copy.id, copy.handler, copy.max_retries) == (job.id, "fails", 1)


# ── backpressure ─────────────────────────────────────────────────────────────────────────────


@every_store
def test_backpressure_blocks_a_producer_until_a_job_leaves_the_full_lane(store: Store) -> None:
    jq = full(store)
    blocked = in_thread(jq.enqueue, Job(id="second"))
    until_blocked(jq)
    assert not blocked.done()
    jq.start()
    assert blocked.result(PATIENCE).wait(PATIENCE) is Status.COMPLETED


def test_full_lane_holds_up_no_other_lane(store: Store) -> None:
    jq = full(store)
    for priority in (HIGH, LOW):
        jq.enqueue(Job(priority=priority), timeout=0)
        with pytest.raises(EnqueueTimeoutError, match=priority.name):
            jq.enqueue(Job(priority=priority), timeout=0)


def test_lane_takes_as_many_jobs_as_its_size(store: Store) -> None:
    jq = store.open(len, start=False, queue_size=7)
    fill(jq, 7)
    with pytest.raises(EnqueueTimeoutError):
        fill(jq, 1)


def test_many_blocked_producers_all_get_their_turn(store: Store) -> None:
    jq = full(store)
    blocked = [in_thread(jq.enqueue, Job()) for _ in range(10)]
    until_blocked(jq, 10)
    jq.start()
    assert {future.result(PATIENCE).wait(PATIENCE) for future in blocked} == {Status.COMPLETED}
    assert jq.metrics().completed == 11


@every_store
def test_cancelling_a_queued_job_makes_room_for_a_blocked_producer(store: Store) -> None:
    jq = full(store)
    blocked = in_thread(jq.enqueue, Job(id="second"))
    until_blocked(jq)
    jq.cancel("first")
    assert blocked.result(PATIENCE).status is Status.QUEUED


def test_retries_and_requeued_jobs_take_no_room(store: Store, clock: ManualClock) -> None:
    jq = store.open(
        handlers={"fails": fail}, clock=clock, num_workers=1, queue_size=1, max_retries=1
    )
    retried = until(jq.enqueue(Job(handler="fails")), Status.SCHEDULED)
    failed = jq.enqueue(Job(handler="fails", max_retries=0))
    failed.wait(PATIENCE)
    jq.pause()
    clock.advance(1)
    jq.requeue(failed.id)
    assert (retried.status, jq.status(failed.id)) == (Status.QUEUED, Status.QUEUED)
    jq.enqueue(Job(handler="fails"), timeout=0)
    with pytest.raises(EnqueueTimeoutError):
        jq.enqueue(Job(handler="fails"), timeout=0)


def test_replayed_jobs_take_no_room(log_store: Store) -> None:
    jq = log_store.open(len, start=False, queue_size=3)
    fill(jq, 3)
    jq.close()
    again = log_store.open(len, start=False, queue_size=1)
    assert again.metrics().queued == 3
    fill(again, 1)
    with pytest.raises(EnqueueTimeoutError):
        fill(again, 1)


# ── timeout ──────────────────────────────────────────────────────────────────────────────────


@every_store
def test_full_lane_raises_when_the_timeout_has_passed(store: Store) -> None:
    jq = full(store)
    begin = time.monotonic()
    with pytest.raises(EnqueueTimeoutError, match=r"stayed full for 0\.02 s") as caught:
        jq.enqueue(Job(id="x"), timeout=0.02)
    assert time.monotonic() - begin >= 0.02
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, JobQueueError)
    assert caught.value.accepted == ()


def test_job_that_was_not_accepted_never_runs_and_its_id_is_free(store: Store) -> None:
    jq = full(store)
    with pytest.raises(EnqueueTimeoutError):
        jq.enqueue(Job(b"not", id="x"), timeout=0)
    with pytest.raises(UnknownJobError):
        jq.status("x")
    jq.start()
    assert jq.enqueue(Job(b"second", id="x"), timeout=PATIENCE).result(PATIENCE) == b"second"
    assert jq.metrics().enqueued == jq.metrics().completed == 2


def test_timeout_of_zero_accepts_where_there_is_room(store: Store) -> None:
    assert store.open(len).enqueue(Job(), timeout=0).result(PATIENCE) == 0


def test_timeout_holds_on_real_time_also_with_a_manual_clock(
    store: Store, clock: ManualClock
) -> None:
    jq = full(store, clock=clock)
    with pytest.raises(EnqueueTimeoutError):
        jq.enqueue(Job(), timeout=0.01)


def test_producer_that_gave_up_passes_its_turn_on(memory: Store) -> None:
    jq = full(memory)
    impatient = in_thread(jq.enqueue, Job(), timeout=0.01)
    patient = in_thread(jq.enqueue, Job(id="patient"))
    with pytest.raises(EnqueueTimeoutError):
        impatient.result(PATIENCE)
    until_blocked(jq, 1)
    jq.start()
    assert patient.result(PATIENCE).wait(PATIENCE) is Status.COMPLETED


# ── cancel ───────────────────────────────────────────────────────────────────────────────────


def test_blocked_call_is_cancelled_by_its_event(store: Store) -> None:
    jq = full(store)
    cancel = threading.Event()
    blocked = in_thread(jq.enqueue, Job(id="x"), cancel=cancel)
    until_blocked(jq)
    cancel.set()
    with pytest.raises(EnqueueCancelledError, match="'x' was not accepted"):
        blocked.result(PATIENCE)
    with pytest.raises(UnknownJobError):
        jq.status("x")


def test_blocked_call_looks_at_its_event_often_enough_for_50_ms(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = full(memory)
    cancel = threading.Event()
    slept: list[float | None] = []

    class Impatient(Parker):
        def park(self, seconds: float | None = None) -> bool:
            slept.append(seconds)
            if len(slept) == 3:
                cancel.set()
            return super().park(0.0001)

    monkeypatch.setattr(admission, "Parker", Impatient)
    for timeout in (None, 60.0):
        slept.clear()
        cancel.clear()
        with pytest.raises(EnqueueCancelledError):
            jq.enqueue(Job(), cancel=cancel, timeout=timeout)
        assert len(slept) == 3
        assert all(seconds is not None and seconds <= 0.04 for seconds in slept)


def test_blocked_call_is_cancelled_within_50_ms(memory: Store) -> None:
    jq = full(memory)

    def delay_of_one() -> float:
        cancel = threading.Event()

        def give_up() -> float:
            with pytest.raises(EnqueueCancelledError):
                jq.enqueue(Job(), cancel=cancel)
            return time.monotonic()

        blocked = in_thread(give_up)
        until_blocked(jq)
        set_at = time.monotonic()
        cancel.set()
        ended: float = blocked.result(PATIENCE)
        return ended - set_at

    # A busy machine may be late now and then, but not always.
    assert any(delay_of_one() < 0.05 for _ in range(20))


def test_event_that_is_set_before_does_not_matter_where_there_is_room(store: Store) -> None:
    cancel = threading.Event()
    cancel.set()
    assert store.open(len).enqueue(Job(), cancel=cancel).result(PATIENCE) == 0


@pytest.mark.parametrize("no_event", [True, threading.Event])
def test_what_is_no_event_is_refused_also_where_there_is_room(
    memory: Store, no_event: object
) -> None:
    jq = memory.open(len)
    with pytest.raises(TypeError, match=r"cancel must be an event, as threading\.Event\(\)"):
        jq.enqueue(Job(), cancel=no_event)  # type: ignore[arg-type]  # the wrong type is the point
    assert jq.metrics().enqueued == 0


def test_event_that_is_set_before_ends_a_call_that_would_block(store: Store) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(EnqueueCancelledError):
        full(store).enqueue(Job(), cancel=cancel)


def test_call_with_an_event_is_accepted_when_room_comes(store: Store) -> None:
    jq = full(store)
    blocked = in_thread(jq.enqueue, Job(), cancel=threading.Event(), timeout=PATIENCE)
    until_blocked(jq)
    jq.start()
    assert blocked.result(PATIENCE).wait(PATIENCE) is Status.COMPLETED


def test_timeout_ends_a_call_whose_event_is_never_set(store: Store) -> None:
    with pytest.raises(EnqueueTimeoutError):
        full(store).enqueue(Job(), cancel=threading.Event(), timeout=0.03)


# ── delay ────────────────────────────────────────────────────────────────────────────────────


@every_store
def test_delayed_job_takes_no_room_and_runs_no_earlier_than_asked(
    store: Store, clock: ManualClock
) -> None:
    jq = store.open(len, clock=clock, queue_size=1)
    jq.pause()
    fill(jq, 1)
    handle = jq.enqueue(Job(b"abc", id="a"), delay=10, timeout=0)
    assert jq.status("a") is Status.SCHEDULED
    clock.advance(9.999)
    assert jq.status("a") is Status.SCHEDULED
    clock.advance(0.001)
    assert jq.status("a") is Status.QUEUED
    jq.resume()
    assert handle.result(PATIENCE) == 3


def test_delayed_job_runs_on_real_time(store: Store) -> None:
    jq = store.open(lambda payload: time.monotonic())
    begin = time.monotonic()
    handle = jq.enqueue(Job(), delay=0.02)
    ran = handle.result(PATIENCE)
    assert isinstance(ran, float)
    assert ran - begin >= 0.02


# ── closed ───────────────────────────────────────────────────────────────────────────────────


@every_store
def test_closed_queue_refuses(store: Store) -> None:
    jq = store.open(len)
    jq.close()
    calls: list[Callable[[], object]] = [
        lambda: jq.enqueue(Job()),
        lambda: jq.enqueue(Job(), delay=1),
        lambda: jq.enqueue_many([Job()]),
        lambda: jq.enqueue_with_handler(Job(), print),
    ]
    for call in calls:
        with pytest.raises(QueueClosedError) as caught:
            call()
        assert isinstance(caught.value, RuntimeError)


@every_store
def test_close_refuses_a_blocked_producer(store: Store) -> None:
    jq = full(store)
    blocked = in_thread(jq.enqueue, Job(id="x"))
    until_blocked(jq)
    jq.close()
    with pytest.raises(QueueClosedError):
        blocked.result(PATIENCE)


# ── enqueue_many ─────────────────────────────────────────────────────────────────────────────


@every_store
def test_many_are_accepted_in_their_order(store: Store) -> None:
    recorder = Recorder()
    jq = store.open(recorder, num_workers=1)
    names = [str(n) for n in range(20)]
    handles = jq.enqueue_many(jobs(*names))
    assert ids(handles) == names
    assert jq.join(PATIENCE)
    assert recorder.ids() == names


def test_many_may_be_none_or_come_from_an_iterator(store: Store) -> None:
    jq = store.open(len)
    assert jq.enqueue_many([]) == []
    assert len(jq.enqueue_many(Job() for _ in range(3))) == 3


def test_many_are_one_batch_of_the_log(log_store: Store) -> None:
    jq = log_store.open(len, start=False)
    jq.flush()
    before = jq.metrics().log
    jq.enqueue_many([Job(b"x" * 1000) for _ in range(500)])
    jq.flush()
    after = jq.metrics().log
    assert before is not None
    assert after is not None
    assert after.batches - before.batches == 1


def test_many_of_different_priorities_go_to_their_lanes(store: Store) -> None:
    jq = store.open(len, start=False)
    jq.enqueue_many([Job(priority=HIGH), Job(priority=LOW), Job(priority=HIGH)])
    by_priority = jq.metrics().by_priority
    assert [by_priority[each].queued for each in Priority] == [2, 0, 1]


def test_many_with_a_known_id_are_refused_as_a_whole(store: Store) -> None:
    jq = store.open(len, start=False)
    jq.enqueue(Job(id="known"))
    with pytest.raises(DuplicateJobError, match="'known'") as caught:
        jq.enqueue_many(jobs("a", "b", "known", "c"))
    assert list(caught.value.accepted) == []
    assert jq.metrics().enqueued == 1
    jq.enqueue_many(jobs("a", "b", "c"))  # their ids are free


def test_many_with_a_repeated_id_are_refused_as_a_whole(store: Store) -> None:
    jq = store.open(len, start=False)
    with pytest.raises(DuplicateJobError, match=r"'b' stands more than once.* an id of its own"):
        jq.enqueue_many(jobs("a", "b", "c", "b"))
    assert jq.metrics().enqueued == 0


def test_many_without_a_handler_are_refused_as_a_whole(store: Store) -> None:
    jq = store.open(handlers={"a": len})
    with pytest.raises(UnknownHandlerError):
        jq.enqueue_many([Job(handler="a"), Job()])
    assert jq.metrics().enqueued == 0


def test_timeout_in_the_midst_of_many_lists_those_that_were_accepted(store: Store) -> None:
    jq = store.open(len, start=False, queue_size=2)
    with pytest.raises(EnqueueTimeoutError) as caught:
        jq.enqueue_many(jobs("a", "b", "c", "d"), timeout=0)
    assert ids(caught.value.accepted) == ["a", "b"]
    with pytest.raises(UnknownJobError):
        jq.status("c")
    jq.start()
    assert [handle.wait(PATIENCE) for handle in caught.value.accepted] == [Status.COMPLETED] * 2
    assert jq.join(PATIENCE)
    assert jq.metrics().completed == jq.metrics().enqueued == 2


def test_many_stop_at_the_first_that_finds_no_room(store: Store) -> None:
    jq = store.open(len, start=False, queue_size=1)
    mixed = [Job(id="a"), Job(id="b"), Job(id="c", priority=HIGH)]
    with pytest.raises(EnqueueTimeoutError) as caught:
        jq.enqueue_many(mixed, timeout=0)
    assert ids(caught.value.accepted) == ["a"]
    assert jq.metrics().enqueued == 1


@every_store
def test_many_more_than_the_lane_holds_are_accepted_as_room_comes(store: Store) -> None:
    recorder = Recorder()
    jq = store.open(recorder, start=False, num_workers=1, queue_size=3)
    names = [str(n) for n in range(20)]
    blocked = in_thread(jq.enqueue_many, jobs(*names), timeout=PATIENCE)
    until_blocked(jq)
    jq.start()
    assert ids(blocked.result(PATIENCE)) == names
    assert jq.join(PATIENCE)
    assert recorder.ids() == names


def test_timeout_of_many_is_for_all_of_them_together(store: Store) -> None:
    """Each job that finds room does not start the time anew."""
    blocker = store.blocker()
    jq = store.open(blocker, start=False, num_workers=1, queue_size=1)
    begin = time.monotonic()
    blocked = in_thread(jq.enqueue_many, jobs("a", "b", "c"), timeout=0.1)
    until_blocked(jq)
    jq.start()
    blocker.await_entered()  # "a" made room for "b"; none comes for "c"
    error = blocked.exception(PATIENCE)
    assert isinstance(error, EnqueueTimeoutError)
    assert ids(error.accepted) == ["a", "b"]
    assert time.monotonic() - begin >= 0.1


@every_store
def test_close_in_the_midst_of_many_lists_those_that_were_accepted(store: Store) -> None:
    jq = store.open(len, start=False, queue_size=2)
    blocked = in_thread(jq.enqueue_many, jobs("a", "b", "c"))
    until_blocked(jq)
    jq.close()
    error = blocked.exception(PATIENCE)
    assert isinstance(error, QueueClosedError)
    assert ids(error.accepted) == ["a", "b"]


def test_id_that_another_thread_took_in_the_midst_of_many_lists_those_accepted(
    store: Store,
) -> None:
    jq = store.open(len, start=False, queue_size=2)
    blocked = in_thread(jq.enqueue_many, [*jobs("a", "b"), Job(id="c"), Job(id="d")])
    until_blocked(jq)
    jq.enqueue(Job(id="d", priority=HIGH))
    jq.start()
    error = blocked.exception(PATIENCE)
    assert isinstance(error, DuplicateJobError)
    assert ids(error.accepted) == ["a", "b", "c"]


def test_id_that_another_thread_took_is_refused_after_those_before_it_are_in(
    memory: Store,
) -> None:
    jq = memory.open(len, start=False, queue_size=3)
    blocked = in_thread(jq.enqueue_many, jobs("a", "b", "c", "d", "e", "taken"))
    until_blocked(jq)
    jq.enqueue(Job(id="taken", priority=HIGH))
    with insides.mutex(jq):  # room for three at once
        for handle in list(insides.status_map(jq).live.values()):
            insides.cancel(jq, handle)
    error = blocked.exception(PATIENCE)
    assert isinstance(error, DuplicateJobError)
    assert ids(error.accepted) == ["a", "b", "c", "d", "e"]


class FaultyStore(Store):
    def __init__(self, kind: str, directory: Path) -> None:
        super().__init__(kind, directory)
        self.files = FaultyFiles()


@pytest.fixture
def faulty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """A log, with an fsync for each batch, whose disk fails when it is told to."""
    store = FaultyStore("fsync", tmp_path)
    monkeypatch.setattr(recovery, "Files", lambda: store.files)
    yield store
    store.close()


def test_full_disk_refuses_many_as_a_whole_and_their_ids_are_free(
    faulty_store: FaultyStore,
) -> None:
    faulty_store.files.fail("allocate", errno.EOPNOTSUPP)  # no map: all is written call by call
    jq = faulty_store.open(len)
    faulty_store.files.fail("write", errno.ENOSPC)
    with pytest.raises(LogWriteError) as caught:
        jq.enqueue_many(jobs("a", "b"))
    assert list(caught.value.accepted) == []
    assert jq.metrics().enqueued == 0
    handles = jq.enqueue_many(jobs("a", "b"))
    assert [handle.wait(PATIENCE) for handle in handles] == [Status.COMPLETED] * 2


def test_log_that_fails_in_the_midst_of_many_lists_those_that_were_accepted(
    faulty_store: FaultyStore,
) -> None:
    jq = faulty_store.open(len, start=False, queue_size=2)
    blocked = in_thread(jq.enqueue_many, jobs("a", "b", "c"))
    until_blocked(jq)
    faulty_store.files.fail("sync", errno.EIO, for_ever=True)
    jq.start()
    error = blocked.exception(PATIENCE)
    assert isinstance(error, LogWriteError)
    assert ids(error.accepted) == ["a", "b"]
    with pytest.raises(LogWriteError) as caught:
        jq.enqueue_many(jobs("d"))
    assert list(caught.value.accepted) == []


def test_large_payloads_of_many_are_all_there(store: Store) -> None:
    payloads = [bytes([n]) * 100_000 for n in range(5)]
    jq = store.open(lambda payload: payload)
    handles = jq.enqueue_many([Job(payload) for payload in payloads])
    assert [handle.result(PATIENCE) for handle in handles] == payloads


# ── from inside a handler ────────────────────────────────────────────────────────────────────


@every_store
def test_handler_may_enqueue(store: Store) -> None:
    jq = store.open(handlers={"outer": lambda p: jq.enqueue(Job(p, handler="inner")), "inner": len})
    inner = jq.enqueue(Job(b"abc", handler="outer")).result(PATIENCE)
    assert isinstance(inner, JobHandle)
    assert inner.result(PATIENCE) == 3


@pytest.mark.parametrize("many", [False, True], ids=["enqueue", "enqueue_many"])
@every_store
def test_on_a_full_lane_a_job_of_a_handler_is_accepted_without_a_place(
    store: Store, many: bool
) -> None:
    """Fault 65 of docs/reliability.md."""
    filled = threading.Event()

    def handle(payload: bytes) -> None:
        if payload == b"outer":
            assert filled.wait(PATIENCE)
            assert jq.enqueue_many(jobs("x", "y", "z")) if many else [jq.enqueue(Job(id="x"))]
            assert len(insides.producers(jq)) == 0

    jq = store.open(handle, num_workers=1, queue_size=1, max_retries=0)
    outer = until(jq.enqueue(Job(b"outer")), Status.PROCESSING)
    jq.enqueue(Job())
    filled.set()

    assert outer.wait(PATIENCE) is Status.COMPLETED
    assert jq.handle("x").wait(PATIENCE) is Status.COMPLETED
    assert jq.join(PATIENCE)
    assert insides.lane(jq, MEDIUM).room == 1  # given back once


def test_a_handlers_job_takes_a_place_if_there_is_one(memory: Store) -> None:
    def outer(payload: bytes) -> int:
        jq.enqueue(Job(handler="held"))
        return insides.lane(jq, MEDIUM).room

    blocker = memory.blocker()
    jq = memory.open(handlers={"held": blocker, "outer": outer}, num_workers=1, queue_size=1)

    assert jq.enqueue(Job(handler="outer")).result(PATIENCE) == 0


def test_a_log_handler_that_enqueues_is_refused_no_room(memory: Store) -> None:
    """Fault 65 of docs/reliability.md."""
    accepted: list[JobHandle] = []

    class Mail(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            accepted.append(jq.enqueue(Job(id="mail", handler="mail")))

    def fail(payload: bytes) -> None:
        raise ValueError

    logger, mail = logging.getLogger("jobqueue"), Mail()
    logger.addHandler(mail)
    try:
        jq = memory.open(
            handlers={"fails": fail, "mail": len}, num_workers=1, queue_size=1, max_retries=0
        )
        jq.pause()
        jq.enqueue(Job(handler="fails"))
        jq.resume()
        assert eventually(lambda: accepted)
        assert jq.handle("mail").wait(PATIENCE) is Status.COMPLETED
        jq.close()
    finally:
        logger.removeHandler(mail)


def test_handler_in_a_thread_of_its_own_waits_as_any_producer(store: Store) -> None:
    jq = full(store)
    futures = in_thread(jq.enqueue, Job(), timeout=0.01)
    assert isinstance(futures.exception(PATIENCE), EnqueueTimeoutError)
    assert eventually(lambda: not insides.producers(jq))


def test_handler_cannot_join_or_close_its_own_queue(store: Store) -> None:
    def handle(payload: bytes) -> object:
        return jq.join() if payload == b"join" else jq.close()

    jq = store.open(handle, max_retries=0)
    for payload in (b"join", b"close"):
        with pytest.raises(RuntimeError, match="own queue"):
            jq.enqueue(Job(payload)).result(PATIENCE)
