"""What the log's thread does now and then, whatever is written.

It looks whether the log still is where its path leads, keeps the reserve of disk space as large as
is needed, and has the log compacted.

Relies on: the log's thread calls all methods, without the lock unless they say otherwise.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ...errors import LogWriteError
from ..format.record import RECORD_BYTES, length_of
from .compactor import Compactor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..files import Files, Problem
    from ..format.record import Record
    from .active_segment import ActiveSegment
    from .batch import LogOptions

LOOK_SECONDS = 0.5
"""How often it is looked whether the log is still there: what was taken away shows within 1 s."""
_GROWTH_BYTES_MIN = 64 << 10
MANY_RECORDS = 500
"""The reserve has room for the ends of fewer jobs, and grows with them."""
PLENTY_BYTES = 64 << 20
"""With so many it is not looked whether there is room for the ends of many jobs."""


class Upkeep:
    """Upkeep of one log.

    Args:
        needed: estimates the bytes of what is unfinished, failed and retained.
        ends: estimates the bytes of all unfinished jobs' ends.
        report: called if a compaction failed; the log goes on without.
        now: monotonic seconds.

    Attributes:
        problem: what became of a log that was taken away.
        look_due: when `look` is to be called next (monotonic seconds).
    """

    def __init__(
        self,
        files: Files,
        directory: str,
        options: LogOptions,
        active: ActiveSegment,
        *,
        needed: Callable[[], int],
        ends: Callable[[], int],
        report: Callable[[BaseException], None],
        now: float,
    ) -> None:
        self.problem: Problem | None = None
        self.look_due = now + LOOK_SECONDS
        self._directory = directory
        self._active = active
        self._needed, self._ends = needed, ends
        self._bytes_seen = 0  # size of the log when the reserve was adjusted
        self.compactor = Compactor(files, directory, options, active, needed=needed, report=report)

    @property
    def due(self) -> float:
        """When there is something to do next (monotonic seconds). With or without the lock."""
        return min(self.compactor.due, self.look_due)

    def looks(self, now: float) -> bool:
        """Whether `look` is due; then it is not for a while."""
        if now < self.look_due:
            return False
        self.look_due = now + LOOK_SECONDS
        return True

    def look(self) -> LogWriteError | None:
        """Look whether the log still is where its path leads; returns why it has failed if not."""
        self.problem = self._active.astray()
        # guard: a log that was taken away has failed
        #   without: if True:
        if self.problem is None:
            return None
        text = f"the log was taken away while the queue had it open: {self.problem.text}"
        return LogWriteError(errno.ESTALE, text, self._directory)

    def step(self, now: float, *, looked: bool, wrote: bool) -> None:
        """The log's thread has done something, and looked where the log is if that was due."""
        self.grow(looked=looked)
        self.compactor.step(now, wrote=wrote)

    def grow(self, *, looked: bool = False) -> None:
        """Have the reserve be as large as is needed, if the log has grown or was looked at."""
        has_changed = looked or self._active.bytes - self._bytes_seen > _GROWTH_BYTES_MIN
        if has_changed and not self._active.room.is_short:
            self.take()

    def check_room_for(self, records: Sequence[Record]) -> None:
        """See that there is room for the ends of all jobs once these records are written.

        Else the log might be full for good: a compaction frees a job only if its end is recorded.

        Raises:
            OSError: as `ENOSPC`: there would be none.
        """
        if len(records) < MANY_RECORDS:
            return
        room = self._active.room.usable_bytes()
        if room >= PLENTY_BYTES:
            return
        size = len(records) * RECORD_BYTES + sum(map(length_of, records))
        if room < size + self._ends():
            raise OSError(
                errno.ENOSPC, "there would be no room left to record how so many jobs have ended"
            )

    def _wanted(self) -> int:
        """How large the reserve should be: a snapshot and all ends, and a quarter more."""
        size = self._needed() + self._ends()
        return size + size // 4

    def take(self) -> None:
        """Have the reserve be as large as is needed now."""
        self._bytes_seen = self._active.bytes
        self._active.room.take(self._wanted())

    def take_again(self) -> None:
        """Have the reserve back after it was given up.

        Raises:
            OSError: there is no room for it.
        """
        self._active.room.take_again(self._wanted())
