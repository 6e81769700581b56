"""When a periodic job is due: cron expressions and intervals. No clock and no thread in here.

A tick is a Unix time. Those of an interval are its multiples since the Unix epoch, so that they do
not depend on when the program started. Those of a cron expression are in a time zone, by the rules
of `cronsim`, which are those of Debian's cron. If the clocks go forward over a tick at a fixed
time of day, it comes at once after the gap. If they go back, such a tick comes once. What is due in
each hour or minute goes on through both.

`cronsim` steps from one tick to the next. For the last ticks before some time it is started a
while before that, and earlier if there were too few. (It can also step back, but around a gap it
finds other ticks on that way.)
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

from ..exact import exact_str, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cronsim import CronSim

    from ..exact import Schedule

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
CRON_FIELDS = 5
INTERVAL_MIN = timedelta(milliseconds=1)
_MICROSECONDS = 1_000_000
_LOOK_BACK_SECONDS = 86_400.0
_LOOK_BACK_SECONDS_MAX = 100 * 366 * _LOOK_BACK_SECONDS
_days, _seconds, _microseconds = timedelta.days, timedelta.seconds, timedelta.microseconds


class Rule(Protocol):
    """The ticks of one schedule. Immutable and thread-safe. Two equal rules have equal ticks."""

    def first_after(self, seconds: float) -> float | None:
        """The first tick after this time; `None` if none comes any more."""

    def last_between(self, after: float, until: float, count_max: int) -> list[float]:
        """The last ticks after the one time and not after the other, in order.

        Args:
            count_max: how many at most.
        """


def parse(schedule: Schedule, tz: str) -> Rule:
    """The rule of a schedule as users write it.

    Args:
        schedule: a cron expression of five fields or one of `ALIASES`; or an interval.
        tz: the name of the time zone of a cron expression.

    Raises:
        TypeError: the schedule is of neither type, or the zone is no text.
        ValueError: it cannot be; the message says why.
        ImportError: it is a cron expression, and `cronsim` is not installed.
    """
    zone = _zone(tz)
    if isinstance(schedule, timedelta):
        return IntervalRule(_exact(schedule))
    if isinstance(schedule, str):
        return CronRule(exact_str(schedule), zone)
    raise TypeError(
        f"schedule must be a cron expression, as in '0 4 * * *', or a timedelta, not "
        f"{shown(schedule)}"
    )


def utc_text(tick: float) -> str:
    """A tick as ids show it, as in 2026-11-29T10:00:00Z; to the microsecond if it has some.

    Raises:
        ValueError: it is beyond the years that a calendar has.
    """
    micros = round(tick * _MICROSECONDS)
    try:
        moment = _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        raise ValueError(f"a tick at {tick!r} is in no year from 1 to 9999") from None
    return moment.isoformat().replace("+00:00", "Z")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class IntervalRule:
    """Ticks at the multiples of an interval since the Unix epoch."""

    def __init__(self, interval: timedelta) -> None:
        if interval < INTERVAL_MIN:
            raise ValueError(
                f"an interval must be at least a millisecond, not {interval!r}; for what is to run "
                f"all the time write a thread"
            )
        self._period = interval // timedelta(microseconds=1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalRule) and self._period == other._period

    def __hash__(self) -> int:
        return hash(self._period)

    def first_after(self, seconds: float) -> float | None:
        """See `Rule`."""
        return (self._number(seconds) + 1) * self._period / _MICROSECONDS

    def last_between(self, after: float, until: float, count_max: int) -> list[float]:
        """See `Rule`."""
        last = self._number(until)
        first = max(self._number(after), last - count_max) + 1
        return [number * self._period / _MICROSECONDS for number in range(first, last + 1)]

    def _number(self, seconds: float) -> int:
        """Of the last multiple that is not after this time."""
        return round(seconds * _MICROSECONDS) // self._period


class CronRule:
    """Ticks by a cron expression in a time zone."""

    def __init__(self, text: str, zone: tzinfo) -> None:
        expression = ALIASES.get(text.strip().lower(), text)
        fields = expression.upper().split()
        if len(fields) != CRON_FIELDS:
            raise ValueError(
                f"a cron expression has five fields (minute, hour, day of month, month, day of "
                f"week), or is one of {', '.join(ALIASES)}; {text!r} is neither"
            )
        self._expression = " ".join(fields)
        self._zone = zone
        self._simulate = _cronsim()
        try:
            comes = next(self._after(0.0), None) is not None
        except Exception as error:
            wrong = str(error) or "it cannot be read"
            raise ValueError(f"{text!r} is no cron expression: {wrong}") from error
        if not comes:
            raise ValueError(f"the cron expression {text!r} never comes: there is no such day")

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CronRule)
            and self._expression == other._expression
            and self._zone == other._zone
        )

    def __hash__(self) -> int:
        return hash((self._expression, self._zone))

    def first_after(self, seconds: float) -> float | None:
        """See `Rule`."""
        try:
            return next(self._after(seconds), None)
        except (OverflowError, ValueError, OSError):  # beyond the calendar
            return None

    def last_between(self, after: float, until: float, count_max: int) -> list[float]:
        """See `Rule`."""
        seconds = _LOOK_BACK_SECONDS
        after = max(after, until - _LOOK_BACK_SECONDS_MAX)
        while True:
            start = max(after, until - seconds)
            try:
                ticks = takewhile(lambda tick: tick <= until, self._after(start))
                found = list(deque(ticks, maxlen=count_max))
            except (OverflowError, ValueError, OSError):
                return []
            if len(found) == count_max or start == after:
                return found
            seconds *= 8

    def _after(self, seconds: float) -> Iterator[float]:
        """All ticks after this time. Raises whatever `cronsim` and the calendar raise."""
        last = seconds
        for moment in self._simulate(self._expression, datetime.fromtimestamp(seconds, self._zone)):
            tick = moment.timestamp()
            # guard: a time of day that comes twice or not at all gives one tick
            #   without: if True:
            if tick > last:
                last = tick
                yield tick


def _cronsim() -> type[CronSim]:
    try:
        from cronsim import CronSim
    except ImportError as error:
        raise ImportError(
            "cron expressions need the package cronsim: pip install 'jobqueue[cron]'; a timedelta "
            "as schedule needs nothing"
        ) from error
    return CronSim


def _zone(tz: str) -> tzinfo:
    if not isinstance(tz, str):
        raise TypeError(
            f"tz must be the name of a time zone, as in 'Europe/Berlin', not {shown(tz)}"
        )
    name = exact_str(tz)
    if name == "UTC":  # which needs no database, and of which cronsim knows that nothing changes
        return UTC
    from zoneinfo import ZoneInfo  # imported here: most programs do without it

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # no such file, a path, a directory
        raise ValueError(
            f"there is no time zone {name!r}; write one as in 'Europe/Berlin'. (If the system has "
            f"no database of them: pip install tzdata)"
        ) from error


def _exact(interval: timedelta) -> timedelta:
    """The interval as a `timedelta`, whatever a subclass makes of it."""
    if type(interval) is timedelta:
        return interval
    parts = (part.__get__(interval) for part in (_days, _seconds, _microseconds))
    return timedelta(*parts)
