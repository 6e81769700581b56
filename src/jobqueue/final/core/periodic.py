"""The schedules of a queue, and how far each has come.

A tick is *settled* when it is dealt with: its job is enqueued, or it is left out. All ticks up to
`Entry.settled` are. A thread takes the ticks that are due by moving `settled` past them, and only
then makes their jobs, without the mutex. So no two threads take the same tick, and a thread that is
interrupted there has left out a tick, but blocked nothing. What could not be enqueued for want of
room in the log is given back.

Relies on: the queue's mutex, held by the caller of every method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..model.periodic import PeriodicInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..exact import Schedule
    from ..model.job import Job
    from ..model.periodic import CatchUp
    from ..timing.schedules import Rule
    from ..wal.format.record import Ticked

AHEAD_SECONDS_MAX = 86_400.0
"""A last tick that is further ahead of the clock than this was made by a clock that was wrong."""


class Tick(NamedTuple):
    """One tick of a schedule: its name, and the Unix time."""

    name: str
    at: float


class Entry:
    """A registered schedule.

    Attributes:
        settled: the ticks up to this Unix time are dealt with.
        next: the first tick after `settled`; `None` if none comes any more.
        last: the last tick that enqueued a job.
        held_until: monotonic time before which it is not looked at, since the log took nothing.
        is_held_up: whether that has been told of.
    """

    __slots__ = (
        *("catch_up", "factory", "held_until", "is_held_up", "last", "name"),
        *("next", "paused", "rule", "schedule", "settled", "tz"),
    )

    def __init__(
        self,
        name: str,
        schedule: Schedule,
        tz: str,
        rule: Rule,
        factory: Callable[[], Job],
        catch_up: CatchUp,
    ) -> None:
        self.name = name
        self.schedule = schedule
        self.tz = tz
        self.rule = rule
        self.factory = factory
        self.catch_up = catch_up
        self.settled = 0.0
        self.next: float | None = None
        self.last: float | None = None
        self.paused = False
        self.held_until = 0.0
        self.is_held_up = False

    def begins(self, logged: Ticked | None, wall: float, working: Ticked | None = None) -> None:
        """Set where it goes on from.

        Args:
            logged: its last tick in the log, if there is one.
            wall: the Unix time.
            working: if that was left out, the last one that enqueued a job.
        """
        self.settled = wall
        if logged is not None:
            if logged.job:
                self.last = logged.at
            elif working is not None:
                self.last = working.at
            # guard: ticks that were missed while the process was down are caught up with
            #   without: is_missed = False
            is_missed = self.catch_up != "none" and logged.at < wall
            is_ahead = wall < logged.at <= wall + AHEAD_SECONDS_MAX  # the clock was set back
            if is_missed or is_ahead:
                self.settled = logged.at
        self.next = self.rule.first_after(self.settled)

    def info(self) -> PeriodicInfo:
        """What is told of it."""
        upcoming = None if self.paused else self.next
        return PeriodicInfo(self.name, self.schedule, self.tz, self.last, upcoming, self.paused)


class PeriodicRoom:
    """The schedules of one queue, by name.

    Args:
        logged: the last tick of each schedule that the log knows of.
        working: of those whose last tick was left out, the last one that enqueued a job.
    """

    def __init__(
        self,
        logged: Mapping[str, Ticked] | None = None,
        working: Mapping[str, Ticked] | None = None,
    ) -> None:
        self.entries: dict[str, Entry] = {}
        self.logged = dict(logged or {})
        self.working = dict(working or {})

    def find(self, name: str) -> Entry:
        """Raises `ValueError` if there is no such schedule."""
        entry = self.entries.get(name)
        if entry is None:
            known = ", ".join(map(repr, self.entries)) or "none"
            raise ValueError(f"there is no schedule {name!r}; there are: {known}")
        return entry

    def due(self, wall: float, now: float) -> list[Entry]:
        """The schedules that have to be looked at.

        Args:
            wall: the Unix time.
            now: the clock's monotonic time.
        """
        return [
            entry
            for entry in self.entries.values()
            if entry.held_until <= now
            and (
                (entry.next is not None and entry.next <= wall)
                # guard: a clock that was far ahead keeps no schedule from its ticks
                #   without:
                or entry.settled > wall + AHEAD_SECONDS_MAX
            )
        ]

    def seconds_to_next(self, wall: float, now: float) -> float | None:
        """How long nothing is due, unless the wall clock is set; `None`: nothing ever is."""
        waits = [
            max(entry.next - wall, entry.held_until - now, 0.0)
            for entry in self.entries.values()
            if entry.next is not None
        ]
        return min(waits, default=None)

    def take(self, entry: Entry, before: float, settled: float, upcoming: float | None) -> bool:
        """Settle the ticks up to `settled`, so that they are the caller's to enqueue or leave out.

        Args:
            before: what `entry.settled` was when the caller looked for ticks.
            upcoming: the tick after them.

        Returns:
            Whether they are; if not, another thread was quicker.
        """
        # guard: of two threads that find a tick due one takes it
        #   without: if False:
        if entry.settled != before or self.entries.get(entry.name) is not entry:
            return False
        entry.settled, entry.next = settled, upcoming
        return True

    def give_back(self, entry: Entry, settled: float, tick: float, held_until: float) -> None:
        """Unsettle a tick that could not be enqueued, and those after it.

        Args:
            settled: the tick before it, or what `entry.settled` was.
        """
        entry.held_until = held_until
        entry.is_held_up = True
        entry.settled, entry.next = settled, tick

    def enqueued(self, entry: Entry, tick: float) -> None:
        """The job of a tick is enqueued."""
        entry.last = tick
        entry.is_held_up = False

    def infos(self) -> list[PeriodicInfo]:
        """What is told of the schedules, in the order in which they were registered."""
        return [entry.info() for entry in self.entries.values()]
