"""Decides when to compact, and does it on a thread of its own.

Guarantees: after any number of finished jobs the log holds at most about twice what is needed and
three segments. Producers and the log's thread are never blocked by it. It stops when told to.
Relies on: `step` is called by the log's thread.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ...errors import LogCorruptError
from ..maintenance.snapshot import CompactionStoppedError, compact

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..files import Files
    from .active_segment import ActiveSegment
    from .batch import LogOptions

SEALED_FILES_MAX = 16
"""More files than this are compacted whatever their size: each restart leaves one."""
LOOK_SECONDS = 1.0
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
        # How far the estimate was off last time: it knows neither escapes nor tracebacks.
        self._correction = 1.0
        self._segment_seen = 0
        self.due = 0.0
        """When `step` looks next whether it is worth while (monotonic seconds)."""

    def step(self, now: float, *, wrote: bool) -> None:
        """The log's thread has done something; look at each new segment, and now and then."""
        if self.due <= now or self._active.segment != self._segment_seen:
            self.due = _NEVER
            self._segment_seen = self._active.segment
            if self._is_worth_while():
                self._start()
        if wrote:
            self.wrote(now)

    def wrote(self, now: float) -> None:
        """Something was written: have `step` called in a while. Any thread."""
        if self.due == _NEVER:
            self.due = now + LOOK_SECONDS

    def _is_worth_while(self) -> bool:
        """Whether less than half of what is sealed is still needed, a segment more or less."""
        active = self._active
        if active.sealed_files < 2 or self._stopped:
            return False
        if self._thread is not None and self._thread.is_alive():
            return False
        needed = self._needed() * self._correction
        return (
            active.sealed_bytes > 2 * needed + self._options.segment_bytes
            or active.sealed_files > SEALED_FILES_MAX
        )

    def _start(self) -> None:
        through = self._active.segment - 1
        thread = threading.Thread(
            target=self._compact, args=(through,), name="jobqueue-compact", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            self._report(error)
        else:
            self._thread = thread  # only now, since `stop` may join it from another thread

    def _compact(self, through: int) -> None:
        needed = max(self._needed(), 1)
        try:
            result = compact(
                self._files,
                self._directory,
                through,
                self._options.status_retention,
                lambda: self._stopped,
            )
        except CompactionStoppedError:
            return
        except (OSError, LogCorruptError) as error:
            self._report(error)
            return
        self._correction = max(1.0, result.bytes_after / needed)
        self._active.compacted(result.files, result.bytes_before, result.bytes_after)

    def stop(self, timeout: float | None) -> bool:
        """Have it stop, without a change; returns whether it has."""
        self._stopped = True
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()
