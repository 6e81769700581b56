"""The one table of what may happen to a job, and which status follows.

Everything that changes a job's status takes the new one from here; `docs/job_lifecycle.md`
draws the same table.
"""

from __future__ import annotations

from enum import Enum, auto


class Status(str, Enum):  # noqa: UP042  # a StrEnum would print as "queued"
    """The state that a job is in. It is its text too: `Status.QUEUED == "queued"`."""

    QUEUED = "queued"
    """In its lane, or waiting for a handler of its name."""
    SCHEDULED = "scheduled"
    """Waits for its delay or its backoff to pass."""
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    """Kept as a dead letter."""
    CANCELLED = "cancelled"


class Event(Enum):
    """What can happen to a job that the queue knows."""

    DUE = auto()
    """Its delay or backoff has passed."""
    START = auto()
    """A worker takes it."""
    RETURN = auto()
    """Its handler returned."""
    RETRY = auto()
    """Its attempt failed and it has retries left."""
    FAIL = auto()
    """Its attempt failed for the last time, or it was rejected."""
    CANCEL = auto()
    """It was cancelled before it ran, or its handler gave up when asked to."""
    REQUEUE = auto()
    """A caller wants a failed job run again."""
    CRASH = auto()
    """The process died while it ran; seen at the next start."""


FIRST = frozenset({Status.QUEUED, Status.SCHEDULED})
"""What a job can be when it is accepted: runnable now, or after its delay."""

FOLLOWS: dict[tuple[Status, Event], Status] = {
    (Status.SCHEDULED, Event.DUE): Status.QUEUED,
    (Status.SCHEDULED, Event.CANCEL): Status.CANCELLED,
    (Status.QUEUED, Event.START): Status.PROCESSING,
    (Status.QUEUED, Event.CANCEL): Status.CANCELLED,
    (Status.PROCESSING, Event.RETURN): Status.COMPLETED,
    (Status.PROCESSING, Event.RETRY): Status.SCHEDULED,
    (Status.PROCESSING, Event.FAIL): Status.FAILED,
    (Status.PROCESSING, Event.CANCEL): Status.CANCELLED,
    (Status.PROCESSING, Event.CRASH): Status.QUEUED,
    (Status.FAILED, Event.REQUEUE): Status.QUEUED,
}

FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
"""Nothing happens by itself from here; only a failed job can be requeued."""


def after(status: Status, event: Event) -> Status:
    """The status that follows.

    Raises:
        ValueError: the event cannot happen to a job in this status.
    """
    try:
        return FOLLOWS[status, event]
    except KeyError:
        raise ValueError(f"a job that is {status.name} cannot {event.name}") from None
