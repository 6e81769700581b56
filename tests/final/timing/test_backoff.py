from __future__ import annotations

import random
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.final.timing.backoff import backoff_seconds

seconds = st.floats(min_value=0, max_value=sys.float_info.max)
fractions = st.floats(min_value=0, max_value=1)


def exact(attempt: int, base_delay: float = 1.0, max_delay: float = 60.0) -> float:
    return backoff_seconds(
        attempt, base_delay=base_delay, max_delay=max_delay, jitter=0, random=never
    )


def jittered(draw: float, jitter: float, attempt: int = 3) -> float:
    """The delay before a retry that is due in 8 s, more or less."""
    return backoff_seconds(
        attempt, base_delay=1.0, max_delay=60.0, jitter=jitter, random=lambda: draw
    )


def never() -> float:
    raise AssertionError("randomness was asked for")


def test_delay_doubles_with_each_attempt_up_to_the_cap() -> None:
    assert [exact(attempt) for attempt in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("attempt", [1024, 10_000, 10**400])
def test_attempt_of_any_size_waits_for_the_cap(attempt: int) -> None:
    assert exact(attempt) == 60.0


def test_base_delay_above_the_cap_is_capped_at_the_first_attempt() -> None:
    assert exact(0, base_delay=90.0) == 60.0


@pytest.mark.parametrize("attempt", [0, 10_000, 10**400])
def test_no_base_delay_retries_at_once_for_ever(attempt: int) -> None:
    assert exact(attempt, base_delay=0.0) == 0.0


@given(attempt=st.integers(0, 3000), base_delay=seconds, max_delay=seconds)
def test_without_jitter_the_formula_is_met_exactly(
    attempt: int, base_delay: float, max_delay: float
) -> None:
    expected = min(Fraction(max_delay), Fraction(base_delay) * 2**attempt)
    assert Fraction(exact(attempt, base_delay, max_delay)) == expected


@pytest.mark.parametrize(("draw", "expected"), [(0.0, 6.0), (0.25, 7.0), (0.5, 8.0), (1.0, 10.0)])
def test_jitter_spreads_the_delay_evenly_to_both_sides(draw: float, expected: float) -> None:
    assert jittered(draw, jitter=0.25) == expected


def test_jitter_varies_the_capped_delay_too() -> None:
    assert jittered(1.0, jitter=0.25, attempt=10_000) == 75.0


def test_full_jitter_reaches_from_nothing_to_twice_the_delay() -> None:
    assert [jittered(0.0, jitter=1.0), jittered(1.0, jitter=1.0)] == [0.0, 16.0]


def test_each_retry_draws_once() -> None:
    draws = iter([0.0, 1.0])
    delays = [
        backoff_seconds(0, base_delay=1.0, max_delay=60.0, jitter=0.5, random=lambda: next(draws))
        for _ in range(2)
    ]
    assert delays == [0.5, 1.5]


@given(
    attempt=st.integers(min_value=0),
    base_delay=seconds,
    max_delay=seconds,
    jitter=fractions,
    draw=fractions,
)
def test_jitter_stays_within_its_fraction_of_a_delay_that_is_never_negative_or_infinite(
    attempt: int, base_delay: float, max_delay: float, jitter: float, draw: float
) -> None:
    delay = backoff_seconds(
        attempt, base_delay=base_delay, max_delay=max_delay, jitter=jitter, random=lambda: draw
    )
    middle = exact(attempt, base_delay, max_delay)
    slack = 1e-12 * middle + sys.float_info.min  # rounding
    assert 0 <= delay <= sys.float_info.max
    assert middle * (1 - jitter) - slack <= delay <= middle * (1 + jitter) + slack


def test_standard_generator_fits() -> None:
    delay = backoff_seconds(
        2, base_delay=1.0, max_delay=60.0, jitter=0.1, random=random.Random(1).random
    )
    assert 3.6 <= delay <= 4.4
