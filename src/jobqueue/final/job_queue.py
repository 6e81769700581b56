"""`JobQueue`: puts the parts of a queue together and is the door to them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from .choosing import Choosing
from .config import Config
from .core.queue_state import State
from .errors import LogWriteError
from .exact import check_drain, check_seconds
from .life.process_hooks import watch
from .life.wiring import (
    assemble,
    checked_clock,
    checked_config,
    closed_on_error,
    make_processes,
    make_registry,
)
from .middleware import Layers
from .model.handle import JobHandle
from .model.handlers import importable_name
from .registering import Registering
from .sharing.serving import serve
from .spelling import tells_names
from .steering import Steering

if TYPE_CHECKING:
    import threading
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import NoReturn, SupportsIndex

    from .exact import Seconds
    from .life.served import Served
    from .life.shutdown import Lifecycle
    from .middleware import Middleware
    from .model.job import Job
    from .model.shutdown_report import ShutdownReport
    from .runtime.clock import Clock

_CLOSING = State.CLOSING  # a look into an enumeration is slow


class JobQueue(Registering, Choosing):
    """Background jobs in this process: prioritised, bounded, retried and, with a log, durable.

    All methods are thread-safe and may be called from inside a handler, but for `close` and
    `join`. Leaving it as a context manager closes it. If a `KeyboardInterrupt` leaves it, only what
    is running is finished: what waits is dropped, or stays in the log, and a second Ctrl-C gives
    up. A queue that is open when the interpreter ends is closed; one that nobody can reach any more
    finishes what it has accepted and closes itself, with a `ResourceWarning`.

    Args:
        config: the settings; `None` takes all defaults.
        handler: the default handler, for jobs that name none: `fn(payload)` or
            `fn(payload, context)`.
        handlers: more handlers, by name.
        start: whether the workers start at once, or with `start()`.
        clock: time; the system's by default, a `testing.ManualClock` in tests.
        middleware: what is done for every job, outermost first; an entry may also be a function
            that makes one.

    Raises:
        ConfigError, TypeError, ValueError: an argument cannot work.
        LogLockedError: another queue has this log open.
        LogCorruptError: the log is damaged; nothing was changed.
        OSError: the log's directory cannot be used.
    """

    @tells_names("JobQueue(...) has no argument")
    def __init__(
        self,
        config: Config | None = None,
        *,
        handler: Callable[..., object] | None = None,
        handlers: Mapping[str, Callable[..., object]] | None = None,
        start: bool = True,
        clock: Clock | None = None,
        middleware: Iterable[Middleware | Callable[[], Middleware]] = (),
    ) -> None:
        clock = checked_clock(clock)
        config = checked_config(config, clock)
        layers = Layers(middleware)
        processes = make_processes(config, layers)
        registry = make_registry(config, handler, handlers, processes, layers)
        desk = Steering()  # not this object, which may be garbage while its jobs still run
        parts = assemble(desk, config, registry, clock, processes, layers)
        desk._adopt(parts, desk)
        self._adopt(parts, desk)
        self._config, self._parts = config, parts
        self._registry = registry
        self._seats, self._admission = parts.seats, parts.admission
        self._life = parts.life
        watch(self._life)
        if config.control:
            serve(desk, parts, config, takes_jobs=False)
        # With an event loop, attempts start on entering: only then is it known on which loop.
        self._starts_on_entry = start and config.executor == "asyncio"
        if start and not self._starts_on_entry:
            with closed_on_error(self._life):
                self._life.start()

    @property
    def config(self) -> Config:
        """The settings, with all defaults filled in."""
        return self._config

    @property
    def clock(self) -> Clock:
        """The time that delays and timeouts go by."""
        return self._placement.clock

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs: `close` has begun, or this is a forked child's copy."""
        return self._state.now >= _CLOSING

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start the workers; does nothing if they have been started.

        Raises:
            QueueClosedError: the queue is closed.
            RuntimeError: the system gives no thread; nothing runs in this queue from then on.
        """
        self._enter()
        self._life.start()

    def close(self, timeout: Seconds | None = None, *, drain: bool | None = None) -> ShutdownReport:
        """Refuse new jobs at once, let jobs finish, and end the queue's threads.

        Args:
            timeout: seconds to wait; `None` takes `shutdown_timeout`.
            drain: `True` finishes all accepted jobs, but for those that cannot run before the
                deadline. `False` finishes only what is being processed and leaves the rest in
                the log. `None` drains if there is no log.

        Returns:
            What was finished and what is left. Idempotent: later calls return the same.

        Raises:
            RuntimeError: called by one of the queue's own handlers.
            LogWriteError: jobs that were accepted under "async" could not be written and are lost;
                its `report` is what would have been returned. The queue is closed all the same.
        """
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        check_drain(drain)
        return self._life.close(timeout, drain=drain)

    def _use(self, loop: AbstractEventLoop) -> None:
        self._life.use(loop)

    def _at_end(self, function: Callable[[], None]) -> None:
        """Have a function called when the queue stops its threads; at once if it has."""
        with self._mutex:
            if self._state.now < State.ENDED:
                self._life.at_end.append(function)
                return
        function()

    def _served(self) -> Served:
        return self._life

    def _refuse_handler(self) -> None:
        if self._state.now is not State.FORKED:
            self._seats.refuse_handler("close")

    def _run_all(self) -> None:
        """Run what is due on this thread; see `testing.run_all`."""
        self._enter(waits=True)
        self._life.run_all()

    def __enter__(self) -> JobQueue:
        if self._starts_on_entry:
            self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(error, is_interrupted=isinstance(error, (KeyboardInterrupt, SystemExit)))

    def _leave(self, error: BaseException | None, *, is_interrupted: bool) -> None:
        """Close the queue at the end of a block, which an error may have ended."""
        try:
            if is_interrupted:
                self._life.close_interrupted()
            else:
                self.close()
        except LogWriteError as loss:
            if error is None:
                raise
            error.add_note(str(loss))  # what ended the block goes on; a log record told of this

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refused: when a copy is dropped, it would close the queue that is in use."""
        raise TypeError(
            "a JobQueue cannot be copied or pickled: have each process open it for itself, with "
            "Config(persist_path=..., share='auto') where they are to share it"
        )

    def __del__(self) -> None:
        life: Lifecycle | None = getattr(self, "_life", None)  # `None` if `__init__` failed
        # guard: a queue that nobody can reach is closed
        if life is not None and life.let_go():
            warnings.warn(
                "a JobQueue was dropped that is not closed; it finishes what it has accepted, and "
                "then ends: use it in a `with` block, or call close()",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    def join(self, timeout: Seconds | None = None) -> bool:
        """Wait until nothing is queued, scheduled or processing.

        Jobs that wait for a handler's name do not count.

        Args:
            timeout: seconds; `None` waits for ever.

        Returns:
            Whether it came to that; `False` also if the queue closed with jobs left.

        Raises:
            LogWriteError: the log has failed.
            RuntimeError: called by one of the queue's own handlers.
        """
        self._enter(waits=True)
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        return self._queries.join(timeout)

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────

    def enqueue(
        self,
        job: Job,
        *,
        timeout: Seconds | None = None,
        delay: Seconds = 0.0,
        cancel: threading.Event | None = None,
    ) -> JobHandle:
        """Accept a job; blocks while its lane is full.

        Once this returns, the job will be run to completion, failed after its retries, or
        cancelled; with a log also if the process dies. It may run more than once then.

        Args:
            job: the job; its id must be new to the queue.
            timeout: seconds to wait for room; `None` waits for ever.
            delay: run it no earlier than so many seconds from now. A delayed job takes no room. If
                it is more than a minute, time that the system sleeps counts too.
            cancel: gives up waiting for room when set, within 50 ms.

        Raises:
            EnqueueTimeoutError: no room came in time.
            EnqueueCancelledError: `cancel` was set while there was no room.
            QueueClosedError: the queue is closed, or closed while this waited.
            DuplicateJobError: the id is known.
            UnknownHandlerError: the job names no handler and there is no default one; or its
                handler is not registered, and `queue_size` jobs of its lane wait for such ones,
                some of them until they are due.
            ValueError: the payload is larger than `max_payload_bytes`.
            LogWriteError: the log could not take it.
            TypeError: `job` is no `Job`.
            RuntimeError: called by a signal handler that interrupted the queue's own code.
        """
        return self._admission.enqueue(job, timeout, delay, cancel)

    def enqueue_many(
        self, jobs: Iterable[Job], *, timeout: Seconds | None = None
    ) -> list[JobHandle]:
        """Accept several jobs, in one log batch if they fit; blocks while lanes are full.

        Args:
            jobs: the jobs; their ids must be new to the queue and differ.
            timeout: seconds to wait for room for all of them; `None` waits for ever.

        Raises:
            DuplicateJobError: an id is known or repeated; nothing was accepted.
            EnqueueTimeoutError, QueueClosedError, LogWriteError: as for `enqueue`; the error's
                `accepted` lists the handles of the jobs that were accepted before.
        """
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        return self._admission.enqueue_many(jobs, timeout)

    def enqueue_together(
        self,
        jobs: Iterable[Job],
        *,
        delays: Iterable[Seconds] | None = None,
        timeout: Seconds | None = None,
    ) -> list[JobHandle]:
        """Accept several jobs in one: all of them or none, also if the process dies meanwhile.

        Blocks until there is room for all. A job may be `after` others that stand before it; if one
        of those is had as another that is like it (`Unique`), it is after that.

        Args:
            delays: one for each job, as in `enqueue`.
            timeout: seconds to wait for room; `None` waits for ever.

        Raises:
            Exception: as `enqueue`; `ValueError` also if there never is room for all.
        """
        return self._admission.enqueue_together(jobs, delays, timeout)

    def enqueue_with_handler(
        self, job: Job, fn: Callable[..., object], *, timeout: Seconds | None = None
    ) -> JobHandle:
        """Accept a job together with the function that handles it.

        In memory the job carries the function. With a log the function is registered under
        `module.qualname`, by which the job can find it again after a restart.

        Raises:
            ValueError: with a log, `fn` is a lambda, a local function or an object.
        """
        self._enter()
        if self._placement.journal is None:
            return self._admission.enqueue(job, timeout, 0.0, None, self._registry.carried(fn))
        self._admission.check(job)
        name = importable_name(fn)
        self.register(name, fn)
        return self._admission.enqueue(job.with_handler(name), timeout, 0.0, None)


Config._opened = JobQueue
