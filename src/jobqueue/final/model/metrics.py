"""What `JobQueue.metrics` returns: a consistent snapshot of a queue. All of it is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .job import Priority


@dataclass(frozen=True, slots=True)
class Quantiles:
    """How a time in seconds was spread over the last jobs; all 0.0 before the first."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """How a time was spread since the queue was opened; each attempt (or fsync) is counted once.

    Attributes:
        bounds: the upper bounds of the buckets, in seconds, rising; a bound belongs to its bucket.
        counts: how many times each bucket has; one more than there are bounds, the last is above
            all of them.
        sum: seconds together.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many times there are."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class LaneMetrics:
    """Counts and times of one priority; see `Metrics` for the counts.

    Attributes:
        oldest_wait: age in seconds of the oldest queued job, 0.0 if none is queued.
        queue_wait: seconds from entering the lane to the start of the attempt.
        run_time: seconds that attempts took.
    """

    enqueued: int
    queued: int
    scheduled: int
    processing: int
    overrunning: int
    completed: int
    failed: int
    retried: int
    cancelled: int
    expired: int
    limited: int
    dead: int
    oldest_wait: float
    queue_wait: Quantiles
    run_time: Quantiles


@dataclass(frozen=True, slots=True)
class HandlerLane:
    """The counts and times of one handler's jobs of one priority, since the start.

    Attributes:
        expired: those of the cancelled ones that had not started in time.
        queue_wait: from entering the lane to the start of the attempt, of each attempt.
        run_time: how long each attempt took that has ended.
    """

    enqueued: int
    completed: int
    failed: int
    retried: int
    cancelled: int
    expired: int
    queue_wait: Histogram
    run_time: Histogram


@dataclass(frozen=True, slots=True)
class HandlerCounts:
    """The counts of one handler, since the start; see `Metrics`.

    Attributes:
        failures: attempts that failed, by the class of the error.
        by_priority: more counts, and times, for each priority that the handler has had jobs of.
    """

    completed: int
    failed: int
    retried: int
    cancelled: int
    processing: int
    failures: Mapping[str, int]
    by_priority: Mapping[Priority, HandlerLane]


@dataclass(frozen=True, slots=True)
class HandlerInfo:
    """What is known of one handler, or of a name that jobs wait for.

    Attributes:
        name: `None` for the default handler.
        queued: its jobs that wait to be run.
        options: what it was registered with besides the function: `timeout`, `retry_on`,
            `backoff`, `result_codec`, `limit`, `rate`; those that were given.
        queue_wait: seconds from entering the lane to the start of the attempt, of attempts that
            have ended: of each until 256 of a priority have, and of every eighth from then on; the
            last 512 of these count, or some more.
        run_time: seconds that these attempts took.
        failures: attempts that failed, by the class of the error.
    """

    name: str | None
    completed: int
    failed: int
    retried: int
    cancelled: int
    queued: int
    processing: int
    options: Mapping[str, object]
    queue_wait: Quantiles
    run_time: Quantiles
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """The workers.

    Attributes:
        count: live worker threads, replacements included.
        busy: those that run a handler.
        utilization: fraction of the last 10 s that `num_workers` workers were busy; above 1
            while replacements work beside overrunning attempts.
        size: `num_workers`, how many the settings ask for.
    """

    count: int
    busy: int
    utilization: float
    size: int = 0


@dataclass(frozen=True, slots=True)
class LogMetrics:
    """The write-ahead log.

    Attributes:
        bytes: size of its files.
        batches: batches written since it was opened.
        fsyncs: fsyncs of record data since it was opened.
        last_fsync_seconds: how long the last one took; 0.0 before the first.
        lag_records: records that are not known to be fsynced yet.
        error: why the log has failed, or cannot be written for now; `None` while all is well.
        fsync_time: how long the fsyncs of record data took since it was opened.
    """

    bytes: int
    batches: int
    fsyncs: int
    last_fsync_seconds: float
    lag_records: int
    error: str | None
    fsync_time: Histogram


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """The engine that a queue runs on, as this process sees it. Counts are since its start.

    Attributes:
        name: what it is, as "postgres".
        connected: whether it can be reached. What runs goes on meanwhile.
        reconnects: how often it could be reached again.
        late: outcomes that did not count, for another process had got the job meanwhile.
        processes: how many processes run jobs now.
    """

    name: str
    connected: bool
    reconnects: int
    late: int
    processes: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """A consistent snapshot of a queue.

    At rest, `enqueued == completed + failed + cancelled`. For that, jobs that a start found
    unfinished in the log count as enqueued again, and so do dead letters that were requeued.

    Attributes:
        enqueued: jobs accepted.
        queued: jobs in a lane, or waiting for a handler of their name.
        scheduled: jobs that wait for their delay or backoff.
        processing: jobs in a handler.
        overrunning: those of them that are past `job_timeout`, and coroutines that go on though
            they were cancelled.
        completed: jobs whose handler returned.
        failed: jobs that failed for the last time.
        retried: attempts that failed and were scheduled again.
        cancelled: jobs cancelled.
        expired: those of them that had not started in time.
        limited: those of the queued ones that wait for the limit or rate of their handler.
        dead: dead letters that are kept.
        oldest_wait: age in seconds of the oldest queued job, 0.0 if none is queued.
        by_priority: the same for each lane.
        queue_wait: seconds from entering the lane to the start of the attempt, over all lanes.
        run_time: seconds that attempts took, over all lanes.
        workers: the workers.
        log: the log; `None` in memory.
        by_handler: some of the counts for each handler that is registered, by its name; `None` is
            the default handler. `JobQueue.handlers` tells more.
        unregistered: the same for all jobs together whose handler was not registered when they were
            counted, or that carry their function themselves.
        since: the Unix time at which these counts began, all at zero: that of the queue's start, or
            of its owner's if that is another process.
        engine: what the queue runs on, if that is not this process; else `None`.
    """

    enqueued: int
    queued: int
    scheduled: int
    processing: int
    overrunning: int
    completed: int
    failed: int
    retried: int
    cancelled: int
    expired: int
    limited: int
    dead: int
    oldest_wait: float
    by_priority: Mapping[Priority, LaneMetrics]
    queue_wait: Quantiles
    run_time: Quantiles
    workers: WorkerMetrics
    log: LogMetrics | None
    by_handler: Mapping[str | None, HandlerCounts]
    unregistered: HandlerCounts
    since: float
    engine: EngineMetrics | None = None
