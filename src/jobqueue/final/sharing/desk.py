"""What the handles of a client ask: the owner, by the link; or this process, once it is the owner.

Whose thread: callers', which may be interrupted anywhere; an event loop's for what is awaited; one
of its own for callbacks, which may call the queue again. No lock of its own.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import JobQueueError, QueueClosedError, UnknownJobError
from ..exact import check_seconds
from ..model.existing import ExistingHandle
from ..model.handle import NO_RESULT, JobHandle, was_cancelled
from ..model.job import about
from ..model.results import StoredResult, read_result
from ..model.transitions import FINAL, Status
from ..runtime.reporting import About
from . import calls
from .messages import WATCH, Ended, Existing, WatchOf, job_of, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ..exact import Seconds
    from ..model.context import Held, StopRequest
    from ..model.job import Job
    from ..model.progress import Told
    from ..model.results import ResultCodec
    from .asking import Asking
    from .messages import Answer

    FindHandle = Callable[[str], JobHandle[Any] | None]
    Report = Callable[[int, str, BaseException | None, About], None]
    FindCodec = Callable[[str | None], ResultCodec | None]

_read_ended = msgspec.msgpack.Decoder(Ended).decode


class RemoteDesk:
    """Answers the handles of one client. Thread-safe.

    Args:
        own: a handle of this process's own queue, if it has become the owner.
        codec: what reads the results of the handler of this name.
        report: has a log record made.

    Attributes:
        codec: see above.
    """

    def __init__(self, asking: Asking, own: FindHandle, codec: FindCodec, report: Report) -> None:
        self._asking = asking
        self._own = own
        self.codec = codec
        self._callbacks = _Callbacks(report)

    # ── handles are made ─────────────────────────────────────────────────────────────────────

    def handle_of(self, job: Job, status: Status) -> JobHandle:
        """A handle of a job that the owner has."""
        handle: JobHandle = JobHandle(self, job, status)
        handle._outcome = NO_RESULT
        return handle

    def existing(self, existing: Existing) -> JobHandle:
        """A handle of a job that the owner told of."""
        return self.handle_of(job_of(existing.job), Status(existing.status))

    def handle_for(self, job: Job, status: Status, existing: Existing | None) -> JobHandle:
        """What an `enqueue` returns."""
        if existing is None:
            return self.handle_of(job, status)
        return ExistingHandle(self.existing(existing))

    # ── what handles ask ─────────────────────────────────────────────────────────────────────

    def cancel(self, job_id: str, /) -> bool:
        """See `JobHandle`."""
        own = self._own(job_id)
        return self._asking.call(calls.cancel, job_id) if own is None else own.cancel()

    def _status_of(self, handle: JobHandle) -> Status:
        own = self._own(handle.id)
        if own is not None:
            return own.status
        try:
            handle._status = self._asking.call(calls.status, handle.id)
        except UnknownJobError:  # it is forgotten: the last known one counts
            pass
        return handle._status

    def _progress_of(self, handle: JobHandle) -> Told | None:
        own = self._own(handle.id)
        if own is not None:
            return own._owner._progress_of(own)
        progress = self._asking.call(calls.info, handle.id).info.progress
        return None if progress is None else (progress.done, progress.total, progress.message)

    def _wait_for(self, handle: JobHandle, timeout: Seconds | None) -> JobHandle:
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        own = self._own(handle.id)
        if own is not None:
            return own._owner._wait_for(own, timeout)
        arguments = msgspec.Raw(pack(WatchOf(handle.id)))
        try:
            value = self._asking.wait(WATCH, arguments, timeout)
        except QueueClosedError:  # this client has: the last status counts, as for any queue
            return handle
        if value is None:
            handle._status = self._status_of(handle)
        else:
            _note(handle, _read_ended(value))
        return handle

    def _waiting(self, handle: JobHandle) -> AbstractContextManager[None]:
        own = self._own(handle.id)
        return nullcontext() if own is None else own.waiting()

    def _add_done_callback(self, handle: JobHandle, fn: Callable[[JobHandle], object]) -> None:
        own = self._own(handle.id)
        if own is not None:
            own.add_done_callback(lambda _: fn(handle))
            return

        def tell(answer: Answer) -> None:
            if answer.failure is None:
                _note(handle, _read_ended(answer.value))
            self._callbacks.call(fn, handle)

        self._asking.link.ask(WATCH, msgspec.Raw(pack(WatchOf(handle.id))), tell)

    def _hold_back(self, handle: JobHandle, stop: StopRequest, jobs: list[Held]) -> None:
        raise RuntimeError(
            f"job {handle.id!r} runs in another process, and enqueues its jobs there"
        )

    def _kept_result(self, handle: JobHandle) -> object:
        if handle._owner is not self:
            return handle._owner._kept_result(handle)
        kept = self._asking.call(calls.result, handle.id)
        return self._read(handle, kept)

    def _read(self, handle: JobHandle, kept: calls.Kept) -> object:
        codec = None
        if kept.coded:
            name = handle._job._handler
            codec = self.codec(name or self._asking.call(calls.info, handle.id).info.handler)
        return read_result(handle.id, StoredResult(kept.data, kept.coded), codec)

    def _missing_result(self, handle: JobHandle) -> JobQueueError | TimeoutError:
        if handle._owner is not self:
            return handle._owner._missing_result(handle)
        state = handle._status.value
        if handle._status in FINAL:
            error = f": {handle._failure[0]}" if handle._failure is not None else ""
            return JobQueueError(
                f"job {handle.id!r} is {state}{error}; its error was raised in the process that "
                f"runs the queue: info({handle.id!r}) has its traceback"
            )
        if self._asking.link.is_closed:
            return QueueClosedError(
                f"the queue was closed here before job {handle.id!r} was finished ({state})"
            )
        return TimeoutError(f"job {handle.id!r} is not finished yet ({state})")

    def _result_of(self, handle: JobHandle, /) -> Generator[Any, None, object]:
        own = self._own(handle.id)
        if own is not None:
            return own._owner._result_of(own)
        return self._awaited(handle).__await__()

    async def _awaited(self, handle: JobHandle) -> object:
        ended = _read_ended(await self._asking.aask(WATCH, msgspec.Raw(pack(WatchOf(handle.id)))))
        _note(handle, ended)
        if handle._status is Status.COMPLETED:
            kept = await self._asking.acall(calls.result, handle.id)
            return self._read(handle, kept)
        if handle._status is Status.CANCELLED:
            raise was_cancelled(handle)
        raise self._missing_result(handle)


def _note(handle: JobHandle, ended: Ended) -> None:
    handle._status = Status(ended.status)
    handle._failure = None if ended.error is None else (ended.error, ended.trace or "")


class _Callbacks:
    """Calls users' callbacks on a thread of its own, one after the other.

    The link's thread may not: a callback may ask the queue, and wait for what that thread brings.
    The thread is there only while there are some to call.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()  # guards the two below
        self._due: deque[tuple[Callable[[JobHandle], object], JobHandle]] = deque()
        self._is_running = False

    def call(self, fn: Callable[[JobHandle], object], handle: JobHandle) -> None:
        """Have it called soon."""
        with self._lock:
            self._due.append((fn, handle))
            if self._is_running:
                return
            self._is_running = True
        threading.Thread(target=self._run, name="jobqueue-share-calls", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._due:
                    self._is_running = False
                    return
                fn, handle = self._due.popleft()
            try:
                fn(handle)
            except BaseException as error:  # noqa: BLE001  # it is the user's, and may raise anything
                message = f"a callback of job {handle.id!r} failed: {type(error).__name__}"
                self._report(logging.ERROR, message, error, about(handle._job))
