"""`PostgresQueue`: the door to the parts. What each call promises stands at `JobQueue`."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

from ..final import JobQueue, NotSupportedError
from ..final.engine import (
    SystemClock,
    check_seconds,
    checked_policy,
    importable_name,
    in_thread,
    watch,
)
from .core import Core
from .life import Life
from .looking import Looking
from .rows import checked_name
from .ticking import Ticking

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping

    from ..final import (
        DeadGroups,
        HandlerInfo,
        Job,
        JobHandle,
        JobInfo,
        Limit,
        Look,
        Metrics,
        Middleware,
        Paused,
        PeriodicInfo,
        Priority,
        Rate,
        ShutdownReport,
        Status,
    )
    from ..final.engine import ResultCodec, Schedule, Seconds, Served
    from ..final.ports import CatchUp, Clock
    from .config import PostgresConfig


T = TypeVar("T")


class PostgresQueue(JobQueue):
    """A queue whose jobs are in PostgreSQL, for many machines. All methods are thread-safe.

    It has the calls of a `JobQueue`, and stands wherever one does. In all `enqueue…` calls
    `connection` is one of the application's: the jobs are accepted if its transaction is committed.
    """

    def __init__(
        self,
        config: PostgresConfig,
        *,
        handler: Callable[..., object] | None = None,
        handlers: Mapping[str, Callable[..., object]] | None = None,
        middleware: Iterable[Middleware | Callable[[], Middleware]] = (),
        start: bool = True,
    ) -> None:
        self._core = core = Core(config, handler, handlers, middleware)
        self._postgres_life = Life(core)
        self._ticking = Ticking(core)
        self._pages = Looking(core)
        try:
            core.loop.call(core.open())
            core.loop.call(self._postgres_life.opened())
        except BaseException:
            core.stop_threads(1.0, 1.0)
            raise
        watch(self._postgres_life)
        self._starts_on_entry = start and config.executor == "asyncio"
        if start and not self._starts_on_entry:
            self.start()

    @property
    def config(self) -> PostgresConfig:  # type: ignore[override]  # it has what callers ask of it
        """The settings."""
        return self._core.config

    @property
    def clock(self) -> Clock:
        """The system's; times that count for all processes are the database's."""
        return SystemClock()

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs."""
        return self._core.is_closing

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────

    def enqueue(
        self,
        job: Job,
        *,
        timeout: Seconds | None = None,
        delay: Seconds = 0.0,
        cancel: threading.Event | None = None,
        connection: object = None,
    ) -> JobHandle:
        """See `JobQueue`."""
        return self._core.producing.enqueue(job, timeout, delay, cancel, connection)

    def enqueue_many(
        self, jobs: Iterable[Job], *, timeout: Seconds | None = None, connection: object = None
    ) -> list[JobHandle]:
        """See `JobQueue`."""
        return self._core.producing.enqueue_all(jobs, None, timeout, connection, together=False)

    def enqueue_together(
        self,
        jobs: Iterable[Job],
        *,
        delays: Iterable[Seconds] | None = None,
        timeout: Seconds | None = None,
        connection: object = None,
    ) -> list[JobHandle]:
        """See `JobQueue`."""
        return self._core.producing.enqueue_all(jobs, delays, timeout, connection, together=True)

    def enqueue_with_handler(
        self, job: Job, fn: Callable[..., object], *, timeout: Seconds | None = None
    ) -> JobHandle:
        """See `JobQueue`; `fn` is registered under `module.qualname`."""
        name = importable_name(fn)
        self.register(name, fn)
        return self.enqueue(job.with_handler(name), timeout=timeout)

    async def aenqueue(
        self,
        job: Job,
        *,
        timeout: Seconds | None = None,
        delay: Seconds = 0.0,
        connection: object = None,
    ) -> JobHandle:
        """See `JobQueue`."""
        producing = self._core.producing
        if connection is None and self._core.layers.enqueue:
            return await self._in_context(lambda: self.enqueue(job, timeout=timeout, delay=delay))
        producing.check(job)
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        delays = [check_seconds("delay", delay)]
        return (await producing.aenqueue_all([job], delays, seconds, connection))[0]

    async def aenqueue_many(
        self, jobs: Iterable[Job], *, timeout: Seconds | None = None, connection: object = None
    ) -> list[JobHandle]:
        """See `JobQueue`."""
        return await self._aenqueue_all(jobs, None, timeout, connection, together=False)

    async def aenqueue_together(
        self,
        jobs: Iterable[Job],
        *,
        delays: Iterable[Seconds] | None = None,
        timeout: Seconds | None = None,
        connection: object = None,
    ) -> list[JobHandle]:
        """See `JobQueue`."""
        return await self._aenqueue_all(jobs, delays, timeout, connection, together=True)

    async def _aenqueue_all(
        self,
        jobs: Iterable[Job],
        delays: Iterable[Seconds] | None,
        timeout: Seconds | None,
        connection: object,
        *,
        together: bool,
    ) -> list[JobHandle]:
        producing = self._core.producing
        if connection is None and self._core.layers.enqueue:
            return await self._in_context(
                lambda: producing.enqueue_all(jobs, delays, timeout, together=together)
            )
        checked, each_delay, seconds = producing.group(jobs, delays, timeout)
        return await producing.aenqueue_all(
            checked, each_delay, seconds, connection, together=together
        )

    @staticmethod
    async def _in_context(function: Callable[[], T]) -> T:
        """Have a thread make a call, as the attempt that this may be part of."""
        from contextvars import copy_context

        context = copy_context()
        return await in_thread(lambda: context.run(function))

    # ── handlers and schedules ───────────────────────────────────────────────────────────────

    def register(
        self,
        name: str,
        fn: Callable[..., object],
        *,
        timeout: Seconds | None = None,
        retry_on: type[BaseException] | Iterable[type[BaseException]] | None = None,
        backoff: Callable[[int, BaseException], Seconds] | None = None,
        result_codec: ResultCodec | None = None,
        limit: Limit | None = None,
        rate: Rate | None = None,
        replace: bool = False,
    ) -> None:
        """See `JobQueue`. A `Limit` holds for all processes; a `Rate`, and a key's, for this."""
        core = self._core
        core.refuse_closed()
        policy = checked_policy(timeout, retry_on, backoff, result_codec, limit, rate)
        handler = core.registry.make(fn).with_policy(policy)
        name = checked_name(name)

        async def add() -> None:
            if core.registry.check(name, handler, replace=replace):
                core.registry.put(name, handler)
                core.added(name, handler)
                core.wake()

        core.loop.call(add())

    def periodic(
        self,
        name: str,
        schedule: Schedule,
        job_factory: Callable[[], Job],
        *,
        tz: str = "UTC",
        catch_up: CatchUp = "none",
    ) -> None:
        """See `JobQueue`; of all processes that have it, one enqueues each tick's job."""
        self._core.refuse_closed()
        self._ticking.register(name, schedule, job_factory, tz, catch_up)

    def periodics(self) -> list[PeriodicInfo]:
        """See `JobQueue`; those of this process."""
        return self._core.loop.call(self._ticking.infos())

    def run_periodic(self, name: str) -> JobHandle:
        """See `JobQueue`."""
        return self._ticking.run_now(name)

    # ── looking and steering ─────────────────────────────────────────────────────────────────

    def status(self, job_id: str) -> Status:
        """See `JobQueue`."""
        return self._core.operator.status(job_id)

    def handle(self, job_id: str) -> JobHandle:
        """See `JobQueue`."""
        return self._core.operator.handle(job_id)

    def info(self, job_id: str) -> JobInfo:
        """See `JobQueue`."""
        return self._core.operator.info(job_id)

    def cancel(self, job_id: str) -> bool:
        """See `JobQueue`."""
        return self._core.operator.cancel(job_id)

    def dead_letters(self) -> list[JobInfo]:
        """See `JobQueue`."""
        return self._core.operator.dead_letters()

    def requeue(self, job_id: str) -> JobHandle:
        """See `JobQueue`."""
        return self._core.operator.requeue(job_id)

    def discard(self, job_id: str) -> None:
        """See `JobQueue`."""
        self._core.operator.discard(job_id)

    def jobs(self, *, limit: int = 100, before: str | None = None, **like: Any) -> list[JobInfo]:
        """See `JobQueue`."""
        return self._core.operator.jobs(limit=limit, before=before, **like)

    def cancel_jobs(self, *, limit: int | None = None, **like: Any) -> int:
        """See `JobQueue`."""
        return self._core.operator.cancel_jobs(limit=limit, **like)

    def requeue_jobs(self, *, limit: int | None = None, **like: Any) -> int:
        """See `JobQueue`."""
        return self._core.operator.requeue_jobs(limit=limit, **like)

    def discard_jobs(self, *, limit: int | None = None, **like: Any) -> int:
        """See `JobQueue`."""
        return self._core.operator.discard_jobs(limit=limit, **like)

    def run_now(self, *, limit: int | None = None, **like: Any) -> int:
        """See `JobQueue`."""
        return self._core.operator.run_now(limit=limit, **like)

    def look(self, **like: Any) -> Look:
        """See `JobQueue`."""
        return self._pages.look(**like)

    def dead_groups(self, limit: int = 100) -> DeadGroups:
        """See `JobQueue`."""
        return self._pages.dead_groups(limit)

    def handlers(self, *, within: int | None = None) -> list[HandlerInfo]:
        """See `JobQueue`."""
        return self._core.metering.handlers(within)

    def metrics(self) -> Metrics:
        """See `JobQueue`: jobs are counted for all processes, times and workers for this one."""
        return self._core.metering.metrics()

    def pause(
        self,
        handler: str | None = None,
        priority: Priority | None = None,
        periodic: str | None = None,
    ) -> None:
        """See `JobQueue`; it holds for all processes, also those that start later."""
        self._core.operator.pause(handler, priority, periodic)

    def resume(
        self,
        handler: str | None = None,
        priority: Priority | None = None,
        periodic: str | None = None,
    ) -> None:
        """See `JobQueue`."""
        self._core.operator.resume(handler, priority, periodic)

    def paused(self) -> Paused:
        """See `JobQueue`."""
        return self._core.operator.paused()

    def flush(self) -> None:
        """Return at once: what was accepted is committed."""
        self._core.refuse_closed()

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """See `JobQueue`."""
        self._core.refuse_closed()
        self._core.loop.call(self._postgres_life.start())

    def join(self, timeout: Seconds | None = None) -> bool:
        """See `JobQueue`: no job of this process's handlers is left, in all processes.

        A process that has no handlers waits for all jobs.
        """
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        self._refuse_handler()
        return self._core.loop.call(self._postgres_life.join(seconds))

    async def ajoin(self, timeout: Seconds | None = None) -> bool:
        """See `JobQueue`."""
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        self._refuse_handler()
        return await self._core.loop.await_(self._postgres_life.join(seconds))

    def close(self, timeout: Seconds | None = None, *, drain: bool | None = None) -> ShutdownReport:
        """See `JobQueue`; without `drain` what waits is left to the other processes."""
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        return self._postgres_life.close(seconds, drain=drain)

    def _served(self) -> Served:
        return self._postgres_life

    def _use(self, loop: asyncio.AbstractEventLoop) -> None:
        self._core.use(loop)

    def _at_end(self, function: Callable[[], None]) -> None:
        self._postgres_life.at_stop(function)

    def _refuse_handler(self) -> None:
        if self._core.is_in_attempt():
            raise RuntimeError("a handler of the queue cannot close it, nor wait for its end")

    def _run_all(self) -> None:
        raise NotSupportedError("run_all is for a queue in memory, with a clock of the test's")

    def _leave(self, error: BaseException | None, *, is_interrupted: bool) -> None:
        del error, is_interrupted  # what waits is in the database either way
        self.close()

    def __enter__(self) -> PostgresQueue:
        if self._starts_on_entry:
            self.start()
        return self

    def __del__(self) -> None:
        life: Life | None = getattr(self, "_postgres_life", None)
        if life is not None and hasattr(self, "_starts_on_entry") and life.let_go():
            told = "a PostgresQueue was dropped that is not closed; it finishes what it runs, and "
            told += "then ends: use it in a `with` block, or call close()"
            warnings.warn(told, ResourceWarning, source=self, stacklevel=2)
