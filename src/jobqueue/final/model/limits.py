"""`Limit` and `Rate`: how many attempts of a handler may go on, or begin, at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exact import check_seconds, shown, whole_number

if TYPE_CHECKING:
    from ..exact import Seconds


class Limit:
    """At most so many attempts at once. Immutable; handlers share one by being given the same.

    A job that has to wait for it holds no worker, delays no other job, and keeps its place.

    Args:
        count: how many, >= 1.
        per_key: whether it is so many for each `Job.key`. Jobs without a key are not limited then.
            With `Limit(1, per_key=True)` the jobs of one key run one after another, in order.

    Raises:
        TypeError, ValueError: an argument cannot work.
    """

    __slots__ = ("_count", "_per_key")

    def __init__(self, count: int, *, per_key: bool = False) -> None:
        self._count = _checked_count("Limit", count)
        self._per_key = _checked_switch("Limit", per_key)

    @property
    def count(self) -> int:
        """How many attempts at once."""
        return self._count

    @property
    def per_key(self) -> bool:
        """Whether it is so many for each key."""
        return self._per_key

    def __repr__(self) -> str:
        return f"Limit({self._count}{', per_key=True' if self._per_key else ''})"


class Rate:
    """At most so many attempts begin in a time. Immutable; handlers share one, as a `Limit`.

    It is a token bucket (Turner, "New directions in communications", 1986): it holds `count`
    tokens, each start takes one, and it is refilled evenly over `per`. So at most `count` attempts
    begin at a stroke, at most twice as many in any time of that length, and `count` in each in the
    long run. It goes by the queue's clock, and is full at the start of a queue.

    Args:
        count: how many, >= 1.
        per: in how many seconds, > 0; or a `timedelta`.
        per_key: as for `Limit`.

    Raises:
        TypeError, ValueError: an argument cannot work.
    """

    __slots__ = ("_count", "_per", "_per_key")

    def __init__(self, count: int, *, per: Seconds = 1.0, per_key: bool = False) -> None:
        self._count = _checked_count("Rate", count)
        self._per = check_seconds("Rate(per=...)", per)
        if not self._per > 0:
            raise ValueError(f"Rate(per=...) must be more than 0 seconds, not {shown(per)}")
        self._per_key = _checked_switch("Rate", per_key)

    @property
    def count(self) -> int:
        """How many attempts may begin."""
        return self._count

    @property
    def per(self) -> float:
        """In how many seconds."""
        return self._per

    @property
    def per_key(self) -> bool:
        """Whether it is so many for each key."""
        return self._per_key

    def __repr__(self) -> str:
        per_key = ", per_key=True" if self._per_key else ""
        return f"Rate({self._count}, per={self._per:g}{per_key})"


def _checked_count(what: str, count: object) -> int:
    number = whole_number(count)
    if number is None:
        raise TypeError(f"{what}(count) must be a whole number >= 1, not {shown(count)}")
    if number < 1:
        raise ValueError(f"{what}(count) must be a whole number >= 1, not {shown(count)}")
    return number


def _checked_switch(what: str, per_key: object) -> bool:
    if not isinstance(per_key, bool):
        raise TypeError(f"{what}(per_key=...) must be True or False, not {per_key!r}")
    return per_key
