"""Schedules as the model sees them: which ticks come when, and what is caught up with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from jobqueue.final import Job, PeriodicInfo
from tests.support.modelled.jobs import Wish

if TYPE_CHECKING:
    from jobqueue.final.model.periodic import CatchUp

PERIODS = {"often": 16, "seldom": 40}
"""Seconds between the ticks of each schedule."""


@dataclass
class Schedule:
    """One schedule; times are Unix times.

    Attributes:
        settled: the ticks up to this time are dealt with.
        made: the jobs that its function has made, as far as no tick of the model has taken them.
    """

    name: str
    wish: Wish
    catch_up: CatchUp
    settled: float
    last: float | None = None
    paused: bool = False
    made: list[Job] = field(default_factory=list)

    def make(self) -> Job:
        """Its function."""
        self.made.append(self.wish.job(self.name, 0))
        return self.made[-1]

    @property
    def next(self) -> float:
        """The first tick after those that are settled."""
        return self.first_after(self.settled)

    def first_after(self, seconds: float) -> float:
        """The first tick after a time, paused or not."""
        period = PERIODS[self.name]
        return (seconds // period + 1) * period

    def id_of(self, tick: float) -> str:
        """The id of a tick's job."""
        return f"{self.name}@{datetime.fromtimestamp(tick, UTC):%Y-%m-%dT%H:%M:%SZ}"

    def take(self, wall: float) -> list[float]:
        """The ticks that have come, and are to be run."""
        ticks: list[float] = []
        while self.next <= wall:
            ticks.append(self.next)
            self.settled = self.next
        if self.paused:
            return []
        return ticks if self.catch_up == "all" else ticks[-1:]

    def info(self) -> PeriodicInfo:
        """What is told of it."""
        upcoming = None if self.paused else self.next
        every = timedelta(seconds=PERIODS[self.name])
        return PeriodicInfo(self.name, every, "UTC", self.last, upcoming, self.paused)


class Schedules:
    """The schedules of a queue.

    Attributes:
        there: those that are registered.
        logged: of each the last tick that the log tells of.
        worked: of each the last tick that enqueued a job.
    """

    def __init__(self) -> None:
        self.there: dict[str, Schedule] = {}
        self.logged: dict[str, float] = {}
        self.worked: dict[str, float] = {}

    def begin_again(self) -> None:
        """Another queue has the same log."""
        self.there = {}

    def register(self, name: str, wish: Wish, catch_up: CatchUp, wall: float) -> Schedule:
        """One is registered, or goes on with other jobs."""
        known = self.there.get(name)
        if known is not None:
            known.wish, known.catch_up = wish, catch_up
            return known
        schedule = self.there[name] = Schedule(name, wish, catch_up, wall)
        at = self.logged.setdefault(name, wall)
        schedule.last = self.worked.get(name)
        if catch_up != "none":
            schedule.settled = at
        return schedule

    def resume(self, name: str, wall: float) -> None:
        """What was due while it was paused is left out."""
        schedule = self.there[name]
        if schedule.paused:
            schedule.paused = False
            schedule.settled = max(wall, schedule.settled)
            self.logged[name] = schedule.settled

    def leave_out(self, schedule: Schedule) -> None:
        """The log is told of ticks that came while it was paused."""
        if schedule.paused and schedule.settled > self.logged[schedule.name]:
            self.logged[schedule.name] = schedule.settled

    def ran(self, schedule: Schedule, tick: float) -> None:
        """A tick has enqueued its job, or one that is like it is there."""
        schedule.last = tick
        self.logged[schedule.name] = self.worked[schedule.name] = tick
