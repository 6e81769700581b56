"""Results that outlive their handles: stored with the job, or the last ones in memory."""

from __future__ import annotations

import copy
import pickle
import signal
import threading
from pathlib import Path

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobInfo,
    JobQueue,
    JobQueueError,
    Middleware,
    RejectJobError,
    ResultGoneError,
    Status,
)
from tests.support import process_handlers
from tests.support.children import Child
from tests.support.queues import Attempts, Store, every_log, every_store
from tests.support.waiting import PATIENCE, eventually_freed

STORED = Job(b"ab", id="a", store_result=True)


class Numbers:
    """A codec for numbers; it notes on which threads it worked."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def encode(self, result: object) -> bytes:
        self.threads.append(threading.current_thread().name)
        assert isinstance(result, int)
        return b"number %d" % result

    def decode(self, data: bytes) -> object:
        return int(data.removeprefix(b"number "))


def gone(jq: JobQueue, job_id: str) -> bool:
    try:
        jq.handle(job_id).result(0)
    except ResultGoneError:
        return True
    return False


# ── stored with the job ──────────────────────────────────────────────────────────────────────────


@every_store
def test_a_stored_result_is_there_for_whoever_asks(store: Store) -> None:
    jq = store.open(bytes.upper, result_retention=0)
    handle = jq.enqueue(STORED)
    assert handle.result(PATIENCE) == b"AB"
    assert jq.handle("a").result(0) == b"AB"
    assert jq.info("a").result == b"AB"


@every_log
def test_the_next_run_has_a_stored_result(log_store: Store) -> None:
    with log_store.open(lambda payload: {"size": len(payload), "raw": payload}) as jq:
        jq.enqueue(STORED).wait(PATIENCE)
    again = log_store.open(start=False)  # without a handler
    assert again.handle("a").result(0) == {"size": 2, "raw": b"ab"}
    assert again.info("a").result == {"size": 2, "raw": b"ab"}


@pytest.mark.slow
def test_a_stored_result_survives_the_death_of_its_process(tmp_path: Path) -> None:
    """Fault 82 of docs/reliability.md."""
    log = tmp_path / "jobs.db"
    with Child("store_result", log, "a") as child:
        assert child.line() == "done"
        child.signal(signal.SIGKILL)
        child.end()
    with JobQueue(Config(persist_path=log), start=False) as jq:
        assert jq.handle("a").result(0) == ["result of", b"a"]


def test_a_result_of_none_is_stored_as_any_other(log_store: Store) -> None:
    with log_store.open(lambda payload: None) as jq:
        jq.enqueue(STORED).wait(PATIENCE)
    assert log_store.open(start=False).handle("a").result(0) is None


def test_a_job_that_waited_for_the_next_run_stores_its_result_there(log_store: Store) -> None:
    with log_store.open(len, start=False) as jq:
        jq.enqueue(STORED)
    with log_store.open(len, result_retention=0) as jq:
        assert jq.join(PATIENCE)
        assert jq.handle("a").result(0) == 2


def test_a_job_that_is_retried_and_queued_again_still_stores_its_result(store: Store) -> None:
    failing = [ValueError("first"), ValueError("second"), "done"]
    jq = store.open(Attempts(*failing), max_retries=1, base_delay=0, result_retention=0)
    assert jq.enqueue(STORED).wait(PATIENCE) is Status.FAILED
    jq.requeue("a").wait(PATIENCE)
    assert jq.handle("a").result(0) == "done"


def test_copies_of_a_job_store_their_results_too() -> None:
    copies = [
        STORED.with_headers({"a": "b"}),
        STORED.with_handler("other"),
        copy.copy(STORED),
        pickle.loads(pickle.dumps(STORED)),
    ]
    assert all(each.store_result for each in copies)
    assert not Job().store_result


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_whether_a_result_is_stored_is_yes_or_no(value: object) -> None:
    with pytest.raises(TypeError, match="store_result must be True or False, not"):
        Job(store_result=value)  # type: ignore[arg-type]  # on purpose


@every_store
def test_a_result_that_cannot_be_stored_fails_the_job_at_once(store: Store) -> None:
    jq = store.open(lambda payload: object(), max_retries=5)
    with pytest.raises(RejectJobError, match=r"'a' ran, but its result, of type object, .*codec"):
        jq.enqueue(STORED).result(PATIENCE)
    assert (jq.status("a"), jq.info("a").retries) == (Status.FAILED, 0)


def test_a_result_that_is_too_large_fails_the_job_at_once(store: Store) -> None:
    """Fault 82 of docs/reliability.md."""
    jq = store.open(lambda payload: "x" * 65_535, max_retries=5)
    with pytest.raises(RejectJobError, match=r"65537 bytes .* at most 65536 .* elsewhere"):
        jq.enqueue(STORED).result(PATIENCE)
    assert jq.info("a").retries == 0


def test_a_handler_says_how_its_results_are_written(log_store: Store) -> None:
    codec = Numbers()
    with log_store.open() as jq:
        jq.register("size", len, result_codec=codec)
        jq.enqueue(STORED.with_handler("size")).wait(PATIENCE)
        assert jq.handle("a").result(0) == 2
    assert all("worker" in name for name in codec.threads)
    again = log_store.open(start=False)
    assert again.info("a").result is None  # which is not known here yet
    with pytest.raises(JobQueueError, match="not registered here"):
        again.handle("a").result(0)
    again.register("size", len, result_codec=Numbers())
    assert again.handle("a").result(0) == again.info("a").result == 2


def test_a_codec_must_be_one(memory: Store) -> None:
    with pytest.raises(TypeError, match="result_codec must have encode"):
        memory.open().register("size", len, result_codec=object())  # type: ignore[arg-type]  # on purpose


@pytest.mark.slow
def test_results_from_processes_are_stored(tmp_path: Path) -> None:
    config = Config(executor="process", num_workers=1, persist_path=tmp_path / "jobs.db")
    with JobQueue(config, handler=process_handlers.echo) as jq:
        jq.enqueue(STORED).wait(PATIENCE)
        jq.enqueue(Job(b"b", id="b")).wait(PATIENCE)
        assert (jq.info("a").result, jq.handle("b").result(0)) == (b"ab", b"b")
    with JobQueue(config, start=False) as jq:
        assert jq.handle("a").result(0) == b"ab"


def test_results_of_coroutines_are_stored(tmp_path: Path) -> None:
    async def handler(payload: bytes) -> object:
        return payload or object()

    config = Config(executor="asyncio", num_workers=2, persist_path=tmp_path / "jobs.db")
    with JobQueue(config, handler=handler) as jq:
        jq.enqueue(STORED).wait(PATIENCE)
        assert jq.enqueue(Job(id="bad", store_result=True)).wait(PATIENCE) is Status.FAILED
        jq.enqueue(Job(b"b", id="b")).wait(PATIENCE)
        assert (jq.info("a").result, jq.handle("b").result(0)) == (b"ab", b"b")


def test_middleware_is_told_the_stored_result() -> None:
    class Told(Middleware):
        infos: list[JobInfo] = []  # noqa: RUF012  # for this test alone

        def finished(self, info: JobInfo) -> None:
            self.infos.append(info)

    with JobQueue(handler=len, middleware=[Told()]) as jq:
        jq.enqueue(STORED).wait(PATIENCE)
        jq.enqueue(Job(id="b")).wait(PATIENCE)
    assert {each.id: each.result for each in Told.infos} == {"a": 2, "b": None}


def test_a_compacted_log_has_the_stored_results(tmp_path: Path) -> None:
    """Fault 82 of docs/reliability.md."""
    from jobqueue.final.wal.files import Files
    from jobqueue.final.wal.maintenance.snapshot import compact

    config = Config(persist_path=tmp_path / "jobs.db")
    with JobQueue(config, handler=lambda payload: payload) as jq:
        for name, payload in (("text", b"ab"), ("empty", b"")):
            jq.enqueue(Job(payload, id=name, store_result=True)).wait(PATIENCE)
        jq.register("size", len, result_codec=Numbers())
        jq.enqueue(Job(b"abc", id="coded", handler="size", store_result=True)).wait(PATIENCE)
    JobQueue(config, start=False).close()  # with a segment of its own
    compact(Files(), str(tmp_path / "jobs.db"), 1, 100)
    with JobQueue(config, start=False) as jq:
        jq.register("size", len, result_codec=Numbers())
        results = [jq.handle(each).result(0) for each in ("text", "empty", "coded")]
    assert results == [b"ab", b"", 3]


# ── the last ones in memory ──────────────────────────────────────────────────────────────────────


@every_store
def test_the_last_results_stay_in_memory(store: Store) -> None:
    jq = store.open(bytes.decode, num_workers=1, result_retention=2)
    for name in ("a", "b", "c"):
        jq.enqueue(Job(name.encode(), id=name))
    assert jq.join(PATIENCE)
    assert gone(jq, "a")
    assert [jq.handle(each).result(0) for each in ("b", "c")] == ["b", "c"]
    assert jq.info("c").result is None  # it is not stored


def test_any_number_of_results_may_stay(memory: Store) -> None:
    jq = memory.open(len, result_retention=10**30)
    jq.enqueue(Job(id="a")).wait(PATIENCE)
    assert not gone(jq, "a")


def test_a_kept_result_is_the_very_object(memory: Store) -> None:
    thing = object()
    jq = memory.open(lambda payload: thing)
    jq.enqueue(Job(id="a")).wait(PATIENCE)
    assert jq.handle("a").result(0) is thing


def test_stored_results_take_no_place_in_memory(memory: Store) -> None:
    jq = memory.open(len, num_workers=1, result_retention=1)
    for job in (Job(b"plain", id="b"), STORED):
        jq.enqueue(job).wait(PATIENCE)
    assert not gone(jq, "b")


def test_the_error_of_a_result_that_is_gone_says_how_to_keep_it(memory: Store) -> None:
    jq = memory.open(len, result_retention=0)
    jq.enqueue(Job(id="a")).wait(PATIENCE)
    with pytest.raises(ResultGoneError, match=r"'a' is completed; .*\(result_retention\).*=True\)"):
        jq.handle("a").result(0)


def test_what_is_kept_of_an_older_result_ends_without_the_mutex(memory: Store) -> None:
    """A finalizer may be users' code, which may wait for another thread's call of the queue."""
    seen: list[Status] = []

    class Last:
        def __del__(self) -> None:
            asking = threading.Thread(target=lambda: seen.append(jq.status("a")))
            asking.start()
            asking.join(PATIENCE)

    jq = memory.open(lambda payload: Last(), num_workers=1, result_retention=1)
    for name in ("a", "b"):
        jq.enqueue(Job(id=name))
    assert jq.join(PATIENCE)
    assert eventually_freed(lambda: seen == [Status.COMPLETED])
