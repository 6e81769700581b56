"""Exceptions that other threads raise in those that run attempts, anywhere between two handlers.

`PyThreadState_SetAsyncExc` raises one in another thread, as libraries for timeouts do. If the
handler that it was meant for has ended by then, it hits the queue's own code.
"""

from __future__ import annotations

import ctypes
import faulthandler
import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobContext,
    JobHandle,
    JobQueue,
    JobQueueError,
    Limit,
    Metrics,
    Rate,
    Status,
    Unique,
    UnknownJobError,
)
from jobqueue.final.core.turns import Turn
from jobqueue.final.model.transitions import FINAL
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.interrupts import Interruption, each_place
from tests.support.left_out import often
from tests.support.ties import check_rest, check_whole
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.usefixtures("no_tracer")

WORKERS = 3
PAIRS = often(100, 200)
PLACES_STEP = often(4, 1)
"""Of a run with ties, each run tries a fourth of the places, once a day all."""
RAISE_SECONDS = 0.001
"""The mean time between two exceptions, if they come in a storm."""
RAISED = often(150, 400)
"""How many of them make a storm."""


class LateError(BaseException):
    """Meant for a handler that has ended."""


def raise_in(thread: threading.Thread) -> int:
    assert thread.ident is not None
    number = ctypes.c_ulong(thread.ident)
    found: int = ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(LateError))
    return found


def threads_of_attempts() -> list[threading.Thread]:
    names = ("jobqueue-worker",)
    return [each for each in threading.enumerate() if each.name.startswith(names)]


@contextmanager
def storm() -> Iterator[list[int]]:
    """Raise exceptions in the threads that run attempts; tells how many were raised."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, over, raised = random.Random(seed), threading.Event(), [0]

    def blow() -> None:
        while not over.wait(chance.uniform(0, 2 * RAISE_SECONDS)):
            raised[0] += raise_in(chance.choice(threads_of_attempts()))

    blowing = in_thread(blow)
    try:
        yield raised
    finally:
        over.set()
        blowing.result(PATIENCE)


@pytest.fixture(autouse=True)
def _ignore_what_finalizers_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be hit, too, and so may the hook of pytest that is told of it."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)


def is_full(told: list[JobHandle]) -> bool:
    return len(told) == 3


def ended(metrics: Metrics) -> int:
    return metrics.completed + metrics.failed + metrics.cancelled


def where_threads_are() -> str:
    """What each thread does: such a fault may come once in a thousand runs."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read()


def assert_whole(jq: JobQueue, handles: list[JobHandle]) -> None:
    """All jobs have ended and are counted once, and as many workers as before wait for more."""
    assert jq.join(PATIENCE), where_threads_are()
    metrics = jq.metrics()
    assert metrics.enqueued == ended(metrics) == len(handles)
    assert (metrics.queued, metrics.scheduled, metrics.processing) == (0, 0, 0)
    scheduler = insides.scheduler(jq)
    assert eventually(lambda: insides.idle_workers(scheduler) == WORKERS)
    assert len(threads_of_attempts()) == len(insides.seats(jq)) == WORKERS
    with insides.mutex(jq):
        assert insides.taken(jq) is None
        insides.check_lanes(scheduler)
        assert {lane.room for lane in scheduler.lanes} == {lane.maxsize for lane in scheduler.lanes}


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["memory", "write", "fsync"])
def test_a_storm_of_exceptions_from_outside_loses_no_job_and_no_worker(
    tmp_path: Path, durability: Any
) -> None:
    """Fault 83 of docs/reliability.md."""
    config = Config(num_workers=WORKERS, max_retries=10_000, base_delay=0.0005, max_delay=0.001)
    if durability != "memory":
        config = replace(config, persist_path=tmp_path / "log", durability=durability)
    ran: Counter[bytes] = Counter()
    told: list[JobHandle] = []  # its `append` is C code, which no exception interrupts

    with JobQueue(config, handler=lambda payload: ran.update([payload])) as jq:
        with storm() as raised:
            handles: list[JobHandle] = []
            while raised[0] < RAISED:
                handles.append(jq.enqueue(Job(b"%d" % len(handles)), timeout=PATIENCE))
                handles[-1].add_done_callback(told.append)

        assert_whole(jq, handles)
        assert all(ran[handle.job.payload] for handle in handles)
        assert eventually(lambda: len(told) == len(handles))
        assert set(told) == set(handles)

    if durability != "memory":
        with JobQueue(config, handler=len, start=False) as jq:
            assert {jq.status(handle.id) for handle in handles} == {Status.COMPLETED}


def test_no_thread_that_runs_attempts_starts_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception for it might hit the new one, and it would wait for ever that this begins."""
    starters: list[tuple[str, str]] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        starters.append((thread.name, threading.current_thread().name))
        start(thread)

    def fails(payload: bytes) -> None:
        raise ValueError

    def waits(payload: bytes) -> None:
        jq.enqueue(Job(handler="fails")).wait(PATIENCE)

    handlers = {"fails": fails, "waits": waits}
    with JobQueue(Config(num_workers=1, max_retries=0), handlers=handlers) as jq:
        monkeypatch.setattr(threading.Thread, "start", noted)
        assert jq.enqueue(Job(handler="waits")).wait(PATIENCE) is Status.COMPLETED

    by_workers = [each for each, starter in starters if starter.startswith("jobqueue-worker")]
    assert by_workers == []
    assert {"jobqueue-report", "jobqueue-worker-2"} <= {each for each, _ in starters}


# --- each place, in turn ------------------------------------------------------------------------


def run_interrupted(jq: JobQueue, interruption: Interruption, told: list[JobHandle]) -> None:
    """One worker runs a job that returns, one that fails, and one that returns; then it ends."""

    def fail(payload: bytes) -> None:
        raise ValueError

    jq.register("return", len)
    jq.register("fail", fail)
    handles = [jq.enqueue(Job(handler=name)) for name in ("return", "fail", "return")]
    for each in handles:
        each.add_done_callback(told.append)
    work = insides.new_worker(jq)

    def run() -> None:
        with interruption:
            try:
                work()
            except KeyboardInterrupt:  # on the way into the first function
                work()

    running = in_thread(run)
    # No call of the queue's: that would finish what the worker has left.
    assert eventually(lambda: all(insides.recorded_status(each) in FINAL for each in handles))
    with insides.mutex(jq):
        insides.scheduler(jq).stop()
    running.result(PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["memory", "write"])
def test_wherever_a_worker_is_hit_each_job_ends_once(tmp_path: Path, durability: Any) -> None:
    """Fault 83 of docs/reliability.md."""
    places: Iterable[Interruption] = each_place()
    if durability != "memory":
        places = map(Interruption, range(random.randrange(8), 250, 8))
    for number, interruption in enumerate(places):
        config = Config(max_retries=0)
        if durability != "memory":
            config = replace(config, persist_path=tmp_path / str(number))
        told: list[JobHandle] = []
        with JobQueue(config, start=False) as jq:
            run_interrupted(jq, interruption, told)

            metrics, where = jq.metrics(), interruption.where
            assert (metrics.enqueued, ended(metrics), metrics.processing) == (3, 3, 0), where
            assert metrics.completed <= 2, where
            assert eventually(partial(is_full, told)), where
            assert len(set(told)) == 3, where
            assert len(insides.seats(jq)) == 0, where
            assert insides.taken(jq) is None, where
            statuses = [handle.status for handle in told]
        if durability != "memory":
            with JobQueue(config, start=False) as jq:
                assert [jq.status(handle.id) for handle in told] == statuses, where


def run_tied(jq: JobQueue, interruption: Interruption) -> list[JobHandle]:
    """One worker runs jobs that are tied to each other and to limits; then it ends."""

    def parent(_payload: bytes, context: JobContext) -> None:
        context.enqueue_many(
            [Job(id="1", handler="work"), Job(id="2", handler="work", after=["1"])]
        )
        context.enqueue(Job(id="3", handler="work", key="old", unique=replacing))

    def fail(_payload: bytes) -> None:
        raise ValueError

    replacing = Unique("key", on_conflict="replace")
    limit = Limit(1)
    jq.register("work", len, limit=limit, rate=Rate(1000))
    jq.register("parent", parent, limit=limit)
    jq.register("fail", fail, limit=Limit(1, per_key=True))
    old = jq.enqueue(Job(key="old", handler="work", unique=replacing), delay=3600.0)
    first = jq.enqueue(Job(id="parent", handler="parent", key="p", unique=Unique(), expires=60.0))
    failing = jq.enqueue(Job(handler="fail", key="f"))
    handles = [
        old,
        *(first, failing),
        jq.enqueue(Job(handler="work", after=[first])),
        jq.enqueue(Job(handler="work", after=[failing])),
        jq.enqueue(Job(handler="work", unique=Unique(until="started"), key="w")),
    ]
    work = insides.new_worker(jq)

    def run() -> None:
        with interruption:
            try:
                work()
            except KeyboardInterrupt:  # on the way into the first function
                work()

    running = in_thread(run)
    try:  # no call of the queue's: that would finish what the worker has left
        assert eventually(
            lambda: insides.number_of_live(jq) == (insides.recorded_status(old) not in FINAL)
        )
    finally:
        with insides.mutex(jq):
            insides.scheduler(jq).stop()
    running.result(PATIENCE)
    return handles


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["memory", "write"])
def test_wherever_a_worker_is_hit_all_ties_are_loosed(tmp_path: Path, durability: Any) -> None:
    """Faults 83 and 85 of docs/reliability.md."""
    places: Iterable[Interruption] = each_place(PLACES_STEP)
    if durability != "memory":
        places = map(Interruption, range(random.randrange(8), 900, 8))
    for number, interruption in enumerate(places):
        config = Config(max_retries=0)
        if durability != "memory":
            config = replace(config, persist_path=tmp_path / str(number))
        with JobQueue(config, start=False) as jq:
            old, first, failing, after_first, after_failing, _ = run_tied(jq, interruption)
            where = interruption.where
            check_whole(jq)
            is_done = first.status is Status.COMPLETED
            has_run = after_first.status in (Status.COMPLETED, Status.FAILED)  # it may be hit too
            assert has_run if is_done else after_first.status is Status.CANCELLED, where
            assert failing.status is Status.FAILED, where
            assert after_failing.status is Status.CANCELLED, where
            children = [is_known(jq, each) for each in "123"]
            assert children == [is_done] * 3, where
            assert (old.status is Status.CANCELLED) == is_done, where
            old.cancel()
            check_rest(jq)


def is_known(jq: JobQueue, job_id: str) -> bool:
    try:
        jq.status(job_id)
    except UnknownJobError:
        return False
    return True


@pytest.mark.slow
def test_a_second_hit_while_the_worker_recovers_does_no_more_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, recover = random.Random(seed), Turn.recover
    for _ in range(PAIRS):
        interruption = Interruption(chance.randrange(200), then=chance.randrange(60))

        def hit_again(turn: Turn, error: BaseException, hit: Interruption = interruption) -> bool:
            hit.go_on()
            return recover(turn, error)

        monkeypatch.setattr(Turn, "recover", hit_again)
        told: list[JobHandle] = []
        with JobQueue(Config(max_retries=0), start=False) as jq:
            run_interrupted(jq, interruption, told)
            assert ended(jq.metrics()) == 3, interruption.where
            assert eventually(partial(is_full, told)), interruption.where


# --- one thing at a time ------------------------------------------------------------------------


def test_a_worker_that_is_hit_while_it_waits_takes_the_next_job() -> None:
    with JobQueue(Config(num_workers=1), handler=len) as jq:
        for _ in range(3):
            assert eventually(lambda: insides.idle_workers(insides.scheduler(jq)) == 1)
            (thread,) = threads_of_attempts()
            raise_in(thread)
            assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3
        assert threads_of_attempts() == [thread]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_cannot_go_on_faults_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    jq = JobQueue(Config(num_workers=1), handler=len, start=False)

    def broken(*_args: object) -> None:
        raise OSError("broken")

    monkeypatch.setattr(insides.outcomes(jq), "begin", broken)
    handle = jq.enqueue(Job())
    jq.start()

    with pytest.raises(JobQueueError, match="a worker thread died: OSError: broken"):
        handle.result(PATIENCE)
    jq.close(0)
