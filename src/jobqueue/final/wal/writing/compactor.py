"""Decides when to compact, and does it on a thread of its own.

Guarantees: after any number of finished jobs the log holds at most about twice what is needed and
three segments. What is written for that is at most about as much as what it frees. Producers and
the log's thread are never blocked by it. It stops when told to.
Relies on: `step` is called by the log's thread.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from ...errors import LogCorruptError, LogWriteError
from ..files import FULL
from ..maintenance.snapshot import CompactionStoppedError, compact

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..files import Files
    from ..maintenance.snapshot import Compaction
    from .active_segment import ActiveSegment
    from .batch import LogOptions

SMALL_FILES_MAX = 16
"""More files than this that are not half full are compacted, if all is needed too.

Each restart leaves one. A segment that was sealed because it was full is, with the next one, more
than one segment's bytes. So `sealed_bytes` tells how many files may be there that are full.
"""
GAIN_BYTES_MIN = 8 << 10
"""A log that lacks room is compacted for as much as this."""
LOOKS_MAX = 60
"""After a compaction that found no room it is tried again at the latest after so many looks."""
LOOK_SECONDS = 1.0
FEWER = 10
"""Of so many finished jobs one is kept, if there is no room for all."""
_NEVER = float("inf")


class Compactor:
    """Compacts one log.

    Args:
        needed: estimates the bytes of what is unfinished, failed and retained.
        report: called if a compaction failed; the log goes on without.
    """

    def __init__(
        self,
        files: Files,
        directory: str,
        options: LogOptions,
        active: ActiveSegment,
        *,
        needed: Callable[[], int],
        report: Callable[[BaseException], None],
    ) -> None:
        self._files = files
        self._directory = directory
        self._options = options
        self._active = active
        self._needed = needed
        self._report = report
        self._stopped = False  # no Event: its `set`, interrupted, leaves it locked
        self._thread: threading.Thread | None = None
        # By how much the estimate was too low last time: it knows neither escapes, nor headers,
        # nor tracebacks. A sum and no ratio: if other jobs are needed now, it is off by no more
        # than the last snapshot's size.
        self._underestimate = 0
        self._failed_needed = _NEVER  # what was needed of the sealed when there was no room for it
        self._failures = 0  # in a row
        self._looks_left = 0  # until it is tried again whatever is needed
        self._segment_seen = 0
        # What was needed when the last segment was sealed: what a snapshot of all that is sealed
        # takes. What has ended since is told in the active segment.
        self._sealed_needed: int | None = None
        active.on_sealed = self._sealed
        self.due = 0.0
        """When `step` looks next whether it is worth while (monotonic seconds)."""

    def step(self, now: float, *, wrote: bool) -> None:
        """The log's thread has done something; look at each new segment, and now and then."""
        self._needed_of_sealed()  # at the first step, before more is accepted
        if self.due <= now or self._active.segment != self._segment_seen:
            self.due = _NEVER
            self._segment_seen = self._active.segment
            if self._is_compacting():  # what is sealed meanwhile is looked at after it
                self.due = now + LOOK_SECONDS  # guard: what is sealed during a compaction is freed
            elif self._is_worth_while():
                self.start()
        if wrote:
            self.wrote(now)

    def _needed_of_sealed(self) -> int:
        """Bytes: about what a snapshot of all that is sealed takes. On the log's thread."""
        if self._sealed_needed is None:  # it is what the last run has left
            self._sealed_needed = self._needed()
        return self._sealed_needed

    def _sealed(self) -> None:
        """A segment is sealed. On the log's thread."""
        self._sealed_needed = self._needed()

    def wrote(self, now: float) -> None:
        """Something was written: have `step` called in a while. Any thread."""
        if self.due == _NEVER:
            self.due = now + LOOK_SECONDS

    def _is_worth_while(self) -> bool:
        """Whether less than half of what is sealed is still needed, a segment more or less.

        So what is written is no more than what it frees. If all is needed nothing is written,
        however much it is. Files that restarts have left are an exception: their number is bound
        by the size of the rest, which has been read once at each of these starts.
        """
        active = self._active
        # A log that lacks room has its last segment sealed first; see `gains_by_rotation`.
        if active.sealed_files < 2 or active.room.is_short or self._cannot_start():
            return False
        # guard: what ends later is not counted as freed
        #   without: sealed = self._needed()
        sealed = self._needed_of_sealed()
        # guard: a compaction that freed little is made again only when the log has doubled
        #   without: needed = sealed
        needed = sealed + self._underestimate
        segment_bytes = self._options.segment_bytes
        files_max = SMALL_FILES_MAX + 2 * active.sealed_bytes // segment_bytes
        return (
            active.sealed_bytes > 2 * needed + segment_bytes
            # guard: full segments that are needed are not rewritten for their number
            #   without: or active.sealed_files > SMALL_FILES_MAX
            or active.sealed_files > files_max
        )

    def _cannot_start(self) -> bool:
        return self._stopped or self._is_compacting()

    def _is_compacting(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def gains_by_rotation(self) -> bool:
        """Whether something would be freed if the active segment were sealed, and compacted too.

        Only there is told what has become of the jobs that fill the others.
        """
        if self._cannot_start():
            return False
        needed = self._needed() + self._underestimate
        # It is tried again, less and less often: what has ended by now may have been told since.
        self._looks_left -= 1
        if needed > 0.9 * self._failed_needed and self._looks_left > 0:
            return False  # it was tried, and there was no room even for that
        if self._active.room.lacks_inodes and self._active.sealed_files > 1:
            return True
        return self._active.bytes > needed + max(GAIN_BYTES_MIN, needed / 8)

    def start(self) -> None:
        """Start a compaction of all that is sealed."""
        through = self._active.segment - 1
        thread = threading.Thread(
            target=self._compact,
            args=(through, self._needed_of_sealed()),
            name="jobqueue-compact",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            self._report(error)
        else:
            self._thread = thread  # only now, since `stop` may join it from another thread

    def _compact(self, through: int, expected: int) -> None:
        try:
            result = self._compact_as_can_be(through)
        except CompactionStoppedError:
            return
        except (OSError, LogCorruptError) as error:
            self._failed_needed = expected + self._underestimate
            self._failures += 1
            self._looks_left = min(2**self._failures, LOOKS_MAX)
            self._report(error)
            return
        self._failed_needed = _NEVER
        self._failures = 0
        self._underestimate = max(0, result.bytes_after - expected)
        self._active.compacted(result.files, result.bytes_before, result.bytes_after)

    def _compact_as_can_be(self, through: int) -> Compaction:
        """Compact; if there is no room even without the reserve, with fewer finished jobs.

        That may have become too small: a disk that was nearly full gave no more. What the log tells
        of finished jobs is worth less than that it takes jobs again.

        Raises:
            CompactionStoppedError, LogCorruptError, OSError: as `compact` does.
        """
        room, retention = self._active.room, self._options.status_retention
        while True:
            try:
                result = room.provide(partial(self._compact_to, through, retention))
            except OSError as error:
                if error.errno not in FULL or room.lacks_inodes or not retention:
                    raise
                # guard: a snapshot for which there is no room is made smaller
                #   without: raise
                lack, retention = error, retention // FEWER
            else:
                break
        if (all_of_them := self._options.status_retention) > retention:
            text = (
                f"{lack.strerror}; it was once {retention:,} finished jobs were kept, not the last"
                f" {all_of_them:,}: the next start does not know the others"
            )
            self._report(LogWriteError(lack.errno, text, self._directory))
        return result

    def _compact_to(self, through: int, retention: int) -> Compaction:
        return compact(self._files, self._directory, through, retention, self._is_stopped)

    def _is_stopped(self) -> bool:
        return self._stopped

    @property
    def has_begun(self) -> bool:
        """Whether a compaction was ever begun."""
        return self._thread is not None

    def stop(self, timeout: float | None) -> bool:
        """Have it stop, without a change; returns whether it has."""
        self._stopped = True
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()
