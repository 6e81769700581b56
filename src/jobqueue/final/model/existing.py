"""What `enqueue` returns if it added no job, since there was one like it: a handle of that one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .callables import check_callback
from .handle import JobHandle

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from ..exact import Seconds
    from .job import Job
    from .progress import Progress
    from .transitions import Status


class ExistingHandle(JobHandle[Any]):
    """A handle of its own for a job that was accepted before; see `Unique`. Thread-safe.

    All that it does, the first handle does.
    """

    __slots__ = ("_first",)

    def __init__(self, first: JobHandle[Any]) -> None:
        super().__init__(first._owner, first._job, first._status, first._number)
        self._first = first

    @property
    def existing(self) -> bool:
        """Whether `enqueue` added no job, since there was one like it: so it is."""
        return True

    @property
    def job(self) -> Job:
        """The job that was there."""
        return self._first.job

    @property
    def status(self) -> Status:
        """See `JobHandle`."""
        return self._first.status

    @property
    def progress(self) -> Progress | None:
        """See `JobHandle`."""
        return self._first.progress

    def wait(self, timeout: Seconds | None = None) -> Status:
        """See `JobHandle`."""
        return self._first.wait(timeout)

    def waiting(self) -> AbstractContextManager[None]:
        """See `JobHandle`."""
        return self._first.waiting()

    def result(self, timeout: Seconds | None = None) -> Any:
        """See `JobHandle`."""
        return self._first.result(timeout)

    def __await__(self) -> Generator[Any, None, Any]:
        """See `JobHandle`."""
        return self._first.__await__()

    def add_done_callback(self, fn: Callable[[JobHandle[Any]], object]) -> None:
        """See `JobHandle`; `fn` is called with this handle."""
        check_callback(fn)
        self._first.add_done_callback(lambda _: fn(self))

    def __repr__(self) -> str:
        return f"<JobHandle {self.id!r} {self._first._status.name}, existing>"
