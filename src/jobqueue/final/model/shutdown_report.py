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
    """

    completed: int
    unfinished: tuple[str, ...]
    remaining: int
