"""Have callers fsync by themselves, whatever else the machine does meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import insides
from .waiting import eventually

if TYPE_CHECKING:
    from jobqueue.final import JobQueue
    from jobqueue.final.wal.writing.writer import LogWriter


def left_to_callers(jq: JobQueue) -> LogWriter:
    """The queue's log, whose thread sleeps, and takes no job from a caller that is slow to lead."""
    writer = insides.writer(jq)
    insides.leave_to_callers(writer)
    eventually(lambda: insides.is_log_asleep(writer))  # while it is at work, no caller leads
    return writer
