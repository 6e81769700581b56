"""Jobs that are accepted in one: all of them or none, in one batch of the log.

It is a change as callers' are, see `unfinished.py`: once it was begun it is done, all of it, also
by another thread, for an exception from outside may break it off. So of these jobs none is ever
there without the others, neither here nor in the log.

Relies on: the queue's mutex, held by the caller of every method, from the look at what the jobs
meet to the end of the change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..model.handle import ARRIVING, NOT_ARRIVED
from ..model.transitions import Status
from ..timing.timer import tick_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model.handle import JobHandle
    from ..wal.format.record import Enqueued, Record
    from .placement import Placement


class Entrant(NamedTuple):
    """A job that is about to be accepted with others.

    Attributes:
        handle: its handle.
        delay: seconds that it waits.
        replaces: the jobs whose place it takes.
    """

    handle: JobHandle
    delay: float
    replaces: tuple[JobHandle, ...]


class Together:
    """The acceptance of several jobs. Made and finished with the mutex.

    Args:
        entrants: the jobs; what they wait for has been looked up, and there is room for them.
    """

    def __init__(self, placement: Placement, entrants: Sequence[Entrant]) -> None:
        self._placement = placement
        self._entrants = entrants
        self._replacing = [(each.handle, first) for each in entrants for first in each.replaces]
        self._replaced = 0
        self._records: dict[JobHandle, Enqueued] = {}
        self.record: Record | None = None  # there are several, which `finish` adds
        self.freed_bytes = 0
        self.ended: JobHandle | None = None

    def finish(self) -> None:
        """See `Change`."""
        bindings, journal = self._placement.bindings, self._placement.journal
        while self._replaced < len(self._replacing):
            handle, first = self._replacing[self._replaced]
            bindings.replace(first)
            bindings.meet_next(handle, first)
            self._replaced += 1
        for each in self._entrants:
            self._accept(each.handle, each.delay)
        if journal is not None:
            journal.together(list(self._records.values()))
        for each in self._entrants:
            handle = each.handle
            if handle._since not in {NOT_ARRIVED, ARRIVING}:
                continue
            is_doomed = handle._ties is not None and bindings.cancel_doomed(handle)
            if journal is None and not is_doomed:
                self._placement.arrive(handle)

    def _accept(self, handle: JobHandle, delay: float) -> None:
        placement, job = self._placement, handle._job
        if placement.status.live.get(job._id) is not handle and handle._since == NOT_ARRIVED:
            job._retries = 0
            if delay:
                handle._due_tick = tick_after(placement.clock.monotonic() + delay)
                handle._status = Status.SCHEDULED
            placement.status.accept(handle, placement.registry.find(job._handler))
        expires = None if handle._ties is None else placement.bindings.bind(handle)
        if handle._call is None and handle._status is Status.QUEUED:
            handle._call = placement.registry.find(job._handler)
        if placement.registry.find(job._handler) is None:
            placement.registry.expect(handle)
        elif handle._status is Status.QUEUED and not job.after and not handle._has_room:
            lane = placement.scheduler.lanes[job._priority]
            if lane.room > 0:
                handle._has_room = True  # one step
                lane.room -= 1
        if placement.journal is not None and handle not in self._records:
            due = placement.clock.time() + delay if delay else None
            is_joined = len(self._records) > 0
            record = placement.journal.born(handle, due, delay or None, expires)
            self._records[handle] = record  # one step
            record.joined = is_joined
