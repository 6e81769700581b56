"""`ShutdownReport`: what `close` left behind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShutdownReport:
    """What `close` left behind.

    Attributes:
        completed: jobs that finished since `close` began.
        unfinished: ids of the jobs whose handlers are still running.
        remaining: jobs left in the queue. With a log these and the unfinished ones run again
            after a restart.
        lost: jobs that were accepted and had not finished, and whose records could not be written
            (under "async"): they are in no other figure but `unfinished`, and do not run again.
    """

    completed: int
    unfinished: tuple[str, ...]
    remaining: int
    lost: int = 0
