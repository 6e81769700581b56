"""The hierarchical timer wheel of Varghese and Lauck (1987). Pure: time is an argument.

A tick is a whole number, read as digits of base 256. There is a level for each digit, with a slot
for each value of it. An item stands on the level of the highest digit in which its tick differs
from the present one, in the slot of its own digit there, so that its place can be told from its
tick alone for as long as it is there. When the present reaches a slot of a higher level, its items
move down, at most once a level.
"""

from __future__ import annotations

from itertools import compress
from typing import Generic, TypeVar

T = TypeVar("T")

_BITS = 8
_SLOTS = 1 << _BITS
_DIGIT = _SLOTS - 1


class _Level(Generic[T]):
    """The slots of one digit: items with their ticks."""

    __slots__ = ("shift", "slots")

    def __init__(self, shift: int) -> None:
        self.shift = shift
        self.slots: list[dict[T, int]] = [{} for _ in range(_SLOTS)]


class TimerWheel(Generic[T]):
    """Items that wait for a tick. Not thread-safe: its owner's lock guards it.

    Inserting, removing and expiring an item take constant time, however many there are. An item
    is in the wheel at most once, and is hashed.

    Args:
        tick: the present.
    """

    __slots__ = ("_count", "_levels", "_now", "_overdue")

    def __init__(self, tick: int = 0) -> None:
        self._now = tick
        self._levels: list[_Level[T]] = [_Level(0)]
        self._overdue: dict[T, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def tick(self) -> int:
        """The present."""
        return self._now

    def insert(self, tick: int, item: T) -> None:
        """Have `item` come out at `tick`; at the next `advance` where that is not in the future."""
        self._slot(tick)[item] = tick
        self._count += 1

    def remove(self, tick: int, item: T) -> bool:
        """Take out an item that was inserted for `tick`; `False` where it is not there."""
        if self._slot(tick).pop(item, None) is None and self._overdue.pop(item, None) is None:
            return False
        self._count -= 1
        return True

    def _slot(self, tick: int) -> dict[T, int]:
        now = self._now
        if tick <= now:
            return self._overdue
        number = ((tick ^ now).bit_length() - 1) // _BITS
        while number >= len(self._levels):
            self._levels.append(_Level(_BITS * len(self._levels)))
        level = self._levels[number]
        return level.slots[tick >> level.shift & _DIGIT]

    def advance(self, tick: int) -> list[T]:
        """Move the present on to `tick`, if that is later.

        Returns:
            All items whose tick has come, in the order of their ticks, then of insertion.
        """
        due = sorted(self._overdue, key=self._overdue.__getitem__)
        self._overdue.clear()
        now = self._now
        if tick > now:
            self._now = tick
            self._turn(((tick ^ now).bit_length() - 1) // _BITS, due)
        self._count -= len(due)
        return due

    def _turn(self, top: int, due: list[T]) -> None:
        """Take out what has come; `top` is the highest digit of the present that has changed."""
        levels = self._levels
        for level in levels[:top]:
            _take(level, _SLOTS, due)
        for number in range(min(top, len(levels) - 1), -1, -1):
            level = levels[number]
            digit = self._now >> level.shift & _DIGIT
            _take(level, digit, due)
            slot = level.slots[digit]
            if number == 0:
                due += slot
            else:
                _move_down(slot, levels[number - 1])
            slot.clear()

    def next_tick(self) -> int | None:
        """When `advance` is to be called next at the latest; `None` where nothing waits.

        That is when the first item comes out, or earlier, when items have to move down.
        """
        if self._overdue:
            return self._now
        for level in self._levels:
            for digit in compress(range(_SLOTS), level.slots):
                return (self._now >> level.shift + _BITS << _BITS | digit) << level.shift
        return None

    def _check(self) -> None:
        """Assert the invariants; used by randomised tests."""
        count = len(self._overdue)
        assert all(tick <= self._now for tick in self._overdue.values())
        for number, level in enumerate(self._levels):
            for digit, slot in enumerate(level.slots):
                count += len(slot)
                for tick in slot.values():
                    assert tick > self._now
                    assert ((tick ^ self._now).bit_length() - 1) // _BITS == number
                    assert tick >> level.shift & _DIGIT == digit
        assert count == self._count


def _take(level: _Level[T], end: int, due: list[T]) -> None:
    """Take all items out of the slots before `end`, in order."""
    for slot in filter(None, level.slots[:end]):
        due += slot if level.shift == 0 else sorted(slot, key=slot.__getitem__)
        slot.clear()


def _move_down(slot: dict[T, int], level: _Level[T]) -> None:
    """Move the items of a slot that the present has reached to the level below."""
    slots, shift = level.slots, level.shift
    for item, tick in slot.items():
        slots[tick >> shift & _DIGIT][item] = tick
