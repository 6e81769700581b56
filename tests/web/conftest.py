"""What the tests of the dashboard have in common: a queue, and who asks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra 'web'")
pytest.importorskip("jinja2", reason="needs the extra 'web'")
pytest.importorskip("uvicorn", reason="needs the extra 'web'")
pytest.importorskip("httpx", reason="needs httpx")

from jobqueue import Config, Job, JobContext, JobQueue, RejectJobError
from jobqueue.web import Dashboard, dashboard
from tests.support.asgi_client import AsgiClient

Open = Callable[..., AsgiClient]


def fail(payload: bytes) -> None:
    raise ValueError(payload.decode())


def reject(_: bytes) -> None:
    raise RejectJobError("no such customer")


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    logging.getLogger("jobqueue").setLevel(logging.CRITICAL)
    released = threading.Event()

    def wait(_: bytes, context: JobContext) -> None:
        context.progress(3, 4, "most of it")
        while not context.cancelled and not released.wait(0.01):
            pass

    handlers: dict[str, Callable[..., object]] = {
        "fail": fail,
        "reject": reject,
        "length": len,
        "wait": wait,
    }
    with JobQueue(Config(num_workers=2, max_retries=0), handlers=handlers) as made:
        yield made
        released.set()
        made.resume()
    logging.getLogger("jobqueue").setLevel(logging.NOTSET)


@pytest.fixture
def opened(queue: JobQueue) -> Iterator[Open]:
    """Opens the queue's dashboard: `opened(access=...)`, by default with everything allowed."""
    made: list[tuple[Dashboard, AsgiClient]] = []

    def open_dashboard(level: str = "write", **options: Any) -> AsgiClient:
        options.setdefault("access", lambda _: level)
        pages = dashboard(options.pop("queue", queue), **options)
        client = AsgiClient(pages)
        made.append((pages, client))
        return client

    yield open_dashboard
    for pages, client in made:
        pages.close()
        client.__exit__(None, None, None)


@pytest.fixture
def client(opened: Open) -> AsgiClient:
    return opened()


def failed(queue: JobQueue, *ids: str, handler: str = "fail", payload: bytes = b"boom") -> None:
    """Have jobs of these ids fail for good."""
    for each in ids:
        queue.enqueue(Job(payload, id=each, handler=handler))
    queue.join()
