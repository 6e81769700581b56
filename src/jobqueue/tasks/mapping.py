"""`task.map`: results in order, with a bound on what is in flight."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..final import QueueClosedError, Status
from ..final.ports import check_seconds
from .options import Seconds
from .waiting import is_of_job

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ..final import JobHandle

_NOT_STARTED = (Status.QUEUED, Status.SCHEDULED)
_GOES_ON = (*_NOT_STARTED, Status.PROCESSING)


class Map:
    """The calls of one `map`. Belongs to the thread that iterates.

    Args:
        calls: each step enqueues one more call.
        in_flight_max: how many may be enqueued and not taken.
        timeout: seconds from now until all results have to be there; `None` for ever.
        return_exceptions: whether errors are given in place of results.
    """

    def __init__(
        self,
        calls: Iterator[JobHandle[Any]],
        in_flight_max: int,
        timeout: Seconds | None,
        return_exceptions: bool,
    ) -> None:
        self._calls = calls
        self._in_flight_max = in_flight_max
        self._deadline = (
            None if timeout is None else time.monotonic() + check_seconds("timeout", timeout)
        )
        self._return_exceptions = return_exceptions
        self._pending: deque[JobHandle[Any]] = deque()

    def results(self) -> Generator[Any, None, None]:
        """Enqueue the first calls, and give what gives the results."""
        try:
            self._fill()
        except BaseException:
            self._cancel()
            raise
        results = self._results()
        next(results)  # so that closing it cancels, even if nobody has asked it for a result
        return results

    def _results(self) -> Generator[Any, None, None]:
        try:
            yield None
            while self._pending:
                result = self._result(self._pending.popleft())
                self._fill()
                yield result
        finally:
            self._cancel()

    def _fill(self) -> None:
        while len(self._pending) < self._in_flight_max:
            handle = next(self._calls, None)
            if handle is None:
                return
            self._pending.append(handle)

    def _result(self, handle: JobHandle[Any]) -> object:
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        try:
            return handle.result(left)
        except BaseException as error:
            if handle.status in _GOES_ON:  # the time is over, or the queue is
                self._pending.appendleft(handle)  # so that it is cancelled with the others
                raise
            if self._return_exceptions and is_of_job(handle, error):
                return error
            raise

    def _cancel(self) -> None:
        for handle in self._pending:
            if handle.status in _NOT_STARTED:
                with suppress(QueueClosedError):  # then nothing starts any more
                    handle.cancel()
        self._pending.clear()
