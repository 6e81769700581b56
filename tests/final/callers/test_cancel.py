from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from jobqueue.final import Job, JobCancelledError, JobContext, RejectJobError, RetryJobError, Status
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.handlers import Recorder, in_thread
from tests.support.queues import Attempts, Store, every_log, every_store, until
from tests.support.waiting import PATIENCE


class Obedient:
    """A handler that sleeps until it is told to stop, and then returns or raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.begun = threading.Event()
        self.woken: list[bool] = []
        self._error = error

    def __call__(self, payload: bytes, context: JobContext) -> bytes:
        self.begun.set()
        self.woken.append(context.wait(3600))
        self.woken.append(context.cancelled)
        if self._error is not None:
            raise self._error
        return payload


# ── before it runs ───────────────────────────────────────────────────────────────────────────


@every_store
def test_queued_job_is_cancelled_and_never_runs(store: Store) -> None:
    recorder = Recorder()
    jq = store.open(recorder, start=False)
    handles = jq.enqueue_many([Job(id=id) for id in ("a", "b", "c")])
    assert jq.cancel("b") is True
    assert handles[1].status is Status.CANCELLED
    jq.start()
    assert jq.join(PATIENCE)
    assert sorted(recorder.ids()) == ["a", "c"]


@every_store
def test_scheduled_job_is_cancelled_and_never_runs(store: Store, clock: ManualClock) -> None:
    recorder = Recorder()
    jq = store.open(recorder, clock=clock)
    handle = jq.enqueue(Job(id="a"), delay=5)
    assert handle.cancel() is True
    insides.timer(jq).expire()
    wheel = insides.wheel_of(insides.timer(jq))
    assert len(wheel) == 0  # it is not kept until it would have been due
    jq.enqueue(Job(id="b"), delay=5)
    clock.advance(10)
    assert jq.join(PATIENCE)
    assert (recorder.ids(), handle.status) == (["b"], Status.CANCELLED)


def test_job_that_waits_for_its_retry_is_cancelled(store: Store, clock: ManualClock) -> None:
    attempts = Attempts(ConnectionError("down"))
    jq = store.open(attempts, clock=clock)
    handle = until(jq.enqueue(Job(id="a")), Status.SCHEDULED)
    assert handle.cancel() is True
    clock.advance(100)
    assert jq.join(PATIENCE)
    assert (len(attempts.contexts), handle.status) == (1, Status.CANCELLED)


def test_job_that_came_due_and_is_queued_is_cancelled(store: Store, clock: ManualClock) -> None:
    recorder = Recorder()
    jq = store.open(recorder, clock=clock)
    jq.pause()
    handle = jq.enqueue(Job(), delay=1)
    clock.advance(1)
    assert handle.cancel() is True
    jq.resume()
    assert jq.join(PATIENCE)
    assert recorder.ids() == []


@pytest.mark.parametrize("every", [1, 2, 3])
def test_many_cancelled_jobs_do_not_keep_the_others_from_running(memory: Store, every: int) -> None:
    recorder = Recorder()
    jq = memory.open(recorder, start=False, num_workers=1)
    handles = jq.enqueue_many([Job(id=f"{n:03}") for n in range(100)])
    for handle in handles[::every]:
        assert handle.cancel()
        insides.check_lanes(insides.scheduler(jq))
    jq.start()
    assert jq.join(PATIENCE)
    left = [handle.id for n, handle in enumerate(handles) if n % every]
    assert recorder.ids() == left


def test_cancelled_job_stays_so_after_a_restart(log_store: Store) -> None:
    recorder = Recorder()
    jq = log_store.open(recorder, start=False)
    jq.enqueue(Job(id="queued")).cancel()
    jq.enqueue(Job(id="scheduled"), delay=3600).cancel()
    jq.close()
    again = log_store.open(recorder)
    assert again.join(PATIENCE)
    assert again.status("queued") is again.status("scheduled") is Status.CANCELLED
    assert recorder.ids() == []


@every_store
def test_cancel_ends_join_and_the_wait_for_the_job(store: Store) -> None:
    jq = store.open(len, start=False)
    handle = jq.enqueue(Job())
    joined, waited = in_thread(jq.join, PATIENCE), in_thread(handle.wait, PATIENCE)
    handle.cancel()
    assert joined.result(PATIENCE) is True
    assert waited.result(PATIENCE) is Status.CANCELLED


# ── while it runs ────────────────────────────────────────────────────────────────────────────


def test_running_handler_is_asked_to_stop_and_what_it_returns_counts(store: Store) -> None:
    obedient = Obedient()
    jq = store.open(obedient)
    handle = jq.enqueue(Job(b"done", id="a"))
    assert obedient.begun.wait(PATIENCE)
    assert jq.cancel("a") is True
    assert handle.result(PATIENCE) == b"done"
    assert (handle.status, obedient.woken) == (Status.COMPLETED, [True, True])


@every_store
@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("cut off"),
        RetryJobError(delay=0),
        RejectJobError("no"),
        KeyboardInterrupt(),
        JobCancelledError("stopped"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_running_handler_that_raises_when_asked_to_stop_is_cancelled_without_retry(
    store: Store, error: BaseException
) -> None:
    obedient = Obedient(error)
    jq = store.open(obedient, base_delay=0)
    handle = jq.enqueue(Job())
    assert obedient.begun.wait(PATIENCE)
    assert handle.cancel() is True
    assert handle.wait(PATIENCE) is Status.CANCELLED
    with pytest.raises(JobCancelledError, match="was cancelled"):
        handle.result(PATIENCE)
    metrics = jq.metrics()
    assert (metrics.cancelled, metrics.retried, metrics.failed) == (1, 0, 0)
    assert jq.dead_letters() == []


@every_log
def test_running_job_that_was_cancelled_as_the_process_died_is_not_run_again(
    log_store: Store, tmp_path: Path
) -> None:
    jq = log_store.open(log_store.blocker(), num_workers=1)
    until(jq.enqueue(Job(id="a")), Status.PROCESSING)
    jq.enqueue(Job(id="b"))
    assert jq.cancel("a") is True
    jq.flush()
    died = Store(log_store.kind, tmp_path / "died")
    shutil.copytree(log_store.path, died.path)
    recorder = Recorder()
    counted = []
    for _ in range(2):  # the second start finds it in the log
        again = died.open(recorder)
        assert again.join(PATIENCE)
        assert again.status("a") is Status.CANCELLED
        metrics = again.metrics()
        assert metrics.queued == 0
        counted.append((metrics.enqueued, metrics.completed, metrics.cancelled))
        again.close()
    assert recorder.ids() == ["b"]
    assert counted == [(2, 1, 1), (0, 0, 0)]


def test_running_job_that_was_cancelled_and_given_up_by_close_is_not_run_again(
    log_store: Store,
) -> None:
    blocker = log_store.blocker()
    jq = log_store.open(blocker, num_workers=1)
    until(jq.enqueue(Job(id="a")), Status.PROCESSING)
    jq.cancel("a")
    assert jq.close(0.0).unfinished == ("a",)
    blocker.gate.set()
    recorder = Recorder()
    again = log_store.open(recorder)
    assert again.join(PATIENCE)
    assert again.status("a") is Status.CANCELLED
    assert recorder.ids() == []


def test_what_a_handler_returned_when_it_was_asked_to_stop_counts_after_a_restart_too(
    log_store: Store,
) -> None:
    obedient = Obedient()
    jq = log_store.open(obedient)
    jq.enqueue(Job(id="a"))
    assert obedient.begun.wait(PATIENCE)
    jq.cancel("a")
    jq.handle("a").wait(PATIENCE)
    jq.close()
    assert log_store.open(len, start=False).status("a") is Status.COMPLETED


@pytest.mark.parametrize(
    ("error", "status"), [(None, Status.COMPLETED), (ValueError("boom"), Status.CANCELLED)]
)
def test_handler_without_context_is_not_disturbed_and_what_it_does_counts(
    store: Store, error: Exception | None, status: Status
) -> None:
    begun, go = threading.Event(), threading.Event()

    def handle(payload: bytes) -> None:
        begun.set()
        assert go.wait(PATIENCE)
        if error is not None:
            raise error

    job = store.open(handle).enqueue(Job())
    assert begun.wait(PATIENCE)
    assert job.cancel() is True
    assert job.cancel() is True  # again is no harm
    go.set()
    assert job.wait(PATIENCE) is status


def test_attempt_that_nobody_cancelled_is_not_asked_to_stop(
    store: Store, clock: ManualClock
) -> None:
    attempts = Attempts(ConnectionError("down"), "done")
    jq = store.open(attempts, clock=clock)
    handle = until(jq.enqueue(Job()), Status.SCHEDULED)
    clock.advance(1)
    assert handle.result(PATIENCE) == "done"
    assert [context.cancelled for context in attempts.contexts] == [False, False]


# ── when it has finished ─────────────────────────────────────────────────────────────────────


def test_finished_job_cannot_be_cancelled(store: Store) -> None:
    jq = store.open(len, handlers={"fails": Attempts(RejectJobError("no"))})
    completed, failed = jq.enqueue(Job()), jq.enqueue(Job(handler="fails"))
    cancelled = jq.enqueue(Job(), delay=3600)
    cancelled.cancel()
    for handle, status in (
        (completed, Status.COMPLETED),
        (failed, Status.FAILED),
        (cancelled, Status.CANCELLED),
    ):
        handle.wait(PATIENCE)
        assert handle.cancel() is False
        assert handle.status is status


def test_handler_may_cancel_its_own_job_and_others(store: Store) -> None:
    def handle(payload: bytes, context: JobContext) -> object:
        jq.cancel("other")
        jq.cancel(context.job.id)
        return context.cancelled

    jq = store.open(handle, num_workers=1)
    jq.pause()
    own, other = jq.enqueue(Job(id="own")), jq.enqueue(Job(id="other"))
    jq.resume()
    assert own.result(PATIENCE) is True
    assert other.wait(PATIENCE) is Status.CANCELLED
