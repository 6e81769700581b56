"""Whether tests run without the GIL, if that is what was asked for."""

from __future__ import annotations

import os
import sys

WRONG = (
    "the GIL is on, though PYTHON_GIL=0 asks for none: this is an ordinary Python, or one that "
    "ignores its environment"
)


def is_gil_on() -> bool:
    """Whether this interpreter runs one thread at a time, as all before Python 3.13 do."""
    check = getattr(sys, "_is_gil_enabled", None)
    return check is None or bool(check())


def is_gil_unwanted() -> bool:
    """Whether the environment asks for threads that really run at once."""
    return os.environ.get("PYTHON_GIL") == "0"
