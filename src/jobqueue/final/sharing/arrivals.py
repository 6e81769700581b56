"""How the jobs of clients are let in: those that arrive together in one batch of the log.

Jobs whose requests came in one turn of the server's loop are accepted in one hold of the mutex and
brought to the log by one commit, whichever clients they are of (but for those of the first client
in the turn, which go alone: `reception.py`). So the more clients ask at once,
the less one of them costs. A job that finds no room waits in its lane's line as a coroutine does
(`aio/calls.py`), and so takes no thread; what is delayed, repeated, or many in one call goes that
way from the start.

A call that was under way when an owner died comes again, to the next one. If the job is there, and
was made at the same time to the last bit, it is that call's own: it was accepted, once.

Guarantees: as `callers.admission`; each job is accepted or refused by itself. Middleware has no
part in it: it had its word in the client.
Relies on: the server's thread alone calls all this; the queue's mutex, taken here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..aio.calls import Calls
from ..callers.admission import Admission
from ..core.infos import created_of
from ..core.remembered import unknown_job
from ..errors import DuplicateJobError, EnqueueCancelledError, JobQueueError
from ..model.existing import ExistingHandle
from ..model.handle import JobHandle
from ..model.transitions import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..core.placement import Placement
    from ..life.wiring import Parts
    from ..model.handle import HandleOwner
    from ..model.job import Job
    from ..wal.writing.batch import OpenBatch

_INLINE_BYTES_MAX = 1 << 15


class Arrival:
    """One job on its way in, and what came of it.

    Attributes:
        handle: of the job, once it is accepted.
        error: why it was refused.
        waits: whether it has found no room.
        given_up: whether its caller does not wait for room.
        task: what waits for room, for as long as that may be given up.
    """

    __slots__ = ("error", "given_up", "handle", "job", "task", "waits")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.handle: JobHandle | None = None
        self.error: Exception | None = None
        self.waits = False
        self.given_up = False
        self.task: asyncio.Task[None] | None = None

    def give_up(self) -> None:
        """Wait for room no more; what has been accepted stays so."""
        self.given_up = True
        if self.task is not None:
            # guard: a call that was given up is accepted no more
            self.task.cancel()


class _Later:
    """Has a function called by a loop, once it is woken; in the place of a parker."""

    __slots__ = ("_loop", "_then")

    def __init__(self, loop: asyncio.AbstractEventLoop, then: Callable[[], None]) -> None:
        self._loop = loop
        self._then = then

    def unpark(self) -> None:
        """Any thread, which may hold the mutex."""
        try:
            self._loop.call_soon_threadsafe(self._then)
        except RuntimeError:  # the server has ended: its clients ask the next owner
            pass


class Arrivals:
    """Lets jobs in.

    Args:
        owner: what their handles ask.
    """

    def __init__(self, owner: HandleOwner, parts: Parts) -> None:
        self._owner = owner
        self._placement: Placement = parts.placement
        self._admission = Admission(*parts.admission.made_of)
        self._calls = Calls(
            self._admission, parts.queries, parts.placement, parts.seats, lambda _: None
        )

    # ── at once ──────────────────────────────────────────────────────────────────────────────

    def let_in(self, arrivals: list[Arrival]) -> OpenBatch | None:
        """Accept those of the jobs that there is room for; returns the batch to wait for."""
        mutex, journal, size = self._placement.mutex, self._placement.journal, 0
        with mutex:
            mutex.settle()
            try:
                for each in arrivals:
                    size += self._let_one_in(each)
                batch = journal.writer.commit(inline=size < _INLINE_BYTES_MAX) if journal else None
                mutex.unfinished = None
            except BaseException:
                self._placement.broken_off()
                raise
        self._admission.tell_missing()
        return batch

    def _let_one_in(self, arrival: Arrival) -> int:
        """With the mutex: let a job in, or note why not; returns the bytes of its payload."""
        job, admission = arrival.job, self._admission
        lane = self._placement.scheduler.lanes[job._priority]
        handle: JobHandle = JobHandle(self._owner, job, Status.QUEUED)
        try:
            admission.check(job)
            admission._refuse(job, None)
            first = None if job._plan is None else admission._meet(handle, lane)
        except (JobQueueError, ValueError) as error:
            arrival.error = error
            return 0
        if first is not None:
            arrival.waits = True  # for that one's record
        elif lane.room <= 0 and not admission._needs_no_room(handle):
            arrival.waits = True
        else:
            admission._add(handle, lane)
            arrival.handle = handle
            return len(job._payload)
        return 0

    def when_written(self, batch: OpenBatch, then: Callable[[], None]) -> None:
        """Have a function called once a batch is done, on the server's thread."""
        journal = self._placement.journal
        waiter = _Later(asyncio.get_running_loop(), then)
        if journal is None or not journal.writer.hand_over(batch, waiter):
            then()

    # ── awaited ──────────────────────────────────────────────────────────────────────────────

    async def enqueue(
        self, arrival: Arrival, timeout: float | None, delay: float, *, again: bool
    ) -> JobHandle:
        """Accept a job, once there is room; see `JobQueue.enqueue`.

        Raises:
            EnqueueCancelledError: it was given up before.
        """
        if again and (known := self._own(arrival.job)) is not None:
            await self._calls.written(self._admission.batch_of(known), known._number)
            return known._first
        handle, lane = self._admission.prepare(arrival.job, delay)
        if arrival.given_up:
            timeout = 0.0
        got, batch = await self._calls.admit(handle, lane, delay, timeout)
        arrival.task = None  # what was accepted is not given up any more
        await self._calls.written(batch, got._number)
        self._admission.tell_missing()
        return got

    async def enqueue_many(
        self, jobs: Iterable[Job], timeout: float | None, *, again: bool
    ) -> list[JobHandle]:
        """Accept several jobs; see `JobQueue.enqueue_many`."""
        jobs = list(jobs)
        known = await self._known(jobs) if again else {}
        left = [job for job in jobs if job._id not in known]
        try:
            handles = await self._calls.enqueue_many(left, timeout)
        except JobQueueError as error:
            error.accepted = (*known.values(), *error.accepted)
            raise
        return _in_order(jobs, left, handles, known)

    async def enqueue_together(
        self, jobs: Iterable[Job], delays: list[float] | None, timeout: float | None, *, again: bool
    ) -> list[JobHandle]:
        """Accept several jobs, or none; see `JobQueue.enqueue_together`."""
        jobs = list(jobs)
        known = await self._known(jobs) if again else {}
        if known:  # so all of them are: they came in one
            return [known.get(job._id) or self._like(job) for job in jobs]
        return await self._calls.enqueue_together(jobs, delays, timeout)

    async def join(self) -> bool:
        """Wait until nothing is left to run; `False` if the queue ends first."""
        return await self._calls.join(None)

    async def _known(self, jobs: list[Job]) -> dict[str, JobHandle]:
        """The jobs of a call that comes again which are there, by id."""
        known = {}
        for job in jobs:
            own = self._own(job)
            if own is not None:
                await self._calls.written(self._admission.batch_of(own), own._number)
                known[job._id] = own._first
        return known

    def _like(self, job: Job) -> JobHandle:
        """The job that stands for one which was not added since there was one like it."""
        first = None
        mutex = self._placement.mutex
        with mutex:
            mutex.settle()
            if job._plan is not None:
                handle: JobHandle = JobHandle(self._owner, job, Status.QUEUED)
                first = self._placement.bindings.meet(handle)
        if first is None:
            raise unknown_job(job._id)
        return ExistingHandle(first)

    def _own(self, job: Job) -> ExistingHandle | None:
        """The job, if an earlier sending of the same call has brought it."""
        mutex, status = self._placement.mutex, self._placement.status
        with mutex:
            mutex.settle()
            if job._id not in status:
                return None
            # guard: only the very same job was accepted before
            if created_of(status, job._id) != job._created:
                raise DuplicateJobError(f"job {job._id!r} is known to the queue already")
            return ExistingHandle(status.handle(self._owner, job._id))


def given_up(job: Job) -> EnqueueCancelledError:
    """The error for a call whose caller waits for room no more."""
    return EnqueueCancelledError(
        f"job {job._id!r} was not accepted: the wait for room was cancelled"
    )


def _in_order(
    jobs: list[Job], left: list[Job], handles: list[JobHandle], known: dict[str, JobHandle]
) -> list[JobHandle]:
    found = dict(zip((job._id for job in left), handles, strict=True)) | known
    return [found[job._id] for job in jobs]
