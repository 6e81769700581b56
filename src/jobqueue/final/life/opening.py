"""Makes the parts of a queue that has a log. A queue in memory never imports this, nor the log.

When it fails, the log is unlocked and no thread has been started.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from ..core.journal import Journal
from ..core.seats import SEATS_PER_WORKER
from ..errors import LogLockedError
from ..runtime.clock import SystemClock
from ..runtime.mutex import rlock_of
from ..runtime.parking import Parker
from ..wal.slots import Slots
from ..wal.writing.batch import LogOptions
from ..wal.writing.writer import LogWriter
from .process_hooks import is_own_log
from .recovery import LockedLog, open_log, restore
from .shutdown import REPORT_SECONDS_MIN

if TYPE_CHECKING:
    from ..config import Config
    from ..core.placement import Placement
    from ..model.handle import HandleOwner
    from ..wal.writing.callbacks import OnEnded, OnFailed

LOOK_SECONDS_MIN = 0.005
LOOK_SECONDS_MAX = 0.1
"""How long a start that waits for the lock sleeps between two looks, at first and at last."""


class OpenedLog:
    """The log of one queue while that is made. On the thread that makes it, without the mutex.

    Attributes:
        locked: the log as replay left it.

    Raises:
        LogLockedError, LogCorruptError, OSError: the log cannot be opened.
    """

    def __init__(
        self, config: Config, placement: Placement, on_failed: OnFailed, on_ended: OnEnded
    ) -> None:
        self._config = config
        self._placement = placement
        self.locked = self._lock()
        try:
            writer = self.locked.room.provide(lambda: self._make_writer(on_failed, on_ended))
        except BaseException:
            self.locked.files.unlock(self.locked.lock)
            raise
        placement.journal = self._journal = Journal(writer, self.locked.state.next_number)
        self._journal.schedules.update(self.locked.state.ticks)

    def _lock(self) -> LockedLog:
        config, reporter = self._config, self._placement.reporter
        assert config.persist_path is not None  # else there is no log to open
        deadline = SystemClock.monotonic() + config.lock_timeout
        pause = LOOK_SECONDS_MIN
        try:
            while True:
                try:
                    return open_log(config.persist_path, config, reporter=reporter)
                except LogLockedError as error:
                    seconds_left = deadline - SystemClock.monotonic()
                    # Containers share ids, so the id alone does not tell whose log it is.
                    own = error.pid == os.getpid() and is_own_log(error.path)
                    # guard: a start does not wait for a queue of its own process
                    #   without: if seconds_left <= 0:
                    if own or seconds_left <= 0:
                        raise LogLockedError(error.path, error.pid, own=own) from None
                # A lock has no queue of its own in which one could wait and be interrupted.
                Parker().park(min(pause, seconds_left))
                pause = min(2 * pause, LOOK_SECONDS_MAX)
        except BaseException:
            reporter.close(REPORT_SECONDS_MIN)
            raise

    def _make_writer(self, on_failed: OnFailed, on_ended: OnEnded) -> LogWriter:
        config, placement, log = self._config, self._placement, self.locked
        options = LogOptions(
            durability=config.durability,
            fsync_interval=config.fsync_interval,
            segment_bytes=config.segment_bytes,
            segment=log.next_segment,
            batch=log.last_batch,
            bytes_before=log.bytes,
            files_before=log.file_count,
            status_retention=config.status_retention,
            map_log=config.map_log,
        )
        return LogWriter(
            log.files,
            log.directory,
            options,
            lock=rlock_of(placement.mutex),
            on_durable=placement.on_durable,
            on_failed=on_failed,
            on_ended=on_ended,
            needed=placement.needed_bytes,
            ends=placement.ends_bytes,
            room=log.room,
            report=self._report_compaction,
            monotonic=SystemClock.monotonic,
            new_parker=Parker,
        )

    def _report_compaction(self, error: BaseException) -> None:
        message = f"the log could not be compacted: {error}"
        self._placement.reporter.report(logging.WARNING, message, error)

    def restore(self, owner: HandleOwner) -> None:
        """Bring back the jobs that it holds."""
        restore(self.locked, self._config, owner, self._placement)

    def start(self) -> None:
        """Start its thread; then slots of this run, once the last run's are accounted for."""
        log, config, writer = self.locked, self._config, self._journal.writer
        writer.take_reserve()
        writer.start()
        if log.interrupted.jobs:
            writer.flush()
        slots = SEATS_PER_WORKER * config.num_workers
        self._placement.slots = log.room.provide(
            lambda: Slots(log.files, log.directory, log.next_segment, slots, config.map_log)
        )
