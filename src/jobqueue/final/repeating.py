"""The part of `JobQueue` that runs jobs by schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model.ids import new_id
from .steering import Steering

if TYPE_CHECKING:
    from collections.abc import Callable

    from .exact import Schedule
    from .model.handle import JobHandle
    from .model.job import Job
    from .model.periodic import CatchUp, PeriodicInfo


class Repeating(Steering):
    """Runs jobs again and again. All methods are thread-safe."""

    def periodic(
        self,
        name: str,
        schedule: Schedule,
        job_factory: Callable[[], Job],
        *,
        tz: str = "UTC",
        catch_up: CatchUp = "none",
    ) -> None:
        """Enqueue a job at each tick of a schedule, from now on until the queue is closed.

        Ticks come whether or not the workers have been started. Each enqueues one job, whose id is
        the name and the tick's time in UTC, as in "report@2026-11-29T10:00:00Z". So no restart adds
        it twice. It never waits for room. It is added also if the job of the tick before still
        runs.

        The same name and schedule again is accepted: the new function and `catch_up` then count.

        Args:
            name: what the schedule is called, in the log too; up to 227 characters.
            schedule: a cron expression of five fields, as "0 4 * * *", or "@hourly", "@daily",
                "@weekly", "@monthly", "@yearly"; or a `timedelta`, of at least a millisecond, whose
                ticks are its multiples since 1970.
            job_factory: called for each tick, by a thread of its own and without locks; it returns
                the job, whose id does not matter. If it raises, that tick is left out.
            tz: the time zone of a cron expression, as "Europe/Berlin".
            catch_up: what becomes of ticks that were missed, as the process was down, the clock was
                set forward, or the machine was held up for more than a minute. "none" leaves them
                out, "last" runs the latest one, "all" runs each, but no more than the latest 1,000.
                With a log those while the process was down count, since the last tick of this name.

        Raises:
            ValueError: the expression, zone, name or `catch_up` cannot be, or no such day ever
                comes; or another schedule has this name.
            TypeError: an argument is of the wrong type.
            ImportError: a cron expression needs the package `cronsim`, which is not installed.
            QueueClosedError: the queue is closed.
        """
        self._enter()
        self._schedules.register(name, schedule, job_factory, tz, catch_up)

    def run_periodic(self, name: str) -> JobHandle:
        """Enqueue a job of a schedule now, besides its ticks, paused or not; its id is a new one.

        As the jobs of ticks, it never waits for room.

        Raises:
            ValueError: there is no such schedule.
            TypeError: the name is no text, or the schedule's function returned no job.
            DuplicateJobError: the job is unique, and there is one like it.
            QueueClosedError, LogWriteError: as for `enqueue`.
            BaseException: whatever the schedule's function raised.
        """
        self._enter(waits=True)
        return self._schedules.run(name, new_id())

    def periodics(self) -> list[PeriodicInfo]:
        """The schedules, in the order in which they were registered."""
        self._enter()
        return self._schedules.infos()
