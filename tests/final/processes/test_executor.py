"""What comes of an attempt that runs in a process: results, errors, deaths."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    ConfigError,
    Job,
    JobHandle,
    JobQueue,
    JobQueueError,
    Priority,
    RejectJobError,
    RetryJobError,
    Status,
    WorkerProcessError,
)
from jobqueue.final.middleware import Layers
from jobqueue.final.processes.stock import Processes
from jobqueue.final.runtime.clock import SystemClock
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support import process_handlers as handlers
from tests.support.handlers import in_thread
from tests.support.process_handlers import Stage, is_running, until_gone
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually, eventually_freed

pytestmark = pytest.mark.usefixtures("measured_children")

Run = Callable[..., JobHandle]


def open_queue(**settings: Any) -> JobQueue:
    settings = {"num_workers": 1, "base_delay": 0, "jitter": 0, "shutdown_timeout": 5} | settings
    return JobQueue(Config(executor="process", **settings))


@pytest.fixture(scope="module")
def jq() -> Iterator[JobQueue]:
    """One queue with a process that is warm, for all tests that do it no lasting harm."""
    with open_queue(max_retries=0) as jq:
        jq.enqueue_with_handler(Job(), handlers.echo).result(PATIENCE)
        yield jq


@pytest.fixture
def run(jq: JobQueue) -> Run:
    def run(handler: Callable[..., object], payload: bytes = b"", **of_job: Any) -> JobHandle:
        handle = jq.enqueue_with_handler(Job(payload, **of_job), handler)
        handle.wait(PATIENCE)
        return handle

    return run


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


# --- runners --------------------------------------------------------------------------------------


def test_an_attempt_has_a_seat_while_it_runs_and_no_worker_thread(
    jq: JobQueue, stage: Stage
) -> None:
    handle = jq.enqueue_with_handler(Job(stage.payload), handlers.hold)
    stage.hear()

    assert insides.seats(jq).busy() == [handle]
    assert len(insides.seats(jq)) == 1
    # Those of another test's queue end soon.
    assert eventually(
        lambda: not any(each.name.startswith("jobqueue-worker") for each in threading.enumerate())
    )
    stage.let_go()
    handle.wait(PATIENCE)
    assert insides.seats(jq).busy() == []


def test_join_is_told_of_the_end_of_the_last_attempt(jq: JobQueue, stage: Stage) -> None:
    jq.enqueue_with_handler(Job(stage.payload), handlers.hold)
    stage.hear()
    joining = in_thread(jq.join)
    eventually(lambda: insides.waiting_for_rest(jq))

    stage.let_go()

    assert joining.result(PATIENCE)


def test_nothing_of_a_job_is_kept_while_the_next_is_waited_for() -> None:
    with open_queue(result_retention=0) as jq:
        handle = jq.enqueue_with_handler(Job(pickle.dumps({1, 2})), handlers.as_told)
        result = weakref.ref(handle.result(PATIENCE))

        del handle

        assert eventually_freed(lambda: result() is None)


class _BrokenClock(SystemClock):
    """Breaks for the threads that wait for processes."""

    manual = False

    def monotonic(self) -> float:
        if threading.current_thread().name.startswith("jobqueue-runner"):
            raise OSError("the clock is broken")
        return time.monotonic()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_a_runner_dies_callers_that_wait_are_told() -> None:
    config = Config(executor="process", num_workers=1)
    jq = JobQueue(config, handler=handlers.echo, clock=_BrokenClock())
    handle = jq.enqueue(Job())

    with pytest.raises(JobQueueError, match="waits for processes died: OSError: the clock is"):
        handle.result(PATIENCE)
    jq.close(PATIENCE)


# --- results --------------------------------------------------------------------------------------


def test_handler_runs_in_another_process(run: Run) -> None:
    assert run(handlers.pid).result() != os.getpid()


def test_process_is_used_again(run: Run) -> None:
    assert run(handlers.pid).result() == run(handlers.pid).result()


@pytest.mark.parametrize("size", [0, 1, 8192, 65_536, 65_537, 5_000_000])
def test_payload_and_result_of_any_size_come_through(run: Run, size: int) -> None:
    payload = os.urandom(size)

    assert run(handlers.echo, payload).result() == payload


def test_none_comes_back(run: Run) -> None:
    handle = run(handlers.nothing)

    assert handle.status is Status.COMPLETED
    assert handle.result() is None


def test_result_is_the_same_object_in_value(run: Run) -> None:
    value = {"a": [1, 2.5, None], "b": ("x", frozenset({b"y"}))}

    assert run(handlers.as_told, pickle.dumps(value)).result() == value


def test_result_that_cannot_be_pickled_is_a_failed_attempt_that_says_so(run: Run) -> None:
    handle = run(handlers.return_lambda)

    assert handle.status is Status.FAILED
    with pytest.raises(WorkerProcessError, match="returned function, which cannot be pickled"):
        handle.result()


def test_result_that_cannot_be_unpickled_is_a_failed_attempt_that_says_so(run: Run) -> None:
    handle = run(handlers.return_unloadable)

    assert handle.status is Status.FAILED
    with pytest.raises(WorkerProcessError, match="cannot be unpickled: ValueError: not here"):
        handle.result()


def test_result_whose_pickling_fails_without_a_text_is_a_failed_attempt(run: Run) -> None:
    """Fault 71 of docs/reliability.md."""
    with pytest.raises(WorkerProcessError, match="returned Unpackable, which cannot be pickled"):
        run(handlers.return_unpackable).result()


def test_result_that_would_end_the_program_which_unpickles_it_does_not(run: Run) -> None:
    """Fault 71 of docs/reliability.md."""
    with pytest.raises(WorkerProcessError, match="cannot be unpickled: SystemExit: not here"):
        run(handlers.return_exiting).result()


def test_process_is_kept_after_what_could_not_be_brought_back(run: Run) -> None:
    before = run(handlers.pid).result()
    run(handlers.return_lambda)
    run(handlers.return_unloadable)
    run(handlers.raise_with_lock)

    assert run(handlers.pid).result() == before


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("boom"), KeyError("k"), OSError(2, "no such file"), UnicodeError()]
)
def test_exception_of_the_handler_comes_back(run: Run, error: Exception) -> None:
    handle = run(handlers.as_told, pickle.dumps(error))

    assert handle.status is Status.FAILED
    with pytest.raises(type(error)) as caught:
        handle.result()
    assert caught.value.args == error.args


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_exception_that_ends_a_program_is_a_failed_attempt(run: Run, error: BaseException) -> None:
    before = run(handlers.pid).result()

    handle = run(handlers.as_told, pickle.dumps(error))

    assert handle.status is Status.FAILED
    with pytest.raises(type(error)):
        handle.result()
    assert run(handlers.pid).result() == before


def test_traceback_shows_where_in_the_handler_it_was(run: Run, jq: JobQueue) -> None:
    handle = run(handlers.raise_in_depth)

    trace = jq.info(handle.id).last_traceback
    assert trace is not None
    assert "in _deeper" in trace
    frames = [line for line in trace.splitlines() if line.lstrip().startswith("File ")]
    assert frames[0].endswith(", in raise_in_depth")


def test_failed_attempt_is_logged_with_the_traceback(run: Run, records: Records) -> None:
    run(handlers.raise_in_depth)

    text = logging.Formatter().format(records.next())
    assert "in _deeper" in text


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (handlers.raise_with_lock, "LockedError: locked .*cannot pickle"),
        (handlers.raise_two_arguments, "TwoArgumentsError: one and two .*missing 1 required"),
    ],
)
def test_exception_that_cannot_be_brought_back_is_told_of(
    run: Run, jq: JobQueue, handler: Callable[..., object], text: str
) -> None:
    handle = run(handler)

    with pytest.raises(WorkerProcessError, match=text):
        handle.result()
    trace = jq.info(handle.id).last_traceback
    assert trace is not None
    assert f"in {handler.__name__}" in trace


def test_error_whose_attributes_cannot_be_set_comes_back(run: Run, jq: JobQueue) -> None:
    """Fault 71 of docs/reliability.md."""
    handle = run(handlers.raise_sealed)

    with pytest.raises(handlers.SealedError, match="51"):
        handle.result()
    assert "in raise_sealed" in str(jq.info(handle.id).last_traceback)


def test_frozen_error_that_cannot_be_unpickled_is_told_of(run: Run) -> None:
    """Fault 71 of docs/reliability.md."""
    with pytest.raises(WorkerProcessError, match=r"FrozenError: 51 .*cannot assign to field"):
        run(handlers.raise_frozen).result()


def test_reject_fails_the_job_at_once(run: Run, jq: JobQueue) -> None:
    handle = run(handlers.as_told, pickle.dumps(RejectJobError("never")), max_retries=5)

    assert handle.status is Status.FAILED
    assert jq.info(handle.id).retries == 0
    with pytest.raises(RejectJobError, match="never"):
        handle.result()


def test_reject_that_cannot_be_pickled_still_fails_the_job_at_once(run: Run, jq: JobQueue) -> None:
    handle = run(handlers.reject_with_lock, max_retries=5)

    assert jq.info(handle.id).retries == 0
    with pytest.raises(RejectJobError, match="never"):
        handle.result()


@pytest.mark.parametrize("handler", [handlers.retry_at_once, handlers.retry_with_lock])
def test_retry_runs_the_job_again(run: Run, handler: Callable[..., object]) -> None:
    assert run(handler, max_retries=1).result() == 1


def test_retry_error_keeps_its_delay_when_pickled() -> None:
    error = RetryJobError("later", delay=17.5)
    error.extra = "kept"  # type: ignore[attr-defined]  # anybody may add one

    copy = pickle.loads(pickle.dumps(error))

    assert (str(copy), copy.delay, copy.extra) == ("later", 17.5, "kept")


# --- the clock ------------------------------------------------------------------------------------


def test_a_clock_that_is_moved_by_hand_is_refused(tmp_path: Path) -> None:
    config = Config(executor="process", persist_path=tmp_path / "log")
    before = set(threading.enumerate())

    with pytest.raises(ConfigError, match=r"executor='process'.*use executor='thread'"):
        JobQueue(config, clock=ManualClock())

    assert not (tmp_path / "log").exists()
    assert set(threading.enumerate()) <= before


# --- the context ----------------------------------------------------------------------------------


def test_context_tells_of_the_job_and_the_attempt(run: Run) -> None:
    told = run(
        handlers.tell_context,
        b"payload",
        id="told",
        priority=Priority.HIGH,
        headers={"a": "b"},
    ).result()

    assert told == {
        "id": "told",
        "payload": b"payload",
        "headers": {"a": "b"},
        "priority": Priority.HIGH,
        "retries": 0,
        "attempt": 0,
        "deadline": None,
        "cancelled": False,
    }


def test_wait_that_nobody_ends_takes_its_time(run: Run) -> None:
    told = run(handlers.wait_in_vain, b"0.05").result()

    assert isinstance(told, tuple)
    asked, seconds = told
    assert asked is False
    assert seconds >= 0.05


@pytest.mark.parametrize(
    ("handler", "wants_context"), [(handlers.echo, False), (handlers.tell_context, True)]
)
def test_handler_says_truly_whether_its_function_takes_the_context(
    handler: Callable[..., object], wants_context: bool
) -> None:
    assert Processes(Layers()).handler(handler).wants_context is wants_context


def test_cancel_wakes_a_handler_that_waits(jq: JobQueue, stage: Stage) -> None:
    handle = jq.enqueue_with_handler(Job(stage.payload), handlers.wait_long)
    stage.hear()

    assert handle.cancel()

    assert handle.result(PATIENCE) is True
    assert handle.status is Status.COMPLETED


def test_job_whose_handler_raises_after_a_cancel_is_cancelled(jq: JobQueue, stage: Stage) -> None:
    handle = jq.enqueue_with_handler(Job(stage.payload), handlers.wait_long_then_raise)
    stage.hear()

    handle.cancel()

    assert handle.wait(PATIENCE) is Status.CANCELLED


def test_cancel_of_one_attempt_does_not_reach_the_next(jq: JobQueue, stage: Stage) -> None:
    first = jq.enqueue_with_handler(Job(stage.payload), handlers.wait_long)
    stage.hear()
    first.cancel()
    first.wait(PATIENCE)

    second = jq.enqueue_with_handler(Job(stage.payload), handlers.hold_with_context)
    stage.hear()
    stage.let_go()

    assert second.result(PATIENCE) is False


def test_handler_without_context_runs_to_its_end_after_a_cancel(jq: JobQueue, stage: Stage) -> None:
    handle = jq.enqueue_with_handler(Job(stage.payload), handlers.hold)
    stage.hear()
    handle.cancel()
    stage.let_go()

    assert handle.wait(PATIENCE) is Status.COMPLETED


def test_the_closing_ends_one_sleep_and_a_cancel_the_next(stage: Stage) -> None:
    with open_queue() as jq:
        handle = jq.enqueue_with_handler(Job(stage.payload), handlers.wait_for_closing)
        assert stage.hear() is False
        report = in_thread(jq.close, PATIENCE)
        assert stage.hear() is True
        handle.cancel()

        assert handle.result(PATIENCE) == [False, True]
        assert report.result(PATIENCE).completed == 1


def test_an_attempt_that_begins_while_the_queue_drains_knows_it(stage: Stage) -> None:
    with open_queue() as jq:
        first, second = (
            jq.enqueue_with_handler(Job(stage.payload), handlers.see_closing) for _ in range(2)
        )
        stage.hear()
        report = in_thread(jq.close, PATIENCE)
        eventually(lambda: jq.closed)
        stage.let_go()
        assert first.wait(PATIENCE) is Status.COMPLETED
        stage.hear()
        stage.let_go()

        assert second.result(PATIENCE) == [True, False]
        assert report.result(PATIENCE).completed == 2


# --- deaths ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("handler", "text"),
    [(handlers.exit_with_3, "exited with code 3"), (handlers.die, "was ended by SIGKILL")],
)
def test_death_of_the_process_is_a_failed_attempt_that_says_how(
    run: Run, jq: JobQueue, handler: Callable[..., object], text: str
) -> None:
    handle = run(handler)

    assert handle.status is Status.FAILED
    with pytest.raises(WorkerProcessError, match=text):
        handle.result()
    assert text in str(jq.info(handle.id).last_error)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="there every signal has a name")
def test_death_by_a_signal_without_a_name_is_told_by_number(run: Run) -> None:
    with pytest.raises(WorkerProcessError, match=f"ended by signal {signal.SIGRTMIN + 1}"):
        run(handlers.die_of_nameless_signal).result()


def test_process_that_cannot_be_started_is_a_failed_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise BlockingIOError(11, "no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with open_queue(max_retries=1) as jq:
        before = os.listdir("/dev/fd")
        handle = jq.enqueue_with_handler(Job(), handlers.echo)

        with pytest.raises(WorkerProcessError, match=r"could be started.*no more processes"):
            handle.result(PATIENCE)
        assert jq.info(handle.id).retries == 1
        # A worker that logs a traceback opens its source files for a moment.
        eventually(lambda: os.listdir("/dev/fd") == before)


@pytest.mark.slow
def test_job_whose_process_died_runs_again_in_another(run: Run, stage: Stage) -> None:
    handle = run(handlers.die_at_first, stage.payload, max_retries=1)

    result = handle.result()
    assert isinstance(result, tuple)
    assert result[0] == 1
    assert result[1] != stage.hear()


@pytest.mark.slow
def test_death_of_a_process_harms_no_neighbour(stage: Stage) -> None:
    with open_queue(num_workers=2, max_retries=0) as jq:
        neighbour = jq.enqueue_with_handler(Job(stage.payload), handlers.hold)
        pid = stage.hear()
        killed = jq.enqueue_with_handler(Job(), handlers.die)

        assert killed.wait(PATIENCE) is Status.FAILED
        stage.let_go()
        assert neighbour.result(PATIENCE) == pid


@pytest.mark.slow
def test_death_of_an_idle_process_fails_no_attempt(records: Records) -> None:
    with open_queue(max_retries=0) as jq:
        pid = jq.enqueue_with_handler(Job(), handlers.pid).result(PATIENCE)
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)
        until_gone(pid)

        assert jq.enqueue_with_handler(Job(), handlers.pid).result(PATIENCE) != pid

    assert "that waited for a job was ended by SIGKILL" in records.next().getMessage()


@pytest.mark.slow
def test_death_is_noticed_where_a_forked_process_keeps_the_sockets(stage: Stage) -> None:
    with open_queue(max_retries=0) as jq:
        handle = jq.enqueue_with_handler(Job(stage.payload), handlers.fork_and_die)
        left = stage.hear()

        assert handle.wait(PATIENCE) is Status.FAILED
        assert is_running(left)
        stage.let_go()
        until_gone(left)


@pytest.mark.slow
def test_death_is_noticed_though_a_program_keeps_the_sockets(
    jq: JobQueue, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = run(handlers.give_sockets_away).result()
    assert isinstance(told, tuple)
    pid, program = told
    os.kill(pid, signal.SIGKILL)
    until_gone(pid)

    assert run(handlers.pid).result() != pid
    assert is_running(program)
    os.kill(program, signal.SIGKILL)


# --- processes that cannot go on ------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started from here on are looked at more often."""
    monkeypatch.setattr(*insides.look_time(), struct.pack("ll", 0, 20_000))


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (handlers.lose_main_thread, "lost its main thread, which ended while others went on, and"),
        (handlers.write_garbage, "wrote to its connection with the queue"),
        (handlers.close_all, "gave up: something closed its connection to the queue"),
    ],
)
def test_process_that_cannot_answer_is_replaced_and_its_attempt_fails_with_the_reason(
    handler: Callable[..., object], text: str
) -> None:
    """Fault 70 of docs/reliability.md."""
    with open_queue(max_retries=0, job_timeout=30) as jq:
        pid = jq.enqueue_with_handler(Job(), handlers.pid).result(PATIENCE)
        assert isinstance(pid, int)

        handle = jq.enqueue_with_handler(Job(), handler)

        with pytest.raises(WorkerProcessError, match=text):
            handle.result(PATIENCE)
        until_gone(pid)
        assert jq.enqueue_with_handler(Job(), handlers.pid).result(PATIENCE) != pid


@pytest.mark.slow
def test_an_error_whose_class_refuses_to_be_named_fails_its_attempt_and_no_process(
    jq: JobQueue,
) -> None:
    """Fault 68 of docs/reliability.md."""
    pid = jq.enqueue_with_handler(Job(), handlers.pid).result(PATIENCE)
    with pytest.raises(WorkerProcessError, match="NamelessError"):
        jq.enqueue_with_handler(Job(), handlers.raise_nameless).result(PATIENCE)
    assert jq.enqueue_with_handler(Job(), handlers.pid).result(PATIENCE) == pid


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_main_thread_that_fails_after_an_attempt_ends_the_process_and_fails_no_attempt(
    records: Records,
) -> None:
    """Fault 70 of docs/reliability.md."""
    with open_queue(max_retries=0) as jq:
        pid = jq.enqueue_with_handler(Job(), handlers.set_alarm).result(PATIENCE)
        assert isinstance(pid, int)
        until_gone(pid)

        assert jq.enqueue_with_handler(Job(), handlers.pid).result(PATIENCE) != pid

    text = "a process that waited for a job gave up: TimeoutError: late"
    assert records.next().getMessage() == text


@pytest.mark.slow
def test_process_that_sent_what_it_was_not_asked_for_is_replaced_and_fails_no_attempt(
    stage: Stage, records: Records
) -> None:
    """Fault 70 of docs/reliability.md."""
    with open_queue(max_retries=0) as jq:
        handle = jq.enqueue_with_handler(Job(stage.payload), handlers.write_garbage_afterwards)
        pid = handle.result(PATIENCE)
        stage.let_go()
        assert stage.hear() == "written"

        assert jq.enqueue_with_handler(Job(), handlers.pid).result(PATIENCE) != pid

    assert "sent something that it was not asked for" in records.next().getMessage()
