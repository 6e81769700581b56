"""What is remembered of jobs that have ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..wal.format.base import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model.handlers import Handler
    from ..model.job import Job, Priority
    from ..model.progress import Told
    from ..model.transitions import Status
    from ..runtime.reporting import Failure


class Finished(Struct, frozen=True, gc=False):
    """What is remembered of a completed or cancelled job: all but payload and result.

    `gc=False`: none of it can be part of a cycle, and there may be very many.
    """

    status: Status
    priority: Priority
    handler: str | None
    headers: Mapping[str, str]
    retries: int
    failure: Failure | None
    created: float
    started: float | None
    finished: float
    progress: Told | None = None


@dataclass(slots=True)
class DeadLetter:
    """A failed job, kept with its payload until it is requeued or discarded."""

    job: Job
    number: int
    call: Handler | None
    failure: Failure | None
    started: float | None
    finished: float
    retries: int
    progress: Told | None = None
