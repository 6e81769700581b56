"""`enqueue`: which job is let in, which waits for room, and which is refused.

Guarantees: a job whose call raised was not accepted and its id is free. The one exception is an
error that came from outside (KeyboardInterrupt): then the status map tells. A lane never holds
more than its size of new jobs. No producer sleeps while its lane has room, unless another one was
woken, is on its way to it, and wakes the next.
Relies on: the queue's mutex, taken here; and, for an exception that comes anywhere, on what
`core/unfinished.py` tells. A producer that waits sleeps in a parker of its own,
outside of the mutex: an exception during `Condition.wait` could come out without the mutex.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..core.dependencies import not_known
from ..core.queue_state import State
from ..errors import JobQueueError, again
from ..exact import check_seconds
from ..model.existing import ExistingHandle
from ..model.handle import JobHandle
from ..model.job import Job, listed_jobs
from ..model.transitions import Status
from ..runtime.mutex import await_turn, check_reentry
from ..runtime.parking import Parker, Wakeable
from .entrance import refuse_repeated
from .groups import GroupEntrance
from .room_wait import RoomWait, check_event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..core.lane import Lane
    from ..exact import Seconds
    from ..model.context import Held, StopRequest
    from ..model.handlers import Handler
    from ..wal.writing.batch import OpenBatch

_QUEUED, _SCHEDULED = Status.QUEUED, Status.SCHEDULED  # a look into an enumeration is slow
_OPEN = State.OPEN


class Admission(GroupEntrance):
    """Accepts jobs. All methods are called by producers, without the mutex."""

    def enqueue(  # noqa: PLR0912  # a call costs more than a step in here
        self,
        job: Job,
        timeout: Seconds | None,
        delay: Seconds,
        cancel: threading.Event | None,
        call: Handler | None = None,
    ) -> JobHandle:
        """See `JobQueue.enqueue`; `call` is a handler that the job carries itself."""
        if type(job) is not Job or len(job._payload) > self._payload_bytes_max:
            self.check(job)
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        if type(delay) is not float or delay:  # in this order: no method of a user's is called
            delay = check_seconds("delay", delay)
        if cancel is not None:
            check_event(cancel)
        mutex = self._mutex
        if mutex._is_owned():
            check_reentry(mutex)
        handle = JobHandle(self._owner, job, _SCHEDULED if delay else _QUEUED)
        if call is not None:
            handle._call = call
        lane = self._lanes[job._priority]
        if mutex.claimant is not None:
            await_turn(mutex)  # guard: a producer gives way to who has claimed the mutex
        claim = mutex.claimant = job._id
        with mutex:
            try:
                if mutex.unfinished is not None:
                    mutex.settle()
                known = self._refuse(job, call)
                first = None if job._plan is None else self._meet(handle, lane)
                has_room = delay or lane.room > 0 or self._needs_no_room(handle)
                if first is None and has_room:
                    batch = self._accept(handle, lane, delay, known)
            finally:
                # guard: a producer takes only its own claim back
                #   without: if True:
                if mutex.claimant is claim:
                    mutex.claimant = None
        if first is not None:
            return self._stand_for(first)
        if not has_room:
            first, batch = self._enqueue_when_room(handle, lane, RoomWait(timeout, cancel))
            if first is not None:
                return self._stand_for(first)
        if batch is not None and self._journal is not None:
            self._journal.writer.wait(batch, handle._number)
        if self._registry.untold:
            self._placement.missing.tell()
        return handle

    # ── without the mutex ────────────────────────────────────────────────────────────────────

    def _enqueue_when_room(
        self, handle: JobHandle, lane: Lane, wait: RoomWait
    ) -> tuple[JobHandle | None, OpenBatch | None]:
        """Wait for room, and accept a job.

        Returns:
            The job that is like it and is to be had in its place, or the batch to wait for.
        """
        mutex = self._placement.mutex
        parker = Parker()
        line_up = lane.producers.append
        try:
            while True:
                with mutex:
                    self._mutex.settle()
                    lane.looks(parker)
                    call = self._refuse(handle._job, handle._call)
                    first = None if handle._ties is None else self._meet(handle, lane)
                    if first is not None:
                        return first, None
                    if lane.room > 0 or self._needs_no_room(handle):
                        return None, self._accept(handle, lane, 0.0, call)
                    wait.check(handle._job, lane)
                    if parker not in lane.producers:
                        parker.rearm()
                        line_up(parker)
                        line_up = lane.producers.appendleft  # woken for nothing: it keeps its place
                self._seats.refuse_sleep("await queue.aenqueue(job)")
                # guard: loop around the wait for room
                #   without: wait.sleep(parker)
                #   without: with mutex:
                #   without:     return None, self._accept(handle, lane, 0.0, call)
                wait.sleep(parker)
        finally:
            with mutex:
                # No function is called before it is out: an interrupt could come as it is entered.
                if lane.on_its_way is parker:  # it may have been woken just now
                    lane.on_its_way = None
                if parker in lane.producers:
                    lane.producers.remove(parker)
                # guard: a producer that leaves a wait for room passes its turn on
                lane.wake_producer()  # in case it was this one's turn, and it left

    def enqueue_many(
        self, jobs: Iterable[Job], timeout: float | None, cancel: threading.Event | None = None
    ) -> list[JobHandle]:
        """See `JobQueue.enqueue_many`; `cancel` is as in `enqueue`."""
        return self.accept_all(self.check_all(jobs), RoomWait(timeout, cancel))

    def check_all(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs; raises if one of them cannot be accepted now, whether or not there is room."""
        batch_of_jobs = listed_jobs(jobs)
        for job in batch_of_jobs:
            self.check(job)
        check_reentry(self._placement.mutex)
        self._refuse_repeated(batch_of_jobs)
        return batch_of_jobs

    def accept_all(self, jobs: list[Job], wait: RoomWait) -> list[JobHandle]:
        """Accept jobs that were checked; blocks while lanes are full."""
        accepted: list[JobHandle] = []
        try:
            while len(accepted) < len(jobs):
                self._enqueue_some(jobs, accepted, wait)
        except JobQueueError as error:
            error.accepted = tuple(accepted)
            raise
        self.tell_missing()
        return accepted

    def _refuse_repeated(self, jobs: list[Job]) -> None:
        refuse_repeated(jobs)
        seen: set[str] = set()
        with self._mutex:
            self._mutex.settle()
            for job in jobs:
                self._refuse(job, None)
                for job_id in job.after:
                    # guard: a job of many waits for none that comes after it
                    if job_id not in seen and job_id not in self._status:
                        raise not_known(job, job_id)
                seen.add(job._id)

    def accept_some(self, jobs: list[Job]) -> tuple[list[JobHandle], OpenBatch | None]:
        """Accept as many of the jobs, from the first on, as there is room for.

        Returns:
            Their handles, and the one batch that the call must wait for.
        """
        handles: list[JobHandle] = []
        batch = None
        with self._mutex:
            self._mutex.settle()
            try:
                for job in jobs:
                    lane = self._lanes[job._priority]
                    handle = JobHandle(self._owner, job, Status.QUEUED)
                    try:
                        self._refuse(job, None)
                        first = None if job._plan is None else self._meet(handle, lane)
                    except JobQueueError:
                        if handles:
                            break  # accept the handles first; the next round refuses this job
                        raise
                    if first is not None:
                        handles.append(ExistingHandle(first))
                        continue
                    if lane.room <= 0 and not self._needs_no_room(handle):
                        break
                    self._add(handle, lane)
                    handles.append(handle)
                if self._journal is not None and handles:
                    size = sum(len(handle._job._payload) for handle in handles)
                    batch = self._journal.writer.commit(inline=size < 1 << 15)
                self._mutex.unfinished = None
            except BaseException:
                self._placement.broken_off()
                raise
        return handles, batch

    def _enqueue_some(self, jobs: list[Job], accepted: list[JobHandle], wait: RoomWait) -> None:
        """Accept some more of the jobs: those that there is room for, or else the next one."""
        handles, batch = self.accept_some(jobs[len(accepted) :])
        if batch is not None and self._journal is not None:
            self._journal.writer.wait(batch)
            if batch.refused:
                accepted += [each for each in handles if each._number not in batch.refused]
                raise again(next(iter(batch.refused.values())))
        for each in handles:
            if type(each) is ExistingHandle:
                self._await_first(each)
        accepted += handles
        if not handles:
            job = jobs[len(accepted)]
            handle = JobHandle(self._owner, job, Status.QUEUED)
            lane = self._lanes[job._priority]
            first, batch = self._enqueue_when_room(handle, lane, wait)
            if first is not None:
                handle = self._stand_for(first)
            elif batch is not None and self._journal is not None:
                self._journal.writer.wait(batch, handle._number)
            accepted.append(handle)

    def enqueue_together(
        self,
        jobs: Iterable[Job],
        delays: Iterable[Seconds] | None,
        timeout: Seconds | None,
        cancel: threading.Event | None = None,
    ) -> list[JobHandle]:
        """See `JobQueue.enqueue_together`; `cancel` is as in `enqueue`."""
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        group, wait, parker = self.group_of(jobs, delays), RoomWait(timeout, cancel), Parker()
        try:
            while True:
                parker.rearm()
                let_in = self.let_in(group, parker)
                if let_in is not None:
                    break
                if group.lacking is not None:
                    wait.check(group.jobs[0], group.lacking)
                self._seats.refuse_sleep("await queue.aenqueue_together(jobs)")
                wait.sleep(parker)
        finally:
            self.leave_gate(group, parker)
        handles, batch = let_in
        if batch is not None and self._journal is not None:
            self._journal.writer.wait(batch)
            self.check_written(handles, batch)
        for each in handles:
            if type(each) is ExistingHandle:
                self._await_first(each)
        self.tell_missing()
        return handles

    def _stand_for(self, first: JobHandle) -> JobHandle:
        """A handle of a job that is to be had in place of a new one that is like it."""
        existing = ExistingHandle(first)
        self._await_first(existing)
        return existing

    def _await_first(self, existing: ExistingHandle) -> None:
        """Return when that job is as sure as if this call had added it."""
        batch = self.batch_of(existing)
        if batch is not None and self._journal is not None:
            self._journal.writer.wait(batch, existing._number)

    def hold_back(self, parent: JobHandle, stop: StopRequest, jobs: list[Held]) -> None:
        """See `JobContext.enqueue`; `stop` is that of the attempt."""
        for job, _ in jobs:
            self.check(job)
        with self._mutex:
            self._mutex.settle()
            # guard: an attempt that `close` waits for may enqueue jobs with its completion
            #   without: self._state.refuse_after(State.OPEN)
            self._state.refuse_after(State.CLOSING)
            if parent._status is not Status.PROCESSING or parent._stop is not stop:
                raise RuntimeError(
                    f"the attempt of job {parent.id!r} has ended: it enqueues nothing any more"
                )
            self._placement.bindings.hold_back(parent, jobs)

    def tell_missing(self) -> None:
        """Warn of handlers that are missing for the jobs just accepted, if there are any."""
        if self._registry.untold:
            self._placement.missing.tell()

    # ── for callers that must not sleep ──────────────────────────────────────────────────────

    def prepare(self, job: Job, delay: float) -> tuple[JobHandle, Lane]:
        """The handle of a job that is to be let in, and its lane. Raises as `enqueue` does."""
        self.check(job)
        check_reentry(self._mutex)
        handle = JobHandle(self._owner, job, _SCHEDULED if delay else _QUEUED)
        return handle, self._lanes[job._priority]

    def admit(
        self, handle: JobHandle, lane: Lane, delay: float, waiter: Wakeable, *, was_woken: bool
    ) -> tuple[JobHandle | None, OpenBatch | None]:
        """Let a job in if there is room; if not, put `waiter` in the lane's line.

        Args:
            was_woken: whether the waiter was in line and was woken: then it keeps its place.

        Returns:
            What its caller gets, if it is in, and the batch that its call must wait for.
        """
        with self._mutex:
            self._mutex.settle()
            call = self._refuse(handle._job, None)
            first = None if handle._ties is None else self._meet(handle, lane)
            if first is not None:
                existing = ExistingHandle(first)
                return existing, self.batch_of(existing)
            if delay or lane.room > 0 or self._needs_no_room(handle):
                return handle, self._accept(handle, lane, delay, call)
            if waiter not in lane.producers:
                (lane.producers.appendleft if was_woken else lane.producers.append)(waiter)
            return None, None

    def leave_line(self, lane: Lane, waiter: Wakeable) -> None:
        """Wait for room no more; if it was this one's turn, it is the next one's now."""
        with self._mutex:
            if waiter in lane.producers:
                lane.producers.remove(waiter)
            lane.wake_producer()
