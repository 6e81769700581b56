"""Clocks of users, and what is done about a system that sleeps."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from jobqueue.final import Config, Job, JobQueue, JobQueueError, RetryJobError, Status
from jobqueue.final.runtime.clock import SystemClock, sleep_meter
from jobqueue.final.testing import ManualClock
from tests.support.queues import Store, until
from tests.support.records import Records
from tests.support.waiting import PATIENCE

HOUR = 3600.0
BAD = [math.nan, math.inf, -math.inf, None, "1", True]


class OddClock(ManualClock):
    """Its readings are what it is told to return."""

    def __init__(self, **readings: Any) -> None:
        super().__init__(start=1e9)
        self.readings = readings

    def monotonic(self) -> float:
        reading: float = self.readings.get("monotonic", super().monotonic())
        return reading

    def time(self) -> float:
        reading: float = self.readings.get("time", super().time() + self.readings.get("step", 0))
        return reading


@pytest.mark.parametrize("reading", BAD, ids=repr)
@pytest.mark.parametrize("name", ["monotonic", "time"])
def test_a_clock_without_a_finite_number_is_refused_by_the_constructor(
    name: str, reading: Any
) -> None:
    before = set(threading.enumerate())
    with pytest.raises(ValueError, match=rf"clock .* {name}\(\) returned"):
        JobQueue(handler=len, clock=OddClock(**{name: reading}))
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("what", [5, time, ManualClock])
def test_what_is_no_clock_is_refused_with_what_to_write(what: Any) -> None:
    with pytest.raises(TypeError, match=r"clock must be a clock, as in clock=ManualClock\(\)"):
        JobQueue(clock=what)


def test_a_clock_that_goes_wrong_later_fails_the_call_that_reads_it(memory: Store) -> None:
    clock = OddClock()
    jq = memory.open(len, clock=clock, start=False)
    clock.readings["time"] = math.nan
    with pytest.raises(ValueError, match="returned nan"):
        jq.enqueue(Job(), delay=5)
    del clock.readings["time"]
    assert jq.enqueue(Job(), delay=5).status is Status.SCHEDULED
    assert jq.metrics().enqueued == 1


# The timer may be the one that finishes what was broken off, and reads the clock.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("works", [False, True], ids=["idle", "with jobs"])
def test_a_queue_whose_clock_goes_wrong_closes_and_lets_go_of_its_log(
    log_store: Store, records: Records, works: bool
) -> None:
    # Those of tests that interrupt the start of a thread are listed for ever.
    before, clock = set(threading.enumerate()), OddClock()
    jq = log_store.open(len, clock=clock)
    jq.enqueue(Job(id="a")).wait(PATIENCE)

    clock.readings["monotonic"] = math.nan
    for n in range(3 * works):
        with suppress(JobQueueError, ValueError):
            jq.enqueue(Job(id=str(n)))
    jq.close(drain=True)

    assert "monotonic() returned nan" in "".join(each.getMessage() for each in records.rest())
    assert set(threading.enumerate()) <= before
    assert log_store.open(len).status("a") is Status.COMPLETED


def test_readings_of_a_subclass_are_recorded_as_plain_numbers(log_store: Store) -> None:
    class Seconds(float):
        __slots__ = ()

    clock = OddClock(monotonic=Seconds(5.0), time=Seconds(1e9))
    jq = log_store.open(len, clock=clock)
    jq.enqueue(Job(b"x", id="a"), delay=0).result(PATIENCE)
    jq.enqueue(Job(id="b"), delay=60)
    jq.close()
    again = log_store.open(len, start=False)
    assert again.status("a") is Status.COMPLETED
    assert again.info("a").finished == 1e9


@pytest.mark.parametrize("start", [math.nan, math.inf, "1"], ids=repr)
def test_a_manual_clock_starts_at_a_finite_time(start: Any) -> None:
    with pytest.raises(ValueError, match="start must be a finite Unix time"):
        ManualClock(start=start)


# ── sleep ────────────────────────────────────────────────────────────────────────────────────


def test_the_systems_clock_has_one_of_its_boot_and_others_the_wall() -> None:
    exact = sleep_meter(SystemClock())
    assert exact.is_exact is hasattr(time, "CLOCK_BOOTTIME") or exact.ahead() > 1e9
    assert exact.ahead() > -1
    manual = sleep_meter(OddClock(step=5))
    assert (manual.is_exact, manual.ahead()) == (False, 1e9 + 5)


def test_a_job_with_a_long_delay_is_not_late_by_the_time_that_the_system_slept(
    store: Store,
) -> None:
    """Fault 56 of docs/reliability.md."""
    clock = OddClock()
    jq = store.open(len, clock=clock)
    handle = jq.enqueue(Job(b"x"), delay=8 * HOUR)
    short = jq.enqueue(Job(b"xy"), delay=60)
    clock.readings["step"] = 8 * HOUR - 1  # it slept, or the wall clock was set
    clock.advance(0)
    assert handle.status is short.status is Status.SCHEDULED
    clock.advance(1)
    assert handle.result(PATIENCE) == 1
    assert short.status is Status.SCHEDULED


@pytest.mark.parametrize("step", [-24 * HOUR, 24 * HOUR])
def test_a_step_of_the_wall_clock_disturbs_no_timeout_and_no_backoff(
    memory: Store, step: float
) -> None:
    """Fault 22 of docs/reliability.md."""
    clock = OddClock()
    fails: list[Callable[[], Exception]] = [lambda: RetryJobError(delay=HOUR), ValueError]

    def handler(_payload: bytes) -> str:
        if fails:
            raise fails.pop()()
        return "done"

    jq = JobQueue(
        Config(base_delay=90, max_delay=90, jitter=0, job_timeout=2 * HOUR),
        handler=handler,
        clock=clock,
    )
    with jq:
        handle = jq.enqueue(Job())
        for retries, seconds in ((1, 90), (2, HOUR)):
            until(handle, Status.SCHEDULED)
            assert jq.info(handle.id).retries == retries
            clock.readings["step"] = clock.readings.get("step", 0) + step
            clock.advance(seconds - 1)
            assert handle.status is Status.SCHEDULED
            clock.advance(1)
        assert handle.result(PATIENCE) == "done"
