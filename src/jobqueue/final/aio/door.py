"""The part of `JobQueue` that is awaited. asyncio is imported at the first such call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Generator, Iterable
    from types import TracebackType
    from typing import Self

    from ..callers.admission import Admission
    from ..callers.queries import Queries
    from ..core.placement import Placement
    from ..core.seats import Seats
    from ..exact import Seconds
    from ..model.handle import JobHandle
    from ..model.job import Job
    from ..model.shutdown_report import ShutdownReport
    from .calls import Calls


class AsyncDoor:
    """Calls for coroutines. Each may be awaited in any running loop, and holds none up."""

    _admission: Admission
    _queries: Queries
    _placement: Placement
    _seats: Seats
    _calls: Calls | None = None

    if TYPE_CHECKING:
        _starts_on_entry: bool

        def _use(self, loop: AbstractEventLoop) -> None: ...

        def _at_end(self, function: Callable[[], None]) -> None: ...

        def _refuse_handler(self) -> None: ...

        def _leave(self, error: BaseException | None, *, is_interrupted: bool) -> None: ...

        def _enter(self) -> None: ...

        def start(self) -> None:
            """See `JobQueue.start`."""

        def close(
            self, timeout: Seconds | None = None, *, drain: bool | None = None
        ) -> ShutdownReport:
            """See `JobQueue.close`."""

    def _awaited(self) -> Calls:
        self._enter()
        if self._calls is None:
            from .calls import Calls  # imported here: most queues do without asyncio

            self._calls = Calls(
                self._admission, self._queries, self._placement, self._seats, self._at_end
            )
        return self._calls

    async def aenqueue(
        self, job: Job, *, timeout: Seconds | None = None, delay: Seconds = 0.0
    ) -> JobHandle:
        """As `enqueue`, awaited. If it is cancelled while it waits for room, nothing is accepted.

        Middleware that overrides `enqueue` runs in a thread of the queue's own. There are a few;
        further calls wait for one as they wait for room. A call that is cancelled meanwhile raises
        `CancelledError` when its thread has given up, so when the middleware has come to an end.
        """
        return await self._awaited().enqueue(job, timeout, delay)

    async def aenqueue_many(
        self, jobs: Iterable[Job], *, timeout: Seconds | None = None
    ) -> list[JobHandle]:
        """As `enqueue_many`, awaited."""
        return await self._awaited().enqueue_many(jobs, timeout)

    async def aenqueue_together(
        self,
        jobs: Iterable[Job],
        *,
        delays: Iterable[Seconds] | None = None,
        timeout: Seconds | None = None,
    ) -> list[JobHandle]:
        """As `enqueue_together`, awaited. If it is cancelled while it waits, none is accepted."""
        return await self._awaited().enqueue_together(jobs, delays, timeout)

    async def ajoin(self, timeout: Seconds | None = None) -> bool:
        """As `join`, awaited."""
        return await self._awaited().join(timeout)

    async def aclose(
        self, timeout: Seconds | None = None, *, drain: bool | None = None
    ) -> ShutdownReport:
        """As `close`, awaited: in a thread, which goes on if this is cancelled."""
        from .from_thread import in_thread

        self._refuse_handler()
        return await in_thread(lambda: self.close(timeout, drain=drain))

    async def __aenter__(self) -> Self:
        import asyncio

        self._use(asyncio.get_running_loop())
        if self._starts_on_entry:
            self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import asyncio

        from .from_thread import in_thread

        self._refuse_handler()
        # To a coroutine Ctrl-C comes as a cancellation.
        ends = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)
        await in_thread(lambda: self._leave(error, is_interrupted=isinstance(error, ends)))

    def _result_of(self, handle: JobHandle[Any]) -> Generator[Any, None, Any]:
        """What `await handle` gives or raises."""
        from .calls import result_of

        self._enter()
        return result_of(handle, self._queries)
