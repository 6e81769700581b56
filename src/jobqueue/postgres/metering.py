"""What `metrics` and `handlers` tell: jobs as the database counts them, times as this process does.

A handler's histograms are of the attempts that ran here.

Whose thread: callers', which wait for the queue's loop; no lock.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ..final import (
    EngineMetrics,
    HandlerCounts,
    HandlerInfo,
    HandlerLane,
    LaneMetrics,
    Metrics,
    Priority,
    WorkerMetrics,
)
from ..final.engine import FrozenDict, Spread, SystemClock, checked_limit
from .errors import LOST
from .rows import entrypoint, parts
from .settling import COUNTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..final import Histogram
    from .core import Core

_PICKED = """SELECT entrypoint, 'processing' AS state, count(*) AS number, 0.0::float8 AS age
FROM pgqueuer WHERE status = 'picked' GROUP BY 1"""
_LIVE = f"""SELECT entrypoint,
  CASE WHEN execute_after > now() THEN 'scheduled' ELSE 'queued' END AS state, count(*) AS number,
  extract(epoch FROM now() - min(execute_after))::float8 AS age
FROM pgqueuer WHERE status = 'queued' GROUP BY 1, 2 UNION ALL {_PICKED}"""
_LIVE_WITHIN = f"""SELECT q.entrypoint, 'queued' AS state, count(*) AS number, 0.0::float8 AS age
FROM (SELECT number FROM jobqueue_job ORDER BY number DESC LIMIT $1) j
JOIN pgqueuer q ON q.id = j.number WHERE q.status = 'queued' AND q.execute_after <= now() GROUP BY 1
UNION ALL {_PICKED}"""
_DEAD = """SELECT j.lane, coalesce(j.handler, ''), count(*) FROM pgqueuer q
JOIN jobqueue_job j ON j.number = q.id WHERE q.status = 'failed' GROUP BY 1, 2"""
_ENDED = f"""SELECT lane, handler, {", ".join(f"sum({each})::bigint" for each in COUNTED)}
FROM jobqueue_count GROUP BY lane, handler"""
_PROCESSES = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
AND application_name = 'jobqueue listens'"""
_STATES = ("queued", "scheduled", "processing")
_LANES = [entrypoint(each, None) for each in Priority]
_TOLD = (*_STATES, "dead", *COUNTED)

Row = dict[str, float]
Rows = dict[tuple[int, str], Row]
Counts = tuple[Rows, int]


class Metering:
    """Counts."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._last: Counts = ({}, 0)
        self._since = SystemClock.time()

    async def _look(self, within: int | None = None) -> Counts:
        """What the database counts, by lane and handler; what it said last if it is gone.

        Args:
            within: of how many jobs, the newest, queued ones are counted; `None` for all.
        """

        async def use(connection: Any) -> Any:
            # One snapshot for all: a job that ends meanwhile is not counted twice.
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                live = (_LIVE,) if within is None else (_LIVE_WITHIN, within)
                return (
                    await connection.fetch(*live),
                    await connection.fetch(_DEAD),
                    await connection.fetch(_ENDED),
                    await connection.fetchval(_PROCESSES),
                )

        try:
            live, dead, ended, processes = await self._core.link.answered(use)
        except LOST:
            return self._last
        rows: Rows = defaultdict(lambda: defaultdict(float))
        for each in live:
            if each["entrypoint"][:2] not in _LANES:
                continue  # the engine's own tools have enqueued it: it is no job of the queue's
            lane, handler = parts(each["entrypoint"])
            row = rows[int(lane), handler or ""]
            row[each["state"]] += each["number"]
            if each["state"] == "queued":
                row["age"] = max(row["age"], each["age"])
        for lane, name, number in dead:
            rows[lane, name]["dead"] += number
        for lane, name, *counts in ended:
            for what, number in zip(COUNTED, counts, strict=True):
                rows[lane, name][what] += number
        if within is None:
            self._last = rows, processes
        return rows, processes

    def _rows(self, within: int | None = None) -> Counts:
        if self._core.is_ended:
            return self._last
        return self._core.loop.call(self._look(within))

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
        slots, known = core.slots, core.registry.all()
        return Metrics(
            **{name: getattr(whole, name) for name in LaneMetrics.__slots__},
            by_priority=FrozenDict(lanes),
            workers=WorkerMetrics(slots.size + slots.lent, len(running), utilization, slots.size),
            log=None,
            by_handler=FrozenDict({name: self._counts(name or "", rows) for name in known}),
            unregistered=self._unregistered({name or "" for name in known}, rows),
            since=self._since,
            engine=EngineMetrics(
                "postgres", core.link.connected, core.link.reconnects, core.settling.late, processes
            ),
        )

    def _lane(self, rows: list[Row], lane: Priority | None) -> LaneMetrics:
        total = _sum(rows)
        wait, run = self._core.times.spread(lane)
        overrunning = sum(
            each.overruns and lane in (None, each.lane)
            for each in list(self._core.attempts.values())
        )
        return LaneMetrics(
            enqueued=_enqueued(total),
            overrunning=overrunning,
            limited=0,
            oldest_wait=max((row.get("age", 0.0) for row in rows), default=0.0),
            queue_wait=wait,
            run_time=run,
            **total,
        )

    def _of(self, name: str, rows: Rows) -> dict[str, int]:
        """What is counted of a handler in all lanes."""
        return _sum([rows[lane, name] for lane in Priority if (lane, name) in rows])

    def _counts(self, name: str, rows: Rows) -> HandlerCounts:
        """What is told of a handler: jobs of all processes, attempts that ran in this one."""
        times = self._core.times
        lanes = {
            lane: _handler_lane(_sum([rows[lane, name]]), *times.histograms(lane, name))
            for lane in Priority
            if (lane, name) in rows
        }
        return _handler_counts(self._of(name, rows), lanes, times.failures.get(name, {}))

    def _unregistered(self, known: set[str], rows: Rows) -> HandlerCounts:
        """The same for all that have no handler in this process, so none of them ran here."""
        others: dict[Priority, list[Row]] = {}
        for (lane, name), row in rows.items():
            if name not in known:
                others.setdefault(Priority(lane), []).append(row)
        nothing = Spread().told()
        lanes = {lane: _handler_lane(_sum(some), nothing, nothing) for lane, some in others.items()}
        return _handler_counts(_sum([row for some in others.values() for row in some]), lanes, {})

    def handlers(self, within: int | None) -> list[HandlerInfo]:
        """See `JobQueue`."""
        rows, _ = self._rows(None if within is None else checked_limit(within))
        known = self._core.registry.all()
        waited_for = {handler or None for (_, handler), row in rows.items() if row.get("queued")}
        names = sorted(set(known) | waited_for, key=lambda name: name or "")
        found = []
        for name in names:
            of, handler = self._of(name or "", rows), known.get(name)
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


def _sum(rows: list[Row]) -> dict[str, int]:
    return {name: int(sum(row.get(name, 0) for row in rows)) for name in _TOLD}


def _enqueued(of: dict[str, int]) -> int:
    """Jobs that were accepted: those that have ended, and those that have not."""
    return sum(of[each] for each in ("completed", "failed", "cancelled", *_STATES))


def _handler_lane(of: dict[str, int], wait: Histogram, run: Histogram) -> HandlerLane:
    counts = {name: of[name] for name in COUNTED}
    return HandlerLane(enqueued=_enqueued(of), **counts, queue_wait=wait, run_time=run)


def _handler_counts(
    of: dict[str, int], lanes: dict[Priority, HandlerLane], failures: Mapping[str, int]
) -> HandlerCounts:
    counts = {name: of[name] for name in ("completed", "failed", "retried", "cancelled")}
    return HandlerCounts(
        **counts,
        processing=of["processing"],
        failures=FrozenDict(failures),
        by_priority=FrozenDict(lanes),
    )
