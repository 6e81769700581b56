"""The calls of a queue that are awaited: none holds up the event loop.

Each takes the queue's mutex for as long as any caller does. Whatever a thread would sleep for
(room in a lane, the log, the end of a job), a coroutine waits for in a `LoopParker`, which stands
in the same list as the parkers of threads. So 10,000 coroutines that wait are 10,000 entries of
lists, and no thread.

Guarantees: as `callers.admission`. A coroutine that is cancelled while it waits for room has
enqueued nothing; once its job is accepted, the job runs.
Relies on: the queue's mutex, taken here. The log's thread writes what these calls wait for: the
loop's thread never leads a batch.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import EnqueueTimeoutError, JobQueueError, again
from ..exact import check_seconds
from ..runtime.clock import SystemClock
from .parking import LoopParker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from ..callers.admission import Admission
    from ..callers.queries import Queries
    from ..core.placement import Placement
    from ..core.scheduler import Lane
    from ..exact import Seconds
    from ..model.handle import JobHandle
    from ..model.job import Job
    from ..wal.writing.batch import OpenBatch

T = TypeVar("T")


class Calls:
    """The awaited calls of one queue. All methods are called on the thread of a running loop."""

    def __init__(self, admission: Admission, queries: Queries, placement: Placement) -> None:
        self._admission = admission
        self._queries = queries
        self._placement = placement
        self._mutex = placement.mutex

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────

    async def enqueue(self, job: Job, timeout: Seconds | None, delay: Seconds) -> JobHandle:
        """See `JobQueue.aenqueue`."""
        timeout = None if timeout is None else check_seconds("timeout", timeout)
        delay = check_seconds("delay", delay)
        if self._admission.is_wrapped:
            return await self._through_middleware(job, timeout, delay)
        handle, lane = self._admission.prepare(job, delay)
        batch = await self._admit(handle, lane, delay, timeout)
        await self._written(batch, handle._number)
        self._admission.tell_missing()
        return handle

    async def _through_middleware(self, job: Job, timeout: float | None, delay: float) -> JobHandle:
        """Middleware is plain code of the user's, around a call that may wait: in a thread."""
        given_up = threading.Event()
        accepted = asyncio.ensure_future(
            asyncio.to_thread(self._admission.enqueue, job, timeout, delay, given_up)
        )
        try:
            return await asyncio.shield(accepted)
        except asyncio.CancelledError:
            given_up.set()
            accepted.add_done_callback(_retrieve)
            raise

    async def enqueue_many(self, jobs: Iterable[Job], timeout: Seconds | None) -> list[JobHandle]:
        """See `JobQueue.aenqueue_many`."""
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        if self._admission.is_wrapped:
            return await asyncio.to_thread(self._admission.enqueue_many, jobs, seconds)
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

    async def _enqueue_some(
        self, jobs: list[Job], accepted: list[JobHandle], deadline: float | None
    ) -> None:
        """Accept those of the jobs that there is room for, or else the first of them."""
        handles, batch = self._admission.accept_some(jobs)
        await self._written(batch)
        if batch is not None and batch.refused:
            accepted += [each for each in handles if each._number not in batch.refused]
            raise again(next(iter(batch.refused.values())))
        accepted += handles
        if not handles:
            left = None if deadline is None else max(0.0, deadline - SystemClock.monotonic())
            handle, lane = self._admission.prepare(jobs[0], 0.0)
            batch = await self._admit(handle, lane, 0.0, left)
            await self._written(batch, handle._number)
            accepted.append(handle)

    async def _admit(
        self, handle: JobHandle, lane: Lane, delay: float, timeout: float | None
    ) -> OpenBatch | None:
        """Let the job in, once there is room; returns the batch that tells of it."""
        deadline = None if timeout is None else SystemClock.monotonic() + timeout
        parker, was_woken, is_in = LoopParker(), False, False
        try:
            while True:
                parker.rearm()
                is_in, batch = self._admission.admit(
                    handle, lane, delay, parker, was_woken=was_woken
                )
                if is_in:
                    return batch
                left = None if deadline is None else deadline - SystemClock.monotonic()
                if left is not None and left <= 0:
                    raise EnqueueTimeoutError(
                        f"job {handle.id!r} was not accepted: the {handle.job.priority.name} lane "
                        f"({lane.maxsize} jobs) stayed full for {timeout:g} s; try again later, "
                        f"or raise queue_size"
                    )
                was_woken = await parker.park(left)
        finally:
            if not is_in:
                self._admission.leave_line(lane, parker)

    async def _written(self, batch: OpenBatch | None, number: int = 0) -> None:
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
        parker = LoopParker()
        watcher = self._placement.watchers.add(self._queries.is_at_rest, parker)
        try:
            await parker.park(timeout)
        finally:
            self._placement.watchers.remove(watcher)
        return self._queries.join(0.0)


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


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Look at how a call ended that nobody waits for any more, so that asyncio does not warn."""
    if not future.cancelled():
        future.exception()


async def in_thread(function: Callable[[], T]) -> T:
    """Call a function in a thread of its own; if this is cancelled, the function goes on."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001  # it goes to the coroutine that waits
            _tell(loop, future, None, error)
        else:
            _tell(loop, future, result, None)

    threading.Thread(target=run, name="jobqueue-close", daemon=True).start()
    return await asyncio.shield(future)


def _tell(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Any],
    result: object,
    error: BaseException | None,
) -> None:
    def end() -> None:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    try:
        loop.call_soon_threadsafe(end)
    except RuntimeError:  # the loop was closed meanwhile: nobody waits
        pass
