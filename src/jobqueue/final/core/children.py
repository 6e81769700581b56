"""Jobs that a handler enqueues together with its own completion: all of them or none.

They are held back until the handler has returned, and then stand in the very record that says so.
So whatever crashes or retries come between, they are there once, or not at all. A handler that
fails has enqueued nothing.

Guarantees: the id of a job that is held back is no other's; it is free again if the attempt fails.
Relies on: the queue's mutex, held by the caller of every method. What the thread that ends an
attempt may be hit in is made of steps that may be done again, as `unfinished.py` tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DuplicateJobError, repeated
from ..model.handle import NOT_ARRIVED, JobHandle
from ..model.transitions import Status
from ..timing.timer import tick_after
from .dependencies import not_known, renamed, ties_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model.context import Held
    from ..wal.format.record import Enqueued
    from .placement import Placement


class Children:
    """The jobs that are held back, of all attempts."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._status = placement.status

    def hold_back(self, parent: JobHandle, jobs: Sequence[Held]) -> None:
        """Take jobs that are to be enqueued when the parent's handler returns: all or none.

        Raises:
            DuplicateJobError: an id is known, or taken; or there is one like a job that says so.
            UnknownJobError: a job is to run after one that is unknown.
            UnknownHandlerError: as for `enqueue`.
        """
        new: dict[str, JobHandle] = {}
        reserved = self._status.reserved
        for job, delay in jobs:
            job_id = job._id
            if job_id in new:
                raise repeated(job_id)
            if job_id in self._status or job_id in reserved:
                self._status.refuse_known(job_id)
            for each in job.after:
                theirs = reserved.get(each)
                if each not in self._status and each not in new and theirs is not parent:
                    raise not_known(job, each)
            if self._placement.registry.find(job._handler) is None:
                self._placement.registry.refuse_unknown(job)
            self._placement.bindings.refuse_like(job)
            new[job_id] = child = JobHandle(parent._owner, job._copy(), Status.QUEUED)
            ties_of(child).delay = delay
        ties = ties_of(parent)
        reserve, whose = reserved.update, dict.fromkeys(new, parent)
        ties.children = (ties.children or {}) | new  # one step
        reserve(whose)

    def drop(self, parent: JobHandle) -> None:
        """The attempt has ended: what it held back and is not accepted is gone."""
        ties = ties_of(parent)
        for job_id in ties.children or ():
            self._status.reserved.pop(job_id, None)  # guard: an attempt that fails frees its ids
        ties.children = None

    def accept(self, parent: JobHandle) -> list[Enqueued]:
        """The handler has returned: accept what it held back. Again, it does what is left.

        Returns:
            The records for the log, if there is one.
        """
        ties = ties_of(parent)
        children = ties.children or {}
        for job_id, child in tuple(children.items()):
            self._status.reserved.pop(job_id, None)
            if self._status.live.get(job_id) is not child:
                child._job = renamed(child._job, ties.names)
            first = self._accept(child, parent)
            # guard: a child is not let in beside one like it
            if first is None:
                continue
            if first is not child:  # what is after it is after the one that is like it
                ties.names = {**ties.names, job_id: first._job._id}
            children.pop(job_id)
        return [ties_of(child).record for child in children.values()]

    def _accept(self, child: JobHandle, parent: JobHandle) -> JobHandle | None:
        """Let one in; if it is not, gives the one that is like it, or itself."""
        placement, job = self._placement, child._job
        delay = ties_of(child).delay
        if self._status.live.get(job._id) is not child:
            first = None if job._plan is None else self._meet(child, parent)
            if first is not None:
                return first
            job._retries = 0
            if delay:
                child._due_tick = tick_after(placement.clock.monotonic() + delay)
                child._status = Status.SCHEDULED
            self._status.accept(child, placement.registry.find(job._handler))
        expires = None if job._plan is None else placement.bindings.bind(child)
        if child._call is None:
            child._call = placement.registry.find(job._handler)
        if child._call is None:
            placement.registry.expect(child)
        if placement.journal is not None and ties_of(child).record is None:
            due = placement.clock.time() + delay if delay else None
            ties_of(child).record = placement.journal.born(child, due, delay or None, expires)
        return None

    def _meet(self, child: JobHandle, parent: JobHandle) -> JobHandle | None:
        """What is to be had in its place, if it is not to be let in: one that is like it.

        One that it replaces is cancelled; but not one that comes with it, of which the log has no
        record yet.
        """
        bindings = self._placement.bindings
        try:
            first = bindings.meet(child, parent)
        except DuplicateJobError:  # one like it has come since the call
            return child
        if first is None:
            return None
        siblings = ties_of(parent).children or {}
        if first._job._id in siblings or not bindings.may_replace(child, first):
            return first
        bindings.replace(first)
        bindings.meet_next(child, first)
        return None

    def arrive(self, parent: JobHandle) -> None:
        """What was accepted goes on its way, at once or when its record has reached its level."""
        placement, children = self._placement, ties_of(parent).children or {}
        for child in children.values():
            if child._since != NOT_ARRIVED or placement.bindings.cancel_doomed(child):
                continue
            if placement.journal is None:
                placement.arrive(child)
        if children and placement.journal is not None:
            placement.journal.writer.hurry()
