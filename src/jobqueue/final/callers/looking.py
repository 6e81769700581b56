"""`jobs`, `handlers`: looks at all jobs that are known, page by page, however many they are.

A look at a million jobs takes a second or two. So it is done in slices, each in a hold of the mutex
of its own. Between two of them other threads go first. What changes meanwhile is seen as it is when
its slice comes: no job is told of twice, and none that is known all the time is left out.

Relies on: the queue's mutex, taken here. No code of users is called under it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..core.handler_counts import count_queued, watched
from ..core.infos import ahead_of, find, info_of, next_known
from ..core.order import Walk
from ..core.remembered import unknown_job
from ..runtime.mutex import let_others_first
from .queries import with_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.placement import Placement
    from ..model.filters import Filter
    from ..model.handle import JobHandle
    from ..model.job import JobInfo
    from ..model.metrics import HandlerInfo
    from ..model.results import ResultCodec, StoredResult
    from .first_look import FirstLook
    from .queries import Queries

    Told = tuple[JobInfo, StoredResult | None, ResultCodec | None]

SLICE = 64
"""How many jobs are looked at in one hold of the mutex."""
_COUNTED = 256
"""How many are counted, which is quicker."""


class Looking:
    """Looks; changes nothing. All methods are called by callers' threads, without the mutex.

    Args:
        queries: tell which result is kept with a job.
        first_look: puts the jobs in order.
    """

    def __init__(self, placement: Placement, queries: Queries, first_look: FirstLook) -> None:
        self._placement = placement
        self._mutex = placement.mutex
        self._status = placement.status
        self._queries = queries
        self._first_look = first_look

    def jobs(self, wanted: Filter, limit: int, before: str | None) -> list[JobInfo]:
        """See `JobQueue.jobs`."""
        found: list[Told] = []
        walk = self._begin(before)
        while len(found) < limit:
            let_others_first(self._mutex)
            with self._mutex:
                self._mutex.settle()
                # Which of them has the text is not known yet.
                few = SLICE if wanted.text is not None else limit - len(found)
                told = self._slice(walk, wanted, few)
            if told is None:
                break
            found += [each for each in told if wanted.has_text(each[0])]
        return [with_result(*each) for each in found[:limit]]

    def handlers(
        self, running: Callable[[], list[JobHandle]], within: int | None
    ) -> list[HandlerInfo]:
        """See `JobQueue.handlers`; `running` tells the jobs that run, with the mutex."""
        from ..core.telling import handler_infos  # it says why only here

        queued: Counter[str | None] = Counter()
        self._first_look.ensure()
        with self._mutex:
            self._mutex.settle()
            handlers = watched(self._placement.registry, running())
            walk = Walk(self._status.order.open)
        are_there_more, looked_at = True, 0
        while are_there_more and (within is None or looked_at < within):
            looked_at += _COUNTED
            let_others_first(self._mutex)
            with self._mutex:
                self._mutex.settle()
                are_there_more = count_queued(self._status, walk, _COUNTED, queued)
        return handler_infos(handlers, queued)

    def _begin(self, before: str | None) -> Walk:
        """A look that begins with the newest job, or with the one before that."""
        self._first_look.ensure()
        with self._mutex:
            self._mutex.settle()
            if before is None:
                return Walk(self._status.order.open)
            if find(self._status, before) is None:
                raise unknown_job(before)
            return self._status.order.walk_before(before)

    def _slice(self, walk: Walk, wanted: Filter, limit: int) -> list[Told] | None:
        """With the mutex: what is told of the next jobs that fit; `None` if there are no more."""
        found = next_known(self._status, walk, SLICE, wanted)
        if found is None:
            return None
        _, fitting = found
        ahead, stored = ahead_of(self._placement.clock), self._queries.stored
        return [(info_of(job_id, each, ahead), *stored(job_id)) for job_id, each in fitting[:limit]]
