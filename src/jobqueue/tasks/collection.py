"""`Tasks`: the functions of a program that can be called in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from ..final import Config, JobContext, JobQueue, Priority
from .declaration import BackoffRule, Declaration, Settings, checked_function
from .errors import QueueNotOpenError
from .options import Options, Seconds, seconds
from .task import AsyncTask, BaseTask, Target, Task

if TYPE_CHECKING:
    from ..final import JobHandle, Middleware
    from ..final.ports import Clock
    from .codec import Codec

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """What `@tasks.task(...)` gives: it makes a task of a function."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits is taken
        self, fn: Callable[Concatenate[JobContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits is taken
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...

    @overload
    def __call__(self, fn: Callable[Concatenate[JobContext, P], R], /) -> Task[P, R]: ...

    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...


class Tasks:
    """A collection of tasks, and the queue that is open for them. Thread-safe.

    Making one opens nothing and starts nothing, so it can be done at import, before a fork, and in
    tests.

    Args:
        codec: how arguments are written, for tasks that have no codec of their own; `None` is
            JSON by the function's signature.
    """

    def __init__(self, *, codec: Codec | None = None) -> None:
        self._codec = codec
        self._lock = threading.RLock()  # guards the rest; taken before any lock of a queue
        self._declared: dict[str, Declaration] = {}
        self._included: list[tuple[str, Tasks]] = []
        self._parent: Tasks | None = None
        self._prefix = ""
        self._queue: JobQueue | None = None
        self._target: Target | None = None
        """Where calls go: to the queue, or to what a test put in its place."""

    # ── declaring ────────────────────────────────────────────────────────────────────────────

    @overload
    def task(  # type: ignore[overload-overlap]  # the first that fits is taken
        self, fn: Callable[Concatenate[JobContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...

    @overload
    def task(  # type: ignore[overload-overlap]  # the first that fits is taken
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...

    @overload
    def task(self, fn: Callable[Concatenate[JobContext, P], R], /) -> Task[P, R]: ...

    @overload
    def task(self, fn: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        priority: Priority = Priority.MEDIUM,
        max_retries: int | None = None,
        timeout: Seconds | None = None,
        retry_on: type[BaseException] | Iterable[type[BaseException]] | None = None,
        backoff: BackoffRule | None = None,
        store_result: bool = False,
        codec: Codec | None = None,
    ) -> Decorator: ...

    def task(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        priority: Priority = Priority.MEDIUM,
        max_retries: int | None = None,
        timeout: Seconds | None = None,
        retry_on: type[BaseException] | Iterable[type[BaseException]] | None = None,
        backoff: BackoffRule | None = None,
        store_result: bool = False,
        codec: Codec | None = None,
    ) -> Any:
        """Decorator, with or without parentheses: makes a task of a function.

        Args:
            name: what the log calls it, so that the function may move; its `__qualname__` if
                not given.
            priority: the lane of its jobs.
            max_retries: retries after the first attempt; `None` takes the queue's.
            timeout: seconds, or a `timedelta`, that an attempt may take; `None` takes the queue's.
            retry_on: the types of exceptions after which it is tried again; others fail the job
                at once. `RetryJobError` is always retried.
            backoff: a `Backoff`, or a function of attempt (from 0) and error that gives seconds.
            store_result: whether the result is kept with the job, in the log too.
            codec: how its arguments are written; `None` takes the collection's.

        Raises:
            TypeError: the function is a method, a class, or a generator function.
            ValueError: another function has this name, or it needs a name.
        """
        settings = Settings(
            priority=priority,
            max_retries=max_retries,
            timeout=None if timeout is None else seconds("timeout", timeout),
            retry_on=_types(retry_on),
            backoff=backoff,
            store_result=store_result,
            codec=self._codec if codec is None else codec,
        )

        def declare(function: Callable[..., Any]) -> BaseTask[Any, Any]:
            return self._declare(checked_function(function, name), name, settings)

        return declare if fn is None else declare(fn)

    def _declare(
        self, function: Callable[..., Any], name: str | None, settings: Settings
    ) -> BaseTask[Any, Any]:
        declaration = Declaration(
            function, function.__qualname__ if name is None else name, settings
        )
        with self._lock:
            known = self._declared.get(declaration.name)
            if known is not None:
                raise ValueError(
                    f"task name {declaration.name!r} is taken by a function of "
                    f"{known.function.__module__!r}; give {function.__qualname__} of "
                    f"{function.__module__!r} a name of its own: @tasks.task(name=...)"
                )
            declaration.full_name = self.full_name(declaration.name)
            queue = self._open_queue()
            if queue is not None:
                declaration.register(queue, declaration.full_name)
            self._declared[declaration.name] = declaration
        kind = AsyncTask if declaration.is_async else Task
        return kind(self, declaration, Options())

    def include(self, other: Tasks, prefix: str = "") -> None:
        """Add the tasks of another module; they are bound together with these.

        Args:
            prefix: what their names begin with from then on, for example `"mail."`.

        Raises:
            ValueError: they are part of another collection, or a name would be there twice.
            RuntimeError: a queue is open for them alone.
        """
        with self._lock, other._lock:
            if other._parent is not None:
                raise ValueError(
                    "these tasks are included in a collection already; include each module once"
                )
            if other is self._root():
                raise ValueError("a collection of tasks cannot include itself")
            if other._open_queue() is not None:
                raise RuntimeError(
                    "a queue is open for these tasks; include them before tasks.open()"
                )
            mine = {name for name, _ in self._root()._all()}
            start = self.full_name(prefix)
            for name, _ in other._all():
                if start + name in mine:
                    raise ValueError(
                        f"task name {start + name!r} would be there twice; include the module "
                        f"with a prefix of its own"
                    )
            queue = self._open_queue()
            if queue is not None:
                for name, declaration in other._all():
                    declaration.register(queue, start + name)
            other._parent, other._prefix = self, prefix
            self._included.append((prefix, other))
            for name, declaration in other._all():
                declaration.full_name = start + name

    def _all(self) -> list[tuple[str, Declaration]]:
        """All tasks by the names that they have from here, those of included modules too."""
        with self._lock:
            found = list(self._declared.items())
            for prefix, other in self._included:
                found += [(prefix + name, declaration) for name, declaration in other._all()]
            return found

    def _root(self) -> Tasks:
        tasks = self
        while tasks._parent is not None:
            tasks = tasks._parent
        return tasks

    def full_name(self, name: str) -> str:
        """The name of one of these tasks in the log, with the prefixes of its includes."""
        tasks: Tasks | None = self
        while tasks is not None:
            name, tasks = tasks._prefix + name, tasks._parent
        return name

    # ── opening ──────────────────────────────────────────────────────────────────────────────

    def open(
        self,
        config: Config | None = None,
        *,
        middleware: Iterable[Middleware | Callable[[], Middleware]] = (),
        start: bool = True,
        clock: Clock | None = None,
    ) -> JobQueue:
        """Make a queue that runs these tasks; calls go to it until it is closed.

        Args:
            config: the queue's settings.
            middleware: see `JobQueue`.
            start: whether it starts at once, or with `start()`.
            clock: time; the system's by default.

        Returns:
            The queue; `with` and `async with` close it.

        Raises:
            RuntimeError: a queue is open for these tasks.
            Exception: as `JobQueue` does.
        """
        with self._lock:
            self._refuse_second()
            # An event loop's attempts start when the queue is entered, and not before.
            starts_on_entry = start and config is not None and config.executor == "asyncio"
            queue = JobQueue(
                config, middleware=list(middleware), start=starts_on_entry, clock=clock
            )
            try:
                self.bind(queue)
                if start and not starts_on_entry:
                    queue.start()
            except BaseException:
                queue.close(0)
                raise
            return queue

    def bind(self, queue: JobQueue) -> None:
        """Have calls go to a queue that was made elsewhere, until it is closed.

        Raises:
            RuntimeError: a queue is open for these tasks.
            ValueError: the queue has another handler of the same name.
        """
        with self._lock:
            self._refuse_second()
            for name, declaration in self._all():
                declaration.register(queue, name)
            self._queue, self._target = queue, OpenQueue(queue)

    def _refuse_second(self) -> None:
        if self._parent is not None:
            raise RuntimeError(
                "these tasks are included in others; open those, and these are opened with them"
            )
        if self._open_queue() is not None:
            raise RuntimeError("a queue is open for these tasks; close it before another is opened")

    @property
    def queue(self) -> JobQueue:
        """The queue that is open for these tasks.

        Raises:
            QueueNotOpenError: there is none.
        """
        queue = self._open_queue()
        if queue is None:
            raise _not_open()
        return queue

    def _open_queue(self) -> JobQueue | None:
        queue = self._root()._queue
        return None if queue is None or queue.closed else queue

    def target(self) -> Target:
        """Where calls go; raises `QueueNotOpenError`."""
        root = self if self._parent is None else self._root()
        target = root._target
        if target is None or not target.is_open():
            raise _not_open()
        return target

    # ── for tests ────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def stand_in(self, target: Target) -> Iterator[None]:
        """Have calls go to `target`, whether or not a queue is open; see `jobqueue.testing`."""
        root = self._root()
        with root._lock:
            before, root._target = root._target, target
        try:
            yield
        finally:
            with root._lock:
                root._target = before

    def declaration(self, name: str) -> Declaration:
        """The task of this full name; raises `KeyError`."""
        return dict(self._root()._all())[name]


class OpenQueue:
    """A queue as tasks see it. Thread-safe."""

    def __init__(self, queue: JobQueue) -> None:
        self.enqueue: Callable[..., JobHandle[Any]] = queue.enqueue
        self.aenqueue: Callable[..., Coroutine[Any, Any, JobHandle[Any]]] = queue.aenqueue
        self.now = queue.clock.time
        self._queue = queue
        self.in_flight_max = queue.config.queue_size

    def is_open(self) -> bool:
        """Whether it takes calls."""
        return not self._queue.closed


def _not_open() -> QueueNotOpenError:
    return QueueNotOpenError(
        "no queue is open for these tasks; write: with tasks.open(): …, or in a coroutine: "
        "async with tasks.open(): …"
    )


def _types(
    given: type[BaseException] | Iterable[type[BaseException]] | None,
) -> tuple[type[BaseException], ...] | None:
    if given is None:
        return None
    types: tuple[Any, ...] = (given,) if isinstance(given, type) else tuple(given)
    for each in types:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise TypeError(f"retry_on takes types of exceptions, not {each!r}")
    return types
