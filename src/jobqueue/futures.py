"""`JobQueueExecutor`: a `concurrent.futures.Executor` whose calls are jobs of a queue.

A call is a job without a payload that carries its function in memory. Its future follows the job:
it runs when the attempt starts, and is done when the job has ended, so that the queue's metrics
count it by then. What the function returned or raised is kept by the future alone.

Relies on: what a handle's done callbacks promise. They are called once, without the queue's mutex,
also if the queue closes before the job has ended.
"""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .final import (
    Job,
    JobHandle,
    JobQueue,
    Priority,
    QueueClosedError,
    Status,
    UnknownJobError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    _Work = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

__all__ = ["JobQueueExecutor"]

P = ParamSpec("P")
R = TypeVar("R")


class JobQueueExecutor(Executor):
    """Runs functions as jobs of an in-memory queue. All methods are thread-safe.

    `submit` blocks while the lane is full; inside a handler of the queue it never does. A call is
    not retried: what it raises is its future's exception, and the job has failed, without a dead
    letter that stays. Cancelling the future of a call that has not started cancels its job.

    If the queue closes before a call has ended, its future gets a `QueueClosedError`. `shutdown`
    ends the executor alone: the queue stays open, and is its owner's to close.

    Args:
        queue: a queue without a log, that runs functions in threads of this process.
        priority: the lane of all calls; make one executor for each that you need.

    Raises:
        TypeError: `queue` is no `JobQueue`.
        ValueError: the queue has a log, or runs its handlers in processes; or `priority` is none.
    """

    def __init__(self, queue: JobQueue, *, priority: Priority = Priority.MEDIUM) -> None:
        if not isinstance(queue, JobQueue):
            raise TypeError(f"queue must be a JobQueue, not {queue!r}")
        where = queue.config.persist_path or getattr(queue.config, "where", None)
        if where is not None:
            raise ValueError(
                f"an executor needs a queue in memory, and this one keeps its jobs "
                f"({where}): a function with its arguments, and its future, "
                f"cannot come back after a restart; use tasks (jobqueue.Tasks) with this queue, or "
                f"give the executor a queue without persist_path"
            )
        if queue.config.executor == "process":
            raise ValueError(
                'an executor needs a queue that runs functions in threads, not executor="process": '
                "a process imports functions by name, and gets no lambda and no argument from "
                "memory; use tasks (jobqueue.Tasks) with this queue, or "
                "concurrent.futures.ProcessPoolExecutor"
            )
        self._queue = queue
        self._priority = Job(priority=priority).priority  # checks it
        self._is_shut_down = False
        self._calls: dict[_Call, None] = {}
        """What has been submitted and is not done, oldest first. Under `_changed`."""
        self._changed = threading.Condition()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have `fn(*args, **kwargs)` run as a job; blocks while its lane is full.

        On the thread of an event loop that holds up the loop: have room in `queue_size` for all
        that such a program submits at a time.

        Returns:
            The future of the call.

        Raises:
            RuntimeError: the executor is shut down; as `QueueClosedError`, its queue is closed.
            TypeError: `fn` cannot be called, or is a coroutine function.
        """
        if not callable(fn):
            raise TypeError(f"only what can be called can be submitted, not {fn!r}")
        if iscoroutinefunction(fn):
            raise TypeError(
                f"{fn!r} is a coroutine function, whose call does nothing until it is awaited; "
                f'register it as a handler or task of a queue with executor="asyncio"'
            )
        call = _Call(self, fn, args, kwargs)
        future: Future[R] = call.future
        try:
            with self._changed:
                if self._is_shut_down:
                    raise RuntimeError("cannot schedule new futures after shutdown")
                self._calls[call] = None
            job = Job(priority=self._priority, max_retries=0)
            call.handle = handle = self._enqueue(job, call)
            future.add_done_callback(call.cancel_job)
            handle.add_done_callback(call.job_ended)
        except BaseException:
            # The caller never sees this future: if its job was accepted, it does nothing.
            future.cancel()
            self._forget(call)
            raise
        return future

    def _enqueue(self, job: Job, call: _Call) -> JobHandle:
        try:
            return self._queue.enqueue_with_handler(job, call.run)
        except QueueClosedError as error:
            if threading.main_thread().is_alive():
                raise
            # The queue closed because the interpreter ends: said as by the standard library.
            message = "cannot schedule new futures after interpreter shutdown"
            raise RuntimeError(message) from error

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse further calls, and wait for those that were submitted. The queue stays open.

        Args:
            wait: whether to return only when all futures are done.
            cancel_futures: whether to cancel those that wait for a worker. If workers are free just
                now, they are about to start as many, which are left to them.

        Raises:
            RuntimeError: one of the executor's own calls, or a callback of its future, waits here:
                it would wait for itself. The executor is shut down all the same.
        """
        with self._changed:
            self._is_shut_down = True
            calls = list(self._calls)
        if cancel_futures:
            self._cancel_waiting(calls)
        if not wait:
            return
        this_thread = threading.get_ident()
        if any(call.thread == this_thread for call in calls):
            raise RuntimeError(
                "a call cannot wait for the end of its own executor: use shutdown(wait=False) there"
            )
        for call in calls:
            if call.handle is not None:
                call.handle.wait()  # if this is another handler, a worker stands in for its own
        with self._changed:
            self._changed.wait_for(lambda: not self._calls)

    def _cancel_waiting(self, calls: list[_Call]) -> None:
        """Cancel the calls, oldest first, that wait and for which no worker is free."""
        waiting = [call for call in calls if call.is_waiting()]
        workers = self._queue.metrics().workers  # of later: one that started since counts as busy
        free = max(0, workers.count - workers.busy)
        for call in reversed(waiting[free:]):
            if call.is_waiting():
                call.future.cancel()

    def _forget(self, call: _Call) -> None:
        """A call is done."""
        with self._changed:
            self._calls.pop(call, None)
            if not self._calls:
                self._changed.notify_all()

    def _drop_letter(self, job_id: str) -> None:
        """A failed call is of no use as a dead letter: its future, that was told, is done."""
        # It may have been evicted, or requeued by someone; or the queue has closed since.
        with suppress(UnknownJobError, ValueError, QueueClosedError):
            self._queue.discard(job_id)


class _Call:
    """A submitted call: what its job runs, and what has its future follow the job.

    Attributes:
        future: what the caller got.
        handle: its job's, once that has been accepted and until it has ended.
        thread: the identifier of the thread that runs it, or that tells its future of the end.
    """

    def __init__(
        self,
        executor: JobQueueExecutor,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.future: Future[Any] = Future()
        self.handle: JobHandle | None = None
        self.thread: int | None = None
        self._executor = executor
        self._starting = threading.Lock()
        self._work: _Work | None = (function, args, kwargs)
        """What is to be called, until it is. Under `_starting`."""
        self._result: tuple[Any] | None = None
        self._error: BaseException | None = None
        self._trace: TracebackType | None = None

    def is_waiting(self) -> bool:
        """Whether no worker has taken it."""
        handle = self.handle
        if handle is None:
            return not self.future.done()  # it waits for room, or has ended
        return handle.status is Status.QUEUED

    def run(self, _payload: bytes) -> None:
        """The attempt, on the thread that the queue runs it on."""
        work = self._start()
        if work is None:
            return
        self.thread = threading.get_ident()
        function, args, kwargs = work
        del work
        try:
            self._result = (function(*args, **kwargs),)
        except BaseException as error:
            self._error, self._trace = error, error.__traceback__
            raise
        finally:
            self.thread = None
            # The traceback keeps this frame, and the frame would keep the future, which keeps it.
            del self, function, args, kwargs

    def _start(self) -> _Work | None:
        """What is to be called, from now on by the caller of this; `None` if nothing is any more.

        It also tells those who wait for several futures that this one was cancelled. With a lock,
        for a queue that closes may give up an attempt that is just starting.
        """
        with self._starting:
            work, self._work = self._work, None
            if work is None or not self.future.set_running_or_notify_cancel():
                return None
            return work

    def cancel_job(self, future: Future[Any]) -> None:
        """The future is done, on the thread that did that: if it was cancelled, so is its job."""
        handle = self.handle
        if handle is None or not future.cancelled():
            return
        with suppress(UnknownJobError):  # it has ended, and was forgotten
            handle.cancel()

    def job_ended(self, handle: JobHandle) -> None:
        """The job has ended, or never will. Called once, without any lock."""
        self.thread = threading.get_ident()
        self.handle = None
        try:
            if handle.status is Status.CANCELLED:
                self.future.cancel()  # unless it runs
            self._start()  # nothing is, from now on
            self._tell(handle)
        finally:
            self.thread = None
            self._executor._forget(self)

    def _tell(self, handle: JobHandle) -> None:
        """Have the future say what became of the job."""
        future, status = self.future, handle.status
        error: BaseException | None = None
        result: Any = None
        try:
            result = handle.result(0)
        except BaseException as raised:  # noqa: BLE001  # whatever the function raised
            error = raised
        if status is Status.CANCELLED and self._error is not None:
            error = self._error  # what it raised after it was told to stop
        if status is Status.FAILED:
            self._executor._drop_letter(handle.id)
        if future.done():  # it was cancelled
            return
        if error is None:
            future.set_result(result if self._result is None else self._result[0])
            return
        if error is self._error:
            error = error.with_traceback(self._trace)
        future.set_exception(error)
        self._error = self._trace = None
        del error
