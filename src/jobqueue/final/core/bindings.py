"""What ties jobs to each other and to a time: one door to the rooms that each know one such tie.

A job that has none (`JobHandle._ties` is `None`) never comes here: the hot path looks at that, and
at nothing else. The rooms are `unique`, `dependencies`, `children`, `limits` and `expiry`.

Guarantees: whatever ends a job, each tie is loosed once.
Relies on: the queue's mutex, held by the caller of every method that does not say otherwise. Each
may be done again, as `unfinished.py` tells. What is left to another thread is done by the timer's,
which no signal interrupts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.handle import ARRIVING
from ..model.transitions import FINAL, Status
from .cancelling import Cancelling
from .children import Children
from .dependencies import NO_OTHERS, Dependencies, reason, ties_of
from .expiry import Expiries
from .limits import Limits
from .queue_state import State
from .unique import Uniqueness, identity_of, not_unique

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..model.context import Held
    from ..model.handle import JobHandle
    from ..model.handlers import Handler
    from ..model.job import Job
    from ..timing.timer import Timer
    from ..wal.format.record import Enqueued
    from .placement import Placement
    from .queue_state import QueueState

AT_ONCE_MAX = 50
"""How many jobs are cancelled in one hold of the mutex."""
_QUEUED, _SCHEDULED = Status.QUEUED, Status.SCHEDULED  # a look into an enumeration is slow


class Bindings:
    """The ties of all jobs of one queue."""

    def __init__(self, placement: Placement, state: QueueState) -> None:
        self.unique = Uniqueness()
        self.dependencies = Dependencies(placement.status)
        self.expiries = Expiries(placement.clock, self._expire)
        self.children = Children(placement)
        self.limits = Limits(placement.mutex, placement.clock, placement.scheduler)
        for lane in placement.scheduler.lanes:
            lane.may_start = self.may_start
        self._placement = placement
        self._state = state
        self._timer: Timer
        self._is_called = False  # whether the timer's thread is about to look after the rest
        self._cancelling: Cancelling | None = None  # until all of it is done

    def use(self, timer: Timer) -> None:
        """Have this timer call, and look after what is left to another thread."""
        self._timer = self.expiries.timer = self.limits.timer = timer

    # ── a new job ────────────────────────────────────────────────────────────────────────────

    def meet(
        self,
        handle: JobHandle,
        parent: JobHandle | None = None,
        others: Mapping[str, JobHandle] = NO_OTHERS,
    ) -> JobHandle | None:
        """A job with a plan is to be accepted: look what it meets. Changes no other job.

        Args:
            parent: the job whose completion enqueues it, if one does.
            others: those that are accepted in one with it, before it.

        Returns:
            The job that is like it and that is to be had in its place, or replaced by it; if any.

        Raises:
            DuplicateJobError: there is one like it, and it says "raise".
            UnknownJobError: a job that it is to run after is unknown.
        """
        plan, ties = handle._job._plan, handle._ties
        if plan is None or ties is None:  # it has a key, and nothing else
            return None
        if plan.after:
            self.dependencies.find(handle, parent, others)
            if ties.waits_for or ties.doomed:
                handle._status = _SCHEDULED
        if plan.unique is None:
            return None
        first = self.unique.holder(handle)
        if first is not None and plan.unique.on_conflict == "raise":
            raise not_unique(handle._job, first)
        return first

    def refuse_like(self, job: Job) -> None:
        """A job is to be enqueued later: raises `DuplicateJobError` if `meet` would do so now."""
        unique = job.unique
        if unique is not None and unique.on_conflict == "raise":
            first = self.unique.holder_of(identity_of(job))
            if first is not None:
                raise not_unique(job, first)

    @staticmethod
    def may_replace(handle: JobHandle, first: JobHandle) -> bool:
        """Whether a new job is to take the place of the one that is like it."""
        unique = handle._job.unique
        is_new = first._started is None and first._status is not Status.PROCESSING
        return unique is not None and unique.on_conflict == "replace" and is_new

    def all_like(self, job: Job) -> tuple[JobHandle, ...]:
        """The jobs that are like a new one that is to be unique."""
        return self.unique.holders(job)

    def replace(self, first: JobHandle) -> None:
        """Cancel the job whose place a new one takes, in the same batch of the log."""
        self._cancel(first, None)
        self._call_soon()

    def meet_next(self, handle: JobHandle, replaced: JobHandle) -> JobHandle | None:
        """A new job has taken the place of one: the next that is like it, if there is another.

        If it was to run after that one, it is to be cancelled, too.
        """
        ties = ties_of(handle)
        # `Dependencies.tie` would see it as well.
        if ties.waits_for and replaced in ties.waits_for:
            del ties.waits_for[replaced]
            ties.doomed = ties.doomed or reason(replaced._job._id, replaced._status)
        return self.unique.holder(handle)

    def bind(self, handle: JobHandle) -> float | None:
        """The job is accepted: from now on its ties hold.

        Returns:
            The Unix time at which it expires, if it does.
        """
        plan, ties = handle._job._plan, handle._ties
        if plan is None or ties is None:
            return None
        if plan.unique is not None:
            self.unique.hold(handle)
        if ties.waits_for:
            self.dependencies.tie(handle)
        if plan.expires is None:
            return None
        self.expiries.begin(handle, plan.expires)
        return self._placement.clock.time() + plan.expires

    def restore(self, handle: JobHandle, left: float | None, *, has_started: bool) -> None:
        """A job is there again after a restart: its ties hold again.

        Args:
            left: seconds within which it has to start, if it has to.
            has_started: whether an attempt of it had begun before.
        """
        self.unique.hold(handle)
        if has_started:
            self.unique.started(handle)
        self.dependencies.tie(handle)
        if left is not None:
            self.expiries.begin(handle, left)

    def cancel_doomed(self, handle: JobHandle) -> bool:
        """Cancel a job that was just accepted, if one that it is to run after has failed."""
        why = ties_of(handle).doomed
        if why is None:
            return False
        if handle._status not in FINAL:
            self._cancel(handle, why)
            self._call_soon()  # which tells of it
        return True

    def forget(self, handle: JobHandle) -> None:
        """The job's acceptance is undone, for its record could not be written."""
        self.ended(handle)

    # ── a job that is known ──────────────────────────────────────────────────────────────────

    def may_start(self, handle: JobHandle) -> bool:
        """Whether a job at the front of its lane may start; if not, it is to leave the lane."""
        ties, call = handle._ties, handle._call
        # guard: a job whose time to start has passed is not started
        if ties is not None and ties.expiry is not None and self.expiries.has_passed(handle):
            return False
        return call is None or not call.is_limited or self.limits.may_start(handle)

    def started(self, handle: JobHandle) -> None:
        """An attempt begins."""
        ties, call = handle._ties, handle._call
        if ties is None:
            return
        # guard: a job that has passed a limit starts as such, though its handler has none by now
        #   without: if call is not None and call.is_limited:
        if ties.passed is not None or (call is not None and call.is_limited):
            self.limits.start(handle)
        if ties.identity is not None:
            self.unique.started(handle)
        if ties.expiry is not None:
            self.expiries.end(handle)

    def left(self, handle: JobHandle) -> None:
        """An attempt has left its seat."""
        ties = handle._ties
        if ties is None:
            return
        if ties.passed is not None:
            self.limits.release(handle)
        if ties.children is not None:
            self.children.drop(handle)

    def ended(self, handle: JobHandle) -> None:
        """The job has ended, in whatever way."""
        ties = handle._ties
        if ties is None:
            return
        if ties.identity is not None:
            self.unique.release(handle)
        if ties.expiry is not None:
            self.expiries.end(handle)
        if ties.waits_for:
            self.dependencies.untie(handle)
        if ties.dependents:
            self.dependencies.release(handle, self.go)
            if ties.dependents:
                self.dependencies.ended.append(handle)
            if self.dependencies.doomed or self.dependencies.ended:
                self._call_soon()

    def go(self, handle: JobHandle) -> None:
        """A job waits for no other any more: queue it, if it has arrived and is not delayed."""
        if handle._status is _SCHEDULED and handle._since >= 0 and not handle._due_tick:
            self._placement.status.hasten(handle, ARRIVING)
        if handle._status is _QUEUED and handle._since == ARRIVING:
            self._placement.arrive(handle)

    def take_out(self, handle: JobHandle) -> None:
        """The job is cancelled: it is not to be found where it waits."""
        self.limits.take_out(handle)

    def arrived(self, handle: JobHandle) -> None:
        """A job that waits for others has arrived: its record has reached its level."""
        ties = handle._ties
        if ties is None:
            return
        if ties.doomed is not None:
            self.dependencies.doomed.append(handle)
            self._call_soon()
        elif not ties.waits_for:  # the last of them was completed meanwhile
            self.go(handle)

    def replaced(self, handler: Handler) -> None:
        """Jobs are to be run by this handler now: they go by its limits."""
        self.limits.replaced(handler)

    def withdraw(self, holds: Callable[[JobHandle], bool]) -> None:
        """Jobs are paused: they wait for no limit, and leave what they have passed to others."""
        self.limits.withdraw(holds)

    def settle(self) -> None:
        """Do what is left of a change that was broken off."""
        self.limits.settle()
        # guard: jobs that are to be looked after are, though the thread was hit that left them
        if self.has_doomed:
            self._call_soon()

    def requeued(self, handle: JobHandle) -> None:
        """A failed job is queued again: it is unique again, if there is none like it by now."""
        self.unique.hold(handle)

    # ── jobs from jobs ───────────────────────────────────────────────────────────────────────

    def hold_back(self, parent: JobHandle, jobs: Sequence[Held]) -> None:
        """Take jobs that are to be enqueued when the parent's handler returns."""
        self.children.hold_back(parent, jobs)

    def born(self, parent: JobHandle) -> list[Enqueued]:
        """The handler has returned: accept what it held back; returns the records of it."""
        self.unique.release(parent)  # guard: a job that has returned may enqueue one like it
        return self.children.accept(parent)

    def arrive(self, parent: JobHandle) -> None:
        """What was accepted so goes on its way."""
        self.children.arrive(parent)

    @property
    def aside(self) -> tuple[dict[JobHandle, None], ...]:
        """The jobs that wait for a limit or a rate, by lane."""
        return self.limits.aside

    # ── what is left to the timer's thread ───────────────────────────────────────────────────

    @property
    def has_doomed(self) -> bool:
        """Whether jobs are about to be cancelled, or to be queued."""
        return bool(self.dependencies.doomed or self.dependencies.ended)

    def _call_soon(self) -> None:
        if not self._is_called:
            self._timer.call_soon(self.look_after)
            self._is_called = True  # last: an interruption forgets no call

    def look_after(self) -> None:
        """Without the mutex, mostly on the timer's thread: cancel and release what is left."""
        has_more = True
        while has_more:
            with self._placement.mutex:
                self._placement.mutex.settle()
                self._is_called = False
                has_more = self._state.now < State.ENDED and self._step()
        self._tell_owed()

    def _step(self) -> bool:
        """Cancel some of the jobs that are doomed, or release some dependents; is there more?"""
        doomed, ended = self.dependencies.doomed, self.dependencies.ended
        for _ in range(AT_ONCE_MAX):
            if not doomed:
                break
            handle = doomed.popleft()
            is_here = self._placement.status.live.get(handle._job._id) is handle
            if is_here and handle._status not in FINAL:  # its record could be written, too
                self._cancel(handle, ties_of(handle).doomed)
        if ended and not doomed:
            self.dependencies.release(ended[0], self.go)
            if not ties_of(ended[0]).dependents:
                ended.popleft()
        if self._placement.journal is not None:
            self._placement.journal.writer.commit(inline=False)  # nobody waits for it
        if not self.has_doomed:
            self._placement.watchers.look()  # guard: that none is doomed any more is told
        return self.has_doomed

    def _cancel(self, handle: JobHandle, why: str | None, *, expired: bool = False) -> None:
        """Cancel a job; leave it to another thread to tell of that."""
        self._cancelling = Cancelling(self._placement, handle, why, expired=expired)
        self.finish_cancelling()

    def finish_cancelling(self) -> None:
        """Do what is left of it, if it was broken off."""
        change = self._cancelling
        if change is None:
            return
        change.finish()
        if self._placement.journal is not None and change.record is not None:
            self._placement.journal.once(change.record, change.freed_bytes)
        if change.ended is not None:
            self._placement.endings.owe(change.ended)
        self._cancelling = None

    def _expire(self, handle: JobHandle) -> None:
        """Without any lock, on the timer's thread: the job's time to start has passed."""
        with self._placement.mutex:
            self._placement.mutex.settle()
            ties = ties_of(handle)
            if ties.expiry is None or handle._status in FINAL or self._state.now >= State.ENDED:
                return
            ties.expiry = None
            seconds = handle._job.expires
            self._cancel(handle, f"expired after {seconds:g} s", expired=True)
            if self._placement.journal is not None:
                self._placement.journal.writer.commit(inline=False)
        self._tell_owed()

    def _tell_owed(self) -> None:
        """Tell of what was cancelled. Without the mutex.

        Other threads than the timer's, as one that moves a manual clock, may run code of users; and
        they may be hit from outside as they start a thread, see `runtime/starting.py`.
        """
        if self._timer.is_own_thread():
            self._placement.endings.tell_owed_aside()
        else:
            self._placement.endings.tell_owed_here()

    def look_after_expired(self) -> None:
        """Likewise, after all that has expired: see to what waits for it, as `look_after`."""
        if self.has_doomed:  # or the move of a manual clock would return before
            self.look_after()
