"""Whether a job is tried again, and when: what errors ask, a handler's policy, hostile errors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobqueue.final import (
    Backoff,
    Job,
    JobContext,
    JobQueue,
    RejectJobError,
    RetryJobError,
    Status,
)
from jobqueue.final.testing import ManualClock
from tests.support.process_handlers import echo, nothing, wait_for_ever
from tests.support.queues import Attempts, Store, until, until_retried
from tests.support.records import Records
from tests.support.waiting import PATIENCE


def registered(memory: Store, *outcomes: object, **options: Any) -> tuple[JobQueue, Attempts]:
    """A queue on a clock that stands still, and its handler "a"."""
    clock = ManualClock(start=1_000_000_000.0)
    attempts = Attempts(*outcomes, clock=clock)
    jq = memory.open(clock=clock, num_workers=1)
    jq.register("a", attempts, **options)
    return jq, attempts


def times_of(memory: Store, clock: ManualClock, steps: list[float], **options: Any) -> list[float]:
    """When the attempts of a job that fails ran, with the clock advanced so."""
    attempts = Attempts(ValueError("boom"), clock=clock)
    jq = memory.open(clock=clock, num_workers=1)
    jq.register("a", attempts, **options)
    jq.enqueue(Job(id="a", handler="a", max_retries=len(steps)))
    for number, seconds in enumerate(steps, start=1):
        until_retried(jq, "a", number)
        clock.advance(seconds)
    jq.handle("a").wait(PATIENCE)
    return [time - attempts.times[0] for time in attempts.times]


# ── retry_on ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConnectionResetError("gone"), Status.SCHEDULED),
        (ValueError("bad"), Status.FAILED),
        (RejectJobError("never"), Status.FAILED),
        (RetryJobError(delay=1), Status.SCHEDULED),
        (ExceptionGroup("two", [OSError("a"), TimeoutError("b")]), Status.SCHEDULED),
        (ExceptionGroup("two", [OSError("a"), ValueError("b")]), Status.FAILED),
    ],
)
@pytest.mark.parametrize("retry_on", [OSError, (OSError,), [KeyError, OSError]])
def test_only_errors_of_these_types_are_retried_and_what_asks_for_it(
    memory: Store, retry_on: Any, error: BaseException, status: Status
) -> None:
    jq, _ = registered(memory, error, retry_on=retry_on)
    until(jq.enqueue(Job(handler="a")), status)


def test_with_no_types_nothing_is_retried(memory: Store) -> None:
    jq, _ = registered(memory, ValueError("boom"), retry_on=())
    assert jq.enqueue(Job(handler="a")).wait(PATIENCE) is Status.FAILED


# ── backoff ──────────────────────────────────────────────────────────────────────────────────


def test_the_delays_are_those_of_the_handlers_backoff(memory: Store, clock: ManualClock) -> None:
    backoff = Backoff(base=2, factor=3, cap=10, jitter=0)
    assert times_of(memory, clock, [2, 6, 10], backoff=backoff) == [0, 2, 8, 18]


def test_a_function_may_say_the_delay_from_attempt_and_error(
    memory: Store, clock: ManualClock
) -> None:
    seen: list[tuple[int, str]] = []

    def backoff(attempt: int, error: BaseException) -> timedelta:
        seen.append((attempt, str(error)))
        return timedelta(minutes=attempt + 1)

    assert times_of(memory, clock, [60, 120], backoff=backoff) == [0, 60, 180]
    assert seen == [(0, "boom"), (1, "boom")]


def test_a_delay_that_an_error_asks_for_comes_before_the_backoff(
    memory: Store, clock: ManualClock
) -> None:
    attempts = Attempts(RetryJobError(delay=5), "done", clock=clock)
    jq = memory.open(clock=clock)
    jq.register("a", attempts, backoff=lambda attempt, error: 100)
    handle = until(jq.enqueue(Job(handler="a")), Status.SCHEDULED)
    clock.advance(5)
    assert handle.result(PATIENCE) == "done"


def test_a_backoff_that_could_give_no_seconds_is_refused(memory: Store) -> None:
    async def awaited(attempt: int, error: BaseException) -> float:
        return 1.0

    jq = memory.open(start=False)
    hopeless: list[Any] = [awaited, Backoff, 3]
    for backoff in hopeless:
        with pytest.raises(TypeError, match=r"backoff must be a Backoff, or a function of"):
            jq.register("a", len, backoff=backoff)


@pytest.mark.parametrize("wrong", [-1, float("nan"), "soon", None, ZeroDivisionError("boom")])
def test_a_backoff_that_fails_is_told_and_the_queues_own_is_taken(
    memory: Store, records: Records, clock: ManualClock, wrong: object
) -> None:
    def backoff(attempt: int, error: BaseException) -> Any:
        if isinstance(wrong, BaseException):
            raise wrong
        return wrong

    assert times_of(memory, clock, [1], backoff=backoff) == [0, 1]
    assert "backoff" in records.next().getMessage()


def test_a_backoff_has_its_cap_and_its_jitter() -> None:
    assert [Backoff(jitter=0)(attempt) for attempt in (0, 1, 2, 10, 10**6)] == [1, 2, 4, 60, 60]
    assert all(0.9 <= Backoff()(0) <= 1.1 for _ in range(100))
    assert Backoff(base=timedelta(seconds=3), jitter=0)(0) == 3
    assert Backoff(base=0)(10**6) == 0
    assert repr(Backoff()) == "Backoff(base=1, cap=60, factor=2, jitter=0.1)"


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"base": -1}, "base"),
        ({"cap": "60"}, "cap"),
        ({"factor": 0.5}, "factor"),
        ({"jitter": 2}, "jitter"),
        ({"jitter": None}, "jitter"),
    ],
)
def test_a_backoff_that_cannot_work_is_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        Backoff(**wrong)


# ── timeout ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("job_timeout", [None, 5.0])
def test_the_handlers_own_time_overrides_the_queues(
    memory: Store, records: Records, clock: ManualClock, job_timeout: float | None
) -> None:
    def work(payload: bytes, context: JobContext) -> float | None:
        assert context.wait(PATIENCE)
        return context.deadline

    jq = memory.open(clock=clock, max_retries=0, num_workers=1, job_timeout=job_timeout)
    jq.register("a", work, timeout=timedelta(seconds=2))
    handle = until(jq.enqueue(Job(handler="a")), Status.PROCESSING)
    clock.advance(2)
    with pytest.raises(TimeoutError, match="longer than 2 s"):
        handle.result(PATIENCE)
    assert "longer than 2 s" in records.next().getMessage()


def test_a_plain_handler_is_timed_too(memory: Store, clock: ManualClock) -> None:
    blocker = memory.blocker()
    jq = memory.open(clock=clock, max_retries=0, num_workers=1)
    jq.register("a", lambda payload: blocker.gate.wait(PATIENCE), timeout=2)
    handle = until(jq.enqueue(Job(handler="a")), Status.PROCESSING)
    clock.advance(2)
    assert jq.metrics().overrunning == 1
    blocker.gate.set()
    with pytest.raises(TimeoutError):
        handle.result(PATIENCE)


@pytest.mark.slow
def test_a_process_is_killed_at_its_handlers_own_time(memory: Store) -> None:
    jq = memory.open(executor="process", num_workers=1, max_retries=0)
    jq.register("a", wait_for_ever, timeout=0.1)
    jq.register("b", echo)
    with pytest.raises(TimeoutError, match=r"longer than 0\.1 s"):
        jq.enqueue(Job(handler="a")).result(PATIENCE)
    assert jq.enqueue(Job(b"x", handler="b")).result(PATIENCE) == b"x"


# ── bad input ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"timeout": -1}, "timeout"),
        ({"timeout": "1"}, "timeout"),
        ({"retry_on": OSError("instance")}, "retry_on"),
        ({"retry_on": (int,)}, "retry_on"),
        ({"retry_on": 3}, "retry_on"),
        ({"backoff": 3}, "backoff"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_and_nothing_is_registered(
    memory: Store, options: dict[str, Any], match: str
) -> None:
    jq = memory.open()
    with pytest.raises((TypeError, ValueError), match=match):
        jq.register("a", len, **options)
    jq.register("a", max)


# ── handlers that are replaced ───────────────────────────────────────────────────────────────


def test_jobs_that_are_queued_scheduled_or_dead_run_by_the_function_that_replaces_theirs(
    memory: Store, clock: ManualClock
) -> None:
    def old(payload: bytes) -> str:
        raise {b"dead": RejectJobError("no")}.get(payload, ValueError("old"))

    jq = memory.open(clock=clock, num_workers=1, start=False)
    jq.register("a", old)
    dead = jq.enqueue(Job(b"dead", handler="a", id="dead"))
    scheduled = jq.enqueue(Job(b"scheduled", handler="a"))
    jq.start()
    dead.wait(PATIENCE)
    until(scheduled, Status.SCHEDULED)
    jq.pause()
    queued = jq.enqueue(Job(b"queued", handler="a"))

    jq.register("a", lambda payload: f"new {payload.decode()}", replace=True)

    again = jq.requeue("dead")
    jq.resume()
    clock.advance(60)
    assert queued.result(PATIENCE) == "new queued"
    assert scheduled.result(PATIENCE) == "new scheduled"
    assert again.result(PATIENCE) == "new dead"


def test_the_refusal_of_a_taken_name_tells_how_to_replace(memory: Store) -> None:
    jq = memory.open(handlers={"a": len})
    with pytest.raises(ValueError, match="replace=True"):
        jq.register("a", max)
    jq.register("a", max, replace=True)
    assert jq.enqueue(Job(b"\x01\x07", handler="a")).result(PATIENCE) == 7


def test_the_same_function_may_be_registered_with_another_policy(memory: Store) -> None:
    jq, attempts = registered(memory, ValueError("boom"))
    jq.register("a", attempts, retry_on=())
    jq.register("a", attempts)  # as it is
    assert jq.enqueue(Job(handler="a")).wait(PATIENCE) is Status.FAILED


def test_a_function_that_processes_have_imported_cannot_be_replaced_by_its_later_self(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = memory.open(handlers={"a": nothing}, executor="process", start=False)

    def later(payload: bytes) -> None:
        """What a reload makes."""

    later.__module__, later.__qualname__ = nothing.__module__, nothing.__qualname__
    monkeypatch.setattr("tests.support.process_handlers.nothing", later)
    with pytest.raises(ValueError, match="make a new queue"):
        jq.register("a", later, replace=True)
    jq.register("a", echo, replace=True)


# ── groups ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ExceptionGroup("g", [RejectJobError("a")]), Status.FAILED),
        (BaseExceptionGroup("g", [RejectJobError("a"), RetryJobError(delay=3)]), Status.FAILED),
        (ExceptionGroup("g", [ExceptionGroup("h", [RejectJobError("a")])]), Status.FAILED),
        (ExceptionGroup("g", [RejectJobError("a"), ValueError("b")]), Status.SCHEDULED),
    ],
)
def test_a_group_of_nothing_but_rejections_rejects(
    memory: Store, error: BaseException, status: Status
) -> None:
    jq, _ = registered(memory, error)
    until(jq.enqueue(Job(handler="a")), status)


def test_a_group_of_nothing_but_retries_asks_for_the_longest_delay(
    memory: Store, clock: ManualClock
) -> None:
    group = ExceptionGroup("g", [RetryJobError(delay=3), RetryJobError(delay=7)])
    attempts = Attempts(group, "done", clock=clock)
    jq = memory.open(attempts, clock=clock)
    handle = until(jq.enqueue(Job()), Status.SCHEDULED)
    clock.advance(7)
    assert handle.result(PATIENCE) == "done"
    assert attempts.times[1] - attempts.times[0] == 7


# ── the decorator ────────────────────────────────────────────────────────────────────────────


def test_the_decorator_works_with_and_without_parentheses(memory: Store) -> None:
    jq = memory.open()

    @jq.handler
    def bare(payload: bytes) -> str:
        return "bare"

    @jq.handler()
    def called(payload: bytes) -> str:
        return "called"

    @jq.handler("named", retry_on=())
    def function(payload: bytes) -> str:
        raise ValueError("named")

    functions: list[Callable[[bytes], str]] = [bare, called]
    assert [each(b"") for each in functions] == ["bare", "called"]
    assert jq.enqueue(Job(handler="bare")).result(PATIENCE) == "bare"
    assert jq.enqueue(Job(handler="called")).result(PATIENCE) == "called"
    assert jq.enqueue(Job(handler="named")).wait(PATIENCE) is Status.FAILED


@pytest.mark.parametrize("what", [lambda payload: None, 3, Attempts()])
def test_what_has_no_name_is_refused_by_the_bare_decorator(memory: Store, what: Any) -> None:
    with pytest.raises(TypeError, match="give one"):
        memory.open().handler(what)
