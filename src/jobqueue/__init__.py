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

from importlib import import_module
from typing import TYPE_CHECKING

from . import final as _final
from .final import (
    Attempt,
    Backoff,
    Config,
    ConfigError,
    DeadGroup,
    DeadGroups,
    DuplicateJobError,
    EnqueueCancelledError,
    EnqueueTimeoutError,
    Job,
    JobCancelledError,
    JobContext,
    JobFailedError,
    JobHandle,
    JobInfo,
    JobQueue,
    JobQueueError,
    Limit,
    LogCorruptError,
    LogLockedError,
    LogVersionError,
    LogWriteError,
    Look,
    Middleware,
    NoOwnerError,
    NotSupportedError,
    Paused,
    PeriodicInfo,
    Priority,
    Progress,
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
    WorkerProcessError,
    current_job,
)

if TYPE_CHECKING:
    from .final import (
        EngineMetrics,
        HandlerCounts,
        HandlerInfo,
        HandlerLane,
        Histogram,
        LaneMetrics,
        LogMetrics,
        Metrics,
        Quantiles,
        WorkerMetrics,
    )
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


def __getattr__(name: str) -> object:
    """Tasks, the classes of metrics, `run`: many programs do without, so at their first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "run":
        home = "final.serving"
    else:
        home = "final" if name in _final.__all__ else "tasks"
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
