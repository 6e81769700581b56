"""What comes of an attempt: how it ends, when the next one is, and what the log tells of it."""

from __future__ import annotations

import asyncio
import logging
import traceback

import pytest

from jobqueue.final import Job, JobContext, JobQueue, RejectJobError, RetryJobError, Status
from jobqueue.final.runtime.reporting import describe
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.queues import Attempts, Store, every_store, until, until_retried
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually


class OwnBaseError(BaseException):
    """A user's own, that is no `Exception`."""


NO_EXCEPTIONS = [
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    OwnBaseError("own"),
]


def by_type(error: object) -> str:
    return type(error).__name__


# ── how an attempt ends ──────────────────────────────────────────────────────────────────────


@every_store
def test_handler_that_returns_completes_its_job(store: Store) -> None:
    jq = store.open(len)
    handle = jq.enqueue(Job())
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert (jq.metrics().completed, jq.info(handle.id).retries) == (1, 0)


@every_store
def test_handler_that_raises_is_retried_until_max_retries_and_then_has_failed(
    store: Store,
) -> None:
    attempts = Attempts(ConnectionError("down"))
    jq = store.open(attempts, base_delay=0, max_retries=2)
    handle = jq.enqueue(Job())
    assert handle.wait(PATIENCE) is Status.FAILED
    metrics = jq.metrics()
    assert (len(attempts.contexts), metrics.retried, metrics.failed) == (3, 2, 1)
    assert jq.info(handle.id).retries == 2


@pytest.mark.parametrize("max_retries", [0, 1, 5])
def test_max_retries_of_the_job_goes_before_that_of_the_queue(
    store: Store, max_retries: int
) -> None:
    attempts = Attempts(ConnectionError("down"))
    jq = store.open(attempts, base_delay=0, max_retries=3)
    assert jq.enqueue(Job(max_retries=max_retries)).wait(PATIENCE) is Status.FAILED
    assert len(attempts.contexts) == max_retries + 1


def test_job_that_succeeds_in_the_end_is_completed(store: Store) -> None:
    attempts = Attempts(ValueError("1"), ValueError("2"), "done")
    jq = store.open(attempts, base_delay=0)
    assert jq.enqueue(Job()).result(PATIENCE) == "done"
    metrics = jq.metrics()
    assert (metrics.completed, metrics.failed, metrics.retried) == (1, 0, 2)


@every_store
def test_rejected_job_has_failed_at_once(store: Store) -> None:
    attempts = Attempts(RejectJobError("bad address"))
    jq = store.open(attempts, base_delay=0, max_retries=5)
    handle = jq.enqueue(Job())
    assert handle.wait(PATIENCE) is Status.FAILED
    assert (len(attempts.contexts), jq.metrics().retried) == (1, 0)
    assert jq.info(handle.id).last_error == "RejectJobError: bad address"
    assert [letter.id for letter in jq.dead_letters()] == [handle.id]


@pytest.mark.parametrize("error", NO_EXCEPTIONS, ids=by_type)
def test_what_is_no_exception_counts_as_a_failed_attempt_and_is_retried(
    store: Store, error: BaseException
) -> None:
    jq = store.open(Attempts(error, "done"), base_delay=0)
    handle = jq.enqueue(Job())
    assert handle.result(PATIENCE) == "done"
    assert jq.metrics().retried == 1


@pytest.mark.parametrize("error", NO_EXCEPTIONS, ids=by_type)
def test_worker_lives_on_whatever_its_handler_raises(memory: Store, error: BaseException) -> None:
    jq = memory.open(Attempts(error, error, "done"), num_workers=1, max_retries=0)
    threads = {worker.thread for worker in insides.pool(jq).workers}
    statuses = [jq.enqueue(Job()).wait(PATIENCE) for _ in range(3)]
    assert statuses == [Status.FAILED, Status.FAILED, Status.COMPLETED]
    assert {worker.thread for worker in insides.pool(jq).workers} == threads
    assert all(thread.is_alive() for thread in threads)
    assert jq.metrics().workers.count == 1


@pytest.mark.parametrize("error", NO_EXCEPTIONS, ids=by_type)
def test_result_of_a_job_that_failed_so_is_that_exception(
    memory: Store, error: BaseException
) -> None:
    handle = memory.open(Attempts(error), max_retries=0).enqueue(Job())
    with pytest.raises(type(error)) as caught:
        handle.result(PATIENCE)
    assert caught.value is error


def test_handler_that_returns_an_exception_completes_its_job(memory: Store) -> None:
    error = ValueError("returned")
    handle = memory.open(lambda payload: error).enqueue(Job())
    assert handle.result(PATIENCE) is error
    assert handle.status is Status.COMPLETED


class MuteError(BaseException):
    """Says nothing of itself but raises worse."""

    def __str__(self) -> str:
        raise SystemExit(4)


def test_worker_survives_an_error_whose_text_is_an_exit(memory: Store) -> None:
    jq = memory.open(Attempts(MuteError(), "done"), num_workers=1, max_retries=0)
    assert jq.enqueue(Job()).wait(PATIENCE) is Status.FAILED
    assert jq.enqueue(Job()).result(PATIENCE) == "done"


def test_traceback_of_an_error_begins_in_the_handler(memory: Store) -> None:
    def fails(payload: bytes) -> None:
        raise ValueError("boom")

    handle = memory.open(fails, max_retries=0).enqueue(Job())
    with pytest.raises(ValueError, match="boom") as caught:
        handle.result(PATIENCE)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "fails"
    assert "_work" not in names


def test_text_of_an_error_is_kept_up_to_a_limit() -> None:
    summary, _trace = describe(ValueError("x" * 1_000_000))
    assert summary == "ValueError: " + "x" * (2048 - len("ValueError: "))


def test_error_is_described_with_its_causes() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        summary, trace = describe(error)
    assert summary == "ValueError: outer"
    assert "KeyError: 'inner'" in trace
    assert "direct cause" in trace


# ── when the next attempt is ─────────────────────────────────────────────────────────────────


def runs_after(jq: JobQueue, clock: ManualClock, id: str, seconds: float) -> bool:
    """Whether a job that waits for its retry does so for exactly this long."""
    clock.advance(seconds - 0.001)
    too_early = jq.status(id) is not Status.SCHEDULED
    clock.advance(0.001)
    return not too_early and eventually(lambda: jq.info(id).started == clock.time())


def test_backoff_is_1_2_4_and_8_seconds(store: Store, clock: ManualClock) -> None:
    attempts = Attempts(ConnectionError("down"), clock=clock)
    jq = store.open(attempts, clock=clock, max_retries=4)
    handle = jq.enqueue(Job(id="a"))
    for times, seconds in ((1, 1), (2, 2), (3, 4), (4, 8)):
        until_retried(jq, "a", times)
        assert runs_after(jq, clock, "a", seconds)
    assert handle.wait(PATIENCE) is Status.FAILED
    assert attempts.times == pytest.approx([0, 1, 3, 7, 15])


def test_backoff_is_capped_by_max_delay(store: Store, clock: ManualClock) -> None:
    jq = store.open(
        Attempts(ConnectionError("down")), clock=clock, base_delay=4, max_delay=10, max_retries=5
    )
    jq.enqueue(Job(id="a"))
    for times, seconds in ((1, 4), (2, 8), (3, 10), (4, 10)):
        until_retried(jq, "a", times)
        assert runs_after(jq, clock, "a", seconds)


def test_backoff_after_a_thousand_retries_is_still_max_delay(
    log_store: Store, clock: ManualClock
) -> None:
    """2**attempt is above what a float can hold by then."""
    jq = log_store.open(Attempts(ConnectionError("down")), clock=clock, max_retries=5000)
    jq.pause()
    jq.enqueue(Job(id="a"))
    insides.set_retries(jq.handle("a"), 2000)
    jq.resume()
    until_retried(jq, "a", 2001)
    assert runs_after(jq, clock, "a", 60)


def scheduled_over_time(jq: JobQueue, clock: ManualClock, step: float, steps: int) -> list[int]:
    """How many jobs wait for their retry after each step."""
    counts = []
    for _ in range(steps):
        clock.advance(step)
        counts.append(jq.metrics().scheduled)
    return counts


def test_jitter_varies_the_backoff_by_its_fraction_after_the_cap(
    memory: Store, clock: ManualClock
) -> None:
    jq = memory.open(
        lambda payload, context: 1 / context.attempt,
        clock=clock,
        base_delay=100,
        max_delay=10,
        jitter=0.5,
    )
    jq.enqueue_many([Job() for _ in range(50)])
    assert eventually(lambda: jq.metrics().scheduled == 50)
    clock.advance(4.999)
    assert jq.metrics().scheduled == 50
    counts = scheduled_over_time(jq, clock, 1.0, 10)
    assert counts[-1] <= 1  # one may be at the very end, 15 s
    clock.advance(0.002)
    assert jq.metrics().scheduled == 0
    assert 0 < counts[4] < 50  # before and after the middle
    assert len(set(counts)) > 3


def test_jitter_of_0_is_exact(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(lambda payload, context: 1 / context.attempt, clock=clock, jitter=0)
    jq.enqueue_many([Job() for _ in range(20)])
    assert eventually(lambda: jq.metrics().scheduled == 20)
    assert scheduled_over_time(jq, clock, 0.5, 2) == [20, 0]


def test_default_jitter_is_a_tenth(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(lambda payload, context: 1 / context.attempt, clock=clock, jitter=0.1)
    jq.enqueue_many([Job() for _ in range(50)])
    assert eventually(lambda: jq.metrics().scheduled == 50)
    clock.advance(0.899)
    assert jq.metrics().scheduled == 50
    clock.advance(0.101)
    assert 0 < jq.metrics().scheduled < 50
    clock.advance(0.101)
    assert jq.metrics().scheduled == 0


@pytest.mark.parametrize("delay", [0.25, 7, 100])
def test_delay_that_the_handler_asked_for_is_exact_whatever_cap_and_jitter(
    store: Store, clock: ManualClock, delay: float
) -> None:
    jq = store.open(
        Attempts(RetryJobError("busy", delay=delay), "done"), clock=clock, jitter=1, max_delay=60
    )
    handle = until(jq.enqueue(Job(id="a")), Status.SCHEDULED)
    assert runs_after(jq, clock, "a", delay)
    assert handle.result(PATIENCE) == "done"
    assert (jq.metrics().retried, jq.info("a").retries) == (1, 1)
    assert jq.info("a").last_error == "RetryJobError: busy"


def test_retry_that_was_asked_for_counts_towards_max_retries(store: Store) -> None:
    attempts = Attempts(RetryJobError(delay=0))
    jq = store.open(attempts, max_retries=2)
    assert jq.enqueue(Job()).wait(PATIENCE) is Status.FAILED
    assert len(attempts.contexts) == 3


def test_backoff_after_a_delay_that_was_asked_for_goes_by_the_number_of_retries(
    store: Store, clock: ManualClock
) -> None:
    jq = store.open(Attempts(RetryJobError(delay=5), ConnectionError("down"), "done"), clock=clock)
    handle = until(jq.enqueue(Job(id="a")), Status.SCHEDULED)
    assert runs_after(jq, clock, "a", 5)
    until_retried(jq, "a", 2)
    assert runs_after(jq, clock, "a", 2)
    assert handle.result(PATIENCE) == "done"


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf")], ids=lambda d: f"{d}"[:9])
def test_delay_that_cannot_be_waited_is_refused_where_it_is_asked_for(delay: float) -> None:
    with pytest.raises(ValueError, match="delay must be a finite number"):
        RetryJobError(delay=delay)


def test_delay_has_to_be_given_and_a_message_need_not() -> None:
    with pytest.raises(TypeError):
        RetryJobError("busy")  # type: ignore[call-arg]  # the mistake that is tested
    assert str(RetryJobError(delay=2)) == "retry after 2 s"
    assert (str(RetryJobError("busy", delay=2)), RetryJobError(delay=2).delay) == ("busy", 2.0)


class LazyRetryError(RetryJobError):
    """A subclass that leaves out what it should say."""

    def __init__(self, delay: object = None) -> None:
        if delay is not None:
            self.delay = delay  # type: ignore[assignment]  # the mistake that is tested


@pytest.mark.parametrize("delay", [None, -1.0, float("nan"), "soon"])
def test_subclass_that_asks_for_no_delay_gets_the_backoff(
    memory: Store, clock: ManualClock, delay: object
) -> None:
    jq = memory.open(Attempts(LazyRetryError(delay), "done"), clock=clock)
    handle = until(jq.enqueue(Job(id="a")), Status.SCHEDULED)
    assert runs_after(jq, clock, "a", 1)
    assert handle.result(PATIENCE) == "done"


def test_retry_enters_its_lane_at_the_back(store: Store, clock: ManualClock) -> None:
    ran: list[str] = []

    def handle(payload: bytes, context: JobContext) -> None:
        ran.append(context.job.id)
        if context.job.id == "a" and context.attempt == 0:
            raise ConnectionError("down")

    jq = store.open(handle, clock=clock, num_workers=1)
    first = until(jq.enqueue(Job(id="a")), Status.SCHEDULED)
    jq.pause()
    jq.enqueue_many([Job(id="b"), Job(id="c")])
    clock.advance(1)
    jq.resume()
    assert first.wait(PATIENCE) is Status.COMPLETED
    assert ran == ["a", "b", "c", "a"]


# ── what the log tells ───────────────────────────────────────────────────────────────────────


def traced(record: logging.LogRecord) -> BaseException:
    """The exception of a record, which has its traceback."""
    assert record.exc_info is not None
    error = record.exc_info[1]
    assert error is not None
    assert record.exc_info[2] is not None
    return error


def test_each_failed_attempt_is_a_record_with_its_traceback(store: Store, records: Records) -> None:
    errors = [ConnectionError("first"), ValueError("second"), KeyError("third")]
    jq = store.open(Attempts(*errors), base_delay=0, max_retries=2, num_workers=1)
    jq.enqueue(Job(id="order-7")).wait(PATIENCE)
    found = [records.next() for _ in errors]
    assert [traced(record) for record in found] == errors
    assert [record.levelno for record in found] == [logging.WARNING] * 2 + [logging.ERROR]
    assert {record.name for record in found} == {"jobqueue"}
    for number, record in enumerate(found, 1):
        assert f"'order-7', attempt {number}" in record.getMessage()
    assert "ConnectionError: first" in found[0].getMessage()
    assert records.rest() == []


@pytest.mark.parametrize(
    ("error", "level", "verdict"),
    [
        (RejectJobError("no"), logging.ERROR, "dead letter"),
        (RetryJobError("busy", delay=7), logging.WARNING, "tried again in 7 s"),
        (SystemExit(3), logging.WARNING, "tried again in 1 s"),
    ],
    ids=["reject", "retry", "exit"],
)
def test_record_tells_what_happens_next(
    memory: Store,
    records: Records,
    clock: ManualClock,
    error: BaseException,
    level: int,
    verdict: str,
) -> None:
    memory.open(Attempts(error), clock=clock).enqueue(Job())
    record = records.next()
    assert traced(record) is error
    assert record.levelno == level
    assert verdict in record.getMessage()


def test_record_of_a_cancelled_attempt_says_so(memory: Store, records: Records) -> None:
    blocker = memory.blocker(error=ConnectionError("cut off"))
    handle = memory.open(blocker).enqueue(Job())
    blocker.await_entered()
    handle.cancel()
    blocker.gate.set()
    assert "it was cancelled" in records.next().getMessage()


def test_completed_jobs_leave_no_record(memory: Store, records: Records) -> None:
    jq = memory.open(len)
    jq.enqueue_many([Job() for _ in range(10)])
    assert jq.join(PATIENCE)
    jq.close()
    assert records.rest() == []


class BrokenHandler(logging.Handler):
    """A log handler that cannot write."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("no space left for logs")


def test_log_handler_that_fails_stops_no_job(
    memory: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = BrokenHandler()
    logging.getLogger("jobqueue").addHandler(broken)
    try:
        jq = memory.open(Attempts(ValueError("boom"), "done"), base_delay=0, num_workers=1)
        assert jq.enqueue(Job()).result(PATIENCE) == "done"
    finally:
        logging.getLogger("jobqueue").removeHandler(broken)
    assert "no space left for logs" in capsys.readouterr().err


def test_log_handler_that_fails_is_not_told_of_where_logging_is_told_not_to(
    memory: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(logging.getLogger("jobqueue"), "handlers", [BrokenHandler()])
    jq = memory.open(Attempts(ValueError("boom")), max_retries=0)
    assert jq.enqueue(Job()).wait(PATIENCE) is Status.FAILED
    jq.close()
    assert capsys.readouterr().err == ""


def test_log_handler_may_use_the_queue(memory: Store) -> None:
    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(jq.metrics().failed)

    seen: list[int] = []
    asking = Asking()
    logging.getLogger("jobqueue").addHandler(asking)
    try:
        jq = memory.open(Attempts(ValueError("boom")), max_retries=0)
        jq.enqueue(Job()).wait(PATIENCE)
        jq.close()
    finally:
        logging.getLogger("jobqueue").removeHandler(asking)
    assert seen == [1]
