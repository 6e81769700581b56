"""How far an attempt has come, as its handler tells it: in memory only, the last word counts."""

from __future__ import annotations

from typing import NamedTuple

from ..exact import exact_str, real_number


class Progress(NamedTuple):
    """How far an attempt has come.

    Attributes:
        done: how much is done, in whatever unit.
        total: how much there is to do; `None` if that is not known.
        message: what it is at.
    """

    done: float
    total: float | None = None
    message: str = ""


Told = tuple[float, "float | None", str]
"""The same as a plain tuple, which is made in a tenth of the time."""

_EXACT = frozenset({int, float})


def told(done: float, total: float | None, message: str) -> Told:
    """The three as exact values.

    Raises:
        TypeError: one of them is of another type.
    """
    if type(done) in _EXACT and (total is None or type(total) in _EXACT) and type(message) is str:
        return done, total, message
    if not isinstance(message, str):
        raise TypeError(f"a progress's message must be text (str), not {message!r}")
    return (
        _number("done", done),
        None if total is None else _number("total", total),
        exact_str(message),
    )


def _number(name: str, value: object) -> float:
    number = real_number(value)
    if number is None:
        raise TypeError(f"a progress's {name} must be a number, not {value!r}")
    return number


def progress_of(what: Told | None) -> Progress | None:
    """What was told, with names."""
    return None if what is None else Progress(*what)
