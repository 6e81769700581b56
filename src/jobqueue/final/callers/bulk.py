"""`cancel_jobs`, `requeue_jobs`, `discard_jobs`, `run_now`: one change for all jobs that fit.

They are made oldest first, a few in each hold of the mutex, and other threads go between. In the
log they gather in its open batch, which is committed after a thousand.

Guarantees: each single change is done, and recorded, or was not begun, wherever an exception from
outside (KeyboardInterrupt) interrupts the call. A call that returned has all of its changes at the
log's level of durability.
Relies on: the queue's mutex, taken here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.infos import ahead_of, find, fits, info_of, next_known
from ..core.order import WalkOn, WalkThese
from ..core.queue_state import State
from ..core.remembered import DeadLetter
from ..model.handle import ARRIVING, NOT_ARRIVED, JobHandle
from ..model.transitions import Status
from ..runtime.mutex import let_others_first
from .changes import Discard, Hasten, Requeue, cancelling
from .looking import SLICE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..core.infos import Known
    from ..core.order import Block, Walk
    from ..core.placement import Placement
    from ..core.queue_state import QueueState
    from ..core.unfinished import Change
    from ..model.filters import Filter
    from ..model.handle import HandleOwner
    from .first_look import FirstLook

    Ids = Sequence[str] | None
    Maker = Callable[[Known], Change | None]
    """Makes the change of a job; `None` if it is nothing for this job. With the mutex."""

CHANGES_PER_HOLD = 40
CHANGES_PER_BATCH = 1000
_NOT_THERE = (NOT_ARRIVED, ARRIVING)


class Bulk:
    """Changes many jobs. All methods are called by callers' threads, without the mutex."""

    def __init__(
        self,
        owner: HandleOwner,
        placement: Placement,
        state: QueueState,
        first_look: FirstLook,
    ) -> None:
        self._owner = owner
        self._placement = placement
        self._mutex = placement.mutex
        self._status = placement.status
        self._state = state
        self._first_look = first_look

    def cancel(self, wanted: Filter, limit: int | None, ids: Ids) -> int:
        """See `JobQueue.cancel_jobs`."""
        return self._change_all(wanted, limit, ids, self._cancelling, State.CLOSING)

    def requeue(self, wanted: Filter, limit: int | None, ids: Ids) -> int:
        """See `JobQueue.requeue_jobs`."""
        return self._change_all(wanted, limit, ids, self._requeueing, State.OPEN)

    def discard(self, wanted: Filter, limit: int | None, ids: Ids) -> int:
        """See `JobQueue.discard_jobs`."""
        return self._change_all(wanted, limit, ids, self._discarding, State.CLOSING)

    def run_now(self, wanted: Filter, limit: int | None, ids: Ids) -> int:
        """See `JobQueue.run_now`."""
        return self._change_all(wanted, limit, ids, self._hastening, State.OPEN)

    # ── which change, with the mutex ─────────────────────────────────────────────────────────

    def _cancelling(self, known: Known) -> Change | None:
        return cancelling(self._placement, known) if isinstance(known, JobHandle) else None

    def _requeueing(self, known: Known) -> Change | None:
        if isinstance(known, DeadLetter):
            return Requeue(self._placement, known, self._owner)
        return None

    def _discarding(self, known: Known) -> Change | None:
        return Discard(self._placement, known) if isinstance(known, DeadLetter) else None

    def _hastening(self, known: Known) -> Change | None:
        if not isinstance(known, JobHandle) or known._status is not Status.SCHEDULED:
            return None
        # guard: a job that waits for others is not run before them
        if known._ties is not None and known._ties.waits_for:
            return None
        # Its call of `enqueue` has not returned yet: it is as if that came after this.
        return None if known._since in _NOT_THERE else Hasten(self._placement, known)

    # ── all of them ──────────────────────────────────────────────────────────────────────────

    def _change_all(
        self, wanted: Filter, limit: int | None, ids: Ids, maker: Maker, last: State
    ) -> int:
        """Change all that fit, or so many of them.

        Args:
            ids: only these are looked at, in this order.
            last: the last state of the queue in which that is done.

        Returns:
            How many were changed.
        """
        self._first_look.ensure()
        with self._mutex:
            self._mutex.settle()
            self._state.refuse_after(last)
            order = self._status.order
            walk = WalkOn(order) if ids is None else WalkThese(order, ids)
        count = pending = 0
        while limit is None or count < limit:
            fitting = self._next(walk, wanted)
            if fitting is None:
                break
            while fitting and (limit is None or count < limit):
                few = CHANGES_PER_HOLD if limit is None else min(CHANGES_PER_HOLD, limit - count)
                changed = self._change_some(fitting[:few], wanted, maker, last)
                del fitting[:few]
                count, pending = count + changed, pending + changed
                if pending >= CHANGES_PER_BATCH:
                    self._commit()
                    pending = 0
        if pending:
            self._commit()
        return count  # what an exception leaves in the open batch, the log's thread takes soon

    def _next(self, walk: Walk, wanted: Filter) -> list[tuple[str, Block]] | None:
        """The next jobs that fit, and where they stand; `None` if there are no more."""
        let_others_first(self._mutex)
        with self._mutex:
            self._mutex.settle()
            found = next_known(self._status, walk, SLICE, wanted)
            if found is None:
                return None
            block, known = found
            fitting = [(job_id, block) for job_id, _ in known]
            if wanted.text is None:
                return fitting
            ahead = ahead_of(self._placement.clock)
            infos = [info_of(job_id, each, ahead) for job_id, each in known]
        told = zip(fitting, infos, strict=True)
        return [each for each, info in told if wanted.has_text(info)]

    def _change_some(
        self, jobs: list[tuple[str, Block]], wanted: Filter, maker: Maker, last: State
    ) -> int:
        """Change those of these jobs that still fit; returns how many."""
        ended: list[JobHandle] = []
        made: list[Change] = []  # outlive the hold of the mutex, for what goes by them is users'
        is_at = self._status.order.is_at
        let_others_first(self._mutex)
        try:
            with self._mutex:
                self._mutex.settle()
                self._state.refuse_after(last)
                for job_id, block in jobs:
                    known = find(self._status, job_id)
                    # guard: a job is looked at again before it is changed
                    #   without: if known is None:
                    if known is None or not is_at(job_id, block) or not fits(wanted, known):
                        continue
                    change = maker(known)
                    if change is None:
                        continue
                    if change.ended is not None:
                        ended.append(change.ended)
                    made.append(change)
                    self._placement.carry_out_beside(change)
        finally:
            cancelled = [each for each in ended if each._status is Status.CANCELLED]
            self._placement.endings.tell_each(cancelled)
        return len(made)

    def _commit(self) -> None:
        """Bring what was changed to the log's level, and wait for that."""
        with self._mutex:
            self._mutex.settle()
            batch = self._placement.commit()
        if batch is not None and self._placement.journal is not None:
            self._placement.journal.writer.wait(batch)
        if self._placement.registry.untold:
            self._placement.missing.tell()
