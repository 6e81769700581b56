"""Handlers that raise what ends threads elsewhere, or ask for what would never come."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobContext,
    JobQueue,
    QueueClosedError,
    Status,
)
from tests.support import insides
from tests.support.handlers import Blocker, in_thread
from tests.support.waiting import PATIENCE, eventually


class OwnError(BaseException):
    """Not even an Exception."""


# --- what handlers raise ------------------------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, OwnError])
def test_whatever_a_handler_raises_its_attempt_failed_and_its_worker_lives_on(
    error: type[BaseException],
) -> None:
    """Fault 18 of docs/reliability.md."""

    def handler(payload: bytes) -> int:
        if payload == b"raise":
            raise error("boom")
        return len(payload)

    with JobQueue(Config(num_workers=2, max_retries=1, base_delay=0), handler=handler) as jq:
        before = _workers()
        failed = [jq.enqueue(Job(b"raise", id=str(n))) for n in range(5)]
        for handle in failed:
            assert handle.wait(PATIENCE) is Status.FAILED
            assert jq.info(handle.id).retries == 1
            assert jq.info(handle.id).last_error == f"{error.__name__}: boom"

        assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3
        assert jq.metrics().workers.count == 2
        assert _workers() == before


def _workers() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name.startswith("jobqueue-worker")}


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_the_result_of_such_a_job_raises_the_same(error: type[BaseException]) -> None:
    def handler(_payload: bytes) -> None:
        raise error("boom")

    with JobQueue(Config(max_retries=0), handler=handler) as jq:
        handle = jq.enqueue(Job())

        with pytest.raises(error, match="boom"):
            handle.result(PATIENCE)


def test_a_job_whose_error_cannot_be_told_fails_like_any_other() -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    def handler(_payload: bytes) -> None:
        raise UnspeakableError

    with JobQueue(Config(max_retries=0), handler=handler) as jq:
        handle = jq.enqueue(Job())

        assert handle.wait(PATIENCE) is Status.FAILED
        assert "UnspeakableError" in str(jq.info(handle.id).last_error)
        assert jq.metrics().workers.count == 4


# --- what handlers ask for ----------------------------------------------------------------------


@pytest.fixture(params=["memory", "log"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path if request.param == "log" else None


def test_handlers_that_enqueue_on_their_own_full_queue_are_never_held_up(
    path: Path | None,
) -> None:
    """Fault 20 of docs/reliability.md."""
    inside = threading.Barrier(3)

    def handler(payload: bytes) -> None:
        if payload == b"enqueues":
            inside.wait(PATIENCE)
            inside.wait(PATIENCE)
            for _ in range(3):
                jq.enqueue(Job())

    config = Config(num_workers=2, queue_size=1, persist_path=path)
    with JobQueue(config, handler=handler) as jq:
        for _ in range(2):
            eventually(lambda: jq.metrics().queued == 0)
            jq.enqueue(Job(b"enqueues"))
        inside.wait(PATIENCE)
        jq.enqueue(Job(id="fills the lane"))
        inside.wait(PATIENCE)

        assert jq.join(PATIENCE)
        assert jq.metrics().completed == 9


@pytest.mark.parametrize("call", ["close", "join"])
def test_a_handler_that_would_wait_for_itself_is_told_so_and_its_queue_lives_on(
    path: Path | None, call: str
) -> None:
    def handler(payload: bytes) -> int:
        if payload == b"asks":
            getattr(jq, call)()
        return len(payload)

    config = Config(num_workers=1, max_retries=0, persist_path=path)
    with JobQueue(config, handler=handler) as jq:
        asked = jq.enqueue(Job(b"asks"))

        with pytest.raises(RuntimeError, match=f"cannot {call}"):
            asked.result(PATIENCE)
        assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3


def test_a_handler_that_enqueues_when_the_queue_closes_is_refused(path: Path | None) -> None:
    blocker = Blocker()

    def handler(payload: bytes, context: JobContext) -> None:
        blocker(payload, context)
        with pytest.raises(QueueClosedError):
            jq.enqueue(Job())

    config = Config(num_workers=1, queue_size=1, persist_path=path, max_retries=0)
    jq = JobQueue(config, handler=handler)
    handle = jq.enqueue(Job(id="enqueues"))
    blocker.await_entered()
    closing = in_thread(jq.close, PATIENCE, drain=True)
    assert eventually(lambda: insides.waiting_for_rest(jq))
    blocker.gate.set()

    report = closing.result(PATIENCE)
    assert (report.unfinished, report.remaining) == ((), 0)
    assert handle.status is Status.COMPLETED
    assert jq.status("enqueues") is Status.COMPLETED


def test_a_slow_handler_is_named_by_close_and_those_beside_it_finish(path: Path | None) -> None:
    """Fault 19 of docs/reliability.md."""
    blocker = Blocker()
    config = Config(num_workers=2, persist_path=path)
    jq = JobQueue(config, handler=len, handlers={"slow": blocker})
    jq.enqueue(Job(id="slow", handler="slow"))
    blocker.await_entered()
    quick = [jq.enqueue(Job(b"x")) for _ in range(5)]

    report = jq.close(0.2, drain=True)

    assert report.unfinished == ("slow",)
    assert [handle.status for handle in quick] == [Status.COMPLETED] * 5
    blocker.gate.set()
