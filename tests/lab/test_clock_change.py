"""The experiment that goes through the nights in which the clocks change. Its time is exact."""

from __future__ import annotations

import pytest

from lab import clock_change
from lab.clock_change import NIGHTLY, NIGHTS, WAYS, _local, _midnight

MINUTE = 60.0


def ran(way: str, schedule: str, night: int) -> list[str]:
    begin = _midnight(NIGHTS[night].day)
    ticks = WAYS[way](schedule, begin - MINUTE, begin + 6 * 60 * MINUTE)
    return [_local(tick) for tick in ticks]


@pytest.mark.parametrize("way", WAYS)
def test_in_an_ordinary_night_all_ways_run_the_job_at_its_time(way: str) -> None:
    assert ran(way, NIGHTLY, 0) == ["02:30 CET"]


@pytest.mark.parametrize(
    ("way", "forward", "back", "after"),
    [
        ("look each minute", [], ["02:30 CEST", "02:30 CET"], ["02:30 CET"]),
        ("sleep 24 hours", ["03:30 CEST"], ["02:30 CEST"], ["01:30 CET"]),
        ("jobqueue", ["03:00 CEST"], ["02:30 CEST"], ["02:30 CET"]),
    ],
)
def test_a_time_of_day_in_the_nights_that_have_it_not_once(
    way: str, forward: list[str], back: list[str], after: list[str]
) -> None:
    assert [ran(way, NIGHTLY, night) for night in (1, 2, 3)] == [forward, back, after]


@pytest.mark.parametrize("night", range(len(NIGHTS)))
def test_a_pace_is_kept_through_all_nights(night: int) -> None:
    looked = ran("look each minute", "*/30 * * * *", night)
    assert ran("jobqueue", "*/30 * * * *", night) == looked
    assert len(looked) == 13


def test_the_numbers_of_a_field() -> None:
    assert clock_change._numbers("*/20", 60) == {0, 20, 40}
    assert clock_change._numbers("*", 3) == {0, 1, 2}
    assert clock_change._numbers("2,3", 24) == {2, 3}
