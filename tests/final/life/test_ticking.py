"""The thread of the schedules, and what goes wrong on it."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobqueue.final import Job, JobQueue, Unique, UnknownJobError
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.faulty_files import FaultyFiles
from tests.support.forks import in_fork
from tests.support.handlers import in_thread
from tests.support.interrupts import Interruption, each_place
from tests.support.left_out import often
from tests.support.logs import HastyFiles
from tests.support.queues import Store
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually

HOUR = 3600.0
TEN = datetime(2026, 11, 29, 10, tzinfo=UTC).timestamp()


class SetClock:
    """Real time, but for a wall clock that is set."""

    manual = False

    def __init__(self, wall: float) -> None:
        self.monotonic = time.monotonic
        self.set(wall)

    def set(self, wall: float) -> None:
        """Have it be this Unix time now."""
        self._ahead = wall - time.monotonic()

    def time(self) -> float:
        return time.monotonic() + self._ahead

    def subscribe(self, on_advance: Callable[[], None]) -> Callable[[], None]:
        del on_advance
        return lambda: None


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "jobqueue-periodic"]


def is_known(jq: JobQueue, job_id: str) -> bool:
    try:
        jq.status(job_id)
    except UnknownJobError:
        return False
    return True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock is looked at often, and what failed is tried again soon."""
    monkeypatch.setattr("jobqueue.final.life.ticking.LOOK_SECONDS", 0.005)
    monkeypatch.setattr("jobqueue.final.life.ticking.RETRY_SECONDS", 0.01)


def open_at(wall: float) -> tuple[JobQueue, SetClock]:
    clock = SetClock(wall)
    return JobQueue(handler=len, clock=clock), clock


# --- the thread ---------------------------------------------------------------------------------


def test_ticks_come_by_themselves_before_the_workers_are_started(memory: Store) -> None:
    jq = memory.open(len, start=False)
    jq.periodic("often", timedelta(milliseconds=20), Job)
    assert eventually(lambda: jq.metrics().queued >= 2)


def test_the_thread_begins_with_the_first_schedule_and_ends_with_the_queue(memory: Store) -> None:
    before = threads()
    jq = memory.open(len)
    assert threads() == before
    for name in "ab":
        jq.periodic(name, timedelta(hours=1), Job)
    assert eventually(lambda: len(threads()) == len(before) + 1)
    jq.close()
    assert threads() == before


def test_the_factory_runs_on_a_thread_of_its_own_and_without_locks(memory: Store) -> None:
    jq = memory.open(len)
    seen: list[tuple[str, bool]] = []

    def factory() -> Job:
        is_free = in_thread(jq.metrics).result(PATIENCE)
        seen.append((threading.current_thread().name, bool(is_free)))
        return Job()

    jq.periodic("often", timedelta(milliseconds=10), factory)
    assert eventually(lambda: seen)
    assert seen[0] == ("jobqueue-periodic", True)


def test_close_does_not_wait_for_a_factory_and_its_job_is_not_taken(memory: Store) -> None:
    entered, gate = threading.Event(), threading.Event()

    def factory() -> Job:
        entered.set()
        assert gate.wait(PATIENCE)
        return Job()

    jq = memory.open(len)
    jq.periodic("often", timedelta(milliseconds=10), factory)
    assert entered.wait(PATIENCE)
    began = time.monotonic()
    jq.close(PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    gate.set()
    assert eventually(lambda: not threads())
    assert jq.metrics().enqueued == 0


def test_a_factory_may_close_the_queue(memory: Store) -> None:
    jq = memory.open(len)

    def factory() -> Job:
        jq.close()
        return Job()

    jq.periodic("often", timedelta(milliseconds=10), factory)
    assert eventually(lambda: jq.closed and not threads())


def test_a_thread_that_cannot_be_had_is_tried_again(
    memory: Store, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    start, failures = threading.Thread.start, [1, 2]

    def start_later(self: threading.Thread) -> None:
        if self.name == "jobqueue-periodic" and failures:
            failures.pop()
            raise RuntimeError("can't start new thread")
        start(self)

    jq = memory.open(len)
    monkeypatch.setattr(threading.Thread, "start", start_later)
    jq.periodic("often", timedelta(milliseconds=10), Job)
    assert eventually(lambda: jq.metrics().enqueued)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_no_ticks(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(len, clock=clock)
    called: list[int] = []

    def factory() -> Job:
        called.append(1)
        return Job()

    jq.periodic("hourly", timedelta(hours=1), factory)

    def advance() -> int:
        clock.advance(HOUR)
        return len(called)

    assert in_fork(advance) == 0


# --- the wall clock is set ----------------------------------------------------------------------


def test_a_tick_comes_soon_after_the_clock_was_set_forward_past_it(quick: None) -> None:
    jq, clock = open_at(TEN - 1800)
    with jq:
        jq.periodic("hourly", "@hourly", Job)
        clock.set(TEN + 5)
        assert eventually(lambda: is_known(jq, "hourly@2026-11-29T10:00:00Z"))


@pytest.mark.parametrize(
    ("catch_up", "wanted"), [("none", [12]), ("last", [11, 12]), ("all", [10, 11, 12])]
)
def test_what_becomes_of_ticks_that_the_clock_was_set_past(
    catch_up: str, wanted: list[int], quick: None
) -> None:
    jq, clock = open_at(TEN - 1800)
    with jq:
        jq.periodic("hourly", "@hourly", Job, catch_up=catch_up)  # type: ignore[arg-type]
        clock.set(TEN + HOUR + 1800)
        assert eventually(lambda: jq.periodics()[0].next == TEN + 2 * HOUR)
        clock.set(TEN + 2 * HOUR)
        ids = {hour: f"hourly@2026-11-29T{hour}:00:00Z" for hour in (10, 11, 12)}
        assert eventually(lambda: is_known(jq, ids[12]))
        assert [hour for hour, job_id in ids.items() if is_known(jq, job_id)] == wanted


def test_a_clock_that_is_set_back_brings_no_tick_a_second_time(quick: None) -> None:
    jq, clock = open_at(TEN - 1800)
    called: list[int] = []

    def factory() -> Job:
        called.append(1)
        return Job()

    with jq:
        jq.periodic("hourly", "@hourly", factory)
        clock.set(TEN)
        assert eventually(lambda: called)
        clock.set(TEN - 60)
        jq.periodic("later", "@hourly", Job)  # which comes at ten once more
        clock.set(TEN)
        assert eventually(lambda: is_known(jq, "later@2026-11-29T10:00:00Z"))
        assert len(called) == 1


# --- what goes wrong ----------------------------------------------------------------------------


class StrangeError(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(1), StrangeError()])
def test_a_factory_that_raises_leaves_out_its_tick_and_the_schedule_goes_on(
    memory: Store, records: Records, error: BaseException
) -> None:
    jq = memory.open(len)
    errors = [error]

    def factory() -> Job:
        if errors:
            raise errors.pop()
        return Job()

    jq.periodic("often", timedelta(milliseconds=10), factory)
    record = records.next()
    assert record.levelname == "ERROR"
    assert "schedule 'often' left out its tick of 20" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert eventually(lambda: jq.metrics().enqueued)


def test_with_a_clock_moved_by_hand_a_factorys_error_is_told_and_an_interrupt_comes_out(
    memory: Store, clock: ManualClock, records: Records
) -> None:
    jq = memory.open(len, clock=clock)
    errors: list[BaseException] = [KeyboardInterrupt(), ValueError("boom")]

    def factory() -> Job:
        if errors:
            raise errors.pop()
        return Job()

    jq.periodic("hourly", timedelta(hours=1), factory)
    clock.advance(HOUR)
    assert "ValueError" in records.next().getMessage()
    with pytest.raises(KeyboardInterrupt):
        clock.advance(HOUR)
    clock.advance(HOUR)
    assert jq.metrics().enqueued == 1


@pytest.mark.parametrize("made", [None, "job", len])
def test_a_factory_that_returns_no_job_is_told_of(
    memory: Store, clock: ManualClock, records: Records, made: object
) -> None:
    jq = memory.open(len, clock=clock)
    jq.periodic("hourly", timedelta(hours=1), lambda: made)  # type: ignore[arg-type,return-value]
    clock.advance(HOUR)
    record = records.next()
    assert record.exc_info is not None
    assert "it must return a Job" in str(record.exc_info[1])
    assert jq.metrics().enqueued == 0


def test_a_job_that_no_queue_would_take_is_told_of(
    memory: Store, clock: ManualClock, records: Records
) -> None:
    jq = memory.open(len, clock=clock, max_payload_bytes=10)
    jq.periodic("hourly", timedelta(hours=1), lambda: Job(b"x" * 11))
    clock.advance(HOUR)
    assert "ValueError" in records.next().getMessage()


def test_a_clock_that_fails_ends_no_thread(records: Records, quick: None) -> None:
    jq, clock = open_at(TEN - 1800)
    right = clock.time
    with jq:
        jq.periodic("hourly", "@hourly", Job)
        clock.time = lambda: float("nan")  # type: ignore[method-assign]
        assert "schedules are held up" in records.next().getMessage()
        clock.time = right  # type: ignore[method-assign]
        clock.set(TEN)
        assert eventually(lambda: is_known(jq, "hourly@2026-11-29T10:00:00Z"))


# --- the log takes nothing ----------------------------------------------------------------------


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> FaultyFiles:
    files = FaultyFiles(maps=False)
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", lambda: files)
    return files


@pytest.mark.parametrize("durability", ["async", "write", "fsync"])
def test_a_tick_that_finds_the_disk_full_comes_when_there_is_room(
    store: Store, files: FaultyFiles, clock: ManualClock, records: Records, durability: str
) -> None:
    config = store.config(durability=durability, fsync_interval=0.01)
    with JobQueue(config, handler=len, clock=clock) as jq:
        jq.periodic("hourly", timedelta(hours=1), Job, catch_up="all")
        jq.flush()
        for method in ("allocate", "write"):
            files.fail(method, errno.ENOSPC, for_ever=True)
        if durability == "async":  # which accepts until it knows
            jq.enqueue(Job(id="first"))
            assert eventually(lambda: _log_error(jq))
        for _ in range(2):
            clock.advance(HOUR)
        record = records.next()
        assert record.levelname == "WARNING"
        assert "a tick of schedule 'hourly' waits" in record.getMessage()
        assert jq.periodics()[0].last is None

        files.heal()
        assert eventually(lambda: _takes(jq))
        clock.advance(1)
        last = jq.periodics()[0].last
        assert last is not None
        assert jq.join(PATIENCE)
    assert not [each for each in records.rest() if "waits" in each.getMessage()]  # told once
    with JobQueue(config, handler=len, clock=clock) as again:
        again.periodic("hourly", timedelta(hours=1), Job, catch_up="all")
        assert again.periodics()[0].last == last
        assert again.metrics().enqueued == 0


def _log_error(jq: JobQueue) -> str | None:
    log = jq.metrics().log
    assert log is not None
    return log.error


def _takes(jq: JobQueue) -> bool:
    try:
        jq.enqueue(Job())
    except OSError:
        return False
    return True


def test_a_tick_after_the_log_has_failed_for_good_does_nothing(
    log_store: Store, files: FaultyFiles, clock: ManualClock
) -> None:
    jq = log_store.open(len, clock=clock)
    jq.periodic("hourly", timedelta(hours=1), Job)
    files.fail("sync", errno.EIO)
    with pytest.raises(OSError):
        jq.flush()
    clock.advance(HOUR)
    assert jq.metrics().enqueued == 0


# --- KeyboardInterrupt --------------------------------------------------------------------------


@pytest.fixture
def hasty(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """A store on a disk that takes no time: for tests that open hundreds of queues."""
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", HastyFiles)
    store = Store(request.param, tmp_path)
    yield store
    store.close()


def interrupt(interruption: Interruption, call: Callable[[], object]) -> None:
    try:
        with interruption:
            call()
    except KeyboardInterrupt:
        pass


def check_going_on(jq: JobQueue, clock: ManualClock, where: str | None) -> None:
    """The schedule has its next tick, each job runs, and the log has no tick without its job."""
    clock.advance(HOUR)
    assert jq.periodics()[0].last == clock.time() // HOUR * HOUR, where
    assert jq.join(PATIENCE), where
    metrics = jq.metrics()
    assert metrics.enqueued == metrics.completed, where
    assert not insides.is_owned(insides.mutex(jq))
    jq.close()


CALLS: dict[str, Callable[[JobQueue, ManualClock], object]] = {
    "periodic": lambda jq, _: jq.periodic("hourly", timedelta(hours=1), Job, catch_up="all"),
    "tick": lambda _, clock: clock.advance(HOUR),
    "pause": lambda jq, _: jq.pause(periodic="hourly"),
    "resume": lambda jq, _: jq.resume(periodic="hourly"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("no_tracer")
@pytest.mark.parametrize("hasty", ["memory", "write"], indirect=True)
@pytest.mark.parametrize("call", CALLS)
def test_whatever_is_interrupted_the_schedule_goes_on(hasty: Store, call: str) -> None:
    for interruption in each_place(1 if hasty.kind == "memory" else often(4, 1)):
        shutil.rmtree(hasty.path, ignore_errors=True)
        clock = ManualClock(TEN - 1800)
        jq = hasty.open(len, clock=clock, num_workers=1)
        if call != "periodic":
            jq.periodic("hourly", timedelta(hours=1), Job, catch_up="all")
        if call == "resume":
            jq.pause(periodic="hourly")

        interrupt(interruption, lambda: CALLS[call](jq, clock))  # noqa: B023  # called at once

        if call == "periodic":
            jq.periodic("hourly", timedelta(hours=1), Job, catch_up="all")
        jq.resume(periodic="hourly")
        check_going_on(jq, clock, interruption.where)


def test_a_tick_that_is_refused_for_a_job_like_its_own_is_not_the_last_that_enqueued_one(
    memory: Store,
) -> None:
    clock = ManualClock(9.5 * HOUR)
    jq = memory.open(len, clock=clock, start=False)
    jq.periodic(
        "hourly", timedelta(hours=1), lambda: Job(key="a", unique=Unique(on_conflict="raise"))
    )
    for _ in range(3):
        clock.advance(HOUR)
    assert jq.periodics()[0].last == 10 * HOUR
