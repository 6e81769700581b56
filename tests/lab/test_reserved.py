"""The experiment that has High wait for long Low jobs."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from jobqueue.final import Priority
from lab import reserved
from lab.reserved import EXPERIMENT, FLOOD, LOW_SECONDS, SOME, STAFFS, Arrival, Span, Staff

HIGH, LOW = Priority.HIGH, Priority.LOW


def test_each_staff_gets_the_same_jobs() -> None:
    first, second = (reserved._arrivals(SOME, LOW_SECONDS, 5.0, Random(1)) for _ in range(2))
    assert first == second
    assert [job.at for job in first] == sorted(job.at for job in first)
    assert {job.priority for job in first} == {HIGH, LOW}


def test_under_the_flood_there_is_more_low_than_can_be_done() -> None:
    jobs = reserved._arrivals(FLOOD, LOW_SECONDS, 5.0, Random(1))
    low = [job for job in jobs if job.priority is LOW]
    most = max(staff.workers for staff in STAFFS)
    assert sum(job.seconds for job in low) > most * 5.0
    assert {job.at for job in low} == {0.0}


def test_what_a_job_does_after_the_end_is_not_counted() -> None:
    spans = [Span(LOW, 0.0, 0.0, 1.0), Span(LOW, 0.0, 1.5, 3.0), Span(LOW, 0.0, 2.5, 3.0)]
    summary = reserved._summary(spans, end=2.0)
    assert summary["low_workers"] == 0.75
    assert summary["low_ended"] == 1


def test_waits_are_those_of_one_priority() -> None:
    spans = [Span(LOW, 0.0, 9.0, 9.5), Span(HIGH, 1.0, 1.02, 1.1), Span(HIGH, 1.0, 1.5, 1.6)]
    summary = reserved._summary(spans, end=10.0)
    assert summary["high"] == {"jobs": 2, "median": 0.26, "max": 0.5, "late": 1}
    assert summary["low"]["max"] == 9.0


def test_where_nothing_waited_there_are_no_times() -> None:
    assert reserved._waits([]) == {"jobs": 0, "median": 0.0, "max": 0.0, "late": 0}


@pytest.mark.slow
@pytest.mark.parametrize(("kept", "runs_beside_low"), [(0, False), (1, True)])
def test_high_runs_beside_long_low_jobs_if_a_worker_is_reserved(
    kept: int, runs_beside_low: bool
) -> None:
    jobs = [Arrival(0.0, LOW, 0.4)] * 4 + [Arrival(0.15, HIGH, 0.0)]
    spans = reserved._run(Staff(2, kept), jobs, 0.2, drain=True)
    assert len(spans) == len(jobs)
    high = next(span for span in spans if span.priority is HIGH)
    first = min(span.ended for span in spans if span.priority is LOW)
    assert (high.started < first) == runs_beside_low


@pytest.mark.slow
def test_high_jobs_that_wait_at_the_end_are_waited_for_and_low_jobs_are_not() -> None:
    jobs = [Arrival(0.0, LOW, 0.3)] * 3 + [Arrival(0.05, HIGH, 0.0)]
    spans = reserved._run(Staff(1, 0), jobs, 0.1, drain=False)
    priorities = [span.priority for span in spans]
    assert priorities.count(HIGH) == 1
    assert priorities.count(LOW) < 3


@pytest.mark.parametrize(
    "sentence",
    [
        "Low jobs take 150 to 450 ms. High jobs take 10 ms, and 20 come per second",
        "**No worker reserved:** 40 of 100 High jobs waited longer than 50 ms, the worst 400 ms.",
        "**One reserved:** 0 of 100 waited so long, and the worst waited 20 ms.",
        "it had 3.00 of 4 workers, and 3.75 without: 20% less.",
        "It ended 75 jobs, and 100 without.",
        "**A worker more, none reserved:** 30 of 100 waited so long, the worst 300 ms.",
        "Low had 4.00 workers, with four and none reserved 3.75.",
        "9 of 100 High jobs waited so long with none reserved, 1 of 100 with one.",
        "Low waited 10 ms (median) and 500 ms (at worst) with none,",
    ],
)
def test_the_report_tells_what_the_data_say(sentence: str) -> None:
    assert sentence in " ".join(EXPERIMENT.report(_data()).split())


def test_how_long_low_waits_is_not_told_where_more_comes_than_can_be_done() -> None:
    lines = EXPERIMENT.report(_data()).splitlines()
    assert all(line.endswith("|  |  |") for line in lines if line.startswith(f"| {FLOOD} "))
    assert not any(line.endswith("|  |  |") for line in lines if line.startswith(f"| {SOME} "))


def test_a_change_from_nothing_is_none() -> None:
    assert reserved._change(0.0, 1.0) == "nothing to compare"
    assert reserved._change(1.0, 1.5) == "50% more"


def _data() -> dict[str, Any]:
    figures = {
        FLOOD: [(40, 0.4, 3.75, 100), (0, 0.02, 3.0, 75), (30, 0.3, 4.75, 125), (0, 0.02, 4.0, 99)],
        SOME: [(9, 0.2, 2.5, 50), (1, 0.06, 2.5, 50), (3, 0.1, 2.5, 50), (0, 0.01, 2.5, 50)],
    }
    runs = [
        {
            "load": load,
            "workers": staff.workers,
            "reserved": staff.reserved,
            "high": {"jobs": 100, "median": 0.01, "max": worst, "late": late},
            "low": {"jobs": ended, "median": 0.01, "max": 0.5, "late": 0},
            "low_ended": ended,
            "low_workers": workers,
            "high_workers": 0.2,
        }
        for load, rows in figures.items()
        for staff, (late, worst, workers, ended) in zip(STAFFS, rows, strict=True)
    ]
    return {
        "seconds": 6.0,
        "low_milliseconds": [150.0, 450.0],
        "high_milliseconds": 10.0,
        "high_rate": 20.0,
        "late_seconds": 0.05,
        "runs": runs,
    }
