"""Starting, draining and closing a queue, and what those see who still wait for it."""

from __future__ import annotations

import logging
import math
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobHandle,
    JobQueue,
    JobQueueError,
    Priority,
    QueueClosedError,
    Rate,
    RetryJobError,
    ShutdownReport,
    Status,
)
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.handlers import Blocker, Recorder, in_thread
from tests.support.waiting import PATIENCE, eventually

Threads = Callable[[], list[threading.Thread]]

LONG = 3600.0  # seconds: nobody may wait for so long
NOTHING = ShutdownReport(completed=0, unfinished=(), remaining=0)


@pytest.fixture
def blocker() -> Iterator[Blocker]:
    blocker = Blocker()
    yield blocker
    blocker.gate.set()


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


@pytest.fixture
def own_threads() -> Callable[[], list[threading.Thread]]:
    """Tells which threads of queues the test has started that still live, in order of name."""
    before = set(threading.enumerate())

    def living() -> list[threading.Thread]:
        new = set(threading.enumerate()) - before
        return sorted((t for t in new if t.name.startswith("jobqueue-")), key=lambda t: t.name)

    return living


def _content(log: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(log).iterdir()}


# --- the report ---------------------------------------------------------------------------------


def test_close_of_an_idle_queue_has_nothing_to_report() -> None:
    assert JobQueue(handler=len).close() == NOTHING


def test_close_again_gives_the_same_report(blocker: Blocker) -> None:
    jq = JobQueue(Config(num_workers=1), handler=blocker)
    jq.enqueue(Job(id="a"))
    blocker.await_entered()
    first = jq.close(0)

    blocker.gate.set()
    blocker.left.get(timeout=PATIENCE)

    assert jq.close() == jq.close(LONG, drain=True) == first == ShutdownReport(0, ("a",), 0)


def test_report_counts_completed_failed_and_cancelled_jobs_since_close_began() -> None:
    blockers = {
        "completed": Blocker(),
        "failed": Blocker(ValueError("boom")),
        "cancelled": Blocker(ConnectionError("stopped")),
    }
    jq = JobQueue(Config(num_workers=3, max_retries=0), handler=len, handlers=blockers)
    jq.enqueue(Job(id="before")).wait(PATIENCE)
    for name, each in blockers.items():
        jq.enqueue(Job(id=name, handler=name))
        each.await_entered()
    jq.cancel("cancelled")

    closing = in_thread(jq.close)
    eventually(lambda: _refuses(jq))
    for each in blockers.values():
        each.gate.set()

    assert closing.result(PATIENCE) == ShutdownReport(completed=3, unfinished=(), remaining=0)
    assert jq.status("cancelled") is Status.CANCELLED


def _refuses(jq: JobQueue) -> bool:
    """Whether `close` has begun on a queue that was started."""
    try:
        jq.start()
    except QueueClosedError:
        return True
    return False


def test_report_names_the_jobs_that_still_run_and_counts_those_left(blocker: Blocker) -> None:
    jq = JobQueue(Config(num_workers=2), handler=blocker)
    for name in "abcde":
        jq.enqueue(Job(id=name))
    assert blocker.await_entered(2) == ["a", "b"]

    report = jq.close(0)

    assert report.completed == 0
    assert sorted(report.unfinished) == ["a", "b"]
    assert report.remaining == 3


def test_leaving_the_with_block_closes(own_threads: Threads) -> None:
    with JobQueue(handler=len) as jq:
        handle = jq.enqueue(Job(b"abc"))

    assert handle.result(0) == 3
    assert own_threads() == []


def test_an_error_in_the_with_block_comes_out_of_it() -> None:
    with pytest.raises(ZeroDivisionError), JobQueue(handler=len) as jq:
        _ = 1 / 0

    with pytest.raises(QueueClosedError):
        jq.enqueue(Job())


# --- drain --------------------------------------------------------------------------------------


def test_in_memory_close_finishes_all_accepted_jobs() -> None:
    recorder = Recorder()
    jq = JobQueue(Config(num_workers=1), handler=recorder, start=False)
    for n in range(20):
        jq.enqueue(Job(id=str(n)))
    jq.start()

    jq.close()

    assert recorder.ids() == [str(n) for n in range(20)]


def test_drain_finishes_retries_too() -> None:
    attempts: list[int] = []

    def flaky(_payload: bytes, context: Any) -> None:
        attempts.append(context.attempt)
        if context.attempt < 2:
            raise RetryJobError(delay=0.001)

    jq = JobQueue(handler=flaky)
    handle = jq.enqueue(Job())

    jq.close(drain=True)

    assert attempts == [0, 1, 2]
    assert handle.status is Status.COMPLETED


def test_drain_finishes_what_falls_due_before_the_deadline() -> None:
    jq = JobQueue(handler=len)
    handle = jq.enqueue(Job(), delay=0.02)

    assert jq.close(PATIENCE).remaining == 0
    assert handle.status is Status.COMPLETED


def test_with_a_log_close_finishes_what_is_in_flight_and_leaves_the_rest(
    log: str, blocker: Blocker
) -> None:
    jq = JobQueue(Config(num_workers=1, persist_path=log), handler=blocker)
    for name in "abc":
        jq.enqueue(Job(id=name))
    blocker.await_entered()
    closing = in_thread(jq.close)
    eventually(lambda: _refuses(jq))

    blocker.gate.set()

    assert closing.result(PATIENCE) == ShutdownReport(completed=1, unfinished=(), remaining=2)
    recorder = Recorder()
    with JobQueue(Config(num_workers=1, persist_path=log), handler=recorder) as jq:
        assert jq.join(PATIENCE)
    assert recorder.ids() == ["b", "c"]


def test_with_a_log_drain_can_be_asked_for(log: str) -> None:
    jq = JobQueue(Config(persist_path=log), handler=len, start=False)
    handles = [jq.enqueue(Job()) for _ in range(10)]
    jq.start()

    report = jq.close(drain=True)

    assert [handle.status for handle in handles] == [Status.COMPLETED] * 10
    assert report.remaining == 0


def test_in_memory_drain_can_be_declined(blocker: Blocker) -> None:
    jq = JobQueue(Config(num_workers=1), handler=blocker)
    for name in "abc":
        jq.enqueue(Job(id=name))
    blocker.await_entered()
    closing = in_thread(jq.close, drain=False)
    eventually(lambda: _refuses(jq))

    blocker.gate.set()

    assert closing.result(PATIENCE) == ShutdownReport(completed=1, unfinished=(), remaining=2)


# --- what cannot run before the deadline does not hold `close` up ---------------------------------


def test_drain_leaves_jobs_of_a_queue_that_was_never_started() -> None:
    jq = JobQueue(handler=len, start=False)
    jq.enqueue(Job())

    assert _close_at_once(jq) == ShutdownReport(completed=0, unfinished=(), remaining=1)


def test_drain_leaves_jobs_of_a_paused_queue() -> None:
    jq = JobQueue(handler=len)
    jq.pause()
    jq.enqueue(Job())

    assert _close_at_once(jq).remaining == 1


def test_drain_of_a_paused_queue_finishes_what_is_in_flight(blocker: Blocker) -> None:
    jq = JobQueue(Config(num_workers=1), handler=blocker)
    jq.enqueue(Job(id="held"))
    jq.enqueue(Job(id="queued"))
    blocker.await_entered()
    jq.pause()
    closing = in_thread(_close_at_once, jq)
    eventually(lambda: _refuses(jq))

    blocker.gate.set()

    assert closing.result(PATIENCE) == ShutdownReport(completed=1, unfinished=(), remaining=1)


def test_pausing_ends_a_drain_that_waits_for_queued_jobs(blocker: Blocker) -> None:
    jq = JobQueue(Config(num_workers=1), handler=blocker)
    jq.enqueue(Job(id="held"))
    jq.enqueue(Job(id="queued"))
    blocker.await_entered()
    closing = in_thread(_close_at_once, jq)
    eventually(lambda: _refuses(jq))
    jq.pause()

    blocker.gate.set()

    assert closing.result(PATIENCE).remaining == 1


def test_a_resume_just_as_a_drain_ends_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # 1. close finds the queue drained, since it is paused; 2. another thread resumes it;
    # 3. a worker takes the queued job; 4. close gives it up, although there was time for it.
    jq = JobQueue(Config(num_workers=1), handler=len)
    jq.pause()
    jq.enqueue(Job(id="queued"))
    given_out: list[JobHandle | None] = []

    def resume_before(abandon: Callable[[], ShutdownReport]) -> ShutdownReport:
        with insides.mutex(jq):
            insides.scheduler(jq).resume()
            given_out.append(insides.scheduler(jq).take_ready())
        return abandon()

    abandoning = insides.abandoning(jq)
    monkeypatch.setattr(*abandoning, partial(resume_before, getattr(*abandoning)))

    assert jq.close() == ShutdownReport(completed=0, unfinished=(), remaining=1)
    assert given_out == [None]


def test_drain_leaves_jobs_that_wait_for_the_name_of_a_handler() -> None:
    jq = JobQueue()
    jq.enqueue(Job(handler="nobody"))

    assert _close_at_once(jq).remaining == 1


def test_drain_leaves_what_falls_due_after_the_deadline() -> None:
    jq = JobQueue(handler=len)
    jq.enqueue(Job(), delay=2 * LONG)

    assert _close_at_once(jq).remaining == 1


def test_drain_leaves_a_retry_that_falls_due_after_the_deadline() -> None:
    tried = threading.Event()

    def fail(_payload: bytes) -> None:
        tried.set()
        raise RetryJobError(delay=2 * LONG)

    jq = JobQueue(handler=fail)
    jq.enqueue(Job())
    assert tried.wait(PATIENCE)

    assert _close_at_once(jq).remaining == 1


def test_drain_leaves_what_is_scheduled_on_a_clock_that_stands_still() -> None:
    jq = JobQueue(handler=len, clock=ManualClock())
    jq.enqueue(Job(), delay=0.001)

    assert _close_at_once(jq).remaining == 1


@pytest.mark.parametrize("manual", [False, True])
def test_drain_leaves_what_waits_for_a_token_that_comes_too_late(manual: bool) -> None:
    jq = JobQueue(clock=ManualClock() if manual else None)
    jq.register("rated", len, rate=Rate(1, per=10 * LONG))
    done = jq.enqueue(Job(handler="rated"))
    for _ in range(3):
        jq.enqueue(Job(handler="rated"))
    assert done.wait(PATIENCE) is Status.COMPLETED
    jq.enqueue(Job(handler="rated", priority=Priority.LOW))

    assert _close_at_once(jq).remaining == 4


def test_drain_waits_for_tokens_that_come_in_time() -> None:
    jq = JobQueue()
    jq.register("rated", len, rate=Rate(1, per=0.02))
    jobs = [jq.enqueue(Job(handler="rated")) for _ in range(4)]

    assert jq.close(PATIENCE).remaining == 0

    assert {job.status for job in jobs} == {Status.COMPLETED}


def test_drain_finishes_what_a_manual_clock_has_made_due(blocker: Blocker) -> None:
    clock = ManualClock()
    jq = JobQueue(Config(num_workers=1), handler=blocker, clock=clock)
    jq.enqueue(Job(id="due"), delay=5)
    jq.enqueue(Job(id="later"), delay=50)
    clock.advance(5)
    blocker.await_entered()
    closing = in_thread(_close_at_once, jq)
    eventually(lambda: _refuses(jq))

    blocker.gate.set()

    assert closing.result(PATIENCE) == ShutdownReport(completed=1, unfinished=(), remaining=1)


def test_drain_runs_what_can_run_and_leaves_what_cannot() -> None:
    jq = JobQueue(handler=len, start=False)
    jq.enqueue(Job(handler="nobody"))
    jq.enqueue(Job(), delay=2 * LONG)
    runs = [jq.enqueue(Job(priority=each)) for each in Priority]
    jq.start()

    assert _close_at_once(jq).remaining == 2
    assert [handle.status for handle in runs] == [Status.COMPLETED] * 3


def _close_at_once(jq: JobQueue) -> ShutdownReport:
    """Drain with a timeout that nobody can have waited for when this returns."""
    start = time.monotonic()
    report = jq.close(LONG, drain=True)
    assert time.monotonic() - start < PATIENCE
    return report


# --- timeouts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("drain", [True, False])
def test_close_returns_by_its_timeout(blocker: Blocker, drain: bool) -> None:
    jq = JobQueue(Config(shutdown_timeout=LONG), handler=blocker)
    jq.enqueue(Job(id="a"))
    blocker.await_entered()
    start = time.monotonic()

    report = jq.close(0.03, drain=drain)

    assert 0.03 <= time.monotonic() - start < PATIENCE
    assert report.unfinished == ("a",)


def test_shutdown_timeout_is_the_timeout_of_close(blocker: Blocker) -> None:
    jq = JobQueue(Config(shutdown_timeout=0.03), handler=blocker)
    jq.enqueue(Job(id="a"))
    blocker.await_entered()
    start = time.monotonic()

    assert jq.close().unfinished == ("a",)
    assert 0.03 <= time.monotonic() - start < PATIENCE


@pytest.mark.parametrize("timeout", [-1, math.nan, math.inf])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(timeout: float) -> None:
    with JobQueue(handler=len) as jq:
        with pytest.raises(ValueError, match="timeout"):
            jq.close(timeout)
        with pytest.raises(ValueError, match="timeout"):
            jq.join(timeout)
        assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3


def test_a_timeout_that_is_no_number_is_refused() -> None:
    with JobQueue(handler=len) as jq, pytest.raises(TypeError, match="timeout"):
        jq.close("soon")  # type: ignore[arg-type]  # the wrong type is the point


def test_a_drain_that_is_neither_true_nor_false_is_refused_and_the_queue_goes_on() -> None:
    with JobQueue(handler=len) as jq:
        with pytest.raises(TypeError, match="drain must be True, False or None, not 'no'"):
            jq.close(drain="no")  # type: ignore[arg-type]  # the wrong type is the point
        assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3


def test_handlers_without_names_are_refused_by_a_message_that_says_what_to_write() -> None:
    with pytest.raises(TypeError, match="handlers must map names to functions"):
        JobQueue(handlers=[len])  # type: ignore[arg-type]  # the wrong type is the point


# --- after close --------------------------------------------------------------------------------


def test_a_closed_queue_takes_no_job() -> None:
    jq = JobQueue(Config(max_retries=0), handler=_fail)
    failed = jq.enqueue(Job())
    failed.wait(PATIENCE)
    jq.close()

    for call in (
        lambda: jq.enqueue(Job()),
        lambda: jq.enqueue(Job(), delay=1),
        lambda: jq.enqueue_many([Job()]),
        lambda: jq.enqueue_with_handler(Job(), len),
        lambda: jq.requeue(failed.id),
        jq.start,
    ):
        with pytest.raises(QueueClosedError, match="closed"):
            call()


def _fail(_payload: bytes) -> None:
    raise ConnectionError("no")


def test_a_closed_queue_still_tells_what_became_of_its_jobs() -> None:
    jq = JobQueue(Config(max_retries=0), handlers={"good": len, "bad": _fail})
    jq.enqueue(Job(id="good", handler="good"))
    jq.enqueue(Job(id="bad", handler="bad"))
    jq.close()

    assert jq.status("good") is Status.COMPLETED
    assert jq.info("bad").last_error == "ConnectionError: no"
    assert [letter.id for letter in jq.dead_letters()] == ["bad"]
    assert jq.handle("good").status is Status.COMPLETED
    assert jq.metrics().failed == 1


def test_a_job_that_close_left_cannot_be_cancelled_any_more(log: str) -> None:
    jq = JobQueue(Config(persist_path=log), handler=len, start=False)
    jq.enqueue(Job(id="a"))
    jq.close()

    with pytest.raises(QueueClosedError):
        jq.cancel("a")


def test_a_dead_letter_of_a_closed_queue_cannot_be_discarded(log: str) -> None:
    jq = JobQueue(Config(persist_path=log, max_retries=0), handler=_fail)
    jq.enqueue(Job(id="a")).wait(PATIENCE)
    jq.close()

    with pytest.raises(QueueClosedError):
        jq.discard("a")


def test_pause_resume_and_flush_of_a_closed_queue_do_nothing(log: str) -> None:
    jq = JobQueue(Config(persist_path=log), handler=len)
    jq.close()
    before = _content(log)

    jq.pause()
    jq.resume()
    jq.flush()

    assert _content(log) == before


# --- threads ------------------------------------------------------------------------------------


def test_no_thread_is_left_when_close_returns(log: str, own_threads: Threads) -> None:
    jq = JobQueue(Config(persist_path=log), handler=len)
    jq.enqueue(Job()).wait(PATIENCE)
    assert len(own_threads()) > 0

    jq.close()

    assert own_threads() == []


def test_all_threads_are_daemons_and_named(log: str) -> None:
    before = set(threading.enumerate())
    with JobQueue(Config(persist_path=log, num_workers=2), handler=len):
        own = set(threading.enumerate()) - before

    assert len(own) >= 4
    assert all(thread.daemon and thread.name.startswith("jobqueue-") for thread in own)


def test_without_a_log_there_is_no_log_thread(own_threads: Threads) -> None:
    with JobQueue(handler=len):
        assert "jobqueue-log" not in [thread.name for thread in own_threads()]


def test_the_thread_of_a_late_handler_ends_with_it(blocker: Blocker, own_threads: Threads) -> None:
    jq = JobQueue(Config(num_workers=1), handler=blocker)
    jq.enqueue(Job())
    blocker.await_entered()
    *_, worker = own_threads()
    jq.close(0)
    assert own_threads() == [worker]

    blocker.gate.set()

    worker.join(PATIENCE)
    assert not worker.is_alive()


@pytest.mark.parametrize("nth", range(1, 7))
def test_a_constructor_that_gets_no_thread_leaves_none_and_unlocks_the_log(
    log: str, nth: int, monkeypatch: pytest.MonkeyPatch, own_threads: Threads
) -> None:
    _refuse_nth_thread(monkeypatch, nth)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        JobQueue(Config(persist_path=log), handler=len)

    monkeypatch.undo()
    assert own_threads() == []
    with JobQueue(Config(persist_path=log), handler=len) as jq:
        assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3


@pytest.mark.parametrize("executor", ["thread", "process", "asyncio"])
def test_a_queue_whose_workers_cannot_be_started_says_so_from_then_on(
    log: str, executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(persist_path=log, executor=executor)
    jq = JobQueue(config, handler=b64encode, start=False)
    waiting = jq.enqueue(Job(b"abc"))
    _refuse_nth_thread(monkeypatch, 1)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        jq.start()
    monkeypatch.undo()

    jq.start()
    for call in (lambda: jq.enqueue(Job()), waiting.result, jq.join):
        with pytest.raises(JobQueueError, match="workers could not be started: can't start"):
            call()

    assert jq.close().remaining == 1
    with JobQueue(Config(persist_path=log), handler=len) as jq:
        assert jq.handle(waiting.id).wait(PATIENCE) is Status.COMPLETED


def _refuse_nth_thread(monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """Have the n-th thread that is started from here on refused, as the system may do."""
    start = threading.Thread.start
    started = 0

    def refuse(thread: threading.Thread) -> None:
        nonlocal started
        started += 1
        if started == nth:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"config": {"num_workers": 1}}, TypeError),
        ({"handler": lambda: None}, TypeError),
        ({"handler": "print"}, TypeError),
        ({"handlers": [len]}, TypeError),
        ({"handlers": {"": len}}, ValueError),
        ({"handlers": {"a": lambda x, y, z: None}}, TypeError),
        ({"config": Config(executor="process"), "handler": lambda payload: payload}, ValueError),
    ],
)
def test_a_constructor_that_refuses_its_arguments_leaves_no_thread(
    arguments: dict[str, Any], error: type[Exception], own_threads: Threads
) -> None:
    with pytest.raises(error):
        JobQueue(**arguments)

    assert own_threads() == []


# --- several at once ----------------------------------------------------------------------------


def test_close_from_several_threads_gives_all_the_same_report(blocker: Blocker) -> None:
    jq = JobQueue(Config(num_workers=1), handler=blocker)
    jq.enqueue(Job())
    blocker.await_entered()
    closing = [in_thread(jq.close) for _ in range(8)]
    eventually(lambda: _refuses(jq))

    blocker.gate.set()

    reports = [each.result(PATIENCE) for each in closing]
    assert reports == [ShutdownReport(completed=1, unfinished=(), remaining=0)] * 8


def test_a_second_close_returns_by_its_own_timeout(blocker: Blocker) -> None:
    jq = JobQueue(Config(num_workers=1), handler=blocker)
    jq.enqueue(Job(id="a"))
    blocker.await_entered()
    closing = in_thread(jq.close, LONG)
    eventually(lambda: _refuses(jq))

    assert jq.close(0.01) == ShutdownReport(completed=0, unfinished=("a",), remaining=0)

    blocker.gate.set()
    assert closing.result(PATIENCE).completed == 1


def test_a_close_that_breaks_off_is_taken_up_by_the_next(
    blocker: Blocker, monkeypatch: pytest.MonkeyPatch, own_threads: Threads
) -> None:
    jq = JobQueue(Config(num_workers=1), handler=blocker)
    jq.enqueue(Job())
    blocker.await_entered()

    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("jobqueue.final.core.watchers.Parker.park", interrupted)
        with pytest.raises(KeyboardInterrupt):
            jq.close()
    assert _refuses(jq)

    blocker.gate.set()

    assert jq.close() == ShutdownReport(completed=1, unfinished=(), remaining=0)
    assert own_threads() == []


def test_producers_that_are_blocked_when_close_begins_are_accepted_or_refused(
    blocker: Blocker,
) -> None:
    """Fault 21 of docs/reliability.md."""
    jq = JobQueue(Config(num_workers=1, queue_size=1), handler=blocker)
    jq.enqueue(Job(id="held"))
    blocker.await_entered()
    jq.enqueue(Job(id="fills the lane"))
    producing = [in_thread(jq.enqueue, Job(id=str(n))) for n in range(10)]
    eventually(lambda: len(insides.producers(jq)) == 10)
    closing = in_thread(jq.close)

    refused = [each.exception(PATIENCE) for each in producing]
    blocker.gate.set()

    assert {type(error) for error in refused} == {QueueClosedError}
    assert closing.result(PATIENCE) == ShutdownReport(completed=2, unfinished=(), remaining=0)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.slow
def test_a_job_is_accepted_and_not_lost_or_refused_when_close_comes_while_it_is_enqueued(
    persistent: bool, tmp_path: Path
) -> None:
    for round_ in range(10):
        path = str(tmp_path / str(round_)) if persistent else None
        recorder = Recorder()
        jq = JobQueue(Config(num_workers=2, queue_size=4, persist_path=path), handler=recorder)
        ready = threading.Barrier(5)
        producing = [in_thread(_produce, jq, ready, f"{n}-") for n in range(4)]
        ready.wait(PATIENCE)
        first = recorder.next().id

        jq.close(drain=not persistent)

        accepted = {job_id for each in producing for job_id in each.result(PATIENCE)}
        ran = {first, *recorder.ids()}
        if path is not None:
            with JobQueue(Config(persist_path=path), handler=recorder) as jq:
                assert jq.join(PATIENCE)
                assert all(jq.status(job_id) is Status.COMPLETED for job_id in accepted)
        else:
            assert accepted <= ran
            assert all(jq.status(job_id) is Status.COMPLETED for job_id in accepted)
        assert ran <= accepted


def _produce(jq: JobQueue, ready: threading.Barrier, prefix: str) -> list[str]:
    """Enqueue until the queue is closed; the ids that were accepted."""
    accepted: list[str] = []
    ready.wait(PATIENCE)
    try:
        while True:
            accepted.append(jq.enqueue(Job(id=f"{prefix}{len(accepted)}")).id)
    except QueueClosedError:
        return accepted


# --- from inside a handler ----------------------------------------------------------------------


@pytest.mark.parametrize("call", ["close", "join"])
def test_a_handler_cannot_close_or_join_its_own_queue(call: str) -> None:
    def handler(_payload: bytes) -> None:
        getattr(jq, call)()

    with JobQueue(Config(max_retries=0), handlers={"calls": handler, "len": len}) as jq:
        with pytest.raises(RuntimeError, match=f"a handler cannot {call} its own queue"):
            jq.enqueue(Job(handler="calls")).result(PATIENCE)
        assert jq.enqueue(Job(b"abc", handler="len")).result(PATIENCE) == 3


def test_a_handler_can_close_and_join_another_queue() -> None:
    other = JobQueue(handler=len)
    other.enqueue(Job())

    def handler(_payload: bytes) -> ShutdownReport:
        assert other.join(PATIENCE)
        return other.close()

    with JobQueue(handler=handler) as jq:
        assert jq.enqueue(Job()).result(PATIENCE) == NOTHING


# --- a handler that outlives `close` ------------------------------------------------------------


@pytest.mark.parametrize("error", [None, ConnectionError("late")])
def test_a_late_result_touches_nothing(
    log: str, error: Exception | None, own_threads: Threads
) -> None:
    """Fault 19 of docs/reliability.md."""
    blocker = Blocker(error)
    jq = JobQueue(Config(num_workers=1, persist_path=log, max_retries=0), handler=blocker)
    handle = jq.enqueue(Job(id="late"))
    blocker.await_entered()
    *_, worker = own_threads()
    assert jq.close(0).unfinished == ("late",)
    before = (_content(log), jq.metrics().by_priority, jq.info("late"))

    blocker.gate.set()
    worker.join(PATIENCE)

    assert not worker.is_alive()
    assert handle.status is Status.PROCESSING
    assert (_content(log), jq.metrics().by_priority, jq.info("late")) == before


def test_a_job_whose_handler_outlived_close_runs_again_after_a_restart(
    log: str, blocker: Blocker
) -> None:
    jq = JobQueue(Config(num_workers=1, persist_path=log), handler=blocker)
    jq.enqueue(Job(b"payload", id="late"))
    blocker.await_entered()
    jq.close(0)

    recorder = Recorder()
    with JobQueue(Config(persist_path=log), handler=recorder):
        assert recorder.next().id == "late"


def test_a_late_handler_cannot_enqueue(blocker: Blocker, own_threads: Threads) -> None:
    refused: list[QueueClosedError] = []

    def handler(payload: bytes, context: Any) -> None:
        blocker(payload, context)
        try:
            jq.enqueue(Job())
        except QueueClosedError as error:
            refused.append(error)

    jq = JobQueue(Config(num_workers=1), handler=handler)
    jq.enqueue(Job())
    blocker.await_entered()
    *_, worker = own_threads()
    jq.close(0)
    blocker.gate.set()
    worker.join(PATIENCE)

    assert len(refused) == 1


# --- who waits when the queue closes ------------------------------------------------------------


def _waits(jq: JobQueue, job_id: str) -> bool:
    return bool(insides.waiters(insides.status_map(jq).live[job_id]))


def test_result_raises_when_the_queue_closes_first() -> None:
    jq = JobQueue(handler=len, start=False)
    handle = jq.enqueue(Job(id="a"))
    waiting = in_thread(handle.result)
    eventually(lambda: _waits(jq, "a"))

    jq.close()

    with pytest.raises(QueueClosedError, match="closed before job 'a' was finished"):
        waiting.result(PATIENCE)
    with pytest.raises(QueueClosedError):
        handle.result()


def test_wait_returns_the_last_status_when_the_queue_closes_first(blocker: Blocker) -> None:
    jq = JobQueue(Config(num_workers=1), handler=blocker)
    handle = jq.enqueue(Job(id="a"))
    blocker.await_entered()
    waiting = in_thread(handle.wait)
    eventually(lambda: _waits(jq, "a"))

    jq.close(0)

    assert waiting.result(PATIENCE) is Status.PROCESSING
    assert handle.wait() is Status.PROCESSING


def test_join_returns_false_when_the_queue_closes_with_jobs_left() -> None:
    jq = JobQueue(handler=len, start=False)
    jq.enqueue(Job())
    joining = in_thread(jq.join)
    eventually(lambda: insides.waiting_for_rest(jq))

    jq.close()

    assert joining.result(PATIENCE) is False
    assert jq.join() is False


def test_join_returns_true_when_the_queue_closes_with_nothing_left(blocker: Blocker) -> None:
    jq = JobQueue(Config(num_workers=1), handler=blocker)
    jq.enqueue(Job())
    blocker.await_entered()
    joining = in_thread(jq.join)
    eventually(lambda: insides.waiting_for_rest(jq))
    blocker.gate.set()

    jq.close()

    assert joining.result(PATIENCE) is True


# --- start, join, pause -------------------------------------------------------------------------


def test_start_may_be_called_again() -> None:
    with JobQueue(Config(num_workers=2), handler=len) as jq:
        jq.start()

        assert jq.metrics().workers.count == 2


def test_jobs_enqueued_before_start_run_after_it() -> None:
    with JobQueue(handler=len, start=False) as jq:
        handle = jq.enqueue(Job(b"abc"))
        assert handle.status is Status.QUEUED

        jq.start()

        assert handle.result(PATIENCE) == 3


def test_a_queue_that_was_never_started_can_be_closed(log: str, own_threads: Threads) -> None:
    jq = JobQueue(Config(persist_path=log), handler=len, start=False)

    assert jq.close() == NOTHING
    assert own_threads() == []


def test_join_waits_for_what_is_processing(blocker: Blocker) -> None:
    with JobQueue(Config(num_workers=1), handler=blocker) as jq:
        jq.enqueue(Job())
        blocker.await_entered()
        assert jq.join(0) is False
        joining = in_thread(jq.join)

        blocker.gate.set()

        assert joining.result(PATIENCE) is True
        assert jq.metrics().processing == 0


def test_join_waits_for_what_is_queued_and_scheduled() -> None:
    clock = ManualClock()
    with JobQueue(handler=len, clock=clock, start=False) as jq:
        jq.enqueue(Job(), delay=5)
        jq.enqueue(Job())
        jq.start()
        assert jq.join(0.01) is False
        joining = in_thread(jq.join)

        clock.advance(5)

        assert joining.result(PATIENCE) is True
        assert jq.metrics().completed == 2


def test_join_does_not_wait_for_jobs_that_wait_for_the_name_of_a_handler() -> None:
    with JobQueue(handler=len) as jq:
        jq.enqueue(Job(handler="nobody"))
        jq.enqueue(Job())

        assert jq.join(PATIENCE) is True


def test_join_ends_when_the_last_job_is_cancelled() -> None:
    with JobQueue(handler=len) as jq:
        jq.enqueue(Job(id="a"), delay=LONG)
        joining = in_thread(jq.join)
        eventually(lambda: insides.waiting_for_rest(jq))

        jq.cancel("a")

        assert joining.result(PATIENCE) is True


def test_paused_workers_finish_what_they_hold_and_take_no_more(blocker: Blocker) -> None:
    with JobQueue(Config(num_workers=1), handler=blocker) as jq:
        held, queued = jq.enqueue(Job(id="held")), jq.enqueue(Job(id="queued"))
        blocker.await_entered()
        jq.pause()

        blocker.gate.set()
        assert held.wait(PATIENCE) is Status.COMPLETED
        eventually(lambda: insides.idle_workers(insides.scheduler(jq)) == 1)
        assert queued.status is Status.QUEUED

        jq.resume()
        assert queued.wait(PATIENCE) is Status.COMPLETED


# --- faults of the queue's own threads ----------------------------------------------------------

dies = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class _BrokenClock(ManualClock):
    """A clock that breaks once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.broken_for = ""

    def monotonic(self) -> float:
        if self.broken_for and threading.current_thread().name.startswith(self.broken_for):
            raise OSError("the clock is broken")
        return super().monotonic()


@dies
def test_when_a_worker_dies_those_who_wait_are_told(log: str) -> None:
    """Fault 20 of docs/reliability.md."""
    clock = _BrokenClock()
    jq = JobQueue(Config(num_workers=1, persist_path=log), handler=len, clock=clock, start=False)
    handle = jq.enqueue(Job(id="a"))
    waiting, joining = in_thread(handle.result), in_thread(jq.join)
    eventually(lambda: _waits(jq, "a") and insides.waiting_for_rest(jq))

    clock.broken_for = "jobqueue-worker"
    jq.start()

    for each in (waiting, joining):
        with pytest.raises(JobQueueError, match="a worker thread died: OSError: the clock is"):
            each.result(PATIENCE)
    with pytest.raises(JobQueueError, match="worker thread died"):
        jq.enqueue(Job())
    assert jq.close(PATIENCE).remaining + len(jq.close().unfinished) == 1
    with JobQueue(Config(persist_path=log), handler=len) as jq:
        assert jq.join(PATIENCE)
        assert jq.status("a") is Status.COMPLETED


@dies
def test_when_the_timer_dies_those_who_wait_are_told() -> None:
    jq = JobQueue(handler=len)
    handle = jq.enqueue(Job(id="a"), delay=LONG)
    waiting = in_thread(handle.result)
    eventually(lambda: _waits(jq, "a"))

    insides.timer(jq).call_soon(_Dying())

    with pytest.raises(JobQueueError, match="the timer thread died: MemoryError"):
        waiting.result(PATIENCE)
    assert jq.close(PATIENCE).remaining == 1


class _Dying:
    def __call__(self) -> None:
        raise MemoryError


@dies
def test_a_change_that_cannot_be_finished_keeps_nobody_from_being_told_of_a_fault() -> None:
    jq = JobQueue(handler=len)
    waiting = in_thread(jq.enqueue(Job(id="a"), delay=LONG).result)
    eventually(lambda: _waits(jq, "a"))

    def die() -> None:
        with insides.mutex(jq):
            insides.mutex(jq).unfinished = object()  # nothing knows how to finish it
        raise MemoryError

    insides.timer(jq).call_soon(die)

    with pytest.raises(JobQueueError, match="the timer thread died: MemoryError") as raised:
        waiting.result(PATIENCE)
    fault = raised.value.__cause__
    assert fault is not None
    assert "could not be finished: AttributeError" in "".join(fault.__notes__)
    assert jq.close(PATIENCE).remaining == 1


@dies
def test_a_producer_that_waits_for_room_is_told_when_a_worker_dies() -> None:
    clock = _BrokenClock()
    jq = JobQueue(Config(num_workers=1, queue_size=1), handler=len, clock=clock, start=False)
    jq.enqueue(Job())
    producing = in_thread(jq.enqueue, Job())
    eventually(lambda: insides.producers(jq))

    clock.broken_for = "jobqueue-worker"
    jq.start()

    with pytest.raises(JobQueueError, match="worker thread died"):
        producing.result(PATIENCE)
    jq.close(PATIENCE)


def test_a_broken_log_handler_of_the_user_does_not_stop_the_queue(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_record: logging.LogRecord) -> bool:
        raise ZeroDivisionError

    logger = logging.getLogger("jobqueue")
    monkeypatch.setattr(logger, "filters", [broken])
    with JobQueue(Config(max_retries=0), handlers={"bad": _fail, "len": len}) as jq:
        jq.enqueue(Job(handler="bad")).wait(PATIENCE)
        assert jq.enqueue(Job(b"abc", handler="len")).result(PATIENCE) == 3
        assert jq.metrics().workers.count == 4
    assert "ZeroDivisionError" in capsys.readouterr().err
