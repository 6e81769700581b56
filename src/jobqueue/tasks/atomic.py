"""Calls inside of an atomic task, which are held back until its function has returned.

Which attempt is at it stands in a variable of the attempt's own context, set only by handlers of
atomic tasks: a call elsewhere looks at that, and at nothing else.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..final import current_job

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..final import Job, JobContext
    from .task import Home


class Holder(Protocol):
    """What holds jobs back until an attempt has returned; see `JobContext`."""

    def enqueue(self, job: Job, *, delay: float = 0.0) -> None:
        """Hold a job back."""

    def enqueue_many(self, jobs: Iterable[Job], *, delays: Iterable[float] | None = None) -> None:
        """Hold jobs back: all of them or none."""


class Attempt(NamedTuple):
    """An attempt of an atomic task.

    Attributes:
        context: the attempt's context.
        home: the `Tasks` of the task.
        holder: what holds back; the context itself, but in tests.
    """

    context: JobContext
    home: Home
    holder: Holder


ATTEMPT: ContextVar[Attempt | None] = ContextVar("jobqueue_atomic_attempt", default=None)


def holding_back(home: Home) -> Holder | None:
    """What holds back the calls of the tasks of `home` that are made here; `None` if nothing does.

    That is the attempt of an atomic task, if its queue is the one that the calls would go to.
    """
    attempt = ATTEMPT.get()
    if attempt is None or current_job() is not attempt.context:  # or another attempt within it
        return None
    return attempt.holder if home.shares_queue(attempt.home) else None
