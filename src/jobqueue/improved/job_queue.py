"""A job queue in memory: bounded lanes, strict priorities, retries with backoff, a clean end.

Left open on purpose, and mended by the final tier:

1. No persistence: jobs live in memory, and the end of the process is their end.
2. Starvation: while High jobs keep coming, no other job is started.
3. No status query: once enqueued, a job cannot be asked how it fares; there are only counts.
4. Retry state is lost on restart: a job that is enqueued again begins at its first attempt.

How it works. Each priority has a lane, a bounded `queue.Queue`. A worker takes from the highest
lane that has work, runs the handler, and records the outcome. A failed job waits for its retry
in a heap beside the lanes, where it needs neither a worker nor room. There is no timer thread:
workers without work sleep until the next retry is due, or until they are woken.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .job import Attempt, Job, Priority
from .metrics import Counters, Metrics
from .retry import RetrySchedule, backoff

logger = logging.getLogger("jobqueue")


class EnqueueTimeoutError(TimeoutError):
    """The job's lane stayed full for the whole timeout. The job was not accepted."""


class QueueClosedError(RuntimeError):
    """The queue is closed, or is closing. The job was not accepted."""


@dataclass(frozen=True, slots=True)
class Config:
    """How a queue behaves.

    Attributes:
        num_workers: worker threads, at least 1.
        queue_size: jobs that a lane holds before `enqueue` blocks, at least 1. Jobs that wait
            for a retry do not count.
        max_retries: retries after the first attempt, 0 for none.
        base_delay: seconds before the first retry; each further one waits twice as long.
        shutdown_timeout: seconds that `close` waits for the accepted jobs.

    Raises:
        ValueError: a field has the wrong type or range; the message names field and value.
    """

    num_workers: int = 4
    queue_size: int = 1000
    max_retries: int = 3
    base_delay: float = 1.0
    shutdown_timeout: float = 30.0

    def __post_init__(self) -> None:
        _check_count("num_workers", self.num_workers, 1)
        _check_count("queue_size", self.queue_size, 1)
        _check_count("max_retries", self.max_retries, 0)
        _check_seconds("base_delay", self.base_delay)
        _check_seconds("shutdown_timeout", self.shutdown_timeout)


def _check_count(field: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{field} must be a whole number of at least {least}, not {value!r}")


def _check_seconds(field: str, value: object) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= sys.float_info.max
    ):
        raise ValueError(f"{field} must be a finite number of seconds from 0 up, not {value!r}")


class JobQueue:
    """Runs jobs on worker threads: High before Medium before Low, each lane first in, first out.

    An accepted job is tried until it has succeeded once or failed `max_retries + 1` times, unless
    `close` runs out of time or the process ends. It has one attempt at a time.

    All methods may be called from any thread, and from handlers, but for `close`. A handler that
    enqueues into a full lane without a timeout may wait for a worker that is itself. Signal
    handlers must not call the queue. A `with` statement closes it at the end of its block.

    `_clock` gives the time of retries, in seconds; a test passes one that it moves by hand.
    """

    def __init__(
        self, config: Config | None = None, *, _clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config if config is not None else Config()
        self._clock = _clock

        # The one lock: it guards everything below but the threads, so that a job's move and
        # its counting are one step. Never held while a handler or the logger runs.
        self._lock = threading.Lock()
        # Workers wait here for work. Notified by `enqueue` (one worker: one job came), by a
        # retry that is scheduled (all: each may have to wake sooner) and by `close`.
        self._work = threading.Condition(self._lock)
        # Producers wait here for room in a lane. Notified by the worker that takes a job from
        # the lane, and by `close`.
        self._room = {priority: threading.Condition(self._lock) for priority in Priority}
        # `close` waits here for the last job. Notified with each outcome.
        self._progress = threading.Condition(self._lock)

        # Used without blocking: a worker waits for three lanes at once, and a producer for
        # `close` as well as for room. Only conditions that share a lock can do that.
        self._lanes: dict[Priority, queue.Queue[Job]] = {
            priority: queue.Queue(maxsize=self._config.queue_size) for priority in Priority
        }
        self._retries = RetrySchedule()
        self._counters = Counters()
        self._closed = False  # no job is accepted any more
        self._stopped = False  # no attempt is started any more

        self._workers = tuple(
            threading.Thread(target=self._run_jobs, name=f"jobqueue-improved-{n}", daemon=True)
            for n in range(self._config.num_workers)
        )
        for worker in self._workers:
            worker.start()

    def enqueue(self, job: Job, timeout: float | None = None) -> None:
        """Put `job` at the end of its lane; wait while that is full.

        Args:
            job: what to run.
            timeout: seconds to wait for room at most; `None` waits as long as it takes.

        Raises:
            EnqueueTimeoutError: there was no room in time.
            QueueClosedError: the queue is closed, or was closed while this call waited.
            TypeError: `job` is no `Job`.
            ValueError: `timeout` is negative.

        Whichever is raised, the job was not accepted and never runs.
        """
        if not isinstance(job, Job):
            raise TypeError(f"enqueue takes a Job, not {job!r}")
        if timeout is not None and not timeout >= 0:  # phrased so that it refuses nan, too
            raise ValueError(f"timeout must be None or a number from 0 up, not {timeout!r}")
        lane, room = self._lanes[job.priority], self._room[job.priority]
        with self._lock:
            room.wait_for(lambda: self._closed or not lane.full(), _as_wait(timeout))
            if self._closed:
                raise QueueClosedError(f"job {job.id!r} was refused: the queue is closed")
            if lane.full():
                raise EnqueueTimeoutError(
                    f"job {job.id!r} was refused: the {job.priority.name} lane stayed full "
                    f"({lane.maxsize} jobs) for {timeout} s; try later, or raise queue_size"
                )
            lane.put_nowait(job)
            self._counters.accepted += 1
            self._work.notify()

    def metrics(self) -> Metrics:
        """How many jobs are in each state now, and how many have been: a consistent snapshot."""
        with self._lock:
            return self._counters.snapshot()

    def close(self) -> None:
        """Refuse new jobs, finish the accepted ones with all their retries, end the workers.

        Returns when that is done, or after `shutdown_timeout`. Then jobs that still wait are
        lost, and handlers that still run are left to end by themselves; a warning is logged.
        May be called again, and by several threads: each call returns when the queue is closed.

        Raises:
            RuntimeError: called from a handler, whose own job it would wait for.
        """
        if threading.current_thread() in self._workers:
            raise RuntimeError("close() was called from a handler, whose job it would wait for")
        with self._lock:
            self._closed = True
            for room in self._room.values():
                room.notify_all()
            finished = self._progress.wait_for(
                lambda: self._stopped or self._counters.unfinished == 0,
                _as_wait(self._config.shutdown_timeout),
            )
            self._stopped = True
            self._work.notify_all()
            self._progress.notify_all()  # other threads that close
            left = self._counters.snapshot()
        if not finished:
            logger.warning(
                "closed too soon for %d waiting and %d running jobs: raise shutdown_timeout (%g s)",
                left.queued,
                left.processing,
                self._config.shutdown_timeout,
            )
        if left.processing == 0:  # else they end when their handlers do
            for worker in self._workers:
                worker.join()

    def __enter__(self) -> JobQueue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The rest runs in the workers' threads.

    def _run_jobs(self) -> None:
        while self._run_one():
            pass  # a call for each job: a worker that sleeps keeps no finished job alive

    def _run_one(self) -> bool:
        attempt = self._take()
        if attempt is None:
            return False
        self._record(attempt, succeeded=self._try(attempt))
        return True

    def _take(self) -> Attempt | None:
        """Wait for an attempt to make; `None` when the worker is to end."""
        with self._lock:
            while not self._stopped:
                now = self._clock()
                attempt = self._next_attempt(now)
                if attempt is not None:
                    self._counters.started += 1
                    return attempt
                due = self._retries.next_due()
                self._work.wait(_as_wait(None if due is None else due - now))
            return None

    def _next_attempt(self, now: float) -> Attempt | None:
        """Take what comes first, if anything. Called under the lock.

        In each lane a retry that is due comes before the new jobs: they were accepted after it.
        """
        for priority in Priority:
            retry = self._retries.pop_due(priority, now)
            if retry is not None:
                return retry
            if not self._lanes[priority].empty():
                self._room[priority].notify()
                return Attempt(self._lanes[priority].get_nowait(), 0)
        return None

    def _try(self, attempt: Attempt) -> bool:
        """Whether the handler returned. The lock is free meanwhile."""
        try:
            attempt.job.handler()
        except BaseException:  # SystemExit too: it would end this thread, one worker fewer
            job, number, attempts = attempt.job, attempt.number + 1, self._config.max_retries + 1
            with suppress(BaseException):  # a log handler of the program's may raise as well
                logger.exception("job %r failed in attempt %d of %d", job.id, number, attempts)
            return False
        return True

    def _record(self, attempt: Attempt, *, succeeded: bool) -> None:
        job, number = attempt
        with self._lock:
            if succeeded:
                self._counters.completed += 1
            elif number == self._config.max_retries:
                self._counters.failed += 1
            else:
                self._counters.retried += 1
                due = self._clock() + backoff(self._config.base_delay, number)
                self._retries.add(Attempt(job, number + 1), due)
                # All, not one: whichever worker a new job keeps busy, the others wake in time.
                self._work.notify_all()
            self._progress.notify_all()


def _as_wait(seconds: float | None) -> float | None:
    """`seconds`, or the most that `threading` can wait, which is 292 years."""
    return None if seconds is None else min(seconds, threading.TIMEOUT_MAX)
