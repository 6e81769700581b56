"""`Task`: a function that can also be called in the background."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, cast

from ..final import Job
from ..final.ports import tells_names
from .atomic import ATTEMPT, holding_back
from .call import Call
from .mapping import Map
from .options import Options, Seconds

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Self

    from ..final import JobContext, JobHandle, Priority, Unique
    from .atomic import Holder
    from .declaration import Declaration
    from .settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


class Target(Protocol):
    """Where calls go: an open queue, or what stands in for one in tests. Thread-safe."""

    def enqueue(
        self, job: Job, *, timeout: float | None = None, delay: float = 0.0
    ) -> JobHandle[Any]:
        """Accept a job."""

    async def aenqueue(
        self, job: Job, *, timeout: float | None = None, delay: float = 0.0
    ) -> JobHandle[Any]:
        """Accept a job; the event loop goes on meanwhile."""

    def enqueue_together(
        self, jobs: list[Job], *, delays: list[float], timeout: Seconds | None = None
    ) -> list[JobHandle[Any]]:
        """Accept several jobs in one: all of them or none."""

    async def aenqueue_together(
        self, jobs: list[Job], *, delays: list[float], timeout: Seconds | None = None
    ) -> list[JobHandle[Any]]:
        """The same; the event loop goes on meanwhile."""

    def holder(self, context: JobContext) -> Holder:
        """What holds back the jobs of this attempt of an atomic task."""

    def is_open(self) -> bool:
        """Whether it takes calls."""

    def now(self) -> float:
        """Unix time on the clock that its delays go by."""

    @property
    def in_flight_max(self) -> int:
        """How many jobs of one `map` may be in flight."""


class Home(Protocol):
    """The `Tasks` that a task belongs to."""

    def target(self) -> Target:
        """Where calls go; raises `QueueNotOpenError`."""

    async def atarget(self) -> Target:
        """The same for an awaited call."""

    def now(self) -> float:
        """Unix time on the clock of the queue, if one is open."""

    def holder(self, context: JobContext) -> Holder:
        """What holds back the jobs of this attempt of an atomic task."""

    def shares_queue(self, other: Any) -> bool:
        """Whether calls of the tasks of both go to the same queue."""


class BaseTask(Generic[P, R]):
    """What `Task` and `AsyncTask` share: the ways to call a function in the background.

    Made by `Tasks.task`. Immutable and thread-safe. `R` is what the function returns; for a
    coroutine function, what awaiting it gives.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def __init__(self, home: Home, declaration: Declaration, options: Options) -> None:
        functools.update_wrapper(cast("Callable[..., Any]", self), declaration.function)
        self._home = home
        self._declaration = declaration
        self._options = options
        settings = declaration.settings
        self._priority = _or(options.priority, settings.priority)
        self._max_retries = _or(options.max_retries, settings.max_retries)
        self._plan = _plan(settings, options)
        self._sample: Job | None = None
        """A job of it that the next ones are like, but for the payload; made at the first call."""
        self._of_the_call = options.of_the_call

    @property
    def name(self) -> str:
        """What the log calls it."""
        return self._declaration.full_name

    @property
    def options(self) -> Options:
        """What `using` has chosen for its jobs."""
        return self._options

    @property
    def handler(self) -> Callable[..., object]:
        """What a queue calls with a job's payload; for `JobQueue.register`, and for processes."""
        return self._declaration.handler

    @tells_names("using(...) has no option")
    def using(
        self,
        *,
        priority: Priority | None = None,
        delay: Seconds | None = None,
        at: datetime | None = None,
        id: str | None = None,
        max_retries: int | None = None,
        headers: Mapping[str, str] | None = None,
        enqueue_timeout: Seconds | None = None,
        key: str | None = None,
        unique: Unique | None = None,
        after: Iterable[str | JobHandle[Any]] | None = None,
        expires: Seconds | None = None,
    ) -> Self:
        """The same task with other options for the jobs that are made of it.

        Args:
            priority: the lane.
            delay: seconds, or a `timedelta`: run it no earlier than that after the call.
            at: an aware `datetime`: run it no earlier; a time that has passed is now.
            id: the job's id, its idempotency key.
            max_retries: retries after the first attempt.
            headers: text pairs that travel with the job.
            enqueue_timeout: seconds, or a `timedelta`, to wait for room in the lane.
            key: what the job is about, as a customer or a file: unique jobs, limits and looks go
                by it.
            unique: add it only if there is no job like it.
            after: the jobs, or their ids, that are to be completed before it runs. If one of them
                fails or is cancelled, it is cancelled.
            expires: seconds, or a `timedelta`: it is cancelled if it has not started by then.

        Raises:
            TypeError, ValueError: an option cannot be; the message says which and why.
        """
        changes = {
            "priority": priority,
            "delay": delay,
            "at": at,
            "id": id,
            "max_retries": max_retries,
            "headers": headers,
            "enqueue_timeout": enqueue_timeout,
            "key": key,
            "unique": unique,
            "after": after,
            "expires": expires,
        }
        options = self._options.but(changes)
        Job(id=id, priority=_or(priority, self._priority), max_retries=max_retries, headers=headers)
        return type(self)(self._home, self._declaration, options)

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """The call only, to be enqueued with others by `chain` or `group`.

        Raises:
            TypeError: the arguments are not those of the function, or would not arrive as they are.
        """
        arguments = self._declaration.parameters.bind(*args, **kwargs)
        payload = self._declaration.wire.encode(arguments)
        self._checked_plan()

        def make(after: tuple[str, ...]) -> Job:
            return self._full_job(payload, after)

        return Call(self._home, self.name, make, self._options)

    def job(self, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """The job of such a call, for `queue.enqueue_many`.

        Raises:
            TypeError: the arguments are not those of the function, or would not arrive as they are.
            ValueError: `using` has set a time or a timeout, which a job does not carry.
        """
        lost = self._of_the_call
        if lost is not None:
            call, given = f"{self.__name__}.using({lost}=...)", _GIVEN_WITH_JOB[lost]
            raise ValueError(
                f"{call}.job(...) would lose {lost}, which is of the call and not of the job; "
                f"write {call}.enqueue(...), or queue.enqueue({self.__name__}.job(...), {given})"
            )
        return self._job(self._declaration.parameters.bind(*args, **kwargs))

    def _job(self, arguments: dict[str, Any]) -> Job:
        declaration = self._declaration
        payload = declaration.wire.encode(arguments)
        if self._options.id is not None:
            return self._full_job(payload)
        sample = self._sample
        if sample is None or sample.handler is not declaration.full_name:  # it was included
            sample = self._sample = self._full_job(b"")
        return sample.another(payload)

    def _full_job(self, payload: bytes, after: tuple[str, ...] = ()) -> Job:
        """A job with all options; it also waits for those with these ids."""
        plan = self._checked_plan()
        if after:
            plan = {**plan, "after": (*plan.get("after", ()), *after)}
        return Job(
            payload,
            id=self._options.id,
            priority=self._priority,
            handler=self._declaration.full_name,
            max_retries=self._max_retries,
            headers=self._options.headers,
            store_result=self._declaration.settings.store_result,
            **plan,
        )

    def _checked_plan(self) -> dict[str, Any]:
        """What the job asks for besides its lane; raises `ValueError` if it lacks a key."""
        unique: Unique | None = self._plan.get("unique")
        if unique is not None and unique.needs_key and "key" not in self._plan:
            raise ValueError(
                f"task {self.name!r} is unique by {unique.by!r}, which needs a key: write "
                f'{self.__name__}.using(key=...).enqueue(...), or Unique(by="handler+payload")'
            )
        return self._plan

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Have a worker call the function; returns when the job is accepted.

        Inside of a task that is declared `@tasks.task(atomic=True)`, of the same queue, the call is
        held back until that task has returned, and then enqueued together with its completion: both
        or neither. There is no job until then. So this returns nothing there, that is `None`,
        whatever the types say; a result that is needed asks for a task that is not atomic. A delay
        counts from that completion.

        Raises:
            TypeError: the arguments are not those of the function, or would not arrive as they are.
            QueueNotOpenError: no queue is open for the task.
            JobQueueError, RuntimeError: as `JobQueue.enqueue` does.
        """
        job = self._job(self._declaration.parameters.bind(*args, **kwargs))
        if ATTEMPT.get() is not None and self._hold_back(job):
            return cast("JobHandle[R]", None)
        target = self._home.target()
        if self._of_the_call is None:
            return target.enqueue(job)
        options = self._options
        return target.enqueue(
            job, timeout=options.enqueue_timeout, delay=options.delay_from(target.now())
        )

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """As `enqueue`; the event loop goes on while it waits for room or the log.

        If it is cancelled while it waits for room, the job is not accepted.
        """
        job = self._job(self._declaration.parameters.bind(*args, **kwargs))
        if ATTEMPT.get() is not None and self._hold_back(job):
            return cast("JobHandle[R]", None)
        target, options = await self._home.atarget(), self._options
        handle: JobHandle[R] = await target.aenqueue(
            job, timeout=options.enqueue_timeout, delay=options.delay_from(target.now())
        )
        return handle

    def _hold_back(self, job: Job) -> bool:
        """Have the attempt of an atomic task enqueue the job, if this is inside of one."""
        context = holding_back(self._home)
        if context is not None:
            context.enqueue(job, delay=self._options.delay_from(self._home.now()))
        return context is not None

    def map(
        self,
        *iterables: Iterable[Any],
        timeout: Seconds | None = None,
        return_exceptions: bool = False,
    ) -> Generator[R, None, None]:
        """Call the function for the items of the iterables in the background; results in order.

        The first calls are enqueued here. At most `queue_size` are in flight: the next item is
        taken when a result has been. Closing the iterator cancels what has not started.

        Args:
            timeout: seconds from now, or a `timedelta`, until all results have to be there.
            return_exceptions: whether to give errors in place of results, and go on.

        Raises:
            TimeoutError: by the iterator: a result was not there in time.
            RuntimeError: it is called inside of an atomic task, which must return before they run.
        """
        if holding_back(self._home) is not None:
            raise RuntimeError(
                f"{self.__name__}.map(...) waits for results, but what an atomic task enqueues "
                f"runs only when that has returned; write {self.__name__}.enqueue(...) for each, "
                f"or declare the task that calls it without atomic=True"
            )
        calls = (self._enqueue_item(item) for item in zip(*iterables, strict=False))
        return cast(
            "Generator[R, None, None]",
            Map(calls, self._home.target().in_flight_max, timeout, return_exceptions).results(),
        )

    def _enqueue_item(self, item: tuple[Any, ...]) -> JobHandle[R]:
        return cast("JobHandle[R]", cast("Any", self).enqueue(*item))

    def arguments_of(self, job: Job) -> dict[str, Any]:
        """The arguments, by name, that a job of this task carries.

        Raises:
            ValueError: they do not fit the function.
        """
        return self._declaration.wire.decode(job.payload)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def __reduce__(self) -> str:
        return self.__qualname__  # pickled by name, as the function would be


class Task(BaseTask[P, R]):
    """A plain function that can also be called in the background."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now."""
        return cast("R", self._declaration.function(*args, **kwargs))


class AsyncTask(BaseTask[P, R]):
    """A coroutine function that can also be called in the background."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """The coroutine of a call, to be awaited here."""
        return cast("Coroutine[Any, Any, R]", self._declaration.function(*args, **kwargs))


_GIVEN_WITH_JOB = {
    "at": "delay=...",
    "delay": "delay=...",
    "enqueue_timeout": "timeout=...",
}
"""How a queue's `enqueue` takes what a job does not carry."""


def _plan(settings: Settings, options: Options) -> dict[str, Any]:
    """What the jobs of a task ask for besides their lane, as arguments of `Job`."""
    plan = {
        "key": _or(options.key, settings.key),
        "unique": _or(options.unique, settings.unique),
        "after": options.after,
        "expires": _or(options.expires, settings.expires),
    }
    return {name: value for name, value in plan.items() if value is not None}


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value
