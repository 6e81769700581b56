"""The experiment that calls a service which refuses what is too much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lab.limited_service import LimitedService, Window
from lab.rate import CLIENTS, COUNT, EVENLY_SECONDS, EXPERIMENT, _run, _summary

if TYPE_CHECKING:
    from tests.lab.conftest import Measured


@pytest.fixture
def found(measured: Measured) -> dict[str, Any]:
    return measured("rate")[1].data


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIENTS)
def test_every_job_is_done_or_a_dead_letter(found: dict[str, Any], name: str) -> None:
    run = found["runs"][name]
    assert run["done"] + run["dead"] == found["jobs"]
    assert run["calls"] - run["refused"] == run["done"]


@pytest.mark.slow
def test_without_a_rate_what_is_too_much_is_refused_and_comes_again() -> None:
    run = _run(CLIENTS["retries"], COUNT + 5, second=1.0)
    assert (run["refused"], run["done"], run["dead"]) == (5, COUNT + 5, 0)
    assert run["attempts_max"] == 2
    assert run["seconds"] >= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["limit", "both"])
def test_a_limit_bounds_how_many_are_served_at_once(found: dict[str, Any], name: str) -> None:
    assert found["runs"][name]["at_once_max"] <= 2


def test_one_by_one_is_below_what_the_service_takes() -> None:
    assert 1 / EVENLY_SECONDS + 1 < COUNT


def test_attempts_are_counted_for_each_job() -> None:
    service = LimitedService(Window(2, 60.0), 0.0)
    service.server_close()
    for job in ("a", "b", "c", "c"):
        service.serve(job)
    assert _summary(service) == {
        "calls": 4,
        "refused": 2,
        "attempts_mean": 1.33,
        "attempts_max": 2,
        "at_once_max": 1,
    }


@pytest.mark.parametrize(
    "sentence",
    [
        "100 jobs, 8 workers; each job is one HTTP request, which takes the service 20 ms. It "
        "takes 20 in any 1 s",
        "ended with 30 of 100 jobs as dead letters.",
        "did 100 of 100, with 400 calls, 300 of them refused: 4.0 attempts for a job, and up to 6. "
        "It took 5.5 s.",
        "with at most 2 calls at once, 290 of 390 were refused.",
        "With a rate** of 20 the service refused 20 of 120 calls, 0 jobs became dead letters, and "
        "all took 5.5 s.",
        "had the service do 2 at once, in place of 8, with 19 refused, in 5.5 s.",
        "**One by one**, 55 ms from start to start, 0 of 100 were refused, and it took 5.5 s.",
        "had 20 calls refused by the service that looks back, and 1 by the one that has a bucket",
    ],
)
def test_the_report_tells_what_the_data_say(sentence: str) -> None:
    assert sentence in " ".join(EXPERIMENT.report(_data()).split())


def _data() -> dict[str, Any]:
    figures = {
        "retries": (350, 280, 30, 8),
        "patient": (400, 300, 0, 8),
        "limit": (390, 290, 0, 2),
        "rate": (120, 20, 0, 8),
        "both": (119, 19, 0, 2),
        "evenly": (100, 0, 0, 1),
        "bucket": (101, 1, 0, 8),
    }
    runs = {
        name: {
            "calls": calls,
            "refused": refused,
            "attempts_mean": calls / 100,
            "attempts_max": 6,
            "at_once_max": at_once,
            "done": 100 - dead,
            "dead": dead,
            "seconds": 5.5,
        }
        for name, (calls, refused, dead, at_once) in figures.items()
    }
    return {
        "jobs": 100,
        "count": 20,
        "second": 1.0,
        "workers": 8,
        "work_milliseconds": 20.0,
        "evenly_milliseconds": 55.0,
        "runs": runs,
    }
