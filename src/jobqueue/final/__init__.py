"""The production tier: durable, fair, observable.

The way of a job, and the module that is in charge of each step:

    enqueue ─ callers.admission ─▶ log (wal) ─▶ core.placement ─▶ lane (core.scheduler)
                                                     ▲                   │
                                                     │ due               ▼
                                  timing.timer ──────┘         workers.worker ─▶ handler
                                        ▲                                │
                                        └──── retry ── core.outcomes ◀───┘

`core.status_map` alone changes a job's status, as `model.transitions` allows; `core.journal` tells
the log of it. `life` makes, restores, drains and stops a queue. `runtime.clock` alone reads time,
`wal.files` alone touches the disk. `docs/architecture.md` shows the rooms and who knows whom.

Locks, in the order in which they are taken:

    1. the timer's lock (`Timer._lock`): the wheel. Only by the thread that fires timers.
    2. the queue's mutex (`Placement.mutex`, an RLock): lanes and tokens, statuses, counters,
       handlers, seats, the queue's state, and the log's open batch. One lock, so that a change of a
       job, its counters and its record are one step, and the hot path takes one lock a step.
    3. a stop request's lock (`StopRequest._lock`): who sleeps in a handler's `context.wait`.

Each other one guards one thing and says so beside it. That of the first look at all jobs
(`callers.first_look`) and that of a shared queue's owner (`membership`) come before the mutex.
Those of `processes`, of a client (`sharing.requests`) and of the log's reserve (`wal.room`) are
taken with none of these.

No user code, logging call or system call is made under the mutex, but for two. To wake an event
loop writes a byte into its socket, which never blocks (`aio.parking`). And if a log is not mapped,
a batch and a slot are each written there by a `pwrite` that keeps the GIL (`Files.write_now`). It
copies some hundred bytes into the kernel's memory, and hands over to no thread: none gets the mutex
later for it than it would for a copy into a map. One that waits for the disk, as if more has been
written than the kernel keeps, holds up all threads; so does a page fault. Errors are left to the
log's thread.

Callers' threads never wait on a condition, only on locks of their own, outside of the mutex.
Workers and the log's thread see no signals, and wait on conditions of the mutex.
"""

from typing import TYPE_CHECKING

from .config import Config
from .errors import (
    ConfigError,
    DuplicateJobError,
    EnqueueCancelledError,
    EnqueueTimeoutError,
    JobCancelledError,
    JobFailedError,
    JobQueueError,
    LogCorruptError,
    LogLockedError,
    LogVersionError,
    LogWriteError,
    NoOwnerError,
    NotSupportedError,
    QueueClosedError,
    RejectJobError,
    ResultGoneError,
    RetryJobError,
    UnknownHandlerError,
    UnknownJobError,
    WorkerProcessError,
)
from .job_queue import JobQueue
from .middleware import Middleware
from .model.attempt import Attempt
from .model.context import JobContext, current_job
from .model.handle import JobHandle
from .model.job import Job, JobInfo, Priority
from .model.limits import Limit, Rate
from .model.look import DeadGroup, DeadGroups, Look
from .model.paused import Paused
from .model.periodic import PeriodicInfo
from .model.plan import Unique
from .model.progress import Progress
from .model.shutdown_report import ShutdownReport
from .model.transitions import Status
from .shared import SharedJobQueue as _SharedJobQueue  # noqa: F401  # `JobQueue` makes it
from .timing.backoff import Backoff

if TYPE_CHECKING:
    from .model.metrics import (
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

__all__ = [
    "Attempt",
    "Backoff",
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
    "Rate",
    "RejectJobError",
    "ResultGoneError",
    "RetryJobError",
    "ShutdownReport",
    "Status",
    "Unique",
    "UnknownHandlerError",
    "UnknownJobError",
    "WorkerMetrics",
    "WorkerProcessError",
    "current_job",
]


def __getattr__(name: str) -> object:
    """The classes of metrics, imported at their first use; `core.telling` says why."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .model import metrics

    value: object = getattr(metrics, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
