"""Background jobs inside your own process, no broker.

Three tiers, to be read in this order; each is a subpackage with a `JobQueue` of its own:

- `jobqueue.naive`: what everyone writes first, its flaws left in on purpose.
- `jobqueue.improved`: bounded, prioritised, retried, shut down cleanly; in memory.
- `jobqueue.final`: durable, fair, observable; for production.

Above the last stand `jobqueue.tasks`, typed functions that are called in the background, and
`jobqueue.testing`, for the tests of programs that use them. This package re-exports the public
names of the last tier and of the tasks: `jobqueue.JobQueue` is the one to use.
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
from .tasks import (
    CONTEXT,
    AsyncTask,
    Codec,
    QueueNotOpenError,
    Task,
    Tasks,
    as_completed,
    gather,
)

__all__ = [
    "CONTEXT",
    "AsyncTask",
    "Backoff",
    "Codec",
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
    "QueueNotOpenError",
    "RejectJobError",
    "RetryJobError",
    "ShutdownReport",
    "Status",
    "Task",
    "Tasks",
    "UnknownHandlerError",
    "UnknownJobError",
    "WorkerMetrics",
    "WorkerProcessError",
    "as_completed",
    "current_job",
    "gather",
]
