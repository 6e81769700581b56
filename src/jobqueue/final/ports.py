"""Ports: what other code needs of a queue, told and typed once, so that others can implement it.

`Queue` is what layers above the queue are written against: they take an embedded `JobQueue`, or
whatever else has these calls. What each promises stands at `JobQueue`. `Executor` is the seam
between the queue and what runs attempts: worker threads, or an event loop. `Middleware` is a class,
for its methods do something by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from .exact import Schedule, check_seconds
from .middleware import Middleware
from .model.callables import is_coroutine_function, is_generator_function
from .model.periodic import CatchUp
from .model.policy import gives_seconds
from .model.results import ResultCodec
from .runtime.clock import Clock
from .spelling import tells_names, unknown_name
from .timing.schedules import parse as parse_schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from .core.seats import Seat
    from .exact import Seconds
    from .model.filters import Statuses
    from .model.handle import JobHandle
    from .model.handlers import Handler
    from .model.job import Job, JobInfo, Priority
    from .model.limits import Limit, Rate
    from .model.look import DeadGroups, Look
    from .model.metrics import HandlerInfo, Metrics
    from .model.paused import Paused
    from .model.periodic import PeriodicInfo
    from .model.shutdown_report import ShutdownReport
    from .model.transitions import Status

__all__ = [
    "CatchUp",
    "Clock",
    "Executor",
    "Handle",
    "Middleware",
    "Opener",
    "Operator",
    "Producer",
    "Queue",
    "ResultCodec",
    "Schedule",
    "check_seconds",
    "gives_seconds",
    "is_coroutine_function",
    "is_generator_function",
    "parse_schedule",
    "tells_names",
    "unknown_name",
]

R_co = TypeVar("R_co", covariant=True)


class Handle(Protocol[R_co]):
    """An accepted job, whose handler returns an `R_co`. Thread-safe. See `JobHandle`."""

    @property
    def id(self) -> str:
        """The job's id."""

    @property
    def job(self) -> Job:
        """The job, as far as it is still known."""

    @property
    def status(self) -> Status:
        """The job's present status."""

    def wait(self, timeout: float | None = None) -> Status:
        """Wait until the job has ended, at most so many seconds."""

    def result(self, timeout: float | None = None) -> R_co:
        """What the handler returned; raises what it raised last."""

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Have `fn(handle)` called when the job has ended; at once if it has."""

    def cancel(self) -> bool:
        """Cancel the job; `False` if it has ended."""


class Producer(Protocol):
    """Enough to enqueue jobs and look at them: a web process needs no more. Thread-safe."""

    def enqueue(
        self, job: Job, *, timeout: float | None = None, delay: float = 0.0
    ) -> Handle[object]:
        """Accept a job; blocks while its lane is full."""

    def enqueue_many(
        self, jobs: Iterable[Job], *, timeout: float | None = None
    ) -> Sequence[Handle[object]]:
        """Accept several jobs; blocks while their lanes are full."""

    def status(self, job_id: str) -> Status:
        """Where a job stands."""

    def handle(self, job_id: str) -> Handle[object]:
        """A handle of a known job."""

    def info(self, job_id: str) -> JobInfo:
        """All that is known of a job."""

    def cancel(self, job_id: str) -> bool:
        """Cancel a job, or ask its handler to stop; `False` if it has ended."""

    def flush(self) -> None:
        """Return when everything accepted so far is on the disk."""


class Operator(Protocol):
    """What those need who look after a queue: a command, a page. Thread-safe."""

    def dead_letters(self) -> list[JobInfo]:
        """The failed jobs that are kept, oldest first."""

    def requeue(self, job_id: str) -> Handle[object]:
        """Queue a failed job again."""

    def discard(self, job_id: str) -> None:
        """Drop a failed job."""

    def metrics(self) -> Metrics:
        """A consistent snapshot of all counters and times."""

    def periodics(self) -> list[PeriodicInfo]:
        """The schedules of periodic jobs."""

    def jobs(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[JobInfo]:
        """The jobs that are like this, newest first."""

    def cancel_jobs(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        limit: int | None = None,
        ids: Iterable[str] | None = None,
    ) -> int:
        """Cancel all jobs that are like this; returns how many."""

    def requeue_jobs(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        limit: int | None = None,
        ids: Iterable[str] | None = None,
    ) -> int:
        """Queue all failed jobs that are like this again; returns how many."""

    def discard_jobs(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        limit: int | None = None,
        ids: Iterable[str] | None = None,
    ) -> int:
        """Drop all failed jobs that are like this; returns how many."""

    def run_now(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        limit: int | None = None,
        ids: Iterable[str] | None = None,
    ) -> int:
        """Queue all scheduled jobs that are like this at once; returns how many."""

    def look(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        in_payload: bool = True,
        limit: int = 20,
        before: str | None = None,
        within: int = 20_000,
    ) -> Look:
        """A page of the jobs that are like this, and how many there are among the newest."""

    def dead_groups(self, limit: int = 100) -> DeadGroups:
        """The dead letters by handler and kind of error."""

    def handlers(self, *, within: int | None = None) -> list[HandlerInfo]:
        """What is known of each handler."""

    def run_periodic(self, name: str) -> Handle[object]:
        """Enqueue a job of a schedule now."""

    def pause(
        self,
        handler: str | None = None,
        priority: Priority | None = None,
        periodic: str | None = None,
    ) -> None:
        """Start no more jobs, of a handler, of a lane, or at all, until `resume`."""

    def resume(
        self,
        handler: str | None = None,
        priority: Priority | None = None,
        periodic: str | None = None,
    ) -> None:
        """Start them again."""

    def paused(self) -> Paused:
        """What is paused."""


class Queue(Producer, Operator, Protocol):
    """A queue that also runs handlers in this process. Thread-safe."""

    def register(
        self,
        name: str,
        fn: Callable[..., object],
        *,
        timeout: Seconds | None = None,
        retry_on: type[BaseException] | Iterable[type[BaseException]] | None = None,
        backoff: Callable[[int, BaseException], Seconds] | None = None,
        result_codec: ResultCodec | None = None,
        limit: Limit | None = None,
        rate: Rate | None = None,
        replace: bool = False,
    ) -> None:
        """Add a handler under a name: its time, how it is retried, how its results are written."""

    def periodic(
        self,
        name: str,
        schedule: Schedule,
        job_factory: Callable[[], Job],
        *,
        tz: str = "UTC",
        catch_up: CatchUp = "none",
    ) -> None:
        """Enqueue a job at each tick of a schedule."""

    def start(self) -> None:
        """Start to run jobs."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to run; `False` if the time runs out first."""

    def close(self, timeout: float | None = None, *, drain: bool | None = None) -> ShutdownReport:
        """Refuse new jobs, let jobs finish, and tell what is left."""

    def __enter__(self) -> Self:
        """The queue itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Close it."""


class Opener(Protocol):
    """Settings that make a queue: a `Config`, or those of another engine. Immutable."""

    def open(
        self,
        handlers: Mapping[str, Callable[..., object]] | None = None,
        *,
        handler: Callable[..., object] | None = None,
        middleware: Iterable[Middleware | Callable[[], Middleware]] = (),
        start: bool = True,
        clock: Clock | None = None,
    ) -> Queue:
        """Make a queue with these settings; the arguments are those of `JobQueue`."""


class Executor(Protocol):
    """The attempt port: what the queue offers to a runner of attempts, a thread or an event loop.

    The runner occupies a `Seat` for each attempt that it runs at a time. It takes a job from the
    scheduler and calls `begin`, both in one hold of the queue's mutex. It runs what `begin` gave
    it, with no lock held, and then calls `returned` or `raised`, once. `core/outcomes.py`
    implements it. Worker threads use it, and the threads that have attempts run in processes.
    """

    def begin(self, seat: Seat, handle: JobHandle, now: float, wall: float) -> Handler:
        """The job just taken runs on this seat from now on. With the mutex.

        Args:
            now: the clock's monotonic time, in seconds.
            wall: the Unix time.
        """

    def returned(
        self, seat: Seat, handle: JobHandle, result: object, now: float, wall: float
    ) -> None:
        """The handler returned. With the mutex. If the job has callbacks, call `tell` after it."""

    def tell(self, seat: Seat, handle: JobHandle) -> None:
        """Call the callbacks of a job whose handler returned here. Without the mutex."""

    def raised(self, seat: Seat, handle: JobHandle, error: BaseException) -> None:
        """The attempt failed. Without the mutex. It calls the callbacks by itself."""
