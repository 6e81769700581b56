"""What the pages are made from: the queue, asked at a measured pace, and the last minutes of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..final import JobQueueError, LogWriteError, Status, UnknownJobError
from .errors import (
    MissingError,
    NotYetError,
    PageError,
    UnavailableError,
    UnwrittenError,
    WrongError,
)
from .formatting import visible
from .pacing import Paced
from .searching import filters_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..final import DeadGroups, HandlerInfo, JobInfo, Look, Metrics, Paused, PeriodicInfo
    from ..final.ports import Queue
    from .sampling import Samples

COUNTED_MAX = 10_000
"""Matches are counted, and changed by one press of a button, up to here."""
WITHIN = 10_000
"""How many jobs a page looks at."""
_WITHIN_FIRST = 512
_WITHIN_HANDLERS = 5000
_GROUPS = 40
"""How many groups of dead letters are told of."""
_WARM_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Desk:
    """All that a page may ask. Thread-safe; its methods are called in threads, for they may wait.

    Attributes:
        queue: the queue, which only actions call by itself.
        payload: shows a payload or a result; `None` hides both.
        late_after: seconds after which a job that waits is late.
        wall: the Unix time.
    """

    queue: Queue
    samples: Samples
    payload: Callable[[object], str] | None = None
    late_after: float = 300.0
    wall: Callable[[], float] = time.time
    paced: Paced = field(default_factory=Paced)

    def metrics(self) -> Metrics:
        """The last snapshot, at most a second or so old.

        Raises:
            UnavailableError: the queue could never be asked.
        """
        metrics, trouble = self.samples.latest()
        if metrics is None:
            raise UnavailableError(f"The queue could not be asked: {trouble}")
        return metrics

    def paused(self) -> Paused:
        """What is paused."""
        return self.paced.get("paused", self.queue.paused)

    def groups(self) -> DeadGroups:
        """The dead letters by handler and kind of error."""
        return self.paced.get("dead", lambda: self.queue.dead_groups(_GROUPS))

    def handlers(self) -> list[HandlerInfo]:
        """What is known of each handler; of the newest jobs, how many wait for it."""
        self._be_warm()
        return self.paced.get("handlers", lambda: self.queue.handlers(within=_WITHIN_HANDLERS))

    def periodics(self) -> list[PeriodicInfo]:
        """The schedules."""
        return self.paced.get("periodics", self.queue.periodics)

    def running(self, limit: int) -> list[JobInfo] | None:
        """What runs now, what began first first; `None` if that is not known yet."""
        if not self.samples.is_warm.is_set():
            return None
        look = self.paced.get(
            ("running", limit),
            lambda: self.queue.look(status=Status.PROCESSING, limit=limit),
        )
        return sorted(look.jobs, key=lambda job: job.started or 0.0)

    def look(self, like: Mapping[str, str], *, limit: int, before: str | None = None) -> Look:
        """A page of the jobs that are like this, and whether there are more.

        Mostly some of the newest do: only if they are too few, or with `limit=1`, which is asked
        for the count, the look goes as far as a page's look may.

        Args:
            like: the names and values of a page's query.

        Raises:
            Wrong: no job can be like that.
            Missing: `before` is forgotten.
        """
        self._be_warm()
        question = (tuple(sorted(like.items())), limit, before)
        if limit > 1:
            quick = self.paced.get(
                ("quick", *question),
                lambda: self.look_now(like, limit=limit, before=before, within=_WITHIN_FIRST),
            )
            if len(quick.jobs) == limit or quick.last is None:
                return quick
        return self.paced.get(question, lambda: self.look_now(like, limit=limit, before=before))

    def look_now(
        self,
        like: Mapping[str, str],
        *,
        limit: int,
        before: str | None = None,
        within: int = WITHIN,
    ) -> Look:
        """The same, asked anew, of so many jobs."""
        try:
            return self.queue.look(
                **filters_of(like),
                in_payload=self.payload is not None,
                limit=limit,
                before=before,
                within=within,
            )
        except UnknownJobError:
            raise MissingError(
                f"Job {visible(before or '')}, with which this page begins, is forgotten by now. "
                f"Go back to the newest jobs."
            ) from None
        except ValueError as error:
            raise WrongError(str(error)) from None

    def info(self, job_id: str) -> JobInfo:
        """All that is known of a job.

        Raises:
            Missing: nothing.
        """
        try:
            return self.queue.info(job_id)
        except (UnknownJobError, ValueError):
            raise MissingError(
                f"There is no job {visible(job_id)}: there never was, or it is forgotten by now."
            ) from None

    def _be_warm(self) -> None:
        """Raises `NotYetError` while the first look puts all jobs in order."""
        self.samples.ensure()
        if not self.samples.is_warm.wait(_WARM_SECONDS):
            trouble = self.samples.latest()[1]
            if trouble is not None:
                raise UnavailableError(f"The queue could not be asked: {trouble}")
            raise NotYetError(
                "The queue puts all its jobs in order, for the first look at them. With a million "
                "jobs that takes some seconds; this page comes by itself."
            )


def page_error(error: Exception) -> PageError:
    """What a page says of an error of the queue.

    Raises:
        Exception: the error itself, if it is none that a queue should raise.
    """
    if isinstance(error, PageError):
        return error
    if isinstance(error, LogWriteError):
        return UnwrittenError(f"So it may not be done: look before you press it again. {error}")
    if isinstance(error, JobQueueError | OSError):
        return UnavailableError(str(error) or type(error).__name__)
    raise error
