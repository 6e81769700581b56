"""Handlers that tell what they are doing and wait to be told to go on."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NoReturn

from jobqueue.final import RejectJobError
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.final import Job, JobContext


class Recorder:
    """A handler that keeps the jobs it was given, and returns their payloads."""

    def __init__(self) -> None:
        self.jobs: queue.Queue[Job] = queue.Queue()

    def __call__(self, payload: bytes, context: JobContext) -> bytes:
        self.jobs.put(context.job)
        return payload

    def next(self) -> Job:
        """The next job that ran."""
        return self.jobs.get(timeout=PATIENCE)

    def ids(self) -> list[str]:
        """The ids of the jobs that ran and have not been asked for yet."""
        ids = []
        while not self.jobs.empty():
            ids.append(self.jobs.get().id)
        return ids


class LastWord:
    """A handler that refuses each job, and calls a function when nobody has it any more."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function

    def __call__(self, payload: bytes) -> NoReturn:
        raise RejectJobError

    def __del__(self) -> None:
        self._function()


class Blocker:
    """A handler that is held on to until `gate` is set, and then returns, or raises `error`."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.gate = threading.Event()
        self.entered: queue.Queue[str] = queue.Queue()
        self.left: queue.Queue[str] = queue.Queue()
        self._error = error

    def __call__(self, payload: bytes, context: JobContext) -> bytes:
        self.entered.put(context.job.id)
        try:
            assert self.gate.wait(PATIENCE)
            if self._error is not None:
                raise self._error
            return payload
        finally:
            self.left.put(context.job.id)

    def await_entered(self, count: int = 1) -> list[str]:
        """The ids of the jobs that are in the handler now."""
        return sorted(self.entered.get(timeout=PATIENCE) for _ in range(count))


def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
    """Make a call in a thread of its own."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="test-caller").start()
    return future
