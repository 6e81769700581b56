"""Have callers fsync by themselves, whatever else the machine does meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .waiting import eventually

if TYPE_CHECKING:
    from jobqueue.final import JobQueue
    from jobqueue.final.wal.writing.writer import LogWriter


def left_to_callers(jq: JobQueue) -> LogWriter:
    """The queue's log, whose thread sleeps, and takes no job from a caller who is slow to lead."""
    assert jq._dispatch.journal is not None
    writer = jq._dispatch.journal.writer
    writer._linger = 3600.0
    eventually(lambda: writer._asleep_until)  # where it is at work, nobody else leads
    return writer
