"""A queue as its log tells of it, for looking: what `jobqueue web PATH` shows of a stopped program.

It has the looking calls of a queue. The log is read without a lock and never changed. It is read
anew when its files have changed, but not for more than a tenth of the time.

Guarantees: what one call tells is of one reading.
Whose thread: any; the lock is held while the log is read.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from ..final.core.remembered import unknown_job
from ..final.errors import JobQueueError
from ..final.model.filters import checked_filter, checked_limit
from ..final.model.look import DeadGroups, Look
from ..final.model.paused import Paused
from ..final.model.periodic import PeriodicInfo
from .access import read_log
from .exits import CommandError
from .reading import Reading, fits, info_of, job_of, status_of

if TYPE_CHECKING:
    from argparse import Namespace

    from ..final.model.job import Job, JobInfo, Priority
    from ..final.model.metrics import HandlerInfo, Metrics
    from ..final.model.transitions import Status

_SHARE_OF_TIME_MAX = 0.1
_IN_THE_CODE = "in the program's code"
"""In place of a schedule, of which a log knows only when it ticked last."""


@dataclass(frozen=True, slots=True)
class StoppedHandle:
    """A job that nothing happens to.

    Attributes:
        job: as it was enqueued; without its payload if it is completed or cancelled.
    """

    id: str
    status: Status
    job: Job


class StoppedQueue:
    """Tells what is in a log. Thread-safe.

    Args:
        arguments: `path`, the log's directory, `allow_shared` and `status_retention`.

    Raises:
        CommandError, LogCorruptError, OSError: the log cannot be read; if that is so later on,
            calls raise a `JobQueueError` or an `OSError`.
    """

    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments
        self._lock = threading.Lock()  # guards all below
        self._state: tuple[object, ...] = ()
        self._next_look = 0.0
        self._reading = self._read()

    def _read(self) -> Reading:
        began, state = time.monotonic(), _state_of(self._arguments.path)
        reading = read_log(
            self._arguments, lambda log: Reading(log, self._arguments.status_retention)
        )
        ended = time.monotonic()
        self._state = state  # not if that failed: then it is tried again
        self._next_look = ended + (ended - began) / _SHARE_OF_TIME_MAX
        return reading

    def _now(self) -> Reading:
        with self._lock:
            if (
                time.monotonic() >= self._next_look
                and _state_of(self._arguments.path) != self._state
            ):
                try:
                    self._reading = self._read()
                except CommandError as error:
                    raise JobQueueError(str(error)) from None
            return self._reading

    # ── looking ──────────────────────────────────────────────────────────────────────────────

    def status(self, job_id: str) -> Status:
        """See `JobQueue`."""
        return self.info(job_id).status

    def info(self, job_id: str) -> JobInfo:
        """See `JobQueue`."""
        reading = self._now()
        entry = reading.by_id.get(job_id)
        if entry is None:
            raise unknown_job(job_id)
        return info_of(entry)

    def handle(self, job_id: str) -> StoppedHandle:
        """See `JobQueue`."""
        entry = self._now().by_id.get(job_id)
        if entry is None:
            raise unknown_job(job_id)
        return StoppedHandle(job_id, status_of(entry), job_of(entry))

    def jobs(self, *, limit: int = 100, before: str | None = None, **like: Any) -> list[JobInfo]:
        """See `JobQueue`."""
        wanted, limit = checked_filter(**like), checked_limit(limit)
        found: list[JobInfo] = []
        for entry in self._now().newest_first(before, wanted.statuses):
            if fits(entry, wanted) and wanted.has_text(info := info_of(entry)):
                found.append(info)
                if len(found) == limit:
                    break
        return found

    def look(
        self,
        *,
        in_payload: bool = True,
        limit: int = 20,
        before: str | None = None,
        within: int = 20_000,
        **like: Any,
    ) -> Look:
        """See `JobQueue`."""
        wanted = checked_filter(**like)
        limit, within = checked_limit(limit), checked_limit(within)
        jobs: list[JobInfo] = []
        matching = looked_at = 0
        last: str | None = None
        for entry in self._now().newest_first(before, wanted.statuses):
            if looked_at == within:
                return Look(tuple(jobs), matching, looked_at, last)
            looked_at, last = looked_at + 1, entry.id
            if not fits(entry, wanted):
                continue
            if wanted.text is not None:
                info = info_of(entry)
                if not wanted.has_text(info if in_payload else replace(info, payload=None)):
                    continue
            matching += 1
            if len(jobs) < limit:
                jobs.append(_briefly(info_of(entry)))
        return Look(tuple(jobs), matching, looked_at, None)

    def dead_groups(self, limit: int = 100) -> DeadGroups:
        """See `JobQueue`."""
        groups = self._now().dead_groups
        letters = sum(each.count for each in groups)
        return DeadGroups(tuple(groups[: checked_limit(limit)]), letters, len(groups))

    def dead_letters(self) -> list[JobInfo]:
        """See `JobQueue`."""
        return [info_of(entry) for entry in self._now().dead]

    def metrics(self) -> Metrics:
        """See `JobQueue`; counts and run times are of the jobs that the log knows."""
        return self._now().metrics(time.time())

    def handlers(self, *, within: int | None = None) -> list[HandlerInfo]:
        """See `JobQueue`; options are not known to a log, and all jobs count."""
        del within
        return self._now().handlers

    def periodics(self) -> list[PeriodicInfo]:
        """See `JobQueue`; of a schedule the log knows its name and its last tick."""
        ticks = self._now().ticks
        return [
            PeriodicInfo(name, _IN_THE_CODE, "UTC", ticks[name], None, False)
            for name in sorted(ticks)
        ]

    def paused(self) -> Paused:
        """Nothing: a pause ends with its process."""
        return Paused(False, frozenset(), frozenset(), frozenset())

    # ── steering, which it does not do ───────────────────────────────────────────────────────

    def cancel(self, job_id: str) -> NoReturn:
        """Refused, as all that changes something."""
        self._refuse()

    def requeue(self, job_id: str) -> NoReturn:
        """Refused."""
        self._refuse()

    def discard(self, job_id: str) -> NoReturn:
        """Refused."""
        self._refuse()

    def run_periodic(self, name: str) -> NoReturn:
        """Refused."""
        self._refuse()

    def cancel_jobs(self, **_like: object) -> NoReturn:
        """Refused."""
        self._refuse()

    requeue_jobs = discard_jobs = run_now = cancel_jobs

    def pause(
        self,
        handler: str | None = None,
        priority: Priority | None = None,
        periodic: str | None = None,
    ) -> NoReturn:
        """Refused."""
        self._refuse()

    resume = pause

    def _refuse(self) -> NoReturn:
        raise JobQueueError(
            f"{self._arguments.path} is shown as it is, and nothing in it is changed; no queue has "
            f"it open: start one, or use 'jobqueue log'"
        )


def _briefly(info: JobInfo) -> JobInfo:
    return replace(info, payload=None, last_traceback=None, result=None, attempts=())


def _state_of(path: str) -> tuple[object, ...]:
    """What changes when the log does."""
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            about = entry.stat(follow_symlinks=False)
            found.append((entry.name, about.st_size, about.st_mtime_ns, about.st_ino))
    return tuple(sorted(found))
