"""`enqueue` through the middleware that has a word in it; a queue without such has no part of this.

Relies on: `Admission`, which does the rest. The methods of middleware are called without locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.dependencies import renamed
from ..errors import JobQueueError
from ..exact import check_seconds
from ..middleware import wrapped
from ..runtime.clock import SystemClock
from .admission import Admission
from .room_wait import refuse_given_up

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from ..core.lane import Lane
    from ..exact import Seconds
    from ..middleware import Layer
    from ..model.handle import JobHandle
    from ..model.handlers import Handler
    from ..model.job import Job

NESTED_MAX = 100
"""How many calls of layers are nested: a nested call takes four frames of Python's thousand."""


class AdmissionThroughMiddleware(Admission):
    """Accepts jobs that have gone through all layers.

    Args:
        layers: the `enqueue` methods of the middleware, outermost first; the other arguments are
            those of `Admission`.
    """

    def __init__(self, layers: tuple[Layer, ...], *args: Any) -> None:
        super().__init__(*args)
        self._layers = layers

    def enqueue(
        self,
        job: Job,
        timeout: Seconds | None,
        delay: Seconds,
        cancel: threading.Event | None,
        call: Handler | None = None,
    ) -> JobHandle:
        """See `JobQueue.enqueue`."""
        self.check(job)
        accept = super().enqueue
        through = wrapped(self._layers, lambda job: accept(job, timeout, delay, cancel, call))
        return handle_from(through(job), job)

    def enqueue_unless(
        self, job: Job, timeout: float | None, delay: float, given_up: threading.Event
    ) -> JobHandle:
        """As `enqueue`, but what is given up before it is accepted is not, even if there is room.

        For a coroutine that waits meanwhile: it may be cancelled while a layer is at work.
        """
        accept = super().enqueue

        def accept_unless(job: Job) -> JobHandle:
            refuse_given_up(job, given_up)
            return accept(job, timeout, delay, given_up)

        refuse_given_up(job, given_up)
        return handle_from(wrapped(self._layers, accept_unless)(job), job)

    def first_held_up(self, jobs: Iterable[Job]) -> tuple[Job, Lane] | None:
        """The first of the jobs whose lane is full, and the lane: a glance, without the mutex."""
        for job in jobs:
            lane = self._lanes[job._priority]
            if lane.room <= 0:
                return job, lane
        return None

    def enqueue_many(
        self, jobs: Iterable[Job], timeout: float | None, cancel: threading.Event | None = None
    ) -> list[JobHandle]:
        """See `JobQueue.enqueue_many`; what `cancel` gives up is as in `enqueue_unless`."""
        checked = self.check_all(jobs)
        deadline = None if timeout is None else SystemClock.monotonic() + timeout
        accept = super().enqueue_many

        def accept_by_deadline(some: list[Job], _: list[int]) -> list[JobHandle]:
            if cancel is not None:
                refuse_given_up(some[0], cancel)
            left = None if deadline is None else max(0.0, deadline - SystemClock.monotonic())
            return accept(some, left, cancel)

        step = max(1, NESTED_MAX // len(self._layers))
        handles: list[JobHandle] = []
        for begin in range(0, len(checked), step):
            some = Nested(self._layers, checked[begin : begin + step], accept_by_deadline)
            try:
                handles += some.enqueue()
            except JobQueueError as error:
                error.accepted = (*handles, *error.accepted)
                raise
        return handles

    def enqueue_together(
        self,
        jobs: Iterable[Job],
        delays: Iterable[Seconds] | None,
        timeout: Seconds | None,
        cancel: threading.Event | None = None,
    ) -> list[JobHandle]:
        """See `JobQueue.enqueue_together`; what `cancel` gives up is as in `enqueue_unless`."""
        group = self.group_of(jobs, delays)
        most = max(1, NESTED_MAX // len(self._layers))
        if len(group.jobs) > most:
            raise ValueError(
                f"{len(group.jobs)} jobs are to be enqueued together; through {len(self._layers)} "
                f"middleware that override enqueue, {most} can be"
            )
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        deadline = None if seconds is None else SystemClock.monotonic() + seconds
        accept = super().enqueue_together

        def accept_by_deadline(some: list[Job], places: list[int]) -> list[JobHandle]:
            if cancel is not None:
                refuse_given_up(some[0], cancel)
            left = None if deadline is None else max(0.0, deadline - SystemClock.monotonic())
            return accept(some, [group.delays[each] for each in places], left, cancel)

        return Nested(self._layers, group.jobs, accept_by_deadline).enqueue()


class Nested:
    """Some jobs that are accepted in one step, within the layers of each.

    What follows the first job, up to the acceptance of all, happens within its `call_next`, and so
    on. So a layer sees an error of the acceptance, and one that refuses its job refuses all.
    """

    def __init__(
        self,
        layers: tuple[Layer, ...],
        jobs: list[Job],
        accept: Callable[[list[Job], list[int]], list[JobHandle]],
    ) -> None:
        self._layers = layers
        self._jobs = jobs
        self._accept = accept
        self._passed_on: list[Job] = []
        self._places: list[int] = []  # of those, among the jobs
        self._accepted: list[JobHandle] = []
        self._handles: dict[int, JobHandle] = {}

    def enqueue(self) -> list[JobHandle]:
        """Take them through the layers and accept them."""
        self._enter(0)
        return [self._handles[index] for index in range(len(self._jobs))]

    def _enter(self, index: int) -> None:
        """Do it from this job on."""
        if index == len(self._jobs):
            self._accepted = self._accept_passed_on() if self._passed_on else []
            return
        place, has_gone_on = len(self._passed_on), False

        def call_next(job: Job) -> JobHandle:
            nonlocal has_gone_on
            self._passed_on.append(job)
            self._places.append(index)
            try:
                self._enter(index + 1)
            except BaseException:
                del self._places[place:]
                del self._passed_on[place:]  # the layer may swallow the error, or try again
                raise
            has_gone_on = True
            return self._accepted[place]

        job = self._jobs[index]
        self._handles[index] = handle_from(wrapped(self._layers, call_next)(job), job)
        if not has_gone_on:  # this job's layers have settled it by themselves
            self._enter(index + 1)

    def _accept_passed_on(self) -> list[JobHandle]:
        """Accept what the layers passed on. A job may wait for one that a layer has replaced."""
        names = {self._jobs[index]._id: handle.id for index, handle in self._handles.items()}
        for place, job in zip(self._places, self._passed_on, strict=True):
            names[self._jobs[place]._id] = job._id
        return self._accept([renamed(job, names) for job in self._passed_on], self._places)


def handle_from(handle: JobHandle | None, job: Job) -> JobHandle:
    """What the layers returned.

    Raises:
        TypeError: it is nothing.
    """
    if handle is None:
        raise TypeError(
            f"a middleware's enqueue returned None for job {job.id!r}, which may be accepted; "
            f"it must return the handle: return call_next(job)"
        )
    return handle
