"""Backoff: how long to wait before the next attempt. Pure arithmetic."""

from __future__ import annotations

import math
import random as randomness
import sys
from typing import TYPE_CHECKING

from ..exact import check_seconds, real_number, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..exact import Seconds


def backoff_seconds(
    attempt: int,
    *,
    base_delay: float,
    max_delay: float,
    jitter: float,
    random: Callable[[], float],
) -> float:
    """Exponential backoff with jitter.

    Args:
        attempt: number of the attempt that failed, 0 for the first; any size will do.
        base_delay: seconds after the first attempt, >= 0; doubled after each further one.
        max_delay: cap in seconds, >= 0 and finite.
        jitter: fraction, 0 to 1, by which the capped delay varies up or down; 0 is exact.
        random: a number from 0 to 1, as `random.random`; not called if `jitter` is 0.

    Returns:
        Seconds, finite and never negative.
    """
    try:
        delay = min(max_delay, math.ldexp(base_delay, attempt))
    except OverflowError:
        delay = max_delay
    if jitter == 0:
        return delay
    return min(delay * (1 + jitter * (2 * random() - 1)), sys.float_info.max)


class Backoff:
    """Seconds until the next attempt: `base * factor**attempt`, at most `cap`, varied by `jitter`.

    For `JobQueue.register(backoff=...)`; immutable and thread-safe.

    Args:
        base: seconds after the first attempt, >= 0.
        cap: the most, in seconds.
        factor: what it grows by with each attempt, >= 1.
        jitter: fraction, 0 to 1, by which it varies, up or down, after the cap.

    Raises:
        TypeError, ValueError: an argument cannot work.
    """

    __slots__ = ("base", "cap", "factor", "jitter")

    def __init__(
        self, base: Seconds = 1.0, cap: Seconds = 60.0, factor: float = 2.0, jitter: float = 0.1
    ) -> None:
        self.base = check_seconds("base", base)
        self.cap = check_seconds("cap", cap)
        self.factor = _number("factor", factor, 1.0, sys.float_info.max)
        self.jitter = _number("jitter", jitter, 0.0, 1.0)

    def __call__(self, attempt: int, error: BaseException | None = None) -> float:
        """The seconds after an attempt, 0 being the first; the error makes no difference."""
        try:
            delay = min(self.cap, self.base * self.factor**attempt)
        except OverflowError:
            delay = self.cap if self.base else 0.0
        if not self.jitter:
            return delay
        return delay * (1 + self.jitter * (2 * randomness.random() - 1))

    def __repr__(self) -> str:
        return (
            f"Backoff(base={self.base:g}, cap={self.cap:g}, factor={self.factor:g}, "
            f"jitter={self.jitter:g})"
        )


def _number(name: str, value: object, least: float, most: float) -> float:
    number = real_number(value)
    if number is None:
        raise TypeError(f"{name} must be a number, not {shown(value)}")
    if not least <= number <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, not {shown(value)}")
    return number
