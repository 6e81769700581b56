"""What a queue tells of a schedule: `PeriodicInfo`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..exact import Schedule

CatchUp = Literal["none", "last", "all"]


@dataclass(frozen=True, slots=True)
class PeriodicInfo:
    """A schedule, as it is now. Times are Unix times.

    Attributes:
        name: what it was registered as.
        schedule: the cron expression or the interval, as it was given.
        tz: the time zone of a cron expression.
        last: the last tick that enqueued a job, of an earlier run too if the log tells; `None` if
            none has.
        next: the next tick; `None` while it is paused, or if none comes any more.
        paused: whether it is paused.
    """

    name: str
    schedule: Schedule
    tz: str
    last: float | None
    next: float | None
    paused: bool
