"""Backoff: how long to wait before the next attempt. Pure arithmetic."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


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
