"""A client of ASGI applications in the tests' own process, for tests that are no coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from tests.support.waiting import PATIENCE

T = TypeVar("T")

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


class AsgiClient:
    """Asks an application, on a loop of its own; within a `with` block its lifespan goes on."""

    def __init__(self, app: Any, root_path: str = "", host: str = "127.0.0.1") -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        transport = httpx.ASGITransport(app, root_path=root_path, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url=f"http://{host}")
        self._lifespan: Any = None

    def get(self, path: str, *, follow: bool = False, **options: Any) -> httpx.Response:
        """Ask for a page."""
        return self._run(self.client.get(path, follow_redirects=follow, **options))

    def post(self, path: str, data: Any = None, **options: Any) -> httpx.Response:
        """Send a form, from the same site unless other headers are given."""
        options.setdefault("headers", SAME_ORIGIN)
        return self._run(self.client.post(path, data=data or {}, **options))

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask in another way."""
        return self._run(self.client.request(method, path, **options))

    def _run(self, asked: Awaitable[T]) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(asked, PATIENCE))

    def __enter__(self) -> Self:
        router = getattr(self._app, "router", None)
        if router is not None:
            self._lifespan = router.lifespan_context(self._app)
            self._run(self._lifespan.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lifespan is not None:
            self._run(self._lifespan.__aexit__(None, None, None))
        self._run(self.client.aclose())
        self._run(self._loop.shutdown_default_executor())
        self._loop.close()
