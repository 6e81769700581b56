"""One attempt: the engine calls `Run.execute` for a job that it has picked for this process.

The handler runs on a thread of the queue's own, or a coroutine function on the handlers' event
loop; the engine's loop only waits for it. What comes of it is decided as in any queue: by the same
`Retrying`. A last outcome is written by `Settling`; a retry goes the engine's way, which then calls
`retry_job`.

Guarantees: whatever a handler raises, its slot is free again and its outcome is told, once.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pgqueuer.core.executors import AbstractEntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.domain.errors import RetryRequested

from ..final import JobContext, JobHandle, Status
from ..final.engine import (
    RUNNING,
    Parker,
    StopRequest,
    SystemClock,
    begun_in_handler,
    describe,
    name_of,
    refuse_undone,
    stored_result,
)
from .errors import LOST
from .rows import job_of, parts
from .settling import Outcome

if TYPE_CHECKING:
    from pgqueuer.domain.models import Context
    from pgqueuer.domain.models import Job as Row

    from ..final import Job
    from ..final.engine import Handler
    from .core import Core

    Held = tuple[Job, float]

_STARTED = """WITH marked AS (UPDATE pgqueuer SET headers = headers || '{"started": true}'
WHERE id = $1 AND queue_manager_id = $2 RETURNING id)
UPDATE jobqueue_job j SET expires = NULL, identity = CASE WHEN $3 THEN NULL ELSE identity END
FROM marked WHERE j.number = marked.id"""


async def _nothing(job: object) -> None:
    """What the engine would run, had it no executor of ours."""


class Run(AbstractEntrypointExecutor):
    """Runs the jobs of one handler in one lane."""

    def __init__(self, core: Core) -> None:
        super().__init__(EntrypointExecutorParameters(func=_nothing, concurrency_limit=0))
        self._core = core

    async def execute(self, job: Row, context: Context) -> None:
        """See the engine; raises `RetryRequested`, and nothing else."""
        del context  # the queue has a listener of its own for jobs that are to stop
        await self._core.attempts[job.id].run()


class _LeftError(Exception):
    """The process closes while the job waits for its key's turn: it is left to others."""


class Attempt:
    """One job that this process has picked. The engine's loop, but for what says otherwise."""

    def __init__(self, core: Core, row: Row) -> None:
        about: dict[str, Any] = row.headers or {}
        lane, handler = parts(row.entrypoint)
        self.core = core
        self.number = row.id
        self.lane, self.name = lane, handler
        self.job: Job = job_of(
            about, row.payload, lane, handler, row.attempts, row.created.timestamp()
        )
        self._is_to_stop = "stop" in about or row.id in core.stopped
        # One that has started before, in a process that died or before it failed, is in time.
        self._starts_by: float | None = None
        if self.job.expires is not None and row.attempts == 0 and "started" not in about:
            waited = (row.updated - row.created).total_seconds()
            self._starts_by = SystemClock.monotonic() + self.job.expires - waited
        self._until_started = bool(about.get("until_started"))
        self.wait = max(0.0, (row.updated - row.execute_after).total_seconds())
        self.handle: JobHandle = JobHandle(core.desk, self.job, Status.PROCESSING)
        self.handle._number = row.id
        self.stop = StopRequest(_sleep, core.closing)
        self.held: list[Held] = []
        self.has_returned = False
        self.began, self.started = SystemClock.monotonic(), SystemClock.time()
        self.overruns = False
        self.rules = core.needed_handler(handler).policy.rules
        self.keyed = False  # whether it has passed a limit that counts its key
        self._lent = False
        self._error: BaseException | None = None
        self._result: tuple[bytes | None, bool | None] = (None, None)

    # ── the engine's loop ────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Run it, and see to its outcome.

        Raises:
            RetryRequested: another attempt is to follow.
        """
        core = self.core
        has_run, why = False, None
        try:
            why = await self._why_not()
            if why is None:
                has_run = True
                self.began, self.started = SystemClock.monotonic(), SystemClock.time()
                await self._call(core.needed_handler(self.name))
        except _LeftError:
            try:
                await core.repository.leave([self.number])
            except LOST:  # it is taken for dead after a while
                pass
            core.ended(self)
            return
        except Exception as error:  # noqa: BLE001  # no thread can be started, the loop has ended
            self._error = error
        finally:
            self._leave_slot()
            if has_run:
                core.times.ran(self.lane, self.name, self.wait, self.began, SystemClock.monotonic())
            core.keys.leave(self)
        try:
            await (self._settle() if why is None else self._cancelled(why))
        except RetryRequested:
            raise
        except Exception as error:  # noqa: BLE001  # told; the job runs again once it is stale
            core.reporter.report(
                logging.ERROR, f"the outcome of job {self.job.id!r} could not be written", error
            )
        core.ended(self)

    async def _why_not(self) -> str | None:
        """Why it is cancelled before it has begun; `None` if it is not."""
        if self._is_to_stop:
            return ""
        if not self.is_late and not await self.core.keys.enter(self):
            raise _LeftError
        if self.stop.cancelled:
            return ""
        if self.is_late:
            return f"expired after {self.job.expires:g} s"
        if self._until_started or self._starts_by is not None:
            await self.core.link.until_done(self._note_start)
        return None

    @property
    def is_late(self) -> bool:
        """Whether its time to start is over."""
        return self._starts_by is not None and SystemClock.monotonic() > self._starts_by

    async def _note_start(self, connection: Any) -> None:
        """From now on another job like it may come, and it has started in time."""
        await connection.execute(
            _STARTED, self.number, self.core.settling.manager, self._until_started
        )

    async def _call(self, handler: Handler) -> None:
        """Have the handler called, and wait for its end; after its time, ask it to stop."""
        core, loop = self.core, asyncio.get_running_loop()
        limit = handler.policy.timeout
        limit = core.config.job_timeout if limit is None else limit
        deadline = None if limit is None else SystemClock.monotonic() + limit
        context = JobContext(self.job, self.job.retries, deadline, self.stop, self.handle)
        ended: asyncio.Future[None] = loop.create_future()

        def end() -> None:
            if not ended.done():
                ended.set_result(None)

        # It counts for as long as the handler has not begun: a program may cancel its task before.
        self._error = asyncio.CancelledError("it was cancelled before it began")
        if handler.is_async:
            core.on_handlers_loop(self._acall(handler, context), lambda: _soon(loop, end))
        else:
            core.threads.run(lambda: self._call_here(handler, context, lambda: _soon(loop, end)))
        await asyncio.wait({ended}, timeout=limit)
        if ended.done():
            return
        self._overrun(limit)
        await ended
        late = TimeoutError(f"the attempt took longer than {limit:g} s (job_timeout)")
        late.__cause__ = self._error
        if not (self.stop.cancelled and self._error is not None):
            self._error = late

    def _overrun(self, limit: float | None) -> None:
        self.overruns = True
        self.stop.overrun()
        self._lent = self.core.slots.lend()
        self.core.reporter.report(
            logging.WARNING,
            f"job {self.job.id!r} runs longer than {limit:g} s (job_timeout) and was asked to stop",
        )

    def _leave_slot(self) -> None:
        self.has_returned = True
        self.overruns = False
        if self._lent:
            self.core.slots.give_back()
        self.core.slots.unsettled += 1
        self.core.slots.leave(self.number)

    async def _settle(self) -> None:
        """Write the outcome, or ask the engine for another attempt."""
        core, error = self.core, self._error
        finished = SystemClock.time()
        if error is None:
            data, coded = self._result
            done = Outcome(
                self.number, "completed", self.started, finished, result=data, coded=coded
            )
            await self._write("completed", done, self.held)
            return
        self.failure = failure = describe(error)
        failure = failure[0].replace("\0", "\\x00"), failure[1].replace("\0", "\\x00")
        self.failure = failure
        if not self.stop.cancelled:
            core.times.failed(self.name, failure[0])
        delay = None if self.stop.cancelled else core.delay_of(self, error)
        if delay is not None:
            self._report(logging.WARNING, f"it is tried again in {delay:.3g} s", error)
            raise RetryRequested(delay=timedelta(seconds=delay), reason=failure[0])
        what = "cancelled" if self.stop.cancelled else "failed"
        verdict = "it was cancelled" if self.stop.cancelled else "it is kept as a dead letter"
        self._report(logging.ERROR, verdict, error)
        await self._write(what, Outcome(self.number, what, self.started, finished, *failure))

    async def _cancelled(self, why: str) -> None:
        now = SystemClock.time()
        what = "expired" if why else "cancelled"
        await self._write(what, Outcome(self.number, what, now, now, why or None, ""))

    async def _write(self, what: str, outcome: Outcome, held: list[Held] | None = None) -> None:
        core = self.core
        if await core.settling.settle(outcome, held):
            core.desk.ended(self.number)
            core.tell_finished(self.job.id)
        elif not core.link.closed.is_set():
            core.reporter.report(
                logging.WARNING,
                f"job {self.job.id!r} is {what} here, which does not count: nothing was heard of "
                f"this process for longer than heartbeat_timeout, and another one got the job",
            )

    def _report(self, level: int, verdict: str, error: BaseException) -> None:
        self.core.reporter.report(
            level,
            f"job {self.job.id!r}, attempt {self.job.retries + 1}, failed: {self.failure[0]}; "
            f"{verdict}",
            error,
        )

    # ── the handler's thread, or its loop ────────────────────────────────────────────────────

    def _call_here(self, handler: Handler, context: JobContext, end: Any) -> None:
        self._error = None
        try:
            contextvars.Context().run(self._in_context, handler, context)
        except BaseException as error:  # noqa: BLE001  # whatever a handler may raise
            self._error = begun_in_handler(error)
        end()

    def _in_context(self, handler: Handler, context: JobContext) -> None:
        RUNNING.set(context)
        self._keep(handler, handler.call(self.job.payload, context))

    async def _acall(self, handler: Handler, context: JobContext) -> None:
        """In a task of its own, which is cancelled when the attempt is asked to stop."""
        self._error = None
        task = asyncio.current_task()
        assert task is not None
        stopping = _Stopping(asyncio.get_running_loop(), task)
        RUNNING.set(context)
        try:
            self.stop.listen(stopping)
            made: Any = handler.call(self.job.payload, context)
            self._keep(handler, await made)
        except BaseException as error:  # noqa: BLE001  # whatever a handler may raise
            self._error = begun_in_handler(error)
        finally:
            self.stop.forget(stopping)

    def _keep(self, handler: Handler, result: object) -> None:
        """Write what it returned; if that is not asked for, only if it can be written."""
        refuse_undone(result, name_of(handler.function))
        if result is None and not handler.policy.result_codec:
            self._result = (None, False)
            return
        if not (self.job.store_result or self.core.config.result_retention):
            return
        try:
            stored = stored_result(self.job.id, result, handler.policy.result_codec)
        except Exception:
            if self.job.store_result:
                raise
            self.core.keep_here(self.job.id, result)
            return
        self._result = (stored.data, stored.coded)


class _Stopping:
    """Cancels the task of an attempt that is asked to stop. Any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        self._loop, self._task = loop, task
        self._is_told = False

    def unpark(self) -> None:
        """See `Wakeable`."""
        if not self._is_told:
            self._is_told = True
            _soon(self._loop, self._task.cancel)


def _soon(loop: asyncio.AbstractEventLoop, function: Any) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # the loop has ended: the queue was given up
        pass


def _sleep(parker: Parker, seconds: float) -> None:
    parker.park(seconds)
