"""`Attempt`: one run of a job's handler, as it is told of afterwards."""

from __future__ import annotations

from dataclasses import dataclass

ATTEMPTS_MAX = 10
"""How many of a job's attempts are remembered, the last ones."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to run a job.

    Attributes:
        number: 0 for the first one, as `JobContext.attempt`.
        started: Unix time; `None` if it is not known, as of one in which the process died.
        finished: Unix time; `None` while it goes on.
        error: type and message of what it raised, such as "ValueError: boom"; `None` if nothing.
    """

    number: int
    started: float | None
    finished: float | None = None
    error: str | None = None


def and_one_more(attempts: tuple[Attempt, ...], last: Attempt) -> tuple[Attempt, ...]:
    """The last of these attempts, and one more."""
    return (*attempts[1 - ATTEMPTS_MAX :], last)
