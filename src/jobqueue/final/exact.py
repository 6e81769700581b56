"""Values that users hand in, as the exact built-in types that the queue works with.

A value of a subclass (as numpy, lxml and markupsafe have them) passes each `isinstance`, and fails
later where only the exact type will do: in the log's encoder. Its overridden methods would also run
wherever the queue compares or formats it, with the mutex held. So it is converted on entry, by a
method of the built-in type itself, which no subclass can override. What is exact is left as it is.
"""

from __future__ import annotations

import math
import operator
import sys
import threading
from datetime import timedelta
from numbers import Integral, Real
from typing import Any, TypeAlias

Seconds: TypeAlias = float | timedelta
"""A time as users may give it."""

Schedule: TypeAlias = str | timedelta
"""When something is due again and again: a cron expression or an interval."""

SECONDS_MAX = threading.TIMEOUT_MAX
"""The longest time that a thread can wait, some 292 years: what is longer is as long as this."""

_WHOLE_MAX = int(sys.float_info.max)


def exact_str(text: str) -> str:
    """The text as a `str`."""
    return text if type(text) is str else str.__str__(text)


def exact_bytes(octets: bytes) -> bytes:
    """The bytes as `bytes`."""
    return octets if type(octets) is bytes else bytes.__bytes__(octets)


def whole_number(value: object) -> int | None:
    """The value as an `int`; `None` if it is no whole number. `bool` is none."""
    if type(value) is int:
        return value
    if isinstance(value, int):
        return None if isinstance(value, bool) else int.__int__(value)
    return int.__int__(operator.index(value)) if isinstance(value, Integral) else None


def real_number(value: object) -> float | None:
    """The value as a `float`; `None` if it is no number. `bool` is none.

    A number that is beyond all floats is the last of them.
    """
    if type(value) is float:
        return value
    if isinstance(value, float):
        return float.__float__(value)
    whole = whole_number(value)
    if whole is not None:
        return float(max(-_WHOLE_MAX, min(whole, _WHOLE_MAX)))
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:  # a fraction
        number: Any = value
        return sys.float_info.max if number > 0 else -sys.float_info.max


def shown(value: object) -> str:
    """A value as messages show it. Python writes no whole number of more than 4,300 digits."""
    try:
        return repr(value)
    except ValueError:
        return "a value with too many digits to be shown"


def check_drain(drain: object) -> None:
    """Raises `TypeError` if it is not what `close` takes: a text would mean `True`, also "no"."""
    if not (drain is None or isinstance(drain, bool)):
        raise TypeError(f"drain must be True, False or None, not {shown(drain)}")


def check_seconds(name: str, value: object, alternative: str = "") -> float:
    """A time in seconds, or as a `timedelta`, as a `float`: the one place that checks seconds.

    Args:
        name: what the time is called in errors.
        value: a number >= 0, or a `timedelta`. More than `SECONDS_MAX` means for ever.
        alternative: what else would do, for errors.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, infinite or nan.
    """
    if isinstance(value, timedelta):
        seconds: float | None = timedelta.total_seconds(value)
    else:
        seconds = real_number(value)
    if seconds is not None and 0 <= seconds < math.inf:
        return min(seconds, SECONDS_MAX)
    wanted = f"number of seconds >= 0, or a timedelta {alternative}".rstrip()
    if seconds is None:
        raise TypeError(f"{name} must be a {wanted}, not {shown(value)}")
    told = value if type(value) in {int, timedelta} else seconds
    raise ValueError(f"{name} must be a finite {wanted}, not {shown(told)}")
