"""The handlers by name, and the queued jobs whose handler is not registered yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.handle import NOT_ARRIVED
from ..model.handlers import Handler, name_of
from ..model.policy import NO_POLICY

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import JobHandle


class HandlerRegistry:
    """The handlers by name, and the queued jobs whose handler is not registered yet.

    Relies on: the queue's mutex, held by the caller of every method but `__init__`.

    Args:
        default: the handler of jobs that name none.
        make: makes a handler of a function, for the place where handlers run (threads or
            processes). Raises as `Handler` does, and `ValueError` if a process could not import it
            by name.
    """

    def __init__(
        self,
        default: Callable[..., object] | None,
        make: Callable[[Callable[..., object]], Handler] = Handler,
    ) -> None:
        self.make = make
        self.default = None if default is None else self.make(default)
        self._handlers: dict[str | None, Handler] = {}
        if self.default is not None:
            self._handlers[None] = self.default
        self.find: Callable[[str | None], Handler | None] = self._handlers.get
        """The handler of this name."""
        self._parked: dict[str | None, dict[JobHandle, None]] = {}

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
        """Add a handler, or put it in the place of another."""
        self._handlers[name] = handler

    def parked_under(self, name: str) -> list[JobHandle]:
        """The jobs that wait for this name."""
        return list(self._parked.get(name, ()))

    def park(self, handle: JobHandle, now: float) -> bool:
        """Keep a job until its handler is registered; `True` for the first of its name."""
        name = handle._job._handler
        is_first = name not in self._parked
        jobs = self._parked.setdefault(name, {})
        handle._since = now  # one step
        jobs[handle] = None
        return is_first

    def unpark(self, handle: JobHandle) -> bool:
        """Take out a job, which then has not arrived any more; `False` if it was not parked."""
        jobs = self._parked.get(handle._job._handler, {})
        if handle not in jobs:
            return False
        del jobs[handle]  # one step
        handle._since = NOT_ARRIVED
        return True

    @property
    def parked_count(self) -> int:
        """How many jobs wait for a handler."""
        return sum(len(jobs) for jobs in self._parked.values())

    def parked(self) -> list[JobHandle]:
        """All parked jobs."""
        return [handle for jobs in self._parked.values() for handle in jobs]

    def missing(self) -> list[str]:
        """The names that jobs wait for."""
        names = (name for name, jobs in self._parked.items() if jobs)
        return sorted("(default)" if name is None else name for name in names)
