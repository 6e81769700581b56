"""What `metrics` and `handlers` tell: jobs as the database counts them, times as this process does.

Whose thread: callers', which wait for the queue's loop; no lock.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ..final import (
    EngineMetrics,
    HandlerCounts,
    HandlerInfo,
    LaneMetrics,
    Metrics,
    Priority,
    WorkerMetrics,
)
from ..final.engine import SystemClock
from .errors import LOST
from .rows import parts
from .settling import COUNTED

if TYPE_CHECKING:
    from .core import Core

_LIVE = """SELECT entrypoint,
  CASE WHEN status = 'picked' THEN 'processing' WHEN execute_after > now() THEN 'scheduled'
  ELSE 'queued' END AS state, count(*) AS number,
  extract(epoch FROM now() - min(execute_after))::float8 AS age
FROM pgqueuer WHERE status IN ('queued', 'picked') GROUP BY 1, 2"""
_ENDED = f"""SELECT lane, handler, {", ".join(f"sum({each})::bigint" for each in COUNTED)}
FROM jobqueue_count GROUP BY lane, handler"""
_PROCESSES = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
AND application_name = 'jobqueue listens'"""
_STATES = ("queued", "scheduled", "processing")

Row = dict[str, float]


class Metering:
    """Counts."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._last: tuple[dict[tuple[int, str], Row], int] = ({}, 0)

    async def _look(self) -> tuple[dict[tuple[int, str], Row], int]:
        """What the database counts, by lane and handler; what it said last if it is gone."""

        async def use(connection: Any) -> Any:
            return (
                await connection.fetch(_LIVE),
                await connection.fetch(_ENDED),
                await connection.fetchval(_PROCESSES),
            )

        try:
            live, ended, processes = await self._core.link.once(use)
        except LOST:
            return self._last
        rows: dict[tuple[int, str], Row] = defaultdict(lambda: defaultdict(float))
        for each in live:
            lane, handler = parts(each["entrypoint"])
            row = rows[int(lane), handler or ""]
            row[each["state"]] += each["number"]
            if each["state"] == "queued":
                row["age"] = max(row["age"], each["age"])
        for lane, name, *counts in ended:
            for what, number in zip(COUNTED, counts, strict=True):
                rows[lane, name][what] += number
        self._last = rows, processes
        return self._last

    def _rows(self) -> tuple[dict[tuple[int, str], Row], int]:
        if self._core.is_ended:
            return self._last
        return self._core.loop.call(self._look())

    async def note(self) -> None:
        """Keep what `metrics` tells once the queue is closed."""
        await self._look()

    def metrics(self) -> Metrics:
        """See `JobQueue`."""
        rows, processes = self._rows()
        core = self._core
        lanes = {
            each: self._lane([row for (lane, _), row in rows.items() if lane == each], each)
            for each in Priority
        }
        whole = self._lane(list(rows.values()), None)
        now = SystemClock.monotonic()
        running = [each for each in list(core.attempts.values()) if not each.has_returned]
        utilization = core.times.busy.utilization(
            now, [each.began for each in running], core.config.num_workers
        )
        slots = core.slots
        return Metrics(
            **{name: getattr(whole, name) for name in LaneMetrics.__slots__},
            by_priority=lanes,
            workers=WorkerMetrics(slots.size + slots.lent, len(running), utilization),
            log=None,
            by_handler={name: self._counts(name, rows) for name in core.registry.all()},
            engine=EngineMetrics(
                "postgres", core.link.connected, core.link.reconnects, core.settling.late, processes
            ),
        )

    def _lane(self, rows: list[Row], lane: Priority | None) -> LaneMetrics:
        total = {name: int(sum(row.get(name, 0) for row in rows)) for name in (*_STATES, *COUNTED)}
        wait, run = self._core.times.spread(lane)
        overrunning = sum(
            each.overruns and lane in (None, each.lane)
            for each in list(self._core.attempts.values())
        )
        ended = total["completed"] + total["failed"] + total["cancelled"]
        return LaneMetrics(
            enqueued=ended + sum(total[each] for each in _STATES),
            overrunning=overrunning,
            limited=0,
            oldest_wait=max((row.get("age", 0.0) for row in rows), default=0.0),
            queue_wait=wait,
            run_time=run,
            **total,
        )

    def _of(self, name: str | None, rows: dict[tuple[int, str], Row]) -> dict[str, int]:
        mine = [row for (_, handler), row in rows.items() if handler == (name or "")]
        return {each: int(sum(row.get(each, 0) for row in mine)) for each in (*_STATES, *COUNTED)}

    def _counts(self, name: str | None, rows: dict[tuple[int, str], Row]) -> HandlerCounts:
        of = self._of(name, rows)
        return HandlerCounts(
            of["completed"], of["failed"], of["retried"], of["cancelled"], of["processing"],
            dict(self._core.times.failures.get(name or "", {})),
        )  # fmt: skip

    def handlers(self) -> list[HandlerInfo]:
        """See `JobQueue`."""
        rows, _ = self._rows()
        known = self._core.registry.all()
        waited_for = {handler or None for (_, handler), row in rows.items() if row.get("queued")}
        names = sorted(set(known) | waited_for, key=lambda name: name or "")
        found = []
        for name in names:
            of, handler = self._of(name, rows), known.get(name)
            wait, run = self._core.times.spread(None, name or "")
            options = {} if handler is None else handler.policy.given()
            failures = dict(self._core.times.failures.get(name or "", {}))
            found.append(
                HandlerInfo(
                    name=name,
                    completed=of["completed"],
                    failed=of["failed"],
                    retried=of["retried"],
                    cancelled=of["cancelled"],
                    queued=of["queued"],
                    processing=of["processing"],
                    options=options,
                    queue_wait=wait,
                    run_time=run,
                    failures=failures,
                )
            )
        return found
