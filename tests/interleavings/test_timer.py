"""The timer's thread and those who give it something to do, in any order of their lines."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from jobqueue.final.runtime.clock import Clock, SystemClock
from jobqueue.final.testing import ManualClock
from jobqueue.final.timing import timer as timer_module
from jobqueue.final.timing.timer import Timer, tick_before
from tests.support.interleavings import Broken, explore, join, start

pytestmark = pytest.mark.slow

WITHIN = (timer_module, sys.modules[__name__])


class Alarms:
    """A timer, and what it has fired when."""

    def __init__(self, count: int, clock: Clock, timer: type[Timer] = Timer) -> None:
        self.fired: list[tuple[object, float]] = []
        self._count = count
        self._clock = clock
        self._all_fired = threading.Event()
        self.timer = timer(clock, self._fire, self._failed)
        self.timer.start()

    def _fire(self, items: list[object]) -> None:
        self.fired += [(item, self._clock.monotonic()) for item in items]
        if len(self.fired) == self._count:
            self._all_fired.set()

    def _failed(self, error: BaseException) -> None:
        raise error

    def schedule(self, item: object, seconds: float) -> None:
        self.timer.schedule(item, tick_before(seconds))

    def remove(self, item: object, seconds: float) -> None:
        self.timer.remove(item, tick_before(seconds))

    def await_all(self) -> None:
        self._all_fired.wait()

    def end(self) -> None:
        self.timer.stop()
        self.timer.join(1000)


def fire_in_time(timer: type[Timer] = Timer) -> None:
    alarms = Alarms(3, SystemClock(), timer)
    callers = start(
        lambda: alarms.schedule("late", 5),
        lambda: alarms.schedule("soon", 1),
        lambda: alarms.schedule("later", 9),
    )
    join(callers)
    alarms.await_all()
    assert alarms.fired == [("soon", 1.0), ("late", 5.0), ("later", 9.0)]
    alarms.end()


def test_what_comes_while_the_thread_goes_to_sleep_fires_in_time() -> None:
    explore(fire_in_time, within=WITHIN)


def test_what_is_removed_does_not_fire_and_nothing_else_is_lost_with_it() -> None:
    def take_back(alarms: Alarms) -> None:
        alarms.schedule("taken back", 2)
        alarms.remove("taken back", 2)

    def model() -> None:
        alarms = Alarms(2, SystemClock())
        callers = start(
            lambda: take_back(alarms),
            lambda: alarms.schedule("one", 2),
            lambda: alarms.schedule("two", 3),
        )
        join(callers)
        alarms.await_all()
        assert alarms.fired == [("one", 2.0), ("two", 3.0)]
        alarms.end()

    explore(model, within=WITHIN)


def test_on_a_clock_that_is_moved_by_hand_all_that_came_due_has_fired_in_the_end() -> None:
    def model() -> None:
        clock = ManualClock(0.0)
        alarms = Alarms(3, clock)
        alarms.schedule("before", 1)
        callers = start(
            lambda: clock.advance(2),
            lambda: alarms.schedule("beside", 1),
            lambda: alarms.schedule("at the end", 2),
        )
        join(callers)
        alarms.await_all()
        assert {item for item, _ in alarms.fired} == {"before", "beside", "at the end"}
        assert time.monotonic() == 0
        alarms.end()

    explore(model, within=WITHIN)


def test_who_advances_a_clock_finds_fired_what_had_come_due() -> None:
    def model() -> None:
        clock = ManualClock(0.0)
        alarms = Alarms(2, clock)
        alarms.schedule("first", 1)

        def advance() -> None:
            clock.advance(1)
            assert ("first", 1.0) in alarms.fired or ("first", 2.0) in alarms.fired

        callers = start(advance, lambda: clock.advance(1), lambda: alarms.schedule("x", 1))
        join(callers)
        alarms.await_all()
        alarms.end()

    explore(model, within=WITHIN)


class LooksTooEarly(Timer):
    """Says that it sleeps only after it has looked for how long."""

    def _seconds_to_sleep(self) -> float | None:
        self._apply_changes()
        tick = self._wheel.next_tick()
        self._asleep_until = float("inf") if tick is None else tick
        return None if tick is None else tick / 1000 - self._clock.monotonic()


def test_a_timer_that_looks_too_early_is_found() -> None:
    with pytest.raises(Broken, match=r"assert alarms.fired == |deadlock"):
        explore(lambda: fire_in_time(LooksTooEarly), within=WITHIN)
