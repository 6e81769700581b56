"""The calls of a queue in a process that is not its owner: each is asked of the owner.

What each promises stands at `JobQueue`; an `enqueue` returns when the owner's would. Middleware
that overrides `enqueue` has its word here, in the caller's process, and not again in the owner's.

Whose thread: callers', which may be interrupted anywhere; an event loop's for what is awaited. No
lock of its own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..callers.room_wait import check_event, refuse_given_up
from ..callers.through_middleware import NESTED_MAX, Nested, handle_from
from ..errors import JobQueueError, repeated
from ..exact import check_seconds
from ..middleware import wrapped
from ..model.job import Job, listed_jobs
from ..model.transitions import Status
from .asking import Asking
from .desk import RemoteDesk
from .faults import error_of
from .messages import (
    ENQUEUE,
    ENQUEUE_MANY,
    ENQUEUE_TOGETHER,
    JOIN,
    NOTHING,
    Existing,
    Failure,
    Many,
    One,
    pack,
    wire_job,
)
from .operator import RemoteOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..exact import Seconds
    from ..middleware import Layer
    from ..model.handle import JobHandle

T = TypeVar("T")
_read_existing = msgspec.msgpack.Decoder(Existing | None).decode
_read_many = msgspec.msgpack.Decoder(list[Existing | None]).decode
_read_bool = msgspec.msgpack.Decoder(bool).decode


class Client(RemoteOperator):
    """Asks the owner. Thread-safe.

    Args:
        layers: the `enqueue` methods of the middleware, outermost first.
        payload_bytes_max: of a job.
    """

    def __init__(
        self,
        asking: Asking,
        desk: RemoteDesk,
        layers: tuple[Layer, ...],
        payload_bytes_max: int,
    ) -> None:
        super().__init__(asking, desk)
        self._layers = layers
        self._payload_bytes_max = payload_bytes_max

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────

    def enqueue(
        self,
        job: Job,
        *,
        timeout: Seconds | None = None,
        delay: Seconds = 0.0,
        cancel: threading.Event | None = None,
    ) -> JobHandle:
        """See `JobQueue`."""
        self._check(job)
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        delay = check_seconds("delay", delay)
        if cancel is not None:
            check_event(cancel)
        if not self._layers:
            return self._enqueue(job, timeout, delay, cancel)
        through = wrapped(self._layers, lambda job: self._enqueue(job, timeout, delay, cancel))
        return handle_from(through(job), job)

    def _enqueue_unless(
        self, job: Job, timeout: float | None, delay: float, given_up: threading.Event
    ) -> JobHandle:
        """As `enqueue`, but what is given up before it is asked for is not, even if there is room.

        For a coroutine that waits meanwhile: it may be cancelled while a layer is at work.
        """

        def enqueue_unless(job: Job) -> JobHandle:
            refuse_given_up(job, given_up)
            return self._enqueue(job, timeout, delay, given_up)

        return handle_from(wrapped(self._layers, enqueue_unless)(job), job)

    def _enqueue(
        self, job: Job, timeout: float | None, delay: float, cancel: threading.Event | None
    ) -> JobHandle:
        job, arguments = self._one(job, timeout, delay)
        value = self._asking.ask(ENQUEUE, arguments, cancel=cancel)
        return self._handle(job, delay, value)

    async def aenqueue(
        self, job: Job, *, timeout: Seconds | None = None, delay: Seconds = 0.0
    ) -> JobHandle:
        """See `JobQueue`."""
        self._check(job)
        limit = None if timeout is None else check_seconds("timeout", timeout)
        seconds = check_seconds("delay", delay)
        if self._layers:
            return await self._in_thread_unless(
                lambda given_up: self._enqueue_unless(job, limit, seconds, given_up)
            )
        job, arguments = self._one(job, limit, seconds)
        return self._handle(job, seconds, await self._asking.aask(ENQUEUE, arguments))

    def _one(self, job: Job, timeout: float | None, delay: float) -> tuple[Job, msgspec.Raw]:
        job = _taken(job)
        return job, msgspec.Raw(pack(One(wire_job(job), timeout, delay)))

    def _handle(self, job: Job, delay: float, value: msgspec.Raw) -> JobHandle:
        existing = None if value == NOTHING else _read_existing(value)
        status = Status.SCHEDULED if delay else Status.QUEUED
        return self._desk.handle_for(job, status, existing)

    def enqueue_many(
        self, jobs: Iterable[Job], *, timeout: Seconds | None = None
    ) -> list[JobHandle]:
        """See `JobQueue`."""
        checked = self._check_all(jobs)
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        if not self._layers:
            return self._enqueue_many(checked, seconds)
        handles: list[JobHandle] = []
        step = max(1, NESTED_MAX // len(self._layers))
        for begin in range(0, len(checked), step):
            some = Nested(
                self._layers,
                checked[begin : begin + step],
                lambda jobs, _: self._enqueue_many(jobs, seconds),
            )
            try:
                handles += some.enqueue()
            except JobQueueError as error:
                error.accepted = (*handles, *error.accepted)
                raise
        return handles

    def _enqueue_many(self, jobs: list[Job], timeout: float | None) -> list[JobHandle]:
        jobs, arguments = self._many(jobs, timeout, None)
        value = self._asking.ask(ENQUEUE_MANY, arguments, failed=self._failed_many(jobs))
        return self._handles(jobs, None, value)

    async def aenqueue_many(
        self, jobs: Iterable[Job], *, timeout: Seconds | None = None
    ) -> list[JobHandle]:
        """See `JobQueue`."""
        if self._layers:
            return await self._in_thread(lambda: self.enqueue_many(jobs, timeout=timeout))
        checked = self._check_all(jobs)
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        checked, arguments = self._many(checked, seconds, None)
        failed = self._failed_many(checked)
        value = await self._asking.aask(ENQUEUE_MANY, arguments, failed=failed)
        return self._handles(checked, None, value)

    def enqueue_together(
        self,
        jobs: Iterable[Job],
        *,
        delays: Iterable[Seconds] | None = None,
        timeout: Seconds | None = None,
    ) -> list[JobHandle]:
        """See `JobQueue`."""
        checked, seconds_each, seconds = self._group(jobs, delays, timeout)
        if not self._layers:
            return self._enqueue_together(checked, seconds_each, seconds)
        most = max(1, NESTED_MAX // len(self._layers))
        if len(checked) > most:
            raise ValueError(
                f"{len(checked)} jobs are to be enqueued together; through {len(self._layers)} "
                f"middleware that override enqueue, {most} can be"
            )
        return Nested(
            self._layers,
            checked,
            lambda jobs, places: self._enqueue_together(
                jobs, [seconds_each[each] for each in places], seconds
            ),
        ).enqueue()

    def _enqueue_together(
        self, jobs: list[Job], delays: list[float], timeout: float | None
    ) -> list[JobHandle]:
        jobs, arguments = self._many(jobs, timeout, delays)
        return self._handles(jobs, delays, self._asking.ask(ENQUEUE_TOGETHER, arguments))

    async def aenqueue_together(
        self,
        jobs: Iterable[Job],
        *,
        delays: Iterable[Seconds] | None = None,
        timeout: Seconds | None = None,
    ) -> list[JobHandle]:
        """See `JobQueue`."""
        if self._layers:
            return await self._in_thread(
                lambda: self.enqueue_together(jobs, delays=delays, timeout=timeout)
            )
        checked, seconds_each, seconds = self._group(jobs, delays, timeout)
        checked, arguments = self._many(checked, seconds, seconds_each)
        value = await self._asking.aask(ENQUEUE_TOGETHER, arguments)
        return self._handles(checked, seconds_each, value)

    def _group(
        self, jobs: Iterable[Job], delays: Iterable[Seconds] | None, timeout: Seconds | None
    ) -> tuple[list[Job], list[float], float | None]:
        checked = self._check_all(jobs)
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        if delays is None:
            return checked, [0.0] * len(checked), seconds
        seconds_each = [check_seconds("delays", each) for each in delays]
        if len(seconds_each) != len(checked):
            raise ValueError(
                f"delays must have one entry for each job: {len(seconds_each)} were given for "
                f"{len(checked)} jobs"
            )
        return checked, seconds_each, seconds

    def _many(
        self, jobs: list[Job], timeout: float | None, delays: list[float] | None
    ) -> tuple[list[Job], msgspec.Raw]:
        jobs = [_taken(job) for job in jobs]
        many = Many([wire_job(job) for job in jobs], timeout, delays)
        return jobs, msgspec.Raw(pack(many))

    def _handles(
        self, jobs: list[Job], delays: list[float] | None, value: msgspec.Raw
    ) -> list[JobHandle]:
        statuses = [
            Status.SCHEDULED if delay else Status.QUEUED for delay in delays or [0.0] * len(jobs)
        ]
        found = zip(jobs, statuses, _read_many(value), strict=True)
        return [self._desk.handle_for(*each) for each in found]

    def _failed_many(self, jobs: list[Job]) -> Any:
        def failed(failure: Failure) -> BaseException:
            error = error_of(failure)
            if isinstance(error, JobQueueError):
                by_id = {job._id: job for job in jobs}
                handles = [self._desk.handle_of(by_id[each], Status.QUEUED) for each in
                           failure.accepted if each in by_id]  # fmt: skip
                error.accepted = tuple(handles)
            return error

        return failed

    def _check(self, job: Job) -> None:
        if not isinstance(job, Job):
            raise TypeError(f"only a Job can be enqueued, not {type(job).__name__}: {job!r}")
        if len(job._payload) > self._payload_bytes_max:
            raise ValueError(
                f"job {job._id!r} has a payload of {len(job._payload)} bytes; at most "
                f"{self._payload_bytes_max} (max_payload_bytes) are accepted: "
                f"store it elsewhere and enqueue where it is"
            )

    def _check_all(self, jobs: Iterable[Job]) -> list[Job]:
        checked, seen = listed_jobs(jobs), set()
        for job in checked:
            self._check(job)
            if job._id in seen:
                raise repeated(job._id)
            seen.add(job._id)
        return checked

    @staticmethod
    async def _in_thread(function: Callable[[], T]) -> T:
        from ..aio.from_thread import in_thread

        return await in_thread(function)

    async def _in_thread_unless(self, function: Callable[[threading.Event], T]) -> T:
        """Have a thread make a call that gives up if this is cancelled; then wait for that."""
        import asyncio

        cancel = threading.Event()
        task = asyncio.ensure_future(self._in_thread(lambda: function(cancel)))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            cancel.set()
            await asyncio.wait([task])
            task.exception()  # it is the cancelled call's, which nobody asks any more
            raise

    # ── waiting ──────────────────────────────────────────────────────────────────────────────

    def join(self, timeout: Seconds | None = None) -> bool:
        """See `JobQueue`."""
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        value = self._asking.wait(JOIN, NOTHING, timeout)
        return value is not None and _read_bool(value)

    async def ajoin(self, timeout: Seconds | None = None) -> bool:
        """See `JobQueue`."""
        import asyncio

        seconds = None if timeout is None else check_seconds("timeout", timeout)
        try:
            async with asyncio.timeout(seconds):
                return _read_bool(await self._asking.aask(JOIN, NOTHING))
        except TimeoutError:
            return False


def _taken(job: Job) -> Job:
    """The job, as that of this queue: one that was taken before, or by another one, is copied."""
    if job._retries >= 0:
        job = job._copy()
    job._retries = 0
    return job
