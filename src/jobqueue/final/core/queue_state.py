"""Whether the queue still takes and runs jobs, and why not.

Relies on: the queue's mutex, held by the caller of every method.
"""

from __future__ import annotations

from ..errors import JobQueueError, LogWriteError, QueueClosedError, again


class Gate:
    """The queue's state of life.

    Attributes:
        closed: no new jobs are taken.
        shut: `check` would raise.
        abandoned: `close` has given its report; what still runs touches nothing any more.
        forked: this is the copy in a forked child.
        fault: why the queue cannot go on: its log failed, or one of its threads died.
    """

    def __init__(self) -> None:
        self.closed = False
        self.shut = False
        self.abandoned = False
        self.forked = False
        self.fault: LogWriteError | JobQueueError | None = None

    def check(self) -> None:
        """Raises where no new job can be taken."""
        if self.closed:
            raise self.closed_error()
        if self.fault is not None:
            raise self.fault_error(self.fault)

    def check_change(self) -> None:
        """Raises where a change could not be recorded any more."""
        if self.abandoned:
            raise self.closed_error()
        if self.fault is not None:
            raise self.fault_error(self.fault)

    def closed_error(self) -> QueueClosedError:
        """The error for a closed queue."""
        if self.forked:
            return QueueClosedError(
                "this queue belongs to the parent process; make one of your own after the fork, "
                "with another persist_path"
            )
        return QueueClosedError("the queue is closed; make a new one to go on")

    @staticmethod
    def fault_error(fault: LogWriteError | JobQueueError) -> JobQueueError:
        """The fault as an error for one more caller."""
        if isinstance(fault, LogWriteError):
            return again(fault)
        copy = JobQueueError(*fault.args)
        copy.__cause__ = fault
        return copy
