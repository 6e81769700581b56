"""Handles for which another one does all that they are asked.

`enqueue` returns one if it added no job, since there was one like it.
"""

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


class ForwardingHandle(JobHandle[Any]):
    """A handle of its own for a job that another one knows. Thread-safe, as that one is."""

    __slots__ = ()

    @property
    def _first(self) -> JobHandle[Any]:
        """The other one; what this raises, all methods do."""
        raise NotImplementedError  # each kind has its own

    @property
    def job(self) -> Job:
        """The job that the other one is of."""
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

    def cancel(self) -> bool:
        """See `JobHandle`."""
        return self._first.cancel()

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


class ExistingHandle(ForwardingHandle):
    """A handle of its own for a job that was accepted before; see `Unique`. Thread-safe."""

    __slots__ = ("_known",)

    def __init__(self, known: JobHandle[Any]) -> None:
        super().__init__(known._owner, known._job, known._status, known._number)
        self._known = known

    @property
    def _first(self) -> JobHandle[Any]:
        return self._known

    @property
    def existing(self) -> bool:
        """Whether `enqueue` added no job, since there was one like it: so it is."""
        return True

    def __repr__(self) -> str:
        return f"<JobHandle {self.id!r} {self._known._status.name}, existing>"
