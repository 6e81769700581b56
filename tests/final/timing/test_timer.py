from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.final.runtime.clock import Clock, SystemClock
from jobqueue.final.runtime.parking import Parker
from jobqueue.final.testing import ManualClock
from jobqueue.final.timing.timer import TICKS_PER_SECOND, Timer, tick_after, tick_before
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.waiting import PATIENCE, eventually

HOUR = 3600.0


class Rig:
    """A timer that tells what it fires."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.fired: queue.Queue[tuple[object, float]] = queue.Queue()
        self.on_fire: Callable[[list[object]], None] = lambda _items: None
        self.errors: list[BaseException] = []
        self.timer = Timer(clock, self._fire, self.errors.append)

    def _fire(self, items: list[object]) -> list[Callable[[], object]]:
        for item in items:
            self.fired.put((item, self.clock.monotonic()))
        self.on_fire(items)
        return [item for item in items if callable(item)]

    def schedule(self, item: object, seconds: float) -> int:
        """Have it fired so many seconds from now; returns the tick."""
        tick = tick_after(self.clock.monotonic() + seconds)
        self.timer.schedule(item, tick)
        return tick

    def next(self) -> object:
        return self.fired.get(timeout=PATIENCE)[0]

    def so_far(self) -> list[object]:
        items = []
        while not self.fired.empty():
            items.append(self.fired.get()[0])
        return items

    def until_asleep(self) -> None:
        """Wait until the thread sleeps: on the system's clock, until something is due."""
        manual = self.clock.manual
        assert eventually(
            lambda: math.isinf(until := insides.asleep_until(self.timer)) is manual and until != -1
        )

    def stop(self) -> None:
        self.timer.stop()
        self.timer.join(PATIENCE)
        assert not insides.thread_of(self.timer).is_alive()


@pytest.fixture
def real() -> Iterator[Rig]:
    """A timer on the system's clock."""
    rig = Rig(SystemClock())
    rig.timer.start()
    yield rig
    rig.stop()


@pytest.fixture
def manual(clock: ManualClock) -> Iterator[Rig]:
    """A timer on a clock that is moved by hand."""
    rig = Rig(clock)
    rig.timer.start()
    yield rig
    rig.stop()


def advance(rig: Rig, seconds: float) -> None:
    assert isinstance(rig.clock, ManualClock)
    rig.clock.advance(seconds)


# --- the system's clock ---------------------------------------------------------------------


def test_items_fire_in_the_order_of_their_times_and_none_too_early(real: Rig) -> None:
    now = tick_after(time.monotonic())
    times = {"c": now + 15, "a": now + 5, "b": now + 10}
    with insides.held(real.timer):  # nothing fires before all are there
        for name, tick in times.items():
            real.timer.schedule(name, tick)

    fired = [real.fired.get(timeout=PATIENCE) for _ in times]

    assert [item for item, _ in fired] == ["a", "b", "c"]
    for item, when in fired:
        assert when * TICKS_PER_SECOND >= times[str(item)]


@pytest.mark.parametrize("seconds", [0.0, -1.0, -HOUR])
def test_what_is_due_already_fires_at_once(real: Rig, seconds: float) -> None:
    real.schedule("late", seconds)
    assert real.next() == "late"


def test_an_earlier_item_wakes_the_thread_that_sleeps_for_a_later_one(real: Rig) -> None:
    real.schedule("in an hour", HOUR)
    real.until_asleep()
    real.schedule("soon", 0.005)

    assert real.next() == "soon"
    assert real.fired.empty()


def test_a_later_item_lets_the_thread_sleep(real: Rig) -> None:
    real.schedule("in an hour", HOUR)
    real.until_asleep()
    asleep_until = insides.asleep_until(real.timer)
    real.schedule("in two hours", 2 * HOUR)

    assert insides.asleep_until(real.timer) == asleep_until
    assert not insides.is_woken(insides.parker_of(real.timer))


def test_an_item_that_was_removed_does_not_fire(real: Rig) -> None:
    with insides.held(real.timer):  # nothing fires before that
        tick = real.schedule("removed", 0.001)
        real.schedule("stays", 0.002)
        real.timer.remove("removed", tick)

    assert real.next() == "stays"


def test_removing_what_has_fired_does_nothing(real: Rig) -> None:
    tick = real.schedule("a", 0.0)
    assert real.next() == "a"
    real.timer.remove("a", tick)
    real.schedule("b", 0.0)

    assert real.next() == "b"


def test_many_threads_schedule_and_each_item_fires_once(real: Rig) -> None:
    def schedule(number: int) -> None:
        for count in range(50):
            real.schedule((number, count), count % 7 / 1000)

    for future in [in_thread(schedule, number) for number in range(4)]:
        future.result(PATIENCE)

    fired = [real.next() for _ in range(200)]
    assert sorted(map(repr, fired)) == sorted(repr((n, c)) for n in range(4) for c in range(50))


def test_a_sleep_takes_its_time(real: Rig) -> None:
    parker = Parker()
    begin = time.monotonic()
    real.timer.sleep(parker, 0.01)

    assert time.monotonic() - begin >= 0.01
    assert not insides.is_woken(parker)


@pytest.mark.parametrize("seconds", [HOUR, 1e30])
def test_a_sleep_ends_when_its_thread_is_woken(real: Rig, seconds: float) -> None:
    parker = Parker()
    slept = in_thread(real.timer.sleep, parker, seconds)
    parker.unpark()

    slept.result(PATIENCE)


def test_a_function_is_called_soon_on_the_timers_thread(real: Rig) -> None:
    real.schedule("in an hour", HOUR)
    calls: queue.Queue[tuple[str, str]] = queue.Queue()

    def call(name: str) -> None:
        calls.put((name, threading.current_thread().name))

    for name in ("first", "second"):
        real.timer.call_soon(partial(call, name))

    assert calls.get(timeout=PATIENCE) == ("first", "jobqueue-timer")
    assert calls.get(timeout=PATIENCE) == ("second", "jobqueue-timer")


def test_a_function_may_schedule(real: Rig) -> None:
    real.timer.call_soon(lambda: real.schedule("a", 0.0))
    assert real.next() == "a"


def test_nothing_fires_after_stop(real: Rig) -> None:
    with insides.held(real.timer):  # nothing fires before that
        real.schedule("a", 0)
        real.timer.stop()
    real.timer.expire()

    assert real.fired.empty()


def test_a_timer_that_was_never_started_can_be_stopped_and_joined() -> None:
    rig = Rig(SystemClock())
    rig.timer.stop()
    rig.timer.join(PATIENCE)


def test_the_timers_own_thread_does_not_wait_for_itself(real: Rig) -> None:
    joined = threading.Event()

    def join() -> None:
        real.timer.join(PATIENCE)
        joined.set()

    real.timer.call_soon(join)

    assert joined.wait(PATIENCE)


@pytest.mark.parametrize("where", ["fire", "function"])
def test_an_error_is_told_and_ends_the_thread(
    real: Rig, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)

    def breaks(*_args: object) -> None:
        raise MemoryError

    if where == "fire":
        real.on_fire = breaks
        real.schedule("a", 0.0)
    else:
        real.timer.call_soon(breaks)
    real.timer.join(PATIENCE)

    assert [type(error) for error in real.errors] == [MemoryError]


# --- a clock that is moved by hand ----------------------------------------------------------


def test_nothing_fires_until_time_is_moved(manual: Rig) -> None:
    manual.schedule("a", 0.001)
    manual.until_asleep()
    advance(manual, 0.0005)

    assert manual.so_far() == []


def test_what_came_due_has_fired_when_advance_returns(manual: Rig) -> None:
    manual.schedule("b", 2)
    manual.schedule("a", 1)
    manual.schedule("c", 3)
    advance(manual, 2)
    assert manual.so_far() == ["a", "b"]

    advance(manual, 1)
    assert manual.so_far() == ["c"]


def test_the_thread_that_moves_time_fires_what_came_due_by_that(clock: ManualClock) -> None:
    def have_the_other_look() -> None:
        looked = threading.Event()
        rig.timer.call_soon(looked.set)
        assert looked.wait(PATIENCE)
        rig.until_asleep()

    clock.subscribe(have_the_other_look)  # before the timer: the clock has moved, it is not told
    rig = Rig(clock)
    rig.timer.start()
    by: list[threading.Thread] = []
    rig.on_fire = lambda _items: by.append(threading.current_thread())
    rig.schedule("a", 5)
    clock.advance(5)
    assert by == [threading.current_thread()]
    rig.stop()


def test_items_of_one_time_fire_in_the_order_in_which_they_were_scheduled(manual: Rig) -> None:
    names = [f"{number}" for number in range(20)]
    for name in names:
        manual.schedule(name, 5)
    advance(manual, 5)

    assert manual.so_far() == names


def test_what_is_due_at_once_fires_without_time_being_moved(manual: Rig) -> None:
    manual.until_asleep()
    manual.schedule("now", 0)
    assert manual.next() == "now"


def test_what_is_scheduled_by_what_fires_is_due_in_its_turn(manual: Rig) -> None:
    def schedule(items: list[object]) -> None:
        if "a" in items:
            manual.schedule("b", 1)

    manual.on_fire = schedule
    manual.schedule("a", 1)
    advance(manual, 1)
    assert manual.so_far() == ["a"]

    advance(manual, 1)
    assert manual.so_far() == ["b"]


def test_what_is_called_without_the_timers_lock_may_block_and_move_time(manual: Rig) -> None:
    manual.schedule(lambda: advance(manual, 1), 1)
    manual.schedule("b", 2)
    advance(manual, 1)

    assert manual.so_far()[1:] == ["b"]


def test_a_sleep_ends_when_time_has_been_moved_far_enough(manual: Rig) -> None:
    parker = Parker()
    slept = in_thread(manual.timer.sleep, parker, 10)
    assert eventually(
        lambda: insides.changes_of(manual.timer) or len(insides.wheel_of(manual.timer))
    )
    advance(manual, 9.999)
    manual.until_asleep()
    assert not slept.done()
    advance(manual, 0.001)

    slept.result(PATIENCE)


def test_a_sleep_that_was_woken_leaves_nothing(manual: Rig) -> None:
    parker = Parker()
    slept = in_thread(manual.timer.sleep, parker, 10)
    assert eventually(
        lambda: insides.changes_of(manual.timer) or len(insides.wheel_of(manual.timer))
    )
    parker.unpark()
    slept.result(PATIENCE)
    advance(manual, 20)

    assert manual.so_far() == []
    assert len(insides.wheel_of(manual.timer)) == 0


def test_a_timer_that_was_stopped_is_left_alone_by_its_clock(manual: Rig) -> None:
    manual.schedule("a", 1)
    manual.stop()
    advance(manual, 1)

    assert manual.so_far() == []
    assert isinstance(manual.clock, ManualClock)
    assert insides.subscribers(manual.clock) == []


def test_two_threads_that_move_time_fire_each_item_once(manual: Rig) -> None:
    for number in range(200):
        manual.schedule(number, number / 100)

    def move() -> None:
        for _ in range(100):
            advance(manual, 0.01)

    for moved in [in_thread(move) for _ in range(2)]:
        moved.result(PATIENCE)

    assert sorted(map(int, map(str, manual.so_far()))) == list(range(200))


STEPS = st.one_of(
    st.tuples(st.just("schedule"), st.integers(0, 3000)),
    st.tuples(st.just("remove"), st.integers(0, 30)),
    st.tuples(st.just("advance"), st.integers(0, 2000)),
)


@given(st.lists(STEPS, max_size=60))
def test_any_steps_fire_what_a_sorted_list_would(steps: list[tuple[str, int]]) -> None:
    clock = ManualClock()
    rig = Rig(clock)  # its thread is not started: time is moved here alone
    waiting: list[tuple[int, int]] = []  # tick, number
    now = 0
    for number, (step, amount) in enumerate(steps):
        if step == "schedule":
            waiting.append((now + amount, number))
            rig.timer.schedule(number, now + amount)
        elif step == "remove" and amount < len(waiting):
            tick, item = waiting.pop(amount)
            rig.timer.remove(item, tick)
        else:
            now += amount
            clock.advance(amount / TICKS_PER_SECOND)
            due = sorted(each for each in waiting if each[0] <= now)
            waiting = [each for each in waiting if each[0] > now]
            assert rig.so_far() == [item for _, item in due]
    rig.timer.stop()


# --- ticks ----------------------------------------------------------------------------------


@given(st.floats(0, 1e9))
def test_a_time_lies_between_its_ticks(seconds: float) -> None:
    before, after = tick_before(seconds), tick_after(seconds)

    assert before <= after <= before + 1
    assert before - 1e-6 <= seconds * TICKS_PER_SECOND <= after + 1e-6


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_sums_of_whole_ticks_are_whole_ticks(parts: list[int]) -> None:
    seconds = 0.0
    for part in parts:
        seconds += part / TICKS_PER_SECOND

    assert tick_before(seconds) == tick_after(seconds) == sum(parts)


@pytest.mark.parametrize("seconds", [1e300, math.inf, 2.0**60])
def test_a_time_beyond_all_clocks_is_some_tick(seconds: float) -> None:
    assert tick_before(seconds) == tick_after(seconds) == 2**52 * TICKS_PER_SECOND


# ── long delays, and systems that sleep ──────────────────────────────────────────────────────


class WallClock(ManualClock):
    """A clock whose wall time is also moved by itself, as by a sleep or by hand."""

    def __init__(self) -> None:
        super().__init__(start=1e9)
        self.offset = 0.0

    def time(self) -> float:
        return super().time() + self.offset


@pytest.fixture
def walled() -> Iterator[Rig]:
    rig = Rig(WallClock())
    rig.timer.start()
    yield rig
    rig.stop()


def _step(rig: Rig, wall: float, monotonic: float = 0.0) -> list[object]:
    assert isinstance(rig.clock, WallClock)
    rig.clock.offset += wall
    rig.clock.advance(monotonic)
    return rig.so_far()


def _long(rig: Rig, item: object, seconds: float, *, by_wall: bool = True) -> int:
    tick = tick_after(rig.clock.monotonic() + seconds)
    rig.timer.schedule_through_sleep(item, tick, by_wall=by_wall)
    return tick


def test_a_long_delay_is_not_late_by_the_time_that_the_system_slept(walled: Rig) -> None:
    _long(walled, "job", 2 * HOUR)
    assert _step(walled, wall=HOUR) == []
    assert _step(walled, wall=HOUR - 1) == []
    assert _step(walled, wall=0, monotonic=1) == ["job"]


def test_a_long_delay_is_due_at_once_after_a_longer_sleep(walled: Rig) -> None:
    _long(walled, "job", HOUR)
    assert _step(walled, wall=8 * HOUR) == ["job"]
    assert _step(walled, wall=0, monotonic=2 * HOUR) == []


def test_a_step_back_makes_a_long_delay_neither_early_nor_late(walled: Rig) -> None:
    _long(walled, "before", HOUR)
    assert _step(walled, wall=-24 * HOUR) == []
    _long(walled, "after", HOUR)
    assert _step(walled, wall=0, monotonic=HOUR - 1) == []
    assert _step(walled, wall=0, monotonic=1) == ["before", "after"]


def test_a_step_forward_and_back_leaves_a_long_delay_as_it_was(walled: Rig) -> None:
    _long(walled, "job", 2 * HOUR)
    assert _step(walled, wall=HOUR) == []
    assert _step(walled, wall=-HOUR, monotonic=HOUR) == []
    assert _step(walled, wall=0, monotonic=HOUR) == ["job"]


def test_a_long_delay_that_was_moved_can_be_removed(walled: Rig) -> None:
    tick = _long(walled, "job", 2 * HOUR)
    assert _step(walled, wall=HOUR) == []
    walled.timer.remove("job", tick)
    assert _step(walled, wall=HOUR, monotonic=2 * HOUR) == []
    assert len(insides.wheel_of(walled.timer)) == 0


@pytest.mark.parametrize("wall", [-24 * HOUR, 24 * HOUR])
def test_what_does_not_go_by_the_wall_clock_is_not_disturbed_by_it(
    walled: Rig, wall: float
) -> None:
    walled.schedule("timeout", HOUR)
    _long(walled, "retry", HOUR, by_wall=False)
    assert _step(walled, wall=wall) == []
    assert _step(walled, wall=0, monotonic=HOUR) == ["timeout", "retry"]


def test_on_the_systems_clock_that_of_its_boot_tells_how_long_it_slept(
    real: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.final.timing.timer.LOOK_SECONDS", 0.01)
    slept = [0.0]
    monkeypatch.setattr(*insides.boot_seconds(), lambda: time.monotonic() + slept[0])
    _long(real, "retry", HOUR, by_wall=False)
    _long(real, "job", 2 * HOUR)
    slept[0] = HOUR
    assert real.next() == "retry"
    slept[0] = 2 * HOUR
    assert real.next() == "job"
