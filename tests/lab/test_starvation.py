"""The experiment that lets Low starve."""

from __future__ import annotations

import pytest

from lab import starvation
from lab.starvation import Seen


@pytest.mark.parametrize("fairness", [1, 3, 10])
def test_at_most_fairness_jobs_of_high_start_between_two_of_low(fairness: int) -> None:
    share = starvation._share(fairness, 110)
    assert share["overtaken_max"] == fairness
    assert share["high_share"] == pytest.approx(fairness / (fairness + 1), abs=0.03)
    assert share["jobs_per_second"] > 0


def test_only_low_jobs_of_the_flood_count() -> None:
    seen = Seen(low=[(0.5, 9.0), (1.0, 0.5), (2.0, 2.0)], high=[(1.5, 0.25)])
    summary = starvation._summary(seen, begin=1.0, end=3.0)
    assert summary["low"] == {"jobs": 2, "median": 1.25, "max": 2.0}
    assert summary["high"] == {"jobs": 1, "median": 0.25, "max": 0.25}


def test_a_job_that_starts_after_the_flood_has_not_started_in_it() -> None:
    seen = Seen(low=[(1.0, 0.5), (2.0, 2.0)])
    assert starvation._summary(seen, begin=1.0, end=3.0)["low_started_in_flood"] == 1


def test_where_nothing_waited_there_are_no_times() -> None:
    assert starvation._spread([]) == {"jobs": 0, "median": 0.0, "max": 0.0}


def test_what_metrics_said_stands_in_one_list_for_each_number() -> None:
    samples = [{"at": 1.0, "oldest_wait": 0.5}, {"at": 2.0, "oldest_wait": 1.5}]
    summary = starvation._summary(Seen(samples=samples), begin=0.0, end=3.0)
    assert summary["samples"] == {"at": [1.0, 2.0], "oldest_wait": [0.5, 1.5]}


@pytest.mark.slow
@pytest.mark.parametrize("name", starvation._contenders(1))
def test_each_contender_comes_through_a_flood_with_all_jobs_run(name: str) -> None:
    with starvation._contenders(1)[name]() as contender:
        seen = starvation._flood(contender, 0.02, 0.1)
    assert seen.low
    assert seen.high
    assert bool(seen.samples) == (contender.final is not None)
