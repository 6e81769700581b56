"""`enqueue` and its like: one call of a function in the database each, in one round trip.

Jobs that are enqueued by a connection of the application's are in its transaction: committed with
it, or never there; see `joining`.

Whose thread: callers', and the queue's loop; no lock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..final import (
    DuplicateJobError,
    EnqueueCancelledError,
    EnqueueTimeoutError,
    Job,
    JobHandle,
    JobQueueError,
    NotSupportedError,
    Status,
    UnknownHandlerError,
    UnknownJobError,
)
from ..final.engine import (
    NESTED_MAX,
    Nested,
    SystemClock,
    check_event,
    check_seconds,
    handle_from,
    listed_jobs,
    repeated,
    wrapped,
)
from . import rows
from .asking import Asking, run_here, sleep_here
from .joining import NUMBERED, by_awaited, by_plain

if TYPE_CHECKING:
    import threading
    from collections.abc import Coroutine, Iterable, Sequence

    from ..final.engine import Seconds
    from .core import Core

CHUNK, CHUNK_BYTES = 1000, 16 * 1024 * 1024
"""How many jobs go in one call, and how much payload: PostgreSQL takes at most 1 GiB at a time."""
_LOOK_SECONDS_MIN, _LOOK_SECONDS_MAX = 0.005, 0.1
"""How long a producer sleeps between two looks whether there is room, at first and at last."""


class Producing:
    """Accepts jobs. Thread-safe."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.in_flight = 0
        """How many calls are on their way to the database."""
        self._one_at_a_time = asyncio.Lock()  # so that this process counts exactly

    # ── what may be accepted ─────────────────────────────────────────────────────────────────

    def check(self, job: Job) -> None:
        """Raises if this job cannot be accepted, whether or not there is room."""
        if not isinstance(job, Job):
            raise TypeError(f"only a Job can be enqueued, not {type(job).__name__}: {job!r}")
        most = self._core.config.max_payload_bytes
        if len(job.payload) > most:
            raise ValueError(
                f"job {job.id!r} has a payload of {len(job.payload)} bytes; at most {most} "
                f"(max_payload_bytes) are accepted: store it elsewhere and enqueue where it is"
            )
        if job.handler is None and self._core.handler(None) is None:
            raise UnknownHandlerError(
                f"job {job.id!r} names no handler and the queue has no default handler; set "
                f"Job(handler=...) or JobQueue(handler=...)"
            )

    def check_all(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs; raises if one of them cannot be accepted."""
        checked, seen = listed_jobs(jobs), set()
        for job in checked:
            self.check(job)
            if job.id in seen:
                raise repeated(job.id)
            seen.add(job.id)
        return checked

    def check_held(self, jobs: list[Job]) -> None:
        """Raises if one of these, which a handler enqueues by its completion, cannot be."""
        self.check_all(jobs)
        rows.arguments(jobs, [0.0] * len(jobs), None)
        for job in jobs[-1:]:
            try:
                status = self._core.operator.status(job.id)
            except UnknownJobError:
                continue
            raise DuplicateJobError(f"job {job.id!r} is known already: it is {status.value}")

    async def insert(self, connection: Any, arguments: tuple[Any, ...]) -> Any:
        """Have the database take jobs, on a connection of ours."""
        return await connection.fetch(NUMBERED, *arguments)

    # ── through the middleware ───────────────────────────────────────────────────────────────

    def enqueue(
        self,
        job: Job,
        timeout: Seconds | None,
        delay: Seconds,
        cancel: threading.Event | None = None,
        connection: object = None,
    ) -> JobHandle:
        """See `JobQueue.enqueue`; on a caller's thread, which waits."""
        self.check(job)
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        delay = check_seconds("delay", delay)
        if cancel is not None:
            check_event(cancel)

        def accept(job: Job) -> JobHandle:
            return self._accept([job], [delay], seconds, cancel, connection)[0]

        layers = self._core.layers.enqueue
        return handle_from(wrapped(layers, accept)(job), job) if layers else accept(job)

    def enqueue_all(
        self,
        jobs: Iterable[Job],
        delays: Iterable[Seconds] | None,
        timeout: Seconds | None,
        connection: object = None,
        *,
        together: bool,
    ) -> list[JobHandle]:
        """See `JobQueue.enqueue_many` and `enqueue_together`; on a caller's thread, which waits."""
        checked, each_delay, seconds = self.group(jobs, delays, timeout)
        layers = self._core.layers.enqueue
        if not layers:
            return self._accept(checked, each_delay, seconds, None, connection, together)
        step = max(1, NESTED_MAX // len(layers))
        if together and len(checked) > step:
            raise ValueError(
                f"{len(checked)} jobs are to be enqueued together; through {len(layers)} "
                f"middleware that override enqueue, {step} can be"
            )
        handles: list[JobHandle] = []
        for begin in range(0, len(checked), step):
            some = each_delay[begin : begin + step]
            nested = Nested(
                layers,
                checked[begin : begin + step],
                lambda jobs, places, some=some: self._accept(  # type: ignore[misc]  # bound early
                    jobs, [some[each] for each in places], seconds, None, connection, together
                ),
            )
            try:
                handles += nested.enqueue()
            except JobQueueError as error:
                error.accepted = (*handles, *error.accepted)
                raise
        return handles

    def group(
        self, jobs: Iterable[Job], delays: Iterable[Seconds] | None, timeout: Seconds | None
    ) -> tuple[list[Job], list[float], float | None]:
        """What is common to calls with several jobs, checked."""
        checked = self.check_all(jobs)
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        if delays is None:
            return checked, [0.0] * len(checked), seconds
        each_delay = [check_seconds("delays", each) for each in delays]
        if len(each_delay) != len(checked):
            raise ValueError(
                f"delays must have one entry for each job: {len(each_delay)} were given for "
                f"{len(checked)} jobs"
            )
        return checked, each_delay, seconds

    def _accept(
        self,
        jobs: list[Job],
        delays: list[float],
        timeout: float | None,
        cancel: threading.Event | None = None,
        connection: object = None,
        together: bool = False,
    ) -> list[JobHandle]:
        self._core.refuse_closed()
        ask = self._own() if connection is None else self._plain(connection)
        work = self.accept(jobs, delays, timeout, ask, self.size(), cancel, together=together)
        return self._core.loop.call(work) if connection is None else run_here(work)

    def accept_tick(self, job: Job) -> JobHandle:
        """Accept a job of a schedule, which needs no room; on a caller's thread, which waits."""
        self.check(job)
        self._core.refuse_closed()
        return self._core.loop.call(self.accept([job], [0.0], None, self._own(), None))[0]

    def size(self) -> int | None:
        """The bound of the lanes for calls from here: a handler's never wait for room."""
        return None if self._core.is_in_attempt() else self._core.config.queue_size

    # ── the acceptance ───────────────────────────────────────────────────────────────────────

    async def accept(
        self,
        jobs: Sequence[Job],
        delays: Sequence[float],
        timeout: float | None,
        ask: Asking,
        size: int | None,
        cancel: threading.Event | None = None,
        *,
        together: bool = False,
    ) -> list[JobHandle]:
        """Have the database take jobs, some hundred at a time; waits for room.

        What stands in the way of any of them is found before the first are taken.

        Args:
            size: that of `size`.
            together: whether it is all of them or none.
        """
        jobs = [_taken(job) for job in jobs]
        chunk = len(jobs) if together else min(CHUNK, size or CHUNK)
        if together and size is not None and len(jobs) > size:
            raise ValueError(f"{len(jobs)} jobs never have room together (queue_size={size})")
        deadline = None if timeout is None else SystemClock.monotonic() + timeout
        calls = []
        size_max = None if together else CHUNK_BYTES
        for begin, end in rows.portions(jobs, chunk, size_max):
            some, their = jobs[begin:end], delays[begin:end]
            calls.append((some, their, rows.arguments(some, their, size)))
        if len(calls) > 1:
            await ask.look(self._refuse_known([job.id for job in jobs]))
        handles: list[JobHandle] = []
        try:
            for some, their, arguments in calls:
                found = await self._room(some[0], arguments, deadline, timeout, ask, cancel)
                handles += await self._handles(some, their, found, ask)
        except JobQueueError as error:
            error.accepted = tuple(handles)
            raise
        return handles

    async def _refuse_known(self, ids: list[str]) -> None:
        """Raises if there is a job with one of these ids; the loop.

        For calls with so many jobs that the database takes them in several steps. It looks at each
        step again: another process may be quicker.
        """
        sought = "SELECT id FROM jobqueue_job WHERE id = ANY($1::text[]) LIMIT 1"
        known = await self._core.link.for_caller(
            lambda connection: connection.fetchval(sought, ids)
        )
        if known is not None:
            raise _known(known)

    async def _room(
        self,
        job: Job,
        arguments: tuple[Any, ...],
        deadline: float | None,
        timeout: float | None,
        ask: Asking,
        cancel: threading.Event | None,
    ) -> list[Any]:
        """The answer of the database, once there is room."""
        pause = _LOOK_SECONDS_MIN
        while True:
            if cancel is not None and cancel.is_set():
                raise EnqueueCancelledError(f"job {job.id!r} was not accepted: it was given up")
            self._core.refuse_closed()
            self.in_flight += 1  # no step of the loop's after the look whether it is closed
            try:
                found = list(await ask.rows(arguments))
            finally:
                self.in_flight -= 1
            if not found or found[0][1] != "full":
                return found
            if deadline is not None and SystemClock.monotonic() >= deadline:
                raise EnqueueTimeoutError(
                    f"job {job.id!r} was not accepted: the {job.priority.name} lane has been full "
                    f"for {timeout:g} s (queue_size={self._core.config.queue_size})"
                )
            await ask.sleep(pause)
            pause = min(1.5 * pause, _LOOK_SECONDS_MAX)

    async def _handles(
        self, jobs: Sequence[Job], delays: Sequence[float], found: list[Any], ask: Asking
    ) -> list[JobHandle]:
        """Handles of what was accepted, or of jobs like it that were there."""
        desk = self._core.desk
        handles: list[JobHandle] = [
            desk.handle_of(job, Status.SCHEDULED if delay else Status.QUEUED)
            for job, delay in zip(jobs, delays, strict=True)
        ]
        for place, what, other in found:
            if what == "known":
                raise _known(other)
            if what == "taken":
                unique = jobs[place - 1].unique
                raise DuplicateJobError(
                    f"job {jobs[place - 1].id!r} was not accepted: job {other!r} is like it "
                    f"(unique by {unique and unique.by})"
                )
            try:
                handles[place - 1] = desk.existing_in(await ask.look(self._core.look(other)))
            except UnknownJobError:  # it is in the same transaction of the application's
                handles[place - 1] = desk.existing_beside(handles[place - 1], other)
        return handles

    def _plain(self, connection: object) -> Asking:
        rows_of, call = by_plain(connection), self._core.loop.call

        async def ask(arguments: tuple[Any, ...]) -> Any:
            return rows_of(arguments)

        async def look(work: Coroutine[Any, Any, Any]) -> Any:
            return call(work)

        return Asking(ask, look, sleep_here)

    def _own(self) -> Asking:
        async def look(work: Coroutine[Any, Any, Any]) -> Any:
            return await work

        return Asking(self._ask, look)

    async def _ask(self, arguments: tuple[Any, ...]) -> Any:
        """With a connection of our own; if it is lost meanwhile, again."""
        ids = arguments[rows.IDS]

        async def once(connection: Any) -> Any:
            return await self.insert(connection, arguments)

        async def again(connection: Any) -> Any:
            """It may have been done: then the jobs that are known are these, not others."""
            found = await once(connection)
            if found and found[0][1] == "known":
                same = await connection.fetchval(
                    "SELECT count(*) FROM jobqueue_job j JOIN unnest($1::text[], $2::float8[]) "
                    "u(id, created) ON j.id = u.id AND j.created = u.created",
                    ids, arguments[rows.CREATED],
                )  # fmt: skip
                return [] if same == len(ids) else found
            return found

        if arguments[rows.SIZE] is None:
            return await self._core.link.for_caller(once, again=again)
        async with self._one_at_a_time:
            return await self._core.link.for_caller(once, again=again)

    async def aenqueue_all(
        self,
        jobs: list[Job],
        delays: list[float],
        timeout: float | None,
        connection: object = None,
        *,
        together: bool = False,
    ) -> list[JobHandle]:
        """Accept jobs, awaited; middleware runs in a thread, but not with a connection."""
        self._core.refuse_closed()
        size = self.size()
        if connection is None:
            work = self.accept(jobs, delays, timeout, self._own(), size, together=together)
            return await self._core.loop.await_(work)
        ask = Asking(await by_awaited(connection), self._core.loop.await_)
        layers = self._core.layers.enqueue
        if not layers:
            return await self.accept(jobs, delays, timeout, ask, size, together=together)
        raise NotSupportedError(
            "middleware that overrides enqueue is plain code, and this connection is awaited; "
            "enqueue by a plain connection, or without one"
        )


def _known(job_id: str) -> DuplicateJobError:
    return DuplicateJobError(f"job {job_id!r} is known already; give each job an id of its own")


def _taken(job: Job) -> Job:
    """The job, as that of this queue: one that was taken before, or by another one, is copied."""
    if job._retries >= 0:
        job = job._copy()
    job._retries = 0
    return job
