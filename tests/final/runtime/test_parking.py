"""A parker wakes its thread, whatever comes first."""

from __future__ import annotations

import pytest

from jobqueue.final.runtime.parking import Parker
from tests.support.handlers import in_thread
from tests.support.waiting import PATIENCE


@pytest.mark.parametrize("seconds", [None, 5.0, 1e30])
def test_a_thread_that_is_woken_comes_back(seconds: float | None) -> None:
    parker = Parker()
    parked = in_thread(parker.park, seconds)
    parker.unpark()

    assert parked.result(PATIENCE) is True


@pytest.mark.parametrize("seconds", [0.0, -5.0, 0.001])
def test_a_thread_that_nobody_wakes_comes_back_when_its_time_is_out(seconds: float) -> None:
    assert Parker().park(seconds) is False


def test_a_thread_that_was_woken_before_it_parks_does_not_sleep_once() -> None:
    parker = Parker()
    parker.unpark()
    parker.unpark()

    assert parker.park() is True
    assert parker.park(0.0) is False


def test_a_wake_up_that_nobody_slept_for_can_be_forgotten() -> None:
    parker = Parker()
    parker.unpark()
    parker.rearm()
    parker.rearm()

    assert parker.park(0.0) is False


def test_waking_in_c_tells_that_it_was_done_before() -> None:
    parker = Parker()
    parker.wake()
    with pytest.raises(RuntimeError):
        parker.wake()
    assert parker.park() is True
