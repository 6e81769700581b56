"""What stands in for an open queue in tests of a program: `immediate` and `recorded`."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from ..final import Config, Job, JobHandle, JobQueue, Priority, Status, current_job
from ..final.testing import run_all
from ..tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping

    from ..final import JobContext
    from ..tasks.atomic import Holder
    from ..tasks.options import Seconds
    from ..tasks.task import BaseTask


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call of a task in the background.

    Attributes:
        name: the task's name in the log.
        arguments: the arguments that were given, by name, as the function would get them.
        delay: seconds until it would be due.
        job: the job that was made of it.
    """

    name: str
    arguments: dict[str, Any]
    priority: Priority
    delay: float
    job: Job


class _Immediate:
    """Runs each call on a queue of its own, in memory, since calls may stand within calls."""

    in_flight_max = 1

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._held: list[Job] = []

    def is_open(self) -> bool:
        """It always is."""
        return True

    def holder(self, context: JobContext) -> Holder:
        """What keeps the jobs of this attempt until it has returned."""
        return _Held(self._held)

    def now(self) -> float:
        """The present; no delay is waited for."""
        return time.time()

    def enqueue(
        self, job: Job, *, timeout: float | None = None, delay: float = 0.0
    ) -> JobHandle[Any]:
        """Run the job; raises what its function raises."""
        name = job.handler or ""
        once = Job(
            job.payload,
            id=job.id,
            priority=job.priority,
            handler=name,
            max_retries=0,
            headers=job.headers,
            store_result=job.store_result,
            key=job.key,
        )
        before, self._held = self._held, []
        try:
            handle = self._run(name, once)
            held = self._held
        finally:
            self._held = before
        for each in held:  # an atomic task has enqueued it by returning
            self.enqueue(each)
        return handle

    def _run(self, name: str, once: Job) -> JobHandle[Any]:
        with JobQueue(start=False, middleware=self._tasks.outermost.in_tests) as queue:
            self._tasks.declaration(name).register(_Plainly(queue), name)
            handle = queue.enqueue(once)
            run_all(queue)
            if handle.status is not Status.COMPLETED:
                handle.result(0)  # raises what the function raised
        return handle

    async def aenqueue(
        self, job: Job, *, timeout: float | None = None, delay: float = 0.0
    ) -> JobHandle[Any]:
        """The same in a thread, where a coroutine function gets a loop of its own."""
        return await asyncio.to_thread(self.enqueue, job)

    def enqueue_together(
        self, jobs: list[Job], *, delays: list[float], timeout: Seconds | None = None
    ) -> list[JobHandle[Any]]:
        """Run one after the other, until one raises."""
        return [self.enqueue(job) for job in jobs]

    async def aenqueue_together(
        self, jobs: list[Job], *, delays: list[float], timeout: Seconds | None = None
    ) -> list[JobHandle[Any]]:
        """The same in a thread."""
        return await asyncio.to_thread(self.enqueue_together, jobs, delays=delays)


class _Held:
    """Keeps what an atomic task enqueues until it has returned."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = jobs

    def enqueue(self, job: Job, *, delay: float = 0.0) -> None:
        """Keep a job; no delay is waited for."""
        self._jobs.append(job)

    def enqueue_many(self, jobs: Iterable[Job], *, delays: Iterable[float] | None = None) -> None:
        """Keep several."""
        self._jobs += jobs


class _Recorder:
    """Accepts calls on a queue in memory that never starts, so that they have real handles."""

    in_flight_max = 1000

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self.calls: list[RecordedCall] = []
        self.queue = JobQueue(Config(queue_size=sys.maxsize), start=False)
        self._known: set[str] = set()
        self.now = self.queue.clock.time

    def is_open(self) -> bool:
        """Whether the recording goes on."""
        return not self.queue.closed

    def enqueue(
        self, job: Job, *, timeout: float | None = None, delay: float = 0.0
    ) -> JobHandle[Any]:
        """Note the call."""
        self._know(job)
        handle = self.queue.enqueue(job, delay=delay)
        self._note(job, delay, handle)
        return handle

    async def aenqueue(
        self, job: Job, *, timeout: float | None = None, delay: float = 0.0
    ) -> JobHandle[Any]:
        """Note the call, which waits for nothing."""
        return self.enqueue(job, delay=delay)

    def enqueue_together(
        self, jobs: list[Job], *, delays: list[float], timeout: Seconds | None = None
    ) -> list[JobHandle[Any]]:
        """Note the calls, in order."""
        for job in jobs:
            self._know(job)
        handles = self.queue.enqueue_together(jobs, delays=delays)
        for job, delay, handle in zip(jobs, delays, handles, strict=True):
            self._note(job, delay, handle)
        return handles

    async def aenqueue_together(
        self, jobs: list[Job], *, delays: list[float], timeout: Seconds | None = None
    ) -> list[JobHandle[Any]]:
        """Note the calls, which wait for nothing."""
        return self.enqueue_together(jobs, delays=delays)

    def holder(self, context: JobContext) -> Holder:
        """The attempt itself: it is one of a queue that was open before."""
        return context

    def _know(self, job: Job) -> None:
        """Have a handler of its name: by that unique jobs are told apart."""
        if job.handler is not None and job.handler not in self._known:
            self._known.add(job.handler)
            self.queue.register(job.handler, len)

    def _note(self, job: Job, delay: float, handle: JobHandle[Any]) -> None:
        if handle.existing:
            return
        name = job.handler or ""
        arguments = self._tasks.declaration(name).wire.decode(job.payload)
        self.calls.append(RecordedCall(name, arguments, job.priority, delay, job))


class _Plainly:
    """Registers handlers with a queue, coroutine functions as plain ones."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    def register(self, name: str, fn: Callable[..., object], **options: Any) -> None:
        """Register a handler."""
        self._queue.register(name, _plain(fn), **options)

    def periodic(self, *_args: object, **_options: object) -> None:
        """A call runs what it calls, and nothing by itself."""


class PlainQueue(JobQueue):
    """A queue whose coroutine functions run as plain ones, each attempt in a loop of its own.

    So `run_all` runs them, too. The fixture `jobs` is one.
    """

    def register(self, name: str, fn: Callable[..., object], **options: Any) -> None:
        """Register a handler."""
        if inspect.iscoroutinefunction(fn):
            plain = self.__dict__.setdefault("_plain", {})  # the same function again is the same
            fn = plain.setdefault(fn, _plain(fn))
        super().register(name, fn, **options)


def _plain(function: Callable[..., object]) -> Callable[..., object]:
    """A coroutine function as a plain one, with a loop of its own for each call."""
    if not inspect.iscoroutinefunction(function):
        return function
    if len(inspect.signature(function).parameters) == 1:
        return lambda payload: _run(function(payload))
    return lambda payload, context: _run(function(payload, context))


def _run(coroutine: Coroutine[Any, Any, object]) -> object:
    """Run it to its end; in a thread of its own if this thread has a loop that runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # there is none
        return asyncio.run(coroutine)
    current_job()  # so that the context that is copied knows it
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, asyncio.run, coroutine).result()


@contextmanager
def immediate(tasks: Tasks) -> Iterator[None]:
    """Have each call run inside of `enqueue`; what the function raises, `enqueue` raises.

    Arguments are encoded and decoded as ever. Nothing is retried, and a delay is not waited for.
    What an atomic task enqueues runs when it has returned. Jobs that a call is after have run by
    then, and no other is like it: so `after`, `unique`, `expires`, limits and rates do nothing.
    `enqueue` returns the handle of the finished job. No queue has to be open.
    """
    _check_is_tasks("immediate", tasks)
    with tasks.stand_in(_Immediate(tasks)):
        yield


@contextmanager
def recorded(tasks: Tasks) -> Iterator[list[RecordedCall]]:
    """Have calls run nothing; gives the list that they are noted in. No queue has to be open.

    A unique call that is like one before is not enqueued, so it is not noted.
    """
    _check_is_tasks("recorded", tasks)
    double = _Recorder(tasks)
    outermost = tasks.outermost
    before = _recordings.get(outermost)
    with double.queue, tasks.stand_in(double):
        _recordings[outermost] = _Recording(double.calls, double.queue)
        try:
            yield double.calls
        finally:
            if before is not None and not before.queue.closed:  # it goes on around this one
                _recordings[outermost] = before


def assert_enqueued(tasks: Tasks, task: BaseTask[Any, Any], /, **arguments: object) -> None:
    """Raise `AssertionError` unless such a call was recorded, in the last `recorded(tasks)`.

    Args:
        tasks: what was recorded.
        task: the task that was called; options that `task.using(...)` has set have to be those of
            the call.
        arguments: arguments by name; those that are not given may be anything. One that the call
            left out has its default.

    Raises:
        AssertionError: there is none; the message shows the calls that there are.
        RuntimeError: nothing was recorded: see `recorded`.
        TypeError: `task` is no task, or takes no such argument.
        ValueError: it is a task of other `Tasks`.
    """
    _check_is_tasks("assert_enqueued", tasks)
    recording = _recordings.get(tasks.outermost)
    if recording is None:
        raise RuntimeError(
            "nothing was recorded; write: with recorded(tasks): …, and then assert_enqueued(…)"
        )
    calls = recording.calls
    declaration = tasks.declaration_of(task)
    takes = declaration.parameters.types
    for name in arguments:
        if name not in takes:
            raise TypeError(f"task {task.name!r} has no argument {name!r}; it takes {list(takes)}")
    of_task = [call for call in calls if call.name == task.name]
    defaults = _defaults(declaration.function)
    for call in of_task:
        got = {**defaults, **call.arguments}
        if _has_options(call, task) and all(got[name] == arguments[name] for name in arguments):
            return
    chosen = _chosen(task)
    seen = "".join("\n  " + _told(call.name, call.arguments, _had(call, chosen)) for call in calls)
    what = _told(task.name, arguments, chosen)
    raise AssertionError(f"{what} was not enqueued; enqueued were:{seen or ' none'}")


def _check_is_tasks(caller: str, tasks: object) -> None:
    if not isinstance(tasks, Tasks):
        raise TypeError(f"{caller}() takes a Tasks first, not {tasks!r}")


def _defaults(function: Callable[..., object]) -> dict[str, Any]:
    """What a function gets for arguments that a call leaves out, by name."""
    of_kind: dict[Any, Any] = {
        inspect.Parameter.VAR_POSITIONAL: [],
        inspect.Parameter.VAR_KEYWORD: {},
    }
    return {
        each.name: of_kind.get(each.kind, each.default)
        for each in inspect.signature(function).parameters.values()
    }


def _chosen(task: BaseTask[Any, Any]) -> dict[str, Any]:
    """The options of a call that `using` has set, as far as they can be seen in a job."""
    names = ("priority", "at", "id", "max_retries", "headers", "key", "unique", "after", "expires")
    chosen = {name: getattr(task.options, name) for name in names}
    given = {name: value for name, value in chosen.items() if value is not None}
    return {**given, "delay": task.options.delay} if task.options.delay else given


def _had(call: RecordedCall, names: Iterable[str]) -> dict[str, object]:
    """The options of these names that a recorded call had."""
    due = datetime.fromtimestamp(call.job.created + call.delay, UTC)
    of_the_call: dict[str, object] = {"at": due, "delay": call.delay}
    return {
        name: of_the_call[name] if name in of_the_call else getattr(call.job, name)
        for name in names
    }


def _is_due(call: RecordedCall, at: datetime) -> bool:
    """Whether a call is due at this time, or at once if that has passed."""
    due = call.job.created + call.delay
    return due >= at.timestamp() - _AT_SECONDS and (
        call.delay == 0 or due <= at.timestamp() + _AT_SECONDS
    )


_AT_SECONDS = 1.0
"""A call's delay is counted from a moment that is a little later than its job's `created`."""


def _has_options(call: RecordedCall, task: BaseTask[Any, Any]) -> bool:
    chosen = _chosen(task)
    at: datetime | None = chosen.pop("at", None)
    if at is not None and not _is_due(call, at):
        return False
    return chosen.pop("delay", call.delay) == call.delay and all(
        getattr(call.job, name) == value for name, value in chosen.items()
    )


def _told(name: str, arguments: Mapping[str, object], options: Mapping[str, object]) -> str:
    call = f"{name}({_written(arguments)})"
    return f"{call} with {_written(options)}" if options else call


def _written(arguments: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


class _Recording(NamedTuple):
    """It knows nothing of the `Tasks`, which are to be forgotten with it."""

    calls: list[RecordedCall]
    queue: JobQueue


_recordings: WeakKeyDictionary[Tasks, _Recording] = WeakKeyDictionary()
"""The last recording of each collection that no other includes, or the one that goes on."""
