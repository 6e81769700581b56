"""The status map: every job that the queue knows, and the only place that changes a status.

Guarantees: a status changes only as `transitions.py` allows. Any other change raises `ValueError`
before anything has changed. Counters change in the same step.
Relies on: the queue's mutex, held by the caller of every method. What a caller's thread runs is
made of steps that may be done again, as `unfinished.py` tells.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from ..model.handle import NOT_ARRIVED, JobHandle
from ..model.handler_meter import GATHERED, LaneMeter, LaneTally
from ..model.transitions import Event, Status, after
from .known import Known
from .order import Order
from .remembered import DeadLetter, Finished, attempts_with, record_of
from .watchers import wake_waiters

if TYPE_CHECKING:
    from ..model.handle import Raised
    from ..model.handlers import Handler
    from ..model.results import StoredResult
    from ..runtime.reporting import Failure

_QUEUED, _SCHEDULED = Status.QUEUED, Status.SCHEDULED  # a look into an enumeration is slow
_PROCESSING = Status.PROCESSING
_DUE = after(Status.SCHEDULED, Event.DUE)
_STARTED = after(Status.QUEUED, Event.START)
_RETURNED = after(Status.PROCESSING, Event.RETURN)
_RETRIED = after(Status.PROCESSING, Event.RETRY)
_FAILED = after(Status.PROCESSING, Event.FAIL)
_CANCELLED = after(Status.QUEUED, Event.CANCEL)
_REQUEUED = after(Status.FAILED, Event.REQUEUE)


class StatusMap(Known):
    """Jobs by id: live ones, finished ones within retention, dead letters.

    Args:
        retention: how many finished jobs are remembered.
        dead_letters_max: how many dead letters are kept.
        result_retention: how many results of jobs that do not store them are kept.

    Attributes:
        results: the last results of jobs that do not store them, with the jobs' ids, oldest first.
            Threads append to it without the mutex: an older result that goes may run users' code.
        result_bytes: of the results that are stored, about.
        meters: the counters by priority; set by `Placement`.
        unregistered: those of jobs whose handler is not registered, likewise.
        order: the ids of all of them in order, once anybody has looked.
        requeued: how many dead letters were queued again.
    """

    def __init__(self, *, retention: int, dead_letters_max: int, result_retention: int = 0) -> None:
        super().__init__()
        self.results: deque[tuple[str, object]] = deque(maxlen=result_retention)
        self.result_bytes = 0
        self.order = Order(self.finished, self.live, self.dead)
        self.requeued = 0
        self.meters: tuple[LaneMeter, ...] = ()
        self.unregistered: tuple[LaneTally, ...] = ()
        self._finished_order: deque[str] = deque()
        self._retention = retention
        self._dead_letters_max = dead_letters_max

    def accept(self, handle: JobHandle, call: Handler | None) -> None:
        """A new job, queued or scheduled; its id is not known yet. `call` is what runs it now."""
        job = handle._job
        job_id = job._id
        tallies = self.unregistered if call is None else call.tallies
        theirs = handle._tally = tallies[job._priority]
        meter = theirs.lane
        if self.order.is_kept:
            self.order.note(job_id)  # if it is broken off here, nothing is known of it
        self.live[job_id] = handle  # one step
        meter.enqueued += 1
        theirs.enqueued += 1
        if handle._status is not _QUEUED:
            meter.scheduled += 1

    def forget(self, handle: JobHandle) -> None:
        """Undo `accept`: the job's record could not be written. Again, it does what is left."""
        job = handle._job
        if self.live.get(job._id) is handle:
            meter, theirs = self.meters[job._priority], handle._tally
            del self.live[job._id]  # one step
            meter.enqueued -= 1
            theirs.enqueued -= 1
            if handle._status is not _QUEUED:
                meter.scheduled -= 1
        wake_waiters(handle)

    def due(self, handle: JobHandle, now: float) -> bool:
        """A scheduled job's time has come; `False` if it is not scheduled any more."""
        if handle._status is not Status.SCHEDULED:
            return False
        meter = self.meters[handle._job._priority]
        handle._status = _DUE
        handle._since = now
        meter.scheduled -= 1
        return True

    def hasten(self, handle: JobHandle, since: float = NOT_ARRIVED) -> None:
        """A scheduled job is queued, whatever its time; it has yet to arrive. Again, it is so.

        Args:
            since: in place of when it arrived.
        """
        if handle._status is Status.SCHEDULED:
            meter = self.meters[handle._job._priority]
            handle._since = since  # one step
            handle._status = _DUE
            meter.scheduled -= 1

    def start(self, handle: JobHandle, now: float, wall: float) -> None:
        """A worker took a queued job."""
        if handle._status is not _QUEUED:
            after(handle._status, Event.START)
        meter, seconds = handle._tally.lane, now - handle._since
        meter.queue_waits.append(seconds)
        handle._status = _STARTED  # one step
        handle._waited = seconds
        handle._since = now
        handle._started = wall
        meter.processing += 1

    def complete(
        self, handle: JobHandle, result: object, now: float, wall: float
    ) -> StoredResult | None:
        """A handler returned. Returns what is stored of the result."""
        if handle._status is not _PROCESSING:
            after(handle._status, Event.RETURN)
        job = handle._job
        job_id, theirs, seconds = job._id, handle._tally, now - handle._since
        meter = theirs.lane
        meter.run_times.append(seconds)
        times = theirs.times
        times.append(handle._waited)
        times.append(seconds)
        if len(times) >= GATHERED:
            theirs.count_times()
        stored = cast("StoredResult", handle._outcome) if job._store_result else None
        if job._plan is None and handle._failure is None:  # mostly so: `record_of`, without a call
            record = Finished(
                _RETURNED,
                job._priority,
                job._handler,
                job._headers,
                job._retries,
                None,
                job._created,
                handle._started,
                wall,
                handle._progress,
                stored,
            )
        else:
            record = record_of(handle, _RETURNED, wall, stored)
        if stored is not None:
            self.result_bytes += len(stored.data)
        handle._outcome = result
        handle._status = _RETURNED  # one step
        self.finished[job_id] = record
        del self.live[job_id]
        meter.processing -= 1
        meter.completed += 1
        theirs.completed += 1
        self._finished_order.append(job_id)
        if len(self._finished_order) > self._retention:
            self._forget_oldest()
        if handle._waiters:
            wake_waiters(handle)
        return stored

    def complete_rest(self, handle: JobHandle) -> tuple[float, StoredResult | None]:
        """Do what is left of `complete` if that was broken off.

        Returns:
            Its `wall`, and what is stored of the result.
        """
        job_id = handle._job._id
        record = self.finished.get(job_id)
        self._keep(job_id)
        wake_waiters(handle)
        if record is None:
            return handle._job._created, None
        return record.finished, record.result

    def retry(self, handle: JobHandle, failure: Failure, now: float, wall: float) -> None:
        """An attempt failed and the job has retries left."""
        if handle._status is not _PROCESSING:
            after(handle._status, Event.RETRY)
        meter, theirs = self._measured(handle, now)
        attempts = attempts_with(handle, failure, wall)
        theirs.failed_by(failure[0])
        handle._job._retries += 1
        handle._failure = failure
        handle._attempts = attempts
        handle._status = _RETRIED  # one step
        meter.processing -= 1
        meter.scheduled += 1
        meter.retried += 1
        theirs.retried += 1

    def fail(
        self, handle: JobHandle, failure: Failure, raised: Raised, now: float, wall: float
    ) -> None:
        """An attempt failed for good."""
        if handle._status is not _PROCESSING:
            after(handle._status, Event.FAIL)
        meter, theirs = self._measured(handle, now)
        job = handle._job
        letter = DeadLetter(
            job,
            handle._number,
            handle._call,
            failure,
            handle._started,
            wall,
            job._retries,
            handle._progress,
            handle._attempts,
        )
        theirs.failed_by(failure[0])
        handle._failure = failure
        handle._outcome = raised
        handle._status = _FAILED  # one step
        meter.processing -= 1
        meter.failed += 1
        theirs.failed += 1
        del self.live[job._id]
        self.dead[job._id] = letter
        meter.dead += 1

    def one_too_many(self) -> DeadLetter | None:
        """The dead letter that has to go for the last one."""
        if len(self.dead) > self._dead_letters_max:
            return next(iter(self.dead.values()))
        return None

    def bury(self, letter: DeadLetter) -> None:
        """Keep a failed job."""
        self.dead[letter.job._id] = letter  # one step
        self.meters[letter.job._priority].dead += 1

    def cancel(self, handle: JobHandle, now: float, wall: float, *, expired: bool = False) -> None:
        """A job was cancelled: before it ran, or because its handler gave up when asked to.

        Again, it does what is left, if no job has ended since.
        """
        job_id, before = handle._job._id, handle._status
        if before is not _CANCELLED:
            after(before, Event.CANCEL)
            meter, theirs = handle._tally.lane, handle._tally
            if before is _PROCESSING:  # by a worker
                self._measured(handle, now)
            record = record_of(handle, _CANCELLED, wall)
            if before is _PROCESSING and handle._failure is not None:
                attempts = attempts_with(handle, handle._failure, wall)
                record = record_of(handle, _CANCELLED, wall, attempts=attempts)
            handle._status = _CANCELLED  # one step
            self.finished[job_id] = record
            del self.live[job_id]
            meter.cancelled += 1
            meter.expired += expired
            theirs.cancelled += 1
            theirs.expired += expired
            if before is _SCHEDULED:
                meter.scheduled -= 1
            elif before is _PROCESSING:
                meter.processing -= 1
        self._keep(job_id)
        wake_waiters(handle)

    def requeue(self, letter: DeadLetter, handle: JobHandle, call: Handler | None) -> None:
        """A dead letter is a queued job again, as if new, under a new handle. Again, it is so."""
        job = letter.job
        if self.dead.get(job._id) is letter:
            tallies = self.unregistered if call is None else call.tallies
            theirs = handle._tally = tallies[job._priority]
            meter = theirs.lane
            handle._status = _REQUEUED  # one step
            job._retries = 0
            self.live[job._id] = handle
            del self.dead[job._id]
            meter.dead -= 1
            meter.enqueued += 1
            theirs.enqueued += 1
            self.requeued += 1

    def discard(self, letter: DeadLetter) -> None:
        """A dead letter goes. Again, it does nothing."""
        if letter.job._id in self.dead:
            del self.dead[letter.job._id]  # one step
            self.meters[letter.job._priority].dead -= 1

    def bury_again(self, letter: DeadLetter, handle: JobHandle) -> None:
        """Undo `requeue`: its record could not be written."""
        meter, theirs = handle._tally.lane, handle._tally
        if self.live.pop(letter.job._id, None) is handle:
            letter.job._retries = letter.retries
            handle._status = Status.FAILED
            self.bury(letter)
            meter.enqueued -= 1
            theirs.enqueued -= 1
            wake_waiters(handle)

    def remember(self, job_id: str, record: Finished) -> None:
        """Keep a finished job; the oldest is forgotten if there are too many."""
        self.finished[job_id] = record
        if record.result is not None:
            self.result_bytes += len(record.result.data)
        self._keep(job_id)

    def _keep(self, job_id: str) -> None:
        order = self._finished_order
        if not order or order[-1] is not job_id:
            order.append(job_id)
        if len(order) > self._retention:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        order = self._finished_order
        forgotten = self.finished.pop(order[0], None)  # first: an interruption leaves nothing then
        if forgotten is not None and forgotten.result is not None:
            self.result_bytes -= len(forgotten.result.data)
        order.popleft()

    @staticmethod
    def _measured(handle: JobHandle, now: float) -> tuple[LaneMeter, LaneTally]:
        theirs, seconds = handle._tally, now - handle._since
        theirs.lane.run_times.append(seconds)
        theirs.ran(handle._waited, seconds)
        return theirs.lane, theirs
