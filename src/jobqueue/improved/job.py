"""What is put into the queue, and one try at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class Priority(IntEnum):
    """The lane of a job. While a lane has work, no job of a later one is started."""

    HIGH = 0
    MEDIUM = 1
    LOW = 2


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work.

    Attributes:
        id: what log records call the job. Not interpreted: the same id may be used twice.
        handler: called without arguments, in a worker's thread. A return is a success, whatever
            it returns; an exception is a failed attempt.
        priority: the lane that the job waits in.

    Raises:
        TypeError: `handler` cannot be called.
        ValueError: `priority` is no priority.
    """

    id: str
    handler: Callable[[], object]
    priority: Priority = Priority.MEDIUM

    def __post_init__(self) -> None:
        if not callable(self.handler):
            raise TypeError(f"handler of job {self.id!r} must be callable, not {self.handler!r}")
        try:
            priority = Priority(self.priority)
        except ValueError:
            raise ValueError(
                f"priority of job {self.id!r} must be HIGH (0), MEDIUM (1) or LOW (2), "
                f"not {self.priority!r}"
            ) from None
        object.__setattr__(self, "priority", priority)  # a plain 0, 1 or 2 will do as well


class Attempt(NamedTuple):
    """One try at a job: number 0 is the first, number n the nth retry."""

    job: Job
    number: int
