"""The one door to what the package keeps to itself.

A test asks the public API. What only the inside can tell it asks for here: which thread sleeps or
holds a lock, what a race does between two steps. So a renamed part is followed in one place.
`tests/test_architecture.py` refuses an underscored name of the package in any other test module.

A `Seam` names a private method for `monkeypatch.setattr(*seam, replacement)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from jobqueue.final import Priority, Status
from jobqueue.final.callers.changes import cancelling
from jobqueue.final.callers.first_look import FirstLook
from jobqueue.final.core import turns
from jobqueue.final.core.bindings import Bindings
from jobqueue.final.model.handle import NOT_ARRIVED, Ties

if TYPE_CHECKING:
    import subprocess
    import threading
    from collections import deque
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import FunctionType

    import pytest

    from jobqueue import improved, naive
    from jobqueue.final import Job, JobContext, JobHandle, JobQueue, Limit
    from jobqueue.final.core.counters import BusyMeter
    from jobqueue.final.core.journal import Journal
    from jobqueue.final.core.lane import Lane
    from jobqueue.final.core.order import Order
    from jobqueue.final.core.outcomes import Outcomes
    from jobqueue.final.core.placement import Placement
    from jobqueue.final.core.queue_state import State
    from jobqueue.final.core.scheduler import FairScheduler
    from jobqueue.final.core.seats import Seats
    from jobqueue.final.core.status_map import StatusMap
    from jobqueue.final.core.watchers import Watchers
    from jobqueue.final.errors import JobQueueError
    from jobqueue.final.life.shutdown import Lifecycle
    from jobqueue.final.model.context import StopRequest
    from jobqueue.final.processes.attempt import _Limit
    from jobqueue.final.processes.owner import WorkerProcess
    from jobqueue.final.processes.stock import Processes
    from jobqueue.final.runtime.mutex import Mutex, WorkerCondition
    from jobqueue.final.runtime.parking import Parker, Wakeable
    from jobqueue.final.runtime.reporting import Reporter
    from jobqueue.final.testing import ManualClock
    from jobqueue.final.timing.timer import Timer
    from jobqueue.final.timing.timer_wheel import TimerWheel
    from jobqueue.final.wal.room import Room
    from jobqueue.final.wal.writing.active_segment import ActiveSegment
    from jobqueue.final.wal.writing.batch import OpenBatch
    from jobqueue.final.wal.writing.writer import LogWriter
    from jobqueue.final.workers.pool import WorkerPool

Seam = tuple[object, str]


# --- the parts of a queue -------------------------------------------------------------------


def placement(jq: JobQueue) -> Placement:
    """What moves jobs from one part to the next."""
    return jq._placement


def mutex(jq: JobQueue) -> Mutex:
    """The one lock of the queue's state."""
    return jq._mutex


def status_map(jq: JobQueue) -> StatusMap:
    """Where each job stands."""
    return jq._status


def cancel(jq: JobQueue, handle: JobHandle) -> None:
    """Cancel a job that waits, for a thread that has the mutex already."""
    jq._placement.carry_out(cancelling(jq._placement, handle))


def tie(handle: JobHandle, other: JobHandle) -> None:
    """Have a job wait for another one."""
    handle._ties = Ties()
    handle._ties.waits_for = {other: None}


def during_first_look(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """Have something happen once the first look has begun, again and again."""
    made = FirstLook._made

    def made_meanwhile(look: FirstLook, ids: Iterable[str]) -> list[tuple[float, str]]:
        found = made(look, ids)
        meanwhile()
        return found

    monkeypatch.setattr(FirstLook, "_made", made_meanwhile)


def have_all_arrived(jq: JobQueue) -> bool:
    """Whether no record waits to be written, and no job for that."""
    journal = jq._placement.journal
    with jq._mutex:
        has_arrived = all(each._since != NOT_ARRIVED for each in jq._status.live.values())
        return has_arrived and (journal is None or not journal.writer.waiting_records)


def noted_ids(order: Order) -> set[str]:
    """The ids of which an order knows a place."""
    return {*order._places}


def watch_dead_letters(jq: JobQueue, kind: type[dict[str, Any]]) -> None:
    """Have the dead letters be kept in another kind of dictionary."""
    status = jq._status
    status.dead = status.order._known[2] = kind(status.dead)


def check_order(jq: JobQueue) -> None:
    """Each job that is known has one place in the order of all, and nothing else has; mutex."""
    status = jq._status
    status.order._check([*status.live, *status.finished, *status.dead])


def scheduler(jq: JobQueue) -> FairScheduler:
    """The three lanes, and the workers that wait for a job."""
    return jq._scheduler


def lane(jq: JobQueue, priority: Priority) -> Lane:
    """The jobs of one priority, and the producers that wait for room."""
    return jq._scheduler.lanes[priority]


def look_for_oldest(jq: JobQueue) -> None:
    """As `metrics` does, and no more: that would take longer with each handler there is."""
    with jq._mutex:
        jq._mutex.settle()
        jq._queries._oldest_waits(0.0)


def held_in_lane(jq: JobQueue, priority: Priority) -> int:
    """How many entries a lane has, cancelled ones too."""
    lane = jq._scheduler.lanes[priority]
    return len({*lane.queue, *lane.back}) + sum(map(len, lane.aside.values()))


def watchers(jq: JobQueue) -> Watchers:
    """Where `join` and `close` wait for the queue to come to rest."""
    return jq._placement.watchers


def timer(jq: JobQueue) -> Timer:
    """What wakes jobs, deadlines and the log's thread when they are due."""
    return jq._placement.timer


def pool(jq: JobQueue) -> WorkerPool:
    """The workers, which a queue that runs its handlers in processes has none of."""
    from jobqueue.final.workers.pool import WorkerPool

    pool = jq._life._runners
    assert isinstance(pool, WorkerPool)
    return pool


def outcomes(jq: JobQueue) -> Outcomes:
    """What records how attempts ended."""
    return jq._queries._outcomes


def seats(jq: JobQueue) -> Seats:
    """What the attempts occupy while they run."""
    return jq._seats


def journal(jq: JobQueue) -> Journal | None:
    """What turns changes into records; `None` in memory."""
    return jq._placement.journal


def writer(jq: JobQueue) -> LogWriter:
    """What writes the log, which must be there."""
    journal = jq._placement.journal
    assert journal is not None
    return journal.writer


def processes(jq: JobQueue) -> Processes:
    """The worker processes of a queue that runs its handlers in some."""
    processes = jq._life._processes
    assert processes is not None
    return processes


# --- what waits, and where a queue stands ---------------------------------------------------


def producers(jq: JobQueue, priority: Priority | None = None) -> Collection[object]:
    """The producers that wait for room in a lane, the medium one by default."""
    scheduler = jq._scheduler
    return (scheduler.medium if priority is None else scheduler.lanes[priority]).producers


def waiting_for_rest(jq: JobQueue) -> Sequence[object]:
    """The calls that wait for the queue to come to rest."""
    return jq._placement.watchers.waiting


def waiting_closers(jq: JobQueue) -> Sequence[object]:
    """The calls of `close` that wait for the one that closes."""
    return jq._life._waiting_closers


def idle_workers(scheduler: FairScheduler) -> int:
    """How many workers sleep until there is a job."""
    return len(scheduler.not_empty.sleepers)


def lose_patience(lane: Lane) -> None:
    """As if the producer that was woken had been held up for long."""
    lane._patience = 0.0


def is_waking(scheduler: FairScheduler) -> bool:
    """Whether a worker has been woken and has not looked yet."""
    return scheduler._waking


def state(jq: JobQueue) -> State:
    """Where the queue stands in its life."""
    return jq._state.now


def fault(jq: JobQueue) -> JobQueueError | None:
    """The log's failure, for which nothing more is taken on."""
    return jq._state.fault


def holds_lock_file(jq: JobQueue) -> bool:
    """Whether the log is still locked against other queues."""
    return jq._life._lock is not None


def parked_count(jq: JobQueue) -> int:
    """How many jobs wait for the name of their handler."""
    return jq._registry.parked_count


def parked_names(jq: JobQueue) -> list[str | None]:
    """The names that jobs wait for, as far as anything is kept of them."""
    return [*jq._registry._by_name, *jq._registry.untold]


def suspects(jq: JobQueue) -> Collection[object]:
    """The jobs that run alone, since the process died under them."""
    return jq._placement.suspects


def abandoning(jq: JobQueue) -> Seam:
    """The last step of `close`, which counts what is left and starts nothing more."""
    return jq._life, "_abandon"


def refusing(jq: JobQueue) -> Seam:
    """The check of a job under the mutex, before it is accepted."""
    return jq._admission, "_refuse"


def waiting_for(jq: JobQueue) -> Seam:
    """What `JobHandle.wait` asks of its queue."""
    return jq._desk, "_wait_for"


# --- handles, attempts, workers -------------------------------------------------------------


def renamed(job: Job, job_id: str) -> Job:
    """The same job with another id, as that of a tick."""
    copy = job._copy()
    copy._id = job_id
    return copy


def job_of(handle: JobHandle) -> Job:
    """The job of a handle that has no queue."""
    return handle._job


def recorded_status(handle: JobHandle) -> Status:
    """The status in the queue's record, without asking the queue."""
    return handle._status


def set_status(handle: JobHandle, status: Status) -> None:
    """Change the queue's record, behind everybody's back."""
    handle._status = status


def set_retries(handle: JobHandle, retries: int) -> None:
    """Have a job failed so many times already."""
    handle._job._retries = retries


def spoil(job: Job) -> Job:
    """Have a job hold what no codec can encode, as no argument of a user can any more."""
    job._headers = {"trace": object()}  # type: ignore[dict-item]  # that is the point
    return job


def recorded_statuses(handle: type[JobHandle]) -> Seam:
    """Where every handle keeps its status."""
    return handle, "_status"


def log_number(handle: JobHandle) -> int:
    """The number that names the job in the log."""
    return handle._number


def waiters(handle: JobHandle) -> Sequence[object]:
    """The calls that wait for the job to be finished."""
    return handle._waiters or ()


def callbacks(handle: JobHandle) -> Sequence[object]:
    """What is to be called when the job has ended."""
    return handle._callbacks or ()


def stop_of(handle: JobHandle) -> StopRequest | None:
    """What tells the job's attempt to stop; `None` if nothing ever could."""
    return handle._stop


def stop_in(context: JobContext) -> StopRequest:
    """What tells this attempt to stop."""
    return context._stop


def sleepers(context: JobContext) -> Sequence[object]:
    """The threads of a handler that sleep in `context.wait`."""
    return context._stop._waiters


def making_worker(pool: type[WorkerPool]) -> Seam:
    """The step that makes a worker, with a thread that has not been started."""
    return pool, "_make"


def no_fork() -> threading.Lock:
    """The lock that a fork waits for while a process is started."""
    from jobqueue.final.processes import owner  # it hooks into every fork: not for all tests

    return owner._no_fork


def all_processes(jq: JobQueue) -> list[WorkerProcess]:
    """The worker processes that have been started and have not ended."""
    return list(processes(jq)._all)


def take_process(jq: JobQueue) -> WorkerProcess:
    """What an attempt does first: it takes a free process or starts one."""
    return processes(jq).take()


def orders_of(process: WorkerProcess) -> Any:
    """The socket by which a process is told to stop or to end."""
    return process._orders


def popen_of(process: WorkerProcess) -> subprocess.Popen[bytes]:
    """The system's process."""
    return process._process


def limit_of(process: WorkerProcess) -> _Limit:
    """What kills a process when its attempt's time is up."""
    from jobqueue.final.processes import attempt

    return attempt._Limit(process)


def slow_import_seconds() -> Seam:
    """How long an import may take before it is told of."""
    from jobqueue.final.processes import attempt

    return attempt, "_SLOW_IMPORT_SECONDS"


def look_time() -> Seam:
    """How often a process looks whether the other side is gone, as the system takes it."""
    from jobqueue.final.processes import wire

    return wire, "_LOOK_TIME"


# --- locks and time -------------------------------------------------------------------------


def give_way_seconds() -> Seam:
    """How long a thread gives way to the one that has claimed the mutex."""
    from jobqueue.final.runtime import mutex

    return mutex, "_GIVE_WAY_SECONDS"


def is_owned(mutex: Mutex) -> bool:
    """Whether the calling thread has the mutex."""
    return mutex._is_owned()


def asleep_on(condition: WorkerCondition) -> Sequence[Wakeable]:
    """What the workers sleep in, first come first."""
    return condition.sleepers


def check_lanes(scheduler: FairScheduler) -> None:
    """Raise if the lanes contradict themselves; with the mutex."""
    scheduler._check()


def lane_order(jq: JobQueue, priority: Priority) -> list[str]:
    """The jobs that wait for a worker in a lane, in order."""
    limits = _bindings(jq).limits
    front, behind = limits._in_front[priority], limits._passed[priority]
    order: list[JobHandle] = []
    for handle in jq._scheduler.lanes[priority].queue:
        order.append(handle)
        if handle is front:
            order += [each for each in behind if each._ties and each._ties.passed]
    return [handle._job._id for handle in order if handle._status is Status.QUEUED]


def out_of_lane(jq: JobQueue, priority: Priority) -> list[str]:
    """The jobs that came to the front of a lane and left it: for a limit, or a paused handler."""
    held = jq._scheduler.lanes[priority].aside.values()
    places = [_bindings(jq).limits.aside[priority], *held]
    return [handle._job._id for handles in places for handle in handles]


def look_at_lanes(jq: JobQueue) -> None:
    """Have those step aside that are at the front and may not start; with the mutex."""
    for lane in jq._scheduler.lanes:
        lane.has_work()


def has_arrived(jq: JobQueue) -> bool:
    """Whether all jobs are where they wait, and none is about to be cancelled; with the mutex."""
    live = jq._placement.status.live.values()
    return not _bindings(jq).has_doomed and all(each._since != NOT_ARRIVED for each in live)


def _bindings(jq: JobQueue) -> Bindings:
    bindings = jq._placement.bindings
    assert isinstance(bindings, Bindings)
    return bindings


class Tickets:
    """The workers of a queue start as many attempts as tickets are given out."""

    def __init__(self, jq: JobQueue) -> None:
        self._scheduler = jq._scheduler
        self._take = self._scheduler.take_ready
        self._left = 0
        self._scheduler.take_ready = self._take_with_ticket  # type: ignore[method-assign]

    def give(self, count: int) -> None:
        """Let so many more start."""
        with self._scheduler.mutex:
            self._left += count
            self._scheduler.look_at_suspects()  # wakes all

    def _take_with_ticket(self) -> JobHandle | None:
        handle = self._take() if self._left > 0 else None
        self._left -= handle is not None
        return handle


def check_places(jq: JobQueue) -> None:
    """Assert that each job that waits is in one place, once, and takes room if it should."""
    placement = jq._placement
    scheduler, live = placement.scheduler, list(placement.status.live.values())
    queued = [handle for handle in live if handle._status is Status.QUEUED]
    in_lanes = [
        handle
        for lane in scheduler.lanes
        for jobs in (lane.queue, () if lane.back is lane.queue else lane.back, *lane.aside.values())
        for handle in jobs
        if handle._status is Status.QUEUED
    ]
    parked = list(placement.registry._parked)
    named = [handle for jobs in placement.registry._by_name.values() for handle in jobs]
    assert sorted(map(id, parked)) == sorted(map(id, named))
    assert all(placement.registry._by_name.values())
    aside = [handle for waiting in placement.bindings.aside for handle in waiting]
    passed = [
        handle
        for waiting in bindings(jq).limits._passed
        for handle in waiting
        if handle._status is Status.QUEUED
    ]
    suspects = [*scheduler.suspects, *scheduler.pausing.suspects]
    places = [*in_lanes, *suspects, *parked, *aside, *passed]
    assert sorted(map(id, places)) == sorted(map(id, queued))
    for lane, priority in zip(scheduler.lanes, Priority, strict=True):
        taken = sum(handle._has_room and handle._job._priority is priority for handle in live)
        assert lane.room == lane.maxsize - taken


def bindings(jq: JobQueue) -> Bindings:
    """What ties jobs to each other, to limits and to times."""
    from jobqueue.final.core.bindings import Bindings

    bindings = jq._placement.bindings
    assert isinstance(bindings, Bindings)
    return bindings


def count_turnstiles(jq: JobQueue) -> int:
    """How many limits, and keys of them, are kept."""
    return sum(len(by_key) for by_key in bindings(jq).limits._turnstiles.values())


def use_up(jq: JobQueue, limit: Limit) -> None:
    """Have a limit be used up, as if attempts went on."""
    with jq._mutex:
        turnstile = bindings(jq).limits._make(limit, None)
        turnstile.used = turnstile.max


def give_back(jq: JobQueue, name: str) -> None:
    """One of those attempts has ended: that of the handler of this name."""
    handler = jq._registry.find(name)
    assert handler is not None
    with jq._mutex:
        limits = bindings(jq).limits
        turnstile = limits._turnstiles[handler.policy.rules[0]][None]
        turnstile.used -= 1
        limits._ajar.append(turnstile)
        limits.settle()


def number_of_live(jq: JobQueue) -> int:
    """How many jobs have not ended."""
    return len(jq._status.live)


def suspect(jq: JobQueue, job_id: str) -> None:
    """Have a job that is queued run alone, as if the process had died while it ran."""
    handle = jq._status.live[job_id]
    with jq._mutex:
        jq._scheduler.lanes[handle._job._priority].queue.remove(handle)
        jq._placement.suspects.add(handle)
        jq._placement.arrive(handle)


def check_ties(jq: JobQueue) -> None:
    """Assert that each tie of each job is one that will be loosed; with the mutex.

    No identity is held by a job that has ended, no job waits for one that has, no permit is lost,
    no id is reserved by nobody, no time to start is forgotten.
    """
    live = list(jq._placement.status.live.values())
    tied = [handle for handle in live if handle._ties is not None]
    _check_identities(jq, tied)
    _check_dependents(jq, tied)
    _check_turnstiles(jq, tied)
    _check_reserved(jq, tied)
    for handle in tied:
        assert handle._ties is not None
        never_started = handle._started is None and handle._status is not Status.PROCESSING
        if handle._job.expires is not None and never_started:
            assert handle._ties.expiry is not None, handle
        if handle._status is Status.PROCESSING:
            assert handle._ties.expiry is None, handle


def _check_identities(jq: JobQueue, tied: list[JobHandle]) -> None:
    holders = bindings(jq).unique._holders
    for identity, holder in holders.items():
        assert holder in tied, f"{holder} has ended and holds {identity}"
        assert holder._ties is not None
        assert holder._ties.identity == identity
    for handle in tied:
        assert handle._ties is not None
        if handle._ties.identity is not None:
            others = bindings(jq).unique._next.get(handle._ties.identity, ())
            assert holders[handle._ties.identity] is handle or handle in others


def _check_dependents(jq: JobQueue, tied: list[JobHandle]) -> None:
    dependencies = bindings(jq).dependencies
    assert not dependencies.doomed
    assert not dependencies.ended
    for handle in tied:
        assert handle._ties is not None
        for parent in handle._ties.waits_for or ():
            assert parent in tied, f"{handle} waits for {parent}, which has ended"
            assert parent._ties is not None
            assert handle in (parent._ties.dependents or ())
        for dependent in handle._ties.dependents or ():
            assert dependent in tied, f"{dependent} has ended and is told of {handle}"
        if handle._status is Status.SCHEDULED and not handle._due_tick:
            assert handle._ties.waits_for, f"{handle} waits for nothing"


def _check_turnstiles(jq: JobQueue, tied: list[JobHandle]) -> None:
    limits = bindings(jq).limits
    assert not limits._ajar
    there = [each for by_key in limits._turnstiles.values() for each in by_key.values()]
    now = jq._placement.clock.monotonic()
    for turnstile in there:
        waiting = [each for each in tied if each._ties and each._ties.line is turnstile]
        passed = [each for each in tied if each._ties and each._ties.passed is turnstile]
        assert turnstile.waiting == len(waiting), f"{turnstile.rule!r}: {waiting} wait"
        assert turnstile.used - len(passed) in (0, turnstile.max), f"{passed} have passed"
        if waiting and turnstile.is_limit:
            assert not turnstile.is_open(now), (
                f"{waiting} wait at {turnstile.rule!r}, which is open"
            )
        if turnstile.is_limit and turnstile.key is not None:
            assert turnstile.used, f"{turnstile.key!r} of {turnstile.rule!r} is not needed any more"
    aside = [handle for waiting in limits.aside for handle in waiting]
    for handle in tied:
        ties = handle._ties
        assert ties is not None
        assert (ties.line is not None) == (handle in aside), handle
        assert ties.line is None or ties.line in there, handle
        if ties.passed is not None:
            assert handle._status in (Status.QUEUED, Status.PROCESSING), handle
    assert all(handle in tied for handle in aside)


def _check_reserved(jq: JobQueue, tied: list[JobHandle]) -> None:
    reserved = jq._placement.status.reserved
    for handle in tied:
        assert handle._ties is not None
        for job_id in handle._ties.children or ():
            assert reserved.get(job_id) is handle
    for job_id, parent in reserved.items():
        assert parent in tied, f"{job_id!r} is reserved by {parent}, which has ended"
        assert parent._ties is not None
        assert job_id in (parent._ties.children or ())


def check_wheel(wheel: TimerWheel[Any]) -> None:
    """Raise if a timer wheel contradicts itself."""
    wheel._check()


def wheel_levels(wheel: TimerWheel[Any]) -> Sequence[object]:
    """The levels of a timer wheel, the finest first."""
    return wheel._levels


def wheel_of(timer: Timer) -> TimerWheel[object]:
    """What is to happen, and has been sorted in."""
    return timer._wheel


def changes_of(timer: Timer) -> deque[tuple[int, object, bool, float | None]]:
    """What is to be sorted in or taken out."""
    return timer._changes


def boot_seconds() -> Seam:
    """The clock that goes on while the system sleeps."""
    from jobqueue.final.runtime import clock

    return clock, "_boot_seconds"


def held(timer: Timer) -> AbstractContextManager[Any]:
    """Keeps everything from firing."""
    return timer._lock


def asleep_until(timer: Timer) -> float:
    """The tick until which the timer's thread sleeps; -1 while it is awake."""
    return timer._asleep_until


def is_woken(parker: Parker) -> bool:
    """Whether it was woken, and its thread has not come back yet."""
    return not parker._lock.locked()


def parker_of(timer: Timer) -> Parker:
    """What the timer's thread sleeps in."""
    return timer._parker


def thread_of(timer: Timer) -> threading.Thread:
    """The timer's thread."""
    return timer._thread


def subscribers(clock: ManualClock) -> Sequence[object]:
    """What is told that time was moved."""
    return clock._subscribers


def move(clock: ManualClock, seconds: float) -> None:
    """Have time pass, and nobody told of it."""
    clock._elapsed_seconds += seconds


def past_seconds(meter: BusyMeter) -> Mapping[int, float]:
    """The busy time of each of the last seconds."""
    return meter._past


def sleeping_for_room() -> Seam:
    """A producer's sleep until it is woken, may have been cancelled, or its time is up."""
    from jobqueue.final.callers.room_wait import RoomWait

    return RoomWait, "sleep"


def has_timeout(wait: Any) -> bool:
    """Whether a producer's wait for room ends by itself."""
    return bool(wait._timeout is not None)


def time_out(wait: Any) -> None:
    """Have a producer's time run out."""
    wait._deadline = 0.0


# --- the log --------------------------------------------------------------------------------


def open_batch(writer: LogWriter) -> OpenBatch:
    """The batch that takes the next record."""
    return writer._open


def leader(writer: LogWriter) -> int | None:
    """The ident of the thread of the caller that writes the log by itself."""
    return writer._leader


def take_lead(writer: LogWriter, batch: OpenBatch, ident: int) -> bool:
    """Try to have a caller write a batch by itself; with the mutex."""
    return writer._take_lead(batch, ident)


def flushes(writer: LogWriter) -> list[OpenBatch]:
    """The calls of `flush` that the log's thread has to answer."""
    return writer._flushes


def is_closing(writer: LogWriter) -> bool:
    """Whether the log has been told to close."""
    return writer._closing


def wanted(writer: LogWriter) -> Seam:
    """Whether the log's thread is to go on once a caller has written."""
    return writer, "_is_wanted"


def leave_to_callers(writer: LogWriter) -> None:
    """Have the log's thread take no batch from a caller that is slow to lead."""
    writer._linger = 3600.0


def next_look(writer: LogWriter) -> float:
    """When it is looked whether the log is still there."""
    return writer._upkeep.look_due


def looks(writer: LogWriter, now: float) -> bool:
    """Whether the log's thread would look whether the log is still there; then it has."""
    return writer._upkeep.looks(now)


def log_room(jq: JobQueue) -> Room:
    """What is held of the disk for the log."""
    return writer(jq)._active.room


def log_thread(jq: JobQueue) -> threading.Thread:
    """The thread that writes the log."""
    return writer(jq)._thread


def life(jq: JobQueue) -> Lifecycle:
    """What starts and closes the queue."""
    return jq._life


def is_being_closed(life: Lifecycle) -> bool:
    """Whether a thread carries out its `close`."""
    return life._closer is not None


def is_log_asleep(writer: LogWriter) -> bool:
    """Whether the log's thread sleeps."""
    return bool(writer._asleep_until)


def starting_segment(segment: type[ActiveSegment]) -> Seam:
    """The step that makes a new segment the one that is written."""
    return segment, "_start"


def writing(writer: type[LogWriter]) -> Seam:
    """The step that writes a batch, and tells whether it has to be fsynced."""
    return writer, "_written"


def settle_before_fsync(writer: LogWriter, batch: OpenBatch) -> None:
    """Tell the callers of a batch that it is safe, before it is."""
    with writer._lock:
        writer._finish(batch, None)
        batch.waiters = []


def settle_before_write(writer: LogWriter) -> None:
    """Tell the callers of the open batch that it is safe, before it is even written."""
    writer._on_durable(writer._open.records, None, False)


def chunk_bytes() -> Seam:
    """How much of a log is read at once."""
    from jobqueue.final.wal.reading import scan

    return scan, "_CHUNK_BYTES"


def libc() -> Seam:
    """The C library's functions that were loaded."""
    from jobqueue.final.wal import libc

    return libc, "_LIBC"


def fdatasync() -> Seam:
    """The C library's call that brings a file to the disk; `None` if Python's own must do."""
    from jobqueue.final.wal import files

    return files, "_FDATASYNC"


def ext4_options() -> Seam:
    """Where the options of an ext4 are told."""
    from jobqueue.final.wal import mappable

    return mappable, "_EXT4_OPTIONS"


def kind_of_file_system() -> Seam:
    """The step that asks which file system a file is on."""
    from jobqueue.final.wal import mappable

    return mappable, "_kind_of"


def load_libc() -> object:
    """The C library's functions that Python lacks, if this system has them."""
    from jobqueue.final.wal import libc

    return libc._load_libc()


def keeping_copies() -> Seam:
    """The step that copies what is cut off a log."""
    from jobqueue.final.wal.reading import cut

    return cut, "_keep_copy"


def looking_at_log() -> Seam:
    """How a command reads a log's directory."""
    from jobqueue.cli import access

    return access, "_look"


def new_worker(jq: JobQueue) -> Callable[[], None]:
    """What the thread of one more worker does, from its first step to its end."""
    workers = pool(jq)
    with jq._mutex:
        return workers._make(workers.seats.add())._run


def may_expire(handle: JobHandle) -> bool:
    """Whether a job that waits is cancelled when its time to start has passed."""
    return handle._ties is not None and handle._ties.expiry is not None


def is_unique(handle: JobHandle) -> bool:
    """Whether no new job may have the identity that this one has."""
    return handle._ties is not None and handle._ties.identity is not None


def working_on_turns() -> FunctionType:
    """What catches all that comes out of the work of a thread that runs attempts."""
    return cast("FunctionType", turns._work_on)


def taken(jq: JobQueue) -> JobHandle | None:
    """The job that was given out and not begun."""
    return jq._scheduler.taken


def set_waiting_records(reporter: Reporter, records: deque[Any]) -> None:
    """Have this hold the records that wait to be made."""
    reporter._records = records


# --- the two earlier tiers ------------------------------------------------------------------


def worker_threads(jq: naive.JobQueue | improved.JobQueue) -> Sequence[threading.Thread]:
    """The workers, which are threads there."""
    return jq._workers


def line(jq: naive.JobQueue) -> Any:
    """The jobs that wait."""
    return jq._line


def work(jq: improved.JobQueue) -> threading.Condition:
    """What the workers wait on for a job."""
    return jq._work


def room(jq: improved.JobQueue, priority: improved.Priority) -> threading.Condition:
    """What the producers of a lane wait on for room."""
    return jq._room[priority]


def progress(jq: improved.JobQueue) -> threading.Condition:
    """What `close` waits on for the workers."""
    return jq._progress


def config(jq: improved.JobQueue) -> Seam:
    """Its settings."""
    return jq, "_config"


def counted(jq: improved.JobQueue) -> improved.Metrics:
    """What has been counted; with `progress`."""
    return jq._counters.snapshot()


# --- queues that processes share ------------------------------------------------------------


def handover_steps() -> dict[str, Seam]:
    """The functions that a process goes through as it becomes the owner, in order."""
    from jobqueue.final.life import opening, recovery
    from jobqueue.final.sharing import address
    from jobqueue.final.sharing.arrivals import Arrivals
    from jobqueue.final.sharing.reception import Reception
    from jobqueue.final.sharing.roster import Roster
    from jobqueue.final.sharing.server import Server

    return {
        "the lock is taken": (recovery, "_read"),
        "the log is read": (opening, "restore"),
        "the handlers are registered": (Roster, "bring_along"),
        "it is about to listen": (address, "listen"),
        "a client has come": (Server, "came"),
        "a job has arrived": (Arrivals, "let_in"),
        "a job is let in": (Reception, "_answer_all"),
        "a repeated job has arrived": (Arrivals, "enqueue"),
    }


def is_owner(jq: JobQueue) -> bool:
    """Whether a shared queue is its owner's."""
    return jq._membership.owner is not None  # type: ignore[attr-defined]  # of a `SharedJobQueue`


def owner_of(jq: JobQueue) -> JobQueue:
    """The queue that runs the jobs of a shared one, in its owner."""
    owner: JobQueue = jq._membership.owner  # type: ignore[attr-defined]  # likewise
    return owner


def link_of(jq: JobQueue) -> Any:
    """A client's connection."""
    return jq._membership._link  # type: ignore[attr-defined]  # of a `SharedJobQueue`


def is_asking(jq: JobQueue) -> bool:
    """Whether a client has calls that are not answered."""
    return bool(link_of(jq)._pending)


def descriptor_of(jq: JobQueue) -> int:
    """The file descriptor of a client's connection."""
    descriptor: int = link_of(jq)._socket.fileno()
    return descriptor


def leads(jq: JobQueue, thread: threading.Thread) -> bool:
    """Whether this thread reads the answers of a client."""
    leader: int | None = link_of(jq)._leader
    return leader is not None and leader == thread.ident


def hand_out(link: Any) -> Seam:
    """What a link's leader calls for each answer."""
    return link, "_hand_out"


def finding_an_owner(jq: JobQueue) -> Seam:
    """What a client's link calls if it has no owner."""
    return link_of(jq), "_find"


def asked_by(jq: JobQueue) -> int:
    """How many calls of a client were sent and are not answered."""
    return sum(each.sent for each in link_of(jq)._pending.values())


def break_off(jq: JobQueue) -> None:
    """Break a client's connection, as a network does."""
    import socket

    link_of(jq)._socket.shutdown(socket.SHUT_RDWR)


def visitors_of(jq: JobQueue) -> int:
    """How many connections an owner has."""
    return len(_server_of(jq)._visitors)


def unread_bytes(jq: JobQueue) -> int:
    """How much an owner keeps of what its clients have not read."""
    return sum(each.unread_bytes for each in list(_server_of(jq)._visitors))


def progress_lock(context: JobContext) -> AbstractContextManager[object]:
    """In a process: what is held while progress is sent."""
    board: Any = context._board
    lock: AbstractContextManager[object] = board._teller._lock
    return lock


def _server_of(jq: JobQueue) -> Any:
    from jobqueue.final.life import process_hooks
    from jobqueue.final.sharing.server import Server

    servers = [each for _, each in process_hooks._living() if isinstance(each, Server)]
    (server,) = [each for each in servers if each._directory == str(jq.config.persist_path)]
    return server
