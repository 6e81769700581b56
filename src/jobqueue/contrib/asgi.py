"""ASGI applications (FastAPI, Starlette, Litestar and others): a queue for as long as they serve.

    from jobqueue.contrib.asgi import JobQueueDep, lifespan

    app = FastAPI(lifespan=lifespan(tasks, Config(persist_path="shop.jobs")))

A server runs a lifespan in the process that answers requests, after all forks: in each worker, and
never in the parent of a reloader or of gunicorn. It ends after the last request was answered.

All of it runs on the application's loop; what may wait is done in a thread.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from ..final import JobQueue
from ..tasks import QueueNotOpenError, Tasks
from .mounting import mounted
from .opening import check_dashboard, suited

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Annotated, TypeAlias

    from ..final.ports import Opener
    from ..web.security import AccessCheck

    Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]
    JobQueueDep: TypeAlias = Annotated[JobQueue, "a FastAPI dependency"]

__all__ = ["JobQueueDep", "lifespan"]

STATE = "jobqueue"
"""The queue's name in the application's state, and in that of its lifespan."""


def lifespan(
    tasks: Tasks,
    config: Opener | None = None,
    *,
    web: str | None = None,
    access: AccessCheck | None = None,
) -> Lifespan:
    """A lifespan that opens a queue for these tasks, and closes it after the last request.

    Give it to the application: `FastAPI(lifespan=lifespan(tasks, config))`, the same for Starlette,
    and `Litestar(lifespan=[lifespan(tasks, config)])`. In a lifespan of your own write
    `async with lifespan(tasks, config)(app): yield`.

    Coroutine tasks run on the application's loop, with its clients and pools; others in threads.
    Closing finishes what is running, up to `shutdown_timeout`, and leaves the rest in the log.
    If a queue is open for the tasks already, as one that a test has bound to them, the application
    uses that, and leaves it open.
    While it is open the queue is `request.state.jobqueue` or `app.state.jobqueue`, for frameworks
    that have these; in FastAPI have it by `JobQueueDep`.

    Args:
        tasks: the tasks; they are bound to the queue, so `await task.aenqueue(...)` works.
        config: its settings. If `executor` is not given and one of the tasks is a coroutine
            function, it is "asyncio".
        web: the dashboard's path, as "/jobs": it is mounted there while the queue is open. It needs
            the extra `web`, and an application of Starlette, FastAPI or Litestar.
        access: who may use it, as for `jobqueue.web.dashboard`; has to be given with `web`.

    Raises:
        TypeError, ValueError: an argument is of another kind, or cannot be.
        ImportError: what the dashboard is made with is not installed.
    """
    if not isinstance(tasks, Tasks):
        raise TypeError(f"lifespan() takes Tasks, as in lifespan(tasks, config), not {tasks!r}")
    is_class = isinstance(config, type)
    if config is not None and (is_class or not callable(getattr(config, "open", None))):
        raise TypeError(f"lifespan() takes a Config or None behind the tasks, not {config!r}")
    path = check_dashboard(web, access)

    @asynccontextmanager
    async def opened(app: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with _bound(tasks) or await _open(
            tasks, suited(config, tasks, on_loop=True)
        ) as queue:
            state = getattr(app, "state", None)  # other ASGI applications have none
            if state is not None:
                setattr(state, STATE, queue)
            with nullcontext() if path is None else mounted(app, path, queue, access):
                yield {STATE: queue}

    return opened


def _bound(tasks: Tasks) -> AbstractAsyncContextManager[JobQueue] | None:
    """The queue that is open for the tasks already, as in a test; who has opened it closes it."""
    try:
        return nullcontext(tasks.queue)
    except QueueNotOpenError:
        return None


async def _open(tasks: Tasks, config: Opener) -> JobQueue:
    """Open it in a thread, for a log is read; if this is cancelled meanwhile, close it again."""
    opening = asyncio.ensure_future(asyncio.to_thread(tasks.open, config))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError as cancelled:
        await asyncio.wait((opening,))
        error = opening.exception()
        if error is None:
            await opening.result().aclose(0, drain=False)
        else:  # nothing is to be closed, and the cancellation goes on
            cancelled.add_note(f"the queue could not be opened either: {error!r}")
        raise


def __getattr__(name: str) -> object:
    """`JobQueueDep`, made at its first use: Starlette and Litestar do without FastAPI."""
    if name != "JobQueueDep":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = _dependency()
    globals()[name] = made
    return made


def _dependency() -> object:
    """What FastAPI fills a parameter `queue: JobQueueDep` with: the application's queue."""
    from typing import Annotated

    from fastapi import Depends
    from fastapi.requests import HTTPConnection

    async def queue_of(connection: Any) -> JobQueue:
        queue = getattr(connection.app.state, STATE, None)
        if queue is None:  # an application within another has the lifespan's state alone
            queue = getattr(connection.state, STATE, None)
        if not isinstance(queue, JobQueue):
            raise RuntimeError(
                "JobQueueDep finds no queue in this application; write "
                "FastAPI(lifespan=jobqueue.contrib.asgi.lifespan(tasks, config)), and in a test "
                "client use it as a context manager"
            )
        return queue

    # Told here, not in the signature: FastAPI would look for the name in this module.
    queue_of.__annotations__ = {"connection": HTTPConnection, "return": JobQueue}
    return Annotated[JobQueue, Depends(queue_of)]
