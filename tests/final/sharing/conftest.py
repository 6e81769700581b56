"""A shared queue in this process: an owner and its clients, over a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import Config, JobQueue
from tests.support.handlers import Blocker
from tests.support.waiting import PATIENCE

pytest.importorskip("msgspec", reason="what processes say to each other is written by msgspec")


class Sharing:
    """The queues of one test over one log, closed at its end: the clients first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queues: list[JobQueue] = []
        self._blockers: list[Blocker] = []

    def open(
        self, handler: Callable[..., object] | None = None, *, start: bool = True, **settings: Any
    ) -> JobQueue:
        """The first one is the owner, the others are clients."""
        fields: dict[str, Any] = {"persist_path": self.path, "share": "auto", "jitter": 0.0}
        jq = JobQueue(Config(**(fields | settings)), handler=handler, start=start)
        self._queues.append(jq)
        return jq

    def client(self, **settings: Any) -> JobQueue:
        """One that never becomes the owner."""
        return self.open(share="client", **settings)

    def blocker(self) -> Blocker:
        """A handler that is held until its gate is set: at the test's end at the latest."""
        blocker = Blocker()
        self._blockers.append(blocker)
        return blocker

    def close(self) -> None:
        for blocker in self._blockers:
            blocker.gate.set()
        for jq in reversed(self._queues):
            jq.close(PATIENCE, drain=False)


@pytest.fixture
def sharing(tmp_path: Path) -> Iterator[Sharing]:
    sharing = Sharing(tmp_path / "jobs")
    yield sharing
    sharing.close()
