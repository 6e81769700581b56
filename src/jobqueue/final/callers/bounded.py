"""`look`, `dead_groups`: looks that end after so many jobs, for pages that are shown at once.

A job that runs or has failed is found without a look at all others: there are few of them, and the
queue has them apart. Of other jobs only so many are looked at.

Relies on: the queue's mutex, taken here, in slices. No code of users is called under it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.infos import ahead_of, find, fits, info_of, letter_info, texts_of
from ..core.order import BLOCK, Walk, WalkAmong
from ..core.remembered import unknown_job
from ..model.filters import NO_ERROR, error_class
from ..model.look import DeadGroup, DeadGroups, Look
from ..model.transitions import Status
from ..runtime.mutex import let_others_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.infos import Known
    from ..core.placement import Placement
    from ..core.remembered import DeadLetter
    from ..model.filters import Filter
    from ..model.handle import JobHandle
    from ..model.job import JobInfo
    from .first_look import FirstLook

    Running = Callable[[], list[JobHandle]]

_FEW = frozenset((Status.FAILED, Status.PROCESSING))
_SLICE = BLOCK
_TOLD_AT_ONCE = 64


class _Found:
    """What a look has found so far."""

    def __init__(self) -> None:
        self.ids: list[str] = []  # of the jobs that are told of
        self.matching = 0
        self.looked_at = 0
        self.last: str | None = None  # the last known one of those that were looked at


class BoundedLooking:
    """Looks; changes nothing. All methods are called by callers' threads, without the mutex.

    Args:
        running: tells the jobs that run, with the mutex.
        first_look: puts the jobs in order.
    """

    def __init__(self, placement: Placement, running: Running, first_look: FirstLook) -> None:
        self._placement = placement
        self._mutex = placement.mutex
        self._status = placement.status
        self._running = running
        self._first_look = first_look

    def look(
        self, wanted: Filter, limit: int, before: str | None, within: int, *, in_payload: bool
    ) -> Look:
        """See `JobQueue.look`."""
        walk, found = self._begin(wanted, before), _Found()
        are_there_more = True
        while are_there_more and found.looked_at < within:
            let_others_first(self._mutex)
            with self._mutex:
                self._mutex.settle()
                count = min(_SLICE, within - found.looked_at)
                fitting = self._slice(walk, count, wanted, found)
            are_there_more = fitting is not None
            ids = [
                job_id
                for job_id, known in fitting or ()
                if wanted.text is None or wanted.is_in(texts_of(job_id, known, in_payload))
            ]
            found.matching += len(ids)
            found.ids += ids[: limit - len(found.ids)]
        last = found.last if are_there_more else None
        return Look(self._infos(found.ids, wanted), found.matching, found.looked_at, last)

    def dead_groups(self, limit: int) -> DeadGroups:
        """See `JobQueue.dead_groups`."""
        ids = list(self._status.dead)  # in one step
        counts: dict[tuple[str | None, str], int] = {}
        last: dict[tuple[str | None, str], DeadLetter] = {}
        for start in range(0, len(ids), _SLICE):
            let_others_first(self._mutex)
            with self._mutex:
                self._mutex.settle()
                for job_id in ids[start : start + _SLICE]:
                    letter = self._status.dead.get(job_id)
                    if letter is not None:
                        failure = letter.failure
                        error = NO_ERROR if failure is None else error_class(failure[0])
                        group = letter.job._handler, error
                        counts[group] = counts.get(group, 0) + 1
                        last[group] = letter
        order = sorted(counts, key=lambda group: (-counts[group], group[0] or "", group[1]))
        groups = tuple(
            DeadGroup(*group, counts[group], replace(letter_info(last[group]), payload=None))
            for group in order[:limit]
        )
        return DeadGroups(groups, sum(counts.values()), len(counts))

    def _begin(self, wanted: Filter, before: str | None) -> Walk:
        """A look that begins with the newest job, or with the one before that."""
        self._first_look.ensure()
        few = wanted.statuses is not None and wanted.statuses <= _FEW
        ids = self._ids_of_few(wanted) if few else []
        with self._mutex:
            self._mutex.settle()
            order = self._status.order
            if before is not None and find(self._status, before) is None:
                raise unknown_job(before)
            if few:
                return WalkAmong(order, ids, before)
            return Walk(order.open) if before is None else order.walk_before(before)

    def _ids_of_few(self, wanted: Filter) -> list[str]:
        ids: list[str] = []
        statuses = wanted.statuses or ()
        if Status.FAILED in statuses:
            ids += list(self._status.dead)  # in one step
        if Status.PROCESSING in statuses:
            with self._mutex:
                self._mutex.settle()
                ids += [handle.id for handle in self._running()]
        return ids

    def _slice(
        self, walk: Walk, count: int, wanted: Filter, found: _Found
    ) -> list[tuple[str, Known]] | None:
        """With the mutex: those of the next jobs that fit, but for their text; `None`: no more."""
        some = walk.next(count)
        if some is None:
            return None
        block, ids = some
        status, is_at = self._status, self._status.order.is_at
        fitting: list[tuple[str, Known]] = []
        found.looked_at += len(ids)
        for job_id in ids:
            known = find(status, job_id)
            if known is not None and is_at(job_id, block):
                found.last = job_id
                if fits(wanted, known):
                    fitting.append((job_id, known))
        return fitting

    def _infos(self, ids: list[str], wanted: Filter) -> tuple[JobInfo, ...]:
        """What is told of these jobs, but of those that have changed meanwhile and do not fit."""
        infos: list[JobInfo] = []
        for start in range(0, len(ids), _TOLD_AT_ONCE):
            let_others_first(self._mutex)
            with self._mutex:
                self._mutex.settle()
                ahead = ahead_of(self._placement.clock)
                for job_id in ids[start : start + _TOLD_AT_ONCE]:
                    known = find(self._status, job_id)
                    if known is not None and fits(wanted, known):
                        infos.append(info_of(job_id, known, ahead))
        return tuple(
            replace(each, payload=None, last_traceback=None, attempts=()) for each in infos
        )
