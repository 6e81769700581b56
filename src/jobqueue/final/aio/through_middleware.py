"""Awaited calls through middleware that overrides `enqueue`: in threads, a few at a time.

Such middleware is plain code of the user's, around a call that may wait for room, so a coroutine
cannot run it. Two simple ways do not work:

- The loop's default pool of threads. Calls that wait for room take all of it, and the handlers that
  are to make room may wait for a thread of it (`asyncio.to_thread`).
- A pool of the queue's own with one line for all. Calls for a full lane would hold up those for
  another. A handler's call would stand behind calls that wait for the room that it is to make.

So a call waits only behind those that may wait for room in the same lanes, and a handler's call,
which never waits for room, only behind those of other handlers. It waits as a coroutine.

Guarantees: as `callers.admission`. Once a cancelled call has raised `CancelledError`, its job is
accepted or it never will be; while it waited for room, or for its thread, it is not.
Relies on: the loop's thread, on which coroutines run; several loops may use one queue.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Generic, TypeVar

from ..callers.room_wait import no_room
from ..model.job import listed_jobs
from ..runtime.clock import SystemClock
from .from_thread import call_for
from .threads import Gate, KeptThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..callers.through_middleware import AdmissionThroughMiddleware
    from ..core.seats import Seats
    from ..exact import Seconds
    from ..model.handle import JobHandle
    from ..model.job import Job, Priority

    Lanes = frozenset[Priority] | None

T = TypeVar("T")

AT_ONCE = 4
"""How many calls that wait for the same lanes have a thread at a time."""
LOOK_SECONDS = 0.02
"""How often a call that is out of time looks whether it is room that it waits for."""


class CallsThroughMiddleware:
    """The calls of one queue. All methods are called on the thread of a running loop.

    Args:
        at_end: has a function called when the queue ends its threads.
    """

    def __init__(
        self,
        admission: AdmissionThroughMiddleware,
        seats: Seats,
        at_end: Callable[[Callable[[], None]], None],
    ) -> None:
        self._admission = admission
        self._seats = seats
        self._threads = KeptThreads("jobqueue-call")
        self._gates: dict[Lanes, Gate] = {}
        at_end(self._threads.stop)

    async def enqueue(self, job: Job, timeout: float | None, delay: float) -> JobHandle:
        """See `JobQueue.aenqueue`."""
        admission = self._admission
        admission.check(job)

        def enqueue(left: float | None, given_up: threading.Event) -> JobHandle:
            return admission.enqueue_unless(job, left, delay, given_up)

        return await self._run(enqueue, [] if delay else [job], timeout)

    async def enqueue_many(self, jobs: Iterable[Job], timeout: float | None) -> list[JobHandle]:
        """See `JobQueue.aenqueue_many`."""
        admission, listed = self._admission, listed_jobs(jobs)
        for job in listed:
            admission.check(job)

        def enqueue_many(left: float | None, given_up: threading.Event) -> list[JobHandle]:
            return admission.enqueue_many(listed, left, given_up)

        return await self._run(enqueue_many, listed, timeout)

    async def enqueue_together(
        self, jobs: Iterable[Job], delays: Iterable[Seconds] | None, timeout: float | None
    ) -> list[JobHandle]:
        """See `JobQueue.aenqueue_together`."""
        admission, group = self._admission, self._admission.group_of(jobs, delays)

        def enqueue_together(left: float | None, given_up: threading.Event) -> list[JobHandle]:
            return admission.enqueue_together(group.jobs, group.delays, left, given_up)

        return await self._run(enqueue_together, group.jobs, timeout)

    async def _run(
        self,
        function: Callable[[float | None, threading.Event], T],
        jobs: list[Job],
        timeout: float | None,
    ) -> T:
        """Have a thread call a function with the seconds that are left, and what gives it up.

        Args:
            jobs: those that may wait for room.
        """
        is_handlers = self._seats.current() is not None
        if is_handlers:
            jobs = []
        gate = self._gate(None if is_handlers else frozenset(job._priority for job in jobs))
        call = _Call(function, self._seats, timeout)
        gate.run(call)
        try:
            await self._await_in_time(call, gate, jobs, timeout)
        except asyncio.CancelledError:
            call.given_up.set()
            # guard: a cancelled call waits until its thread has given up
            if not gate.take_back(call):
                await call.outlast()
            raise
        finally:
            call.given_up.set()  # in case the loop is gone
        return call.ended.result()

    def _gate(self, lanes: Lanes) -> Gate:
        gate = self._gates.get(lanes)
        # Of two threads' gates the first stays.
        return gate or self._gates.setdefault(lanes, Gate(self._threads, AT_ONCE))

    async def _await_in_time(
        self, call: _Call[T], gate: Gate, jobs: list[Job], timeout: float | None
    ) -> None:
        """Wait for the call's end.

        Raises:
            EnqueueTimeoutError: it was still in line, for there was no room, when the time was up.
        """
        left = timeout
        while not (await asyncio.wait([call.ended], timeout=left))[0]:
            if call.has_begun:
                left = None  # it looks at the time itself
                continue
            held_up = self._admission.first_held_up(jobs)
            if held_up is not None and gate.take_back(call):
                raise no_room(*held_up, timeout)
            left = LOOK_SECONDS


class _Call(Generic[T]):
    """One call that a thread carries out for a coroutine, in the coroutine's context.

    Attributes:
        ended: its end, with what it returned or raised.
        given_up: set when nobody wants it any more.
        has_begun: whether a thread is at it.
    """

    def __init__(
        self,
        function: Callable[[float | None, threading.Event], T],
        seats: Seats,
        timeout: float | None,
    ) -> None:
        self.ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.given_up = threading.Event()
        self.has_begun = False
        self._function = function
        self._deadline = None if timeout is None else SystemClock.monotonic() + timeout
        self._seats, self._seat = seats, seats.current()
        self._context = copy_context()

    def __call__(self) -> None:
        """On the thread; raises nothing."""
        self.has_begun = True
        left = None
        if self._deadline is not None:
            left = max(0.0, self._deadline - SystemClock.monotonic())
        # guard: a handler's call counts as the handler's on its thread
        self._seats.sit(self._seat)
        call_for(self.ended, lambda: self._context.run(self._function, left, self.given_up))
        self._seats.sit(None)

    async def outlast(self) -> None:
        """Wait for the end, however often this is cancelled; how it ended is of no account."""
        while not self.ended.done():
            try:
                await asyncio.wait([self.ended])
            except asyncio.CancelledError:
                pass  # the caller raises it
        self.ended.exception()  # so that asyncio does not warn that nobody looked
