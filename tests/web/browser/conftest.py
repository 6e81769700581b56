"""What the tests in a browser share: Chromium, and queues that it is shown.

The browser is a module's, and no more: while Playwright runs, its event loop is that of the thread
that tests run on, and a test of something else could not run one there.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("starlette", reason="the dashboard is made of it")
pytest.importorskip("playwright", reason="it drives the browser")

from playwright.sync_api import expect

from jobqueue.web import as_text, serve_dashboard
from jobqueue.web.demo import demonstration
from tests.support.browser import launched, visitor
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

    from jobqueue.final import JobQueue
    from jobqueue.web import DashboardServer
    from tests.support.browser import Visitor

    Visit = Callable[..., Visitor]
    Serve = Callable[..., DashboardServer]

# A page keeps what it was told for 400 times as long as that took to find out: on a busy machine
# it may be seconds until it shows what is new.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens an address; nothing may have gone wrong in the page by the test's end."""
    visitors: list[Visitor] = []
    with ExitStack() as stack:

        def open_at(url: str, **options: Any) -> Visitor:
            seen = stack.enter_context(visitor(browser, **options))
            visitors.append(seen)
            seen.page.goto(url)
            return seen

        yield open_at
        complaints = [each for seen in visitors for each in seen.complaints]
    assert complaints == []


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves a queue to somebody who may do all there is; ended with the test."""
    with ExitStack() as stack:

        def start(queue: JobQueue, access: str = "write") -> DashboardServer:
            server: DashboardServer = stack.enter_context(
                serve_dashboard(queue, port=0, access=lambda _: access, payload=as_text)  # type: ignore[arg-type, return-value]  # it is one of the words
            )
            return server

        yield start


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[JobQueue, str]]:
    """The demonstration, and where it is served."""
    logger = logging.getLogger("jobqueue")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it fails by the hundred
    try:
        with (
            demonstration() as queue,
            serve_dashboard(queue, port=0, access=lambda _: "write", payload=as_text) as server,
        ):
            # One attempt is past its time; the worker that stands in for it lives as long.
            eventually(lambda: queue.metrics().overrunning == 1)
            yield queue, server.url
    finally:
        logger.setLevel(level)
