"""The parts of one queue, and what each needs of the others.

Whose thread: what says "the loop" runs on the queue's loop alone, and needs no lock. The rest may
be called by any thread; what it reads changes by single assignments.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from pgqueuer.core.qm import QueueManager
from pgqueuer.domain import models

from ..final import Paused, Priority, QueueClosedError, UnknownJobError
from ..final.engine import (
    RUNNING,
    Closing,
    KeptThreads,
    Layers,
    Reporter,
    Retrying,
    SystemClock,
    make_registry,
)
from .attempt import Attempt, Run
from .desk import Desk
from .errors import unknown
from .lanes import Slots, Tokens
from .limits import Keys, Limits
from .link import Link
from .loop import Loop, closed
from .operator import Operator
from .producer import Producing
from .repository import Repository
from .rows import LOOK, entrypoint
from .settling import Outcome, Settling, Times
from .waking import Waking

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping

    from ..final import Job, JobHandle, JobInfo, Middleware
    from ..final.engine import Handler, ResultCodec, StopRequest, Told
    from .config import PostgresConfig
    from .metering import Metering

    Held = tuple[Job, float]

_NOTHING = Paused(False, frozenset(), frozenset(), frozenset())


class Core:
    """All parts; made by a caller's thread, which then calls `open`."""

    manager: QueueManager
    slots: Slots
    keys: Keys
    metering: Metering

    def __init__(
        self,
        config: PostgresConfig,
        handler: Callable[..., object] | None,
        handlers: Mapping[str, Callable[..., object]] | None,
        middleware: Iterable[Middleware | Callable[[], Middleware]],
    ) -> None:
        self.config = config
        self.layers = Layers(middleware)
        self.reporter = Reporter("postgres")
        self.reporter.open(lambda function: function())
        self.registry = make_registry(config.settings, handler, handlers, None, self.layers)
        self.closing = Closing(self.reporter.queue)
        self.times = Times()
        self.threads = KeptThreads("jobqueue-handler")
        self._aside = KeptThreads("jobqueue-call")
        self._handlers_loop: asyncio.AbstractEventLoop | None = None
        self._own_handlers_loop: Loop | None = None
        self._retrying = Retrying(config.settings, self.reporter)
        self.heartbeat = timedelta(seconds=config.heartbeat_timeout)
        self.tokens = Tokens(config.fairness)
        self.desk = Desk(self)
        self.producing = Producing(self)
        self.operator = Operator(self)
        self.settling = Settling(self)
        self.limits = Limits(self)
        self.attempts: dict[int, Attempt] = {}
        self.stopped: set[int] = set()  # the jobs that somebody has asked to stop during a look
        self.results: dict[str, object] = {}  # of jobs that ran here, which cannot be written
        self.paused = _NOTHING
        self._tasks: set[asyncio.Task[Any]] = set()
        self.ended_count = 0
        self.runs = False
        self.is_told = False
        self.is_looking = False
        self.has_stopped = False
        self.is_closing = False
        self.is_ended = False
        self.loop = Loop("jobqueue-postgres")

    # ── opening; the loop ────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Connect, and make what belongs to the loop."""
        self.link = Link(self.config, self.reporter)
        await self.link.open()
        self.slots = Slots(self.config.num_workers)
        self.waking = Waking(self)
        self.keys = Keys(self)
        self.repository = Repository(self)
        self.manager = QueueManager(self.repository)
        self.manager.min_dequeue_poll_interval = timedelta(seconds=0.02)
        for name, handler in self.registry.all().items():
            self.added(name, handler)
        self.link.on_return(self._returned)
        await self.link.add_listener("jobqueue_stop", self._stop_jobs)
        await self.link.add_listener(
            "jobqueue_steer", lambda _: self.spawn_here(self.operator.steer())
        )
        await self.operator.steer()

    def added(self, name: str | None, handler: Handler) -> None:
        """A handler is registered: the engine is to look for its jobs."""
        self.limits.add(name, handler.policy.rules)
        if self.limits.are_there:
            self.spawn_here(self.waking.listen_to_ends())
        for lane in Priority:
            known = entrypoint(lane, name)
            if known not in self.manager.entrypoint_registry:
                self.manager.register_executor(known, Run(self))

    # ── notices; the loop ────────────────────────────────────────────────────────────────────

    def wake(self) -> None:
        """Have the engine look for jobs."""
        self.is_told = True
        event = models.TableChangedEvent(
            channel=self.manager.channel,
            operation="update",
            sent_at=models.utc_now(),
            table="pgqueuer",
            type="table_changed_event",
        )
        self.notice(event.model_dump_json(exclude={"received_at"}))
        self.slots.wake()

    def notice(self, payload: str) -> None:
        """Have the engine hear this."""
        self.link.tell(self.manager.channel, payload)

    def _steer(self, _payload: str) -> None:
        """Something was paused or resumed."""
        self.spawn_here(self.operator.steer())

    def _returned(self) -> None:
        """The connection is back: notices were missed."""
        self.spawn_here(self.operator.steer())
        self.desk.look_again()

    def _stop_jobs(self, numbers: str) -> None:
        """Somebody has asked these jobs to stop."""
        for number in map(int, numbers.split(",")):
            attempt = self.attempts.get(number)
            if attempt is not None:
                attempt.stop.cancel()
            elif self.is_looking:  # the look may have read its row before; any later one sees it
                self.stopped.add(number)

    # ── attempts; the loop ───────────────────────────────────────────────────────────────────

    def startable(self, entrypoints: Iterable[str]) -> list[str]:
        """Those of which something may start: they are not paused, nor at a limit of ours."""
        paused = self.paused
        if paused.all:
            return []
        lanes = {str(int(each)) for each in paused.priorities}
        return [
            each
            for each in entrypoints
            if each[0] not in lanes
            and (each[2:] or None) not in paused.handlers
            and not self.keys.is_full(each)
        ]

    def may_start(self) -> bool:
        """Whether an attempt may begin now."""
        return not self.has_stopped and self.slots.free > 0

    def begin(self, picked: list[models.Job]) -> list[models.Job]:
        """The engine has picked these, and runs next what is given back."""
        begun, known = [], set(self.attempts)
        for row in picked:
            if row.id not in self.attempts:
                try:
                    self.attempts[row.id] = Attempt(self, row)
                except Exception as error:  # noqa: BLE001  # whatever else may stand in the table
                    self._refuse_row(row, error)
                    continue
            begun.append(row)
        self.slots.begin(self.attempts.keys() - known)
        return begun

    def _refuse_row(self, row: models.Job, error: Exception) -> None:
        """A row that is none of this queue's jobs: it is put aside, as failed."""
        what = f"row {row.id} of the table pgqueuer is no job of jobqueue, and is held as failed"
        self.reporter.report(logging.ERROR, what, error)
        now = SystemClock.time()

        async def hold() -> None:
            await self.settling.settle(Outcome(row.id, "failed", now, now, str(error)))

        self.spawn_here(hold())

    def ended(self, attempt: Attempt) -> None:
        """An attempt is over and told."""
        self.forget(attempt)
        self.make_room()

    def forget(self, attempt: Attempt) -> None:
        """An attempt is over; the job may be picked again, by this process too."""
        self.attempts.pop(attempt.number, None)

    def make_room(self) -> None:
        """The outcome of an attempt is told: another job may be picked in its place."""
        self.slots.unsettled -= 1
        self.slots.wake()

    def delay_of(self, attempt: Attempt, error: BaseException) -> float | None:
        """Seconds until the next attempt; `None` if there is none."""
        attempt.handle._call = self.handler(attempt.name)
        return self._retrying.delay(attempt.handle, error)

    def handler(self, name: str | None) -> Handler | None:
        """The handler of this name. Any thread."""
        return self.registry.find(name)

    def codec(self, name: str | None) -> ResultCodec | None:
        """What reads the results of the handler of this name. Any thread."""
        handler = self.registry.find(name)
        return None if handler is None else handler.policy.result_codec

    def needed_handler(self, name: str | None) -> Handler:
        """The same, of one that is registered."""
        handler = self.registry.find(name)
        assert handler is not None  # only jobs whose handler is known are picked
        return handler

    def on_handlers_loop(self, work: Coroutine[Any, Any, None], end: Callable[[], None]) -> None:
        """Run a coroutine handler where those run; then call `end`."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self.handlers_loop())
        except RuntimeError:  # that of `async with` has ended
            work.close()
            raise
        future.add_done_callback(lambda _: end())

    def handlers_loop(self) -> asyncio.AbstractEventLoop:
        """The loop on which coroutine handlers run: that of `async with`, or one of our own."""
        if self._handlers_loop is None:
            self._own_handlers_loop = Loop("jobqueue-loop")
            self._handlers_loop = self._own_handlers_loop.loop
        return self._handlers_loop

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run them on this loop."""
        if self._handlers_loop is None:
            self._handlers_loop = loop

    # ── any thread ───────────────────────────────────────────────────────────────────────────

    def refuse_closed(self) -> None:
        """Raises `QueueClosedError` if nothing more is accepted."""
        if self.is_closing:
            raise closed()

    async def look(self, job_id: str) -> Any:
        """The row of a job; raises `UnknownJobError`. The loop."""
        sought = f"{LOOK} WHERE j.id = $1"
        row = await self.link.for_caller(lambda connection: connection.fetchrow(sought, job_id))
        if row is None:
            raise unknown(job_id)
        return row

    def current(self) -> Attempt | None:
        """The attempt of this queue that calls this."""
        board: Any = None if (context := RUNNING.get()) is None else context._board
        if board is None or getattr(board, "_owner", None) is not self.desk:
            return None
        return self.attempts.get(board._number)

    def is_in_attempt(self) -> bool:
        """Whether a handler of this queue calls this."""
        return self.current() is not None

    def keep_here(self, job_id: str, result: object) -> None:
        """Keep what a job returned that cannot be written, for callers in this process."""
        self.results[job_id] = result
        while len(self.results) > self.config.result_retention:
            self.results.pop(next(iter(self.results), ""), None)  # another thread may be at it

    @contextmanager
    def standing_in(self, job_id: str) -> Iterator[None]:
        """Within this a handler waits for a job, and another attempt may run in its place.

        Raises:
            RuntimeError: it would wait for itself, or too many wait already.
        """
        attempt = self.current()
        if attempt is None:
            yield
            return
        if attempt.job.id == job_id:
            raise RuntimeError(f"job {job_id!r} would wait for itself")
        if not self.slots.lend():
            raise RuntimeError(
                f"{self.slots.size} handlers wait for other jobs already (num_workers), or run "
                f"longer than they may: no more can be stood in for"
            )
        try:
            yield
        finally:
            self.slots.give_back()

    def hold_back(self, handle: JobHandle, stop: StopRequest, jobs: list[Held]) -> None:
        """See `JobContext.enqueue`."""
        attempt = self.attempts.get(handle._number)
        if attempt is None or attempt.stop is not stop or attempt.has_returned:
            raise RuntimeError(f"the attempt of job {handle.id!r} has ended")
        self.producing.check_held([job for job, _ in (*attempt.held, *jobs)])
        attempt.held += jobs

    def progress_of(self, job_id: str) -> Told | None:
        """The last progress of a job that runs here."""
        for attempt in list(self.attempts.values()):
            if attempt.job.id == job_id:
                return attempt.handle._progress
        return None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done on the loop."""
        try:
            self.loop.loop.call_soon_threadsafe(self.spawn_here, work)
        except RuntimeError:
            work.close()
            raise closed() from None

    def spawn_here(self, work: Coroutine[Any, Any, None]) -> None:
        """The same, on the loop; an error is told."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_ended)

    def _spawned_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.is_ended:
            self.reporter.report(logging.ERROR, "the queue could not do something", error)

    def aside(self, function: Callable[[], object], what: str) -> None:
        """Have a function of the user's called on a thread for such; an error is told."""

        def call() -> None:
            try:
                function()
            except BaseException as error:  # noqa: BLE001  # it is the user's, and may raise anything
                self.reporter.report(logging.ERROR, what, error)

        self._aside.run(call)

    def tell_finished(self, job_id: str) -> None:
        """A job has ended here: the middleware's `finished` is called."""
        self.ended_count += 1
        if not self.layers.finished:
            return

        def tell() -> None:
            try:
                info: JobInfo = self.operator.info(job_id)
            except (UnknownJobError, QueueClosedError):
                return
            for finished in self.layers.finished:
                self.aside(partial(finished, info), "a middleware's finished failed")

        self.aside(tell, "what has finished could not be told")

    def stop_threads(self, seconds: float, handlers_seconds: float) -> None:
        """End all threads, and wait so long for them; what still runs goes on."""
        self._aside.stop()
        self.threads.stop()
        if self._own_handlers_loop is not None:
            self._own_handlers_loop.stop(seconds)
        self.loop.stop(seconds)
        for threads in (self.threads, self._aside):
            with suppress(RuntimeError):  # this is one of them: a callback closes the queue
                threads.join(handlers_seconds)
        self.reporter.close(seconds)
