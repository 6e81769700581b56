"""`Limit` and `Rate` as values: what they take, and what they say to what they do not."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from jobqueue.final import Limit, Rate


class Number(int):
    def __lt__(self, other: object) -> bool:
        raise AssertionError("called")

    def __repr__(self) -> str:
        raise AssertionError("called")


@pytest.mark.parametrize("make", [Limit, Rate])
@pytest.mark.parametrize("count", [0, -1, -(10**5000)], ids=["0", "-1", "less"])
def test_a_count_below_1_is_refused(make: Any, count: int) -> None:
    with pytest.raises(ValueError, match=rf"{make.__name__}\(count\) must be a whole number >= 1"):
        make(count)


@pytest.mark.parametrize("make", [Limit, Rate])
@pytest.mark.parametrize("count", [1.0, "1", None, True, math.nan])
def test_a_count_that_is_no_whole_number_is_refused(make: Any, count: Any) -> None:
    with pytest.raises(TypeError, match=rf"{make.__name__}\(count\) must be a whole number >= 1"):
        make(count)


@pytest.mark.parametrize("make", [Limit, Rate])
def test_a_count_of_a_subclass_becomes_exact(make: Any) -> None:
    assert type(make(Number(3)).count) is int
    assert make(Number(3)).count == 3


@pytest.mark.parametrize("per", [0, 0.0, -0.0, timedelta()])
def test_a_rate_in_no_time_is_refused(per: Any) -> None:
    with pytest.raises(ValueError, match=r"Rate\(per=\.\.\.\) must be more than 0 seconds, not"):
        Rate(1, per=per)


@pytest.mark.parametrize("per", [-1, math.nan, math.inf, timedelta(-1)])
def test_a_rate_in_a_time_that_is_none_is_refused(per: Any) -> None:
    with pytest.raises(ValueError, match=r"Rate\(per=\.\.\.\) must be a finite number of seconds"):
        Rate(1, per=per)


@pytest.mark.parametrize("per", ["1", None, True])
def test_a_rate_in_what_is_no_time_is_refused(per: Any) -> None:
    with pytest.raises(TypeError, match=r"Rate\(per=\.\.\.\) must be a number of seconds"):
        Rate(1, per=per)


@pytest.mark.parametrize("make", [Limit, Rate])
@pytest.mark.parametrize("per_key", [1, None, "key"])
def test_per_key_is_true_or_false(make: Any, per_key: Any) -> None:
    with pytest.raises(
        TypeError, match=rf"{make.__name__}\(per_key=\.\.\.\) must be True or False"
    ):
        make(1, per_key=per_key)


def test_they_tell_what_they_are() -> None:
    limit, rate = Limit(2, per_key=True), Rate(100, per=timedelta(minutes=1), per_key=True)
    assert (limit.count, limit.per_key) == (2, True)
    assert (rate.count, rate.per, rate.per_key) == (100, 60.0, True)
    assert repr(limit) == "Limit(2, per_key=True)"
    assert repr(rate) == "Rate(100, per=60, per_key=True)"
    assert repr(Limit(1)) == "Limit(1)"
    assert Rate(5).per == 1.0


def test_they_cannot_be_changed() -> None:
    for each in (Limit(1), Rate(1)):
        with pytest.raises(AttributeError):
            each.count = 2  # type: ignore[misc]
        with pytest.raises(AttributeError):
            each.other = 2  # type: ignore[union-attr]


def test_two_that_are_equal_are_two() -> None:
    assert Limit(1) != Limit(1)
    assert len({Rate(1), Rate(1)}) == 2
