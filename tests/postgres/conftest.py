"""Queues on a database of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobqueue.final import JobQueue
from tests.support.waiting import PATIENCE


class Opened:
    """Opens queues on one database, and closes them at the test's end."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._queues: list[JobQueue] = []

    def __call__(self, handler: Any = None, **settings: Any) -> Any:
        """A queue; `settings` are those of `PostgresConfig`, and the arguments of its `open`."""
        from jobqueue.postgres import PostgresConfig

        arguments = {
            name: settings.pop(name)
            for name in ("handlers", "middleware", "start", "clock")
            if name in settings
        }
        settings = {"jitter": 0.0, "base_delay": 0.001} | settings
        queue = PostgresConfig(self.dsn, **settings).open(handler=handler, **arguments)
        self._queues.append(queue)
        return queue

    def close(self) -> None:
        for queue in self._queues:
            queue.close(PATIENCE)


@pytest.fixture
def opened(dsn: str) -> Iterator[Opened]:
    opened = Opened(dsn)
    yield opened
    opened.close()
