"""What a process is in a shared queue: its owner, or a client that may become it.

Whose thread: callers', and the link's when it becomes the owner. `Membership._lock` guards who the
owner is and what has been registered; it is taken before all locks of the queue.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .config import absolute
from .errors import ConfigError, LogLockedError, LogWriteError, QueueClosedError
from .job_queue import JobQueue
from .life.process_hooks import watch
from .life.wiring import checked_clock, checked_config, closed_on_error
from .middleware import Layers
from .model.shutdown_report import ShutdownReport
from .runtime.clock import Clock, SystemClock
from .runtime.reporting import About, Reporter
from .sharing.serving import check_msgspec, serve

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterable, Mapping

    from .config import Config
    from .middleware import Middleware
    from .model.handle import JobHandle
    from .sharing.client import Client
    from .sharing.messages import Welcome


RETRY_SECONDS = 1.0
"""After which a process tries again to take over a queue that it could not."""


class Membership:
    """What a process is in a shared queue, and what it would bring along as the owner.

    No thread refers to the `SharedJobQueue` itself, so that it is seen when its user drops it.

    Args:
        became: called when this process has become the owner; the others are those of `JobQueue`.

    Attributes:
        owner: the queue that runs the jobs here; `None` in a client.
        now: what calls go to.
    """

    def __init__(
        self,
        became: Callable[[JobQueue], None],
        config: Config | None,
        handler: Callable[..., object] | None,
        handlers: Mapping[str, Callable[..., object]] | None,
        start: bool,
        clock: Clock | None,
        middleware: Iterable[Middleware | Callable[[], Middleware]],
    ) -> None:
        from .sharing.roster import Roster

        self.clock = checked_clock(clock)
        self.config = config = _checked(config, self.clock)
        assert config.persist_path is not None  # `Config` sees to it
        self.directory = absolute(os.fspath(config.persist_path))
        self._became = became
        self._layers = Layers(middleware)
        self._roster = Roster(config, handler, handlers, self._layers)
        # Guards the roster and who the owner is; reentrant, for a handler's registration may call.
        self._lock = threading.RLock()
        self._starts = start
        self._has_entered = config.executor != "asyncio"
        self._loop: AbstractEventLoop | None = None
        self._is_closed = False
        self._is_forked = False
        self._reporter = Reporter(self.directory)
        self._reporter.open(lambda function: function())
        self._next_try = 0.0  # monotonic
        self._told: str | None = None  # what was reported last, so that it is told once
        self._at_stop: list[Callable[[], None]] = []  # with the lock
        self._is_hurried = False
        self._is_dead = False
        self.owner: JobQueue | None = None
        self.now: JobQueue | Client | None = None
        self._link: Any = None

    def join_in(self) -> None:
        """Become the owner if there is none, else a client; never waits for one."""
        if self.config.share == "auto":
            with suppress(LogLockedError):
                self._own()
                return
        self.now = self._make_client()
        watch(self)
        self._link.start()

    def _make_client(self) -> Client:
        from .sharing.asking import Asking
        from .sharing.client import Client
        from .sharing.desk import RemoteDesk
        from .sharing.link import Link

        self._link = Link(self.directory, self.config.connect_timeout, self)
        asking = Asking(self._link)
        desk = RemoteDesk(asking, self._own_handle, self._roster.codec, self._report_aside)
        return Client(asking, desk, self._layers.enqueue, self.config.max_payload_bytes)

    def _own_handle(self, job_id: str) -> JobHandle[Any] | None:
        return None if self.owner is None else self.owner._desk.handle(job_id)

    # ── becoming the owner ───────────────────────────────────────────────────────────────────

    def _own(self) -> None:
        """Take the log, bring back its jobs, and let the other processes have the queue.

        Raises:
            LogLockedError: another process is the owner.
            Exception: as `JobQueue`.
        """
        with self._lock:
            functions = dict(self._roster.functions)
        owner = JobQueue(
            replace(self.config, share=None, control=False, lock_timeout=0.0),
            handler=self._roster.default,
            handlers=functions,
            start=False,
            clock=self.clock,
            middleware=self._layers.entries,
        )
        with closed_on_error(owner._life), self._lock:
            self._roster.bring_along(owner.register, owner.periodic)
            serve(owner._desk, owner._parts, self.config, takes_jobs=True)
            if self._loop is not None:
                owner._use(self._loop)
            self._pass_on(owner)
            # guard: a client that is closed meanwhile runs no jobs
            if self._is_closed:
                raise QueueClosedError("the queue was closed as this process became its owner")
            if self._starts and self._has_entered:
                owner.start()
            self.owner = self.now = owner
        self._became(owner)

    def _pass_on(self, owner: JobQueue) -> None:
        """With the lock: the owner tells of its end whoever waits for that."""
        for function in self._at_stop:
            owner._life.at_stop(function)
        if self._is_hurried:
            owner._life.hurry()

    def seek(self) -> bool:
        """The link's thread: become the owner, if that may be; whether this process now is."""
        if self.owner is not None:
            return True
        now = SystemClock.monotonic()
        if self.config.share != "auto" or self._is_closed or now < self._next_try:
            return False
        try:
            self._own()
        except (LogLockedError, QueueClosedError):
            return False
        except Exception as error:  # noqa: BLE001  # another process may do better; it is told
            message = f"this process could not take over the queue {self.directory}: {error}"
            self._tell_once(logging.ERROR, message, error)
            self._link.note(message)
            self._next_try = (
                now + RETRY_SECONDS
            )  # a log that cannot be opened is not read on and on
            return False
        self.report(logging.INFO, f"this process now runs the queue {self.directory}")
        return True

    def died(self) -> None:
        """The link's thread: it ends by an error, so this process has no part in the queue."""
        self._is_dead = True
        self._tell_stopped()

    def met(self, welcome: Welcome) -> None:
        """The link's thread: an owner was found; its settings hold."""
        from .sharing.greeting import settings_of

        own, held = settings_of(self.config), welcome.settings
        differ = [
            f"{name} ({own[name]} here, {held[name]} there)"
            for name in own
            if name in held and own[name] != held[name]
        ]
        # guard: settings that differ are told, once
        if differ:
            self._tell_once(
                logging.WARNING,
                f"settings of this process do not hold, but those of process {welcome.pid}, which "
                f"runs the queue {self.directory}: {', '.join(differ)}",
                key=", ".join(differ),
            )

    def _tell_once(
        self, level: int, message: str, error: BaseException | None = None, key: str | None = None
    ) -> None:
        if self._told != (key or message):
            self._told = key or message
            self.report(level, message, error)

    def report(self, level: int, message: str, error: BaseException | None = None) -> None:
        """Have a log record made."""
        self._reporter.report(level, message, error)

    def _report_aside(
        self, level: int, message: str, error: BaseException | None, of: About
    ) -> None:
        self._reporter.report(level, message, error, of)

    # ── callers' threads ─────────────────────────────────────────────────────────────────────

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more jobs."""
        if self.owner is not None:
            return self.owner.closed
        return self._is_closed or self._is_forked

    def _check_open(self) -> None:
        if self._is_forked:
            raise QueueClosedError(
                "this queue belongs to the parent process; make one of your own after the fork"
            )
        if self._is_closed:
            raise QueueClosedError("the queue is closed; make a new one to go on")

    def register(self, name: str, fn: Callable[..., object], options: dict[str, Any]) -> None:
        """See `JobQueue.register`."""
        self._check_open()
        with self._lock:
            self._roster.register(name, fn, options)
            if self.owner is not None:
                self.owner.register(name, fn, **options)

    def periodic(self, name: str, schedule: Any, job_factory: Any, tz: str, catch_up: Any) -> None:
        """See `JobQueue.periodic`."""
        self._check_open()
        with self._lock:
            self._roster.periodic(name, schedule, job_factory, tz, catch_up)
            if self.owner is not None:
                self.owner.periodic(name, schedule, job_factory, tz=tz, catch_up=catch_up)

    def start(self) -> None:
        """See `JobQueue.start`."""
        self._check_open()
        with self._lock:
            self._starts = self._has_entered = True
            if self.owner is not None:
                self.owner.start()
                return
        if self.config.share == "auto":
            self.report(
                logging.INFO,
                f"another process runs the queue {self.directory}; this one stands by",
            )

    def enter(self, loop: AbstractEventLoop | None) -> None:
        """A `with` block begins."""
        with self._lock:
            self._has_entered, self._loop = True, loop
            if self.owner is None:
                return
            if loop is not None:
                self.owner._use(loop)
            if self._starts:
                self.owner.start()

    def close(self, timeout: float | None, *, drain: bool | None) -> ShutdownReport:
        """See `SharedJobQueue.close`."""
        if self._is_forked and self.owner is None:
            return ShutdownReport(0, (), 0)
        self._is_closed = True
        if self._link is not None and self.owner is None:
            self._link.close()  # and its thread, which may be about to become the owner
        try:
            if self.owner is not None:
                return self.owner.close(timeout, drain=drain)
        finally:
            if self._link is not None:
                self._link.close()
            self._reporter.close(0.1)
            if self.owner is None:
                self._tell_stopped()
        return ShutdownReport(0, (), 0)

    # ── what `jobqueue.run` asks: see `life/served.py` ───────────────────────────────────────

    @property
    def failed(self) -> bool:
        """Whether this process runs nothing any more, nor ever will."""
        owner = self.owner
        return self._is_dead if owner is None else owner._life.failed

    def at_stop(self, function: Callable[[], None]) -> None:
        """Have it called when that is so, or when it is closed; also by the owner it will be."""
        with self._lock:
            self._at_stop.append(function)
            if self.owner is not None:
                self.owner._life.at_stop(function)
            elif self._is_closed or self._is_dead:
                function()

    def _tell_stopped(self) -> None:
        with self._lock:
            functions = list(self._at_stop)
        for function in functions:
            function()

    def hurry(self) -> None:
        """Have each `close` wait for no handler, also of the owner that it becomes meanwhile."""
        with self._lock:
            self._is_hurried = True
            if self.owner is not None:
                self.owner._life.hurry()

    def let_go(self) -> None:
        """The user can't reach the queue any more. Takes no lock: a finalizer calls it."""
        self._is_closed = True
        if self._link is not None:
            self._link.stop("nobody can reach the queue any more")
        self.owner = self.now = None  # its own finalizer sees to it

    # ── what `process_hooks` asks: of an owner it asks its `Lifecycle` ───────────────────────

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to close."""
        return self._is_closed or self._is_forked

    def close_aside(self, timeout: float | None, *, drain: bool | None) -> None:
        """The interpreter ends: become no owner any more."""
        with suppress(LogWriteError):
            self.close(timeout, drain=drain)

    def give_up(self) -> None:
        """Have each `close` from now on wait for nothing."""
        if self.owner is not None:
            self.owner._life.give_up()

    def holds_log(self, directory: str) -> bool:
        """Whether it has this log open: its owner's queue says."""
        del directory
        return False

    def forked(self) -> None:
        """This is a forked child: the queue is the parent's."""
        self._is_forked = True
        if self._link is not None:
            self._link.forked()


def _checked(config: Config | None, clock: Clock) -> Config:
    config = checked_config(config, clock)
    check_msgspec()
    # guard: a shared queue has no clock that is moved by hand
    if type(clock) is not SystemClock and clock.manual:
        raise ConfigError(
            f"share={config.share!r} does not go with a clock that is moved by hand, which other "
            f"processes cannot see; use share='off' with it, or the system's clock"
        )
    return config
