"""Mounts the dashboard in an application, while its queue is open.

ASGI: a route is added to the application's own. WSGI: `a2wsgi` carries requests to the dashboard,
on an event loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from ..final import JobQueue
    from ..web import Dashboard
    from ..web.security import AccessCheck

    StartResponse = Callable[..., Any]
    WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


@contextmanager
def mounted(
    app: Any, path: str, queue: JobQueue, access: AccessCheck | None
) -> Iterator[Dashboard]:
    """The dashboard of a queue under a path of an ASGI application. On the application's loop.

    Raises:
        TypeError: it is no application of Starlette, FastAPI or Litestar.
    """
    from ..web import dashboard

    pages = dashboard(queue, access=access)
    try:
        if hasattr(app, "route_handler_method_map"):
            _mount_in_litestar(app, path, pages)
            yield pages
            return
        routes = getattr(getattr(app, "router", None), "routes", None)
        if not isinstance(routes, list):
            raise TypeError(
                f"the dashboard can be mounted by lifespan(web=...) in applications of Starlette, "
                f"FastAPI and Litestar, not in {app!r}; mount jobqueue.web.dashboard(queue) in it"
            )
        added = _routes(path, pages)
        routes[:0] = added  # before a route that takes every path
        try:
            yield pages
        finally:
            for each in added:
                routes.remove(each)
    finally:
        pages.close()


def _routes(path: str, pages: Dashboard) -> list[Any]:
    """The routes of Starlette for the dashboard, and for its path without a slash at the end."""
    from starlette.responses import RedirectResponse
    from starlette.routing import Mount, Route

    async def with_slash(_request: Any) -> RedirectResponse:
        return RedirectResponse(path.rpartition("/")[2] + "/")

    return [Route(path, with_slash, include_in_schema=False), Mount(path, app=pages)]


def _mount_in_litestar(app: Any, path: str, pages: Dashboard) -> None:
    """A route of Litestar stays, so it is made once, and leads to the dashboard that is open."""
    held: dict[str, Dashboard] = app.state.setdefault("jobqueue_dashboards", {})
    is_new = path not in held
    held[path] = pages
    if not is_new:
        return
    from litestar import asgi

    @asgi(path, is_mount=True, copy_scope=True)
    async def jobqueue_dashboard(scope: Any, receive: Any, send: Any) -> None:
        root = scope.get("root_path", "") + path
        # `path` has got another end, and of some servers this has the query, too.
        asked = unquote(scope["raw_path"].partition(b"?")[0].decode("latin-1"))
        inside = asked.removeprefix(scope.get("root_path", "")).removeprefix(path)
        await held[path]({**scope, "root_path": root, "path": root + inside}, receive, send)

    app.register(jobqueue_dashboard)


class WsgiDashboard:
    """A WSGI application with the dashboard under a path, and another one beside it. Thread-safe.

    Args:
        app: what answers all other requests.
        opened: gives the queue, which a request for the dashboard opens.
    """

    def __init__(
        self, app: WsgiApp, path: str, opened: Callable[[], JobQueue], access: AccessCheck | None
    ) -> None:
        self._app = app
        self._path = path
        self._opened = opened
        self._access = access
        self._lock = threading.Lock()  # held while the dashboard is made
        self._made: _Carried | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        path = environ.get("PATH_INFO", "")
        if path != self._path and not path.startswith(f"{self._path}/"):
            return self._app(environ, start_response)
        inside = {
            **environ,
            "SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + self._path,
            "PATH_INFO": path[len(self._path) :],
        }
        return self._dashboard().answer(inside, start_response)

    def _dashboard(self) -> _Carried:
        queue = self._opened()
        with self._lock:
            if self._made is None or self._made.queue is not queue:
                if self._made is not None:
                    self._made.close()
                self._made = _Carried(queue, self._access)
            return self._made

    def close(self) -> None:
        """End its threads."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made.close()

    def _forked(self) -> None:
        """In a forked child: the threads are the parent's, and the lock may have been held."""
        self._lock = threading.Lock()
        self._made = None


class _Carried:
    """A dashboard, and the loop on which it answers what WSGI brings."""

    def __init__(self, queue: JobQueue, access: AccessCheck | None) -> None:
        from a2wsgi import ASGIMiddleware

        from ..web import dashboard

        self.queue = queue
        self._pages = dashboard(queue, access=access)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="jobqueue-web-wsgi", daemon=True)
        self._thread.start()
        pages: Any = self._pages
        carried: Any = ASGIMiddleware(pages, loop=self._loop)
        self._answer: WsgiApp = carried

    def answer(
        self, environ: dict[str, Any], start_response: StartResponse
    ) -> Generator[bytes, None, None]:
        """Answer a request."""
        chunks = iter(self._answer(environ, start_response))
        try:
            while (chunk := next(chunks, None)) is not None:  # `yield from` would close them
                yield chunk
        finally:
            # A client that has left does not take the rest, and the page would wait for that.
            with suppress(RuntimeError):  # the loop has ended meanwhile, and the page with it
                for _ in chunks:
                    pass

    def _run(self) -> None:
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)  # of answers that a server did not take to their end
        for each in left:
            each.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left))
        self._loop.close()

    def close(self) -> None:
        """End its threads."""
        self._pages.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
