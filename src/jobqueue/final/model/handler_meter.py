"""The counters of lanes, and of each handler's jobs in them.

What is counted of a handler belongs to its name: one that takes another one's place goes on with
its counts. Guarded by the queue's mutex, but for what says otherwise.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from typing import TYPE_CHECKING

from .job import Priority

if TYPE_CHECKING:
    from .metrics import HandlerLane, Histogram

COUNTED = (
    "enqueued",
    "queued",
    "scheduled",
    "processing",
    "overrunning",
    "completed",
    "failed",
    "retried",
    "cancelled",
    "expired",
    "limited",
    "dead",
)
GATHERED = 512
"""So many times are gathered, two of each attempt, and then counted at once: to look each of them
up among the bounds as it comes would cost a fiftieth of what a job in memory does."""
SAMPLES = 512
"""Of how many attempts single times are kept, besides those that are gathered."""
BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0)
"""Of the buckets of waits and run times, in seconds."""
_SAMPLED = 8  # of so many times that have been gathered, one is kept
_NO_SAMPLES: deque[float] = deque(maxlen=0)  # of a copy: it keeps none, whatever is added
_NAMES_MAX = 100
_OTHERS = "(others)"


class LaneMeter:
    """The counters of one priority. The names are those of `LaneMetrics`."""

    __slots__ = (*(name for name in COUNTED if name != "queued"), "queue_waits", "run_times")

    def __init__(self) -> None:
        self.enqueued = 0
        self.scheduled = 0
        self.processing = 0
        self.overrunning = 0
        self.completed = 0
        self.failed = 0
        self.retried = 0
        self.cancelled = 0
        self.expired = 0
        self.limited = 0
        self.dead = 0
        self.queue_waits: deque[float] = deque(maxlen=SAMPLES)
        self.run_times: deque[float] = deque(maxlen=SAMPLES)

    @property
    def queued(self) -> int:
        """Jobs that were accepted and are in none of the other states."""
        ended = self.completed + self.failed + self.cancelled
        return self.enqueued - ended - self.scheduled - self.processing

    def copy(self) -> LaneMeter:
        """The state at this moment."""
        copy = LaneMeter()
        for name in self.__slots__:
            setattr(copy, name, getattr(self, name))
        # Not `deque.copy`: without the GIL, that of CPython 3.13 takes a lock that it holds
        # already, and waits, for each element.
        copy.queue_waits = deque(self.queue_waits, SAMPLES)
        copy.run_times = deque(self.run_times, SAMPLES)
        return copy


class Spread:
    """How a time was spread over attempts."""

    __slots__ = ("_counts", "_samples", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0
        self._samples: deque[float] = deque(maxlen=SAMPLES)

    def add(self, times: list[float]) -> None:
        """Count times into the buckets; the list is not to be used any more."""
        self._samples.extend(times[::_SAMPLED])
        together, counts = sum(times), self._counts
        self._sum += together
        if together <= BOUNDS[0]:  # then so is each of them
            counts[0] += len(times)
            return
        times.sort()
        below, last = 0, bisect_left(BOUNDS, times[-1])
        for bucket in range(bisect_left(BOUNDS, times[0]), last):
            upto = bisect_right(times, BOUNDS[bucket], below)  # a bound belongs to its bucket
            counts[bucket] += upto - below
            below = upto
        counts[last] += len(times) - below

    def last(self, times: list[float]) -> list[float]:
        """Times of the last attempts; these are the last ones of all, not counted yet."""
        return [*self._samples, *times[::_SAMPLED]] if self._samples else times

    def copy(self) -> Spread:
        """The state at this moment, but for single times."""
        copy = Spread.__new__(Spread)
        copy._counts, copy._sum, copy._samples = self._counts.copy(), self._sum, _NO_SAMPLES
        return copy

    def told(self) -> Histogram:
        """What is told of it."""
        from .metrics import Histogram  # at the first use, as `core.telling` says

        return Histogram(BOUNDS, tuple(self._counts), self._sum)


class LaneTally:
    """The counters of one handler's jobs of one priority; see `HandlerLane`.

    Args:
        lane: the counters of that priority.
        failures: the handler's failed attempts, by the class of the error.

    Attributes:
        times: of the last attempts that have ended: how long the job had waited, how long the
            attempt took, by turns. Who adds the last of `GATHERED` calls `count_times`.
    """

    __slots__ = (
        *("enqueued", "completed", "failed", "retried", "cancelled", "expired"),
        *("_queue_waits", "_run_times", "failures", "lane", "times"),
    )

    def __init__(self, lane: LaneMeter, failures: dict[str, int]) -> None:
        self.lane = lane
        self.failures = failures
        self.enqueued = 0
        self.completed = 0
        self.failed = 0
        self.retried = 0
        self.cancelled = 0
        self.expired = 0
        self.times: list[float] = []
        self._queue_waits = Spread()
        self._run_times = Spread()

    def ran(self, waited: float, seconds: float) -> None:
        """An attempt has ended, whatever came of it."""
        self.times.append(waited)
        self.times.append(seconds)
        if len(self.times) >= GATHERED:
            self.count_times()

    def failed_by(self, error: str) -> None:
        """Count a failed attempt by the class of its error."""
        name = error.partition(":")[0]
        if name not in self.failures and len(self.failures) >= _NAMES_MAX:
            name = _OTHERS  # classes may be made without end
        self.failures[name] = self.failures.get(name, 0) + 1

    def count_times(self) -> None:
        """Count into buckets what was gathered. If it is broken off, some times are lost."""
        times, self.times = self.times, []
        if times:
            self._queue_waits.add(times[::2])
            self._run_times.add(times[1::2])

    def queue_waits(self) -> list[float]:
        """How long jobs waited for the last attempts."""
        return self._queue_waits.last(self.times[::2])

    def run_times(self) -> list[float]:
        """How long the last attempts took."""
        return self._run_times.last(self.times[1::2])

    def is_used(self) -> bool:
        """Whether a job has come to it; maybe it was enqueued before the handler was there."""
        return bool(self.enqueued or self.cancelled or self.times or self.completed or self.failed)

    def copy(self) -> LaneTally:
        """The state at this moment."""
        copy = LaneTally.__new__(LaneTally)  # what `__init__` makes would be thrown away
        copy.lane, copy.failures = self.lane, self.failures
        copy.enqueued, copy.completed, copy.failed = self.enqueued, self.completed, self.failed
        copy.retried, copy.cancelled, copy.expired = self.retried, self.cancelled, self.expired
        copy._queue_waits, copy._run_times = self._queue_waits.copy(), self._run_times.copy()
        copy.times = self.times.copy()
        return copy

    def told(self) -> HandlerLane:
        """Of a copy, without the mutex."""
        from .metrics import HandlerLane  # at the first use, as `core.telling` says

        self.count_times()
        return HandlerLane(
            self.enqueued,
            self.completed,
            self.failed,
            self.retried,
            self.cancelled,
            self.expired,
            self._queue_waits.told(),
            self._run_times.told(),
        )


class HandlerMeter:
    """The counters of one handler; see `HandlerCounts`.

    Attributes:
        tallies: the counters by priority.
        failures: attempts that failed, by the class of the error.
    """

    __slots__ = ("failures", "tallies")

    def __init__(self, lanes: tuple[LaneMeter, ...]) -> None:
        self.failures: dict[str, int] = {}
        self.tallies = tuple(LaneTally(lane, self.failures) for lane in lanes)

    def used(self) -> dict[Priority, LaneTally]:
        """Copies of those that a job has come to."""
        return {
            each: lane.copy()
            for each, lane in zip(Priority, self.tallies, strict=True)
            if lane.is_used()
        }

    def queue_waits(self) -> list[float]:
        """How long jobs waited for the last attempts."""
        return [seconds for lane in self.tallies for seconds in lane.queue_waits()]

    def run_times(self) -> list[float]:
        """How long the last attempts took."""
        return [seconds for lane in self.tallies for seconds in lane.run_times()]
