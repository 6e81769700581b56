"""`Tasks`: the functions of a program that can be called in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from ..final import Config, JobQueue, Middleware, QueueClosedError, current_job
from ..final.ports import tells_names
from .declaration import Declaration, checked_function, register_all, taken, twice
from .decorator import Declaring
from .errors import QueueNotOpenError
from .options import Options
from .settings import checked_codec, checked_name, checked_settings, checked_utf8
from .task import AsyncTask, BaseTask, Target, Task

if TYPE_CHECKING:
    from ..final import JobContext, JobHandle
    from ..final.ports import Clock, Opener
    from .atomic import Holder
    from .codec import Codec
    from .settings import Repetition


class Tasks(Declaring):
    """A collection of tasks, and the queue that is open for them. Thread-safe.

    Making one opens nothing and starts nothing, so it can be done at import, before a fork, and in
    tests.

    Args:
        codec: how arguments are written, for tasks that have no codec of their own; `None` is
            JSON by the function's signature.

    Raises:
        TypeError: `codec` is none.
    """

    in_tests: tuple[Middleware, ...] = ()
    """What the attempts of `immediate` run in: set by frameworks whose tasks need their context."""

    def __init__(self, *, codec: Codec | None = None) -> None:
        self._codec = checked_codec(codec)
        # Guards the rest, and that of all collections that are included in this one; taken before
        # any lock of a queue. `_locked` takes that of the outermost.
        self._lock = threading.RLock()
        self._declared: dict[str, Declaration] = {}
        self._included: list[tuple[str, Tasks]] = []
        self._parent: Tasks | None = None
        self._prefix = ""
        self._queue: JobQueue | None = None
        self._target: Target | None = None
        """The queue that calls go to."""
        self._double: Target | None = None
        """What a test put in its place, whatever is opened or closed meanwhile."""

    # ── declaring ────────────────────────────────────────────────────────────────────────────

    def _declarer(
        self, name: str | None, options: Mapping[str, Any], repetition: Repetition | None = None
    ) -> Callable[[Callable[..., Any]], BaseTask[Any, Any]]:
        if name is not None:
            checked_name(name, "@tasks.task(...): name")
        codec = self._codec if options["codec"] is None else options["codec"]
        settings = checked_settings(**{**options, "codec": codec})

        def declare(function: Callable[..., Any]) -> BaseTask[Any, Any]:
            checked = checked_function(function, name)
            known_as = checked.__qualname__ if name is None else name
            return self._declare(Declaration(self, checked, known_as, settings, repetition))

        return declare

    def _declare(self, declaration: Declaration) -> BaseTask[Any, Any]:
        function = declaration.function
        if declaration.repetition is not None:
            declaration.refuse_required()
        kind = AsyncTask if declaration.is_async else Task
        task: BaseTask[Any, Any] = kind(self, declaration, Options())
        declaration.job = task.job
        with self._locked() as root:
            declaration.full_name = self.full_name(declaration.name)
            known = root._find(declaration.full_name)
            if known is not None:
                raise ValueError(taken(declaration, known))
            checked_name(declaration.full_name, f"the name of task {function.__qualname__}")
            queue = self._open_queue()
            if queue is not None:
                declaration.register(queue, declaration.full_name)
            self._declared[declaration.name] = declaration
        return task

    def include(self, other: Tasks, prefix: str = "") -> None:
        """Add the tasks of another module; they are bound together with these.

        Args:
            prefix: what their names begin with from then on, for example `"mail."`.

        Raises:
            TypeError: `other` is no `Tasks`, or `prefix` no text.
            ValueError: they are part of another collection, or a name would be there twice.
            RuntimeError: a queue is open for them alone.
        """
        if not isinstance(other, Tasks):
            raise TypeError(f"include() takes the Tasks of another module, not {other!r}")
        checked_utf8(prefix, "include(): prefix")
        with self._locked() as root, other._lock:
            if other._parent is not None:
                raise ValueError(
                    "these tasks are included in a collection already; include each module once"
                )
            if other is root:
                raise ValueError("a collection of tasks cannot include itself")
            if other._open_queue() is not None:
                raise RuntimeError(
                    "a queue is open for these tasks; include them before tasks.open()"
                )
            start = self.full_name(prefix)
            for name, declaration in other._all():
                known = root._find(start + name)
                if known is not None:
                    raise ValueError(twice(start + name, declaration, known))
                checked_name(start + name, f"include(): {start!r} and the name of a task together")
            queue = self._open_queue()
            if queue is not None:
                register_all(queue, other._all(), start)
            other._parent, other._prefix = self, prefix
            self._included.append((prefix, other))
            for name, declaration in other._all():
                declaration.full_name = start + name

    @property
    def has_coroutines(self) -> bool:
        """Whether one of these tasks, or of those included, is a coroutine function."""
        return any(declaration.is_async for _, declaration in self._all())

    def _all(self) -> list[tuple[str, Declaration]]:
        """All tasks by the names that they have from here, those of included modules too."""
        with self._lock:
            found = list(self._declared.items())
            for prefix, other in self._included:
                found += [(prefix + name, declaration) for name, declaration in other._all()]
            return found

    def _find(self, name: str) -> Declaration | None:
        """The task that has this name from here."""
        found = self._declared.get(name)
        for prefix, other in self._included:
            if found is None and name.startswith(prefix):
                found = other._find(name[len(prefix) :])
        return found

    @contextmanager
    def _locked(self) -> Iterator[Tasks]:
        """Hold the lock of the outermost collection, which is given."""
        while True:
            root = self._root()
            with root._lock:
                if root is self._root():  # it stays that: `include` wants this lock
                    yield root
                    return

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

    @tells_names("open(...) has no argument")
    def open(
        self,
        config: Opener | None = None,
        *,
        middleware: Iterable[Middleware | Callable[[], Middleware]] = (),
        start: bool = True,
        clock: Clock | None = None,
    ) -> JobQueue:
        """Make a queue that runs these tasks; calls go to it until it is closed.

        Args:
            config: the queue's settings: a `Config`, or those of another engine.
            middleware: see `JobQueue`.
            start: whether it starts at once, or with `start()`.
            clock: time; the system's by default.

        Returns:
            The queue; `with` and `async with` close it.

        Raises:
            RuntimeError: a queue is open for these tasks.
            Exception: as `JobQueue` does.
        """
        if isinstance(middleware, Middleware) or not isinstance(middleware, Iterable):
            raise TypeError(
                f"middleware must be a list, as in open(middleware=[...]), not {middleware!r}"
            )
        config = Config() if config is None else config
        if isinstance(config, type) or not callable(getattr(config, "open", None)):
            raise TypeError(f"config must be a Config or None, not {config!r}")
        with self._lock:
            self._refuse_second()
            # An event loop's attempts start when the queue is entered, and not before.
            starts_on_entry = start and getattr(config, "executor", None) == "asyncio"
            opened = config.open(middleware=list(middleware), start=starts_on_entry, clock=clock)
            queue = cast("JobQueue", opened)  # `bind` checks it
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
            TypeError: it is no `JobQueue`.
            QueueClosedError: it is closed.
            RuntimeError: a queue is open for these tasks.
            ValueError: the queue has another handler of the same name.
        """
        if not isinstance(queue, JobQueue):
            raise TypeError(f"bind() takes a JobQueue, not {queue!r}")
        with self._lock:
            self._refuse_second()
            if queue.closed:
                raise QueueClosedError(
                    "bind() was given a queue that is closed; make another, or write: "
                    "with tasks.open(): …"
                )
            register_all(queue, self._all())
            self._queue, self._target = queue, self._target_of(queue)

    def _target_of(self, queue: JobQueue) -> Target:
        """How calls see a queue."""
        return OpenQueue(queue)

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
        if self._parent is not None:
            return self._root().target()  # which may open a queue for it
        target = self._called()
        if target is None or not target.is_open():
            raise _not_open()
        return target

    def _called(self) -> Target | None:
        """Where calls go, of a collection that no other includes; it may be closed."""
        return self._target if self._double is None else self._double

    async def atarget(self) -> Target:
        """The same for an awaited call. Tasks that open a queue by it do so beside the loop."""
        return self.target() if self._parent is None else await self._root().atarget()

    def now(self) -> float:
        """Unix time on the clock of the queue, if one is open."""
        target = self._root()._called()
        return time.time() if target is None or not target.is_open() else target.now()

    def holder(self, context: JobContext) -> Holder:
        """What holds back the jobs of this attempt of an atomic task."""
        target = self._root()._called()  # there is none in a process of the queue's
        return context if target is None else target.holder(context)

    def shares_queue(self, other: Tasks) -> bool:
        """Whether calls of the tasks of both go to the same queue."""
        if self._root() is other._root():
            return True
        queue = self._open_queue()
        return queue is not None and queue is other._open_queue()

    # ── for tests ────────────────────────────────────────────────────────────────────────────

    @property
    def outermost(self) -> Tasks:
        """The collection that this one is included in, by way of others perhaps; or itself."""
        return self._root()

    @contextmanager
    def stand_in(self, target: Target) -> Iterator[None]:
        """Have calls go to `target`, whether or not a queue is open; see `jobqueue.testing`."""
        root = self._root()
        with root._lock:
            before, root._double = root._double, target
        try:
            yield
        finally:
            with root._lock:
                root._double = before

    @property
    def has_stand_in(self) -> bool:
        """Whether calls go to what a test put in the place of a queue."""
        return self._root()._double is not None

    def declaration(self, name: str) -> Declaration:
        """The task of this full name; raises `KeyError`."""
        found = self._root()._find(name)
        if found is None:
            raise KeyError(name)
        return found

    def declaration_of(self, task: BaseTask[Any, Any]) -> Declaration:
        """What a task of these is made of.

        Raises:
            TypeError: it is no task.
            ValueError: it is one of other `Tasks`.
        """
        if not isinstance(task, BaseTask):
            raise TypeError(f"{task!r} is no task; give what @tasks.task made of the function")
        found = self._root()._find(task.name)
        if found is None or found.function is not task.__wrapped__:
            raise ValueError(
                f"task {task.name!r} is none of these tasks; give the Tasks that it was declared "
                f"with, or a collection that includes them"
            )
        return found


_IN_FLIGHT = 1000
"""How many calls of `map` are on their way at most, if lanes have no bound."""


class OpenQueue:
    """A queue as tasks see it. Thread-safe."""

    def __init__(self, queue: JobQueue) -> None:
        self.enqueue: Callable[..., JobHandle[Any]] = queue.enqueue
        self.aenqueue: Callable[..., Coroutine[Any, Any, JobHandle[Any]]] = queue.aenqueue
        self.enqueue_together: Callable[..., list[JobHandle[Any]]] = queue.enqueue_together
        self.aenqueue_together: Callable[..., Coroutine[Any, Any, list[JobHandle[Any]]]] = (
            queue.aenqueue_together
        )
        self.now = queue.clock.time
        self._queue = queue
        size: int | None = queue.config.queue_size  # without a bound on other engines
        self.in_flight_max = _IN_FLIGHT if size is None else size

    def is_open(self) -> bool:
        """Whether it takes calls."""
        return not self._queue.closed

    def holder(self, context: JobContext) -> Holder:
        """The attempt itself."""
        return context


def _not_open() -> QueueNotOpenError:
    message = (
        "no queue is open for these tasks; write: with tasks.open(): …, or in a coroutine: "
        "async with tasks.open(): …"
    )
    if current_job() is not None:
        message += (
            '; a handler in a process of its own (executor="process") has no queue: what it '
            "enqueues is accepted when it has returned, by @tasks.task(atomic=True), or by "
            "context.enqueue(task.job(…))"
        )
    return QueueNotOpenError(message)
