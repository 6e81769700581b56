"""Background jobs inside your own process, no broker.

Three tiers, to be read in this order; each is a subpackage with a `JobQueue` of its own:

- `jobqueue.naive`: what everyone writes first, its flaws left in on purpose.
- `jobqueue.improved`: bounded, prioritised, retried, shut down cleanly; in memory.
- `jobqueue.final`: durable, fair, observable; for production.

This package re-exports the public names of the last: `jobqueue.JobQueue` is the one to use.
"""

from .final import (
    Backoff,
    Config,
    ConfigError,
    DuplicateJobError,
    EnqueueCancelledError,
    EnqueueTimeoutError,
    Job,
    JobCancelledError,
    JobContext,
    JobHandle,
    JobInfo,
    JobQueue,
    JobQueueError,
    LaneMetrics,
    LogCorruptError,
    LogLockedError,
    LogMetrics,
    LogVersionError,
    LogWriteError,
    Metrics,
    Middleware,
    Priority,
    Progress,
    Quantiles,
    QueueClosedError,
    RejectJobError,
    RetryJobError,
    ShutdownReport,
    Status,
    UnknownHandlerError,
    UnknownJobError,
    WorkerMetrics,
    WorkerProcessError,
    current_job,
)

__all__ = [
    "Backoff",
    "Config",
    "ConfigError",
    "DuplicateJobError",
    "EnqueueCancelledError",
    "EnqueueTimeoutError",
    "Job",
    "JobCancelledError",
    "JobContext",
    "JobHandle",
    "JobInfo",
    "JobQueue",
    "JobQueueError",
    "LaneMetrics",
    "LogCorruptError",
    "LogLockedError",
    "LogMetrics",
    "LogVersionError",
    "LogWriteError",
    "Metrics",
    "Middleware",
    "Priority",
    "Progress",
    "Quantiles",
    "QueueClosedError",
    "RejectJobError",
    "RetryJobError",
    "ShutdownReport",
    "Status",
    "UnknownHandlerError",
    "UnknownJobError",
    "WorkerMetrics",
    "WorkerProcessError",
    "current_job",
]
