"""Where an accepted job goes: into its lane, into the timer, or aside until its handler is there.

Guarantees: an accepted job arrives exactly once, when its record has reached the log's level of
durability; a job whose record could not be written leaves no trace.
Relies on: the queue's mutex, held by the caller of every method but `fire`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from ..model.context import Closing
from ..model.handle import ARRIVING, NOT_ARRIVED, JobHandle, Ties
from ..model.transitions import Status
from ..runtime.mutex import let_others_first
from ..timing.timer import LONG_SECONDS, TICKS_PER_SECOND
from ..wal.format.record import RECORD_BYTES, Completed, Enqueued, Requeued
from .dependencies import ties_of
from .missing_handlers import MissingHandlers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..errors import LogWriteError
    from ..model.handlers import Handler
    from ..runtime.clock import Clock
    from ..runtime.mutex import Mutex
    from ..runtime.reporting import Reporter
    from ..timing.timer import Timer
    from ..wal.format.record import Record
    from ..wal.slots import Slots
    from ..wal.writing.batch import OpenBatch
    from .bonds import Bonds
    from .endings import Endings
    from .journal import Journal
    from .lane import Lane
    from .registry import HandlerRegistry
    from .remembered import DeadLetter
    from .scheduler import FairScheduler
    from .status_map import StatusMap
    from .unfinished import Change
    from .watchers import Watchers

_SCHEDULED = Status.SCHEDULED
_NOT_THERE = frozenset((NOT_ARRIVED, ARRIVING))


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
        mutex.settle = self._settle
        self.clock = clock
        self.status = status
        status.meters, status.unregistered = registry.meters, registry.unregistered.tallies
        self.scheduler = scheduler
        self.registry = registry
        self.watchers = watchers
        self.endings = endings
        self.reporter = reporter
        self.timer: Timer  # set by the queue, since the timer calls `fire`
        self.bindings: Bonds  # set by the queue, since it looks at the queue's state
        self.journal: Journal | None = None  # set by the queue, since the log calls `on_durable`
        self.slots: Slots | None = None  # set by the queue, if there is a log
        self.closing = Closing(reporter.queue)
        self.suspects: set[JobHandle] = set()
        """Jobs that are one crash short of `max_crashes`, until they have run."""
        self.missing = MissingHandlers(registry, reporter, clock, mutex)
        self._requeued: dict[int, tuple[DeadLetter, JobHandle]] = {}  # not yet durable
        self._monotonic, self._find = clock.monotonic, registry.find

    def arrive(self, handle: JobHandle) -> None:
        """An accepted job's record is durable, or there is no log: it may run from now on."""
        now = self._monotonic()
        if handle._status is _SCHEDULED:
            self._schedule(handle, now)
            return
        if handle._call is None:
            handle._call = call = self._find(handle._job._handler)
            if call is not None:  # it was registered since the job was accepted
                handle._tally = call.tallies[handle._job._priority]
                self.registry.unpark(handle)
        if handle._call is None:
            self.registry.park(handle)
            handle._since = now
            return
        if handle._call.is_limited and handle._ties is None:
            handle._ties = Ties()
        if self.suspects and handle in self.suspects:
            self.scheduler.push_suspect(handle, now)
        else:
            self.scheduler.push(handle, now)

    def _schedule(self, handle: JobHandle, now: float) -> None:
        tick = handle._due_tick
        if not tick:  # it waits for other jobs, not for a time
            handle._since = now
            self.bindings.arrived(handle)
            return
        if handle._since == ARRIVING:  # it was broken off; the timer holds a job at most once
            self.timer.remove(handle, tick)
        handle._since = ARRIVING
        if tick - now * TICKS_PER_SECOND > LONG_SECONDS * TICKS_PER_SECOND:
            self.timer.schedule_through_sleep(handle, tick, by_wall=True)
        else:
            self.timer.schedule(handle, tick)
        handle._since = now

    def on_durable(
        self, records: Sequence[Record], error: LogWriteError | None, written: bool
    ) -> None:
        """The log's word on records (see `OnDurable`): their jobs arrive, or are forgotten."""
        live, was_told = self.status.live, False
        for record in records:
            if type(record) is not Enqueued:
                if type(record) is Requeued:
                    self._on_requeued(record.job, error, written)
                    was_told = True  # perhaps
                elif type(record) is Completed and record.children and error is None:
                    # guard: what a handler enqueued with its completion arrives with that
                    self.on_durable(record.children, None, written)
                continue
            handle = live.get(record.id)
            if handle is None or handle._number != record.job:
                continue
            if handle._since not in _NOT_THERE:
                was_told = True
            elif error is None:
                self.arrive(handle)
            elif not written:
                self.forget(handle)
        if was_told:  # by a thread that was perhaps interrupted before it woke a worker
            self.scheduler.rouse()
        if self.watchers.waiting:  # a job may wait for its handler now, and all be at rest
            self.watchers.look()

    def await_durable(self, letter: DeadLetter, handle: JobHandle) -> None:
        """A requeued job's record is about to be added: it arrives as a new job does."""
        self._requeued[letter.number] = (letter, handle)

    def _on_requeued(self, number: int, error: LogWriteError | None, written: bool) -> None:
        letter, handle = self._requeued.get(number, (None, None))
        if letter is None or handle is None:
            return
        if error is None:
            if handle._status is Status.QUEUED and handle._since == NOT_ARRIVED:
                self.arrive(handle)
        elif not written:
            self.status.bury_again(letter, handle)
            if handle._ties is not None:
                self.bindings.forget(handle)  # guard: a dead letter holds no identity
            self._owe(handle)
        self._requeued.pop(number, None)

    def needed_bytes(self) -> int:
        """About what the log needs for what is unfinished, failed or retained. No mutex."""
        with self.mutex:
            self.mutex.settle()
            return self._snapshot_bytes()

    def ends_bytes(self) -> int:
        """About what all unfinished jobs' ends and what waits would take. No mutex."""
        with self.mutex:
            self.mutex.settle()
            waiting = 0 if self.journal is None else self.journal.writer.waiting_records
            return (len(self.status.live) * 2 + waiting) * RECORD_BYTES

    def _snapshot_bytes(self) -> int:
        status = self.status
        jobs = len(status.live) + len(status.dead)
        payload = 0
        if self.journal is not None:
            payload = self.journal.payload_bytes + len(self.journal.schedules) * RECORD_BYTES
        finished, results = len(status.finished), status.result_bytes
        if self.journal is not None and (forgotten := self.journal.writer.forgotten):
            ended = sum(meter.completed + meter.cancelled for meter in status.meters)
            logged = min(finished, max(0, ended - forgotten))
            finished, results = logged, results * logged // max(1, finished)
        return payload + results + jobs * RECORD_BYTES + finished * 2 * RECORD_BYTES

    def forget(self, handle: JobHandle) -> None:
        """Undo the acceptance of a job that has not arrived. Again, it does what is left."""
        is_live = self.status.live.get(handle._job._id) is handle
        if self.journal is not None and handle._number and is_live:
            self.journal.free(handle, len(handle._job._payload))
        self.status.forget(handle)
        if handle._ties is not None:
            self.bindings.forget(handle)
        self.registry.unpark(handle)
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
            handle._has_room = False  # one step
            lane.room += 1
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
            self.mutex.settle()
            for item in items:
                if isinstance(item, JobHandle):
                    self._due(item, now)
            if self.watchers.waiting:
                self.watchers.look()
        functions = [item for item in items if not isinstance(item, JobHandle)]
        wanted = [cast("Callable[[], Callable[[], object] | None]", each)() for each in functions]
        if self.registry.untold:
            wanted.append(self.missing.tell)
        laters = [later for later in wanted if later is not None]
        return [*laters, self.bindings.look_after_expired] if laters else []

    def _due(self, handle: JobHandle, now: float) -> None:
        if handle._ties is not None and handle._ties.waits_for:
            handle._due_tick = 0  # from now on it waits for other jobs alone
        elif self.status.due(handle, now):
            self.arrive(handle)

    def replace(self, old: Handler, new: Handler) -> None:
        """Jobs that the first handler was to run are run by the second from their next attempt."""
        for handle in self.status.live.values():
            if handle._call is old:
                handle._call = new
                if new.is_limited:
                    ties_of(handle)
        self.bindings.replaced(new)
        for letter in self.status.dead.values():
            if letter.call is old:
                letter.call = new

    def take_out(self, handle: JobHandle) -> None:
        """Remove a cancelled job from wherever it waits. Again, it does what is left."""
        self.suspects.discard(handle)
        self.scheduler.remove_suspect(handle)
        self.registry.unpark(handle)
        if handle._ties is not None:
            self.bindings.take_out(handle)
        if handle._due_tick:
            self.timer.remove(handle, handle._due_tick)
        lane = self.scheduler.lanes[handle._job._priority]
        if lane.cancelled_one(handle):
            self.timer.call_soon(partial(self._sweep, lane))
            lane.is_swept = True
        self.free_room(handle)

    def _sweep(self, lane: Lane) -> None:
        """Take some of what was cancelled out of a lane. Without the mutex, on the timer's thread.

        The timer sees to what is due before it goes on.
        """
        let_others_first(self.mutex)
        with self.mutex:
            self.mutex.settle()
            goes_on = lane.sweep()
        if goes_on:
            self.timer.call_soon(partial(self._sweep, lane))

    # ── changes that may be broken off, see `unfinished` ─────────────────────────────────────

    def carry_out(self, change: Change, *, commits: bool = True) -> OpenBatch | None:
        """Make a change and bring its record to the log's level.

        Args:
            commits: `False`: leave that to the caller, who has more for the same batch.

        Returns:
            The batch to wait for without the mutex, if there is one.
        """
        batch: OpenBatch | None = None
        self.mutex.unfinished = change  # guard: a change is told of before it is made
        try:
            self._finish(change)
            if commits and self.journal is not None and change.record is not None:
                batch = self.journal.writer.commit()
            self.mutex.unfinished = None
        except BaseException:
            self.broken_off()
            raise
        return batch

    def carry_out_beside(self, change: Change) -> None:
        """Make one change of many; the caller sees to it that the log's batch is committed."""
        self.mutex.unfinished = change
        try:
            self._finish(change)
            self.mutex.unfinished = None
        except BaseException:
            self.broken_off()
            raise

    def commit(self) -> OpenBatch | None:
        """Bring what `carry_out_beside` has left in the log to its level.

        Returns:
            The batch to wait for without the mutex, if there is one.
        """
        if self.journal is None:
            return None
        try:
            return self.journal.writer.commit()
        except BaseException:
            # guard: a commit that is broken off is seen through
            self.timer.call_soon(self._commit_alone)
            raise

    def _commit_alone(self) -> None:
        """Without the mutex, on the timer's thread: tell what an interrupted one has left."""
        with self.mutex:
            self.mutex.settle()
            if self.journal is not None:
                self.journal.writer.commit(inline=False)

    def _finish(self, change: Change) -> None:
        change.finish()
        if self.journal is not None and change.record is not None:
            self.journal.once(change.record, change.freed_bytes)

    def broken_off(self) -> None:
        """What the thread does that an exception has hit, before it leaves the mutex."""
        if self.mutex.unfinished is not None:
            # guard: a repair that is broken off is taken up
            self.timer.call_soon(self._come_by)
            self.mutex.settle()

    def _come_by(self) -> None:
        with self.mutex:
            self.mutex.settle()

    def _settle(self) -> None:
        """Finish what an exception has broken off; see `Mutex.settle`."""
        change = self.mutex.unfinished
        if change is None:
            return
        self.bindings.finish_cancelling()
        if isinstance(change, JobHandle):
            self._settle_acceptance(change)
        else:
            change = cast("Change", change)
            self._finish(change)
            if change.ended is not None:
                self._owe(change.ended)
        self.bindings.settle()
        if self.journal is not None:
            self.journal.writer.commit(inline=False)  # by the log's thread: nobody waits for it
        for lane in self.scheduler.lanes:
            lane.wake_producer()  # guard: a change that was broken off leaves no producer asleep
        self.scheduler.not_empty.notify_all()
        self.watchers.look()
        self.mutex.unfinished = None

    def _settle_acceptance(self, handle: JobHandle) -> None:
        """Undo an acceptance, unless the job is on its way."""
        if handle._since == ARRIVING:
            self.arrive(handle)
        elif handle._since == NOT_ARRIVED:
            journal = self.journal
            if journal is None or not journal.writer.holds(handle._number):
                self.forget(handle)
            elif handle._ties is not None:
                self.bindings.cancel_doomed(handle)
