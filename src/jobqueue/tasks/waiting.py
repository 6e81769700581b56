"""Waiting for several jobs: `as_completed` and `gather`."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from ..final import JobHandle
from ..final.ports import check_seconds
from .options import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

R = TypeVar("R")


def as_completed(
    handles: Iterable[JobHandle[R]], timeout: Seconds | None = None
) -> Iterator[JobHandle[R]]:
    """The handles as their jobs end, those that have ended first.

    A job of a queue that closes before has ended for this: its `result` says so.

    Args:
        handles: handles, of one or several queues; one that stands there twice is given once.
        timeout: seconds from now, or a `timedelta`, until all have to have ended.

    Raises:
        TypeError: something else than a handle is among them.
        TimeoutError: by the iterator: not all ended in time.
        RuntimeError: by the iterator: as for `JobHandle.wait`, if a handler has to wait; or this is
            the thread of the event loop that runs the attempts: `await` the handles there.
    """
    deadline = None if timeout is None else time.monotonic() + check_seconds("timeout", timeout)
    waited = list(dict.fromkeys(_checked("as_completed", handles)))
    ended: queue.SimpleQueue[JobHandle[R]] = queue.SimpleQueue()
    for handle in waited:
        handle.add_done_callback(ended.put)
    return _as_they_end(ended, dict.fromkeys(waited), deadline)


def _as_they_end(
    ended: queue.SimpleQueue[JobHandle[R]], left: dict[JobHandle[R], None], deadline: float | None
) -> Iterator[JobHandle[R]]:
    count = len(left)
    while left:
        seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            handle = _next(ended, next(iter(left)), seconds)
        except queue.Empty:
            raise TimeoutError(
                f"{len(left)} of {count} jobs have not ended in time, {next(iter(left)).id!r} "
                f"first; they go on, and their handles tell of them"
            ) from None
        del left[handle]
        yield handle


def _next(
    ended: queue.SimpleQueue[JobHandle[R]], one_left: JobHandle[R], seconds: float | None
) -> JobHandle[R]:
    """The next that has ended; if a handler waits for it, another worker stands in for its."""
    try:
        return ended.get_nowait()
    except queue.Empty:
        if seconds == 0:
            raise
    with one_left.waiting():
        return ended.get(timeout=seconds)


@overload
def gather(
    handles: Iterable[JobHandle[R]], return_exceptions: Literal[False] = False
) -> list[R]: ...


@overload
def gather(handles: Iterable[JobHandle[R]], return_exceptions: bool) -> list[R | BaseException]: ...


def gather(handles: Iterable[JobHandle[Any]], return_exceptions: bool = False) -> list[Any]:
    """The results of the jobs, in the order of the handles; waits for all.

    Args:
        handles: handles, of one or several queues.
        return_exceptions: whether to give errors in place of results. Otherwise the first of
            them in this order is raised, and the other jobs go on.

    Raises:
        TypeError: something else than a handle is among them, or more than one list is given.
    """
    waited = _checked("gather", handles)
    if not isinstance(return_exceptions, bool):  # of a second list the results would be lost
        raise TypeError(
            f"gather() takes one list of all handles, and return_exceptions is True or False, not "
            f"{return_exceptions!r}"
        )
    if not return_exceptions:
        return [handle.result() for handle in waited]
    results: list[Any] = []
    for handle in waited:
        try:
            results.append(handle.result())
        except BaseException as error:
            if not is_of_job(handle, error):
                raise
            results.append(error)
    return results


def is_of_job(handle: JobHandle[Any], error: BaseException) -> bool:
    """Whether `handle.result()` raised this of the job, and not Ctrl-C, say, of who waited."""
    if isinstance(error, Exception):
        return True
    try:
        handle.result(0)
    except BaseException as again:  # noqa: BLE001  # a handler may have raised any
        return again is error
    return False


def _checked(caller: str, handles: Iterable[JobHandle[R]]) -> list[JobHandle[R]]:
    """The handles, as a list; raises `TypeError` if they are none."""
    if not isinstance(handles, Iterable):
        raise TypeError(f"{caller}() takes a list of handles, not {handles!r}")
    given = list(handles)
    for each in given:
        if not isinstance(each, JobHandle):
            raise TypeError(
                f"{caller}() takes handles, as task.enqueue(...) returns them, not {each!r}"
            )
    return given
