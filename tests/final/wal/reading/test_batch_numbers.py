from __future__ import annotations

import sys
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jobqueue.final.wal.reading.batch_numbers import GAPS_MAX, BatchNumbers


def numbers(first: int | None, *seen: int) -> BatchNumbers:
    """Numbers that were seen one by one; the CRC of each is ten times the number."""
    result = BatchNumbers(first)
    for number in seen:
        result.add(number, [number * 10])
    return result


def test_numbers_that_follow_one_another_leave_no_gap() -> None:
    assert list(numbers(1, 1, 2, 3).gaps()) == []


def test_a_gap_is_told_by_its_first_and_last_number() -> None:
    assert list(numbers(1, 3, 4, 9).gaps()) == [(1, 2), (5, 8)]


def test_numbers_that_are_known_to_have_been_written_are_missing_at_the_end() -> None:
    seen = numbers(1, 1)
    seen.expect(5)
    assert list(seen.gaps()) == [(2, 4)]


def test_a_number_that_comes_late_splits_its_gap() -> None:
    assert list(numbers(1, 1, 6, 3).gaps()) == [(2, 2), (4, 5)]


def test_where_nobody_knows_the_first_number_it_is_the_first_that_is_seen() -> None:
    assert list(numbers(None, 7, 9).gaps()) == [(8, 8)]


def test_a_number_below_the_first_is_no_gap_and_leaves_none() -> None:
    seen = numbers(40, 5, 40)
    assert list(seen.gaps()) == []
    assert seen.has(5, 50)


def test_nothing_seen_and_nothing_known_is_no_gap() -> None:
    assert list(numbers(None).gaps()) == []


def test_a_batch_is_known_by_number_and_crc() -> None:
    seen = numbers(1, 4, 5)
    assert seen.has(5, 50)
    assert not seen.has(5, 51)
    assert not seen.has(6, 60)
    assert not seen.has(3, 30)


def test_another_batch_under_a_number_that_is_taken_is_known_from_then_on() -> None:
    seen = numbers(1, 4, 5)
    seen.add(4, [41])
    assert seen.has(4, 40)
    assert seen.has(4, 41)
    assert list(seen.gaps()) == [(1, 3)]


@given(st.lists(st.integers(1, 30), max_size=30))
def test_gaps_are_what_was_not_seen_below_the_highest_number(order: list[int]) -> None:
    missing = {n for first, last in numbers(1, *order).gaps() for n in range(first, last + 1)}
    assert missing == set(range(1, max(order, default=0) + 1)) - set(order)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3))
def test_numbers_may_be_added_many_at_once(first: int, count: int, gap: int) -> None:
    seen = BatchNumbers(1)
    seen.add(first, list(range(count)))
    seen.add(first + count + gap, [7])
    assert seen.last == first + count + gap
    assert all(seen.has(first + index, index) for index in range(count))


def test_a_number_that_comes_late_moves_no_other() -> None:
    """Fault 38 of docs/reliability.md. Inserted in order, each would move all that are above."""
    called = []

    def note(_frame: object, event: str, function: object) -> None:
        if event == "c_call":
            called.append(getattr(function, "__name__", ""))

    profile = sys.getprofile()
    sys.setprofile(note)
    try:
        seen = numbers(1, *range(300, 0, -1), *range(301, 900, 2), *range(302, 900, 2))
    finally:
        sys.setprofile(profile)
    assert "insert" not in called
    assert len(called) < 10 * 900
    assert list(seen.gaps()) == []


def test_of_very_many_gaps_the_last_is_told_as_one() -> None:
    seen = numbers(1, *range(2, 4 * GAPS_MAX, 2))
    gaps = list(seen.gaps())
    assert gaps[0] == (1, 1)
    assert len(gaps) == GAPS_MAX
    assert all(before[1] < after[0] for before, after in pairwise(gaps))
    assert gaps[-1] == (2 * GAPS_MAX - 1, 4 * GAPS_MAX - 2)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 2)), max_size=40))
def test_what_is_known_is_what_was_seen_in_whatever_order(order: list[tuple[int, int]]) -> None:
    seen = BatchNumbers(1)
    known: set[tuple[int, int]] = set()
    for number, crc in order:
        assert seen.has(number, crc) == ((number, crc) in known)
        assert seen.has_number(number) == any(number == other for other, _ in known)
        if not seen.has(number, crc):
            seen.add(number, [crc])
            known.add((number, crc))
