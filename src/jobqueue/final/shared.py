"""`JobQueue` as processes share it: this one is its owner, or a client, and a client may get on.

Whoever has the log's lock is the owner. A process that finds it taken is a client, and its calls
are carried over the owner's socket. When the owner ends or dies, each client notices the end of its
connection at once and tries for the lock; the one that gets it replays the log and goes on. It
becomes a client never again: an owner is one until its queue is closed.

An owner's calls cost what they cost any queue. Its methods are put in place of these, on the object
itself, so that a call does not even look which of both it is.

Whose thread: callers', and the link's when it becomes the owner; no lock but that of `membership`.
"""

from __future__ import annotations

import weakref
from functools import wraps
from typing import TYPE_CHECKING, Any, Self

from .config import Config
from .exact import check_drain, check_seconds
from .job_queue import JobQueue
from .membership import Membership
from .model.handlers import importable_name
from .model.shutdown_report import ShutdownReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .exact import Schedule, Seconds
    from .life.served import Served
    from .middleware import Middleware
    from .model.handle import JobHandle
    from .model.job import Job
    from .model.periodic import CatchUp
    from .runtime.clock import Clock

OF_CLIENT = (
    *("enqueue", "enqueue_many", "enqueue_together"),
    *("aenqueue", "aenqueue_many", "aenqueue_together"),
    *("status", "handle", "info", "cancel", "dead_letters", "requeue", "discard", "metrics"),
    *("jobs", "look", "cancel_jobs", "requeue_jobs", "discard_jobs", "run_now", "handlers"),
    *("dead_groups", "run_periodic"),
    *("pause", "resume", "paused", "flush", "periodics", "join", "ajoin"),
)
"""The calls that a client asks of the owner; `sharing/client.py` has them."""


class SharedJobQueue(JobQueue):
    """A `JobQueue` that the processes of a machine share. See there, and `Config(share=...)`."""

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
        self._membership = Membership(
            _becomes(self), config, handler, handlers, start, clock, middleware
        )
        self._membership.join_in()

    @property
    def config(self) -> Config:
        """The settings of this process, with all defaults filled in."""
        return self._membership.config

    @property
    def clock(self) -> Clock:
        """The time that delays and timeouts go by."""
        return self._membership.clock

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs: `close` has begun, or this is a forked child's copy."""
        return self._membership.is_closed

    # ── handlers and schedules ───────────────────────────────────────────────────────────────

    def register(self, name: str, fn: Callable[..., object], **options: Any) -> None:
        """See `JobQueue.register`; a client keeps it for when it becomes the owner."""
        self._membership.register(name, fn, options)

    def periodic(
        self,
        name: str,
        schedule: Schedule,
        job_factory: Callable[[], Job],
        *,
        tz: str = "UTC",
        catch_up: CatchUp = "none",
    ) -> None:
        """See `JobQueue.periodic`; a client keeps it for when it becomes the owner."""
        self._membership.periodic(name, schedule, job_factory, tz, catch_up)

    def enqueue_with_handler(
        self, job: Job, fn: Callable[..., object], *, timeout: Seconds | None = None
    ) -> JobHandle:
        """See `JobQueue.enqueue_with_handler`."""
        owner = self._membership.owner
        if owner is not None:
            return owner.enqueue_with_handler(job, fn, timeout=timeout)
        name = importable_name(fn)
        self.register(name, fn)
        return self.enqueue(job.with_handler(name), timeout=timeout)

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """See `JobQueue.start`; a client starts when it becomes the owner."""
        self._membership.start()

    def close(self, timeout: Seconds | None = None, *, drain: bool | None = None) -> ShutdownReport:
        """See `JobQueue.close`; a client only ends its connection: the jobs are the owner's."""
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        check_drain(drain)
        return self._membership.close(timeout, drain=drain)

    def _served(self) -> Served:
        return self._membership

    def _leave(self, error: BaseException | None, *, is_interrupted: bool) -> None:
        owner = self._membership.owner
        if owner is not None:
            owner._leave(error, is_interrupted=is_interrupted)
        self._membership.close(None, drain=None)

    def __enter__(self) -> Self:
        self._membership.enter(None)
        return self

    async def __aenter__(self) -> Self:
        import asyncio

        self._membership.enter(asyncio.get_running_loop())
        return self

    def _refuse_handler(self) -> None:
        owner = self._membership.owner
        if owner is not None:
            owner._refuse_handler()

    def _run_all(self) -> None:
        owner = self._membership.owner
        if owner is None:
            raise RuntimeError("run_all is for a queue that runs its jobs itself; this is a client")
        owner._run_all()

    def __del__(self) -> None:
        membership: Membership | None = getattr(self, "_membership", None)
        if membership is not None:
            membership.let_go()


def _becomes(queue: SharedJobQueue) -> Callable[[JobQueue], None]:
    """What puts an owner's methods in place of the queue's, but for those of a user's class."""
    reference = weakref.ref(queue)

    def become(owner: JobQueue) -> None:
        door = reference()
        if door is not None:
            own = vars(door)
            for name in OF_CLIENT:
                if getattr(type(door), name) is getattr(SharedJobQueue, name):
                    own[name] = getattr(owner, name)

    return become


def _asked(name: str) -> Any:
    @wraps(getattr(JobQueue, name))
    def call(self: SharedJobQueue, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._membership.now, name)(*args, **kwargs)

    return call


for _name in OF_CLIENT:
    setattr(SharedJobQueue, _name, _asked(_name))
JobQueue._shared = SharedJobQueue
