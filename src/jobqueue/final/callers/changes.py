"""`cancel`, `requeue`, `discard`: what a caller does to a job that was accepted.

Guarantees: a change that returned has reached the log's level of durability. One that an exception
from outside interrupted (KeyboardInterrupt) may be done and not recorded: the status tells what
holds now, and the next start may find the job as it was before.
Relies on: the queue's mutex, taken here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.queue_state import State
from ..model.handle import JobHandle
from ..model.transitions import Status

if TYPE_CHECKING:
    from ..core.placement import Placement
    from ..core.queue_state import QueueState
    from ..model.handle import HandleOwner
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
                handle = self._status.live.get(job_id)
                if handle is None:
                    self._status.status(job_id)
                    return False
                self._state.refuse_after(State.CLOSING)
                if handle._status is not Status.PROCESSING:
                    waiting = handle
                batch = self._commit() if self._placement.cancel(handle) else None
            self._await(batch)
            return True
        finally:
            if waiting is not None and waiting._status is Status.CANCELLED:
                self._placement.endings.tell(waiting)

    def requeue(self, job_id: str) -> JobHandle:
        """See `JobQueue.requeue`."""
        with self._mutex:
            self._state.refuse_after(State.OPEN)
            letter = self._status.letter(job_id)
            handle = JobHandle(self._owner, letter.job, Status.QUEUED, letter.number)
            handle._call = letter.call
            self._placement.requeue(letter, handle)
            batch = self._commit()
        self._await(batch, letter.number)
        self._placement.warn_missing()
        return handle

    def discard(self, job_id: str) -> None:
        """See `JobQueue.discard`."""
        with self._mutex:
            self._state.refuse_after(State.CLOSING)
            letter = self._status.letter(job_id)
            del self._status.dead[job_id]
            if self._placement.journal is not None:
                self._placement.journal.discarded(letter)
            batch = self._commit()
        self._await(batch)

    def _commit(self) -> OpenBatch | None:
        """With the mutex: bring what was recorded to the log's level."""
        journal = self._placement.journal
        return None if journal is None else journal.writer.commit()

    def _await(self, batch: OpenBatch | None, number: int = 0) -> None:
        """Without the mutex: wait until that is done; `number` names a job that is to come back."""
        if batch is not None and self._placement.journal is not None:
            self._placement.journal.writer.wait(batch, number)
