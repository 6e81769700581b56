"""What callers ask of the queue or wait for: metrics, the end of a job or of all of them.

Relies on: the queue's mutex, taken here.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.handler_counts import seen
from ..core.infos import info
from ..core.queue_state import State
from ..core.remembered import unknown_job
from ..errors import JobQueueError, QueueClosedError, ResultGoneError
from ..model.handle import NOT_ARRIVED
from ..model.job import Priority
from ..model.results import read_result
from ..model.transitions import FINAL, Status
from ..runtime.clock import SystemClock
from ..runtime.parking import Parker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..core.outcomes import Outcomes
    from ..core.placement import Placement
    from ..core.queue_state import QueueState
    from ..model.handle import JobHandle
    from ..model.job import JobInfo
    from ..model.metrics import Metrics
    from ..model.results import ResultCodec, StoredResult


class Joining:
    """What one call of `join` waits for.

    Attributes:
        was_idle: whether it has come. The queue may be busy again before the caller can look.
    """

    def __init__(self, queries: Queries) -> None:
        self.was_idle = False
        self._queries = queries

    def is_done(self) -> bool:
        """With the mutex: there is nothing to wait for any more."""
        # guard: a queue that was at rest was so, though it is busy again
        #   without: return self._queries.is_idle() or self._queries.is_over()
        self.was_idle = self._queries.is_idle()
        return self.was_idle or self._queries.is_over()


class Queries:
    """Reads; changes nothing but the lists of the threads that wait."""

    def __init__(self, placement: Placement, state: QueueState, outcomes: Outcomes) -> None:
        self._placement = placement
        self._mutex = placement.mutex
        self._status = placement.status
        self._state = state
        self._seats = outcomes.seats
        self._outcomes = outcomes
        self._since = placement.clock.time()

    def metrics(self) -> Metrics:
        """See `JobQueue.metrics`. What takes time is done without the mutex."""
        from ..core import telling  # it says why only here

        with self._mutex:
            self._mutex.settle()
            now = self._placement.clock.monotonic()
            meters = {each: self._status.meters[each].copy() for each in Priority}
            oldest = self._oldest_waits(now)  # first: jobs step aside as the lanes are looked at
            for each, meter in meters.items():
                meter.limited = len(self._placement.bindings.aside[each])
            workers = telling.workers(self._seats, self._outcomes.busy, now)
            journal = self._placement.journal
            log = None if journal is None else telling.log(journal.writer.stats())
            handlers = seen(self._placement.registry, self._seats.busy())
        by_handler, unregistered = telling.handler_counts(handlers)
        return telling.snapshot(meters, oldest, workers, log, by_handler, unregistered, self._since)

    def running(self) -> list[JobHandle]:
        """With the mutex: the jobs that run now."""
        return self._seats.busy()

    def _oldest_waits(self, now: float) -> dict[Priority, float]:
        lanes = self._placement.scheduler.lanes
        waits = dict.fromkeys(Priority, 0.0)
        for lane in lanes:
            lane.has_work()
        heads = [handle for lane in lanes if (handle := lane.oldest())]
        aside = self._placement.bindings.aside
        heads += [next(iter(waiting)) for waiting in aside if waiting]
        parked = [self._placement.registry.oldest_parked(each) for each in Priority]
        for handle in (*heads, *filter(None, parked)):
            if handle._since != NOT_ARRIVED:
                priority = handle._job._priority
                waits[priority] = max(waits[priority], now - handle._since)
        return waits

    # The end of all jobs.

    def join(self, timeout: float | None) -> bool:
        """See `JobQueue.join`."""
        self._seats.refuse_handler("join")
        if timeout != 0:
            self._seats.refuse_sleep("await queue.ajoin()")
        joining = Joining(self)
        self._placement.watchers.wait(joining.is_done, timeout)
        return self.joined(joining)

    def joined(self, joining: Joining) -> bool:
        """What came of it: whether nothing was left to run, now or while it was waited for."""
        with self._mutex:
            self._mutex.settle()
            if joining.was_idle or self.is_idle():
                return True
            if self._state.fault is not None:
                raise self._state.fault_error()
            return False

    def is_idle(self) -> bool:
        """With the mutex: nothing is left that could run by itself."""
        return len(self._status.live) == self._placement.registry.parked_count

    def is_over(self) -> bool:
        """With the mutex: nothing will change any more."""
        return self._state.now >= State.ENDED or self._state.fault is not None

    # The end of one job.

    def status_of(self, handle: JobHandle) -> Status:
        """The present status of the job that a handle stands for."""
        with self._mutex:  # a signal's handler may ask this, so nothing is settled
            return self._status.current(handle)._status

    def wait_for(self, handle: JobHandle, timeout: float | None) -> JobHandle:
        """Wait for the end of a job, or of the queue; returns the handle that stands for the job.

        The caller sleeps in a parker of its own, not on a `Condition`: it may be interrupted. If it
        is a handler, another worker stands in for its own.
        """
        deadline = None if timeout is None else SystemClock.monotonic() + timeout
        seat = self._seats.current()
        start: Callable[[], None] | None = None
        while True:
            parker = Parker()
            with self._mutex:
                self._mutex.settle()
                current = self._status.current(handle)
                if current._status in FINAL or self.is_over() or self._is_gone(current):
                    return self._unless_failed(current)
                if deadline is not None and SystemClock.monotonic() >= deadline:
                    return current
                self._seats.refuse_sleep("await handle")
                if seat is not None:
                    start = self._seats.begin_wait(seat, current)
                waiters = current._waiters or []
                waiters.append(parker)
                current._waiters = waiters
            seconds = None if deadline is None else deadline - SystemClock.monotonic()
            try:
                if start is not None:
                    start()
                # guard: loop around the wait for a job's end
                #   without: parker.park(seconds)
                #   without: return current
                parker.park(seconds)
            finally:
                with self._mutex:
                    if seat is not None:
                        seat.waits_for = None
                    if parker in (current._waiters or ()):
                        waiters.remove(parker)

    def is_within_handler(self) -> bool:
        """Whether code of one of the queue's attempts calls this. Without the mutex."""
        return self._seats.current() is not None

    @contextmanager
    def awaiting(self, handle: JobHandle) -> Iterator[None]:
        """While a coroutine waits for a job: if it is a handler's, another seat stands in for its.

        Raises:
            RuntimeError: the job would wait for itself, or no more seats can stand in.
        """
        seat = self._seats.current()
        if seat is None:
            yield
            return
        start = None
        with self._mutex:
            self._mutex.settle()
            current = self._status.current(handle)
            if not (current._status in FINAL or self.is_over() or self._is_gone(current)):
                start = self._seats.begin_wait(seat, current)
        try:
            if start is not None:
                start()
            yield
        finally:
            with self._mutex:
                seat.waits_for = None

    @contextmanager
    def waiting(self, handle: JobHandle) -> Iterator[None]:
        """See `JobHandle.waiting`."""
        self._seats.refuse_sleep("await handle")
        with self.awaiting(handle):
            yield

    def add_done_callback(self, handle: JobHandle, fn: Callable[[JobHandle], object]) -> None:
        """See `JobHandle.add_done_callback`."""
        with self._mutex:
            self._mutex.settle()
            current = self._status.current(handle)
            # guard: a callback is kept only if there is an end to come
            #   without: if True:
            if not (current._status in FINAL or self.is_over() or self._is_gone(current)):
                callback = fn if current is handle else lambda _: fn(handle)
                if current._callbacks is None:
                    current._callbacks = [callback]  # of just this size: there may be many
                else:
                    current._callbacks.append(callback)
                return
        self._placement.endings.call(handle, fn)

    def _is_gone(self, handle: JobHandle) -> bool:
        """With the mutex: the job has not ended, and is not there, for the log did not take it."""
        return self._status.live.get(handle._job._id) is not handle

    def _unless_failed(self, handle: JobHandle) -> JobHandle:
        """With the mutex: the handle; raises if a fault keeps its job from ever ending."""
        if handle._status not in FINAL and self._state.now is State.FAILED:
            raise self._state.fault_error()
        return handle

    # What is kept of a job that has ended.

    def info(self, job_id: str) -> JobInfo:
        """See `JobQueue.info`."""
        with self._mutex:
            self._mutex.settle()
            told = info(self._status, job_id, self._placement.clock)
            stored, codec = self.stored(job_id)
        return with_result(told, stored, codec)

    def kept_result(self, handle: JobHandle) -> object:
        """What a job returned that was completed before its handle was made.

        Raises:
            ResultGoneError: that is not kept.
            JobQueueError: it cannot be read.
        """
        job_id = handle._job._id
        with self._mutex:
            self._mutex.settle()
            stored, codec = self.stored(job_id)
        if stored is not None:
            return read_result(job_id, stored, codec)
        for kept_id, result in reversed(self._status.results.copy()):
            if kept_id == job_id:
                return result
        raise ResultGoneError(
            f"job {job_id!r} is completed; its result is not in memory any more: of jobs without "
            f"store_result the last {self._status.results.maxlen} (result_retention) stay there, "
            f"until the queue ends; keep it by @tasks.task(store_result=True) or "
            f"Job(..., store_result=True)"
        )

    def stored_result(self, job_id: str) -> StoredResult | None:
        """The result that is kept with a job, as it is kept."""
        with self._mutex:
            self._mutex.settle()
            return self.stored(job_id)[0]

    def stored(self, job_id: str) -> tuple[StoredResult | None, ResultCodec | None]:
        """With the mutex: the result that is kept with a job, and its handler's codec."""
        record = self._status.finished.get(job_id)
        if record is None or record.result is None:
            return None, None
        handler = self._placement.registry.find(record.handler)
        return record.result, None if handler is None else handler.policy.result_codec

    def missing_result(self, handle: JobHandle) -> JobQueueError | TimeoutError:
        """Why a job that is not completed has no result to give."""
        with self._mutex:
            self._mutex.settle()
            state = handle._status.value
            if handle._status in FINAL:
                error = f": {handle._failure[0]}" if handle._failure is not None else ""
                return JobQueueError(
                    f"job {handle.id!r} is {state}{error}; its error is not in memory, since it "
                    f"was finished before this handle was made"
                )
            if self._state.now >= State.ENDED:
                return QueueClosedError(
                    f"the queue closed before job {handle.id!r} was finished ({state})"
                )
            if self._is_gone(handle):
                return unknown_job(handle.id)
        return TimeoutError(f"job {handle.id!r} is not finished yet ({state})")


def with_result(told: JobInfo, stored: StoredResult | None, codec: ResultCodec | None) -> JobInfo:
    """What is told of a job, with the result that is kept with it. Without the mutex."""
    if stored is None:
        return told
    try:
        return replace(told, result=read_result(told.id, stored, codec))
    except JobQueueError:  # it keeps nobody from the rest; `result` raises it
        return told
