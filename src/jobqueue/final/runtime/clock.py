"""The one place that reads time: monotonic for waiting, wall for records.

Monotonic time drives delays, backoff and timeouts, so that a wall clock that jumps disturbs
none of them. Wall time is written down: in the log and in what `info` shows.

While the system sleeps (suspend), monotonic time stands still. A long delay is not to be late by
that, so it also goes by a clock that does not stand still; see `sleep_meter`.
"""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..exact import real_number

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


class CheckedClock:
    """A clock of the user's, each reading of which is checked. Thread-safe if that one is.

    Attributes:
        bears_with_faults: whether to go by the last good reading if there is no other: a queue that
            closes ends its threads and lets go of its log whatever its clock does.
        fault: the last error that was borne with.

    Raises:
        ValueError: a reading is no finite number; at its first use already, which is in here.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.manual = bool(clock.manual)
        self.subscribe = clock.subscribe
        self.bears_with_faults = False
        self.fault: Exception | None = None
        self._good_monotonic = self._good_time = 0.0  # until the next two lines
        self.monotonic()
        self.time()

    def monotonic(self) -> float:
        """See `Clock`."""
        self._good_monotonic = seconds = self._reading(
            "monotonic", self._clock.monotonic, self._good_monotonic
        )
        return seconds

    def time(self) -> float:
        """See `Clock`."""
        self._good_time = seconds = self._reading("time", self._clock.time, self._good_time)
        return seconds

    def _reading(self, name: str, read: Callable[[], object], good: float) -> float:
        try:
            return _checked(name, read())
        except Exception as error:
            if not self.bears_with_faults:
                raise
            self.fault = error
            return good


def _checked(name: str, reading: object) -> float:
    seconds = real_number(reading)
    # guard: a clock's reading is a finite number
    #   without: if seconds is None:
    if seconds is None or not math.isfinite(seconds):
        raise ValueError(
            f"the clock that the queue was given cannot be used: {name}() returned {reading!r}, "
            f"not a finite number of seconds"
        )
    return seconds


class SleepMeter(NamedTuple):
    """How far a clock is ahead of monotonic time that goes on while the system sleeps.

    Attributes:
        ahead: in seconds; it grows by the time that the system sleeps.
        is_exact: whether nothing else changes it. If not, it is the wall clock: a step forward
            looks like a sleep.
    """

    ahead: Callable[[], float]
    is_exact: bool


def sleep_meter(clock: Clock) -> SleepMeter:
    """The meter that goes with a clock: the system's clock of its boot, if there is one."""
    if type(clock) is SystemClock and _BOOT_CLOCK is not None:
        return SleepMeter(lambda: _boot_seconds() - time.monotonic(), is_exact=True)
    return SleepMeter(lambda: clock.time() - clock.monotonic(), is_exact=False)


def _find_boot_clock() -> int | None:
    # On macOS `time.monotonic` stands still in a sleep, and CLOCK_MONOTONIC does not.
    name = "CLOCK_MONOTONIC" if sys.platform == "darwin" else "CLOCK_BOOTTIME"
    number: int | None = getattr(time, name, None)
    try:
        return None if number is None or time.clock_gettime(number) < 0 else number
    except OSError:  # the C library knows it, and this kernel does not
        return None


_BOOT_CLOCK = _find_boot_clock()


def _boot_seconds() -> float:
    assert _BOOT_CLOCK is not None  # its caller looks
    return time.clock_gettime(_BOOT_CLOCK)


def give_way(seconds: float = 0.0) -> None:
    """Let other threads have the interpreter's lock for a moment, and not ask for it so long."""
    time.sleep(seconds)


def _nothing() -> None:
    return None
