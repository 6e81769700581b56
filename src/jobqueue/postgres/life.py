"""How a queue starts, is drained, and ends; and what it sees to meanwhile.

Whose thread: callers', and the queue's loop, on which the methods with `async` run.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..final import QueueClosedError, ShutdownReport
from ..final.engine import check_drain
from .errors import LOST
from .keeping import Keeping
from .metering import Metering

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core import Core

_LEFT = """SELECT count(*) FROM pgqueuer WHERE ($1::text[] IS NULL OR entrypoint = ANY($1))
AND (status = 'picked' OR status = 'queued' AND execute_after <= now() + $2::interval)"""
_WAITING = "SELECT count(*) FROM pgqueuer WHERE status = 'queued'"
_LOOK_SECONDS_MIN, _LOOK_SECONDS_MAX = 0.005, 0.1
_FOR_EVER = timedelta(days=36_500)
_END_SECONDS = 2.0


class Life:
    """Starts and ends one queue. Thread-safe. It is a `Served`, and watched by `process_hooks`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._keeping = Keeping(core)
        core.metering = self._metering = Metering(core)
        self._lock = threading.Lock()  # guards who closes, and the functions below
        self._run: asyncio.Task[None] | None = None
        self._closes = False
        self._ended = threading.Event()
        self._report = ShutdownReport(0, (), 0)
        self._at_stop: list[Callable[[], None]] = []
        self._is_hurried = False
        self._is_forked = False
        self.failed = False

    # ── start ────────────────────────────────────────────────────────────────────────────────

    async def opened(self) -> None:
        """The queue is open: see to it from now on."""
        self._core.spawn_here(self._keeping.run())

    async def start(self) -> None:
        """Run jobs from now on."""
        if self._run is None:
            self._core.runs = True
            self._run = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        """The engine's own loop, until `close`; if it breaks off, again."""
        core = self._core
        while not core.has_stopped:
            try:
                await core.waking.listen()  # not before: each job would wake who only enqueues
                await core.manager.run(
                    dequeue_timeout=core.heartbeat,
                    batch_size=core.config.num_workers,
                    heartbeat_timeout=core.heartbeat,
                    log_aggregation_interval=timedelta(0),
                )
            except Exception as error:  # noqa: BLE001  # told; the jobs are there, and it goes on
                core.reporter.report(logging.ERROR, "the engine broke off; it starts anew", error)
                await core.link.pause(1.0)

    # ── waiting ──────────────────────────────────────────────────────────────────────────────

    async def join(self, timeout: float | None) -> bool:
        """Whether nothing is left, in time: of all handlers if this process has none itself."""
        names = list[str](self._core.manager.entrypoint_registry) or None
        return await self._until_none(lambda: names, lambda _: _FOR_EVER, timeout)

    async def _drain(self, seconds: float) -> None:
        """Until nothing is left that may run before the deadline."""
        core = self._core
        await self._until_none(
            lambda: core.startable(core.manager.entrypoint_registry),
            lambda left: timedelta(seconds=left),
            seconds,
        )

    async def _until_none(
        self,
        names: Callable[[], list[str] | None],
        horizon: Callable[[float], timedelta],
        timeout: float | None,
    ) -> bool:
        """Whether no job of these entrypoints is left that is due by then, in time."""
        core, loop = self._core, asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        pause = _LOOK_SECONDS_MIN
        while not (core.is_ended or self._is_hurried):
            left = _FOR_EVER.total_seconds() if deadline is None else deadline - loop.time()
            if await self._left(names(), horizon(max(0.0, left))) == 0 and not core.attempts:
                return True
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(1.5 * pause, _LOOK_SECONDS_MAX)
        return False

    async def _left(self, names: list[str] | None, horizon: timedelta) -> int | None:
        """How many jobs are left; `None` if the database cannot be asked."""

        async def use(connection: Any) -> Any:
            return await connection.fetchval(_LEFT, names, horizon)

        try:
            left: int = await self._core.link.once(use)
        except LOST:
            return None
        return left

    # ── close ────────────────────────────────────────────────────────────────────────────────

    def close(self, timeout: float | None, *, drain: bool | None) -> ShutdownReport:
        """See `JobQueue.close`."""
        check_drain(drain)
        core = self._core
        if self._is_forked:
            return self._report
        if core.is_in_attempt() or core.loop.is_here():
            raise RuntimeError("a handler of the queue cannot close it, nor wait for its end")
        with self._lock:
            first, self._closes = not self._closes, True
        if not first:
            self._ended.wait()
            return self._report
        core.is_closing = core.closing.begun = True
        try:
            seconds = core.config.shutdown_timeout if timeout is None else timeout
            self._report = core.loop.call(self._end(seconds, drain=bool(drain)))
        except QueueClosedError:
            pass
        finally:
            core.is_ended = core.has_stopped = True
            core.stop_threads(_END_SECONDS, 0.0 if self._report.unfinished else _END_SECONDS)
            self._ended.set()
            self._tell_stopped()
        return self._report

    async def _end(self, seconds: float, *, drain: bool) -> ShutdownReport:
        core, loop = self._core, asyncio.get_running_loop()
        begun, before = loop.time(), core.ended_count
        deadline = begun + seconds
        for attempt in list(core.attempts.values()):
            attempt.stop.close()
        while core.producing.in_flight and loop.time() < deadline:
            await asyncio.sleep(0.002)
        if drain and self._run is not None:
            await self._drain(seconds)
        core.has_stopped = True
        core.manager.shutdown.set()
        core.slots.wake()
        while core.attempts and loop.time() < deadline and not self._is_hurried:
            await asyncio.sleep(0.005)
        while core.is_looking and loop.time() < max(deadline, begun + _END_SECONDS):
            await asyncio.sleep(0.005)
        if self._run is not None and not core.attempts:
            await asyncio.wait([self._run], timeout=max(0.1, deadline - loop.time()))
        unfinished = tuple(each.job.id for each in core.attempts.values())
        remaining = 0
        try:
            await self._metering.note()
            remaining = await core.link.answered(lambda connection: connection.fetchval(_WAITING))
            await core.desk.look_last()
        except LOST as error:
            core.reporter.report(
                logging.WARNING, "the queue closes without its database, which has the jobs", error
            )
        core.is_ended = True
        core.desk.look_again()
        await asyncio.sleep(0)
        await core.link.close()
        return ShutdownReport(core.ended_count - before, unfinished, remaining)

    # ── what `jobqueue.run` asks: see `life/served.py` ───────────────────────────────────────

    def at_stop(self, function: Callable[[], None]) -> None:
        """Have it called when the queue is closed."""
        with self._lock:
            if not self._ended.is_set():
                self._at_stop.append(function)
                return
        function()

    def _tell_stopped(self) -> None:
        with self._lock:
            functions = list(self._at_stop)
        for function in functions:
            function()

    def hurry(self) -> None:
        """Have `close` wait for no handler."""
        self._is_hurried = True

    # ── what `process_hooks` asks ────────────────────────────────────────────────────────────

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to close."""
        return self._closes or self._is_forked

    def close_aside(self, timeout: float | None, *, drain: bool | None) -> None:
        """The interpreter ends."""
        self.close(timeout, drain=drain)

    def give_up(self) -> None:
        """Have each `close` from now on wait for nothing."""
        self._is_hurried = True

    def let_go(self) -> bool:
        """Nobody can reach the queue any more: close it aside; whether that was to be done."""
        if self.is_over:
            return False
        threading.Thread(
            target=lambda: self.close(None, drain=False), name="jobqueue-close", daemon=True
        ).start()
        return True

    def holds_log(self, directory: str) -> bool:
        """It has none."""
        del directory
        return False

    def forked(self) -> None:
        """This is a forked child: the queue is the parent's."""
        self._is_forked = True
        self._core.is_closing = self._core.is_ended = True
        self._core.loop.forked()
