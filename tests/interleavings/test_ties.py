"""Jobs that are tied to others, to a limit or to a time, in any order of the threads' steps."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from jobqueue.final import (
    Config,
    DuplicateJobError,
    Job,
    JobContext,
    JobQueue,
    Limit,
    RejectJobError,
    Status,
    Unique,
    UnknownJobError,
)
from jobqueue.final.life import recovery
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.disk_tree import Tree
from tests.support.interleavings import explore, join, start
from tests.support.recording_files import EMPTY_DISK, LOG, RecordingFiles

pytestmark = pytest.mark.slow

Store = Literal["memory", "async", "write"]
STORES: tuple[Store, ...] = ("memory", "async", "write")


class Queue:
    """A queue with room for two jobs, and what its handler saw."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        store: Store = "memory",
        *,
        workers: int = 2,
        start: bool = True,
        clock: ManualClock | None = None,
        error: Exception | None = None,
    ) -> None:
        options: dict[str, Any] = {}
        if store != "memory":
            files = RecordingFiles(Tree(EMPTY_DISK), maps=store == "write", sync_seconds=0)
            patch.setattr(recovery, "Files", lambda: files)
            options = {"persist_path": LOG, "durability": store}
        self._config = Config(num_workers=workers, queue_size=2, jitter=0, **options)
        self._error = error
        self.ran: list[str] = []
        self.refused: list[str] = []
        self.jq = JobQueue(self._config, handler=self.handle, start=start, clock=clock)

    def handle(self, payload: bytes, context: JobContext) -> None:
        if payload == b"child":
            try:
                context.enqueue(Job(b"as a child", id="x"))
            except DuplicateJobError:
                self.refused.append("child")
        if payload == b"fails":
            raise RejectJobError("never")
        with insides.mutex(self.jq):
            self.ran.append(context.job.id)

    def finish(self) -> dict[str, Status]:
        """Run all that is there, and tell how each job has ended, before and after a restart."""
        self.jq.start()
        self.jq.close(drain=True)
        there = self._statuses(self.jq)
        if self._config.persist_path is not None:
            again = JobQueue(self._config, handler=self.handle, start=False)
            assert self._statuses(again) == there
            again.close()
        return there

    @staticmethod
    def _statuses(jq: JobQueue) -> dict[str, Status]:
        known = insides.status_map(jq)
        statuses = {job_id: record.status for job_id, record in known.finished.items()}
        statuses |= dict.fromkeys(known.dead, Status.FAILED)
        return statuses | {i: insides.recorded_status(each) for i, each in known.live.items()}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("on_conflict", ["existing", "raise", "replace"])
def test_of_jobs_that_are_alike_one_is_there(
    on_conflict: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    unique = Unique(on_conflict=on_conflict)

    def model() -> None:
        queue = Queue(monkeypatch, store, start=False)
        new: list[str] = []

        def enqueue(name: str) -> None:
            try:
                handle = queue.jq.enqueue(Job(id=name, key="k", unique=unique))
            except DuplicateJobError:
                return
            assert handle.existing == (handle.id != name)
            if not handle.existing:
                new.append(name)

        join(start(*[lambda name=name: enqueue(name) for name in "abc"]))
        statuses = queue.finish()
        assert set(statuses) == set(new)
        assert len(queue.ran) == 1
        assert len(new) == (3 if on_conflict == "replace" else 1)
        assert [*statuses.values()].count(Status.COMPLETED) == 1

    explore(model, orders=60)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("end", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_a_job_that_is_accepted_as_the_one_before_it_ends_does_what_that_one_asks_for(
    end: Status, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model() -> None:
        queue = Queue(monkeypatch, store, start=False)
        payload = b"fails" if end is Status.FAILED else b""
        queue.jq.enqueue(Job(payload, id="before"))
        ends = queue.jq.start
        if end is Status.CANCELLED:
            ends = lambda: queue.jq.cancel("before")  # type: ignore[assignment]  # noqa: E731
        callers = start(
            ends,
            lambda: queue.jq.enqueue(Job(id="after", after=["before"])),
        )
        join(callers)
        if end is not Status.CANCELLED:
            queue.jq.handle("after").wait()
        statuses = queue.finish()
        assert statuses["before"] is end
        expected = Status.COMPLETED if end is Status.COMPLETED else Status.CANCELLED
        assert statuses["after"] is expected
        assert queue.ran == (["before", "after"] if end is Status.COMPLETED else [])

    explore(model, orders=60)


@pytest.mark.parametrize("keyed", [False, True])
def test_the_place_of_the_first_in_line_that_is_cancelled_goes_to_the_next(
    keyed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model() -> None:
        queue = Queue(monkeypatch)
        at_once: list[str] = []

        def one_at_a_time(_payload: bytes, context: JobContext) -> None:
            with insides.mutex(queue.jq):
                at_once.append(context.job.id)
                assert len(at_once) == 1
            with insides.mutex(queue.jq):
                at_once.clear()
                queue.ran.append(context.job.id)

        queue.jq.register("one", one_at_a_time, limit=Limit(1, per_key=keyed))
        handles = queue.jq.enqueue_many(
            [Job(id=name, handler="one", key="k" if keyed else None) for name in "ab"]
        )
        callers = start(
            lambda: queue.jq.cancel("b"),
            lambda: queue.jq.enqueue(Job(id="c", handler="one", key="k")),
        )
        join(callers)
        assert all(handle.wait() for handle in handles)
        statuses = queue.finish()
        assert statuses["a"] is statuses["c"] is Status.COMPLETED
        assert ("b" in queue.ran) or statuses["b"] is Status.CANCELLED
        assert sorted({*queue.ran, "b"}) == ["a", "b", "c"]
        assert len(queue.ran) == len(set(queue.ran))

    explore(model)


@pytest.mark.parametrize("store", STORES)
def test_a_job_that_expires_as_a_worker_takes_it_runs_or_is_cancelled(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model() -> None:
        clock = ManualClock(1000.0)
        queue = Queue(monkeypatch, store, start=False, clock=clock)
        queue.jq.enqueue(Job(id="a", expires=1))
        queue.jq.enqueue(Job(id="b", after=["a"]))
        join(start(queue.jq.start, lambda: clock.advance(1)))
        queue.jq.handle("b").wait()
        statuses = queue.finish()
        assert statuses["a"] is statuses["b"]
        assert queue.ran == (["a", "b"] if statuses["a"] is Status.COMPLETED else [])
        assert queue.jq.metrics().expired == (statuses["a"] is Status.CANCELLED)

    explore(model, orders=60)


@pytest.mark.parametrize("store", STORES)
def test_an_id_that_a_handler_and_a_caller_want_goes_to_one_of_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model() -> None:
        queue = Queue(monkeypatch, store)

        def call() -> None:
            try:
                queue.jq.enqueue(Job(b"as a caller's", id="x"))
            except DuplicateJobError:
                queue.refused.append("caller")

        join(start(lambda: queue.jq.enqueue(Job(b"child", id="parent")), call))
        statuses = queue.finish()
        assert len(queue.refused) == 1
        assert statuses == {"parent": Status.COMPLETED, "x": Status.COMPLETED}
        assert sorted(queue.ran) == ["parent", "x"]

    explore(model, orders=60)


def test_a_job_from_a_job_may_be_waited_for_or_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def model() -> None:
        queue = Queue(monkeypatch, workers=1)

        def enqueue_after() -> None:
            try:
                queue.jq.enqueue(Job(id="after", after=["x"]))
            except UnknownJobError:
                queue.refused.append("after")

        join(start(lambda: queue.jq.enqueue(Job(b"child", id="parent")), enqueue_after))
        statuses = queue.finish()
        after = [] if queue.refused else ["after"]
        assert queue.ran == ["parent", "x", *after]
        assert set(statuses.values()) == {Status.COMPLETED}

    explore(model)
