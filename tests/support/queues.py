"""Queues of the final tier for tests: over each kind of store, and closed when a test ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import Config, Job, JobContext, JobHandle, JobQueue, Priority, Status
from jobqueue.final.testing import ManualClock
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.maintenance.snapshot import compact
from jobqueue.final.wal.names import list_log
from tests.support.handlers import Blocker
from tests.support.waiting import PATIENCE, eventually

from . import insides

LOGS = ("async", "write", "fsync")
STORES = ("memory", *LOGS)

# For the one test of each kind of change that runs at all levels; `tests/final/test_model.py` takes
# their combinations through all of them. Other tests run at one.
every_store = pytest.mark.parametrize("store", STORES, indirect=True)
every_log = pytest.mark.parametrize("log_store", LOGS, indirect=True)


class Store:
    """Where the queues of one test keep their jobs, and what is to be closed with it.

    Attributes:
        kind: "memory", or the durability of the log.
        path: the log's directory, if there is one; every `open` uses the same.
        queues: those that were opened, the latest last.
    """

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind = kind
        self.path = directory / "jobs.db"
        self.queues: list[JobQueue] = []
        self._blockers: list[Blocker] = []

    def config(self, **settings: Any) -> Config:
        """Settings for this store; the rest at its defaults, but for exact backoff."""
        settings.setdefault("jitter", 0)
        if self.kind != "memory":
            settings = {"persist_path": self.path, "durability": self.kind} | settings
        return Config(**settings)

    def open(
        self,
        handler: Callable[..., object] | None = None,
        *,
        handlers: Mapping[str, Callable[..., object]] | None = None,
        start: bool = True,
        clock: ManualClock | None = None,
        **settings: Any,
    ) -> JobQueue:
        """A queue over this store; `settings` are those of `Config`."""
        jq = JobQueue(
            self.config(**settings), handler=handler, handlers=handlers, start=start, clock=clock
        )
        self.queues.append(jq)
        return jq

    def compact(self) -> None:
        """Put a snapshot in the place of all that was written so far; no queue is open."""
        self.open(len, start=False).close()  # so that another segment follows
        files, directory = Files(), str(self.path)
        last = list_log(files, directory).files[-2].number
        assert compact(files, directory, last, 100_000).files

    def close(self) -> None:
        """Let the handlers go and close the queues, leaving what waits."""
        for blocker in self._blockers:
            blocker.gate.set()
        for jq in self.queues:
            jq.close(PATIENCE, drain=False)

    def blocker(self, error: BaseException | None = None) -> Blocker:
        """A handler that is held on to until its gate is set: at the test's end at the latest."""
        blocker = Blocker(error)
        self.keep(blocker)
        return blocker

    def keep(self, blocker: Blocker) -> None:
        """Set the gate of a blocker at the test's end at the latest."""
        self._blockers.append(blocker)


class Attempts:
    """A handler that notes its attempts and does what it was told to in each.

    Args:
        outcomes: for each attempt an exception to raise, or what to return; the last one holds
            for all further attempts.
        clock: where it reads the time of each attempt.

    Attributes:
        times: when each attempt began, by the clock.
        contexts: the context of each attempt.
    """

    def __init__(self, *outcomes: object, clock: ManualClock | None = None) -> None:
        self.times: list[float] = []
        self.contexts: list[JobContext] = []
        self._outcomes = outcomes or (None,)
        self._clock = clock

    def __call__(self, payload: bytes, context: JobContext) -> object:
        number = len(self.contexts)
        self.contexts.append(context)
        if self._clock is not None:
            self.times.append(self._clock.monotonic())
        outcome = self._outcomes[min(number, len(self._outcomes) - 1)]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def until(handle: JobHandle, status: Status) -> JobHandle:
    """Wait until a job has a status that it will keep until the test does something."""
    assert eventually(lambda: handle.status is status)
    return handle


def until_retried(jq: JobQueue, id: str, times: int) -> None:
    """Wait until a job has failed so many times and waits for its next attempt, or was given up."""
    assert eventually(lambda: jq.info(id).retries == times)


def fill(jq: JobQueue, count: int, priority: Priority = Priority.MEDIUM) -> list[JobHandle]:
    """Enqueue so many jobs, which must not block."""
    return [jq.enqueue(Job(priority=priority), timeout=0) for _ in range(count)]


def until_blocked(jq: JobQueue, count: int = 1, priority: Priority = Priority.MEDIUM) -> None:
    """Wait until so many producers are blocked on a full lane."""
    assert eventually(lambda: len(insides.producers(jq, priority)) == count)
