"""Backoff: how long to wait before the next attempt. Pure arithmetic."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_EXPONENT_MAX = 1023  # of a float


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
        attempt: number of the attempt that failed, 0 for the first.
        base_delay: seconds after the first attempt; doubled after each further one.
        max_delay: cap in seconds.
        jitter: fraction, 0 to 1, by which the capped delay varies up or down; 0 is exact.
        random: a number from 0 to 1, as `random.random`.

    Returns:
        Seconds, never negative.
    """
    delay = min(max_delay, math.ldexp(1.0, min(attempt, _EXPONENT_MAX)) * base_delay)
    if jitter == 0:
        return delay
    return delay * (1 + jitter * (2 * random() - 1))
