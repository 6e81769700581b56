"""What `JobQueue.look` and `dead_groups` return: what a page shows, and a count of the rest."""

from __future__ import annotations

from dataclasses import dataclass

from .job import JobInfo


@dataclass(frozen=True, slots=True)
class Look:
    """What a bounded look at jobs has found.

    Attributes:
        jobs: those that fit, newest first. Of each without payload, traceback and attempts, so that
            many are told of quickly; `info` has these.
        matching: how many of those that were looked at fit, told of or not.
        looked_at: how many were looked at.
        last: where to go on, as `before`, if the look ended before it came to the oldest; `None`
            if it has seen all.
    """

    jobs: tuple[JobInfo, ...]
    matching: int
    looked_at: int
    last: str | None


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """The dead letters of one handler with one kind of error.

    Attributes:
        handler: `None` for the default handler.
        error: the class of their last error, as in "ValueError".
        count: how many there are.
        last: the one that failed last, without its payload.
    """

    handler: str | None
    error: str
    count: int
    last: JobInfo


@dataclass(frozen=True, slots=True)
class DeadGroups:
    """The dead letters by handler and kind of error.

    Attributes:
        groups: those with the most letters first.
        letters: how many dead letters there are, in all groups.
        kinds: how many groups there are; more than are told of, if they are many.
    """

    groups: tuple[DeadGroup, ...]
    letters: int
    kinds: int
