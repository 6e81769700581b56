"""The status map: every job that the queue knows, and the only place that changes a status.

Guarantees: a status changes only as `transitions.py` allows. Any other change raises `ValueError`
before anything has changed. Counters change in the same step.
Relies on: the queue's mutex, held by the caller of every method. What a caller's thread runs is
made of steps that may be done again, as `unfinished.py` tells.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from ..errors import DuplicateJobError
from ..model.handle import NO_RESULT, NOT_ARRIVED, JobHandle
from ..model.handler_meter import SAMPLED_MASK, SAMPLES
from ..model.job import Job, Priority
from ..model.transitions import Event, Status, after
from .counters import LaneMeter
from .order import Order
from .remembered import DeadLetter, Finished, attempts_with, record_of, unknown_job
from .watchers import wake_waiters

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import HandleOwner, Raised
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


class StatusMap:
    """Jobs by id: live ones, finished ones within retention, dead letters.

    Args:
        retention: how many finished jobs are remembered.
        dead_letters_max: how many dead letters are kept.
        result_retention: how many results of jobs that do not store them are kept.

    Attributes:
        reserved: ids of jobs that attempts hold back, and whose; see `children.py`.
        results: the last results of jobs that do not store them, with the jobs' ids, oldest first.
            Threads append to it without the mutex: an older result that goes may run users' code.
        result_bytes: of the results that are stored, about.
        find: tells the handler of a name; set by `Placement`.
        order: the ids of all of them in order, once anybody has looked.
        requeued: how many dead letters were queued again.
    """

    def __init__(self, *, retention: int, dead_letters_max: int, result_retention: int = 0) -> None:
        self.live: dict[str, JobHandle] = {}
        self.finished: dict[str, Finished] = {}
        self.dead: dict[str, DeadLetter] = {}
        self.reserved: dict[str, JobHandle] = {}
        self.results: deque[tuple[str, object]] = deque(maxlen=result_retention)
        self.result_bytes = 0
        self.order = Order(self.finished, self.live, self.dead)
        self.requeued = 0
        self.find: Callable[[str | None], Handler | None] = lambda _name: None
        self.meters = tuple(LaneMeter() for _ in Priority)
        self._finished_order: deque[str] = deque()
        self._retention = retention
        self._dead_letters_max = dead_letters_max

    def __contains__(self, job_id: str) -> bool:
        return job_id in self.live or job_id in self.finished or job_id in self.dead

    def refuse_known(self, job_id: str) -> None:
        """Raises `DuplicateJobError` if the id is known."""
        if job_id in self.reserved:
            parent = self.reserved[job_id].id
            raise DuplicateJobError(
                f"job {job_id!r} is held back by job {parent!r}, whose handler is to enqueue it; "
                f"give each job an id of its own"
            )
        if job_id in self:
            raise DuplicateJobError(
                f"job {job_id!r} is already known ({self.status(job_id).value}); "
                f"give each job an id of its own"
            )

    def accept(self, handle: JobHandle) -> None:
        """A new job, queued or scheduled; its id is not known yet."""
        job = handle._job
        meter, job_id = self.meters[job._priority], job._id
        if self.order.is_kept:
            self.order.note(job_id)  # if it is broken off here, nothing is known of it
        self.live[job_id] = handle  # one step
        meter.enqueued += 1
        if handle._status is not _QUEUED:
            meter.scheduled += 1

    def forget(self, handle: JobHandle) -> None:
        """Undo `accept`: the job's record could not be written. Again, it does what is left."""
        job = handle._job
        if self.live.get(job._id) is handle:
            meter = self.meters[job._priority]
            del self.live[job._id]  # one step
            meter.enqueued -= 1
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

    def hasten(self, handle: JobHandle) -> None:
        """A scheduled job is queued before its time; it has yet to arrive. Again, it is so."""
        if handle._status is Status.SCHEDULED:
            meter = self.meters[handle._job._priority]
            handle._since = NOT_ARRIVED  # one step
            handle._status = _DUE
            meter.scheduled -= 1

    def start(self, handle: JobHandle, now: float, wall: float) -> None:
        """A worker took a queued job."""
        if handle._status is not _QUEUED:
            after(handle._status, Event.START)
        meter = self.meters[handle._job._priority]
        meter.queue_waits.append(now - handle._since)
        theirs = None if handle._call is None else handle._call.meter
        if theirs and (theirs.completed < SAMPLES or not theirs.completed & SAMPLED_MASK):
            theirs.queue_waits.append(now - handle._since)
        handle._status = _STARTED  # one step
        handle._since = now
        handle._started = wall
        meter.processing += 1

    def complete(
        self, handle: JobHandle, result: object, now: float, wall: float
    ) -> StoredResult | None:
        """A handler returned. Returns what is stored of the result."""
        if handle._status is not _PROCESSING:
            after(handle._status, Event.RETURN)
        job, call = handle._job, handle._call
        assert call is not None  # it ran
        job_id, meter, theirs = job._id, self.meters[job._priority], call.meter
        seconds = now - handle._since
        meter.run_times.append(seconds)
        if theirs.completed < SAMPLES or not theirs.completed & SAMPLED_MASK:
            theirs.run_times.append(seconds)
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
        meter = self._measured(handle, now)
        attempts = attempts_with(handle, failure, wall)
        if handle._call is not None:
            handle._call.meter.retries_after(failure[0])
        handle._job._retries += 1
        handle._failure = failure
        handle._attempts = attempts
        handle._status = _RETRIED  # one step
        meter.processing -= 1
        meter.scheduled += 1
        meter.retried += 1

    def fail(
        self, handle: JobHandle, failure: Failure, raised: Raised, now: float, wall: float
    ) -> None:
        """An attempt failed for good."""
        if handle._status is not _PROCESSING:
            after(handle._status, Event.FAIL)
        meter = self._measured(handle, now)
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
        if handle._call is not None:
            handle._call.meter.fails_for(failure[0])
        handle._failure = failure
        handle._outcome = raised
        handle._status = _FAILED  # one step
        meter.processing -= 1
        meter.failed += 1
        del self.live[job._id]
        self.dead[job._id] = letter

    def one_too_many(self) -> DeadLetter | None:
        """The dead letter that has to go for the last one."""
        if len(self.dead) > self._dead_letters_max:
            return next(iter(self.dead.values()))
        return None

    def bury(self, letter: DeadLetter) -> None:
        """Keep a failed job."""
        self.dead[letter.job._id] = letter

    def cancel(self, handle: JobHandle, now: float, wall: float, *, expired: bool = False) -> None:
        """A job was cancelled: before it ran, or because its handler gave up when asked to.

        Again, it does what is left, if no job has ended since.
        """
        job_id, before = handle._job._id, handle._status
        if before is not _CANCELLED:
            after(before, Event.CANCEL)
            meter = self.meters[handle._job._priority]
            if before is _PROCESSING:  # by a worker
                self._measured(handle, now)
            record = record_of(handle, _CANCELLED, wall)
            if before is _PROCESSING and handle._failure is not None:
                attempts = attempts_with(handle, handle._failure, wall)
                record = record_of(handle, _CANCELLED, wall, attempts=attempts)
            if (call := handle._call or self.find(handle._job._handler)) is not None:
                call.meter.cancelled += 1
            handle._status = _CANCELLED  # one step
            self.finished[job_id] = record
            del self.live[job_id]
            meter.cancelled += 1
            meter.expired += expired
            if before is _SCHEDULED:
                meter.scheduled -= 1
            elif before is _PROCESSING:
                meter.processing -= 1
        self._keep(job_id)
        wake_waiters(handle)

    def requeue(self, letter: DeadLetter, handle: JobHandle) -> None:
        """A dead letter is a queued job again, as if new, under a new handle. Again, it is so."""
        job = letter.job
        if self.dead.get(job._id) is letter:
            meter = self.meters[job._priority]
            handle._status = _REQUEUED  # one step
            job._retries = 0
            self.live[job._id] = handle
            del self.dead[job._id]
            meter.enqueued += 1
            self.requeued += 1

    def discard(self, letter: DeadLetter) -> None:
        """A dead letter goes. Again, it does nothing."""
        self.dead.pop(letter.job._id, None)

    def bury_again(self, letter: DeadLetter, handle: JobHandle) -> None:
        """Undo `requeue`: its record could not be written."""
        meter = self.meters[letter.job._priority]
        if self.live.pop(letter.job._id, None) is handle:
            letter.job._retries = letter.retries
            handle._status = Status.FAILED
            self.bury(letter)
            meter.enqueued -= 1
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

    def _measured(self, handle: JobHandle, now: float) -> LaneMeter:
        meter = self.meters[handle._job._priority]
        meter.run_times.append(now - handle._since)
        if handle._call is not None:
            handle._call.meter.run_times.append(now - handle._since)
        return meter

    # What callers ask.

    def status(self, job_id: str) -> Status:
        """Raises `UnknownJobError`."""
        handle = self.live.get(job_id)
        if handle is not None:
            return handle._status
        finished = self.finished.get(job_id)
        if finished is not None:
            return finished.status
        if job_id in self.dead:
            return Status.FAILED
        raise unknown_job(job_id)

    def current(self, handle: JobHandle) -> JobHandle:
        """The handle that stands for the job now: another one if it was requeued."""
        if handle._status is not Status.FAILED:
            return handle
        job = handle._job
        live = self.live.get(job._id)
        if live is not None and live._job is job:
            return live
        record = self.finished.get(job._id)  # of this job, or of a later one with its id
        if record is not None and record.created == job._created:
            return self.handle(handle._owner, job._id)
        return handle

    def handle(self, owner: HandleOwner, job_id: str) -> JobHandle:
        """The handle of a known job; a new one, without result, if it has finished."""
        live = self.live.get(job_id)
        if live is not None:
            return live
        letter = self.dead.get(job_id)
        if letter is not None:
            handle = JobHandle(owner, letter.job, Status.FAILED, letter.number)
            handle._failure, handle._progress = letter.failure, letter.progress
        elif job_id in self.finished:
            record = self.finished[job_id]
            job = Job(id=job_id, priority=record.priority, key=record.key, _created=record.created)
            handle = JobHandle(owner, job, record.status)
            handle._progress = record.progress
        else:
            raise unknown_job(job_id)
        handle._outcome = NO_RESULT
        return handle

    def letter(self, job_id: str) -> DeadLetter:
        """A dead letter; raises `UnknownJobError`, or `ValueError` if the job has not failed."""
        letter = self.dead.get(job_id)
        if letter is None:
            status = self.status(job_id)
            raise ValueError(
                f"job {job_id!r} is {status.value}; only failed jobs are requeued and discarded"
            )
        return letter
