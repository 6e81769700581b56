"""The hierarchical timer wheel of Varghese and Lauck (1987). Pure: time is an argument.

A tick is a whole number, read as digits of base 256. There is a level for each digit; one turn of
it covers all values of its digit and ends when the next higher digit changes. A level has slots
for the turn that the present is in and for the one after. An item stands on the lowest level whose
slots reach its tick. So its place can be told from its tick alone for as long as it is there.
When the present comes within a slot of one on a higher level, its items move down, at most once a
level. Items of one tick always share a slot, in the order of insertion.

The second turn is there for the sake of bursts. With one, all that waited beyond a change of the
third digit moved down at that moment. Of a million jobs with delays of up to a minute, and ticks
of a millisecond, that was most of them. It came every 65.5 s and took a third of a second. With
two turns, what is delayed by less than a turn of a level never stands above it.
"""

from __future__ import annotations

from itertools import compress
from typing import Generic, TypeVar

T = TypeVar("T")

_BITS = 8
_SLOTS = 1 << _BITS
_RING = 2 * _SLOTS - 1


class _Level(Generic[T]):
    """The slots of one digit, for two turns; their numbers are ticks without the digits below.

    A slot maps items to the digits of their ticks below this one, which is all that the place does
    not tell. They are mostly small integers, of which CPython keeps one each: with a million items
    a tenth of the time went into fetching whole ticks from memory.
    """

    __slots__ = ("count", "end", "mask", "shift", "slots")

    def __init__(self, shift: int, now: int) -> None:
        self.shift = shift
        self.mask = (1 << shift) - 1
        self.slots: list[dict[T, int]] = [{} for _ in range(2 * _SLOTS)]
        self.count = 0
        self.end = 0
        """The first tick that its slots do not reach."""
        self.turn_to(now)

    def turn_to(self, now: int) -> None:
        """Have slots for the turn that `now` is in and for the next one."""
        turn = self.shift + _BITS
        self.end = ((now >> turn) + 2) << turn

    def take(self, start: int, stop: int, due: list[T]) -> None:
        """Move all items out of the slots from `start` to before `stop`, in order, to `due`."""
        before = len(due)
        first, end = start & _RING, (stop - 1 & _RING) + 1
        slots = self.slots
        passed = slots[first:end] if first < end else slots[first:] + slots[:end]
        for slot in filter(None, passed):
            due += sorted(slot, key=slot.__getitem__) if self.shift else slot
            slot.clear()
        self.count -= len(due) - before

    def first(self, start: int) -> int:
        """The number of the first slot, from number `start` on, that has items; there is one."""
        turn = start & -_SLOTS
        place = turn & _RING
        for index in compress(
            range(start & _RING, place + _SLOTS), self.slots[start & _RING : place + _SLOTS]
        ):
            return turn - place + index
        place ^= _SLOTS
        index = next(compress(range(place, place + _SLOTS), self.slots[place : place + _SLOTS]))
        return turn + _SLOTS - place + index

    def move_down(self, number: int, below: _Level[T]) -> None:
        """Move the items of a slot that the present has come close to, to the level below."""
        slot = self.slots[number & _RING]
        slots, shift, mask = below.slots, below.shift, below.mask
        half = (number & 1) << _BITS
        for item, rest in slot.items():
            slots[half | rest >> shift][item] = rest & mask
        below.count += len(slot)
        self.count -= len(slot)
        slot.clear()


class TimerWheel(Generic[T]):
    """Items that wait for a tick. Not thread-safe: its owner's lock guards it.

    Inserting, removing and expiring an item take constant time, however many there are; empty
    stretches of time cost next to nothing, however long. That is an average: all items of a slot
    move down at once. An item is in the wheel at most once, and is hashed.

    Args:
        tick: the present, >= 0.

    Raises:
        ValueError: `tick` is negative.
    """

    __slots__ = ("_levels", "_now", "_overdue")

    def __init__(self, tick: int = 0) -> None:
        if tick < 0:
            raise ValueError(f"a wheel starts at a tick >= 0, not {tick!r}")
        self._now = tick
        self._levels: list[_Level[T]] = [_Level(0, tick)]
        self._overdue: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._overdue) + sum(level.count for level in self._levels)

    @property
    def tick(self) -> int:
        """The present."""
        return self._now

    def insert(self, tick: int, item: T) -> None:
        """Have `item` come out at `tick`; at the next `advance` if that is not in the future."""
        if tick <= self._now:
            self._overdue[item] = tick
            return
        level = self._level(tick)
        level.slots[tick >> level.shift & _RING][item] = tick & level.mask
        level.count += 1

    def remove(self, tick: int, item: T) -> bool:
        """Take out an item that was inserted for `tick`; `False` if it is not there."""
        if tick <= self._now:
            if self._overdue.get(item) != tick:
                return False
            del self._overdue[item]
            return True
        level = self._level(tick)
        slot = level.slots[tick >> level.shift & _RING]
        if slot.get(item) != tick & level.mask:
            return False
        del slot[item]
        level.count -= 1
        return True

    def _level(self, tick: int) -> _Level[T]:
        """The level of a tick in the future; levels are made when they are first needed."""
        for level in self._levels:
            if tick < level.end:
                return level
        self._levels.append(_Level(_BITS * len(self._levels), self._now))
        return self._level(tick)

    def advance(self, tick: int) -> list[T]:
        """Move the present on to `tick`, if that is later.

        Returns:
            All items whose tick has come, in the order of their ticks, then of insertion.
        """
        due: list[T] = []
        if self._overdue:
            due += sorted(self._overdue, key=self._overdue.__getitem__)
            self._overdue.clear()
        before = self._now
        if tick > before:
            self._now = tick
            if tick >> _BITS != before >> _BITS:
                self._turn(before, due)
            elif self._levels[0].count:
                self._levels[0].take(before + 1, tick + 1, due)
        return due

    def _turn(self, before: int, due: list[T]) -> None:
        """Take out what has come since `before`, when a digit above the last has changed."""
        now = self._now
        highest = ((before ^ now).bit_length() - 1) // _BITS  # digit that differs
        levels = self._levels[: highest + 1]
        for level in levels:
            if level.count:
                start = (before >> level.shift) + 1
                stop = min(level.end, now + 1) >> level.shift
                if start < stop:
                    level.take(start, stop, due)
            level.turn_to(now)
        for level, below in zip(levels[:0:-1], levels[-2::-1], strict=True):
            if level.count:
                number = now >> level.shift
                if number & _SLOTS - 1:
                    level.take(number & -_SLOTS, number, due)  # of what has just come down
                level.move_down(number, below)
                level.move_down(number + 1, below)
        levels[0].take(now & -_SLOTS, now + 1, due)

    def next_tick(self) -> int | None:
        """When `advance` is to be called next at the latest; `None` if nothing waits.

        That is when the first item comes out, or earlier, when its slot is reached.
        """
        if self._overdue:
            return self._now
        for level in self._levels:
            if level.count:
                return level.first((self._now >> level.shift) + 1) << level.shift
        return None

    def _check(self) -> None:
        """Assert the invariants; used by randomised tests."""
        items = set(self._overdue)
        assert all(tick <= self._now for tick in self._overdue.values())
        for number, level in enumerate(self._levels):
            assert level.shift == number * _BITS
            assert level.count == sum(map(len, level.slots))
            start = (self._now >> level.shift) + (2 if number else 1)
            stop = level.end >> level.shift
            for each in range(start, start + len(level.slots)):
                slot = level.slots[each & _RING]
                assert each < stop or not slot
                assert all(rest == rest & level.mask for rest in slot.values())
                items.update(slot)
        assert len(items) == len(self)
