"""Calls of our tasks with `on_commit`: they are accepted when the transaction that goes on commits.

A rolled back transaction drops them. Outside of a transaction, and in one of another database than
"default", they are accepted at once.

Whose thread: that of the transaction, which is the caller's; for awaited calls it is Django's own
for the database calls of coroutines.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import transaction

from ...final import Status, UnknownJobError
from ...final.engine import ForwardingHandle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...final import Job, JobContext, JobHandle, JobQueue
    from ...tasks.atomic import Holder
    from ...tasks.options import Seconds
    from ...tasks.task import Target


class OnCommit:
    """An open queue as our tasks see it, if the settings have `on_commit`. Thread-safe.

    Args:
        target: the same without.
        queue: the queue.
    """

    def __init__(self, target: Target, queue: JobQueue) -> None:
        self._target = target
        self._queue = queue
        self.now = target.now
        self.is_open = target.is_open
        self.in_flight_max = target.in_flight_max

    def enqueue(
        self, job: Job, *, timeout: float | None = None, delay: float = 0.0
    ) -> JobHandle[Any]:
        """Accept a job when the transaction commits, or at once."""
        if not _is_in_transaction():
            return self._target.enqueue(job, timeout=timeout, delay=delay)
        return self._later([job], [delay], timeout)[0]

    async def aenqueue(
        self, job: Job, *, timeout: float | None = None, delay: float = 0.0
    ) -> JobHandle[Any]:
        """The same; the event loop goes on meanwhile."""
        if not await sync_to_async(_is_in_transaction)():
            return await self._target.aenqueue(job, timeout=timeout, delay=delay)
        handles: list[JobHandle[Any]] = await sync_to_async(self._later)([job], [delay], timeout)
        return handles[0]

    def enqueue_together(
        self, jobs: list[Job], *, delays: list[float], timeout: Seconds | None = None
    ) -> list[JobHandle[Any]]:
        """Accept several jobs in one, when the transaction commits, or at once."""
        if not _is_in_transaction():
            return self._target.enqueue_together(jobs, delays=delays, timeout=timeout)
        return self._later(jobs, delays, timeout)

    async def aenqueue_together(
        self, jobs: list[Job], *, delays: list[float], timeout: Seconds | None = None
    ) -> list[JobHandle[Any]]:
        """The same; the event loop goes on meanwhile."""
        if not await sync_to_async(_is_in_transaction)():
            return await self._target.aenqueue_together(jobs, delays=delays, timeout=timeout)
        handles: list[JobHandle[Any]] = await sync_to_async(self._later)(jobs, delays, timeout)
        return handles

    def holder(self, context: JobContext) -> Holder:
        """What holds back the jobs of this attempt of an atomic task."""
        return self._target.holder(context)

    def _later(
        self, jobs: list[Job], delays: list[float], timeout: Seconds | None
    ) -> list[JobHandle[Any]]:
        handles = [AwaitedHandle(self._queue, job) for job in jobs]
        due = [self.now() + delay if delay else 0.0 for delay in delays]
        transaction.on_commit(partial(self._accept, handles, due, timeout))
        return list(handles)

    def _accept(
        self, handles: Sequence[AwaitedHandle], due: list[float], timeout: Seconds | None
    ) -> None:
        """On the commit."""
        now = self.now()
        delays = [max(0.0, each - now) for each in due]
        jobs = [handle.job for handle in handles]
        accepted = self._target.enqueue_together(jobs, delays=delays, timeout=timeout)
        for handle, job in zip(handles, accepted, strict=True):
            handle.accept(job)


def _is_in_transaction() -> bool:
    """Also with autocommit off, where Django refuses to tell of a commit.

    It connects to no database, so that it may be asked on an event loop.
    """
    connection = transaction.get_connection()
    is_manual = connection.connection is not None and not connection.autocommit
    return bool(connection.in_atomic_block or is_manual)


class AwaitedHandle(ForwardingHandle):
    """A handle of a job that is accepted when its transaction commits. Thread-safe.

    Until then it knows the job and its id, and all else raises `UnknownJobError`.
    """

    __slots__ = ("_accepted",)

    def __init__(self, queue: JobQueue, job: Job) -> None:
        super().__init__(queue, job, Status.SCHEDULED)
        self._accepted: JobHandle[Any] | None = None

    def accept(self, accepted: JobHandle[Any]) -> None:
        """Note the queue's own handle."""
        self._accepted = accepted

    @property
    def _first(self) -> JobHandle[Any]:
        if self._accepted is None:
            raise UnknownJobError(
                f"job {self._job.id!r} is not accepted before its transaction commits, for the "
                f"queue's settings have on_commit; look at it, or wait for it, after that"
            )
        return self._accepted

    @property
    def id(self) -> str:
        """The job's id; from the commit on that of the job that was there, if there was one."""
        return self.job.id

    @property
    def job(self) -> Job:
        """The job, likewise."""
        return self._job if self._accepted is None else self._accepted.job

    @property
    def existing(self) -> bool:
        """See `JobHandle`; it is known at the commit."""
        return self._accepted is not None and self._accepted.existing

    def __repr__(self) -> str:
        if self._accepted is None:
            return f"<JobHandle {self._job.id!r}, accepted on commit>"
        return repr(self._accepted)
