"""The schedules of this process. Of all processes that have one, one enqueues each tick's job.

A row says up to which tick a schedule is settled. Whoever moves it past a tick enqueues the tick's
job, in the same transaction.

Whose thread: the queue's loop; job factories and middleware run on threads for such. No lock.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ..final import Job, PeriodicInfo, Status
from ..final.engine import (
    SystemClock,
    check_text,
    checked_entry,
    handle_from,
    in_thread,
    job_of,
    new_id,
    utc_text,
    wrapped,
)
from .rows import arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..final import JobHandle
    from ..final.engine import Entry, Schedule
    from .core import Core

CATCH_UP_MAX = 1000
LATE_SECONDS_MAX = 60.0
LOOK_SECONDS = 30.0
"""At most so long it sleeps: the wall clock may be set."""
_BEGIN = """INSERT INTO jobqueue_periodic (name, settled) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET name = EXCLUDED.name RETURNING last, settled"""
_TAKE = "UPDATE jobqueue_periodic SET settled = $2 WHERE name = $1 AND settled < $2 RETURNING name"


class Ticking:
    """Enqueues the jobs of ticks. Thread-safe."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._entries: dict[str, Entry] = {}
        # A tick has a connection while its job is made. The factory may ask the queue something,
        # and heartbeats go on: there is always a connection that no tick has.
        self._turns = asyncio.Semaphore(core.config.pool_size // 2)

    def register(
        self,
        name: str,
        schedule: Schedule,
        job_factory: Callable[[], Job],
        tz: str,
        catch_up: str,
    ) -> None:
        """See `JobQueue.periodic`."""
        entry = checked_entry(name, schedule, job_factory, tz, catch_up)
        if "\0" in entry.name:
            raise ValueError("a schedule's name has a NUL, which text in PostgreSQL cannot hold")
        self._core.loop.call(self._add(entry))

    async def _add(self, entry: Entry) -> None:
        known = self._entries.get(entry.name)
        if known is not None:
            if known.rule != entry.rule or known.tz != entry.tz:
                raise ValueError(
                    f"the name {entry.name!r} is taken by another schedule, {known.schedule!r} in "
                    f"{known.tz}; give this one a name of its own"
                )
            known.factory, known.catch_up = entry.factory, entry.catch_up
            return
        self._entries[entry.name] = entry
        now = SystemClock.time()
        last, settled = await self._row(entry.name, now)
        entry.last = last
        entry.settled = now if entry.catch_up == "none" else min(settled, now)
        self._core.spawn_here(self._run(entry))

    async def _row(self, name: str, now: float) -> Any:
        return await self._core.link.for_caller(
            lambda connection: connection.fetchrow(_BEGIN, name, now)
        )

    async def _last(self, name: str) -> Any:
        """The last tick; it waits for none that is under way."""
        sought = "SELECT last FROM jobqueue_periodic WHERE name = $1"
        return await self._core.link.for_caller(
            lambda connection: connection.fetchval(sought, name)
        )

    async def infos(self) -> list[PeriodicInfo]:
        """See `JobQueue.periodics`."""
        await self._core.operator.steer()
        paused, found = self._core.paused.periodics, []
        for entry in list(self._entries.values()):
            now = SystemClock.time()
            last = await self._last(entry.name)
            is_paused = entry.name in paused
            upcoming = None if is_paused else entry.rule.first_after(max(entry.settled, now))
            found.append(
                PeriodicInfo(entry.name, entry.schedule, entry.tz, last, upcoming, is_paused)
            )
        return found

    async def _run(self, entry: Entry) -> None:
        """Until the queue closes."""
        core = self._core
        while not core.is_closing and not core.link.closed.is_set():
            now = SystemClock.time()
            for tick in self._due(entry, now):
                if core.is_closing:
                    return
                await self._tick(entry, tick)
            entry.settled = max(entry.settled, now)
            upcoming = entry.rule.first_after(entry.settled)
            if upcoming is None:
                return
            left = upcoming - SystemClock.time()
            await core.link.pause(min(max(0.001, left), LOOK_SECONDS))

    def _due(self, entry: Entry, now: float) -> list[float]:
        most = CATCH_UP_MAX if entry.catch_up == "all" else 1
        ticks = entry.rule.last_between(entry.settled, now, most)
        if entry.catch_up == "none":
            return [each for each in ticks if now - each <= LATE_SECONDS_MAX]
        return ticks

    async def _tick(self, entry: Entry, tick: float) -> None:
        """Enqueue the job of a tick, unless another process did, or it is paused."""

        async def use(connection: Any) -> bool:
            async with connection.transaction():
                if await connection.fetchval(_TAKE, entry.name, tick) is None:
                    return False
                if entry.name in self._core.paused.periodics:
                    return False
                made = await in_thread(lambda: self._made(entry, tick))
                for job in made:
                    await self._core.producing.insert(connection, arguments([job], [0.0], None))
                await connection.execute(
                    "UPDATE jobqueue_periodic SET last = $2 WHERE name = $1", entry.name, tick
                )
                return True

        try:
            async with self._turns:
                done = await self._core.link.until_done(use)
            if done:
                entry.last = tick
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # the factory is the user's; it is told
            self._core.reporter.report(
                logging.ERROR,
                f"schedule {entry.name!r} left out its tick of {utc_text(tick)}: the job could not "
                f"be made and enqueued: {type(error).__name__}",
                error,
            )

    def run_now(self, name: str) -> JobHandle:
        """See `JobQueue.run_periodic`. On a caller's thread."""
        core, name = self._core, check_text("periodic", name)
        core.refuse_closed()
        entry = self._entries.get(name)
        if entry is None:
            known = ", ".join(map(repr, self._entries)) or "none"
            raise ValueError(f"there is no schedule {name!r} in this process; there are: {known}")
        job = job_of(entry, new_id())
        return handle_from(wrapped(core.layers.enqueue, core.producing.accept_tick)(job), job)

    def _made(self, entry: Entry, tick: float) -> list[Job]:
        """The job of a tick, as the middleware lets it through. On a thread of its own."""
        job = job_of(entry, f"{entry.name}@{utc_text(tick)}")
        passed: list[Job] = []

        def accept(job: Job) -> JobHandle:
            self._core.producing.check(job)
            passed.append(job)
            return self._core.desk.handle_of(job, Status.QUEUED)

        wrapped(self._core.layers.enqueue, accept)(job)
        return passed
