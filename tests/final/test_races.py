"""Races, told as numbered steps and then forced, and interruptions at each place there is."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    EnqueueTimeoutError,
    Job,
    JobHandle,
    JobQueue,
    JobQueueError,
    LogWriteError,
    Priority,
    QueueClosedError,
    RetryJobError,
    Status,
    UnknownJobError,
)
from jobqueue.final.core.journal import LARGE_PAYLOAD_BYTES
from jobqueue.final.core.lane import Lane
from jobqueue.final.life import recovery as recovery_module
from jobqueue.final.runtime.parking import Parker
from jobqueue.final.testing import ManualClock
from jobqueue.final.wal.format.codec import encode_batch
from jobqueue.final.wal.writing import active_segment as tail
from tests.support import insides
from tests.support.gil import is_gil_on
from tests.support.handlers import Recorder, in_thread
from tests.support.held_files import HeldFiles
from tests.support.interrupts import Interruption, each_place
from tests.support.left_out import often
from tests.support.logs import HastyFiles
from tests.support.queues import STORES, Store, fill, until, until_blocked
from tests.support.waiting import PATIENCE, eventually, eventually_freed

pytestmark = pytest.mark.usefixtures("no_tracer")

MEDIUM = Priority.MEDIUM


def nothing(payload: bytes) -> bytes:
    return payload


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> HeldFiles:
    """The files of the queues that are opened from here on."""
    files = HeldFiles()
    monkeypatch.setattr(recovery_module, "Files", lambda: files)
    return files


@pytest.fixture
def fsynced(tmp_path: Path) -> Iterator[Store]:
    store = Store("fsync", tmp_path)
    yield store
    store.close()


def lane(jq: JobQueue) -> Lane:
    return insides.lane(jq, MEDIUM)


def until_watched(jq: JobQueue) -> None:
    """Wait until somebody waits for the queue to come to rest."""
    assert eventually(lambda: insides.waiting_for_rest(jq))


def until_idle(jq: JobQueue, workers: int = 1) -> None:
    """Wait until so many workers sleep."""
    assert eventually(lambda: insides.idle_workers(insides.scheduler(jq)) == workers)


# --- producers that wait for room -----------------------------------------------------------


class Interrupting(threading.Event):
    """An event that interrupts the call that looks at it for the second time."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        if self.looks == 2:
            raise KeyboardInterrupt
        return super().is_set()


def test_a_producer_that_was_interrupted_leaves_the_line(memory: Store) -> None:
    # 1. A waits for room, and is interrupted in its sleep. 2. B waits for room. 3. There is
    # room, once. Who is woken must be B: nobody else is there to take it.
    jq = memory.open(nothing, start=False, queue_size=1)
    first, *_ = fill(jq, 1)
    with pytest.raises(KeyboardInterrupt):
        jq.enqueue(Job(), cancel=Interrupting())
    accepted = in_thread(jq.enqueue, Job(id="b"))
    until_blocked(jq)

    first.cancel()

    assert accepted.result(PATIENCE).id == "b"


def test_a_producer_that_looks_at_its_event_does_not_jump_the_line(memory: Store) -> None:
    # Each look of B, who can be cancelled, would otherwise put it before A.
    jq = memory.open(nothing, start=False, queue_size=1)
    fill(jq, 1)
    in_thread(jq.enqueue, Job(id="a"))
    until_blocked(jq)
    looks = Interrupting()
    looks.looks = 2
    in_thread(jq.enqueue, Job(id="b"), cancel=looks)
    until_blocked(jq, 2)
    alarms = list(lane(jq).producers)
    assert eventually(lambda: looks.looks >= 5)

    with insides.mutex(jq):
        assert list(lane(jq).producers) == alarms


def test_a_producer_that_was_woken_for_nothing_keeps_its_place(memory: Store) -> None:
    # 1. A and B wait. 2. There is room: A is woken. 3. C comes by and takes it before A looks.
    jq = memory.open(nothing, start=False, queue_size=1)
    first, *_ = fill(jq, 1)
    waiting = [in_thread(jq.enqueue, Job(id="a"))]
    until_blocked(jq)
    waiting.append(in_thread(jq.enqueue, Job(id="b")))
    until_blocked(jq, 2)
    alarms = list(lane(jq).producers)
    with insides.mutex(jq):
        insides.cancel(jq, first)
        lane(jq).room -= 1  # as C does
    until_blocked(jq, 2)
    assert list(lane(jq).producers) == alarms

    with insides.mutex(jq):
        lane(jq).room += 1
        lane(jq).wake_producer()

    assert waiting[0].result(PATIENCE).id == "a"
    assert not waiting[1].done()
    jq.cancel("a")
    waiting[1].result(PATIENCE)


def test_a_producer_whose_time_ran_out_as_it_was_woken_takes_the_room(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. A waits, and its time runs out. 2. Before it can look, there is room, and A is chosen to
    # be woken. To give up now would leave the room to nobody.
    jq = memory.open(nothing, start=False, queue_size=1)
    first, *_ = fill(jq, 1)
    is_out = threading.Event()
    sleep = getattr(*insides.sleeping_for_room())

    def until_time_is_out(wait: Any, parker: Parker) -> None:
        if not insides.has_timeout(wait):
            sleep(wait, parker)
            return
        assert is_out.wait(PATIENCE)
        insides.time_out(wait)

    monkeypatch.setattr(*insides.sleeping_for_room(), until_time_is_out)
    a = in_thread(jq.enqueue, Job(id="a"), timeout=PATIENCE)
    until_blocked(jq)
    b = in_thread(jq.enqueue, Job(id="b"))
    until_blocked(jq, 2)
    first.cancel()
    is_out.set()

    assert a.result(PATIENCE).id == "a"
    jq.cancel("a")
    assert b.result(PATIENCE).id == "b"


def test_a_producer_sleeps_again_though_it_was_woken_before(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. A waits, its time is up, and just then it is woken. 2. C takes the room before A looks.
    # 3. A waits again. A wake-up of before must not count.
    asleep: list[bool] = []
    sleep = getattr(*insides.sleeping_for_room())

    def time_is_up_at_first(wait: Any, parker: Parker) -> None:
        asleep.append(not insides.is_woken(parker))
        if len(asleep) == 1:
            lane(jq).producers.popleft().unpark()
        else:
            sleep(wait, parker)

    monkeypatch.setattr(*insides.sleeping_for_room(), time_is_up_at_first)
    jq = memory.open(nothing, start=False, queue_size=1)
    first, *_ = fill(jq, 1)
    a = in_thread(jq.enqueue, Job())
    assert eventually(lambda: len(asleep) == 2)
    first.cancel()

    a.result(PATIENCE)
    assert asleep == [True, True]


def test_a_producer_that_is_refused_in_its_turn_passes_the_room_on(memory: Store) -> None:
    # 1. A and B wait with the same id, C behind them. 2. Two places become free: A is accepted, B
    # refused for its id. 3. The second place is C's then.
    jq = memory.open(nothing, start=False, queue_size=2)
    first, second = fill(jq, 2)
    twins = [in_thread(jq.enqueue, Job(id="twin"))]
    until_blocked(jq)
    twins.append(in_thread(jq.enqueue, Job(id="twin")))
    until_blocked(jq, 2)
    c = in_thread(jq.enqueue, Job(id="c"))
    until_blocked(jq, 3)

    first.cancel()
    second.cancel()

    assert c.result(PATIENCE).id == "c"
    assert sorted(type(twin.exception(PATIENCE)).__name__ for twin in twins) == [
        "DuplicateJobError",
        "NoneType",
    ]


# --- the log's thread and those who write beside it -------------------------------------------


def test_a_job_that_comes_while_the_logs_thread_writes_is_written_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. The log's thread writes A, which is large: its batch has a number and is not in the map
    # yet. 2. B comes, and could copy itself into the map: under the same number.
    store = Store("write", tmp_path)
    jq = store.open(nothing, start=False)
    writer = insides.writer(jq)
    coming: list[Future[JobHandle]] = []

    def encode_slowly(*args: Any) -> bytes:
        data = encode_batch(*args)
        if not coming:
            coming.append(in_thread(jq.enqueue, Job(id="b")))
            assert eventually(lambda: insides.open_batch(writer).urgent or coming[0].done())
        return data

    monkeypatch.setattr(tail, "encode_batch", encode_slowly)
    jq.enqueue(Job(bytes(LARGE_PAYLOAD_BYTES), id="a"))
    coming[0].result(PATIENCE)
    store.close()

    again = store.open(nothing, start=False)
    assert again.status("a") is again.status("b") is Status.QUEUED
    store.close()


# --- several that close ---------------------------------------------------------------------


def test_a_close_that_breaks_off_is_taken_up_by_who_waits_for_it(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. A closes, and waits for a handler. 2. B closes, and waits for A. 3. A is interrupted.
    # B must not take the queue for closed.
    blocker = memory.blocker()
    jq = memory.open(blocker, num_workers=1)
    fill(jq, 1)
    blocker.await_entered()
    interrupt = threading.Event()
    wait, waits = insides.watchers(jq).wait, []

    def interrupted_at_first(condition: Callable[[], bool], timeout: float | None) -> bool:
        waits.append(timeout)
        if len(waits) > 1:
            return wait(condition, timeout)
        assert interrupt.wait(PATIENCE)
        raise KeyboardInterrupt

    monkeypatch.setattr(insides.watchers(jq), "wait", interrupted_at_first)
    a = in_thread(jq.close)
    assert eventually(lambda: waits)
    b = in_thread(jq.close)
    assert eventually(lambda: insides.waiting_closers(jq))

    interrupt.set()
    assert isinstance(a.exception(PATIENCE), KeyboardInterrupt)
    assert eventually(lambda: len(waits) == 2)
    blocker.gate.set()

    assert b.result(PATIENCE).completed == 1
    assert not insides.pool(jq).workers


# --- coming to rest -------------------------------------------------------------------------


def test_join_sees_a_job_come_to_rest_that_waits_for_its_handler(
    fsynced: Store, files: HeldFiles
) -> None:
    # 1. A job of an unknown handler waits for the disk. 2. join() finds it queued, and waits.
    # 3. The disk is done and the job is put aside: now the queue is at rest.
    jq = fsynced.open()
    files.hold("sync")
    enqueued = in_thread(jq.enqueue, Job(handler="unknown"))
    assert eventually(lambda: jq.metrics().queued)  # what is held first may be the log's own fsync
    joined = in_thread(jq.join)
    until_watched(jq)

    files.let_go("sync")

    assert joined.result(PATIENCE) is True
    assert enqueued.result(PATIENCE).status is Status.QUEUED


def test_join_tells_that_the_queue_was_at_rest_though_it_is_busy_again(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. join() is woken, since the queue is at rest. 2. Before it can look, another job comes.
    blocker = memory.blocker()
    jq = memory.open(blocker)
    watchers = insides.watchers(jq)
    wait = watchers.wait

    def wait_and_be_slow(condition: Callable[[], bool], timeout: float | None) -> bool:
        came = wait(condition, timeout)
        jq.enqueue(Job())
        return came

    monkeypatch.setattr(watchers, "wait", wait_and_be_slow)

    assert jq.join(PATIENCE) is True


def test_who_waits_for_a_job_that_the_disk_had_no_room_for_is_told(
    fsynced: Store, files: HeldFiles
) -> None:
    # 1. A job waits for the disk. 2. Somebody waits for the job. 3. The disk is full.
    files.fail("allocate", errno.EOPNOTSUPP)  # no map: all is written call by call
    jq = fsynced.open(nothing)
    files.hold("write")
    enqueued = in_thread(jq.enqueue, Job(id="a"))
    files.await_held()
    handle = jq.handle("a")
    waited = in_thread(handle.wait)
    result = in_thread(handle.result)
    assert eventually(lambda: len(insides.waiters(handle)) == 2)
    files.fail("write", errno.ENOSPC)

    files.let_go("write")

    assert waited.result(PATIENCE) is Status.QUEUED
    assert isinstance(result.exception(PATIENCE), UnknownJobError)
    assert isinstance(enqueued.exception(PATIENCE), LogWriteError)


def test_who_waits_for_a_requeued_job_that_the_disk_had_no_room_for_is_told(
    fsynced: Store, files: HeldFiles
) -> None:
    def fails(_payload: bytes) -> None:
        raise ValueError("no")

    files.fail("allocate", errno.EOPNOTSUPP)  # no map: all is written call by call
    jq = fsynced.open(fails, max_retries=0)
    jq.enqueue(Job(id="a")).wait(PATIENCE)
    jq.flush()
    files.hold("write")
    requeued = in_thread(jq.requeue, "a")
    files.await_held()
    handle = jq.handle("a")
    waited = in_thread(handle.wait)
    assert eventually(lambda: insides.waiters(handle))
    files.fail("write", errno.ENOSPC)

    files.let_go("write")

    assert waited.result(PATIENCE) is Status.FAILED
    assert isinstance(requeued.exception(PATIENCE), LogWriteError)
    assert [info.id for info in jq.dead_letters()] == ["a"]


# --- starting, stopping ---------------------------------------------------------------------


def test_close_does_not_mind_a_worker_that_is_only_about_to_start(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. start() makes the workers, and begins to start their threads. 2. close() finds a worker
    # whose thread has its ident, but does not count as started yet: it cannot be joined.
    jq = memory.open(nothing, start=False, num_workers=1)
    begun, go_on = threading.Event(), threading.Event()
    start = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]  # private, of the standard library

    def start_slowly(thread: threading.Thread) -> None:
        if thread.name.startswith("jobqueue-worker"):
            thread._set_ident()  # type: ignore[attr-defined]  # as it does first
            begun.set()
            assert go_on.wait(PATIENCE)
        start(thread)

    monkeypatch.setattr(threading.Thread, "_bootstrap_inner", start_slowly)
    started = in_thread(jq.start)
    assert begun.wait(PATIENCE)

    report = jq.close(0.2)

    go_on.set()
    started.result(PATIENCE)
    assert report.unfinished == ()


def test_a_finalizer_of_a_result_may_use_the_queue(memory: Store) -> None:
    # The last reference to a result is the worker's, where nobody keeps the handle.
    ran = Recorder()
    jq = memory.open(
        handlers={"ran": ran, "make": lambda _payload: Last()}, num_workers=1, result_retention=0
    )
    refused: list[BaseException] = []

    class Last:
        def __del__(self) -> None:
            try:
                jq.enqueue(Job(id="from the finalizer", handler="ran"))
            except RuntimeError as error:
                refused.append(error)

    jq.enqueue(Job(handler="make"))
    jq.enqueue(Job(id="next", handler="ran"))

    assert ran.next().id in {"next", "from the finalizer"}
    assert eventually_freed(lambda: refused or jq.metrics().completed == 3)
    # Without the GIL an object that another thread made is freed by that thread, wherever it is.
    assert refused == [] or not is_gil_on()


# --- the outcome of an attempt --------------------------------------------------------------


class TextlessError(Exception):
    def __str__(self) -> str:
        raise SystemExit


class UndecidedError(RetryJobError):
    def __init__(self, delay: object = None) -> None:  # does not call its parent's
        if delay is not None:
            self.delay = delay  # type: ignore[assignment]  # as a careless user would


@pytest.mark.parametrize(
    "error",
    [
        TextlessError(),
        UndecidedError(),
        UndecidedError("soon"),
        UndecidedError(float("nan")),
        UndecidedError(-1.0),
    ],
    ids=["text", "no delay", "no number", "not a number", "the past"],
)
def test_an_error_that_is_broken_itself_costs_its_job_an_attempt_and_no_more(
    store: Store, error: Exception
) -> None:
    def fails(_payload: bytes) -> None:
        raise error

    jq = store.open(fails, max_retries=1, base_delay=0, num_workers=1)

    assert jq.enqueue(Job()).wait(PATIENCE) is Status.FAILED
    assert jq.metrics().retried == 1
    assert jq.metrics().workers.count == 1


# --- jobs that run alone, since they may have killed the process ----------------------------


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Store]:
    """A log in which the job "suspect", of the handler "late", was running when all ended."""
    died = Store("write", tmp_path / "died")
    jq = died.open(handlers={"late": died.blocker()})
    until(jq.enqueue(Job(id="suspect", handler="late")), Status.PROCESSING)
    image = Store("write", tmp_path / "image")
    shutil.copytree(died.path, image.path)
    died.close()
    yield image
    image.close()


def test_a_lone_job_waits_for_no_worker_that_has_gone_home(
    image: Store, clock: ManualClock
) -> None:
    # 1. An attempt overruns; its stand-in waits. 2. A suspect comes; the stand-in looks, but
    # something runs. 3. The attempt ends, and its worker goes home: nobody takes the suspect.
    blocker = image.blocker()
    jq = image.open(blocker, clock=clock, num_workers=1, max_crashes=2, job_timeout=1)
    jq.enqueue(Job())
    blocker.await_entered()
    clock.advance(1)
    until_idle(jq)
    jq.register("late", nothing)
    assert eventually(lambda: not insides.is_waking(insides.scheduler(jq)))
    blocker.gate.set()

    assert jq.handle("suspect").wait(PATIENCE) is Status.COMPLETED


def test_a_lone_job_may_enqueue_on_a_lane_that_nobody_may_empty(image: Store) -> None:
    jq = image.open(nothing, num_workers=2, max_crashes=2, queue_size=1)
    jq.register("late", lambda _: len([jq.enqueue(Job()), jq.enqueue(Job())]))

    assert jq.handle("suspect").wait(PATIENCE) is Status.COMPLETED
    assert jq.join(PATIENCE)


@pytest.mark.parametrize("suspect_comes_first", [True, False])
def test_a_lone_job_does_not_wait_for_a_handler_that_waits_for_a_job(
    image: Store, suspect_comes_first: bool
) -> None:
    # A handler waits for a job, which nobody runs before the suspect has run. So that one must not
    # wait for the handler to end.
    go_on, entered = threading.Event(), threading.Event()

    def waits(_payload: bytes) -> Status:
        child = jq.enqueue(Job(handler="plain"))
        entered.set()
        assert go_on.wait(PATIENCE)
        return child.wait()

    settings: dict[str, Any] = {"num_workers": 1, "max_crashes": 2}
    jq = image.open(waits, handlers={"plain": nothing}, **settings)
    parent = jq.enqueue(Job())
    assert entered.wait(PATIENCE)
    if suspect_comes_first:
        jq.register("late", nothing)
    else:
        jq.pause()
    go_on.set()
    if not suspect_comes_first:
        assert eventually(lambda: len(insides.seats(jq)) == 2)
        jq.register("late", nothing)
        jq.resume()

    assert jq.handle("suspect").wait(PATIENCE) is Status.COMPLETED
    assert parent.result(PATIENCE) is Status.COMPLETED


def test_a_lone_job_lets_others_in_when_it_waits_for_one(image: Store) -> None:
    jq = image.open(nothing, num_workers=1, max_crashes=2)
    jq.register("late", lambda _: jq.enqueue(Job()).wait())

    assert jq.handle("suspect").result(PATIENCE) is Status.COMPLETED
    assert not insides.suspects(jq)


@pytest.mark.parametrize(("job_timeout", "seconds"), [(None, 60), (5.0, 5)])
def test_a_lone_job_that_hangs_keeps_others_out_only_so_long(
    image: Store, job_timeout: float | None, seconds: float
) -> None:
    """Fault 66 of docs/reliability.md."""
    clock, hang = ManualClock(), image.blocker()
    settings: dict[str, Any] = {"num_workers": 2, "max_crashes": 2, "job_timeout": job_timeout}
    jq = image.open(nothing, clock=clock, **settings)
    jq.register("late", hang)
    hang.await_entered()
    other = jq.enqueue(Job(priority=Priority.HIGH))
    clock.advance(seconds - 0.001)
    assert other.status is Status.QUEUED

    clock.advance(0.001)

    assert other.wait(PATIENCE) is Status.COMPLETED
    assert jq.status("suspect") is Status.PROCESSING
    assert jq.enqueue(Job()).wait(PATIENCE) is Status.COMPLETED


@pytest.mark.parametrize(("job_timeout", "seconds"), [(None, 60), (5.0, 5)])
def test_an_attempt_that_hangs_keeps_a_lone_job_out_only_so_long(
    image: Store, job_timeout: float | None, seconds: float
) -> None:
    """Fault 66 of docs/reliability.md."""
    clock, hang = ManualClock(), image.blocker()
    settings: dict[str, Any] = {"num_workers": 2, "max_crashes": 2, "job_timeout": job_timeout}
    jq = image.open(nothing, handlers={"hangs": hang}, clock=clock, **settings)
    jq.enqueue(Job(handler="hangs"))
    hang.await_entered()
    jq.register("late", nothing)
    other = jq.enqueue(Job())
    until_idle(jq)
    assert eventually(lambda: not insides.is_waking(insides.scheduler(jq)))
    clock.advance(seconds - 0.001)
    assert other.status is Status.QUEUED

    clock.advance(0.001)

    assert jq.handle("suspect").wait(PATIENCE / 2) is Status.COMPLETED  # the other hangs longer
    assert other.wait(PATIENCE) is Status.COMPLETED


def test_a_lone_job_that_is_cancelled_holds_up_nobody_any_more(image: Store) -> None:
    blocker = image.blocker()
    jq = image.open(blocker, handlers={"plain": nothing}, num_workers=2, max_crashes=2)
    jq.enqueue(Job())
    blocker.await_entered()
    jq.register("late", nothing)
    other = jq.enqueue(Job(handler="plain"))
    until_idle(jq)
    assert eventually(lambda: not insides.is_waking(insides.scheduler(jq)))

    jq.cancel("suspect")

    assert other.wait(PATIENCE) is Status.COMPLETED


# --- KeyboardInterrupt ----------------------------------------------------------------------


@pytest.fixture
def hasty(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """A store on a disk that takes no time: for tests that open hundreds of queues."""
    monkeypatch.setattr(recovery_module, "Files", HastyFiles)
    store = Store(getattr(request, "param", "write"), tmp_path)
    yield store
    store.close()


def open_idle(store: Store, handler: Callable[..., object] = nothing, **settings: Any) -> JobQueue:
    """A queue whose one worker sleeps."""
    shutil.rmtree(store.path, ignore_errors=True)
    jq = store.open(handler, num_workers=1, **settings)
    until_idle(jq)
    return jq


def interrupt(interruption: Interruption, call: Callable[[], object]) -> None:
    try:
        with interruption:
            call()
    except KeyboardInterrupt:
        pass


def check_at_rest(jq: JobQueue) -> None:
    """Nothing of an interrupted call is left behind."""
    assert not insides.is_owned(insides.mutex(jq))
    assert insides.waiting_for_rest(jq) == []
    assert [len(each.producers) for each in insides.scheduler(jq).lanes] == [0, 0, 0]
    metrics = jq.metrics()
    assert metrics.enqueued == metrics.completed + metrics.failed + metrics.cancelled
    assert all(each.room == each.maxsize for each in insides.scheduler(jq).lanes)


def finish(jq: JobQueue, job_id: str) -> None:
    """A job that is known runs; one that is not can be enqueued again."""
    try:
        handle = jq.handle(job_id)
    except UnknownJobError:
        handle = jq.enqueue(Job(id=job_id))
    assert handle.wait(PATIENCE) is Status.COMPLETED


CALLS: dict[str, Callable[[JobQueue], object]] = {
    "enqueue": lambda jq: jq.enqueue(Job(id="a")),
    "enqueue with delay": lambda jq: jq.enqueue(Job(id="a"), delay=0.001),
    "enqueue_many": lambda jq: jq.enqueue_many([Job(id="a"), Job(id="b")]),
}
CALLS_OFTEN_AT: dict[str, tuple[str, ...]] = {
    "enqueue": STORES,
    "enqueue with delay": ("memory", "write"),
    "enqueue_many": ("memory", "fsync"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "hasty"),
    [
        pytest.param(call, kind, marks=[] if kind in often_at else [pytest.mark.daily])
        for call, often_at in CALLS_OFTEN_AT.items()
        for kind in STORES
    ],
    indirect=["hasty"],
)
def test_a_job_whose_enqueue_was_interrupted_runs_or_is_unknown(hasty: Store, call: str) -> None:
    for interruption in each_place():
        jq = open_idle(hasty)

        interrupt(interruption, lambda: CALLS[call](jq))  # noqa: B023  # called at once

        finish(jq, "a")
        if call == "enqueue_many":
            finish(jq, "b")
        assert jq.join(PATIENCE), interruption.where
        check_at_rest(jq)
        jq.close(drain=False)


@pytest.mark.slow
@pytest.mark.parametrize("many", [False, True])
def test_an_interrupted_wait_for_room_leaves_the_lane_to_others(hasty: Store, many: bool) -> None:
    for interruption in each_place():
        shutil.rmtree(hasty.path, ignore_errors=True)
        jq = hasty.open(nothing, start=False, queue_size=1)
        fill(jq, 1)

        def wait_for_room(jq: JobQueue = jq) -> None:
            with pytest.raises(EnqueueTimeoutError):
                if many:
                    jq.enqueue_many([Job()], timeout=0.001)
                else:
                    jq.enqueue(Job(), timeout=0.001)

        interrupt(interruption, wait_for_room)

        others = [in_thread(jq.enqueue, Job()) for _ in range(2)]
        until_blocked(jq, 2)
        jq.start()
        for other in others:
            assert other.result(PATIENCE).wait(PATIENCE) is Status.COMPLETED
        assert jq.join(PATIENCE), interruption.where
        check_at_rest(jq)
        jq.close(drain=False)


@pytest.mark.slow
@pytest.mark.parametrize("hasty", ["memory", "fsync"], indirect=True)
def test_who_waits_for_a_job_is_told_of_its_cancel_though_that_was_interrupted(
    hasty: Store,
) -> None:
    for interruption in each_place():
        shutil.rmtree(hasty.path, ignore_errors=True)
        jq = hasty.open(nothing, start=False)
        handle = jq.enqueue(Job(id="a"))
        waited, joined = in_thread(handle.wait), in_thread(jq.join)
        assert eventually(lambda: insides.waiters(handle))  # noqa: B023  # called at once
        until_watched(jq)

        interrupt(interruption, lambda: jq.cancel("a"))  # noqa: B023  # called at once

        jq.cancel("a")
        assert waited.result(PATIENCE) is Status.CANCELLED, interruption.where
        assert joined.result(PATIENCE) is True, interruption.where
        assert jq.status("a") is Status.CANCELLED
        check_at_rest(jq)
        jq.close(drain=False)


@pytest.mark.slow
@pytest.mark.parametrize("hasty", ["memory", "fsync"], indirect=True)
def test_a_job_whose_requeue_was_interrupted_runs_or_is_a_dead_letter(hasty: Store) -> None:
    def fails(_payload: bytes) -> None:
        raise ValueError("no")

    for interruption in each_place():
        jq = open_idle(hasty, fails, max_retries=0)
        jq.enqueue(Job(id="a")).wait(PATIENCE)
        until_idle(jq)

        interrupt(interruption, lambda: jq.requeue("a"))  # noqa: B023  # called at once

        assert jq.handle("a").wait(PATIENCE) is Status.FAILED, interruption.where
        jq.requeue("a")
        assert jq.handle("a").wait(PATIENCE) is Status.FAILED
        check_at_rest(jq)
        jq.close(drain=False)


WAITS: dict[str, Callable[[JobQueue, JobHandle], object]] = {
    "join": lambda jq, _handle: jq.join(),
    "wait": lambda _jq, handle: handle.wait(),
    "result": lambda _jq, handle: handle.result(),
    "flush": lambda jq, _handle: jq.flush(),
    "metrics": lambda jq, _handle: jq.metrics(),
}


@pytest.mark.slow
@pytest.mark.parametrize("call", WAITS)
def test_an_interrupted_wait_leaves_nothing_behind(hasty: Store, call: str) -> None:
    jq = open_idle(hasty)
    for interruption in each_place():
        handles = [jq.enqueue(Job()) for _ in range(3)]

        interrupt(interruption, lambda: WAITS[call](jq, handles[-1]))  # noqa: B023  # called at once

        assert jq.join(PATIENCE), interruption.where
        check_at_rest(jq)


@pytest.mark.slow
@pytest.mark.parametrize("hasty", ["memory", "write"], indirect=True)
def test_an_interrupted_close_can_be_called_again(hasty: Store) -> None:
    step = 1 if hasty.kind == "memory" else often(4, 1)  # a queue is opened twice for each
    for interruption in each_place(step):
        jq = open_idle(hasty)
        handles = [jq.enqueue(Job()) for _ in range(3)]

        interrupt(interruption, jq.close)

        report = jq.close(PATIENCE)
        assert report.unfinished == ()
        finished = [handle for handle in handles if handle.status is Status.COMPLETED]
        assert len(finished) + report.remaining == 3
        with pytest.raises(QueueClosedError):
            jq.enqueue(Job())
        for handle in handles:
            if handle not in finished:
                with pytest.raises(JobQueueError):
                    handle.result()
        hasty.open(nothing).close()  # its log is free
