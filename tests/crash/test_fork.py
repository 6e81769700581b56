"""Forked children: the queue is the parent's, and stays it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobContext,
    JobQueue,
    LogLockedError,
    QueueClosedError,
    Status,
)
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.children import Child
from tests.support.forks import in_fork
from tests.support.handlers import Recorder, in_thread
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture(params=["memory", "log"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    path = tmp_path / "jobs.db" if request.param == "log" else None
    return Config(persist_path=path, num_workers=1, max_retries=0)


def _noted(payload: bytes) -> int:
    return len(payload)


CALLS: dict[str, Callable[[JobQueue], object]] = {
    "enqueue": lambda jq: jq.enqueue(Job()),
    "enqueue_many": lambda jq: jq.enqueue_many([Job()]),
    "enqueue_with_handler": lambda jq: jq.enqueue_with_handler(Job(), _noted),
    "register": lambda jq: jq.register("name", _noted),
    "handler": lambda jq: jq.handler("name")(_noted),
    "status": lambda jq: jq.status("queued"),
    "handle": lambda jq: jq.handle("queued"),
    "info": lambda jq: jq.info("queued"),
    "cancel": lambda jq: jq.cancel("queued"),
    "dead_letters": lambda jq: jq.dead_letters(),
    "requeue": lambda jq: jq.requeue("dead"),
    "discard": lambda jq: jq.discard("dead"),
    "metrics": lambda jq: jq.metrics(),
    "join": lambda jq: jq.join(),
    "pause": lambda jq: jq.pause(),
    "resume": lambda jq: jq.resume(),
    "flush": lambda jq: jq.flush(),
    "start": lambda jq: jq.start(),
}


def _fail(_payload: bytes) -> None:
    raise ValueError("boom")


@pytest.fixture
def used_queue(config: Config) -> Iterator[JobQueue]:
    """A queue with a queued job and a dead letter."""
    with JobQueue(config, handler=len, handlers={"bad": _fail}) as jq:
        jq.enqueue(Job(id="dead", handler="bad")).wait(PATIENCE)
        jq.pause()
        jq.enqueue(Job(id="queued"))
        yield jq


def _error_of(call: Callable[[], object]) -> str:
    try:
        return f"returned {call()!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.slow
def test_every_call_of_the_child_raises(used_queue: JobQueue) -> None:
    """Fault 13 of docs/reliability.md."""
    handle = used_queue.handle("queued")
    calls: dict[str, Callable[[], object]] = {
        name: lambda call=call: call(used_queue)  # type: ignore[misc]  # mypy cannot infer it
        for name, call in CALLS.items()
    }
    calls |= {
        "handle.status": lambda: handle.status,
        "handle.wait": handle.wait,
        "handle.result": handle.result,
        "handle.cancel": handle.cancel,
    }

    errors = in_fork(lambda: {name: _error_of(call) for name, call in calls.items()})

    for name, error in errors.items():
        assert error.startswith("QueueClosedError: this queue belongs to the parent"), name


def test_nothing_that_the_child_tries_changes_the_parents_queue_or_log(
    used_queue: JobQueue, config: Config
) -> None:
    used_queue.flush()
    before = _state(used_queue, config)

    in_fork(lambda: [_error_of(lambda c=call: c(used_queue)) for call in CALLS.values()])  # type: ignore[misc]  # mypy cannot infer it

    assert _state(used_queue, config) == before
    used_queue.resume()
    assert used_queue.handle("queued").wait(PATIENCE) is Status.COMPLETED


def _state(jq: JobQueue, config: Config) -> object:
    files = {}
    if config.persist_path is not None:
        files = {p.name: p.read_bytes() for p in Path(config.persist_path).iterdir()}
    return jq.status("queued"), jq.metrics().enqueued, files


@pytest.mark.parametrize("leave", ["close", "with", "drain"])
def test_a_child_that_closes_the_queue_closes_nothing(
    used_queue: JobQueue, config: Config, leave: str
) -> None:
    def close() -> str:
        if leave == "with":
            with used_queue:
                return "left"
        return repr(used_queue.close(PATIENCE, drain=leave == "drain"))

    in_fork(close)

    used_queue.resume()
    assert used_queue.handle("queued").wait(PATIENCE) is Status.COMPLETED
    assert used_queue.enqueue(Job(b"abc")).result(PATIENCE) == 3
    if config.persist_path is not None:
        with pytest.raises(LogLockedError):
            JobQueue(config, handler=len)


def test_a_fork_while_another_thread_holds_the_queue_leaves_no_hang_in_the_child() -> None:
    class HeldClock(ManualClock):
        entered = threading.Event()
        gate = threading.Event()

        def monotonic(self) -> float:
            if threading.current_thread().name == "test-caller":
                self.entered.set()
                assert self.gate.wait(PATIENCE)
            return super().monotonic()

    clock = HeldClock()
    with JobQueue(handler=len, clock=clock) as jq:
        enqueueing = in_thread(jq.enqueue, Job(b"abc"))
        assert clock.entered.wait(PATIENCE)  # under the mutex

        error = in_fork(lambda: _error_of(lambda: jq.enqueue(Job())))

        assert error.startswith("QueueClosedError")
        clock.gate.set()
        assert enqueueing.result(PATIENCE).result(PATIENCE) == 3


def test_a_child_finishes_no_change_that_its_parent_was_about_to_make(tmp_path: Path) -> None:
    # A thread of the parent was about to make it: to finish it here would write into its log.
    with JobQueue(Config(persist_path=tmp_path / "jobs.db"), handler=len) as jq:
        with insides.mutex(jq):
            insides.mutex(jq).unfinished = "a change"
            left = in_fork(lambda: insides.mutex(jq).unfinished)
            insides.mutex(jq).unfinished = None

        assert left is None


def test_the_child_may_have_a_queue_of_its_own(used_queue: JobQueue, tmp_path: Path) -> None:
    def use_own() -> object:
        with JobQueue(Config(persist_path=tmp_path / "own"), handler=len) as own:
            return own.enqueue(Job(b"abc")).result(PATIENCE)

    assert in_fork(use_own) == 3
    assert used_queue.status("queued") is Status.QUEUED


def test_the_child_is_refused_the_log_of_its_parent(config: Config) -> None:
    with JobQueue(config, handler=len):
        if config.persist_path is None:
            return

        error = in_fork(lambda: _error_of(lambda: JobQueue(config, handler=len)))

    assert error.startswith("LogLockedError")
    assert str(os.getpid()) in error


def test_a_handler_may_fork(config: Config) -> None:
    def fork(_payload: bytes, context: JobContext) -> str:
        return str(in_fork(lambda: _error_of(lambda: jq.status(context.job.id))))

    with JobQueue(config, handler=fork) as jq:
        assert str(jq.enqueue(Job()).result(PATIENCE)).startswith("QueueClosedError")
        assert jq.metrics().workers.count == 1


def test_a_fork_after_close_is_no_harm(config: Config) -> None:
    jq = JobQueue(config, handler=len)
    jq.close()

    assert in_fork(lambda: _error_of(lambda: jq.enqueue(Job()))).startswith("QueueClosedError")
    JobQueue(config, handler=len).close()


def test_a_fork_while_another_queue_was_closed_does_not_close_what_has_its_descriptor_now(
    config: Config, tmp_path: Path
) -> None:
    jq = JobQueue(config, handler=len)
    jq.close()
    with (tmp_path / "file").open("w+b", buffering=0) as file:  # may get the lock's descriptor

        def write() -> int:
            return file.write(b"abc")

        assert in_fork(write) == 3
    with pytest.raises(QueueClosedError):
        jq.enqueue(Job())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["exit", "multiprocessing"])
def test_the_end_of_a_child_neither_runs_jobs_nor_unlocks_the_log(tmp_path: Path, how: str) -> None:
    """Fault 13 of docs/reliability.md."""
    with Child("fork_and_wait", tmp_path, how) as child:
        parent = int(child.line().split()[0])
        assert child.line() == "the other ended queued"

        with pytest.raises(LogLockedError) as caught:
            JobQueue(Config(persist_path=tmp_path), handler=len)

        assert caught.value.pid == parent


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fork", "exec"])
def test_a_log_whose_owner_was_killed_can_be_opened_while_its_child_lives(
    tmp_path: Path, how: str
) -> None:
    """Fault 13 of docs/reliability.md."""
    with Child("fork_and_wait", tmp_path, how) as child:
        other = int(child.line().split()[1])
        try:
            child.signal(signal.SIGKILL)
            child.process.wait(PATIENCE)
            os.kill(other, 0)  # it lives

            recorder = Recorder()
            with JobQueue(Config(persist_path=tmp_path), handler=recorder):
                assert recorder.next().id == "the job"
        finally:
            os.kill(other, signal.SIGKILL)


def test_a_worker_whose_handler_comes_back_in_a_forked_child_takes_no_more_jobs(
    config: Config, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"

    def fork(_payload: bytes) -> int:
        return os.fork()  # in the child, too: from here on its worker is its only thread

    def note(_payload: bytes) -> None:
        with ran.open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")

    with JobQueue(config, start=False) as jq:
        jq.register("fork", fork)
        jq.register("note", note)
        forked = jq.enqueue(Job(handler="fork"))
        jq.enqueue_many([Job(handler="note") for _ in range(20)])
        jq.start()
        child = forked.result(PATIENCE)
        assert isinstance(child, int)
        assert jq.join(PATIENCE)
    try:
        assert eventually(lambda: os.waitpid(child, os.WNOHANG)[0] == child)
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise

    assert ran.read_text(encoding="ascii").split() == [str(os.getpid())] * 20


def test_a_child_makes_other_ids_than_its_parent() -> None:
    def ids() -> list[str]:
        return [Job().id for _ in range(1000)]

    assert Job().id  # there are more now that nobody has been given
    assert not set(in_fork(ids)) & set(ids())
