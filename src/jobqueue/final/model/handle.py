"""`JobHandle`: an accepted job as its caller sees it, and the queue's own record of it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, cast

from ..errors import JobCancelledError, JobQueueError
from .callables import check_callback
from .progress import progress_of
from .transitions import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Any, NoReturn, SupportsIndex

    from typing_extensions import TypeVar

    from ..exact import Seconds
    from ..runtime.parking import Parker
    from .attempt import Attempt
    from .context import Held, StopRequest
    from .handler_meter import LaneTally
    from .handlers import Handler
    from .job import Job
    from .progress import Progress, Told

    Callback = Callable[["JobHandle"], object]
    R_co = TypeVar("R_co", covariant=True, default=object)
else:  # the default is for type checkers only
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)


class Raised(NamedTuple):
    """What a handler raised last, and what stands in for its traceback then.

    An error's own traceback grows with each `raise`, and holds the variables of those who raised.
    """

    error: BaseException
    trace: TracebackType | None


class HandleOwner(Protocol):
    """What a `JobHandle` needs of the queue that made it."""

    def cancel(self, job_id: str, /) -> bool:
        """Cancels the job."""

    def _status_of(self, handle: JobHandle) -> Status:
        """The job's present status."""

    def _progress_of(self, handle: JobHandle) -> Told | None:
        """The last progress of the job."""

    def _wait_for(self, handle: JobHandle, timeout: Seconds | None) -> JobHandle:
        """Waits until the job is finished or the queue closed."""

    def _waiting(self, handle: JobHandle) -> AbstractContextManager[None]:
        """Lets the calling thread sleep until the job has ended."""

    def _add_done_callback(self, handle: JobHandle, fn: Callable[[JobHandle], object]) -> None:
        """Has `fn` called when the job is finished or the queue closed."""

    def _result_of(self, handle: JobHandle, /) -> Generator[Any, None, object]:
        """Waits in a coroutine for the job's end; gives or raises what `result` does."""

    def _hold_back(self, handle: JobHandle, stop: StopRequest, jobs: list[Held]) -> None:
        """Has jobs enqueued when the attempt with this request has returned."""

    def _kept_result(self, handle: JobHandle) -> object:
        """The result of a job that was completed before its handle was made; or raises."""

    def _missing_result(self, handle: JobHandle) -> JobQueueError | TimeoutError:
        """Why a job that is not completed has no result to give."""


NO_NAMES: Mapping[str, str] = MappingProxyType({})


class Ties:
    """What ties a job to others, to a limit and to a time. Most jobs have none.

    It is data: what becomes of it is told in `core/bindings.py` and in the rooms that it names.
    Guarded by the queue's mutex.

    Attributes:
        identity: what no other job may have, while this one holds it (`core/unique.py`).
        waits_for: the jobs that are to be completed first (`core/dependencies.py`).
        dependents: the jobs that wait for this one.
        doomed: why it is to be cancelled, as soon as a thread gets to it.
        passed: the turnstile of its limit that it has gone through (`core/limits.py`).
        reserved: the bucket of its rate, of which it has a token reserved until it starts.
        line: the one that it waits at, having stepped aside.
        place: its place among all that have.
        children: the jobs that its attempt enqueues when it has returned (`core/children.py`), by
            id.
        names: what stands for those of them that are not added, for there is one like them.
        delay: how many seconds such a one waits, from its acceptance on.
        record: how it is told to the log.
        expiry: what the timer calls when its time has passed (`core/expiry.py`), and at which tick.
    """

    __slots__ = (
        *("children", "delay", "dependents", "doomed", "expiry", "expiry_tick", "identity"),
        *("line", "names", "passed", "place", "record", "reserved", "waits_for"),
    )

    def __init__(self) -> None:
        self.identity: Hashable = None
        self.waits_for: dict[JobHandle, None] | None = None
        self.dependents: dict[JobHandle, None] | None = None
        self.doomed: str | None = None
        self.passed: Any = None
        self.reserved: Any = None
        self.line: Any = None
        self.place = 0
        self.children: dict[str, JobHandle] | None = None
        self.names: Mapping[str, str] = NO_NAMES
        self.delay = 0.0
        self.record: Any = None
        self.expiry: Callable[[], object] | None = None
        self.expiry_tick = 0


class JobHandle(Generic[R_co]):
    """An accepted job, as its caller sees it; generic in what its handler returns. Thread-safe.

    It is also the queue's own record of the job until the job is finished: the underscored
    attributes belong to the queue and change under the queue's mutex only. From then on the
    queue keeps a smaller record: a result lives as long as its handle, or as it is kept.
    """

    __slots__ = (
        "_attempts",
        "_call",
        "_callbacks",
        "_due_tick",
        "_failure",
        "_has_room",
        "_job",
        "_number",
        "_outcome",
        "_owner",
        "_progress",
        "_since",
        "_started",
        "_status",
        "_stop",
        "_tally",
        "_ties",
        "_waited",
        "_waiters",
    )

    def __init__(self, owner: HandleOwner, job: Job, status: Status, number: int = 0) -> None:
        self._owner = owner
        self._job = job
        self._status = status
        self._number = number
        """Names the job in the log; 0 in memory."""
        self._since = NOT_ARRIVED
        """Monotonic time since which it has had its status; before it is in its lane, a mark."""
        self._started: float | None = None
        """Unix time at which the last attempt started."""
        self._tally: LaneTally
        """What counts it; there once it is accepted."""
        self._waited: float
        """Seconds that it was queued for the last attempt; there once that has started."""
        self._due_tick = 0
        """Its tick in the timer wheel, while scheduled."""
        self._has_room = False
        """Whether it takes one of its lane's places."""
        self._stop: StopRequest | None = None
        """Made for attempts that can be told to stop, or were."""
        self._ties: Ties | None = None if job._plan is None or not job._plan.ties else Ties()
        """What ties it to other jobs, to its limit and to a time; `None` for most jobs."""
        self._call: Handler | None = None
        """What runs it: the handler that it carries, or from its arrival on the one it names."""
        self._failure: tuple[str, str] | None = None
        """Error and traceback of the last failed attempt, as text."""
        self._attempts: tuple[Attempt, ...] = ()
        """Its last attempts that failed and were followed by another."""
        self._waiters: list[Parker] | None = None
        """The parkers of the callers that wait for its end, or for the queue's."""
        self._progress: Told | None = None
        """What its attempts told last of how far they have come."""
        self._callbacks: list[Callable[[JobHandle], object]] | None = None
        """What is to be called, without the mutex, when it has ended, or the queue has."""
        self._outcome: object = None
        """What the handler returned, or `Raised` last; just before, what is to be stored of it."""

    @property
    def id(self) -> str:
        """The job's id."""
        return self._job._id

    @property
    def job(self) -> Job:
        """The job."""
        return self._job

    @property
    def existing(self) -> bool:
        """Whether `enqueue` added no job, since there was one like it: then this is that one's."""
        return False

    @property
    def status(self) -> Status:
        """The job's present status; its last known one if the queue has forgotten it."""
        return self._owner._status_of(self)

    @property
    def progress(self) -> Progress | None:
        """The last progress that the handler told; `None` if it told none. In memory only."""
        return progress_of(self._owner._progress_of(self))

    def wait(self, timeout: Seconds | None = None) -> Status:
        """Wait until the job is completed, failed or cancelled, or the queue is closed.

        Args:
            timeout: seconds; `None` waits for ever.

        Returns:
            The last status, whether or not the time ran out.

        Raises:
            LogWriteError: the log failed, so that nothing will run any more.
            RuntimeError: a handler of the queue's called this, and the job would wait for itself,
                or `num_workers` workers stand in for handlers that wait already.
        """
        return self._owner._wait_for(self, timeout)._status  # by now it may be requeued

    def waiting(self) -> AbstractContextManager[None]:
        """Within this the calling thread may sleep until it is told of the job's end.

        For waits other than `wait`, as for the first of several jobs: a callback
        (`add_done_callback`) is to end the sleep. If a handler calls this, another worker stands
        in for its own meanwhile.

        Raises:
            RuntimeError: as for `wait`; or the thread is that of the event loop that runs the
                queue's attempts.
        """
        return self._owner._waiting(cast("JobHandle", self))

    def cancel(self) -> bool:
        """Cancel the job; see `JobQueue.cancel`."""
        return self._owner.cancel(self.id)

    def result(self, timeout: Seconds | None = None) -> R_co:
        """What the handler returned; raises the exception that it raised last.

        That may be any: a `SystemExit` that a handler raised is raised here, and ends the program
        if nothing catches it, as with `concurrent.futures`.

        Args:
            timeout: seconds; `None` waits for ever.

        Raises:
            TimeoutError: the job was not finished in time.
            JobCancelledError: the job was cancelled.
            QueueClosedError: the queue closed before the job was finished.
            ResultGoneError: the job was completed before this handle was made, and its result is
                not kept: `Job(store_result=True)` keeps it.
            JobQueueError: the job failed before this handle was made; or a kept result cannot be
                read.
        """
        finished = self._owner._wait_for(self, timeout)
        status, outcome = finished._status, finished._outcome
        if status is Status.CANCELLED:
            raise was_cancelled(finished)
        if status is Status.FAILED and type(outcome) is Raised:
            # guard: an error is raised with the traceback that it had
            #   without: raise outcome.error
            raise BaseException.with_traceback(outcome.error, outcome.trace)
        if status is Status.COMPLETED:
            late = outcome is NO_RESULT
            return cast("R_co", self._owner._kept_result(finished) if late else outcome)
        raise self._owner._missing_result(finished)

    def __await__(self) -> Generator[Any, None, R_co]:
        """Wait in a coroutine, on any running loop: gives or raises what `result` does.

        A coroutine that is cancelled meanwhile leaves the job alone.
        """
        return cast("Generator[Any, None, R_co]", self._owner._result_of(self))

    def add_done_callback(self, fn: Callable[[JobHandle[R_co]], object]) -> None:
        """Have a function called when the job is completed, failed or cancelled.

        It is also called if the job will not end any more, for the queue has closed or failed:
        when `wait` would return. It is called on the thread that ended the job, without any lock;
        at once, on this thread, if that has been. Its errors are logged.

        Args:
            fn: `fn(handle)`; it should be quick, for a worker's next job waits for it.

        Raises:
            TypeError: `fn` cannot be called, or is a coroutine function.
        """
        check_callback(fn)
        self._owner._add_done_callback(cast("JobHandle", self), cast("Callback", fn))

    def _hold_back(self, stop: StopRequest, jobs: list[Held]) -> None:
        """See `JobContext.enqueue`."""
        self._owner._hold_back(cast("JobHandle", self), stop, jobs)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refused: a copy would be told of nothing that becomes of the job."""
        raise TypeError(
            f"a JobHandle cannot be copied or pickled: hand on its id, {self.id!r}, and write "
            f"queue.handle(id) there"
        )

    def __repr__(self) -> str:
        return f"<JobHandle {self.id!r} {self._status.name}>"


NOT_ARRIVED = -1.0
"""`_since` of a job that has been accepted but is not in its lane, or in the timer, yet."""


ARRIVING = -2.0
"""`_since` of a delayed job for as long as there is no telling whether it is in the timer yet."""


NO_RESULT = object()
"""The outcome of a job that had finished before its handle was made."""


def was_cancelled(handle: JobHandle[object]) -> JobCancelledError:
    """The error for a job that has no result for it was cancelled; it says why, if that is told."""
    why = "" if handle._failure is None else f": {handle._failure[0]}"
    return JobCancelledError(f"job {handle.id!r} was cancelled, and has no result{why}")
