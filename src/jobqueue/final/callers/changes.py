"""`cancel`, `requeue`, `discard`, `register`: what a caller does to jobs that were accepted.

Guarantees: a change that returned has reached the log's level of durability. One that an exception
from outside interrupted (KeyboardInterrupt) is either done, and recorded as all others are, or not
begun: the status tells.
Relies on: the queue's mutex, taken here. How a change survives an exception anywhere in it is told
in `core/unfinished.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.cancelling import Cancelling
from ..core.queue_state import State
from ..model.context import StopRequest
from ..model.handle import ARRIVING, NOT_ARRIVED, JobHandle
from ..model.transitions import Status
from ..wal.format.record import Discarded, Hastened, Requeued, Revoked

if TYPE_CHECKING:
    from ..core.placement import Placement
    from ..core.queue_state import QueueState
    from ..core.remembered import DeadLetter
    from ..core.unfinished import Change
    from ..model.handle import HandleOwner
    from ..model.handlers import Handler
    from ..wal.format.record import Record
    from ..wal.writing.batch import OpenBatch


class Changes:
    """Changes jobs. All methods are called by callers' threads, without the mutex."""

    def __init__(self, owner: HandleOwner, placement: Placement, state: QueueState) -> None:
        self._owner = owner
        self._placement = placement
        self._mutex = placement.mutex
        self._status = placement.status
        self._state = state

    def cancel(self, job_id: str) -> bool:
        """See `JobQueue.cancel`."""
        waiting: JobHandle | None = None
        try:
            with self._mutex:
                self._mutex.settle()
                handle = self._status.live.get(job_id)
                if handle is None:
                    self._status.status(job_id)
                    return False
                self._state.refuse_after(State.CLOSING)
                change = cancelling(self._placement, handle)
                waiting = change.ended
                batch = self._placement.carry_out(change)
            self._await(batch)
            return True
        finally:
            if waiting is not None and waiting._status is Status.CANCELLED:
                self._placement.endings.tell(waiting)

    def requeue(self, job_id: str) -> JobHandle:
        """See `JobQueue.requeue`."""
        with self._mutex:
            self._mutex.settle()
            self._state.refuse_after(State.OPEN)
            letter = self._status.letter(job_id)
            change = Requeue(self._placement, letter, self._owner)
            batch = self._placement.carry_out(change)
        self._await(batch, letter.number)
        if self._placement.registry.untold:
            self._placement.missing.tell()
        return change.handle

    def discard(self, job_id: str) -> None:
        """See `JobQueue.discard`."""
        with self._mutex:
            self._mutex.settle()
            self._state.refuse_after(State.CLOSING)
            letter = self._status.letter(job_id)
            batch = self._placement.carry_out(Discard(self._placement, letter))
        self._await(batch)

    def register(self, name: str, handler: Handler, *, replace: bool) -> None:
        """See `JobQueue.register`."""
        change = None  # outlives the hold of the mutex: an old handler's finalizer is a user's code
        with self._mutex:
            self._mutex.settle()
            if self._placement.registry.check(name, handler, replace=replace):
                change = _Register(self._placement, name, handler)
                self._placement.carry_out(change)

    def _await(self, batch: OpenBatch | None, number: int = 0) -> None:
        """Without the mutex: wait until that is done; `number` names a job that is to come back."""
        if batch is not None and self._placement.journal is not None:
            self._placement.journal.writer.wait(batch, number)


def cancelling(placement: Placement, handle: JobHandle) -> Change:
    """The change that cancels a live job; if it runs, its handler is asked to stop."""
    if handle._status is Status.PROCESSING:
        return _Stop(placement, handle)
    return Cancelling(placement, handle)


class _Stop:
    """Ask the handler of a running job to stop.

    If the process ends first, the job is cancelled at the next start, and not run again.
    """

    freed_bytes = 0
    ended: JobHandle | None = None

    def __init__(self, placement: Placement, handle: JobHandle) -> None:
        self._placement = placement
        self._handle = handle
        self.record: Record | None = Revoked(handle._number, placement.clock.time())

    def finish(self) -> None:
        handle = self._handle
        if handle._status is Status.PROCESSING:
            if handle._stop is None:
                placement = self._placement
                handle._stop = StopRequest(placement.timer.sleep, placement.closing)
            handle._stop.cancel()


class Requeue:
    """Make a dead letter a queued job again, under a new handle.

    Attributes:
        handle: that handle.
    """

    freed_bytes = 0
    ended: JobHandle | None = None

    def __init__(self, placement: Placement, letter: DeadLetter, owner: HandleOwner) -> None:
        self._placement = placement
        self._letter = letter
        self.handle = JobHandle(owner, letter.job, Status.QUEUED, letter.number)
        self.handle._call = letter.call
        self._is_moved = False
        self.record: Record | None = Requeued(letter.number, placement.clock.time())

    def finish(self) -> None:
        """See `Change`."""
        placement, letter, handle = self._placement, self._letter, self.handle
        if not self._is_moved:  # once: without room for its record, the log makes it a letter again
            call = letter.call or placement.registry.find(letter.job._handler)
            placement.status.requeue(letter, handle, call)
            self._is_moved = True
        if handle._ties is not None:
            placement.bindings.requeued(handle)
        if handle._status is Status.QUEUED and handle._since == NOT_ARRIVED:
            if placement.journal is None:
                placement.arrive(handle)
            else:
                placement.await_durable(letter, handle)


class Discard:
    """Drop a dead letter."""

    ended: JobHandle | None = None

    def __init__(self, placement: Placement, letter: DeadLetter) -> None:
        self._placement = placement
        self._letter = letter
        self.record: Record | None = Discarded(letter.number)
        self.freed_bytes = len(letter.job._payload)

    def finish(self) -> None:
        """See `Change`."""
        self._placement.status.discard(self._letter)


class Hasten:
    """Queue a scheduled job before its time."""

    freed_bytes = 0
    ended: JobHandle | None = None

    def __init__(self, placement: Placement, handle: JobHandle) -> None:
        self._placement = placement
        self._handle = handle
        self.record: Record | None = Hastened(handle._number, placement.clock.time())

    def finish(self) -> None:
        """See `Change`."""
        placement, handle = self._placement, self._handle
        placement.status.hasten(handle)
        placement.timer.remove(handle, handle._due_tick)
        if handle._status is Status.QUEUED and handle._since == NOT_ARRIVED:
            placement.arrive(handle)
        placement.watchers.look()


class _Register:
    """Add a handler, and have the jobs arrive that wait for it."""

    record: Record | None = None
    freed_bytes = 0
    ended: JobHandle | None = None

    def __init__(self, placement: Placement, name: str, handler: Handler) -> None:
        self._placement = placement
        self._name = name
        self._handler = handler
        self._waiting = placement.registry.parked_under(name)
        self._old = placement.registry.find(name)

    def finish(self) -> None:
        placement = self._placement
        placement.registry.put(self._name, self._handler)
        if self._old is not None:
            placement.replace(self._old, self._handler)
        for handle in self._waiting:
            placement.registry.unpark(handle)
            if handle._since == ARRIVING:
                placement.arrive(handle)
