"""Queues that nobody can reach any more, and blocks that a Ctrl-C leaves."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobHandle,
    JobQueue,
    LogLockedError,
    QueueClosedError,
    Status,
)
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.handlers import Blocker, Recorder
from tests.support.queues import Store, until
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually, eventually_freed

dropped = pytest.warns(ResourceWarning, match="a JobQueue was dropped")


_of_others: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def _know_others() -> None:
    """Threads that other tests have left are none of these tests'."""
    _of_others.clear()
    _of_others.update(threading.enumerate())


def _threads() -> int:
    own = set(threading.enumerate()) - _of_others
    return sum(thread.name.startswith("jobqueue-") for thread in own)


# ── copies ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_queue_is_not_copied_for_the_end_of_its_copy_would_close_it(
    memory: Store, copied: Callable[[object], object]
) -> None:
    jq = memory.open(len)
    with pytest.raises(TypeError, match=r"a JobQueue cannot be copied or pickled: .* share='auto'"):
        copied(jq)
    gc.collect()
    assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3


# ── dropped ──────────────────────────────────────────────────────────────────────────────────


def test_a_queue_that_nobody_can_reach_finishes_what_it_accepted_and_ends_its_threads(
    memory: Store,
) -> None:
    """Fault 54 of docs/reliability.md."""
    blocker = memory.blocker()
    jq = JobQueue(Config(num_workers=1, shutdown_timeout=0), handler=blocker)
    for _ in range(3):
        jq.enqueue(Job())
    blocker.await_entered()
    with dropped:
        del jq
        gc.collect()
    blocker.gate.set()
    for _ in range(3):
        blocker.left.get(timeout=PATIENCE)
    assert eventually(lambda: _threads() == 0)


def test_a_job_that_is_scheduled_is_waited_for() -> None:
    recorder = Recorder()
    jq = JobQueue(Config(shutdown_timeout=0), handler=recorder)
    jq.enqueue(Job(id="a"), delay=0.05)
    with dropped:
        del jq
        gc.collect()
    assert eventually(lambda: recorder.ids() == ["a"])
    assert eventually(lambda: _threads() == 0)


def test_it_is_closed_a_little_later_if_no_thread_can_be_had_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobqueue.final.life.elsewhere.AGAIN_SECONDS", 0.01)
    start, refused = threading.Thread.start, threading.Event()

    def start_later(thread: threading.Thread) -> None:
        if thread.name == "jobqueue-close" and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_later)
    jq = JobQueue(handler=len)
    with dropped:
        del jq
        gc.collect()
    assert refused.wait(PATIENCE)
    assert eventually(lambda: _threads() == 0)


def test_a_handle_goes_on_working_without_its_queue(memory: Store) -> None:
    blocker = memory.blocker()

    def hand_in() -> JobHandle:
        return JobQueue(handler=blocker).enqueue(Job(id="a"))

    with dropped:
        handle = hand_in()
        gc.collect()
    blocker.await_entered()
    assert handle.status is Status.PROCESSING
    blocker.gate.set()
    assert handle.wait(PATIENCE) is Status.COMPLETED


def test_the_log_of_a_queue_that_nobody_can_reach_is_unlocked(log_store: Store) -> None:
    recorder = Recorder()
    jq = JobQueue(log_store.config(), handler=recorder)
    jq.enqueue(Job(id="a"))
    with dropped:
        del jq
        gc.collect()

    def opens() -> bool:
        try:
            log_store.open(recorder)
        except LogLockedError:
            return False
        return True

    assert eventually(opens)
    assert log_store.queues[0].status("a") is Status.COMPLETED
    assert recorder.ids() == ["a"]


def test_twenty_of_them_leave_no_thread() -> None:
    with dropped:
        for _ in range(20):
            JobQueue(handler=len).enqueue(Job(b"x")).result(PATIENCE)
        gc.collect()
    assert eventually(lambda: _threads() == 0)


def test_what_a_paused_queue_cannot_run_is_told_when_it_is_dropped(records: Records) -> None:
    jq = JobQueue(handler=len)
    jq.pause()
    jq.enqueue_many([Job(), Job()])
    with dropped:
        del jq
        gc.collect()
    assert "2 jobs that waited were dropped" in records.next().getMessage()
    assert eventually(lambda: _threads() == 0)


def end_of_the_interpreter(jq: list[JobQueue]) -> None:
    """Drop the queue, and close it as the interpreter's exit does: it does not wait for long."""
    life = insides.life(jq[0])
    with dropped:
        jq.clear()
        gc.collect()
    assert eventually(lambda: insides.is_being_closed(life))
    start = time.monotonic()
    life.close_aside(PATIENCE, drain=None)
    assert time.monotonic() - start < PATIENCE / 2


def test_what_is_due_later_does_not_hold_up_the_interpreters_end(records: Records) -> None:
    """Fault 54 of docs/reliability.md."""
    only = [JobQueue(handler=len)]
    only[0].enqueue(Job(), delay=2 * PATIENCE)
    end_of_the_interpreter(only)
    assert "1 job that waited was dropped (1 of them due later)" in records.next().getMessage()
    assert eventually(lambda: _threads() == 0)


def test_with_a_log_what_was_scheduled_is_left_in_it_at_the_interpreters_end(
    log_store: Store,
) -> None:
    only = [JobQueue(log_store.config(shutdown_timeout=3 * PATIENCE), handler=len)]
    only[0].enqueue(Job(id="a"), delay=2 * PATIENCE)
    end_of_the_interpreter(only)
    assert log_store.open().status("a") is Status.SCHEDULED


def test_a_queue_that_its_handler_can_reach_is_not_dropped() -> None:
    found: list[Status] = []
    ran = threading.Event()

    def make() -> None:
        def look(_payload: bytes) -> None:
            found.append(jq.status("a"))
            ran.set()

        jq = JobQueue(handler=look)
        jq.enqueue(Job(id="a"), delay=0.01)
        queues.append(jq)

    queues: list[Any] = []
    make()
    assert ran.wait(PATIENCE)
    assert found == [Status.PROCESSING]
    queues.pop().close()


def test_a_queue_that_was_closed_is_dropped_without_a_word() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        JobQueue(handler=len).close()
        with pytest.raises(TypeError):
            JobQueue(handler=5)  # type: ignore[arg-type]  # its constructor is to fail
        gc.collect()
    assert told == []


def test_a_queue_with_a_clock_of_the_users_is_dropped_all_the_same(clock: ManualClock) -> None:
    jq = JobQueue(handler=len, clock=clock)
    with dropped:
        del jq
        gc.collect()
    assert eventually_freed(lambda: not insides.subscribers(clock))
    assert eventually(lambda: _threads() == 0)


# ── a second opening in this process ─────────────────────────────────────────────────────────


def test_a_second_opening_in_this_process_is_told_that_it_is_its_own(
    log_store: Store, tmp_path: Path
) -> None:
    log_store.open(len)
    (tmp_path / "link").symlink_to(log_store.path)
    for path in (log_store.path, tmp_path / "link"):
        with pytest.raises(LogLockedError, match="another JobQueue of this very process"):
            JobQueue(Config(persist_path=path), handler=len)


# ── what waits when a queue in memory is closed ──────────────────────────────────────────────


def test_what_a_queue_in_memory_drops_at_its_close_is_told(memory: Store, records: Records) -> None:
    jq = memory.open(len)
    for each in "abcd":
        jq.enqueue(Job(id=each), delay=3600)
    assert jq.close().remaining == 4
    told = records.next()
    assert told.levelname == "WARNING"
    assert told.getMessage() == (
        "4 jobs that waited were dropped (4 of them due later) by a queue in memory, as it was "
        "closed: 'a', 'b', 'c', …; one with a log, Config(persist_path=...), keeps such jobs"
    )


def test_one_job_that_is_dropped_is_told_as_one(memory: Store, records: Records) -> None:
    jq = memory.open(len)
    jq.pause()
    jq.enqueue(Job(id="a"))
    jq.close()
    assert (
        records.next()
        .getMessage()
        .startswith(
            "1 job that waited was dropped by a queue in memory, as it was closed: 'a'; one"
        )
    )


def test_of_a_queue_that_keeps_or_finishes_its_jobs_nothing_is_told(
    memory: Store, log_store: Store, records: Records
) -> None:
    for jq in (memory.open(len), log_store.open(len)):
        jq.enqueue(Job())
    log_store.queues[0].enqueue(Job(), delay=3600)
    memory.open(len, start=False).enqueue(Job())
    memory.queues[1].close()
    memory.queues[0].close()
    log_store.queues[0].close()
    assert records.rest() == []


# ── Ctrl-C in a block ────────────────────────────────────────────────────────────────────────


def _let_go_when_closing(jq: JobQueue, blocker: Blocker) -> threading.Thread:
    def wait() -> None:
        eventually(lambda: _refuses(jq))
        blocker.gate.set()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def _refuses(jq: JobQueue) -> bool:
    try:
        jq.start()
    except QueueClosedError:
        return True
    return False


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_a_ctrl_c_finishes_what_runs_and_drops_what_waits(
    memory: Store, records: Records, end: type[BaseException]
) -> None:
    """Fault 55 of docs/reliability.md."""
    blocker = memory.blocker()
    jq = memory.open(blocker, num_workers=1)
    with pytest.raises(end), jq:
        handles = [jq.enqueue(Job()) for _ in range(3)]
        jq.enqueue(Job(), delay=3600)
        blocker.await_entered()
        helper = _let_go_when_closing(jq, blocker)
        raise end
    helper.join()
    assert [handle.status for handle in handles] == [Status.COMPLETED, *[Status.QUEUED] * 2]
    assert "3 jobs that waited were dropped" in records.next().getMessage()


def test_with_a_log_a_ctrl_c_drops_nothing(log_store: Store, records: Records) -> None:
    blocker = log_store.blocker()
    jq = log_store.open(blocker, num_workers=1)
    with pytest.raises(KeyboardInterrupt), jq:
        for _ in range(3):
            jq.enqueue(Job())
        blocker.await_entered()
        helper = _let_go_when_closing(jq, blocker)
        raise KeyboardInterrupt
    helper.join()
    assert records.rest() == []
    assert log_store.open(len, start=False).metrics().queued == 2


def test_a_second_ctrl_c_gives_up_and_nothing_waits_any_more(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker, num_workers=1, shutdown_timeout=3600)
    watchers = insides.watchers(jq)
    wait = watchers.wait

    def interrupted(*args: Any) -> None:
        monkeypatch.setattr(watchers, "wait", wait)
        raise KeyboardInterrupt

    monkeypatch.setattr(watchers, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt), jq:
        jq.enqueue(Job(id="a"))
        jq.enqueue(Job(id="b"))
        blocker.await_entered()
        raise KeyboardInterrupt
    report = jq.close(3600)  # does not wait
    assert (report.unfinished, report.remaining) == (("a",), 1)


def test_another_error_in_a_block_drops_nothing(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker, num_workers=1)
    with pytest.raises(ZeroDivisionError), jq:
        handles = [jq.enqueue(Job()) for _ in range(3)]
        blocker.await_entered()
        helper = _let_go_when_closing(jq, blocker)
        raise ZeroDivisionError
    helper.join()
    assert [until(handle, Status.COMPLETED) for handle in handles]
