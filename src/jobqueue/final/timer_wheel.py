"""The hierarchical timer wheel of Varghese and Lauck (1987). Pure: time is an argument.

A tick is a whole number, read as digits of base 256. There is a level for each digit, with a slot
for each value of it. An item stands on the level of the highest digit in which its tick differs
from the present one, in the slot of its own digit there, so that its place can be told from its
tick alone for as long as it is there. When the present reaches a slot of a higher level, its items
move down, at most once a level. Items of one tick always share a slot, in the order of insertion.
"""

from __future__ import annotations

from itertools import compress
from typing import Generic, TypeVar

T = TypeVar("T")

_BITS = 8
_SLOTS = 1 << _BITS
_DIGIT = _SLOTS - 1


class _Level(Generic[T]):
    """The slots of one digit.

    A slot maps items to the digits of their ticks below this one, which is all that the place does
    not tell. They are mostly small integers, of which CPython keeps one each: with a million items
    a tenth of the time went into fetching whole ticks from memory.
    """

    __slots__ = ("count", "mask", "shift", "slots")

    def __init__(self, shift: int) -> None:
        self.shift = shift
        self.mask = (1 << shift) - 1
        self.slots: list[dict[T, int]] = [{} for _ in range(_SLOTS)]
        self.count = 0

    def take(self, start: int, end: int, due: list[T]) -> None:
        """Move all items out of the slots from `start` to before `end`, in order, to `due`."""
        before = len(due)
        for slot in filter(None, self.slots[start:end]):
            due += sorted(slot, key=slot.__getitem__) if self.shift else slot
            slot.clear()
        self.count -= len(due) - before

    def move_down(self, digit: int, below: _Level[T]) -> None:
        """Move the items of a slot that the present has reached to the level below."""
        slot = self.slots[digit]
        slots, shift, mask = below.slots, below.shift, below.mask
        for item, rest in slot.items():
            slots[rest >> shift][item] = rest & mask
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
        self._levels: list[_Level[T]] = [_Level(0)]
        self._overdue: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._overdue) + sum(level.count for level in self._levels)

    @property
    def tick(self) -> int:
        """The present."""
        return self._now

    def insert(self, tick: int, item: T) -> None:
        """Have `item` come out at `tick`; at the next `advance` where that is not in the future."""
        if tick <= self._now:
            self._overdue[item] = tick
            return
        level = self._level(tick)
        level.slots[tick >> level.shift & _DIGIT][item] = tick & level.mask
        level.count += 1

    def remove(self, tick: int, item: T) -> bool:
        """Take out an item that was inserted for `tick`; `False` where it is not there."""
        if tick <= self._now:
            if self._overdue.get(item) != tick:
                return False
            del self._overdue[item]
            return True
        level = self._level(tick)
        slot = level.slots[tick >> level.shift & _DIGIT]
        if slot.get(item) != tick & level.mask:
            return False
        del slot[item]
        level.count -= 1
        return True

    def _level(self, tick: int) -> _Level[T]:
        """The level of a tick in the future; levels are made when they are first needed."""
        number = ((tick ^ self._now).bit_length() - 1) // _BITS
        try:
            return self._levels[number]
        except IndexError:
            new = range(len(self._levels), number + 1)
            self._levels += [_Level(_BITS * n) for n in new]
            return self._levels[number]

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
                self._levels[0].take((before & _DIGIT) + 1, (tick & _DIGIT) + 1, due)
        return due

    def _turn(self, before: int, due: list[T]) -> None:
        """Take out what has come since `before`, a tick that differs not in the last digit only."""
        levels = self._levels
        top = ((before ^ self._now).bit_length() - 1) // _BITS
        for level in levels[:top]:
            if level.count:
                level.take((before >> level.shift & _DIGIT) + 1, _SLOTS, due)
        start = (before >> top * _BITS & _DIGIT) + 1
        for number in range(min(top, len(levels) - 1), 0, -1):
            level = levels[number]
            if level.count:
                digit = self._now >> level.shift & _DIGIT
                level.take(start if number == top else 0, digit, due)
                level.move_down(digit, levels[number - 1])
        levels[0].take(0, (self._now & _DIGIT) + 1, due)

    def next_tick(self) -> int | None:
        """When `advance` is to be called next at the latest; `None` where nothing waits.

        That is when the first item comes out, or earlier, when items have to move down.
        """
        if self._overdue:
            return self._now
        for level in self._levels:
            if level.count:
                now = self._now >> level.shift
                start = (now & _DIGIT) + 1
                digit = next(compress(range(start, _SLOTS), level.slots[start:]))
                return (now & ~_DIGIT | digit) << level.shift
        return None

    def _check(self) -> None:
        """Assert the invariants; used by randomised tests."""
        items = set(self._overdue)
        assert all(tick <= self._now for tick in self._overdue.values())
        for number, level in enumerate(self._levels):
            assert level.shift == number * _BITS
            assert level.count == sum(map(len, level.slots))
            now = self._now >> level.shift
            for digit in compress(range(_SLOTS), level.slots):
                slot = level.slots[digit]
                assert digit > now & _DIGIT
                assert all(rest == rest & level.mask for rest in slot.values())
                items.update(slot)
        assert len(items) == len(self)
