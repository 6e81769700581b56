"""Calls inside of an atomic task, which are held back until its function has returned.

Which attempt is at it stands in a variable of the attempt's own context, set only by handlers of
atomic tasks: a call elsewhere looks at that, and at nothing else.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from ..final import current_job

if TYPE_CHECKING:
    from ..final import JobContext
    from .task import Home


class Attempt(NamedTuple):
    """An attempt of an atomic task.

    Attributes:
        context: the attempt's context.
        home: the `Tasks` of the task.
    """

    context: JobContext
    home: Home


ATTEMPT: ContextVar[Attempt | None] = ContextVar("jobqueue_atomic_attempt", default=None)


def holding_back(home: Home) -> JobContext | None:
    """What holds back the calls of the tasks of `home` that are made here; `None` if nothing does.

    That is the attempt of an atomic task, if its queue is the one that the calls would go to.
    """
    attempt = ATTEMPT.get()
    if attempt is None or current_job() is not attempt.context:  # or another attempt within it
        return None
    return attempt.context if home.shares_queue(attempt.home) else None
