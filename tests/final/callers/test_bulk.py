"""`cancel_jobs`, `requeue_jobs`, `discard_jobs`, `run_now`: one change for all jobs that fit."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobHandle,
    JobQueue,
    Priority,
    QueueClosedError,
    RejectJobError,
    Status,
    UnknownJobError,
)
from jobqueue.final.callers import bulk
from jobqueue.final.life import recovery
from jobqueue.final.testing import ManualClock, run_all
from tests.support import insides
from tests.support.handlers import LastWord, Recorder, in_thread
from tests.support.interrupts import each_place
from tests.support.left_out import often
from tests.support.logs import HastyFiles
from tests.support.queues import Attempts, Store, every_store, until, until_retried
from tests.support.waiting import PATIENCE, eventually, eventually_freed


def rejects(_payload: bytes) -> None:
    raise RejectJobError("no such customer")


def bury(jq: JobQueue, count: int, **settings: Any) -> None:
    """Have so many jobs fail, "0" first."""
    handles = [jq.enqueue(Job(id=str(n), handler="rejects", **settings)) for n in range(count)]
    for handle in handles:
        assert handle.wait(PATIENCE) is Status.FAILED


# --- cancel ---------------------------------------------------------------------------------------


@every_store
def test_all_jobs_that_fit_are_cancelled_and_no_other(store: Store) -> None:
    jq = store.open(len, start=False)
    for n in range(300):
        jq.enqueue(Job(id=str(n), key="anna" if n % 2 else "bert"), delay=3600 * (n % 3 == 0))

    assert jq.cancel_jobs(key="anna") == 150

    statuses = {each.status for each in jq.jobs(key="anna", limit=1000)}
    assert statuses == {Status.CANCELLED}
    assert len(jq.jobs(key="bert", status=["queued", "scheduled"], limit=1000)) == 150
    assert jq.metrics().cancelled == 150
    jq.close(drain=False)
    if store.kind != "memory":
        again = store.open(len, start=False)
        assert len(again.jobs(status="cancelled", limit=1000)) == 150


def test_the_oldest_are_taken_first_up_to_the_limit(memory: Store) -> None:
    jq = memory.open(len, start=False)
    for n in range(300):
        jq.enqueue(Job(id=str(n)))

    assert jq.cancel_jobs(limit=110) == 110

    cancelled = [int(each.id) for each in jq.jobs(status="cancelled", limit=1000)]
    assert sorted(cancelled) == list(range(110))


def test_jobs_that_run_are_asked_to_stop_and_what_has_ended_is_left(memory: Store) -> None:
    blocker = memory.blocker(ValueError("gave up"))
    jq = memory.open(blocker, handlers={"ok": len}, num_workers=1)
    done = jq.enqueue(Job(handler="ok"))
    done.wait(PATIENCE)
    running = jq.enqueue(Job())
    blocker.await_entered()
    jq.enqueue(Job())

    assert jq.cancel_jobs() == 2

    blocker.gate.set()
    assert running.wait(PATIENCE) is Status.CANCELLED
    assert done.status is Status.COMPLETED


def test_a_text_is_looked_for_in_each(memory: Store) -> None:
    jq = memory.open(len, start=False)
    for n in range(250):
        jq.enqueue(Job(f"customer {n % 5}".encode(), id=f"job {n}"))

    assert jq.cancel_jobs(text="customer 3") == 50
    assert len(jq.jobs(status="queued", limit=1000)) == 200


def test_who_waits_for_a_cancelled_job_is_told(memory: Store) -> None:
    jq = memory.open(len, start=False)
    told: list[JobHandle] = []
    handle = jq.enqueue(Job())
    handle.add_done_callback(told.append)
    waiting = in_thread(handle.wait, PATIENCE)

    jq.cancel_jobs()

    assert told == [handle]
    assert waiting.result(PATIENCE) is Status.CANCELLED


def test_ctrl_c_within_a_callback_of_one_job_keeps_no_other_from_being_told(
    memory: Store,
) -> None:
    def interrupted(_: JobHandle) -> None:
        raise KeyboardInterrupt

    jq = memory.open(len, start=False)
    told: list[JobHandle] = []
    jq.enqueue(Job()).add_done_callback(interrupted)
    handle = jq.enqueue(Job())
    handle.add_done_callback(told.append)

    with pytest.raises(KeyboardInterrupt):
        jq.cancel_jobs()

    assert told == [handle]


def test_a_producer_gets_the_room_of_cancelled_jobs(memory: Store) -> None:
    jq = memory.open(len, start=False, queue_size=2)
    jq.enqueue_many([Job(), Job()])
    producing = in_thread(jq.enqueue, Job(id="third"))

    jq.cancel_jobs(limit=2)

    assert producing.result(PATIENCE).id == "third"


# --- requeue and discard --------------------------------------------------------------------------


def test_what_goes_with_discarded_jobs_may_ask_the_queue(memory: Store) -> None:
    jq = memory.open(len)
    asked: list[int] = []
    for n in range(3):
        word = LastWord(lambda: asked.append(jq.metrics().failed))
        assert jq.enqueue_with_handler(Job(id=str(n)), word).wait(PATIENCE) is Status.FAILED
        del word
    assert jq.join(PATIENCE)

    jq.discard_jobs()

    assert eventually_freed(lambda: asked == [3, 3, 3])


@every_store
def test_failed_jobs_are_queued_again_in_their_order(store: Store) -> None:
    recorder = Recorder()
    jq = store.open(len, handlers={"rejects": rejects, "mail": recorder}, num_workers=1)
    bury(jq, 250)
    jq.enqueue(Job(id="other")).wait(PATIENCE)
    jq.pause()
    jq.register("rejects", recorder, replace=True)

    assert jq.requeue_jobs(error="RejectJobError") == 250

    assert jq.dead_letters() == []
    jq.resume()
    assert jq.join(PATIENCE)
    assert recorder.ids() == [str(n) for n in range(250)]


@every_store
def test_failed_jobs_that_fit_are_dropped(store: Store) -> None:
    jq = store.open(len, handlers={"rejects": rejects}, num_workers=1)
    bury(jq, 200, key="anna")
    jq.enqueue(Job(id="kept", handler="rejects")).wait(PATIENCE)
    jq.pause()
    jq.enqueue(Job(id="queued", key="anna"))

    assert jq.discard_jobs(key="anna") == 200

    assert [each.id for each in jq.dead_letters()] == ["kept"]
    assert [each.id for each in jq.jobs()] == ["queued", "kept"]
    with pytest.raises(UnknownJobError):
        jq.status("7")
    jq.close(drain=False)
    if store.kind != "memory":
        again = store.open(len, start=False)
        assert [each.id for each in again.jobs()] == ["queued", "kept"]


def test_only_failed_jobs_are_requeued_or_dropped(memory: Store) -> None:
    jq = memory.open(len)
    jq.enqueue(Job()).wait(PATIENCE)
    jq.pause()
    jq.enqueue(Job())

    assert jq.requeue_jobs() == jq.discard_jobs() == 0


# --- run now --------------------------------------------------------------------------------------


def test_scheduled_jobs_run_at_once(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(Attempts(ValueError("boom"), None), clock=clock, num_workers=1)
    retried = jq.enqueue(Job(id="retried"))
    until_retried(jq, "retried", 1)
    delayed = jq.enqueue(Job(id="delayed"), delay=3600)

    assert jq.run_now() == 2

    assert retried.wait(PATIENCE) is Status.COMPLETED
    assert delayed.wait(PATIENCE) is Status.COMPLETED
    clock.advance(3600)
    assert jq.join(PATIENCE)
    assert jq.metrics().completed == 2


def test_a_job_that_is_not_scheduled_is_no_business_of_run_now(memory: Store) -> None:
    jq = memory.open(len, start=False)
    jq.enqueue(Job())
    jq.enqueue(Job(priority=Priority.LOW), delay=3600)

    assert jq.run_now(priority=Priority.HIGH) == 0
    assert jq.run_now(status="queued") == 0
    assert jq.metrics().scheduled == 1


def test_a_job_without_a_handler_waits_for_it_then(memory: Store) -> None:
    jq = memory.open(num_workers=1)
    handle = jq.enqueue(Job(handler="late"), delay=3600)
    assert jq.run_now() == 1
    assert handle.status is Status.QUEUED

    jq.register("late", len)

    assert handle.wait(PATIENCE) is Status.COMPLETED


def test_one_that_is_retried_again_waits_again(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(Attempts(ValueError("boom")), clock=clock, num_workers=1)
    jq.enqueue(Job(id="a"))
    until_retried(jq, "a", 1)

    jq.run_now()
    until_retried(jq, "a", 2)

    assert jq.status("a") is Status.SCHEDULED
    clock.advance(1.9)
    assert jq.info("a").retries == 2


def test_a_job_that_waits_for_others_is_passed_over(memory: Store) -> None:
    jq = memory.open(len, start=False)
    handle = jq.enqueue(Job(), delay=3600)
    insides.tie(handle, jq.enqueue(Job(), delay=3600))

    assert jq.run_now() == 1
    assert handle.status is Status.SCHEDULED


# --- whatever happens meanwhile -------------------------------------------------------------------


def test_a_job_that_changes_meanwhile_is_left_alone(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = memory.open(len, start=False)
    for n in range(10):
        jq.enqueue(Job(id=str(n)), delay=3600)
    steps = iter(range(100))

    def between_holds(_mutex: object) -> None:
        if next(steps) == 1:
            jq.run_now(limit=4)

    monkeypatch.setattr(bulk, "let_others_first", between_holds)

    assert jq.cancel_jobs(status="scheduled") == 6


def test_no_hold_of_the_mutex_has_many_changes(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = memory.open(len, start=False, queue_size=1000)
    jq.enqueue_many([Job() for _ in range(500)])
    counts: list[int] = []

    def between_holds(_mutex: object) -> None:
        counts.append(jq.metrics().cancelled)

    monkeypatch.setattr(bulk, "let_others_first", between_holds)
    jq.cancel_jobs()

    assert max(after - before for before, after in itertools.pairwise(counts)) <= 40


def test_changes_gather_in_one_batch_of_the_log(log_store: Store) -> None:
    jq = log_store.open(len, start=False, queue_size=3000, fsync_interval=60)
    jq.enqueue_many([Job() for _ in range(2000)])
    jq.flush()
    before = jq.metrics().log

    jq.cancel_jobs()

    after = jq.metrics().log
    assert before is not None
    assert after is not None
    assert after.batches - before.batches <= 3


CALLS: dict[str, Callable[[JobQueue], int]] = {
    "cancel_jobs": lambda jq: jq.cancel_jobs(),
    "requeue_jobs": lambda jq: jq.requeue_jobs(),
    "discard_jobs": lambda jq: jq.discard_jobs(),
    "run_now": lambda jq: jq.run_now(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_queue_refuses(call: str) -> None:
    jq = JobQueue(Config(), handler=len, start=False)
    jq.close()

    with pytest.raises(QueueClosedError):
        CALLS[call](jq)


@pytest.mark.parametrize("call", ["cancel_jobs", "requeue_jobs", "discard_jobs", "run_now"])
def test_a_wrong_argument_is_named(memory: Store, call: str) -> None:
    jq = memory.open(len, start=False)

    with pytest.raises(ValueError, match="limit must be 1 or more"):
        getattr(jq, call)(limit=0)
    with pytest.raises(ValueError, match="status must be one of"):
        getattr(jq, call)(status="done")


# --- a restart ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["delayed", "retried"])
@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_restart_does_not_bring_the_delay_back(
    log_store: Store, clock: ManualClock, kind: str, is_compacted: bool
) -> None:
    jq = log_store.open(Attempts(ValueError("boom")), clock=clock, num_workers=1, base_delay=1000.0)
    if kind == "retried":
        jq.enqueue(Job(id="a"))
        until_retried(jq, "a", 1)
        jq.pause()
    else:
        jq.pause()
        jq.enqueue(Job(id="a"), delay=1000)
    assert jq.run_now() == 1
    until(jq.handle("a"), Status.QUEUED)
    jq.close(drain=False)
    if is_compacted:
        log_store.compact()

    recorder = Recorder()
    again = log_store.open(recorder, clock=clock, start=False)
    run_all(again)

    assert recorder.ids() == ["a"]


def test_a_lane_gives_up_the_places_of_many_that_are_cancelled(memory: Store) -> None:
    jq = memory.open(len, start=False)
    for n in range(1000):
        jq.enqueue(Job(id=str(n), key="kept" if n % 5 == 0 else "gone"))

    assert jq.cancel_jobs(key="gone") == 800
    # Up to a hundred entries are not worth a sweep.
    assert eventually(lambda: insides.held_in_lane(jq, Priority.MEDIUM) <= 200 + 100)
    run_all(jq)
    assert jq.metrics().completed == 200


# --- broken off -----------------------------------------------------------------------------------


def enqueue_three(jq: JobQueue, **settings: Any) -> None:
    for n in range(3):
        jq.enqueue(Job(b"payload", id=str(n), handler="rejects"), **settings)


def bury_three(jq: JobQueue) -> None:
    enqueue_three(jq)
    run_all(jq)


BROKEN_OFF: dict[str, tuple[Callable[[JobQueue], object], Status | None, Status | None]] = {
    "cancel_jobs": (enqueue_three, Status.QUEUED, Status.CANCELLED),
    "requeue_jobs": (bury_three, Status.FAILED, Status.QUEUED),
    "discard_jobs": (bury_three, Status.FAILED, None),
    "run_now": (lambda jq: enqueue_three(jq, delay=3600), Status.SCHEDULED, Status.QUEUED),
}


LOG_STEP = often(4, 1)
"""With a log, each run tries a fourth of the places, since two queues are opened for each."""


def statuses_of(jq: JobQueue) -> list[Status | None]:
    known = {each.id: each.status for each in jq.jobs()}
    return [known.get(str(n)) for n in range(3)]


@pytest.mark.slow
@pytest.mark.usefixtures("no_tracer")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("call", "kind"),
    [
        *((call, "memory") for call in BROKEN_OFF),
        *(("cancel_jobs", level) for level in ("write", "fsync")),
        *(("requeue_jobs", "write"), ("discard_jobs", "fsync"), ("run_now", "write")),
        # The same at the other level.
        *(
            pytest.param(*each, marks=pytest.mark.daily)
            for each in (("requeue_jobs", "fsync"), ("discard_jobs", "write"), ("run_now", "fsync"))
        ),
    ],
)
def test_a_call_that_is_broken_off_has_done_each_change_whole_or_not_at_all(
    call: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 16 of docs/reliability.md."""
    monkeypatch.setattr(recovery, "Files", HastyFiles)
    monkeypatch.setattr(logging.getLogger("jobqueue"), "disabled", True)
    prepare, before, after = BROKEN_OFF[call]
    step = 1 if kind == "memory" else LOG_STEP
    for number, interruption in enumerate(each_place(step)):
        store = Store(kind, tmp_path / str(number))
        jq = store.open(handlers={"rejects": rejects}, start=False)
        prepare(jq)
        try:
            with interruption:
                CALLS[call](jq)
        except KeyboardInterrupt:
            pass
        assert not insides.is_owned(insides.mutex(jq)), interruption.where
        found = statuses_of(jq)
        assert found in [[after] * n + [before] * (3 - n) for n in range(4)], interruption.where
        assert eventually(partial(insides.have_all_arrived, jq)), interruption.where
        with insides.mutex(jq):
            insides.check_places(jq)
            insides.check_order(jq)
        jq.close(drain=False)
        if kind != "memory":
            again = store.open(handlers={"rejects": rejects}, start=False)
            assert statuses_of(again) == found, interruption.where
            again.close(drain=False)
    assert number > 50 / step
    assert found == [after] * 3
