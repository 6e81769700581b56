"""The calls of a queue that are awaited: none holds up the event loop.

Each takes the queue's mutex for as long as any caller does. Whatever a thread would sleep for
(room in a lane, the log, the end of a job), a coroutine waits for in a `LoopParker`, which stands
in the same list as the parkers of threads. So 10,000 coroutines that wait are 10,000 entries of
lists, and no thread. Calls through middleware are another thing: see `through_middleware.py`.

Guarantees: as `callers.admission`. A coroutine that is cancelled while it waits for room has
enqueued nothing; once its job is accepted, the job runs.
Relies on: the queue's mutex, taken here. The log's thread writes what these calls wait for: the
loop's thread never leads a batch.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..callers.queries import Joining
from ..callers.room_wait import no_room
from ..callers.through_middleware import AdmissionThroughMiddleware
from ..errors import JobQueueError, again
from ..exact import check_seconds
from ..model.existing import ExistingHandle
from ..runtime.clock import SystemClock
from .parking import LoopParker
from .through_middleware import CallsThroughMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from ..callers.admission import Admission
    from ..callers.groups import Group
    from ..callers.queries import Queries
    from ..core.lane import Lane
    from ..core.placement import Placement
    from ..core.seats import Seats
    from ..exact import Seconds
    from ..model.handle import JobHandle
    from ..model.job import Job
    from ..wal.writing.batch import OpenBatch


class Calls:
    """The awaited calls of one queue. All methods are called on the thread of a running loop.

    Args:
        at_end: has a function called when the queue ends its threads.
    """

    def __init__(
        self,
        admission: Admission,
        queries: Queries,
        placement: Placement,
        seats: Seats,
        at_end: Callable[[Callable[[], None]], None],
    ) -> None:
        self._wrapped: CallsThroughMiddleware | None = None
        if isinstance(admission, AdmissionThroughMiddleware):
            self._wrapped = CallsThroughMiddleware(admission, seats, at_end)
        self._admission = admission
        self._queries = queries
        self._placement = placement
        self._mutex = placement.mutex

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────

    async def enqueue(self, job: Job, timeout: Seconds | None, delay: Seconds) -> JobHandle:
        """See `JobQueue.aenqueue`."""
        timeout = None if timeout is None else check_seconds("timeout", timeout)
        delay = check_seconds("delay", delay)
        if self._wrapped is not None:
            return await self._wrapped.enqueue(job, timeout, delay)
        handle, lane = self._admission.prepare(job, delay)
        got, batch = await self.admit(handle, lane, delay, timeout)
        await self.written(batch, got._number)
        self._admission.tell_missing()
        return got

    async def enqueue_many(self, jobs: Iterable[Job], timeout: Seconds | None) -> list[JobHandle]:
        """See `JobQueue.aenqueue_many`."""
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        if self._wrapped is not None:
            return await self._wrapped.enqueue_many(jobs, seconds)
        checked = self._admission.check_all(jobs)
        deadline = None if seconds is None else SystemClock.monotonic() + seconds
        accepted: list[JobHandle] = []
        try:
            while len(accepted) < len(checked):
                await self._enqueue_some(checked[len(accepted) :], accepted, deadline)
        except JobQueueError as error:
            error.accepted = tuple(accepted)
            raise
        self._admission.tell_missing()
        return accepted

    async def enqueue_together(
        self, jobs: Iterable[Job], delays: Iterable[Seconds] | None, timeout: Seconds | None
    ) -> list[JobHandle]:
        """See `JobQueue.aenqueue_together`."""
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        if self._wrapped is not None:
            return await self._wrapped.enqueue_together(jobs, delays, seconds)
        group = self._admission.group_of(jobs, delays)
        handles, batch = await self._let_in(group, seconds)
        await self.written(batch)
        if batch is not None:
            self._admission.check_written(handles, batch)
        for each in handles:
            if type(each) is ExistingHandle:
                await self.written(self._admission.batch_of(each), each._number)
        self._admission.tell_missing()
        return handles

    async def _let_in(
        self, group: Group, timeout: float | None
    ) -> tuple[list[JobHandle], OpenBatch | None]:
        """Let the jobs in, once there is room for all of them."""
        deadline = None if timeout is None else SystemClock.monotonic() + timeout
        parker = LoopParker()
        try:
            while True:
                parker.rearm()
                let_in = self._admission.let_in(group, parker)
                if let_in is not None:
                    return let_in
                left = None if deadline is None else deadline - SystemClock.monotonic()
                if left is not None and left <= 0 and group.lacking is not None:
                    raise no_room(group.jobs[0], group.lacking, timeout)
                await parker.park(left)
        finally:
            self._admission.leave_gate(group, parker)

    async def _enqueue_some(
        self, jobs: list[Job], accepted: list[JobHandle], deadline: float | None
    ) -> None:
        """Accept those of the jobs that there is room for, or else the first of them."""
        handles, batch = self._admission.accept_some(jobs)
        await self.written(batch)
        if batch is not None and batch.refused:
            accepted += [each for each in handles if each._number not in batch.refused]
            raise again(next(iter(batch.refused.values())))
        for each in handles:
            if type(each) is ExistingHandle:
                await self.written(self._admission.batch_of(each), each._number)
        accepted += handles
        if not handles:
            left = None if deadline is None else max(0.0, deadline - SystemClock.monotonic())
            handle, lane = self._admission.prepare(jobs[0], 0.0)
            got, batch = await self.admit(handle, lane, 0.0, left)
            await self.written(batch, got._number)
            accepted.append(got)

    async def admit(
        self, handle: JobHandle, lane: Lane, delay: float, timeout: float | None
    ) -> tuple[JobHandle, OpenBatch | None]:
        """Let the job in, once there is room; gives its handle, and the batch that tells of it."""
        deadline = None if timeout is None else SystemClock.monotonic() + timeout
        parker, was_woken, is_in = LoopParker(), False, False
        try:
            while True:
                parker.rearm()
                got, batch = self._admission.admit(handle, lane, delay, parker, was_woken=was_woken)
                if got is not None:
                    is_in = True
                    return got, batch
                left = None if deadline is None else deadline - SystemClock.monotonic()
                if left is not None and left <= 0:
                    raise no_room(handle._job, lane, timeout)
                was_woken = await parker.park(left)
        finally:
            if not is_in:
                self._admission.leave_line(lane, parker)

    async def written(self, batch: OpenBatch | None, number: int = 0) -> None:
        """Wait until the log's thread has brought a batch to its level of durability.

        Args:
            number: names the job that the caller waits for, if it is one.
        """
        journal = self._placement.journal
        if batch is None or journal is None:
            return
        parker = LoopParker()
        if journal.writer.hand_over(batch, parker):
            await parker.park()
        error = batch.error or batch.refused.get(number)
        if error is not None:
            raise again(error)

    # ── waiting ──────────────────────────────────────────────────────────────────────────────

    async def join(self, timeout: Seconds | None) -> bool:
        """See `JobQueue.join`."""
        timeout = None if timeout is None else check_seconds("timeout", timeout)
        if self._queries.join(0.0):
            return True
        parker, joining = LoopParker(), Joining(self._queries)
        watcher = self._placement.watchers.add(joining.is_done, parker)
        try:
            await parker.park(timeout)
        finally:
            self._placement.watchers.remove(watcher)
        return self._queries.joined(joining)


class _End(asyncio.Future[None]):
    """The end of a job, awaited; it is the job's done callback itself, since there may be many."""

    __slots__ = ()

    def __call__(self, _: object) -> None:
        """Any thread: the job has ended."""
        try:
            self.get_loop().call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop is closed: nobody waits there any more
            pass

    def _wake(self) -> None:
        if not self.done():  # the coroutine was not cancelled meanwhile
            self.set_result(None)


def result_of(handle: JobHandle[Any], queries: Queries) -> Generator[Any, None, Any]:
    """What `await handle` goes through."""
    end = _End(loop=asyncio.get_running_loop())
    handle.add_done_callback(end)
    if queries.is_within_handler():
        with queries.awaiting(handle):
            yield from end
    else:
        yield from end
    return handle.result(0)
