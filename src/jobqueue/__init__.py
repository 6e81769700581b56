"""Background jobs inside your own process, no broker.

Three tiers, to be read in this order; each is a subpackage with a `JobQueue` of its own:

- `jobqueue.naive`: what everyone writes first, its flaws left in on purpose.
- `jobqueue.improved`: bounded, prioritised, retried, shut down cleanly; in memory.
- `jobqueue.final`: durable, fair, observable; for production.

Above the last stand `jobqueue.tasks`, typed functions that are called in the background, and
`jobqueue.testing`, for the tests of programs that use them. This package re-exports the public
names of the last tier and of the tasks: `jobqueue.JobQueue` is the one to use. `jobqueue.run`
serves a program that is nothing but a worker.
"""

from typing import TYPE_CHECKING

from .final import (
    Attempt,
    Backoff,
    Config,
    ConfigError,
    DeadGroup,
    DeadGroups,
    DuplicateJobError,
    EngineMetrics,
    EnqueueCancelledError,
    EnqueueTimeoutError,
    HandlerCounts,
    HandlerInfo,
    HandlerLane,
    Histogram,
    Job,
    JobCancelledError,
    JobContext,
    JobFailedError,
    JobHandle,
    JobInfo,
    JobQueue,
    JobQueueError,
    LaneMetrics,
    Limit,
    LogCorruptError,
    LogLockedError,
    LogMetrics,
    LogVersionError,
    LogWriteError,
    Look,
    Metrics,
    Middleware,
    NoOwnerError,
    NotSupportedError,
    Paused,
    PeriodicInfo,
    Priority,
    Progress,
    Quantiles,
    QueueClosedError,
    Rate,
    RejectJobError,
    ResultGoneError,
    RetryJobError,
    ShutdownReport,
    Status,
    Unique,
    UnknownHandlerError,
    UnknownJobError,
    WorkerMetrics,
    WorkerProcessError,
    current_job,
)

if TYPE_CHECKING:
    from .final.serving import run
    from .tasks import (
        CONTEXT,
        AsyncTask,
        Call,
        Codec,
        QueueNotOpenError,
        Task,
        Tasks,
        achain,
        agroup,
        as_completed,
        chain,
        gather,
        group,
    )

__all__ = [
    "CONTEXT",
    "AsyncTask",
    "Attempt",
    "Backoff",
    "Call",
    "Codec",
    "Config",
    "ConfigError",
    "DeadGroup",
    "DeadGroups",
    "DuplicateJobError",
    "EngineMetrics",
    "EnqueueCancelledError",
    "EnqueueTimeoutError",
    "HandlerCounts",
    "HandlerInfo",
    "HandlerLane",
    "Histogram",
    "Job",
    "JobCancelledError",
    "JobContext",
    "JobFailedError",
    "JobHandle",
    "JobInfo",
    "JobQueue",
    "JobQueueError",
    "LaneMetrics",
    "Limit",
    "LogCorruptError",
    "LogLockedError",
    "LogMetrics",
    "LogVersionError",
    "LogWriteError",
    "Look",
    "Metrics",
    "Middleware",
    "NoOwnerError",
    "NotSupportedError",
    "Paused",
    "PeriodicInfo",
    "Priority",
    "Progress",
    "Quantiles",
    "QueueClosedError",
    "QueueNotOpenError",
    "Rate",
    "RejectJobError",
    "ResultGoneError",
    "RetryJobError",
    "ShutdownReport",
    "Status",
    "Task",
    "Tasks",
    "Unique",
    "UnknownHandlerError",
    "UnknownJobError",
    "WorkerMetrics",
    "WorkerProcessError",
    "achain",
    "agroup",
    "as_completed",
    "chain",
    "current_job",
    "gather",
    "group",
    "run",
]

_OF_TASKS = frozenset(
    {
        "CONTEXT",
        "AsyncTask",
        "Call",
        "Codec",
        "QueueNotOpenError",
        "Task",
        "Tasks",
        "achain",
        "agroup",
        "as_completed",
        "chain",
        "gather",
        "group",
    }
)


def __getattr__(name: str) -> object:
    """The names of `jobqueue.tasks`, and `run`, imported at their first use.

    Many programs do without them.
    """
    value: object
    if name in _OF_TASKS:
        from . import tasks

        value = getattr(tasks, name)
    elif name == "run":
        from .final import serving

        value = serving.run
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
