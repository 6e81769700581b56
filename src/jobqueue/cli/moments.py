"""Times on the command line: so long ago, or a point in time."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_AGO = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(sorted(_SECONDS, key=len, reverse=True))})")


def since(text: str) -> Callable[[float], float]:
    """The time that is meant, as a function of the present one; both are Unix times.

    Args:
        text: as "90s", "15m", "2h", "3d" or "1w"; or a date, or a date with a time, by ISO 8601,
            in UTC if it names no zone.

    Raises:
        ArgumentTypeError: it is neither.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        seconds = float(ago[1]) * _SECONDS[ago[2]]
        return lambda now: now - seconds
    try:
        point = datetime.fromisoformat(text)
        if point.tzinfo is None:
            point = point.replace(tzinfo=UTC)
        time = point.timestamp()
    except (ValueError, OverflowError):
        raise ArgumentTypeError(
            f"{text!r} is no time; write how long ago, as 90s, 15m, 2h or 3d, or a time in UTC, as "
            f"2025-11-24 or '2025-11-24 16:00'"
        ) from None
    return lambda _now: time
