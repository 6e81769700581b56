"""How many jobs are in each state, and how many have been."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metrics:
    """The counts at one moment.

    Every accepted job is in exactly one of the first four.

    Attributes:
        queued: jobs that wait, in a lane or for their next attempt.
        processing: jobs whose handler runs now.
        completed: jobs whose handler returned.
        failed: jobs whose last retry failed.
        retried: retries that were scheduled so far; one job may add several.
    """

    queued: int
    processing: int
    completed: int
    failed: int
    retried: int


@dataclass(slots=True)
class Counters:
    """What has happened so far. Each count only grows; what state the jobs are in follows.

    Not thread-safe: the queue changes and reads it under its own lock.
    """

    accepted: int = 0
    started: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0

    @property
    def unfinished(self) -> int:
        """Jobs that were accepted and have neither completed nor failed."""
        return self.accepted - self.completed - self.failed

    def snapshot(self) -> Metrics:
        """The counts as they are now."""
        ended = self.completed + self.failed + self.retried
        return Metrics(
            queued=self.accepted + self.retried - self.started,
            processing=self.started - ended,
            completed=self.completed,
            failed=self.failed,
            retried=self.retried,
        )
