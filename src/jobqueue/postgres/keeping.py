"""What a process sees to besides its jobs: its connection, what is late, what is too old.

Of those processes that are there, one at a time looks after what all have: an advisory lock says
which. None of it is needed for jobs to run.

Whose thread: the queue's loop; no lock.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .errors import LOST
from .settling import COUNTED

if TYPE_CHECKING:
    from .core import Core

TURN_SECONDS = 1.0
LINK_TURNS, OLD_TURNS = 10, 60
_LOCK = 7_041_777
_CUT = "(SELECT number FROM jobqueue_job ORDER BY number DESC OFFSET $1 LIMIT 1)"
_FORGET = f"""DELETE FROM jobqueue_job WHERE ctid = ANY(ARRAY(
SELECT ctid FROM jobqueue_job WHERE number <= {_CUT} AND outcome IN ('completed', 'cancelled')
LIMIT 20000))"""
_FORGET_RESULTS = f"""UPDATE jobqueue_job SET result = NULL, coded = NULL WHERE number <= {_CUT}
AND result IS NOT NULL AND NOT about ? 'store_result'"""
_FORGET_LOG = "DELETE FROM pgqueuer_log WHERE created < now() - interval '10 minutes'"
_TOO_MANY_DEAD = """SELECT j.id FROM pgqueuer q JOIN jobqueue_job j ON j.number = q.id
WHERE q.status = 'failed' ORDER BY j.finished DESC OFFSET $1"""
_FOLD = f"""WITH gone AS (DELETE FROM jobqueue_count WHERE told < now() - interval '1 hour'
AND process <> '00000000-0000-0000-0000-000000000000' RETURNING *)
INSERT INTO jobqueue_count AS c (process, lane, handler, {", ".join(COUNTED)})
SELECT '00000000-0000-0000-0000-000000000000', lane, handler,
{", ".join(f"sum({each})" for each in COUNTED)} FROM gone GROUP BY lane, handler
ON CONFLICT (process, lane, handler) DO UPDATE SET
{", ".join(f"{each} = c.{each} + EXCLUDED.{each}" for each in COUNTED)}"""


class Keeping:
    """Looks after one queue, and in turn with others after what all have."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def run(self) -> None:
        """Until the queue ends."""
        core, turn = self._core, 0
        expire_turns = max(1, int(core.config.heartbeat_timeout / 2 / TURN_SECONDS))
        while not core.link.closed.is_set():
            await core.link.pause(TURN_SECONDS)
            turn += 1
            try:
                if turn % LINK_TURNS == 0:
                    await core.link.check()
                if turn % expire_turns == 0:  # also if nothing is started anywhere
                    await self.in_turn(self._expire)
                if core.runs and turn % OLD_TURNS == 0:
                    await self.in_turn(self._forget)
            except LOST:  # the link tells of that
                pass
            except Exception as error:  # noqa: BLE001  # told; nothing of it is needed by a job
                what = "the queue could not look after its tables; it tries again"
                core.reporter.report(logging.WARNING, what, error)

    async def in_turn(self, do: Any) -> None:
        """Do it in a transaction, if no other process is at it."""

        async def use(connection: Any) -> None:
            async with connection.transaction():
                if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                    await do(connection)

        await self._core.link.once(use)

    async def _expire(self, connection: Any) -> None:
        await connection.execute("SELECT jobqueue_expire()")

    async def _forget(self, connection: Any) -> None:
        config = self._core.config
        await connection.execute(_FORGET, config.status_retention)
        await connection.execute(_FORGET_RESULTS, config.result_retention)
        await connection.execute(_FORGET_LOG)
        await connection.execute(_FOLD)
        rows = await connection.fetch(_TOO_MANY_DEAD, config.max_dead_letters)
        if rows:
            await connection.execute(
                "SELECT jobqueue_discard($1::text[])", [row["id"] for row in rows]
            )
            self._core.reporter.report(
                logging.WARNING,
                f"{len(rows)} dead letters were dropped: there are more than "
                f"{config.max_dead_letters} (max_dead_letters)",
            )
