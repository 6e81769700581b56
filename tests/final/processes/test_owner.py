"""How long processes live: timeouts, `close`, the owner's end, forks, signals."""

from __future__ import annotations

import concurrent.futures
import fcntl
import logging
import os
import shutil
import signal
import struct
import subprocess
import sys
import termios
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobHandle,
    JobQueue,
    QueueClosedError,
    Status,
    WorkerProcessError,
)
from jobqueue.final.processes import wire
from jobqueue.final.processes.owner import WorkerProcess
from jobqueue.final.processes.wire import GROUP_SIGNALS
from jobqueue.final.runtime.clock import Clock
from tests.support import insides, slow_to_import
from tests.support import process_handlers as handlers
from tests.support.children import Child
from tests.support.forks import in_fork
from tests.support.handlers import in_thread
from tests.support.process_handlers import Stage, is_running, until_gone
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.slow  # each starts processes of its own

Open = Callable[..., JobQueue]


@pytest.fixture
def open_queue() -> Iterator[Open]:
    queues: list[JobQueue] = []

    def open_queue(clock: Clock | None = None, **settings: Any) -> JobQueue:
        settings = {"num_workers": 1, "base_delay": 0, "jitter": 0, "max_retries": 0} | settings
        queues.append(JobQueue(Config(executor="process", **settings), clock=clock))
        return queues[-1]

    yield open_queue
    for jq in queues:
        jq.close(0, drain=False)


class SteeredClock:
    """Stands still but for `advance`, which fires what is due; nobody sleeps on it."""

    manual = False

    def __init__(self) -> None:
        self._now = 1000.0
        self._expire: list[Callable[[], None]] = []

    def monotonic(self) -> float:
        return self._now

    def time(self) -> float:
        return self._now

    def subscribe(self, on_advance: Callable[[], None]) -> Callable[[], None]:
        self._expire.append(on_advance)
        return self._expire.clear

    def advance(self, seconds: float) -> None:
        self._now += seconds
        for expire in self._expire:
            expire()


@pytest.fixture
def clock() -> SteeredClock:
    return SteeredClock()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


def put(jq: JobQueue, handler: Callable[..., object], payload: bytes = b"") -> JobHandle:
    return jq.enqueue_with_handler(Job(payload), handler)


# --- job_timeout ----------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", [handlers.hold, handlers.compute, handlers.wait_long])
def test_attempt_past_its_time_is_killed(
    open_queue: Open, stage: Stage, clock: SteeredClock, handler: Callable[..., object]
) -> None:
    jq = open_queue(clock, job_timeout=5)
    handle = put(jq, handler, stage.payload)
    pid = stage.hear()

    clock.advance(4.9)
    assert is_running(pid)
    clock.advance(0.2)

    assert handle.wait(PATIENCE) is Status.FAILED
    with pytest.raises(TimeoutError, match=r"longer than 5 s \(job_timeout\).*was killed"):
        handle.result()
    until_gone(pid)


def test_attempt_after_a_timeout_gets_another_process(
    open_queue: Open, stage: Stage, clock: SteeredClock
) -> None:
    jq = open_queue(clock, job_timeout=5, max_retries=1)
    handle = put(jq, handlers.hold, stage.payload)
    first = stage.hear()
    clock.advance(5)
    eventually(lambda: jq.info(handle.id).retries == 1)
    clock.advance(1)

    second = stage.hear()
    stage.let_go()

    assert handle.result(PATIENCE) == second != first
    assert jq.metrics().overrunning == 0


def test_time_of_an_attempt_does_not_run_while_its_handler_is_imported(
    open_queue: Open, stage: Stage, clock: SteeredClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(slow_to_import.VARIABLE, os.fsdecode(stage.payload))
    jq = open_queue(clock, job_timeout=5)
    handle = put(jq, slow_to_import.handler)
    assert stage.hear() == "importing"

    clock.advance(1000)
    stage.let_go()

    assert handle.result(PATIENCE) == "imported"


def test_time_that_has_passed_for_one_attempt_does_not_kill_the_next(
    open_queue: Open, stage: Stage, clock: SteeredClock
) -> None:
    jq = open_queue(clock, job_timeout=5)
    first = put(jq, handlers.pid)
    first.wait(PATIENCE)
    clock.advance(4)
    second = put(jq, handlers.hold, stage.payload)
    stage.hear()

    clock.advance(4)
    stage.let_go()

    assert second.result(PATIENCE) == first.result()


def test_limit_that_is_late_kills_nobody(open_queue: Open) -> None:
    jq = open_queue()
    put(jq, handlers.pid).wait(PATIENCE)
    (process,) = _processes(jq)
    limit = insides.limit_of(process)
    strike = limit()  # 1. The timer finds the attempt's time to be up …

    assert not limit.has_struck()  # 2. … the attempt ends, in time …
    strike()  # 3. … and now the process would be killed.

    assert process.is_alive()
    assert put(jq, handlers.pid).result(PATIENCE) == process.pid


def test_stop_that_comes_before_its_attempt_is_not_lost(open_queue: Open, stage: Stage) -> None:
    jq = open_queue()
    put(jq, handlers.pid).wait(PATIENCE)
    (process,) = _processes(jq)

    process.order(process.attempts + 1)
    eventually(lambda: _unread(process) == 0)

    assert put(jq, handlers.wait_long, stage.payload).result(PATIENCE) is True


def test_stop_that_comes_after_its_attempt_stops_no_other(open_queue: Open, stage: Stage) -> None:
    jq = open_queue()
    put(jq, handlers.tell_context).wait(PATIENCE)
    (process,) = _processes(jq)
    handle = put(jq, handlers.hold_with_context, stage.payload)
    stage.hear()

    for _ in range(2):  # once the second is taken, the first has had its effect
        process.order(process.attempts - 1)
        eventually(lambda: _unread(process) == 0)
    stage.let_go()

    assert handle.result(PATIENCE) is False


def _unread(process: WorkerProcess) -> int:
    """How many bytes of orders a process has not taken yet."""
    return int.from_bytes(
        fcntl.ioctl(insides.orders_of(process), termios.TIOCOUTQ, bytes(4)), sys.byteorder
    )


def _processes(jq: JobQueue) -> list[WorkerProcess]:
    return insides.all_processes(jq)


def test_deadline_is_what_the_queues_clock_will_show(open_queue: Open, clock: SteeredClock) -> None:
    jq = open_queue(clock, job_timeout=5)

    told = put(jq, handlers.tell_context).result(PATIENCE)

    assert isinstance(told, dict)
    assert told["deadline"] == clock.monotonic() + 5


def test_import_that_takes_long_is_told_of_with_what_to_do(
    open_queue: Open, stage: Stage, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    """Fault 75 of docs/reliability.md."""
    monkeypatch.setattr(*insides.look_time(), struct.pack("ll", 0, 20_000))
    monkeypatch.setattr(*insides.slow_import_seconds(), 0.01)
    monkeypatch.setenv(slow_to_import.VARIABLE, os.fsdecode(stage.payload))
    jq = open_queue(job_timeout=5)
    handle = put(jq, slow_to_import.handler)
    assert stage.hear() == "importing"

    first, second = records.next(), records.next()  # later, and later again

    (process,) = _processes(jq)
    for record in (first, second):
        assert record.levelno == logging.WARNING
        text = record.getMessage()
        assert f"job {handle.id!r} still waits: process {process.pid} has not imported" in text
        assert "handler from 'tests.support.slow_to_import'" in text
        assert "end the process" in text
    stage.let_go()
    assert handle.result(PATIENCE) == "imported"


def test_process_that_does_not_come_to_import_the_handler_is_told_of_and_can_be_ended(
    open_queue: Open, stage: Stage, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    """Fault 75 of docs/reliability.md."""
    monkeypatch.setattr(*insides.look_time(), struct.pack("ll", 0, 20_000))
    jq = open_queue()
    pid = put(jq, handlers.pid).result(PATIENCE)
    assert isinstance(pid, int)
    monkeypatch.setattr(*insides.slow_import_seconds(), 0.01)
    os.kill(pid, signal.SIGSTOP)

    handle = put(jq, handlers.hold, stage.payload)

    assert f"process {pid} has not imported its handler hold" in records.next().getMessage()
    os.kill(pid, signal.SIGKILL)
    assert handle.wait(PATIENCE) is Status.FAILED


def test_payload_that_nobody_reads_is_given_up_in_time(open_queue: Open) -> None:
    jq = open_queue(job_timeout=0.2)
    pid = put(jq, handlers.pid).result(PATIENCE)
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGSTOP)

    handle = put(jq, handlers.pid, bytes(8 * 1024 * 1024))

    assert handle.wait(PATIENCE) is Status.FAILED
    until_gone(pid)


# --- close ----------------------------------------------------------------------------------------


def test_close_ends_idle_processes(open_queue: Open) -> None:
    jq = open_queue()
    pid = put(jq, handlers.pid).result(PATIENCE)
    assert isinstance(pid, int)

    jq.close(PATIENCE)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_close_lets_an_attempt_finish(open_queue: Open, stage: Stage) -> None:
    jq = open_queue()
    handle = put(jq, handlers.hold, stage.payload)
    pid = stage.hear()
    closing = in_thread(jq.close, PATIENCE)

    stage.let_go()

    assert closing.result(PATIENCE).unfinished == ()
    assert handle.result() == pid


@pytest.mark.parametrize("handler", [handlers.hold, handlers.compute])
def test_close_kills_what_is_not_finished_by_its_deadline(
    open_queue: Open, stage: Stage, handler: Callable[..., object]
) -> None:
    jq = open_queue()
    handle = put(jq, handler, stage.payload)
    pid = stage.hear()

    report = jq.close(0)

    assert report.unfinished == (handle.id,)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_close_kills_a_process_that_still_imports(
    open_queue: Open, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(slow_to_import.VARIABLE, os.fsdecode(stage.payload))
    jq = open_queue()
    handle = put(jq, slow_to_import.handler)
    stage.hear()

    assert jq.close(0).unfinished == (handle.id,)


def test_close_kills_a_process_that_a_thread_of_a_handler_keeps(open_queue: Open) -> None:
    jq = open_queue()
    pid = put(jq, handlers.leave_thread).result(PATIENCE)
    assert isinstance(pid, int)

    jq.close(0)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_job_that_close_killed_runs_again_from_the_log(stage: Stage, tmp_path: Path) -> None:
    config = Config(executor="process", num_workers=1, persist_path=tmp_path / "jobs.db")
    with JobQueue(config, handlers={"hold": handlers.hold}) as jq:
        jq.enqueue(Job(stage.payload, id="killed", handler="hold"))
        first = stage.hear()
        jq.close(0)

    with JobQueue(config, handlers={"hold": handlers.hold}) as jq:
        second = stage.hear()
        stage.let_go()
        assert jq.handle("killed").wait(PATIENCE) is Status.COMPLETED
        assert jq.info("killed").retries == 0
    assert second != first


def test_no_process_is_started_after_close(open_queue: Open) -> None:
    jq = open_queue()
    jq.close()

    with pytest.raises(QueueClosedError):
        insides.take_process(jq)


# --- the owner's end ------------------------------------------------------------------------------


def test_processes_die_when_their_owner_is_killed(stage: Stage, tmp_path: Path) -> None:
    with Child("own_processes", "hold", tmp_path) as owner:
        pids = [stage.hear() for _ in range(2)]
        owner.signal(signal.SIGKILL)
        owner.end()

        until_gone(*pids)


def test_process_amid_a_call_of_c_code_dies_when_its_owner_is_killed(
    stage: Stage, tmp_path: Path
) -> None:
    if sys.platform != "linux":
        pytest.skip("there such a call is finished first")
    with Child("own_processes", "compute", tmp_path) as owner:
        pids = [stage.hear() for _ in range(2)]
        owner.signal(signal.SIGKILL)
        owner.end()

        until_gone(*pids)


def test_processes_die_with_their_owner_though_a_fork_of_it_lives(
    stage: Stage, tmp_path: Path
) -> None:
    with Child("own_processes", "fork", tmp_path) as owner:
        pids = [stage.hear() for _ in range(2)]
        owner.say("fork")
        fork = int(owner.line())
        owner.signal(signal.SIGKILL)
        owner.process.wait(PATIENCE)

        until_gone(*pids)
        assert is_running(fork)
        os.kill(fork, signal.SIGKILL)


def test_exit_without_close_finishes_jobs_and_ends_processes(stage: Stage, tmp_path: Path) -> None:
    with Child("own_processes", "leave", tmp_path) as owner:
        pids = [stage.hear() for _ in range(2)]
        assert owner.line() == "leaving"
        stage.let_go()
        stage.let_go()

        assert owner.end() == 0, owner.stderr
        assert sorted(owner.rest()) == ["finished", "finished"]
        assert not any(map(is_running, pids))
        assert owner.stderr == ""


def test_process_is_replaced_also_at_the_interpreters_exit(stage: Stage, tmp_path: Path) -> None:
    with Child("own_processes", "leave", tmp_path) as owner:
        pids = [stage.hear() for _ in range(2)]
        assert owner.line() == "leaving"
        os.kill(pids[0], signal.SIGKILL)  # its job is retried
        until_gone(pids[0])  # until then it may still read what lets a handler go on

        if sys.version_info < (3, 12):  # from then on none can be started any more
            assert stage.hear() not in pids
        stage.let_go()
        stage.let_go()
        assert owner.end() == 0, owner.stderr
        assert sorted(owner.rest()) == ["finished", "finished"]


USUAL_SIGNALS = {signal.SIGINT, signal.SIGTERM}


@pytest.mark.skipif(shutil.which("setsid") is None, reason="no setsid to make a group with")
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(each, marks=[] if each in USUAL_SIGNALS else [pytest.mark.daily])
        for each in GROUP_SIGNALS
    ],
)
def test_signal_to_the_whole_group_leaves_it_to_the_owner_to_finish(
    stage: Stage, tmp_path: Path, number: signal.Signals
) -> None:
    """Fault 72 of docs/reliability.md."""
    with Child("own_processes", "signal", tmp_path, prefix=("setsid",)) as owner:
        pids = [stage.hear() for _ in range(2)]
        os.killpg(os.getpgid(pids[0]), number)
        assert owner.line() == "interrupted"
        assert all(map(is_running, pids))
        stage.let_go()
        stage.let_go()

        assert owner.end() == 0, owner.stderr
        assert sorted(owner.rest()) == ["finished", "finished"]
        assert owner.stderr == ""


def test_no_job_is_lost_while_processes_are_killed(tmp_path: Path) -> None:
    config = Config(
        executor="process",
        num_workers=2,
        max_retries=1000,
        base_delay=0,
        persist_path=tmp_path / "jobs.db",
    )
    with JobQueue(config, handler=handlers.pid) as jq:
        handles = jq.enqueue_many([Job() for _ in range(300)])
        for kills in range(1, 5):
            eventually(lambda least=kills * 60: jq.metrics().completed >= least)  # type: ignore[misc]  # a plain default
            for process in _processes(jq):
                process.kill()

        assert jq.join(PATIENCE)
        assert all(handle.status is Status.COMPLETED for handle in handles)
        assert jq.metrics().processing == 0


# --- forks ----------------------------------------------------------------------------------------


def test_queue_in_a_forked_child_refuses_and_harms_no_process(open_queue: Open) -> None:
    jq = open_queue()
    pid = put(jq, handlers.pid).result(PATIENCE)

    def in_child() -> bool:
        with pytest.raises(QueueClosedError):
            put(jq, handlers.pid)
        jq.close()
        return True

    assert in_fork(in_child)
    assert put(jq, handlers.pid).result(PATIENCE) == pid


def test_a_forked_child_that_goes_on_hears_nothing_of_the_processes(open_queue: Open) -> None:
    jq = open_queue()
    put(jq, handlers.pid).wait(PATIENCE)

    def in_child() -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for process in _processes(jq):
                insides.popen_of(process).__del__()  # as when it is collected
        return len(caught)

    assert in_fork(in_child) == 0


def test_nothing_forks_and_no_signal_arrives_while_a_process_is_started(
    open_queue: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    start = subprocess.Popen

    def look(*args: Any, **kwargs: Any) -> Any:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        seen.append((insides.no_fork().locked(), blocked))
        return start(*args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", look)
    put(open_queue(), handlers.pid).wait(PATIENCE)

    assert seen == [(True, set(GROUP_SIGNALS))]


def test_a_fork_waits_until_a_process_has_been_started() -> None:
    with insides.no_fork():
        forking = in_thread(in_fork, lambda: True)
        with pytest.raises(concurrent.futures.TimeoutError):
            forking.result(0.05)

    assert forking.result(PATIENCE)


# --- what a handler starts ------------------------------------------------------------------------


def test_programs_and_forks_of_a_handler_take_notice_of_signals(open_queue: Open) -> None:
    jq = open_queue()

    usual = dict.fromkeys((number.name for number in GROUP_SIGNALS), str(signal.SIG_DFL))
    assert put(jq, handlers.signals).result(PATIENCE) == {
        **usual,
        "SIGINT": str(signal.default_int_handler),
    }
    assert put(jq, handlers.terminate_own_child).result(PATIENCE) == -signal.SIGTERM


def test_programs_of_a_handler_ignore_what_the_owner_ignores(open_queue: Open) -> None:
    """As all programs do that are started under nohup. Fault 72 of docs/reliability.md."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        seen = put(open_queue(), handlers.signals).result(PATIENCE)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert isinstance(seen, dict)
    assert seen["SIGHUP"] == str(signal.SIG_IGN)


def test_nothing_is_left_open(open_queue: Open) -> None:
    before = _open_files()
    for _ in range(2):
        jq = open_queue()
        put(jq, handlers.die).wait(PATIENCE)
        put(jq, handlers.pid).wait(PATIENCE)
        jq.close(PATIENCE)

    assert _open_files() == before


def _open_files() -> set[str]:
    return set(os.listdir("/dev/fd"))


def test_process_that_has_another_version_of_the_queue_says_so(
    open_queue: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade under a program that runs. Fault 74 of docs/reliability.md."""
    monkeypatch.setattr(wire, "FORM", wire.FORM - 1)

    handle = put(open_queue(), handlers.pid)

    with pytest.raises(WorkerProcessError, match=r"gave up: ImportError: .*of another version"):
        handle.result(PATIENCE)
