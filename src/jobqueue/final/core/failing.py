"""The end of an attempt that failed: its job is tried again, kept as a dead letter, or cancelled.

It is a change as callers' are, see `unfinished.py`: each of its steps may be done again, also by
another thread, for an exception from outside may break it off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.transitions import FINAL, Status
from ..timing.timer import LONG_SECONDS, tick_after
from ..wal.format.record import Discarded
from .journal import cancelled, failed, retried
from .watchers import wake_waiters

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import JobHandle, Raised
    from ..runtime.reporting import Failure
    from ..wal.format.record import Record
    from .placement import Placement
    from .remembered import DeadLetter


class Failing:
    """An attempt fails. Made and finished with the mutex, while its job is in PROCESSING.

    Args:
        raised: the error, and the traceback that its handle raises it with.
        delay: seconds until the next attempt; `None` if there is none.
        leave: has the attempt leave its seat; called with when it began, last of all.

    Attributes:
        evicted: the dead letter that had to go for it.
        verdict: what becomes of the job, in words.
    """

    record: Record | None = None
    freed_bytes = 0
    ended: JobHandle | None = None

    def __init__(
        self,
        placement: Placement,
        handle: JobHandle,
        failure: Failure,
        raised: Raised,
        delay: float | None,
        leave: Callable[[float], None],
    ) -> None:
        self.evicted: DeadLetter | None = None
        self._placement = placement
        self._handle = handle
        self._failure = failure
        self._raised = raised
        self._delay = delay
        self._leave = leave
        self._since = handle._since
        self._now, self._wall = placement.clock.monotonic(), placement.clock.time()
        self._is_cancelled = handle._stop is not None and handle._stop.cancelled
        self._tick = 0
        self._record: Record | None = None
        self._is_recorded = False
        if self._is_cancelled:
            self.verdict = "it was cancelled"
        elif delay is None:
            self.verdict = "it is kept as a dead letter"
        else:
            self.verdict = f"it is tried again in {delay:.3g} s"

    def finish(self) -> None:
        """See `Change`."""
        handle, delay = self._handle, self._delay
        if self._is_cancelled:
            handle._failure = self._failure
            self._placement.status.cancel(handle, self._now, self._wall)
        elif delay is not None:
            self._retry(delay)
        else:
            self._fail()
        self._tell_log()
        if handle._status in FINAL:
            if handle._ties is not None:
                self._placement.bindings.ended(handle)
            if self._placement.endings.finished:
                self._placement.endings.note(handle)
        self._leave(self._since)

    def _retry(self, delay: float) -> None:
        handle, timer = self._handle, self._placement.timer
        if handle._status is Status.PROCESSING:
            self._placement.status.retry(handle, self._failure, self._now, self._wall)
        if self._tick:  # it was broken off; the timer holds a job at most once
            timer.remove(handle, self._tick)
        tick = tick_after(self._now + delay)
        handle._stop = None
        handle._since = self._now
        handle._due_tick = self._tick = tick
        if delay > LONG_SECONDS:
            timer.schedule_through_sleep(handle, tick, by_wall=False)
        else:
            timer.schedule(handle, tick)

    def _fail(self) -> None:
        handle, status = self._handle, self._placement.status
        if handle._status is Status.PROCESSING:
            status.fail(handle, self._failure, self._raised, self._now, self._wall)
        wake_waiters(handle)
        if self.evicted is None:
            self.evicted = status.one_too_many()
        if self.evicted is not None:
            status.discard(self.evicted)

    def _tell_log(self) -> None:
        journal, handle = self._placement.journal, self._handle
        if journal is None:
            return
        freed_bytes = len(handle._job._payload) if self._is_cancelled else 0
        if self._record is None:
            if self._is_cancelled:
                self._record = cancelled(handle, self._failure, self._wall)
            elif self._delay is None:
                self._record = failed(handle, self._failure, self._wall)
            else:
                self._record = retried(handle, self._failure, self._wall, self._delay)
        if not self._is_recorded:
            journal.once(self._record, freed_bytes)
            self._is_recorded = True
        if self.evicted is not None:
            if self.record is None:
                self.record = Discarded(self.evicted.number)
                self.freed_bytes = len(self.evicted.job._payload)
            journal.once(self.record, self.freed_bytes)
