"""The part of `JobQueue` that looks at jobs that were accepted, and steers them.

`JobQueue` is this and `enqueue`, handlers and life; what is done to many jobs at once is in
`operating.py`. It is cut only because one file with all calls would be too long to be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .callers.bounded import BoundedLooking
from .callers.bulk import Bulk
from .callers.first_look import FirstLook
from .callers.looking import Looking
from .core.infos import letter_info
from .core.queue_state import State
from .exact import check_seconds
from .model.checks import check_id
from .model.handle import JobHandle
from .operating import Operating
from .runtime.mutex import check_reentry

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from .callers.admission import Admission
    from .callers.changes import Changes
    from .callers.queries import Queries
    from .callers.schedules import Schedules
    from .core.status_map import StatusMap
    from .errors import JobQueueError
    from .exact import Seconds
    from .life.wiring import Parts
    from .model.context import Held, StopRequest
    from .model.job import JobInfo
    from .model.metrics import Metrics
    from .model.progress import Told
    from .model.transitions import Status


class Steering(Operating):
    """Looks at accepted jobs and changes them. All methods are thread-safe.

    Handles ask one that is not the `JobQueue` itself. So no thread of the queue, for all the jobs
    that it knows, keeps the `JobQueue` alive: when its user drops it, that can be seen. And a
    handle goes on working.
    """

    _status: StatusMap
    _changes: Changes
    _queries: Queries
    _admission: Admission
    _schedules: Schedules
    _desk: Steering
    """What handles ask."""

    def _adopt(self, parts: Parts, desk: Steering) -> None:
        """Be the door to these parts."""
        self._placement = parts.placement
        self._mutex = parts.placement.mutex
        self._status = parts.placement.status
        self._scheduler = parts.placement.scheduler
        self._state = parts.state
        self._changes = parts.changes
        self._queries = parts.queries
        self._admission = parts.admission
        self._schedules = parts.schedules
        first_look = FirstLook(parts.placement.status, parts.placement.mutex)
        self._bulk = Bulk(desk, parts.placement, parts.state, first_look)
        self._looking = Looking(parts.placement, parts.queries, first_look)
        self._bounded = BoundedLooking(parts.placement, parts.queries.running, first_look)
        self._desk = desk

    def _enter(self, *, waits: bool = False) -> None:
        """What every call checks first; only `enqueue` does it by itself.

        Args:
            waits: whether the call waits for other threads, which may wait for this one.
        """
        if self._state.now is State.FORKED:
            raise self._state.closed_error()
        check_reentry(self._mutex)
        if waits and self._placement.journal is not None:
            self._placement.journal.writer.refuse_leader()

    # ── one job ──────────────────────────────────────────────────────────────────────────────────

    def status(self, job_id: str) -> Status:
        """The state that a job is in.

        Raises:
            UnknownJobError: no such job is known, or it has been forgotten.
            TypeError: the id is no text.
        """
        job_id = check_id(job_id)
        self._enter()
        with self._mutex:
            self._mutex.settle()
            return self._status.status(job_id)

    def handle(self, job_id: str) -> JobHandle:
        """A handle of a known job, for example one of an earlier run.

        Raises:
            UnknownJobError: no such job is known, or it has been forgotten.
            TypeError: the id is no text.
        """
        job_id = check_id(job_id)
        self._enter()
        with self._mutex:
            self._mutex.settle()
            return self._status.handle(self._desk, job_id)

    def info(self, job_id: str) -> JobInfo:
        """All that is known of a job, its last failure included.

        Raises:
            UnknownJobError: no such job is known, or it has been forgotten.
            TypeError: the id is no text.
        """
        job_id = check_id(job_id)
        self._enter()
        return self._queries.info(job_id)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that is queued or scheduled; ask the handler of a running one to stop.

        If the handler then returns, the job is completed; if it raises, it is cancelled.

        Returns:
            `False` if the job has finished.

        Raises:
            UnknownJobError: no such job is known, or it has been forgotten.
            TypeError: the id is no text.
            LogWriteError: it is cancelled, but the log could not take it yet; if the log had failed
                for good before, nothing has changed.
        """
        job_id = check_id(job_id)
        self._enter(waits=True)
        return self._changes.cancel(job_id)

    # ── dead letters ─────────────────────────────────────────────────────────────────────────────

    def dead_letters(self) -> list[JobInfo]:
        """The failed jobs that are kept, oldest first."""
        self._enter()
        with self._mutex:
            self._mutex.settle()
            return [letter_info(letter) for letter in self._status.dead.values()]

    def requeue(self, job_id: str) -> JobHandle:
        """Queue a failed job again, its retries back at 0; it needs no room in its lane.

        Raises:
            UnknownJobError: no such job is known, or it has been forgotten.
            TypeError: the id is no text.
            ValueError: the job has not failed.
            QueueClosedError, LogWriteError: as for `enqueue`.
        """
        job_id = check_id(job_id)
        self._enter(waits=True)
        return self._changes.requeue(job_id)

    def discard(self, job_id: str) -> None:
        """Drop a failed job; its id is unknown from then on.

        Raises:
            UnknownJobError: no such job is known, or it has been forgotten.
            TypeError: the id is no text.
            ValueError: the job has not failed.
            LogWriteError: it is dropped, but the log could not take it yet; if the log had failed
                for good before, nothing has changed.
        """
        job_id = check_id(job_id)
        self._enter(waits=True)
        self._changes.discard(job_id)

    def metrics(self) -> Metrics:
        """A consistent snapshot of all counters and times."""
        self._enter()
        return self._queries.metrics()

    # ── all of them ──────────────────────────────────────────────────────────────────────────────

    def _running(self) -> list[JobHandle]:
        return self._queries.running()

    def flush(self) -> None:
        """Return when everything accepted so far is fsynced; at once if there is no log.

        Raises:
            LogWriteError: that could not be done.
        """
        self._enter(waits=True)
        if self._placement.journal is not None:
            self._placement.journal.writer.flush()

    # ── what handles ask ─────────────────────────────────────────────────────────────────────────

    def _status_of(self, handle: JobHandle) -> Status:
        if self._state.now is State.FORKED:
            raise self._state.closed_error()
        return self._queries.status_of(handle)

    def _progress_of(self, handle: JobHandle) -> Told | None:
        self._enter()
        with self._mutex:
            return self._status.current(handle)._progress

    def _wait_for(self, handle: JobHandle, timeout: Seconds | None) -> JobHandle:
        self._enter(waits=True)
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        return self._queries.wait_for(handle, timeout)

    def _waiting(self, handle: JobHandle) -> AbstractContextManager[None]:
        self._enter(waits=True)
        return self._queries.waiting(handle)

    def _add_done_callback(self, handle: JobHandle, fn: Callable[[JobHandle], object]) -> None:
        self._enter()
        self._queries.add_done_callback(handle, fn)

    def _hold_back(self, handle: JobHandle, stop: StopRequest, jobs: list[Held]) -> None:
        self._enter()
        self._admission.hold_back(handle, stop, jobs)

    def _kept_result(self, handle: JobHandle) -> object:
        return self._queries.kept_result(handle)

    def _missing_result(self, handle: JobHandle) -> JobQueueError | TimeoutError:
        return self._queries.missing_result(handle)
