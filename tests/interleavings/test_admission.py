"""Producers that wait for room, against workers, cancellation and `close`, in any order."""

from __future__ import annotations

import threading

import pytest

from jobqueue.final import (
    Config,
    DuplicateJobError,
    EnqueueCancelledError,
    Job,
    JobQueue,
    QueueClosedError,
    ShutdownReport,
)
from tests.support import insides
from tests.support.interleavings import explore, join, start

pytestmark = pytest.mark.slow


class Queue:
    """A queue in memory with room for one job, and what its callers and handler saw."""

    def __init__(self, *, workers: int = 1, start: bool = True) -> None:
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.ran: list[str] = []
        self.least_room = 1
        config = Config(num_workers=workers, queue_size=1)
        self.jq = JobQueue(config, handler=self._handle, start=start)
        self.lane = insides.scheduler(self.jq).medium

    def _handle(self, payload: bytes) -> None:
        with insides.mutex(self.jq):
            self.least_room = min(self.least_room, self.lane.room, 1 - len(self.lane.queue))
            self.ran.append(payload.decode())

    def enqueue(self, *names: str, cancel: threading.Event | None = None) -> None:
        for name in names:
            try:
                self.jq.enqueue(Job(name.encode(), id=name), cancel=cancel)
            except (DuplicateJobError, EnqueueCancelledError, QueueClosedError):
                self.refused.append(name)
            else:
                self.accepted.append(name)

    def enqueue_many(self, *names: str) -> None:
        try:
            handles = self.jq.enqueue_many([Job(name.encode(), id=name) for name in names])
        except QueueClosedError as error:
            handles = list(error.accepted)
        self.accepted += [handle.id for handle in handles]
        self.refused += names[len(handles) :]


def test_every_producer_gets_its_turn_and_every_job_runs_once() -> None:
    def model() -> None:
        queue = Queue(workers=2)
        producers = start(
            lambda: queue.enqueue("a", "b"),
            lambda: queue.enqueue("c"),
            lambda: queue.enqueue_many("d", "e"),
        )
        join(producers)
        report = queue.jq.close()
        assert report.remaining == 0
        assert sorted(queue.ran) == sorted(queue.accepted) == ["a", "b", "c", "d", "e"]
        assert queue.least_room >= 0
        assert queue.lane.room == 1
        assert not queue.lane.producers

    explore(model)


@pytest.mark.parametrize("drain", [True, False])
def test_a_producer_that_close_finds_blocked_has_its_job_accepted_or_is_refused(
    drain: bool,
) -> None:
    def model() -> None:
        queue = Queue()
        reports: list[ShutdownReport] = []
        callers = start(
            lambda: queue.enqueue("a", "b"),
            lambda: queue.enqueue_many("c", "d"),
            lambda: reports.append(queue.jq.close(drain=drain)),
        )
        join(callers)
        assert sorted(queue.accepted + queue.refused) == ["a", "b", "c", "d"]
        assert len(queue.ran) == len(set(queue.ran))
        assert set(queue.ran) <= set(queue.accepted)
        if drain:
            assert sorted(queue.ran) == sorted(queue.accepted)
        assert reports[0].remaining == len(queue.accepted) - len(queue.ran)
        assert reports[0].unfinished == ()

    explore(model)


def test_a_producer_that_is_refused_in_its_turn_passes_it_on() -> None:
    def model() -> None:
        queue = Queue(start=False)
        queue.enqueue("held")
        producers = start(
            lambda: queue.enqueue("twin"),
            lambda: queue.enqueue("twin"),
            lambda: queue.enqueue("other"),
            queue.jq.start,
        )
        join(producers)
        queue.jq.close()
        assert queue.refused == ["twin"]
        assert sorted(queue.ran) == ["held", "other", "twin"]

    explore(model)


def test_a_producer_that_is_cancelled_is_accepted_or_leaves_the_line_to_the_others() -> None:
    def model() -> None:
        queue = Queue(start=False)
        queue.enqueue("held")
        leave = threading.Event()
        callers = start(
            lambda: queue.enqueue("leaves", cancel=leave),
            lambda: queue.enqueue("stays"),
            leave.set,
            queue.jq.start,
        )
        join(callers)
        queue.jq.close()
        assert "stays" in queue.accepted
        assert sorted(queue.ran) == sorted(queue.accepted)

    explore(model)
