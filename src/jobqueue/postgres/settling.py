"""The outcomes of attempts on their way to the database, and how long the attempts took.

Outcomes that come while a call is on its way go together with the next one, as log records do in a
group commit; and those of jobs that began together and took no time go together. So one alone waits
for nothing, and many cost little.

Whose thread: the queue's loop, but for `Times`, which has a lock.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from ..final.engine import BusyMeter, Spread, SystemClock, quantiles

if TYPE_CHECKING:
    from uuid import UUID

    from ..final import Histogram, Job
    from .core import Core

_MOST = 200
_SAMPLES = 512
COUNTED = ("completed", "failed", "retried", "cancelled", "expired")
_SETTLE = (
    "SELECT jobqueue_settle($1, $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bytea[], "
    "$7::bool[], $8::float8[], $9::float8[])"
)
_OURS = (
    "SELECT ARRAY(SELECT j.number FROM jobqueue_job j JOIN unnest($1::bigint[], $2::float8[]) "
    "u(number, finished) ON j.number = u.number AND j.finished = u.finished)"
)
"""Of which jobs the outcomes are ours, though the call that wrote them was cut off."""


class Outcome(NamedTuple):
    """What came of an attempt that is a job's last: times are Unix times."""

    number: int
    outcome: str
    started: float
    finished: float
    error: str | None = None
    trace: str | None = None
    result: bytes | None = None
    coded: bool | None = None


class Settling:
    """Writes outcomes, fenced: those of jobs that another process has got count for nothing."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._due: list[tuple[Outcome, asyncio.Future[bool]]] = []
        self._task: asyncio.Task[None] | None = None
        self.late = 0

    async def settle(self, outcome: Outcome, held: list[tuple[Job, float]] | None = None) -> bool:
        """Write it, however long the connection is gone; whether it counted."""
        if held:
            owned = await self._with_jobs(outcome, held)
        else:
            future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._due.append((outcome, future))
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._run())
            owned = await future
        if not owned and not self._core.link.closed.is_set():
            self.late += 1
        return owned

    async def _run(self) -> None:
        while self._due:
            await self._core.slots.together()
            some, self._due = self._due[:_MOST], self._due[_MOST:]
            try:
                owned = set(await self._write([outcome for outcome, _ in some]))
            except Exception as error:  # noqa: BLE001  # it is told; the jobs run again elsewhere
                owned = set()
                what = "outcomes of jobs could not be written; they run again"
                self._core.reporter.report(logging.ERROR, what, error)
            for outcome, future in some:
                if not future.done():
                    future.set_result(outcome.number in owned)

    async def _write(self, outcomes: list[Outcome]) -> list[int]:
        columns = list(zip(*outcomes, strict=True))
        number, outcome, started, finished, error, trace, result, coded = map(list, columns)
        arguments: tuple[Any, ...] = (
            *(self.manager, number, outcome, error, trace, result, coded, started, finished),
        )

        async def once(connection: Any) -> Any:
            return await connection.fetchval(_SETTLE, *arguments)

        async def again(connection: Any) -> Any:
            owned = await connection.fetchval(_SETTLE, *arguments)
            return owned + await connection.fetchval(_OURS, number, finished)

        return await self._core.link.until_done(once, again=again) or []

    async def _with_jobs(self, outcome: Outcome, held: list[tuple[Job, float]]) -> bool:
        """Write it in one transaction with the jobs that its handler enqueued by it."""
        from .rows import arguments

        known = "SELECT j.id FROM jobqueue_job j WHERE j.id = ANY($1)"

        async def use(connection: Any) -> bool:
            async with connection.transaction():
                owned = await connection.fetchval(
                    _SETTLE, self.manager, [outcome.number], [outcome.outcome], [outcome.error],
                    [outcome.trace], [outcome.result], [outcome.coded], [outcome.started],
                    [outcome.finished],
                )  # fmt: skip
                if owned:
                    # An attempt before, of which nobody heard any more, may have added some.
                    rows = await connection.fetch(known, [job.id for job, _ in held])
                    there = {row["id"] for row in rows}
                    new = [each for each in held if each[0].id not in there]
                    if new:
                        jobs, delays = zip(*new, strict=True)
                        await self._core.producing.insert(connection, arguments(jobs, delays, None))
                return bool(owned)

        async def again(connection: Any) -> bool:
            ours = await connection.fetchval(_OURS, [outcome.number], [outcome.finished])
            return bool(ours) or await use(connection)

        return bool(await self._core.link.until_done(use, again=again))

    @property
    def manager(self) -> UUID:
        """Who this process is to the engine."""
        return self._core.manager.queue_manager_id


class Times:
    """What this process knows of its attempts besides what the database counts. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all
        self.failures: dict[str, dict[str, int]] = {}
        self.waits: dict[tuple[int, str], deque[float]] = {}
        self.runs: dict[tuple[int, str], deque[float]] = {}
        self._spreads: dict[tuple[int, str], tuple[Spread, Spread]] = {}
        self.busy = BusyMeter(SystemClock.monotonic())

    def failed(self, handler: str | None, error: str) -> None:
        """An attempt failed by this error."""
        with self._lock:
            counts = self.failures.setdefault(handler or "", {})
            name = error.partition(":")[0]
            counts[name] = counts.get(name, 0) + 1

    def ran(self, lane: int, handler: str | None, wait: float, began: float, ended: float) -> None:
        """An attempt has ended: how long its job waited, and when it began and ended."""
        key = (int(lane), handler or "")
        with self._lock:
            self.waits.setdefault(key, deque(maxlen=_SAMPLES)).append(wait)
            self.runs.setdefault(key, deque(maxlen=_SAMPLES)).append(ended - began)
            waits, runs = self._spreads.setdefault(key, (Spread(), Spread()))
            waits.add([wait])
            runs.add([ended - began])
            self.busy.add(began, ended)

    def histograms(self, lane: int, handler: str) -> tuple[Histogram, Histogram]:
        """How waits and runs were spread since the start, of a handler in a lane."""
        with self._lock:
            waits, runs = self._spreads.get((lane, handler), (Spread(), Spread()))
            return waits.told(), runs.told()

    def spread(self, lane: int | None = None, handler: str | None = None) -> tuple[Any, Any]:
        """How waits and runs were spread, of a lane or of a handler ("" is the default one)."""
        with self._lock:
            waits, runs = (
                [
                    each
                    for (of_lane, name), some in times.items()
                    if lane in (None, of_lane) and handler in (None, name)
                    for each in some
                ]
                for times in (self.waits, self.runs)
            )
        return quantiles(sorted(waits)), quantiles(sorted(runs))
