from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobqueue.final.timing.schedules import ALIASES, parse, utc_text


def at(text: str) -> float:
    """A time in UTC, as 2026-11-29T10:00."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW = at("2026-11-29T10:20:30.5")


def ticks(schedule: str | timedelta, tz: str, after: str, count: int) -> list[str]:
    """The next ticks, in UTC."""
    rule, seconds, found = parse(schedule, tz), at(after), []
    for _ in range(count):
        tick = rule.first_after(seconds)
        assert tick is not None
        found.append(utc_text(tick).removesuffix(":00Z"))
        seconds = tick
    return found


@pytest.mark.parametrize(
    ("alias", "wanted"),
    [
        ("@hourly", "2026-11-29T11:00:00Z"),
        ("@daily", "2026-11-30T00:00:00Z"),
        ("@midnight", "2026-11-30T00:00:00Z"),
        ("@weekly", "2026-12-06T00:00:00Z"),
        ("@monthly", "2026-12-01T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
        ("@annually", "2027-01-01T00:00:00Z"),
        (" @Hourly ", "2026-11-29T11:00:00Z"),
    ],
)
def test_each_alias_is_the_expression_that_it_stands_for(alias: str, wanted: str) -> None:
    tick = parse(alias, "UTC").first_after(NOW)
    assert tick is not None
    assert utc_text(tick) == wanted
    assert parse(alias, "UTC") == parse(ALIASES[alias.strip().lower()], "UTC")


def test_a_tick_at_a_time_of_day_that_is_left_out_comes_right_after_the_gap() -> None:
    """In Berlin 02:00 to 03:00 was left out on 2026-03-29, at 01:00 UTC."""
    assert ticks("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00", 4) == [
        *("2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30", "2026-03-31T00:30")
    ]


def test_a_time_of_day_that_is_left_out_and_the_one_after_the_gap_are_one_tick() -> None:
    assert ticks("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00", 3) == [
        *("2026-03-29T01:00", "2026-03-30T00:00", "2026-03-30T01:00")
    ]


def test_a_tick_at_a_time_of_day_that_comes_twice_comes_once() -> None:
    """In Berlin 02:00 to 03:00 came twice on 2026-10-25, from 00:00 UTC and from 01:00 UTC."""
    wanted = ["2026-10-25T00:30", "2026-10-26T01:30"]
    assert ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == wanted
    for later in ("2026-10-25T00:30", "2026-10-25T00:45", "2026-10-25T01:10", "2026-10-25T01:40"):
        assert ticks("30 2 * * *", "Europe/Berlin", later, 1) == wanted[1:]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_what_is_due_each_half_hour_goes_on_through_a_change_of_the_clocks(day: str) -> None:
    found = ticks("*/30 * * * *", "Europe/Berlin", f"{day}T00:00", 4)
    assert found == [f"{day}T{time}" for time in ("00:30", "01:00", "01:30", "02:00")]


def test_an_interval_has_its_ticks_at_its_multiples_since_the_epoch() -> None:
    assert ticks(timedelta(hours=6), "UTC", "2026-11-29T06:00", 2) == [
        *("2026-11-29T12:00", "2026-11-29T18:00")
    ]
    tenths = parse(timedelta(seconds=0.1), "UTC")
    assert [utc_text(tick) for tick in tenths.last_between(NOW - 9, NOW, 2)] == [
        *("2026-11-29T10:20:30.400000Z", "2026-11-29T10:20:30.500000Z")
    ]


def test_what_a_subclass_makes_of_an_interval_does_not_matter() -> None:
    class Strange(timedelta):
        def total_seconds(self) -> float:
            raise AssertionError

        def __floordiv__(self, other: object) -> int:  # type: ignore[override]
            raise AssertionError

    assert parse(Strange(hours=1), "UTC") == parse(timedelta(hours=1), "UTC")


rules = st.one_of(
    st.sampled_from(["* * * * *", "30 2 * * *", "0 2,3 * * *", "*/7 1-4 * * MON", "@monthly"]),
    st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=90)),
)


@settings(max_examples=60, deadline=None)
@given(rules, st.floats(at("2026-03-20T00:00"), at("2026-11-10T00:00")), st.integers(1, 40))
def test_the_last_ticks_before_a_time_are_those_that_came_one_by_one(
    schedule: str | timedelta, begin: float, count: int
) -> None:
    rule = parse(schedule, "Europe/Berlin")
    came, seconds = [], begin
    for _ in range(count):
        tick = rule.first_after(seconds)
        assert tick is not None
        assert tick > seconds
        came.append(tick)
        seconds = tick
    assert rule.last_between(begin, came[-1], count + 1) == came
    assert rule.last_between(begin, came[-1], 3) == came[-3:]
    assert rule.last_between(came[-1], came[-1], 3) == []


def test_the_last_ticks_of_a_hundred_years_are_found_soon() -> None:
    assert len(parse("* * * * *", "Europe/Berlin").last_between(-1e18, NOW, 1001)) == 1001
    assert len(parse("@yearly", "Europe/Berlin").last_between(-1e18, NOW, 1001)) == 100


@pytest.mark.parametrize("schedule", ["@hourly", timedelta(hours=1)])
def test_no_tick_comes_beyond_the_calendar(schedule: str | timedelta) -> None:
    rule = parse(schedule, "Europe/Berlin")
    if isinstance(schedule, str):
        assert rule.first_after(1e18) is None
        assert rule.last_between(1e18, 1e18 + 7200, 2) == []
    with pytest.raises(ValueError, match="in no year"):
        utc_text(1e18)


@pytest.mark.parametrize(
    ("schedule", "tz", "error", "words"),
    [
        ("* * * *", "UTC", ValueError, "five fields"),
        ("* * * * * *", "UTC", ValueError, "five fields"),
        ("", "UTC", ValueError, "five fields"),
        ("@reboot", "UTC", ValueError, "@hourly, @daily"),
        ("60 * * * *", "UTC", ValueError, "Bad minute"),
        ("a * * * *", "UTC", ValueError, "Bad minute"),
        ("* * * * MON#", "UTC", ValueError, "no cron expression"),
        ("0 0 30 2 *", "UTC", ValueError, "no cron expression"),
        ("@daily", "\0", ValueError, "no time zone"),
        (timedelta(0), "UTC", ValueError, "at least a millisecond"),
        (timedelta(seconds=-1), "UTC", ValueError, "at least a millisecond"),
        (timedelta(microseconds=999), "UTC", ValueError, "at least a millisecond"),
        (60, "UTC", TypeError, "a timedelta"),
        (None, "UTC", TypeError, "a timedelta"),
        ("@daily", "Europe/Nowhere", ValueError, "no time zone 'Europe/Nowhere'"),
        ("@daily", "Europe", ValueError, "tzdata"),
        ("@daily", "", ValueError, "no time zone"),
        ("@daily", "../etc/passwd", ValueError, "no time zone"),
        (timedelta(hours=1), "Nowhere", ValueError, "no time zone"),
        ("@daily", UTC, TypeError, "Europe/Berlin"),
    ],
)
def test_what_cannot_be_is_refused_and_the_message_says_what_could(
    schedule: str | timedelta, tz: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        parse(schedule, tz)


def test_a_day_that_never_comes_is_refused() -> None:
    with pytest.raises(ValueError, match="never comes"):
        parse("0 0 */31 * SUN#2", "UTC")


def test_without_cronsim_an_interval_works_and_an_expression_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    assert parse(timedelta(hours=1), "UTC").first_after(0.0) == 3600.0
    with pytest.raises(ImportError, match=r"pip install 'jobqueue\[cron\]'"):
        parse("@daily", "UTC")
