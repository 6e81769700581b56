"""Whether a value arrives as what was given: what is lost on the way through JSON is found here.

A library that writes JSON makes text of bytes, dates and paths, and lists of tuples, and reads
them back as whatever the annotation says. So `b"hi"` given for a `str` would arrive as `"aGk="`,
and nobody would be told. Comparing what was given with what was read back finds all of these with
one rule, which needs no second look at the annotations: it must be equal, and of the same type.

`==` alone is not enough: `1 == True == 1.0`, a dataclass may leave fields out of it or have none,
and a `datetime` in the hour that a clock is set back is unequal to itself in another time zone.
"""

from __future__ import annotations

import dataclasses
import functools
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

FOUND_CHARS_MAX = 80

_PLAIN = frozenset(
    {str, int, float, bool, type(None), bytes, bytearray, date, time, timedelta, UUID}
)
"""Types whose values are the same if they are equal and of the same type."""


class Difference(NamedTuple):
    """Where what arrives is not what was given.

    Attributes:
        place: the way to it, as `.parts[0]`; empty if it is the whole.
        given: what was given there.
        arrived: what would arrive there.
    """

    place: str
    given: object
    arrived: object

    def within(self, place: str) -> Difference:
        """The same, as seen from what holds it at this place."""
        return self._replace(place=place + self.place)

    def __str__(self) -> str:
        what = f"{self.place} is {described(self.given)} and" if self.place else "it"
        return f"{what} would arrive as {described(self.arrived)}"


def difference(given: Any, arrived: Any) -> Difference | None:
    """Where what arrives is not what was given; `None` if it is. An `int` may become a `float`."""
    kind = type(given)
    if kind is not type(arrived):
        is_float = kind is int and type(arrived) is float and given == arrived
        return None if is_float else Difference("", given, arrived)
    if kind in _PLAIN:
        return None if given == arrived else Difference("", given, arrived)
    compare = _COMPARISONS.get(kind) or _comparison(cast("Hashable", kind))
    return compare(given, arrived)


def described(value: object) -> str:
    """A value and its type, in a message."""
    return f"{shortened(value)} ({type(value).__name__})"


def shortened(value: object) -> str:
    """A value, in a message."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  # that of a user's type; or a number of 5,000 digits
        text = f"<one that cannot be shown: {error}>"
    return text if len(text) <= FOUND_CHARS_MAX else f"{text[: FOUND_CHARS_MAX - 1]}…"


# ── how values of a type are compared ────────────────────────────────────────────────────────


@functools.lru_cache(maxsize=1024)
def _comparison(kind: Any) -> Callable[[Any, Any], Difference | None]:
    """How two values of a type that is not among `_COMPARISONS` are compared."""
    if issubclass(kind, tuple):
        return _of_items
    fields = _fields(kind)
    if fields is not None:
        return functools.partial(_of_fields, fields)
    if kind.__eq__ is object.__eq__:
        return _of_the_unknown
    return _of_equals


def _fields(kind: Any) -> list[str] | None:
    """The fields of a dataclass, Struct, attrs class or model; `None` if it is something else."""
    if dataclasses.is_dataclass(kind):
        return [each.name for each in dataclasses.fields(kind)]
    if hasattr(kind, "__struct_fields__"):
        return list(kind.__struct_fields__)
    if hasattr(kind, "__attrs_attrs__"):
        return [each.name for each in kind.__attrs_attrs__]
    if hasattr(kind, "__pydantic_fields__"):
        return [*kind.__pydantic_fields__, "__pydantic_extra__"]
    return None


def _of_fields(fields: list[str], given: Any, arrived: Any) -> Difference | None:
    for name in fields:
        found = difference(getattr(given, name, None), getattr(arrived, name, None))
        if found is not None:
            return found.within(f".{name}")
    return None


def _of_items(given: Any, arrived: Any) -> Difference | None:
    if len(given) != len(arrived):
        return Difference("", given, arrived)
    if _are_plain(given, arrived) and given == arrived:
        return None
    for index, (mine, theirs) in enumerate(zip(given, arrived, strict=True)):
        found = difference(mine, theirs)
        if found is not None:
            return found.within(f"[{index}]")
    return None


def _of_dict(given: dict[Any, Any], arrived: dict[Any, Any]) -> Difference | None:
    """JSON keeps the order of keys, and so does reading it."""
    if len(given) != len(arrived):
        return Difference("", given, arrived)
    for mine, theirs in zip(given, arrived, strict=True):
        found = difference(mine, theirs)
        if found is not None:
            return found.within(f"key {shortened(mine)}")
    if _are_plain(given.values(), arrived.values()) and given == arrived:
        return None
    for key, (mine, theirs) in zip(
        given, zip(given.values(), arrived.values(), strict=True), strict=True
    ):
        found = difference(mine, theirs)
        if found is not None:
            return found.within(f"[{shortened(key)}]")
    return None


def _of_set(given: Any, arrived: Any) -> Difference | None:
    if len(given) != len(arrived):
        return Difference("", given, arrived)
    equals = {each: each for each in arrived}
    for mine in given:
        if mine not in equals or difference(mine, equals[mine]) is not None:
            return Difference("", given, arrived)
    return None


def _of_datetime(given: datetime, arrived: datetime) -> Difference | None:
    """The same instant, or the same time of day of no zone. The name of a zone is not carried."""
    if given == arrived:
        return None
    if given.tzinfo is not None and given.astimezone(UTC) == arrived.astimezone(UTC):
        return None
    return Difference("", given, arrived)


def _of_decimal(given: Decimal, arrived: Decimal) -> Difference | None:
    """As they are written: `1.1` is not `1.10`, and a `NaN` is itself."""
    return None if str(given) == str(arrived) else Difference("", given, arrived)


def _of_equals(given: object, arrived: object) -> Difference | None:
    return None if given == arrived else Difference("", given, arrived)


def _of_the_unknown(given: object, arrived: object) -> None:
    """Of a type that says nothing of what is equal; that it came back as its own has to do."""


def _are_plain(given: Collection[Any], arrived: Collection[Any]) -> bool:
    """Whether the items of both are plain, and of the same types in the same order."""
    kinds = set(map(type, given))
    if not kinds <= _PLAIN or kinds != set(map(type, arrived)):
        return False
    return len(kinds) == 1 or list(map(type, given)) == list(map(type, arrived))


_COMPARISONS: dict[type, Callable[[Any, Any], Difference | None]] = {
    list: _of_items,
    dict: _of_dict,
    set: _of_set,
    frozenset: _of_set,
    datetime: _of_datetime,
    Decimal: _of_decimal,
}
