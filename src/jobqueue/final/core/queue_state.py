"""The state that a queue is in, and what it refuses in that state.

Relies on: the queue's mutex, held by the caller of every method, but in a forked child.
"""

from __future__ import annotations

from enum import IntEnum

from ..errors import JobQueueError, LogWriteError, QueueClosedError, again


class State(IntEnum):
    """The states of a queue, in the only order in which they come; some are passed over."""

    OPEN = 0
    """It takes jobs."""
    FAILED = 1
    """Its log failed, or one of its threads died: nothing is taken, and nothing is started."""
    CLOSING = 2
    """`close` has begun: no new job is taken; those that were accepted may be changed."""
    ENDED = 3
    """`close` has given its report: what still runs touches nothing any more."""
    FORKED = 4
    """This is the copy in a forked child; the queue is the parent's."""


class QueueState:
    """The state of one queue.

    Attributes:
        now: the state.
        fault: why the queue cannot go on, also while it closes: its log failed, or one of its
            threads died.
    """

    def __init__(self) -> None:
        self.now = State.OPEN
        self.fault: JobQueueError | None = None

    def enter(self, state: State) -> None:
        """Go on to a state; from a later one there is no way back."""
        self.now = max(self.now, state)

    def fail(self, fault: JobQueueError) -> None:
        """Note why the queue cannot go on. The first fault counts."""
        self.fault = self.fault or fault
        self.enter(State.FAILED)

    def refuse_after(self, last: State) -> None:
        """The one refusal: raises if the state is past `last`, or there is a fault.

        Args:
            last: `OPEN` for a new job, `CLOSING` for a change that is still recorded then.

        Raises:
            QueueClosedError: the queue closes, is closed, or is another process's.
            JobQueueError: the fault; a `LogWriteError` if it is the log's.
        """
        if self.now > max(last, State.FAILED):
            raise self.closed_error()
        if self.fault is not None:
            raise self.fault_error()

    def closed_error(self) -> QueueClosedError:
        """The error for a closed queue."""
        if self.now is State.FORKED:
            return QueueClosedError(
                "this queue belongs to the parent process; make one of your own after the fork, "
                "with another persist_path"
            )
        return QueueClosedError("the queue is closed; make a new one to go on")

    def fault_error(self) -> JobQueueError:
        """The fault as an error for one more caller. Only when there is a fault."""
        fault = self.fault
        if isinstance(fault, LogWriteError):
            return again(fault)
        copy = JobQueueError(*(() if fault is None else fault.args))
        copy.__cause__ = fault
        return copy
