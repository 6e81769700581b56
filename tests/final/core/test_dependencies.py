"""Jobs that wait for others: each is queued, or cancelled, once those have ended; none is left."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from jobqueue.final import (
    DuplicateJobError,
    Job,
    JobHandle,
    JobQueue,
    Priority,
    RejectJobError,
    Status,
    UnknownJobError,
)
from jobqueue.final.testing import ManualClock, run_all
from jobqueue.final.wal.format.record import Cancelled, Doomed, Enqueued, Failed, Record
from tests.support import insides
from tests.support.handlers import Recorder, in_thread
from tests.support.logs import LogDirectory, segment
from tests.support.queues import Store, every_log, every_store, until
from tests.support.ties import check_rest, check_whole, until_looked_after
from tests.support.waiting import PATIENCE, eventually

MANY = 2500


def refuses(_payload: bytes) -> None:
    raise RejectJobError("no")


def open_waiting(store: Store, **settings: Any) -> JobQueue:
    return store.open(len, handlers={"refuses": refuses}, start=False, **settings)


def end(jq: JobQueue, handle: JobHandle, how: str) -> None:
    """Have a job of a queue that is not started end in some way."""
    if how == "cancelled":
        handle.cancel()
    elif how == "expired":
        eventually(lambda: handle.status is Status.CANCELLED)
    else:
        run_all(jq)


# ── until all are completed ──────────────────────────────────────────────────────────────────


@every_store
def test_a_job_runs_when_all_those_before_it_are_completed(store: Store) -> None:
    blocker = store.blocker()
    jq = store.open(blocker, num_workers=2)
    parents = [jq.enqueue(Job(id=name)) for name in "ab"]
    child = jq.enqueue(Job(id="child", after=parents))
    blocker.await_entered(2)
    assert child.status is Status.SCHEDULED
    assert jq.metrics().scheduled == 1
    check_whole(jq)

    blocker.gate.set()

    assert child.wait(PATIENCE) is Status.COMPLETED
    assert jq.join(PATIENCE)
    check_rest(jq)
    assert [blocker.left.get(timeout=PATIENCE) for _ in range(3)][2] == "child"


def test_one_of_two_is_not_enough(memory: Store) -> None:
    jq = open_waiting(memory)
    first, second = jq.enqueue(Job()), jq.enqueue(Job(), delay=3600.0)
    child = jq.enqueue(Job(after=[first, second]))

    run_all(jq)

    assert first.status is Status.COMPLETED
    assert child.status is Status.SCHEDULED
    check_whole(jq)


def test_handles_and_ids_are_taken_and_counted_once(memory: Store) -> None:
    jq = open_waiting(memory)
    parent = jq.enqueue(Job(id="parent"))
    after: list[Any] = [parent, "parent", parent.job]
    child = jq.enqueue(Job(after=(each for each in after)))
    assert child.job.after == ("parent",)
    run_all(jq)
    assert child.status is Status.COMPLETED


def test_it_needs_no_room_and_takes_none(memory: Store) -> None:
    jq = open_waiting(memory, queue_size=1)
    parent = jq.enqueue(Job())
    children = [jq.enqueue(Job(after=[parent]), timeout=0) for _ in range(5)]
    assert {each.status for each in children} == {Status.SCHEDULED}
    check_whole(jq)
    run_all(jq)
    assert {each.status for each in children} == {Status.COMPLETED}
    check_rest(jq)


def test_one_after_a_completed_job_counts_as_done_and_needs_no_room(memory: Store) -> None:
    jq = open_waiting(memory, queue_size=1)
    parent = jq.enqueue(Job(id="parent"))
    run_all(jq)
    jq.enqueue(Job())

    child = jq.enqueue(Job(after=["parent"]), timeout=0)

    assert child.status is Status.QUEUED
    check_whole(jq)
    assert parent.status is Status.COMPLETED
    run_all(jq)
    assert jq.status(child.id) is Status.COMPLETED


def test_a_retry_of_a_job_before_it_keeps_it_waiting(memory: Store, clock: ManualClock) -> None:
    fails = iter([True, False, False])

    def handler(_payload: bytes) -> None:
        if next(fails):
            raise ValueError

    jq = memory.open(handler, start=False, clock=clock)
    parent = jq.enqueue(Job())
    child = jq.enqueue(Job(after=[parent]))
    run_all(jq)
    assert (parent.status, child.status) == (Status.SCHEDULED, Status.SCHEDULED)
    check_whole(jq)

    clock.advance(1.0)
    run_all(jq)

    assert child.status is Status.COMPLETED
    check_rest(jq)


@pytest.mark.parametrize("first", ["the delay", "the job"])
def test_a_delay_and_a_job_are_both_waited_for(
    memory: Store, clock: ManualClock, first: str
) -> None:
    jq = memory.open(len, start=False, clock=clock)
    parent = jq.enqueue(Job())
    child = jq.enqueue(Job(after=[parent]), delay=10.0)
    steps: list[Callable[[], None]] = [partial(clock.advance, 10.0), partial(run_all, jq)]
    one, other = steps if first == "the delay" else reversed(steps)

    one()
    assert child.status is Status.SCHEDULED
    check_whole(jq)
    other()

    run_all(jq)
    assert jq.status(child.id) is Status.COMPLETED
    check_rest(jq)


def test_a_job_that_waits_for_its_handler_besides_is_run_once_it_is_there(memory: Store) -> None:
    recorder = Recorder()
    jq = memory.open(len, start=False)
    parent = jq.enqueue(Job())
    child = jq.enqueue(Job(after=[parent], handler="late"))
    run_all(jq)
    assert child.status is Status.QUEUED

    jq.register("late", recorder)
    run_all(jq)

    assert jq.status(child.id) is Status.COMPLETED
    check_rest(jq)


def test_jobs_after_each_other_run_in_order(memory: Store) -> None:
    recorder = Recorder()
    jq = memory.open(recorder, num_workers=4)
    jq.pause()
    last = jq.enqueue(Job(id="0", priority=Priority.LOW))
    for number in range(1, 50):
        last = jq.enqueue(Job(id=str(number), after=[last], priority=Priority(number % 3)))
    jq.resume()
    assert last.wait(PATIENCE) is Status.COMPLETED
    assert recorder.ids() == [str(number) for number in range(50)]


# ── one of them is not completed ─────────────────────────────────────────────────────────────


@every_store
@pytest.mark.parametrize("how", ["failed", "cancelled", "expired"])
def test_if_one_is_not_completed_all_after_it_are_cancelled_and_say_why(
    store: Store, how: str
) -> None:
    jq = open_waiting(store)
    parent = jq.enqueue(
        Job(id="parent", handler="refuses", expires=0.05 if how == "expired" else None)
    )
    child = jq.enqueue(Job(id="child", after=[parent]))
    grandchild = jq.enqueue(Job(id="grandchild", after=[child, jq.enqueue(Job())]))
    told: list[str] = []
    for each in (child, grandchild):
        each.add_done_callback(lambda handle: told.append(handle.id))

    end(jq, parent, how)

    assert grandchild.wait(PATIENCE) is Status.CANCELLED
    what = "failed" if how == "failed" else "was cancelled"
    assert jq.info("child").last_error == f"job 'parent', which it waits for, {what}"
    assert jq.info("grandchild").last_error == "job 'child', which it waits for, was cancelled"
    assert eventually(lambda: sorted(told) == ["child", "grandchild"])
    check_whole(jq)
    if store.kind != "memory":
        jq.close(PATIENCE)
        again = open_waiting(store)
        for job_id in ("child", "grandchild"):
            assert again.status(job_id) is Status.CANCELLED
            assert "which it waits for" in str(again.info(job_id).last_error)


@every_store
@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_one_after_a_job_that_was_not_completed_is_accepted_and_cancelled_at_once(
    store: Store, how: str
) -> None:
    jq = open_waiting(store, queue_size=1)
    parent = jq.enqueue(Job(id="parent", handler="refuses"))
    end(jq, parent, how)
    jq.enqueue(Job())

    child = jq.enqueue(Job(id="child", after=[parent]), timeout=0)
    (grandchild,) = jq.enqueue_many([Job(id="grandchild", after=[child])], timeout=0)

    assert (child.status, grandchild.status) == (Status.CANCELLED, Status.CANCELLED)
    assert "'parent'" in str(jq.info("child").last_error)
    assert "'child'" in str(jq.info("grandchild").last_error)
    assert jq.metrics().cancelled == 2 + (how == "cancelled")
    check_whole(jq)
    if store.kind != "memory":
        jq.close(PATIENCE)
        again = open_waiting(store)
        assert again.status("child") is Status.CANCELLED


def test_with_a_delay_it_is_cancelled_at_once_too(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(len, start=False, clock=clock)
    parent = jq.enqueue(Job())
    parent.cancel()
    child = jq.enqueue(Job(after=[parent]), delay=5.0)
    assert child.status is Status.CANCELLED
    clock.advance(10.0)
    check_rest(jq)


def test_a_requeued_job_brings_back_none_of_those_that_were_cancelled_for_it(
    memory: Store,
) -> None:
    jq = open_waiting(memory)
    parent = jq.enqueue(Job(handler="refuses"))
    child = jq.enqueue(Job(after=[parent]))
    run_all(jq)
    until(child, Status.CANCELLED)

    jq.requeue(parent.id)

    assert child.status is Status.CANCELLED
    check_whole(jq)


def test_a_job_after_others_that_failed_is_requeued_as_any_other(store: Store) -> None:
    jq = open_waiting(store, max_retries=0)
    parent = jq.enqueue(Job())
    child = jq.enqueue(Job(after=[parent], handler="refuses"))
    run_all(jq)
    assert child.status is Status.FAILED

    again = jq.requeue(child.id)

    assert again.status is Status.QUEUED
    check_whole(jq)
    jq.close(PATIENCE)
    if store.kind != "memory":
        later = open_waiting(store)
        assert later.status(child.id) is Status.QUEUED
        check_whole(later)


def test_one_that_is_cancelled_itself_is_not_waited_for_by_those_before(memory: Store) -> None:
    jq = open_waiting(memory)
    parent = jq.enqueue(Job())
    child, other = jq.enqueue(Job(after=[parent])), jq.enqueue(Job(after=[parent]))
    assert child.cancel()
    check_whole(jq)
    run_all(jq)
    assert (child.status, other.status) == (Status.CANCELLED, Status.COMPLETED)
    check_rest(jq)


# ── ids ──────────────────────────────────────────────────────────────────────────────────────


@every_store
def test_an_unknown_id_is_refused_at_enqueue_and_the_jobs_own_id_is_free(store: Store) -> None:
    jq = open_waiting(store)
    with pytest.raises(UnknownJobError, match=r"'child' was not .* 'nobody'.*; enqueue that"):
        jq.enqueue(Job(id="child", after=["nobody"]))
    assert jq.enqueue(Job(id="child")).status is Status.QUEUED
    check_whole(jq)


def test_a_forgotten_id_is_refused_too(memory: Store) -> None:
    jq = open_waiting(memory, status_retention=1)
    first = jq.enqueue(Job())
    jq.enqueue(Job())
    run_all(jq)
    with pytest.raises(UnknownJobError, match="forgotten"):
        jq.enqueue(Job(after=[first]))


def test_no_circle_can_be_made_for_ids_have_to_be_known(memory: Store) -> None:
    jq = open_waiting(memory)
    with pytest.raises(UnknownJobError):
        jq.enqueue(Job(id="a", after=["a"]))
    for jobs in (
        [Job(id="a", after=["a"])],
        [Job(id="a", after=["b"]), Job(id="b", after=["a"])],
        [Job(id="other"), Job(id="a", after=["b"]), Job(id="b")],
    ):
        with pytest.raises(UnknownJobError) as told:
            jq.enqueue_many(jobs)
        assert told.value.accepted == ()
        assert jq.metrics().enqueued == 0, "some were accepted"


@every_store
def test_in_one_call_a_job_may_come_after_one_before_it(store: Store) -> None:
    jq = open_waiting(store, queue_size=1)
    first, second, third = jq.enqueue_many(
        [Job(id="a"), Job(id="b", after=["a"]), Job(id="c", after=["a", "b"])], timeout=0
    )
    assert (second.status, third.status) == (Status.SCHEDULED, Status.SCHEDULED)
    check_whole(jq)
    run_all(jq)
    assert {each.status for each in (first, second, third)} == {Status.COMPLETED}
    check_rest(jq)


def test_a_duplicate_that_waits_for_others_leaves_nothing_behind(memory: Store) -> None:
    jq = open_waiting(memory)
    parent = jq.enqueue(Job(id="parent"))
    with pytest.raises(DuplicateJobError):
        jq.enqueue(Job(id="parent", after=[parent]))
    check_whole(jq)


# ── many ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["completed", "cancelled"])
def test_thousands_that_wait_for_one_job_are_all_looked_after(store: Store, how: str) -> None:
    jq = open_waiting(store)
    parent = jq.enqueue(Job())
    children = jq.enqueue_many([Job(after=[parent]) for _ in range(MANY)])
    check_whole(jq)

    if how == "cancelled":
        parent.cancel()
        until_looked_after(jq)
        assert {each.status for each in children} == {Status.CANCELLED}
    else:
        jq.start()
        assert jq.join(60)
        assert {each.status for each in children} == {Status.COMPLETED}
    check_rest(jq)


def test_a_long_chain_is_cancelled_to_its_end(memory: Store) -> None:
    jq = open_waiting(memory)
    first = last = jq.enqueue(Job())
    for _ in range(MANY):
        last = jq.enqueue(Job(after=[last]))
    first.cancel()
    assert last.wait(PATIENCE) is Status.CANCELLED
    check_rest(jq)


def test_one_that_waits_for_thousands(memory: Store) -> None:
    jq = open_waiting(memory, queue_size=MANY)
    parents = jq.enqueue_many([Job() for _ in range(MANY)])
    child = jq.enqueue(Job(after=parents))
    jq.start()
    assert child.wait(60) is Status.COMPLETED
    assert jq.join(PATIENCE)
    check_rest(jq)


def test_whoever_is_faster_a_job_that_ends_or_one_that_is_to_wait_for_it_none_is_left(
    memory: Store,
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)

    def handler(payload: bytes) -> None:
        if payload == b"no":
            raise RejectJobError("no")

    jq = memory.open(handler, num_workers=3, queue_size=10_000)
    known: list[JobHandle] = [jq.enqueue(Job())]

    def produce(number: int) -> None:
        own = random.Random(f"{seed} {number}")
        for _ in range(300):
            after = own.sample(known[-6:], min(len(known[-6:]), own.randrange(4)))
            payload = b"no" if own.random() < 0.05 else b""
            known.append(jq.enqueue(Job(payload, after=after)))
            if own.random() < 0.1:
                own.choice(known[-6:]).cancel()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(produce, range(4)))

    assert jq.join(PATIENCE), rng
    check_rest(jq)
    for handle in known:
        parents = [jq.status(each) for each in handle.job.after]
        if handle.status is Status.COMPLETED:
            assert set(parents) <= {Status.COMPLETED}


# ── restarts and the end ─────────────────────────────────────────────────────────────────────


@every_log
def test_after_a_restart_it_waits_still(log_store: Store) -> None:
    jq = open_waiting(log_store)
    done = jq.enqueue(Job())
    run_all(jq)
    first, second = jq.enqueue(Job()), jq.enqueue(Job(), delay=3600.0)
    child = jq.enqueue(Job(after=[first, second, done]))
    jq.close(PATIENCE)

    again = open_waiting(log_store)
    assert again.status(child.id) is Status.SCHEDULED
    assert set(again.handle(child.id).job.after) == {first.id, second.id}
    check_whole(again)
    run_all(again)
    assert again.status(child.id) is Status.SCHEDULED
    again.cancel(second.id)

    until(again.handle(child.id), Status.CANCELLED)
    check_rest(again)


@every_log
def test_after_a_restart_it_runs_when_those_before_it_have(log_store: Store) -> None:
    jq = open_waiting(log_store)
    parents = [jq.enqueue(Job(id=name)) for name in "ab"]
    jq.enqueue(Job(id="c", after=parents), delay=0.01)
    jq.enqueue(Job(id="d", after=["c"]))
    jq.close(PATIENCE)
    recorder = Recorder()

    again = log_store.open(recorder, num_workers=3)
    check_whole(again)
    assert again.join(PATIENCE)

    assert recorder.ids()[2:] == ["c", "d"]
    check_rest(again)


@pytest.mark.parametrize("end", ["failed", "cancelled", "doomed"])
def test_what_a_crash_left_waiting_for_a_job_that_was_not_completed_is_cancelled_at_the_start(
    log_store: Store, end: str
) -> None:
    """Fault 84 of docs/reliability.md."""
    jobs = [Enqueued(number, f"job {number}", 1, 1.0) for number in range(1, 5)]
    jobs[1].after, jobs[2].after = (1,), (2,)
    last: dict[str, Record] = {
        "failed": Failed(1, 3.0, 2.0, 0, "E: no", ""),
        "cancelled": Cancelled(1, 3.0),
        "doomed": Doomed(2, "another"),
    }
    log_store.path.mkdir(mode=0o700)
    LogDirectory(log_store.path).put(segment(1, 1, [list(jobs), [last[end]]]))

    for _ in range(2):  # the second start finds it done
        recorder = Recorder()
        jq = log_store.open(recorder)
        assert jq.join(PATIENCE)
        assert not {"job 2", "job 3"} & set(recorder.ids())
        name = "another" if end == "doomed" else "job 1"
        assert jq.status("job 2") is jq.status("job 3") is Status.CANCELLED
        assert f"job {name!r}, which it waits for" in str(jq.info("job 2").last_error)
        assert "job 'job 2', which it waits for" in str(jq.info("job 3").last_error)
        check_rest(jq)
        jq.close(PATIENCE)


def test_drain_runs_those_that_wait_for_others(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker)
    last = jq.enqueue(Job())
    for _ in range(5):
        last = jq.enqueue(Job(after=[last]))
    blocker.await_entered()
    closing = in_thread(jq.close, PATIENCE, drain=True)
    assert eventually(lambda: jq.closed)
    blocker.gate.set()
    report = closing.result(PATIENCE)
    assert (report.remaining, report.unfinished, report.completed) == (0, (), 6)


def test_drain_waits_for_none_whose_turn_cannot_come(memory: Store) -> None:
    jq = memory.open(len)
    parked = jq.enqueue(Job(handler="nobody"))
    later = jq.enqueue(Job(), delay=3600.0)
    for each in (parked, later):
        jq.enqueue(Job(after=[each]))
    report = jq.close(PATIENCE, drain=True)
    assert (report.remaining, report.unfinished) == (4, ())


def test_who_waits_for_it_in_a_handler_is_stood_in_for(memory: Store) -> None:
    jq = memory.open(len, num_workers=1)
    parent = jq.enqueue(Job(), delay=0.01)
    child = jq.enqueue(Job(b"abc", after=[parent]))
    results: list[Any] = []
    done = threading.Event()

    def waits(_payload: bytes) -> None:
        results.append(child.result(PATIENCE))
        done.set()

    jq.register("waits", waits)
    jq.enqueue(Job(handler="waits"))
    assert done.wait(PATIENCE)
    assert results == [3]


def test_anything_with_the_id_of_a_job_will_do(memory: Store) -> None:
    jq = open_waiting(memory)
    jq.enqueue(Job(id="parent"))
    child = jq.enqueue(Job(after=[SimpleNamespace(id="parent")]))
    assert child.job.after == ("parent",)
    assert len(insides.status_map(jq).live) == 2
