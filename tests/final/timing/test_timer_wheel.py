from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jobqueue.final.timing.timer_wheel import TimerWheel
from tests.support import insides
from tests.support.left_out import often

DAY = 24 * 60 * 60 * 1000
CENTURY = 36_525 * DAY

# Distances at which a tick changes its level, and those beside them.
edges = st.builds(
    lambda exponent, offset: max(0, 2**exponent + offset),
    st.sampled_from([0, 1, 7, 8, 9, 15, 16, 17, 24, 32, 40, 48, 64]),
    st.integers(-2, 2),
)
distances = st.one_of(
    st.integers(0, 3), st.integers(0, 300), st.integers(0, 70_000), st.integers(0, CENTURY), edges
)


class Timed:
    """An item that knows its tick and tells itself apart by identity, as a job does."""

    def __init__(self, tick: int) -> None:
        self.tick = tick

    def __repr__(self) -> str:
        return f"Timed({self.tick})"


def filled(*ticks: int, now: int = 0) -> tuple[TimerWheel[Timed], list[Timed]]:
    """A wheel with an item for each tick, inserted in this order, and the items."""
    wheel: TimerWheel[Timed] = TimerWheel(now)
    items = [Timed(tick) for tick in ticks]
    for item in items:
        wheel.insert(item.tick, item)
    return wheel, items


def ticks_that_wake(wheel: TimerWheel[Timed]) -> list[int]:
    """Advance from one `next_tick` to the next, and list when something came out."""
    fired = []
    while (tick := wheel.next_tick()) is not None:
        assert tick > wheel.tick
        due = wheel.advance(tick)
        assert all(item.tick == tick for item in due)
        fired += [tick] * len(due)
    return fired


# ── against a list that is kept sorted ───────────────────────────────────────────────────────


class WheelAgainstSortedList(RuleBasedStateMachine):
    """Any sequence of calls does what it does to a list sorted by tick, then by insertion."""

    def __init__(self) -> None:
        super().__init__()
        self.wheel: TimerWheel[Timed] = TimerWheel()
        self.model: list[Timed] = []
        self.gone: list[Timed] = []
        self.now = 0

    @initialize(now=distances)
    def start(self, now: int) -> None:
        self.wheel, self.now = TimerWheel(now), now

    @rule(distance=distances)
    def insert(self, distance: int) -> None:
        self._insert(self.now + distance)

    @rule(distance=st.integers(1, 1000))
    def insert_into_the_past(self, distance: int) -> None:
        self._insert(self.now - distance)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def insert_beside_another(self, data: st.DataObject) -> None:
        self._insert(data.draw(st.sampled_from(self.model)).tick)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.model))
        assert self.wheel.remove(item.tick, item)
        self.model.remove(item)
        self.gone.append(item)

    @precondition(lambda self: self.gone)
    @rule(data=st.data())
    def remove_what_is_gone(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.gone))
        assert not self.wheel.remove(item.tick, item)

    @rule(distance=distances)
    def advance(self, distance: int) -> None:
        self._advance(self.now + distance)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), offset=st.sampled_from([-1, 0, 1, 100, 10_000, 1_000_000]))
    def advance_to_or_past_an_item(self, data: st.DataObject, offset: int) -> None:
        self._advance(max(self.now, data.draw(st.sampled_from(self.model)).tick + offset))

    @precondition(lambda self: self.model)
    @rule()
    def advance_to_the_next_tick(self) -> None:
        tick = self.wheel.next_tick()
        assert tick is not None
        self._advance(tick)

    @invariant()
    def next_tick_is_neither_late_nor_past(self) -> None:
        tick = self.wheel.next_tick()
        if not self.model:
            assert tick is None
            return
        assert tick is not None
        first = self.model[0].tick
        if first <= self.now:
            assert tick == self.now
        else:
            assert self.now < tick <= first

    @invariant()
    def wheel_is_whole(self) -> None:
        insides.check_wheel(self.wheel)
        assert len(self.wheel) == len(self.model)
        assert self.wheel.tick == self.now

    def _insert(self, tick: int) -> None:
        item = Timed(tick)
        self.wheel.insert(tick, item)
        self.model.append(item)
        self.model.sort(key=lambda item: item.tick)  # stable: then by insertion

    def _advance(self, tick: int) -> None:
        due = [item for item in self.model if item.tick <= tick]
        assert self.wheel.advance(tick) == due
        self.model = self.model[len(due) :]
        self.gone += due
        self.now = tick


WheelAgainstSortedList.TestCase.settings = settings(max_examples=often(25, 60))
TestWheelAgainstSortedList = pytest.mark.slow(
    pytest.mark.usefixtures("no_tracer")(WheelAgainstSortedList.TestCase)
)


# ── one promise each ─────────────────────────────────────────────────────────────────────────


def test_new_wheel_is_empty_and_stands_at_its_tick() -> None:
    wheel: TimerWheel[Timed] = TimerWheel(7)
    assert (wheel.tick, len(wheel), wheel.next_tick()) == (7, 0, None)


def test_wheel_refuses_to_start_before_tick_zero() -> None:
    with pytest.raises(ValueError, match="-1"):
        TimerWheel(-1)


@given(now=distances, distance=distances)
def test_item_comes_out_at_its_tick_and_not_one_before(now: int, distance: int) -> None:
    wheel, items = filled(now + distance + 1, now=now)
    assert wheel.advance(now + distance) == []
    assert wheel.advance(now + distance + 1) == items


@pytest.mark.usefixtures("no_tracer")
def test_any_jump_across_borders_of_levels_brings_what_it_passes_and_leaves_the_rest() -> None:
    digits = (0, 1, 255)
    ticks = [
        high << 16 | middle << 8 | low for high in digits for middle in digits for low in digits
    ]
    for before, after in combinations(ticks, 2):
        wheel, items = filled(*(tick for tick in ticks if tick > before), now=before)
        assert wheel.advance(after) == [item for item in items if item.tick <= after]
        insides.check_wheel(wheel)
        assert ticks_that_wake(wheel) == [tick for tick in ticks if tick > after]


@pytest.mark.parametrize("tick", [99, 100])
def test_item_of_the_past_or_present_comes_out_without_time_moving(tick: int) -> None:
    wheel, items = filled(tick, now=100)
    assert wheel.advance(100) == items


def test_overdue_items_come_out_first_and_in_the_order_of_their_ticks() -> None:
    wheel, (soon, now, before, before_too) = filled(101, 100, 50, 50, now=100)
    assert wheel.advance(101) == [before, before_too, now, soon]


def test_item_comes_out_once() -> None:
    wheel, _ = filled(5, 70_000)
    wheel.advance(100_000)
    assert wheel.advance(CENTURY) == []


@given(distances.map(lambda distance: distance + 1), st.lists(distances, max_size=4))
def test_items_of_one_tick_come_out_as_inserted_however_near_it_had_come(
    tick: int, moments: list[int]
) -> None:
    wheel, items = filled(tick)
    for moment in sorted(moment % tick for moment in moments):
        assert wheel.advance(moment) == []
        items.append(Timed(tick))
        wheel.insert(tick, items[-1])
    assert wheel.advance(tick) == items


@settings(max_examples=50)
@given(st.lists(distances, max_size=8), distances)
def test_one_jump_brings_everything_in_the_order_of_ticks(ticks: list[int], now: int) -> None:
    wheel, items = filled(*(now + tick for tick in ticks), now=now)
    assert wheel.advance(now + 2**65) == sorted(items, key=lambda item: item.tick)


@settings(max_examples=50)
@given(st.lists(distances.map(lambda distance: distance + 1), max_size=8))
def test_waking_at_each_next_tick_fires_everything_on_time(ticks: list[int]) -> None:
    wheel, _ = filled(*ticks)
    assert ticks_that_wake(wheel) == sorted(ticks)


def test_few_wakes_stand_between_an_item_and_its_tick() -> None:
    wheel, (item,) = filled(CENTURY)
    wakes = 0
    while item not in wheel.advance(wheel.next_tick() or 0):
        wakes += 1
    assert wakes <= 5  # one for each level that it comes down


def test_jump_of_a_century_costs_no_more_than_its_few_occupied_slots() -> None:
    wheel, items = filled(1, DAY, CENTURY)
    assert wheel.advance(CENTURY) == items  # tick by tick it would take days


@pytest.mark.parametrize("now", [0, 1, 255, 256, 65_535, 3 * 65_536 - 1, 2**24 - 1])
@pytest.mark.parametrize(("distance", "levels"), [(256, 1), (257, 2), (65_536, 2), (65_537, 3)])
def test_what_is_delayed_by_a_turn_at_most_never_moves_down_in_a_burst(
    now: int, distance: int, levels: int
) -> None:
    wheel, _ = filled(now + distance, now=now)
    assert len(insides.wheel_levels(wheel)) <= levels


def test_time_does_not_run_backwards() -> None:
    wheel, (late, early) = filled(150, 50, now=100)
    assert wheel.advance(10) == [early]
    assert wheel.tick == 100
    assert wheel.advance(150) == [late]


@given(distances.map(lambda distance: distance + 1), distances)
def test_removed_item_leaves_nothing_behind(tick: int, moment: int) -> None:
    wheel, (item,) = filled(tick)
    wheel.advance(moment % tick)
    assert wheel.remove(tick, item)
    assert (len(wheel), wheel.next_tick(), wheel.advance(tick)) == (0, None, [])


@pytest.mark.parametrize("tick", [0, 1, 1000, CENTURY])
def test_removing_what_was_never_there_changes_nothing(tick: int) -> None:
    wheel, items = filled(0, 1000)
    assert not wheel.remove(tick, Timed(tick))
    assert wheel.advance(1000) == items


@pytest.mark.parametrize("tick", [-1, 0, 900, 1001, 2000, CENTURY])
def test_removing_an_item_for_another_tick_than_its_own_changes_nothing(tick: int) -> None:
    wheel, (item,) = filled(1000)
    assert not wheel.remove(tick, item)
    assert wheel.advance(1000) == [item]


def test_removing_an_overdue_item_for_another_tick_changes_nothing() -> None:
    wheel, (item,) = filled(50, now=100)
    assert not wheel.remove(51, item)
    assert wheel.advance(100) == [item]


def test_removed_item_may_be_inserted_again_for_another_tick() -> None:
    wheel, (item,) = filled(1000)
    wheel.remove(1000, item)
    wheel.insert(5, item)
    assert wheel.advance(5) == [item]
    assert len(wheel) == 0


def test_removal_spares_the_neighbours_of_one_slot() -> None:
    wheel, (first, second, third) = filled(70_000, 70_000, 70_000)
    wheel.remove(70_000, second)
    assert wheel.advance(70_000) == [first, third]


def test_length_counts_what_waits_and_what_is_overdue() -> None:
    wheel, (_, near, *_) = filled(90, 101, 400, 70_000, CENTURY, now=100)
    lengths = [len(wheel)]
    wheel.remove(101, near)
    lengths.append(len(wheel))
    for tick in (100, 400, CENTURY):
        wheel.advance(tick)
        lengths.append(len(wheel))
    assert lengths == [5, 4, 3, 2, 0]


def test_steady_load_fires_each_of_ten_thousand_items_on_its_tick() -> None:
    seed = 1987
    rng = random.Random(seed)
    wheel: TimerWheel[Timed] = TimerWheel(rng.randrange(CENTURY))
    inserted, fired = 10_000, 0
    for _ in range(inserted):
        item = Timed(wheel.tick + rng.randint(1, 3000))
        wheel.insert(item.tick, item)
        due = wheel.advance(wheel.tick + 1)
        fired += len(due)
        assert all(item.tick == wheel.tick for item in due), f"seed {seed}"
    assert fired + len(wheel) == inserted
