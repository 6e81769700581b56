"""The handlers by name, and the waiting jobs whose handler is not registered yet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..errors import UnknownHandlerError
from ..model.handle import ARRIVING
from ..model.handlers import Handler, name_of
from ..model.job import Priority
from ..model.policy import NO_POLICY
from ..model.transitions import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import JobHandle
    from ..model.job import Job

_SCHEDULED = Status.SCHEDULED


class HandlerRegistry:
    """The handlers by name, and the waiting jobs whose handler is not registered yet.

    Such a job takes no place in its lane from its acceptance on. It is parked when it is due.

    Relies on: the queue's mutex, held by the caller of every method but `__init__`.

    Args:
        default: the handler of jobs that name none.
        make: makes a handler of a function, for the place where handlers run (threads or
            processes). Raises as `Handler` does, and `ValueError` if a process could not import it
            by name.
        parked_max: how many new jobs of each priority may be parked, or are to be.
        refuses_unknown: whether a new job of an unknown name is refused at once.

    Attributes:
        untold: names that jobs wait for, of which no thread has told yet.
    """

    def __init__(
        self,
        default: Callable[..., object] | None,
        make: Callable[[Callable[..., object]], Handler] = Handler,
        parked_max: int = sys.maxsize,
        *,
        refuses_unknown: bool = False,
    ) -> None:
        self.make = make
        self.default = None if default is None else self.make(default)
        self._handlers: dict[str | None, Handler] = {}
        if self.default is not None:
            self._handlers[None] = self.default
        self.find: Callable[[str | None], Handler | None] = self._handlers.get
        """The handler of this name."""
        self.untold: dict[str | None, None] = {}
        self._parked_max = parked_max
        self._refuses_unknown = refuses_unknown
        self._by_name: dict[str | None, dict[JobHandle, None]] = {}  # none of them empty
        self._parked: dict[JobHandle, None] = {}  # the same jobs
        # These, and those whose record is on its way.
        self._by_lane: tuple[dict[JobHandle, None], ...] = tuple({} for _ in Priority)
        # Those that are not due yet, likewise by name and by lane.
        self._delayed: dict[str | None, dict[JobHandle, None]] = {}
        self._delayed_by_lane: tuple[dict[JobHandle, None], ...] = tuple({} for _ in Priority)

    def check(self, name: str, handler: Handler, *, replace: bool = False) -> bool:
        """Whether a handler is to be added; `False` if it is there as it is.

        Raises:
            ValueError: another function has this name, and is not to be replaced.
        """
        known = self._handlers.get(name)
        if known is None:
            return True
        if known.function is not handler.function and known.function != handler.function:
            if not replace:
                raise ValueError(
                    f"handler name {name!r} is taken by {name_of(known.function)}; choose another "
                    f"name for {name_of(handler.function)}, or let it take that one's place with "
                    f"register(..., replace=True)"
                )
            handler.check_replaces(known)
        return replace or handler.policy not in (NO_POLICY, known.policy)

    def put(self, name: str, handler: Handler) -> None:
        """Add a handler, or put it in the place of another. Delayed jobs do not wait for it now."""
        known = self._handlers.get(name)
        if known is not None:
            handler.meter = known.meter
        self._handlers[name] = handler
        for handle in self._delayed.get(name, ()):
            self._delayed_by_lane[handle._job._priority].pop(handle, None)
        self._delayed.pop(name, None)

    def all(self) -> dict[str | None, Handler]:
        """The handlers by name; `None` is the default one."""
        return dict(self._handlers)

    def parked_under(self, name: str) -> list[JobHandle]:
        """The jobs that wait for this name."""
        return list(self._by_name.get(name, ()))

    def refuse_unknown(self, job: Job, others: int = 0) -> None:
        """A new job has no handler: raises `UnknownHandlerError` if it cannot wait for one.

        Args:
            others: how many such jobs of its lane are about to be accepted before it.
        """
        name = job._handler
        if name is None:
            raise UnknownHandlerError(
                f"job {job._id!r} names no handler and the queue has no default handler; set "
                f"Job(handler=...) or JobQueue(handler=...)"
            )
        # guard: a queue that waits for no names refuses them at once
        #   without: if False:
        if self._refuses_unknown:
            raise UnknownHandlerError(
                f"job {job._id!r} was not accepted: its handler {name!r} is not registered, and "
                f"the queue waits for none (unknown_handlers='refuse'); register it first",
                name=name,
                known=self._names(),
            )
        parked, delayed = self._by_lane[job._priority], self._delayed_by_lane[job._priority]
        waiting = len(parked) + len(delayed) + others
        # guard: jobs that wait for a handler are bounded
        if waiting >= self._parked_max:
            raise UnknownHandlerError(
                f"job {job._id!r} was not accepted: its handler {name!r} is not registered, and "
                f"{waiting} jobs of the {job._priority.name} lane (queue_size) wait for such "
                f"handlers already; register it, or cancel jobs that wait",
                name=name,
                known=self._names(),
            )

    def _names(self) -> tuple[str, ...]:
        return tuple(each for each in self._handlers if each is not None)

    def expect(self, handle: JobHandle) -> None:
        """A job is accepted whose handler is not registered; it is parked if it still is not then.

        Twice does no harm, nor of the other methods.
        """
        job = handle._job
        if handle._status is _SCHEDULED:
            self._delayed.setdefault(job._handler, {})[handle] = None
            self._delayed_by_lane[job._priority][handle] = None
        else:
            self._by_lane[job._priority][handle] = None

    def park(self, handle: JobHandle) -> None:
        """Keep a job until its handler is registered."""
        job = handle._job
        jobs = self._by_name.get(job._handler)
        if jobs is None:
            self.untold[job._handler] = None
            jobs = self._by_name[job._handler] = {}
        jobs[handle] = None
        self._by_lane[job._priority][handle] = None
        self._parked[handle] = None
        self._delay_is_over(handle)

    def _delay_is_over(self, handle: JobHandle) -> None:
        job = handle._job
        self._delayed_by_lane[job._priority].pop(handle, None)
        jobs = self._delayed.get(job._handler)
        if jobs is not None:
            jobs.pop(handle, None)
            if not jobs:
                self._delayed.pop(job._handler, None)

    def unpark(self, handle: JobHandle) -> bool:
        """Take a job out; `False` if it was not parked. Otherwise it is on its way from now on.

        A delayed one is not expected any more.

        It may be broken off, and is done again then: the second way of finding it goes last.
        """
        job = handle._job
        jobs = self._by_name.get(job._handler)
        if jobs is not None:
            jobs.pop(handle, None)
            if not jobs:
                # guard: a name whose jobs have gone is told of again
                self._by_name.pop(job._handler, None)
                self.untold.pop(job._handler, None)
        self._by_lane[job._priority].pop(handle, None)
        self._delay_is_over(handle)
        if handle not in self._parked:
            return False
        del self._parked[handle]  # one step
        handle._since = ARRIVING
        return True

    @property
    def parked_count(self) -> int:
        """How many jobs wait for a handler."""
        return len(self._parked)

    def oldest_parked(self, priority: Priority) -> JobHandle | None:
        """The job of a lane that has waited longest for its handler."""
        return next(iter(self._by_lane[priority]), None)

    def is_missing(self, name: str | None) -> bool:
        """Whether jobs wait for the handler of this name."""
        return name in self._by_name
