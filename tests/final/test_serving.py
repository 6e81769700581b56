"""`jobqueue.run`: signals, the exit code, and what a supervisor is told."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import jobqueue
from jobqueue.final import Config, Job, JobContext, JobQueue, QueueClosedError
from jobqueue.final.serving import Signals
from tests.support import process_handlers
from tests.support.children import Child, read_acks
from tests.support.handlers import in_thread
from tests.support.process_handlers import Stage
from tests.support.queues import Store
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.usefixtures("all_records")
BOTH = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name
)


@pytest.fixture
def all_records(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, "jobqueue"):
        yield


@contextmanager
def soon(act: Callable[[], object]) -> Iterator[None]:
    """Another thread does something once this one, the main thread, sleeps in `run`."""
    before = signal.getsignal(signal.SIGTERM)

    def wait_and_act() -> None:
        eventually(lambda: signal.getsignal(signal.SIGTERM) is not before)
        act()

    done = in_thread(wait_and_act)
    yield
    done.result(PATIENCE)


def kill(number: int) -> Callable[[], object]:
    return lambda: os.kill(os.getpid(), number)


# ── signals ──────────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_a_signal_closes_the_queue(store: Store, number: int) -> None:
    jq = store.open(len)
    with soon(kill(number)):
        assert jobqueue.run(jq) == 0
    assert jq.closed


def test_a_signal_that_comes_before_the_wait_is_not_lost() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.wait() == signal.SIGTERM


def test_signals_of_the_programs_own_disturb_nothing() -> None:
    seen = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.set())
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.wait() == signal.SIGINT
            assert seen.is_set()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_earlier_handlers_are_put_back(memory: Store) -> None:
    def numbers_and_wakeup() -> tuple[object, object, int]:
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        return signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), wakeup

    before = numbers_and_wakeup()
    with soon(kill(signal.SIGTERM)):
        jobqueue.run(memory.open(len))
    assert numbers_and_wakeup() == before

    with pytest.raises(QueueClosedError):
        jobqueue.run(memory.queues[0])
    assert numbers_and_wakeup() == before


def test_a_queue_that_was_not_started_is(memory: Store) -> None:
    jq = memory.open(len, start=False)
    handle = jq.enqueue(Job(b"abc"))
    with soon(lambda: (handle.result(PATIENCE), kill(signal.SIGTERM)())):
        assert jobqueue.run(jq) == 0
    assert handle.result(0) == 3


def test_a_forked_childs_signals_are_its_own() -> None:
    """1. A handler forks. 2. The child is terminated: it ends of that, and its parent goes on."""
    with Signals() as signals:
        child = os.fork()
        if child == 0:
            while True:
                signal.pause()
        os.kill(child, signal.SIGTERM)
        ended: list[int] = []
        try:
            eventually(lambda: _poll(child, ended), 5)
        finally:
            if not ended:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        assert ended == [-signal.SIGTERM]
        signals.wake()
        assert signals.wait() == 0


def _poll(child: int, ended: list[int]) -> bool:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
        ended.append(os.waitstatus_to_exitcode(status))
    return bool(ended)


# ── the end, and the exit code ───────────────────────────────────────────────────────────────────


def test_a_handler_that_looks_at_closing_ends_in_time(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    entered = threading.Event()

    def handler(payload: bytes, context: JobContext) -> None:
        entered.set()
        while not context.closing:
            context.wait(3600)

    jq = store.open(handler)
    jq.enqueue(Job())
    with soon(lambda: (entered.wait(PATIENCE), kill(signal.SIGTERM)())):
        assert jobqueue.run(jq) == 0
    assert "ended meanwhile: 1, that are left: 0" in caplog.text


def test_a_second_signal_gives_up_what_still_runs(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = store.blocker()
    jq = store.open(blocker, shutdown_timeout=3600)
    jq.enqueue(Job(id="stuck"))
    blocker.await_entered()

    def twice() -> None:
        kill(signal.SIGTERM)()
        eventually(lambda: jq.closed)
        kill(signal.SIGTERM)()

    with soon(twice):
        assert jobqueue.run(jq) == 1
    assert "given up while they ran: 1 ('stuck')" in caplog.text
    assert jq.close().unfinished == ("stuck",)


@pytest.mark.slow
@pytest.mark.usefixtures("measured_children")
def test_a_second_signal_kills_what_runs_in_a_process(memory: Store, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    jq = memory.open(executor="process", num_workers=1, shutdown_timeout=3600)
    jq.enqueue_with_handler(Job(stage.payload, id="stuck"), process_handlers.hold)

    def twice() -> None:
        stage.hear()
        kill(signal.SIGTERM)()
        eventually(lambda: jq.closed)
        kill(signal.SIGTERM)()

    with soon(twice):
        assert jobqueue.run(jq) == 1
    stage.close()


def test_what_is_unfinished_at_the_timeout_makes_the_exit_code_1(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker, shutdown_timeout=0)
    jq.enqueue(Job())
    blocker.await_entered()
    with soon(kill(signal.SIGTERM)):
        assert jobqueue.run(jq) == 1


def test_it_returns_when_somebody_else_closes_the_queue(memory: Store) -> None:
    jq = memory.open(len)
    with soon(jq.close):
        assert jobqueue.run(jq) == 0


@pytest.mark.slow
def test_it_returns_1_when_the_log_fails(log_store: Store) -> None:
    """So that a supervisor starts the program anew."""
    jq = log_store.open(len)
    with soon(lambda: shutil.rmtree(log_store.path)):
        assert jobqueue.run(jq) == 1


# ── what a supervisor is told ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_is_told_of_the_start_and_the_end(
    memory: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name = str(tmp_path / "notify") if kind == "path" else f"@jobqueue-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        try:
            receiver.bind(name.replace("@", "\0"))
        except OSError as error:
            pytest.skip(f"no abstract sockets here: {error}")
        receiver.settimeout(PATIENCE)
        told: list[bytes] = []

        def hear_and_end() -> None:
            told.append(receiver.recv(100))
            kill(signal.SIGTERM)()

        with soon(hear_and_end):
            jobqueue.run(memory.open(len))
        told.append(receiver.recv(100))
    assert told == [b"READY=1", b"STOPPING=1"]


def test_a_supervisor_that_is_not_there_is_warned_of(
    memory: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    with soon(kill(signal.SIGTERM)):
        assert jobqueue.run(memory.open(len)) == 0
    assert "could not be told READY=1" in caplog.text


# ── what cannot be served ────────────────────────────────────────────────────────────────────────


def test_another_thread_is_refused_and_the_queue_stays_open(memory: Store) -> None:
    jq = memory.open(len)
    with pytest.raises(RuntimeError, match="main thread"):
        in_thread(jobqueue.run, jq).result(PATIENCE)
    assert not jq.closed


def test_what_is_no_queue_is_refused() -> None:
    with pytest.raises(TypeError, match=r"tasks\.open"):
        jobqueue.run(jobqueue.Tasks())  # type: ignore[arg-type]  # that is the point


# ── a program of its own ─────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@BOTH
def test_a_signal_in_the_midst_of_work_loses_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    log, acks = tmp_path / "jobs.db", tmp_path / "acks"
    with Child("run_until_signal", log, acks) as child:
        assert child.line() == "serving"
        eventually(lambda: len(read_acks(acks)) > 100)
        child.signal(number)
        assert child.end() == 0, child.stderr
    accepted = [line.split()[1] for line in read_acks(acks)]
    with JobQueue(Config(persist_path=log, status_retention=1_000_000), handler=len) as jq:
        assert jq.join(PATIENCE)
        assert {jq.status(each) for each in accepted} == {jobqueue.Status.COMPLETED}
