"""Checks of what users hand in; each raises an error that says what is wrong."""

from __future__ import annotations

import sys
from typing import TypeGuard

ID_LENGTH_MAX = 255


def check_text(what: str, text: object) -> None:
    """Refuses what is no text of 1 to 255 characters, or what UTF-8 cannot hold."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be text (str), not {type(text).__name__}")
    if not 0 < len(text) <= ID_LENGTH_MAX:
        raise ValueError(f"{what} must have 1 to {ID_LENGTH_MAX} characters, not {len(text)}")
    _check_utf8(what, text)


def _check_utf8(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{what} has a lone surrogate, which UTF-8 cannot hold: {text!r}"
        ) from None


def is_finite_number(value: object) -> TypeGuard[float]:
    """Whether it is a number that a float can hold; `bool` is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max  # which an int can be beyond


def check_seconds(name: str, value: object) -> None:
    """Refuses what is no finite number of seconds >= 0: the one place that checks seconds.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, infinite or nan.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not is_finite_number(value) or value < 0:
        raise ValueError(f"{name} must be a finite number of seconds >= 0, not {value!r}")
