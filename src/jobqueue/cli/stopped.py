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
from collections import Counter, defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from ..final.core.counters import quantiles
from ..final.core.remembered import unknown_job
from ..final.errors import JobQueueError
from ..final.model.attempt import Attempt, and_one_more
from ..final.model.filters import checked_filter, checked_limit
from ..final.model.job import JobInfo, Priority
from ..final.model.metrics import (
    HandlerCounts,
    HandlerInfo,
    LaneMetrics,
    LogMetrics,
    Metrics,
    Quantiles,
    WorkerMetrics,
)
from ..final.model.paused import Paused
from ..final.model.periodic import PeriodicInfo
from ..final.model.results import StoredResult, read_result
from ..final.model.transitions import Status
from ..final.wal.format.record import payload_bytes
from ..final.wal.names import list_present
from .access import read_log
from .jobs import Entry, Jobs

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator

    from .access import Log

_SHARE_OF_TIME_MAX = 0.1
_SAMPLES = 512
"""How many of a handler's last run times count, as in a queue."""
_IN_THE_CODE = "in the program's code"
"""In place of a schedule, of which a log knows only when it ticked last."""


class StoppedQueue:
    """Tells what is in a log. Thread-safe.

    Args:
        arguments: `path`, the log's directory, `allow_shared` and `status_retention`.

    Raises:
        CommandError, LogCorruptError, OSError: the log cannot be read; calls raise them too, if
            that is so later on.
    """

    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments
        self._lock = threading.Lock()  # guards all below
        self._state: tuple[object, ...] = ()
        self._next_look = 0.0
        self._reading = self._read()

    def _read(self) -> _Reading:
        began = time.monotonic()
        self._state = _state_of(self._arguments.path)
        reading = read_log(
            self._arguments, lambda log: _Reading(log, self._arguments.status_retention)
        )
        ended = time.monotonic()
        self._next_look = ended + (ended - began) / _SHARE_OF_TIME_MAX
        return reading

    def _now(self) -> _Reading:
        with self._lock:
            if (
                time.monotonic() >= self._next_look
                and _state_of(self._arguments.path) != self._state
            ):
                self._reading = self._read()
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
        return _info(entry, has_result=True)

    def jobs(self, *, limit: int = 100, before: str | None = None, **like: Any) -> list[JobInfo]:
        """See `JobQueue`."""
        wanted, limit = checked_filter(**like), checked_limit(limit)
        found: list[JobInfo] = []
        for entry in self._now().newest_first(before, wanted.statuses):
            state = entry.state
            failure = None if state.error is None else (state.error, "")
            was = state.enqueued
            status = Status(entry.status.value)
            if wanted.fits(status, was.handler, Priority(was.priority), was.key, failure):
                info = _info(entry, has_result=False)
                if wanted.has_text(info):
                    found.append(info)
                    if len(found) == limit:
                        break
        return found

    def dead_letters(self) -> list[JobInfo]:
        """See `JobQueue`."""
        failed = self._now().by_status[Status.FAILED]
        by_end = sorted(failed, key=lambda entry: entry.state.finished or 0.0)
        return [_info(entry, has_result=False) for entry in by_end]

    def metrics(self) -> Metrics:
        """See `JobQueue`; counts and run times are of the jobs that the log knows."""
        return self._now().metrics

    def handlers(self) -> list[HandlerInfo]:
        """See `JobQueue`; options are not known to a log."""
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


def _state_of(path: str) -> tuple[object, ...]:
    """What changes when the log does."""
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            about = entry.stat(follow_symlinks=False)
            found.append((entry.name, about.st_size, about.st_mtime_ns, about.st_ino))
    return tuple(sorted(found))


class _Reading:
    """A log that was read once; not changed afterwards."""

    def __init__(self, log: Log, status_retention: int) -> None:
        jobs = Jobs(log, status_retention)
        self.entries = list(jobs)
        self.by_id = {entry.id: entry for entry in self.entries}
        self.by_status: dict[Status, list[Entry]] = {each: [] for each in Status}
        for entry in self.entries:
            self.by_status[Status(entry.status.value)].append(entry)
        self.ticks = {name: tick.at for name, tick in jobs.state.ticks.items()}
        self._at = jobs.now
        self._batches = jobs.reading.last
        listing = list_present(log.files, log.directory)
        self._bytes = sum(
            log.files.size_of(os.path.join(log.directory, file.name)) for file in listing.files
        )

    def newest_first(
        self, before: str | None, statuses: frozenset[Status] | None
    ) -> Iterator[Entry]:
        """The jobs of these statuses that are older than that one."""
        below = None
        if before is not None:
            if before not in self.by_id:
                raise unknown_job(before)
            below = self.by_id[before].number
        if statuses is None:
            entries: Iterable[Entry] = reversed(self.entries)
        elif len(statuses) == 1:
            entries = reversed(self.by_status[next(iter(statuses))])
        else:
            among = [entry for each in statuses for entry in self.by_status[each]]
            entries = sorted(among, key=lambda entry: -entry.number)
        return (entry for entry in entries if below is None or entry.number < below)

    @cached_property
    def metrics(self) -> Metrics:
        """The numbers of it."""
        lanes = {each: self._lane(each) for each in Priority}
        sums = {
            name: sum(getattr(lane, name) for lane in lanes.values())
            for name in LaneMetrics.__dataclass_fields__
            if name not in ("oldest_wait", "queue_wait", "run_time")
        }
        return Metrics(
            **sums,
            oldest_wait=max(lane.oldest_wait for lane in lanes.values()),
            by_priority=lanes,
            queue_wait=Quantiles(),
            run_time=_run_time(self.entries),
            workers=WorkerMetrics(0, 0, 0.0),
            log=LogMetrics(self._bytes, self._batches, 0, 0.0, 0),
            by_handler={
                each.name: HandlerCounts(
                    each.completed,
                    each.failed,
                    each.retried,
                    each.cancelled,
                    each.processing,
                    each.failures,
                )
                for each in self.handlers
            },
        )

    def _lane(self, priority: Priority) -> LaneMetrics:
        entries = [each for each in self.entries if each.state.enqueued.priority == priority]
        count = Counter(each.status.value for each in entries)
        waiting = [each for each in entries if each.status.value == Status.QUEUED]
        oldest = min((each.state.enqueued.created for each in waiting), default=self._at)
        return LaneMetrics(
            enqueued=len(entries),
            queued=count[Status.QUEUED],
            scheduled=count[Status.SCHEDULED],
            processing=count[Status.PROCESSING],
            overrunning=0,
            completed=count[Status.COMPLETED],
            failed=count[Status.FAILED],
            retried=sum(_retried(each) for each in entries),
            cancelled=count[Status.CANCELLED],
            expired=sum(_is_expired(each) for each in entries),
            limited=0,
            oldest_wait=max(0.0, self._at - oldest),
            queue_wait=Quantiles(),
            run_time=_run_time(entries),
        )

    @cached_property
    def handlers(self) -> list[HandlerInfo]:
        """Each handler that a job names."""
        by_name: defaultdict[str | None, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            by_name[entry.state.enqueued.handler].append(entry)
        return [
            _handler(name, by_name[name]) for name in sorted(by_name, key=lambda each: each or "")
        ]


def _handler(name: str | None, entries: list[Entry]) -> HandlerInfo:
    count = Counter(each.status.value for each in entries)
    errors = Counter(error.partition(":")[0] for each in entries for error in _errors(each))
    return HandlerInfo(
        name,
        completed=count[Status.COMPLETED],
        failed=count[Status.FAILED],
        retried=sum(_retried(each) for each in entries),
        cancelled=count[Status.CANCELLED],
        queued=count[Status.QUEUED],
        processing=count[Status.PROCESSING],
        options={},
        queue_wait=Quantiles(),
        run_time=_run_time(entries),
        failures=dict(errors),
    )


def _errors(entry: Entry) -> Iterator[str]:
    """The errors of its attempts, as far as they are known: the last ten."""
    for attempt in entry.state.attempts:
        yield attempt[3]
    if entry.status.value == Status.FAILED and entry.state.error is not None:
        yield entry.state.error


def _retried(entry: Entry) -> int:
    """How many of its attempts were followed by another one."""
    return entry.state.retries


def _is_expired(entry: Entry) -> bool:
    return (entry.state.error or "").startswith("expired after ")


def _run_time(entries: list[Entry]) -> Quantiles:
    """Of the last attempts of the jobs that ended last."""
    ended = [
        (state.finished, state.finished - state.started)
        for state in (entry.state for entry in entries)
        if state.finished is not None and state.started is not None
    ]
    last = sorted(ended)[-_SAMPLES:]
    return quantiles(sorted(max(0.0, seconds) for _, seconds in last))


def _info(entry: Entry, *, has_result: bool) -> JobInfo:
    state, was, status = entry.state, entry.state.enqueued, Status(entry.status.value)
    attempts = tuple(Attempt(*each) for each in state.attempts[-10:])
    if status in (Status.COMPLETED, Status.FAILED):
        error = state.error if status is Status.FAILED else None
        last = Attempt(state.retries, state.started, state.finished, error)
        attempts = and_one_more(attempts, last)
    is_due = status is Status.SCHEDULED and not entry.after
    return JobInfo(
        was.id,
        status,
        Priority(was.priority),
        was.handler,
        was.headers,
        state.retries,
        state.error,
        state.traceback or None,
        was.created,
        state.started,
        state.finished,
        None,
        _result(entry) if has_result else None,
        payload_bytes(was) if entry.has_payload else None,
        was.key,
        state.due if is_due else None,
        attempts,
    )


def _result(entry: Entry) -> object:
    """What is kept of its result; `None` if its handler's own codec is needed to read it."""
    stored = entry.state.result
    if stored is None:
        return None
    try:
        return read_result(entry.id, StoredResult(*stored), None)
    except JobQueueError:
        return None
