"""What handles ask, and who waits for the end of which job.

The end of a job is a notice with the engine's numbers of the jobs that have ended. A process
listens to those from the first wait on. Lost notices are made up for: whoever waits looks again
after some seconds, and when the connection is back.

Whose thread: callers', and the queue's loop, which alone touches what is listed here; callbacks are
called on threads of the queue's own. No lock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ..final import (
    JobFailedError,
    JobHandle,
    JobQueueError,
    QueueClosedError,
    ResultGoneError,
    Status,
    UnknownJobError,
)
from ..final.engine import (
    NO_RESULT,
    ExistingHandle,
    StoredResult,
    check_seconds,
    read_result,
    was_cancelled,
)
from . import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from ..final import Job
    from ..final.engine import Seconds, StopRequest, Told
    from .core import Core

    Held = tuple[Job, float]

LOOK_AGAIN_SECONDS = 5.0
_AT_ONCE = 1000
"""How many handles are looked up in one statement at the end."""
_ENDED = f"{rows.LOOK} WHERE j.id = ANY($1::text[]) AND j.outcome IS NOT NULL"


class StoredHandle(JobHandle[Any]):
    """A handle of a job in the database."""

    __slots__ = ("__weakref__", "_is_noted", "_stored")

    def __init__(self, owner: Desk, job: Job, status: Status) -> None:
        super().__init__(owner, job, status)
        self._outcome = NO_RESULT
        self._stored: StoredResult | None = None
        self._is_noted = False  # whether its end is, with what it returned


class Desk:
    """Answers the handles of one queue. Thread-safe, but for what says it is the loop's."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._events: dict[int, set[asyncio.Event]] = {}
        self._meanwhile: list[set[int]] = []  # what ended while somebody looked for a job
        self._listens: asyncio.Task[None] | None = None
        # Those that somebody has; any thread adds to it. It is asked for all of them at a stroke.
        self._handles: WeakValueDictionary[int, StoredHandle] = WeakValueDictionary()

    # ── handles are made ─────────────────────────────────────────────────────────────────────

    def handle_of(self, job: Job, status: Status) -> StoredHandle:
        """A handle of a job that is in the database."""
        handle = StoredHandle(self, job, status)
        self._handles[id(handle)] = handle
        return handle

    def handle_in(self, row: Any) -> StoredHandle:
        """A handle of the job in a row."""
        handle = self.handle_of(rows.job_in(row), Status(row["status"]))
        _note(handle, row)
        return handle

    def existing_in(self, row: Any) -> JobHandle:
        """What `enqueue` gives if there is a job like it, in this row."""
        return ExistingHandle(self.handle_in(row))

    def existing_beside(self, handle: JobHandle, job_id: str) -> JobHandle:
        """The same for a job that is not committed yet: all that is known is that it is alike."""
        job = handle._job._copy()
        job._id = job_id
        return ExistingHandle(self.handle_of(job, Status.QUEUED))

    # ── the ends of jobs; the loop's thread ──────────────────────────────────────────────────

    def tell(self, numbers: str) -> None:
        """These jobs have ended, as a notice says."""
        for text in numbers.split(","):
            self.ended(int(text))

    def ended(self, number: int) -> None:
        """This job has ended."""
        for each in self._meanwhile:
            each.add(number)
        for event in self._events.pop(number, ()):
            event.set()

    def look_again(self) -> None:
        """Have everybody look: notices were missed, or the queue is closed."""
        for events in list(self._events.values()):
            for event in events:
                event.set()
        self._events.clear()

    async def look_last(self) -> None:
        """Tell the handles of jobs that have ended: after the close nobody can look for them."""
        handles: dict[str, list[StoredHandle]] = {}
        for reference in self._handles.valuerefs():
            handle = reference()
            if handle is not None and not handle._is_noted:
                handles.setdefault(handle.id, []).append(handle)
        ids = list(handles)
        for begin in range(0, len(ids), _AT_ONCE):
            some = ids[begin : begin + _AT_ONCE]
            found = await self._core.link.answered(
                lambda connection, some=some: connection.fetch(_ENDED, some)  # type: ignore[misc]  # bound early
            )
            for row in found:
                for handle in handles[row["id"]]:
                    _note(handle, row)

    async def end_of(self, job_id: str, timeout: float | None) -> Any:
        """The row of a job that has ended; of one that goes on, when the time is up, or closed."""
        core, loop = self._core, asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        if self._listens is None:
            self._listens = loop.create_task(core.link.add_listener("jobqueue_done", self.tell))
        await asyncio.shield(self._listens)
        while True:
            meanwhile: set[int] = set()
            self._meanwhile.append(meanwhile)
            try:
                row = await core.look(job_id)
            finally:
                self._meanwhile.remove(meanwhile)
            if row["outcome"] is not None or core.is_ended:
                return row
            if row["number"] in meanwhile:
                continue
            left = LOOK_AGAIN_SECONDS if deadline is None else deadline - loop.time()
            if left <= 0:
                return row
            await self._wait(row["number"], min(left, LOOK_AGAIN_SECONDS))

    async def _wait(self, number: int, seconds: float) -> None:
        """Until a job has ended, or somebody has all look again."""
        event = asyncio.Event()
        self._events.setdefault(number, set()).add(event)
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            pass
        finally:
            known = self._events.get(number)
            if known is not None:
                known.discard(event)
                if not known:
                    del self._events[number]

    # ── what handles ask; callers' threads ───────────────────────────────────────────────────

    def cancel(self, job_id: str, /) -> bool:
        """See `JobHandle`."""
        return self._core.operator.cancel(job_id)

    def _status_of(self, handle: JobHandle) -> Status:
        try:
            handle._status = self._core.operator.status(handle.id)
        except (UnknownJobError, QueueClosedError):  # the last known one counts
            pass
        return handle._status

    def _progress_of(self, handle: JobHandle) -> Told | None:
        return self._core.progress_of(handle.id)

    def _wait_for(self, handle: JobHandle, timeout: Seconds | None) -> JobHandle:
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        if isinstance(handle, StoredHandle) and handle._is_noted:
            return handle
        with self._core.standing_in(handle.id):
            try:
                _note(handle, self._core.loop.call(self.end_of(handle.id, seconds)))
            except QueueClosedError:
                pass
        return handle

    def _waiting(self, handle: JobHandle) -> AbstractContextManager[None]:
        return self._core.standing_in(handle.id)

    def _add_done_callback(self, handle: JobHandle, fn: Callable[[JobHandle], object]) -> None:
        async def call() -> None:
            try:
                _note(handle, await self.end_of(handle.id, None))
            except JobQueueError:  # it is unknown, or the queue is closed: it will not end here
                pass
            tell()

        def tell() -> None:
            self._core.aside(lambda: fn(handle), f"a callback of job {handle.id!r} failed")

        try:
            self._core.spawn(call())
        except QueueClosedError:  # the last known counts
            tell()

    def _hold_back(self, handle: JobHandle, stop: StopRequest, jobs: list[Held]) -> None:
        self._core.hold_back(handle, stop, jobs)

    def _kept_result(self, handle: JobHandle) -> object:
        stored = handle._stored if isinstance(handle, StoredHandle) else None
        if stored is None:
            result = self._core.results.get(handle.id, NO_RESULT)
            if result is NO_RESULT:
                raise ResultGoneError(
                    f"job {handle.id!r} is completed, but its result is not kept: keep it by "
                    f"@tasks.task(store_result=True) or Job(..., store_result=True)"
                )
            return result
        return read_result(handle.id, stored, self._core.codec(handle._job.handler))

    def _missing_result(self, handle: JobHandle) -> JobQueueError | TimeoutError:
        state = handle._status.value
        if handle._status is Status.FAILED and handle._failure is not None:
            return JobFailedError(handle._failure[0])
        if self._core.is_ended:
            return QueueClosedError(
                f"the queue was closed here before job {handle.id!r} was finished ({state})"
            )
        return TimeoutError(f"job {handle.id!r} is not finished yet ({state})")

    def _result_of(self, handle: JobHandle, /) -> Generator[Any, None, object]:
        return self._awaited(handle).__await__()

    async def _awaited(self, handle: JobHandle) -> object:
        if not (isinstance(handle, StoredHandle) and handle._is_noted):
            with self._core.standing_in(handle.id):
                try:
                    _note(handle, await self._core.loop.await_(self.end_of(handle.id, None)))
                except QueueClosedError:  # the last known counts
                    pass
        if handle._status is Status.COMPLETED:
            outcome = handle._outcome
            return self._kept_result(handle) if outcome is NO_RESULT else outcome
        if handle._status is Status.CANCELLED:
            raise was_cancelled(handle)
        raise self._missing_result(handle)


def _note(handle: JobHandle, row: Any) -> None:
    handle._status = Status(row["status"])
    handle._failure = None if row["error"] is None else (row["error"], row["trace"] or "")
    if isinstance(handle, StoredHandle):
        handle._stored = rows.stored_in(row)
        # One that has failed may be requeued.
        handle._is_noted = row["outcome"] in ("completed", "cancelled")
    handle._job._retries = row["retries"]
    if row["result"] is None and row["coded"] is False:
        handle._outcome = None  # it returned nothing, which takes no room
