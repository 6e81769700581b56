"""How tests wait for what other threads do, if there is no event to wait for."""

from __future__ import annotations

import gc
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 10.0
"""Seconds until a wait for what is bound to happen counts as failed."""

_LOOK_SECONDS_MIN, _LOOK_SECONDS_MAX = 0.001, 0.02
_LOOK_SHARE = 0.05
"""How long to wait for the next look, as a share of how long it has been waited so far."""


def until_interrupted() -> None:
    """Wait for ever, in the main thread, until a signal handler raises.

    A wait without an end would not be ended by a signal that comes just before it begins.
    """
    never = threading.Event()
    while not never.wait(0.05):
        pass


def eventually(predicate: Callable[[], object], timeout: float = PATIENCE) -> bool:
    """Wait until a predicate holds, for which there is no event; fails if it never does."""
    began = time.monotonic()
    never = threading.Event()
    while not predicate():
        waited = time.monotonic() - began
        assert waited < timeout, f"not so within {timeout:g} s"
        never.wait(min(max(_LOOK_SECONDS_MIN, waited * _LOOK_SHARE), _LOOK_SECONDS_MAX))
    return True


def eventually_freed(predicate: Callable[[], object]) -> bool:
    """The same for what holds once an object is freed that another thread has let go of.

    Without the GIL an object may be kept until the thread that made it runs again; a collection
    does not wait for that.
    """
    return eventually(lambda: predicate() or (_merge_references() and predicate()))


def _merge_references() -> bool:
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        gc.collect()
    return True
