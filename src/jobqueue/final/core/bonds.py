"""What ties jobs to each other, to limits and to times, as those see it that carry jobs about.

`Bindings` is it. It stands above `Placement`, which calls it, so this port stands between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..model.context import Held
    from ..model.handle import JobHandle
    from ..model.handlers import Handler
    from ..model.job import Job
    from ..wal.format.record import Enqueued


class Bonds(Protocol):
    """See `Bindings`. With the mutex, each of them; each may be done again."""

    @property
    def has_doomed(self) -> bool:
        """Whether jobs are about to be cancelled, or to be queued."""

    @property
    def aside(self) -> Sequence[dict[JobHandle, None]]:
        """The jobs that wait for a limit or a rate, by lane."""

    def meet(
        self,
        handle: JobHandle,
        parent: JobHandle | None = None,
        others: Mapping[str, JobHandle] = ...,
    ) -> JobHandle | None:
        """A job with a plan is to be accepted: the one that is like it, if any."""

    def refuse_like(self, job: Job) -> None:
        """A job is to be enqueued later: raises if there is one like it that keeps it out now."""

    def may_replace(self, handle: JobHandle, first: JobHandle) -> bool:
        """Whether a new job is to take the place of the one that is like it."""

    def all_like(self, job: Job) -> tuple[JobHandle, ...]:
        """The jobs that are like a new one that is to be unique."""

    def replace(self, first: JobHandle) -> None:
        """Cancel the job whose place a new one takes."""

    def meet_next(self, handle: JobHandle, replaced: JobHandle) -> JobHandle | None:
        """A new job has taken the place of one: the next that is like it, if there is another."""

    def bind(self, handle: JobHandle) -> float | None:
        """The job is accepted; returns the Unix time at which it expires, if it does."""

    def restore(self, handle: JobHandle, left: float | None, *, has_started: bool) -> None:
        """A job is there again after a restart."""

    def cancel_doomed(self, handle: JobHandle) -> bool:
        """Cancel a job that was just accepted, if one that it is to run after has failed."""

    def forget(self, handle: JobHandle) -> None:
        """The job's acceptance is undone."""

    def arrived(self, handle: JobHandle) -> None:
        """A job that waits for others has arrived."""

    def started(self, handle: JobHandle) -> None:
        """An attempt begins."""

    def left(self, handle: JobHandle) -> None:
        """An attempt has left its seat."""

    def ended(self, handle: JobHandle) -> None:
        """The job has ended, in whatever way."""

    def take_out(self, handle: JobHandle) -> None:
        """The job is cancelled: it is not to be found where it waits."""

    def requeued(self, handle: JobHandle) -> None:
        """A failed job is queued again."""

    def replaced(self, handler: Handler) -> None:
        """Jobs are to be run by this handler now."""

    def withdraw(self, holds: Callable[[JobHandle], bool]) -> None:
        """These jobs are paused: they leave what they wait for, or have passed, to others."""

    def finish_cancelling(self) -> None:
        """Do what is left of a cancellation that was broken off."""

    def settle(self) -> None:
        """Do what is left of a change that was broken off."""

    def look_after(self) -> None:
        """Without the mutex: cancel and queue the jobs that others have left to do so."""

    def look_after_expired(self) -> None:
        """Likewise, if there are any, after all has expired that does now."""

    def hold_back(self, parent: JobHandle, jobs: Sequence[Held]) -> None:
        """Take jobs that are to be enqueued when the parent's handler returns."""

    def born(self, parent: JobHandle) -> list[Enqueued]:
        """The handler has returned: accept what it held back; returns the records of it."""

    def arrive(self, parent: JobHandle) -> None:
        """What was accepted so goes on its way."""
