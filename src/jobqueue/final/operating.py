"""The part of `JobQueue` for those who look after a queue: what is done to many jobs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .aio.door import AsyncDoor
from .model.checks import check_id
from .model.filters import checked_filter, checked_limit

if TYPE_CHECKING:
    from .callers.looking import Looking
    from .core.placement import Placement
    from .core.queue_state import QueueState
    from .core.scheduler import FairScheduler
    from .model.filters import Statuses
    from .model.job import JobInfo, Priority
    from .runtime.mutex import Mutex


class Operating(AsyncDoor):
    """Looks at many jobs and changes them. All methods are thread-safe."""

    _placement: Placement
    _mutex: Mutex
    _scheduler: FairScheduler
    _state: QueueState
    _looking: Looking

    if TYPE_CHECKING:

        def _enter(self, *, waits: bool = False) -> None: ...

    # ── many jobs ────────────────────────────────────────────────────────────────────────────────

    def jobs(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[JobInfo]:
        """The jobs that are like this, newest first: in the order of their acceptance.

        It looks at all jobs that are known, until it has found as many as are wanted, and holds
        nobody up meanwhile: a look at a million jobs takes seconds, but no other call waits for
        longer than a millisecond. Of a job that changes meanwhile it tells what held when it came
        to it.

        Args:
            status: a status, its text, or several of them.
            handler: the name of a handler.
            priority: a lane.
            key: a job's key, all of it.
            error: the class of the last error, as in "ValueError".
            text: what is in the id, the payload, a header, the key or the last error. Of payloads
                it looks at the bytes, for the text's in UTF-8.
            limit: how many at most.
            before: the id of a job: only jobs that were accepted before it. For the next page, the
                last of the page before.

        Raises:
            UnknownJobError: `before` is not known, or has been forgotten.
            TypeError, ValueError: an argument is nothing that a job can have.
        """
        wanted = checked_filter(status, handler, priority, key, error, text)
        limit = checked_limit(limit)
        before = None if before is None else check_id(before)
        self._enter()
        return self._looking.jobs(wanted, limit, before)

    # ── all of them ──────────────────────────────────────────────────────────────────────────────

    def pause(self) -> None:
        """Have the workers finish what they hold and take no more until `resume`."""
        self._enter()
        with self._mutex:
            self._mutex.settle()
            self._scheduler.pause()
            self._placement.watchers.look()

    def resume(self) -> None:
        """Have the workers take jobs again."""
        self._enter()
        with self._mutex:
            self._mutex.settle()
            self._scheduler.resume()
