"""The one place that reads time: monotonic for waiting, wall for records.

Monotonic time drives delays, backoff and timeouts, so that a wall clock that jumps disturbs
none of them. Wall time is only written down: in the log and in what `info` shows.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock(Protocol):
    """What a queue needs of time. Thread-safe.

    Attributes:
        manual: `True` if time moves only when it is moved by hand. Nothing then waits for it with
            a timeout, and the clock calls its subscribers instead.
    """

    @property
    def manual(self) -> bool:
        """Whether time stands still until it is moved by hand."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def time(self) -> float:
        """Seconds since the Unix epoch; may jump."""

    def subscribe(self, on_advance: Callable[[], None]) -> Callable[[], None]:
        """Have `on_advance` called after each move of a manual clock.

        Returns:
            A function that ends the subscription.
        """


class SystemClock:
    """The clocks of the operating system. Thread-safe."""

    manual = False

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def subscribe(self, on_advance: Callable[[], None]) -> Callable[[], None]:
        """Nothing to subscribe to: this clock moves by itself."""
        del on_advance
        return _nothing


def give_way() -> None:
    """Let other threads have the interpreter's lock for a moment."""
    time.sleep(0)


def _nothing() -> None:
    return None
