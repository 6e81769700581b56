"""A log that was read once, counted and told of as a queue counts and tells."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from ..final.core.remembered import unknown_job
from ..final.core.telling import quantiles
from ..final.errors import JobQueueError
from ..final.model.attempt import Attempt, and_one_more
from ..final.model.filters import NO_ERROR, error_class
from ..final.model.job import Job, JobInfo, Priority
from ..final.model.look import DeadGroup
from ..final.model.metrics import (
    HandlerCounts,
    HandlerInfo,
    Histogram,
    LaneMetrics,
    LogMetrics,
    Metrics,
    Quantiles,
    WorkerMetrics,
)
from ..final.model.results import StoredResult, read_result
from ..final.model.transitions import Status
from ..final.wal.format.record import payload_bytes
from ..final.wal.names import list_present
from .jobs import Entry, Jobs
from .jobs import Status as LoggedStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..final.model.filters import Filter
    from .access import Log

_STATUSES = {each: Status(each.value) for each in LoggedStatus}
_PRIORITIES = tuple(Priority)
_SAMPLES = 512
"""How many of a handler's last run times count, as in a queue."""
_NO_TIMES = Histogram((), (0,), 0.0)
_NO_COUNTS = HandlerCounts(0, 0, 0, 0, 0, {}, {})


class Reading:
    """The jobs of a log, and what there is to tell of them.

    Not changed once it is made, but for what is counted at the first need.

    Args:
        status_retention: how many finished jobs are remembered.
    """

    def __init__(self, log: Log, status_retention: int) -> None:
        jobs = Jobs(log, status_retention)
        self.entries = list(jobs)
        self.by_id = {entry.id: entry for entry in self.entries}
        self.by_status: dict[Status, list[Entry]] = {each: [] for each in Status}
        for entry in self.entries:
            self.by_status[status_of(entry)].append(entry)
        self.ticks = {name: tick.at for name, tick in jobs.state.ticks.items()}
        self._at = jobs.now
        self._batches = jobs.reading.last
        listing = list_present(log.files, log.directory)
        self._bytes = sum(
            log.files.size_of(os.path.join(log.directory, file.name)) for file in listing.files
        )

    @cached_property
    def dead(self) -> list[Entry]:
        """The failed jobs; the one that failed first comes first."""
        return sorted(self.by_status[Status.FAILED], key=lambda entry: entry.state.finished or 0.0)

    @cached_property
    def dead_groups(self) -> list[DeadGroup]:
        """Those by handler and kind of error, the largest group first."""
        found: dict[tuple[str | None, str], list[Entry]] = {}
        for entry in self.dead:
            group = entry.state.enqueued.handler, error_class(entry.state.error or NO_ERROR)
            found.setdefault(group, []).append(entry)
        order = sorted(found, key=lambda group: (-len(found[group]), group[0] or "", group[1]))
        return [
            DeadGroup(*group, len(found[group]), replace(info_of(found[group][-1]), payload=None))
            for group in order
        ]

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

    def metrics(self, now: float) -> Metrics:
        """The numbers of it; `now` is the Unix time, up to which jobs have waited."""
        found = self._metrics
        since = max(0.0, now - self._at)
        lanes = {
            each: replace(lane, oldest_wait=lane.oldest_wait + since) if lane.queued else lane
            for each, lane in found.by_priority.items()
        }
        oldest = max(lane.oldest_wait for lane in lanes.values())
        return replace(found, by_priority=lanes, oldest_wait=oldest)

    @cached_property
    def _metrics(self) -> Metrics:
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
            log=LogMetrics(self._bytes, self._batches, 0, 0.0, 0, None, _NO_TIMES),
            by_handler={
                each.name: HandlerCounts(
                    each.completed,
                    each.failed,
                    each.retried,
                    each.cancelled,
                    each.processing,
                    each.failures,
                    {},
                )
                for each in self.handlers
            },
            unregistered=_NO_COUNTS,
            since=self._at,
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
            dead=count[Status.FAILED],
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
    errors = Counter(error_class(error) for each in entries for error in errors_of(each))
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


def errors_of(entry: Entry) -> Iterator[str]:
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


def fits(entry: Entry, wanted: Filter) -> bool:
    """Whether a job is like that, but for its text."""
    state, was = entry.state, entry.state.enqueued
    failure = None if state.error is None else (state.error, "")
    return wanted.fits(status_of(entry), was.handler, _PRIORITIES[was.priority], was.key, failure)


def status_of(entry: Entry) -> Status:
    """A job's status, as a queue has it."""
    return _STATUSES[entry.status]


def job_of(entry: Entry) -> Job:
    """A job as it was enqueued, as far as the log still knows it."""
    was = entry.state.enqueued
    return Job(
        payload_bytes(was),
        id=was.id,
        priority=Priority(was.priority),
        handler=was.handler,
        max_retries=was.max_retries,
        headers=was.headers,
        store_result=was.store_result,
        key=was.key,
        after=entry.after or None,
        expires=was.within,
        _created=was.created,
    )


def info_of(entry: Entry) -> JobInfo:
    """What a queue tells of a job."""
    state, was, status = entry.state, entry.state.enqueued, status_of(entry)
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
        was.headers or {},
        state.retries,
        state.error,
        state.traceback or None,
        was.created,
        state.started,
        state.finished,
        None,
        _result(entry),
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
