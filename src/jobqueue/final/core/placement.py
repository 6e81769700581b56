"""Where an accepted job goes: into its lane, into the timer, or aside until its handler is there.

Guarantees: an accepted job arrives exactly once, when its record has reached the log's level of
durability; a job whose record could not be written leaves no trace.
Relies on: the queue's mutex, held by the caller of every method but `fire` and `warn_missing`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from ..model.context import StopRequest
from ..model.handle import NOT_ARRIVED, JobHandle
from ..model.transitions import FINAL, Status
from ..wal.format.record import Enqueued, Requeued
from .status_map import wake_waiters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..errors import LogWriteError
    from ..runtime.clock import Clock
    from ..runtime.mutex import Mutex
    from ..runtime.reporting import Reporter
    from ..timing.timer import Timer
    from ..wal.format.record import Record
    from ..wal.slots import Slots
    from .endings import Endings
    from .journal import Journal
    from .registry import HandlerRegistry
    from .scheduler import FairScheduler
    from .status_map import DeadLetter, StatusMap
    from .watchers import Watchers

RECORD_BYTES = 100
"""About what a record takes in the log, its payload apart."""
_SCHEDULED = Status.SCHEDULED


class Placement:
    """Moves jobs between the status map, the lanes, the timer and the parked ones."""

    def __init__(
        self,
        *,
        mutex: Mutex,
        clock: Clock,
        status: StatusMap,
        scheduler: FairScheduler,
        registry: HandlerRegistry,
        watchers: Watchers,
        endings: Endings,
        reporter: Reporter,
    ) -> None:
        self.mutex = mutex
        self.clock = clock
        self.status = status
        self.scheduler = scheduler
        self.registry = registry
        self.watchers = watchers
        self.endings = endings
        self.reporter = reporter
        self.timer: Timer  # set by the queue, since the timer calls `fire`
        self.journal: Journal | None = None  # set by the queue, since the log calls `on_durable`
        self.slots: Slots | None = None  # set by the queue, if there is a log
        self.suspects: set[JobHandle] = set()
        """Jobs that are one crash short of `max_crashes`, until they have run."""
        self._unannounced: set[str | None] = set()  # names without handler, not yet warned of
        self._requeued: dict[int, tuple[DeadLetter, JobHandle]] = {}  # not yet durable
        self._monotonic = clock.monotonic
        self._find = registry.find

    def arrive(self, handle: JobHandle) -> None:
        """An accepted job's record is durable, or there is no log: it may run from now on."""
        now = self._monotonic()
        if handle._status is _SCHEDULED:
            self._schedule(handle, now)
            return
        if handle._call is None:
            handle._call = self._find(handle._job._handler)
        if handle._call is None:
            if self.registry.park(handle, now):
                self._unannounced.add(handle._job._handler)
        elif self.suspects and handle in self.suspects:
            self.scheduler.push_suspect(handle, now)
        else:
            self.scheduler.push(handle, now)

    def _schedule(self, handle: JobHandle, now: float) -> None:
        tick = handle._due_tick
        try:
            handle._since = now
            self.timer.schedule(handle, tick)
        except BaseException:  # asynchronous: there is no telling whether it is there by now
            self.timer.remove(handle, tick)
            self.timer.schedule(handle, tick)
            raise

    def on_durable(
        self, records: Sequence[Record], error: LogWriteError | None, written: bool
    ) -> None:
        """The log's word on records (see `OnDurable`): their jobs arrive, or are forgotten."""
        live = self.status.live
        for record in records:
            if type(record) is not Enqueued:
                if type(record) is Requeued:
                    self._on_requeued(record.job, error, written)
                continue
            handle = live.get(record.id)
            if handle is None or handle._number != record.job or handle._since != NOT_ARRIVED:
                continue
            if error is None:
                self.arrive(handle)
            elif not written:
                self.forget(handle)
        if self.watchers.waiting:  # a job may wait for its handler now, and all be at rest
            self.watchers.look()

    def _on_requeued(self, number: int, error: LogWriteError | None, written: bool) -> None:
        letter, handle = self._requeued.get(number, (None, None))
        if letter is None or handle is None:
            return
        if error is None:
            if handle._status is Status.QUEUED and handle._since == NOT_ARRIVED:
                self.arrive(handle)
        elif not written:
            self.status.bury_again(letter, handle)
            self._owe(handle)
        self._requeued.pop(number, None)

    def requeue(self, letter: DeadLetter, handle: JobHandle) -> None:
        """Queue a dead letter again, under a new handle; it arrives as a new job does."""
        self.status.requeue(letter, handle)
        try:
            self._bring_back(letter, handle)
        except BaseException:  # asynchronous: it is no dead letter any more, so it must arrive
            self._bring_back(letter, handle)
            raise

    def _bring_back(self, letter: DeadLetter, handle: JobHandle) -> None:
        """Have a requeued job recorded, or arrive if there is no log. Twice does no harm."""
        if self.journal is not None:
            self._requeued[letter.number] = (letter, handle)
            self.journal.requeued(letter, self.clock.time())
        elif handle._since == NOT_ARRIVED:
            self.arrive(handle)

    def needed_bytes(self) -> int:
        """About what the log needs for what is unfinished, failed or retained. No mutex."""
        with self.mutex:
            status = self.status
            jobs = len(status.live) + len(status.dead)
            payload = 0 if self.journal is None else self.journal.payload_bytes
            return payload + jobs * RECORD_BYTES + len(status.finished) * 2 * RECORD_BYTES

    def forget(self, handle: JobHandle) -> None:
        """Undo the acceptance of a job that has not arrived."""
        if self.journal is not None and handle._number:
            self.journal.payload_bytes -= len(handle._job._payload)
        self.status.forget(handle)
        self.free_room(handle)
        self._owe(handle)
        if self.watchers.waiting:
            self.watchers.look()

    def _owe(self, handle: JobHandle) -> None:
        """Have another thread call the job's callbacks: this one may be the log's."""
        if handle._callbacks is not None:
            self.endings.owe(handle)
            self.timer.call_soon(self.endings.tell_owed_aside)

    def free_room(self, handle: JobHandle) -> None:
        """The job leaves its place in the lane, if it takes one."""
        if handle._has_room:
            lane = self.scheduler.lanes[handle._job._priority]
            handle._has_room = False
            lane.room += 1  # no call between, so that both are done
            if lane.producers:
                lane.wake_producer()

    def fire(self, items: list[object]) -> list[Callable[[], object]]:
        """Take what the timer found due: jobs, or functions to call.

        Called on the timer's thread, or the one that moves a manual clock; with the timer's lock,
        not the mutex.

        Returns:
            What those functions want called without the timer's lock.
        """
        now = self._monotonic()
        with self.mutex:
            for item in items:
                if isinstance(item, JobHandle) and self.status.due(item, now):
                    self.arrive(item)
            if self.watchers.waiting:
                self.watchers.look()
        functions = [item for item in items if not isinstance(item, JobHandle)]
        wanted = [cast("Callable[[], Callable[[], object] | None]", each)() for each in functions]
        return [later for later in wanted if later is not None]

    def release(self, handles: list[JobHandle]) -> None:
        """The handler that parked jobs waited for is there now."""
        for handle in handles:
            self.arrive(handle)

    def cancel(self, handle: JobHandle) -> bool:
        """Cancel a live job, or ask its handler to stop; `True` if a record of it was made."""
        if handle._status is Status.PROCESSING:
            if handle._stop is None:
                handle._stop = StopRequest(self.timer.sleep)
            handle._stop.cancel()
            return False
        assert handle._status not in FINAL  # a live job is none of these
        was_scheduled = handle._status is Status.SCHEDULED
        wall = self.clock.time()
        try:
            try:
                self.status.cancel(handle, self._monotonic(), wall)
            finally:
                if handle._status is Status.CANCELLED:
                    self._take_out(handle, was_scheduled=was_scheduled)
            if self.journal is not None:
                self.journal.cancelled(handle, wall)
            if self.endings.finished:
                self.endings.note(handle)
            if self.watchers.waiting:
                self.watchers.look()
        except BaseException:  # asynchronous: the threads that wait are told all the same
            self._tell(handle)
            raise
        return True

    def _tell(self, handle: JobHandle) -> None:
        """Tell all threads that wait that a job may have been cancelled. Twice does no harm."""
        if handle._status is Status.CANCELLED:
            self.registry.unpark(handle)
            self.free_room(handle)
        self.scheduler.lanes[handle._job._priority].wake_producer()
        wake_waiters(handle)
        self.watchers.look()

    def _take_out(self, handle: JobHandle, *, was_scheduled: bool) -> None:
        """Remove a cancelled job from wherever it waited."""
        try:
            self.suspects.discard(handle)
            if handle._since == NOT_ARRIVED:
                return  # it will not arrive
            if was_scheduled:
                self.timer.remove(handle, handle._due_tick)
            elif handle in self.scheduler.suspects:
                self.scheduler.suspects.remove(handle)
                self.scheduler.look_at_suspects()
            elif not self.registry.unpark(handle):
                self.scheduler.lanes[handle._job._priority].cancelled_one()
        finally:
            self.free_room(handle)

    def warn_missing(self) -> None:
        """Tell once of each handler that jobs wait for. Without the mutex."""
        if not self._unannounced:
            return
        with self.mutex:
            self._unannounced.clear()
            missing = self.registry.missing()
        if missing:
            self.reporter.report(
                logging.WARNING,
                f"jobs wait for handlers that are not registered: {', '.join(missing)}; "
                f"register them to run the jobs",
            )
