from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.improved import Job, Priority
from jobqueue.improved.job import Attempt
from jobqueue.improved.retry import RetrySchedule, backoff


def attempt(name: str, priority: Priority = Priority.MEDIUM) -> Attempt:
    return Attempt(Job(name, print, priority), 1)


def test_backoff_doubles_with_each_attempt() -> None:
    assert [backoff(1.0, number) for number in range(4)] == [1.0, 2.0, 4.0, 8.0]
    assert [backoff(0.25, number) for number in range(3)] == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(("base_delay", "least"), [(0.0, 0.0), (1.0, 1e300)])
def test_backoff_after_absurdly_many_attempts_does_not_overflow(
    base_delay: float, least: float
) -> None:
    assert backoff(base_delay, 1_000_000) >= least


def test_an_attempt_can_be_taken_from_its_time_on() -> None:
    schedule = RetrySchedule()
    first = attempt("a")
    schedule.add(first, due=5.0)

    assert schedule.pop_due(Priority.MEDIUM, now=4.9) is None
    assert schedule.pop_due(Priority.MEDIUM, now=5.0) is first
    assert schedule.pop_due(Priority.MEDIUM, now=5.0) is None


def test_an_attempt_is_taken_for_its_own_priority_only() -> None:
    schedule = RetrySchedule()
    schedule.add(attempt("a", Priority.LOW), due=0.0)

    assert schedule.pop_due(Priority.HIGH, now=1.0) is None
    assert schedule.pop_due(Priority.LOW, now=1.0) is not None


def test_the_next_one_is_due_first_of_all_priorities() -> None:
    schedule = RetrySchedule()
    assert schedule.next_due() is None
    schedule.add(attempt("a", Priority.HIGH), due=3.0)
    schedule.add(attempt("b", Priority.LOW), due=2.0)

    assert schedule.next_due() == 2.0


@pytest.mark.slow
@given(st.lists(st.integers(0, 5), max_size=30))
def test_attempts_come_out_by_time_and_then_in_the_order_they_went_in(dues: list[int]) -> None:
    schedule = RetrySchedule()
    for n, due in enumerate(dues):
        schedule.add(attempt(str(n)), float(due))

    taken = []
    while (next_one := schedule.pop_due(Priority.MEDIUM, now=9.0)) is not None:
        taken.append(int(next_one.job.id))

    assert taken == sorted(range(len(dues)), key=lambda n: dues[n])  # sorted() keeps ties in order
