"""The engine's repository, as its run loop sees it: what it asks for goes through our rules.

- `dequeue` waits for a free slot, and looks into the lane whose turn it is, at handlers that may
  start something now. It raises nothing if the connection is gone: it waits for it.
- Outcomes were written by `Settling` before the engine tells of them; retries are fenced.
- In place of three probes there is one. It also tells when a dead process's job can be had.

Whose thread: the queue's loop; no lock.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pgqueuer.domain import models
from pgqueuer.queries import Queries

from ..final import Priority
from ..final.engine import SystemClock
from .errors import AGAIN, LOST
from .rows import parts
from .schema import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .core import Core

_PROBE = """
SELECT
  EXISTS (SELECT FROM pgqueuer WHERE entrypoint = ANY($1) AND status = 'queued'
          AND execute_after <= now()) AS ready,
  extract(epoch FROM LEAST(
    (SELECT min(execute_after) FROM pgqueuer WHERE entrypoint = ANY($1) AND status = 'queued'
     AND execute_after > now()),
    (SELECT min(heartbeat) FROM pgqueuer WHERE entrypoint = ANY($1) AND status = 'picked')
      + $2::interval
  ) - now())::float8 AS eta"""
_WORK = """SELECT e FROM unnest($1::text[]) e WHERE EXISTS (SELECT FROM pgqueuer
WHERE entrypoint = e AND status = 'queued' AND execute_after <= now())"""
# `status` as text: for a type that is not built in, a driver asks a new connection what it is.
_PICK = """SELECT id, priority, created, updated, heartbeat, execute_after, status::text,
entrypoint, payload, attempts, queue_manager_id, slot, headers
FROM jobqueue_engine_dequeue($1, $2, $3, $4)"""
_BEAT = """UPDATE pgqueuer SET heartbeat = now() WHERE id IN (SELECT id FROM pgqueuer
WHERE id = ANY($1) AND queue_manager_id = $2 FOR UPDATE SKIP LOCKED)"""
_LEAVE = """WITH gone AS (UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL
WHERE id = ANY($1) AND queue_manager_id = $2 RETURNING id)
SELECT jobqueue_wake() WHERE EXISTS (SELECT FROM gone)"""
_RETRY = "SELECT jobqueue_retry($1, $2, $3, $4, $5, $6, $7, $8)"
_RETRIED = """SELECT EXISTS (SELECT FROM jobqueue_job
WHERE number = $1 AND started = $2 AND retries > $3)"""
"""Whether a retry is ours, though the call that wrote it was cut off."""
_BUSY_SECONDS = 0.02


class Repository(Queries):
    """What the engine's run loop asks."""

    def __init__(self, core: Core) -> None:
        super().__init__(core.link)
        self.qbe.settings = self.qbq.settings = self.qbs.settings = settings()
        self._core = core
        self._eta: float | None = None
        self._is_empty = False  # the last look found fewer jobs than it asked for
        self._tell: Callable[[str], object] = lambda payload: None

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[Any, Any],
        queue_manager_id: Any,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[models.Job]:
        """The next jobs for this process; none if there are none, or it closes."""
        del batch_size, global_concurrency_limit
        core = self._core
        while not core.has_stopped:
            if not core.may_start():
                await core.slots.wait()
                await core.slots.together()
            if not core.may_start():
                continue
            if self._is_empty and not core.is_told:  # as the last look has seen
                self._is_empty = False
                return []
            core.is_told, core.is_looking = False, True
            core.stopped.clear()
            core.waking.looks()
            try:
                picked = await self._next(entrypoints, queue_manager_id, heartbeat_timeout)
                if core.may_start():
                    begun = core.begin(picked)
                    core.waking.looked([row.entrypoint for row in begun])
                    if begun or not picked:
                        return begun
                    continue
                await self.leave([row.id for row in picked])
            except AGAIN:
                await core.link.pause(_BUSY_SECONDS * 5)
            finally:
                core.is_looking = False
        return []

    async def leave(self, numbers: list[int]) -> None:
        """Leave jobs that were picked to others, as if they had not been."""
        await self._core.link.execute(_LEAVE, numbers, self._core.manager.queue_manager_id)

    async def _next(
        self, entrypoints: dict[Any, Any], manager: Any, heartbeat_timeout: timedelta
    ) -> list[models.Job]:
        core = self._core
        await self._see_who_waits(entrypoints)
        for lane, most in core.tokens.turns():
            names = core.startable(name for name in entrypoints if _is_in(name, lane))
            some = {name: entrypoints[name] for name in names}
            found: list[models.Job] = []
            asked = 0
            if some:
                free = min(most, core.slots.free)
                self._is_empty = False
                async with core.limits.share(some, free) as (allowed, queries):
                    asked = allowed[1] if allowed else 0
                    if allowed:
                        rows = await (queries or self).driver.fetch(
                            _PICK, allowed[1], list(allowed[0]), manager, heartbeat_timeout
                        )
                        found = [models.Job.model_validate(row) for row in rows]
            core.limits.took([row.entrypoint for row in found])
            new = [row for row in found if row.id not in core.attempts]
            core.tokens.looked(lane, [parts(row.entrypoint)[0] for row in new])
            if found:
                self._is_empty = lane is None and len(new) == len(found) < asked
                return found
        return []

    async def _see_who_waits(self, entrypoints: Iterable[str]) -> None:
        """Give tokens back to lanes that are short of them: mostly nobody waits in a lower lane."""
        core = self._core
        short = core.tokens.short_of(core.slots.free)
        names = core.startable(each for each in entrypoints if parts(each)[0] in short)
        rows = await core.link.fetch(_WORK, names) if names else []
        waited_for = {parts(str(row["e"]))[0] for row in rows}
        for lane in short:
            if lane not in waited_for:
                core.tokens.looked(lane, ())

    async def log_jobs(self, job_status: list[Any]) -> None:
        """Their outcomes are written already."""

    async def retry_job(self, job: models.Job, delay: timedelta, traceback_record: Any) -> None:
        """Have another attempt made, if the job is still ours."""
        del traceback_record
        core, attempt = self._core, self._core.attempts[job.id]
        error, trace = attempt.failure
        arguments = (
            core.manager.queue_manager_id, job.id, job.updated, delay, error, trace,
            attempt.started, SystemClock.time(),
        )  # fmt: skip

        async def use(connection: Any) -> Any:
            return await connection.fetchval(_RETRY, *arguments)

        async def again(connection: Any) -> Any:
            """It may have been done."""
            sought = (job.id, attempt.started, attempt.job.retries)
            return (
                "retried" if await connection.fetchval(_RETRIED, *sought) else await use(connection)
            )

        core.forget(attempt)  # before: without a delay it may be picked again at once
        try:
            done = await core.link.until_done(use, again=again)
        except Exception as problem:  # noqa: BLE001  # told; the job runs again once it is stale
            core.reporter.report(logging.ERROR, f"job {attempt.job.id!r} was not retried", problem)
            return
        finally:
            core.make_room()  # after: else another job may be picked before it, in its place
        if done == "lost":
            core.settling.late += 1
        elif done == "cancelled":
            core.desk.ended(job.id)
            core.tell_finished(attempt.job.id)

    async def update_heartbeat(self, job_ids: list[Any]) -> None:
        """Tell that this process is there, for those jobs that are still its own."""
        try:
            await self._core.link.execute(
                _BEAT, list(set(job_ids)), self._core.manager.queue_manager_id
            )
        except AGAIN:  # the next one may get through
            pass

    # ── when to look next ────────────────────────────────────────────────────────────────────

    async def eligible_queued_work(self, entrypoints: list[Any]) -> int:
        """Whether there is a job now; and, with the same look, when the next one is due."""
        core = self._core
        names = core.startable(entrypoints)
        self._eta = core.limits.wait
        try:
            row = await core.link.once(
                lambda connection: connection.fetchrow(
                    _PROBE, core.limits.open(names), core.heartbeat
                )
            )
        except LOST:
            return 1  # so that it looks again soon, and waits there
        if row["eta"] is not None:
            self._eta = min(row["eta"], row["eta"] if self._eta is None else self._eta)
        return int(row["ready"])

    async def next_deferred_eta(self, entrypoints: list[Any]) -> timedelta | None:
        """When the next job is due, or can be taken from a process that is dead."""
        del entrypoints
        return None if self._eta is None else timedelta(seconds=max(0.0, self._eta) + 0.001)

    async def queued_work(self, entrypoints: list[Any]) -> int:
        """What the engine would ask besides; the one look has told it."""
        del entrypoints
        return 0

    # ── what the engine sees to by itself, and need not ──────────────────────────────────────

    async def notify_health_check(self, health_check_event_id: Any) -> None:
        """Answer in its place: the queue looks after its listener by itself."""
        event = models.HealthCheckEvent(
            channel=self.qbq.settings.channel,
            sent_at=models.utc_now(),
            type="health_check_event",
            id=health_check_event_id,
        )
        self._core.notice(event.model_dump_json(exclude={"received_at"}))

    async def aggregate_logs(self) -> None:
        """Its statistics are not kept: the queue counts by itself."""

    async def has_table(self, table: str) -> bool:
        """The schema was checked as the queue was opened."""
        return True

    async def table_has_column(self, table: str, column: str) -> bool:
        """Likewise."""
        return True

    async def table_has_index(self, table: str, index: str) -> bool:
        """Likewise."""
        return True

    async def has_user_defined_enum(self, key: str, enum: str) -> bool:
        """Likewise."""
        return True


def _is_in(entrypoint: str, lane: Priority | None) -> bool:
    return lane is None or entrypoint[0] == str(int(lane))
