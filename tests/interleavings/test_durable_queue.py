"""A whole queue with a log in memory: producers, workers, faults and `close`, in any order."""

from __future__ import annotations

import errno
from contextlib import nullcontext, suppress
from typing import Literal

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobQueue,
    JobQueueError,
    LogWriteError,
    QueueClosedError,
    Status,
)
from jobqueue.final.core.remembered import Finished
from jobqueue.final.life import recovery
from tests.support import insides
from tests.support.disk_tree import Tree
from tests.support.interleavings import explore, join, start
from tests.support.recording_files import EMPTY_DISK, LOG, RecordingFiles

pytestmark = pytest.mark.slow

Durability = Literal["async", "write", "fsync"]
WAYS = [("async", False), ("write", False), ("write", True), ("fsync", False)]
"""Levels of durability, and whether the log is written through a map."""


class Queue:
    """A queue with room for one job, its disk, and what its callers saw."""

    def __init__(
        self, patch: pytest.MonkeyPatch, durability: Durability, maps: bool, *, workers: int = 1
    ) -> None:
        self.files = RecordingFiles(Tree(EMPTY_DISK), maps=maps, sync_seconds=0)
        patch.setattr(recovery, "Files", lambda: self.files)
        self._config = Config(
            num_workers=workers, queue_size=1, persist_path=LOG, durability=durability, jitter=0
        )
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.told: list[object] = []
        self.ran: list[str] = []
        self.jq = JobQueue(self._config, handler=self._handle)

    def _handle(self, payload: bytes) -> None:
        self.ran.append(payload.decode())

    def enqueue(self, *names: str) -> None:
        for name in names:
            try:
                self.jq.enqueue(Job(name.encode(), id=name))
            except (LogWriteError, QueueClosedError):
                self.refused.append(name)
            else:
                self.accepted.append(name)

    def fail(self, method: str, number: int, *, for_ever: bool) -> None:
        """Have the next call of a method of the disk fail, or all from there on."""
        calls = 0

        def inject(called: str) -> int:
            nonlocal calls
            calls += called == method
            return number if called == method and (calls == 1 or for_ever) else 0

        self.files.inject = inject

    def flush(self) -> None:
        try:
            self.jq.flush()
        except LogWriteError as error:
            self.told.append(type(error))

    def join(self) -> None:
        try:
            self.told.append(self.jq.join())
        except JobQueueError as error:
            self.told.append(type(error))

    def after_restart(self) -> dict[str, Status]:
        """What the log tells of the jobs."""
        self.files.inject = None
        again = JobQueue(self._config, handler=self._handle, start=False)
        finished: dict[str, Finished] = insides.status_map(again).finished
        statuses = {name: record.status for name, record in finished.items()}
        statuses |= {
            name: insides.recorded_status(handle)
            for name, handle in insides.status_map(again).live.items()
        }
        again.close()
        return statuses


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize(("durability", "maps"), WAYS)
def test_what_was_accepted_before_close_has_run_or_is_there_after_a_restart(
    durability: Durability, maps: bool, drain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model() -> None:
        queue = Queue(monkeypatch, durability, maps)
        callers = start(
            lambda: queue.enqueue("a", "b"),
            lambda: queue.enqueue("c"),
            lambda: queue.jq.close(drain=drain),
        )
        join(callers)
        there = queue.after_restart()
        assert sorted(queue.accepted + queue.refused) == ["a", "b", "c"]
        assert set(there) == set(queue.accepted)
        assert {name for name in there if there[name] is Status.COMPLETED} == set(queue.ran)
        assert not drain or set(queue.ran) == set(queue.accepted)

    explore(model, orders=30)


@pytest.mark.parametrize(("durability", "maps"), WAYS)
def test_when_the_log_fails_all_are_told_and_nothing_that_was_fsynced_is_lost(
    durability: Durability, maps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model() -> None:
        queue = Queue(monkeypatch, durability, maps)
        queue.fail("sync", errno.EIO, for_ever=False)
        callers = start(
            lambda: queue.enqueue("a", "b"), lambda: queue.enqueue("c"), queue.flush, queue.join
        )
        join(callers)
        with suppress(LogWriteError) if durability == "async" else nullcontext():
            queue.jq.close()
        there = queue.after_restart()
        assert sorted(queue.accepted + queue.refused) == ["a", "b", "c"]
        assert set(queue.told) <= {LogWriteError, True}
        assert set(queue.ran) <= set(queue.accepted) | set(there)
        if durability == "fsync":  # the others promise no more than a power cut leaves
            assert set(there) >= set(queue.accepted)

    explore(model, orders=30)


@pytest.mark.parametrize(("durability", "maps"), WAYS)
def test_a_disk_that_is_full_for_once_refuses_whole_calls_and_loses_no_outcome(
    durability: Durability, maps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model() -> None:
        queue = Queue(monkeypatch, durability, maps)
        queue.fail("write", errno.ENOSPC, for_ever=False)
        callers = start(lambda: queue.enqueue("a", "b"), lambda: queue.enqueue("c"))
        join(callers)
        queue.jq.close(drain=True)
        there = queue.after_restart()
        assert set(there) == set(queue.accepted) == set(queue.ran)
        assert set(there.values()) <= {Status.COMPLETED}

    explore(model, orders=30)
