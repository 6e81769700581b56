"""What a handler can ask about its attempt, and how the attempt is asked to stop.

Guarantees: `wait` returns at once when the request is made, before or during the wait.
Relies on: nothing but its own lock, which is held for no call out of here.
"""

from __future__ import annotations

import logging
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from ..exact import check_seconds
from ..runtime.parking import Parker, Wakeable
from ..runtime.reporting import handlers_logger
from .job import about, listed_jobs
from .progress import told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping, Sequence

    from ..exact import Seconds
    from .job import Job
    from .progress import Told

    Sleep = Callable[[Parker, float], None]
    Held = tuple[Job, float]
    """A job that is held back, and the seconds that it waits from its acceptance on."""


class Closing:
    """Whether `close` has begun, for all attempts of one queue.

    Args:
        queue: what that is called in log records.

    Attributes:
        begun: set once, before the attempts that go on are told.
    """

    __slots__ = ("begun", "queue")

    def __init__(self, queue: str | None = None) -> None:
        self.begun = False
        self.queue = queue


class StopRequest:
    """A flag of one attempt that its handler can look at or sleep on. Thread-safe.

    Args:
        sleep: parks the given parker, at most so many seconds of the queue's clock, as
            `Timer.sleep` does.
        closing: that of the queue.
    """

    __slots__ = (
        "_has_met_closing",
        "_listeners",
        "_lock",
        "_sleep",
        "_waiters",
        "cancelled",
        "closing",
        "overran",
    )

    def __init__(self, sleep: Sleep, closing: Closing) -> None:
        self._sleep = sleep
        self.closing = closing
        self._lock = threading.Lock()  # guards all below
        self._waiters: list[Parker] = []  # the threads that sleep in `wait`
        self._listeners: list[Wakeable] = []
        self._has_met_closing = False  # whether the one `wait` that ends early for it has
        self.cancelled = False
        """A caller cancelled the job."""
        self.overran = False
        """The attempt's time is up."""

    @property
    def requested(self) -> bool:
        """Whether the handler should stop."""
        return self.cancelled or self.overran

    def cancel(self) -> None:
        """Ask on behalf of a caller."""
        with self._lock:
            self.cancelled = True
            self._wake()

    def overrun(self) -> None:
        """Ask because the time is up."""
        with self._lock:
            self.overran = True
            self._wake()

    def _wake(self) -> None:
        for sleepers in (self._waiters, self._listeners):
            while sleepers:
                sleepers.pop().unpark()

    def close(self) -> None:
        """Tell that `close` has begun, which `closing` says already: one sleep ends early."""
        with self._lock:
            if self._waiters and not self._has_met_closing:
                self._waiters[0].unpark()
                self._has_met_closing = True
            for each in self._listeners:  # they stay: a cancel may follow
                each.unpark()

    def wait(self, seconds: Seconds) -> bool:
        """Sleep; `True` at once when asked to stop, `False` after the time, or as `close` begins.

        Of an attempt's sleeps one alone ends early for `close`: the handler can look at `closing`
        then, and goes on to sleep if it wants to.
        """
        seconds = check_seconds("seconds", seconds)
        parker = Parker()
        with self._lock:
            if self.requested:  # guard: look before a handler sleeps
                return True
            # guard: look for the closing before a handler sleeps
            if self.closing.begun and seconds > 0 and not self._has_met_closing:
                self._has_met_closing = True
                return False
            self._waiters.append(parker)
        try:
            self._sleep(parker, seconds)
        finally:
            with self._lock:
                if parker in self._waiters:
                    self._waiters.remove(parker)
        return self.requested

    def listen(self, waiter: Wakeable) -> None:
        """Have `waiter` told when the attempt is asked to stop; at once if it was asked already.

        It may be told twice.
        """
        self._listeners.append(waiter)  # atomic; the thread that asks sets its flag first
        if self.cancelled or self.overran:
            waiter.unpark()

    def forget(self, waiter: Wakeable) -> None:
        """Have `waiter` not told any more."""
        with self._lock:
            if waiter in self._listeners:
                self._listeners.remove(waiter)


class Board(Protocol):
    """What holds the last progress of an attempt: the job's handle, or what stands for it."""

    _progress: Told | None

    def _hold_back(self, stop: StopRequest, jobs: list[Held]) -> None:
        """Has jobs enqueued when the attempt with this request has returned."""


class JobContext:
    """What a handler can ask about its attempt. Made for one attempt; thread-safe.

    Attributes:
        job: the job.
        attempt: 0 for the first attempt, then 1, 2, …
        deadline: when the attempt's time will be up, in the queue clock's monotonic seconds;
            `None` without a timeout.
    """

    __slots__ = ("_board", "_stop", "attempt", "deadline", "job")

    def __init__(
        self, job: Job, attempt: int, deadline: float | None, stop: StopRequest, board: Board
    ) -> None:
        self.job = job
        self.attempt = attempt
        self.deadline = deadline
        self._stop = stop
        self._board = board

    @property
    def cancelled(self) -> bool:
        """Whether the handler is asked to stop: it was cancelled, or its time is up."""
        return self._stop.requested

    @property
    def closing(self) -> bool:
        """Whether the queue's `close` has begun: it waits for this attempt, until its timeout."""
        return self._stop.closing.begun

    def wait(self, seconds: Seconds) -> bool:
        """Sleep on the queue's clock.

        The first sleep of an attempt that goes on when `close` begins, or comes after that, ends
        early, with `False`: look at `closing` then. Later ones sleep.

        Args:
            seconds: how long, >= 0.

        Returns:
            `True`, at once, when the attempt is asked to stop; else `False` after the time.
        """
        return self._stop.wait(seconds)

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tell how far the attempt has come; cheap enough for a tight loop.

        `JobHandle.progress` and `JobQueue.info` read the last one. It lives in memory only.

        Args:
            done: how much is done, in whatever unit.
            total: how much there is to do, if that is known.
            message: what it is at.
        """
        self._board._progress = told(done, total, message)

    def enqueue(self, job: Job, *, delay: Seconds = 0.0) -> None:
        """Enqueue a job together with the completion of this attempt: both or neither.

        It is held back until the handler has returned; its id is unknown until then. If the handler
        raises it is dropped. It takes no room, and waits for none. While `close` waits for the
        attempt this goes on: the job is then among those that `close` finishes, or leaves.

        Args:
            job: the job; its id must be new to the queue.
            delay: run it no earlier than so many seconds from that completion.

        Raises:
            DuplicateJobError: its id is known, or taken.
            UnknownJobError, UnknownHandlerError, ValueError, TypeError: as for `JobQueue.enqueue`.
            QueueClosedError: `close` has given the attempt up.
            RuntimeError: the attempt has ended.
        """
        self._board._hold_back(self._stop, [(job, check_seconds("delay", delay))])

    def enqueue_many(self, jobs: Iterable[Job], *, delays: Iterable[Seconds] | None = None) -> None:
        """Enqueue jobs together with the completion of this attempt: all of them or none.

        Args:
            jobs: the jobs; their ids must be new to the queue and differ.
            delays: of each of them, as in `enqueue`.

        Raises:
            Exception: as `enqueue`; none of them is held back then.
        """
        listed = listed_jobs(jobs)
        self._board._hold_back(self._stop, list(zip(listed, _checked(delays, listed), strict=True)))

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger, "jobqueue.job", whose records tell which job they are about.

        By their attributes `job_id`, `handler` (`None` for the default one), `attempt` (0 first),
        `priority` ("high", "medium" or "low") and `queue` (the directory of its log; without one,
        "memory" or "postgres"). `task_name` is another name of `handler`.
        """
        told_of = {
            **about(self.job, self.attempt)._asdict(),
            "queue": self._stop.closing.queue,
            "task_name": self.job.handler,
        }
        return _AboutItsJob(handlers_logger, told_of)


class _AboutItsJob(logging.LoggerAdapter[logging.Logger]):
    """Says of which job a record is, besides what the call itself gives as `extra`.

    Python's own drops that, and can be told not to only from 3.13 on.
    """

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def _checked(delays: Iterable[Seconds] | None, jobs: Sequence[object]) -> list[float]:
    if delays is None:
        return [0.0] * len(jobs)
    checked = [check_seconds("delays", each) for each in delays]
    if len(checked) != len(jobs):
        raise ValueError(f"delays must be one for each job: {len(checked)} for {len(jobs)} jobs")
    return checked


# ── which attempt is this? ───────────────────────────────────────────────────────────────────────

RUNNING: ContextVar[JobContext | None] = ContextVar("jobqueue_running", default=None)
"""The attempt that code belongs to: set within the attempt's own context."""

_thread = threading.local()  # `find`: gives the context of the attempt that this thread runs


def runs_attempts(
    find: Callable[[], JobContext | None] | None,
) -> Callable[[], JobContext | None] | None:
    """The calling thread runs attempts from now on; only if one asks is its context made.

    Returns:
        What was given before; `None`, there and here, for a thread that runs none.
    """
    before: Callable[[], JobContext | None] | None = getattr(_thread, "find", None)
    _thread.find = find
    return before


def current_job() -> JobContext | None:
    """The context of the attempt that calls this, also from within functions that it calls.

    `None` outside of handlers. A thread that a handler starts belongs to the attempt if it was
    given a copy of the handler's context (`contextvars`), as `asyncio.to_thread` does, and the
    handler had called this.
    """
    context = RUNNING.get()
    if context is None:
        find: Callable[[], JobContext | None] | None = getattr(_thread, "find", None)
        context = None if find is None else find()
        if context is not None:
            RUNNING.set(context)
    return context
