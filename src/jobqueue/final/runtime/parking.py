"""Sleeping until somebody wakes one."""

from __future__ import annotations

import threading
from typing import Protocol


class Alarm(Protocol):
    """What is rung when the request is made: a lock that a sleeper waits for, for example."""

    def release(self) -> None:
        """Ring. With the request's lock, and maybe others; may raise `RuntimeError` if rung."""


def ring(alarm: Alarm) -> None:
    """Release a lock that a sleeper waits for, unless somebody else just did."""
    try:
        alarm.release()
    except RuntimeError:  # released already: he is awake
        pass


def acquire_within(alarm: threading.Lock, timeout: float | None) -> bool:
    """Acquire a lock that somebody will release, within so many seconds; `None` for ever."""
    if timeout is None:
        return alarm.acquire()
    return alarm.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX))
