"""Opens a log and brings what it holds back into the queue.

Guarantees: every job that is not finished is there again, once, with its retries; nothing is
imported by name. When opening fails, the log is unlocked and no thread has been started.
Relies on: being called before any other thread knows the queue; so no lock is taken.
"""

from __future__ import annotations

import gc
import logging
import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import starmap
from operator import attrgetter
from typing import TYPE_CHECKING

from ..core.remembered import DeadLetter, Finished
from ..core.status_map import StatusMap
from ..exact import exact_str
from ..model.attempt import Attempt
from ..model.frozen_dict import FrozenDict
from ..model.handle import JobHandle
from ..model.job import NO_HEADERS, Job, Priority, about
from ..model.results import StoredResult
from ..model.transitions import Status
from ..runtime.reporting import Reporter
from ..timing.timer import tick_after
from ..wal.files import Files
from ..wal.format.record import COUNT_MAX
from ..wal.maintenance.snapshot import free_inodes
from ..wal.names import LOCK_NAME, list_log
from ..wal.reading.cut import distrust_memory, recover
from ..wal.reading.fold import COMPLETED, QUEUED, JobState, LogState
from ..wal.reading.replay import replay
from ..wal.room import Room
from ..wal.slots import SLOTS_NAME, Interrupted, read_slots
from .rebinding import (
    bind,
    cancel_doomed,
    cancel_expired,
    cancel_revoked,
    count_ended,
    plan_of,
    seconds_left,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config import Config
    from ..core.journal import Journal
    from ..core.placement import Placement
    from ..model.handle import HandleOwner
    from ..runtime.clock import Clock
    from ..wal.format.record import Enqueued

_PRIORITIES = tuple(Priority)
_QUEUED, _SCHEDULED = Status.QUEUED, Status.SCHEDULED  # a look into an enumeration is slow


@dataclass(frozen=True, slots=True)
class LockedLog:
    """A log that this process owns, as replay left it.

    Attributes:
        directory: absolute path.
        lock: descriptor of the lock.
        state: the jobs.
        last_batch: number of its last batch.
        next_segment: number of the segment to start.
        bytes: size of its files.
        file_count: how many they are.
        interrupted: the jobs that were running when the last process died.
        room: what is held of the disk for it.
    """

    files: Files
    directory: str
    lock: int
    state: LogState
    last_batch: int
    next_segment: int
    bytes: int
    file_count: int
    interrupted: Interrupted
    room: Room


def open_log(
    path: str | os.PathLike[str],
    config: Config,
    files: Files | None = None,
    reporter: Reporter | None = None,
) -> LockedLog:
    """Lock and replay a log; repair it if its tail is torn.

    Raises:
        LogLockedError: another queue has it open.
        LogCorruptError: it is damaged; nothing was changed.
        PermissionError: the directory or a file in it is not this user's alone.
        OSError: the directory cannot be made, read or written; the error names it.
    """
    files = Files() if files is None else files
    reporter = Reporter() if reporter is None else reporter
    files.shared = config.allow_shared
    directory = os.path.abspath(exact_str(os.fspath(path)))
    files.make_directory(directory)
    lock = files.lock(os.path.join(directory, LOCK_NAME))
    try:
        if (why := files.why_unlocked(directory)) is not None:
            reporter.report(
                logging.INFO,
                f"the log's directory {directory} cannot be locked itself ({why}); the file "
                f"{LOCK_NAME} in it is, and alone keeps other queues out: nothing may remove it",
            )
        return _read(files, directory, lock, config.status_retention, reporter)
    except BaseException:
        files.unlock(lock)
        raise


def _read(files: Files, directory: str, lock: int, retention: int, reporter: Reporter) -> LockedLog:
    state = LogState(retention)
    distrust_memory(files, directory)
    reading = replay(files, directory)
    with _collector_at_rest():
        for records in reading:
            state.apply_all(records)
    interrupted = read_slots(files, directory)  # it may refuse, so before anything is changed
    torn = reading.torn
    room = Room(files, directory)
    copies = room.provide(lambda: recover(files, directory, torn))
    if copies and torn is not None:
        reporter.report(
            logging.WARNING,
            f"the log {directory} ended torn ({torn.problem}), as after a power cut; it "
            f"was cut off and kept in {', '.join(copies)}. No acknowledged job is lost",
        )
    if interrupted.damaged:
        reporter.report(
            logging.WARNING,
            f"{os.path.join(directory, SLOTS_NAME)} is damaged: of {interrupted.damaged} of the "
            f"jobs that were running when the process ended it cannot be told which they were; "
            f"that is not counted as a crash of theirs. No job is lost",
        )
    free_inodes(files, directory, retention, room)
    log_files = list_log(files, directory).files
    return LockedLog(
        files=files,
        directory=directory,
        lock=lock,
        state=state,
        last_batch=reading.last,
        next_segment=reading.next_segment,
        bytes=sum(files.size_of(file.path) for file in log_files),
        file_count=len(log_files),
        interrupted=interrupted,
        room=room,
    )


def restore(log: LockedLog, config: Config, owner: HandleOwner, placement: Placement) -> None:
    """Put the jobs of a log into the queue: unfinished ones are queued or scheduled again."""
    journal = placement.journal
    assert journal is not None  # there is a log
    ended = cancel_revoked(log.state, journal, placement)
    ended += _count_crashes(log, config.max_crashes, journal, placement)
    expired = cancel_expired(log.state, journal, placement)
    # guard: what a start cancels takes along the jobs that wait for it
    ended += cancel_doomed(log.state, journal, placement)
    count_ended(ended, placement)
    count_ended(expired, placement, expired=True)
    unfinished, finished, failed = _by_status(log.state)
    with _collector_at_rest():
        _queue_again(unfinished, owner, placement, crashes_max=config.max_crashes)
        _remember_all(finished, placement.status)
        _bury(failed, config.max_dead_letters, placement, journal)
    status, live, dead = placement.status, placement.status.live, placement.status.dead
    if placement.endings.finished:
        ids = (each.enqueued.id for each in (*ended, *expired))
        for handle in (status.handle(owner, each) for each in ids if each in status):
            placement.endings.note(handle)
            placement.endings.owe(handle)
    journal.payload_bytes = sum(map(len, map(attrgetter("_job._payload"), live.values())))
    journal.payload_bytes += sum(map(len, map(attrgetter("job._payload"), dead.values())))


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Keep the garbage collector from going through many new objects, none of which is in a cycle.

    It would do so again and again, for half of the time that it takes to make them.
    """
    was_enabled = gc.isenabled()
    try:
        gc.disable()  # in here, since an interrupt may come right after it
        yield
    finally:
        if was_enabled:
            gc.enable()


def _by_status(state: LogState) -> tuple[list[JobState], list[JobState], list[JobState]]:
    """Jobs that are unfinished, finished or failed; the last two by their end, oldest first.

    That is their order in the log: the wall clock may have been set back meanwhile.
    """
    unfinished = [each for each in state.jobs.values() if each.status == QUEUED]
    finished, failed = state.finished(), state.failed()
    state.jobs.clear()
    return unfinished, finished, failed


def _count_crashes(
    log: LockedLog, crashes_max: int, journal: Journal, placement: Placement
) -> list[JobState]:
    """Each job that was running when the process died has one more crash to its name.

    Returns:
        Those that are given up for it.
    """
    given_up = []
    for number in sorted(log.interrupted.jobs):
        each = log.state.jobs.get(number)
        # guard: a death is counted once
        #   without: if each is None or each.status != QUEUED:
        if each is None or each.status != QUEUED or each.crashed_run == log.interrupted.run:
            continue
        each.crashes = min(each.crashes + 1, COUNT_MAX)
        journal.crashed(number, each.crashes, log.interrupted.run)
        if each.crashes >= crashes_max:
            _fail_poisonous(log, each, journal, placement)
            given_up.append(each)
    return given_up


def _fail_poisonous(log: LockedLog, each: JobState, journal: Journal, placement: Placement) -> None:
    wall = placement.clock.time()
    error = (
        f"the process died {each.crashes} times in a row while this job was running "
        f"(max_crashes); it is not run again by itself: mend its handler, and requeue it"
    )
    log.state.apply(journal.poisoned(each.enqueued.job, error, wall, each.started, each.retries))
    message, job = f"job {each.enqueued.id!r} failed: {error}", _job(each.enqueued, each.retries)
    placement.reporter.report(logging.ERROR, message, about=about(job, each.retries))


def _job(enqueued: Enqueued, retries: int) -> Job:
    """The job as it was accepted. `Job` checked it then, and the codec has checked it again."""
    job = Job.__new__(Job)
    headers = enqueued.headers
    job._payload = enqueued.binary or enqueued.payload.encode()
    job._id = enqueued.id
    job._priority = _PRIORITIES[enqueued.priority]
    job._handler = enqueued.handler
    job._max_retries = enqueued.max_retries
    job._headers = FrozenDict(headers) if headers else NO_HEADERS
    job._store_result = enqueued.store_result
    job._plan = plan_of(enqueued)
    job._retries = retries
    job._created = enqueued.created
    return job


def _failure(each: JobState) -> tuple[str, str] | None:
    return None if each.error is None else (each.error, each.traceback or "")


def _letter(each: JobState) -> DeadLetter:
    return DeadLetter(
        _job(each.enqueued, each.retries),
        each.enqueued.job,
        None,
        _failure(each),
        each.started,
        each.finished or 0.0,
        each.retries,
        attempts=_attempts(each),
    )


def _attempts(each: JobState) -> tuple[Attempt, ...]:
    return tuple(starmap(Attempt, each.attempts))


def _bury(failed: list[JobState], letters_max: int, placement: Placement, journal: Journal) -> None:
    """Keep the youngest of the failed jobs; the limit may be smaller than it was."""
    count = max(0, len(failed) - letters_max)
    for each in failed[:count]:
        journal.dropped(each.enqueued.job)
    for each in failed[count:]:
        placement.status.bury(_letter(each))
    if count:
        placement.reporter.report(
            logging.WARNING,
            f"{count} dead letters were dropped, {failed[0].enqueued.id!r} first: there were more "
            f"than {letters_max} (max_dead_letters)",
        )


def _remember_all(finished: list[JobState], status: StatusMap) -> None:
    """Remember finished jobs, oldest first.

    An id that was used again after it had been forgotten stands for its last job. If more jobs are
    retained now than then, the log still has the earlier one.
    """
    last = {each.enqueued.id: each for each in finished if each.enqueued.id not in status.live}
    for each in finished:
        if last.get(each.enqueued.id) is each:
            _remember(each, status)


def _remember(each: JobState, status: StatusMap) -> None:
    was = each.enqueued
    record = Finished(
        Status.COMPLETED if each.status == COMPLETED else Status.CANCELLED,
        Priority(was.priority),
        was.handler,
        FrozenDict(was.headers) if was.headers else NO_HEADERS,
        each.retries,
        _failure(each),
        was.created,
        each.started,
        each.finished or 0.0,
        result=None if each.result is None else StoredResult(*each.result),
        key=was.key,
        attempts=_attempts(each),
    )
    status.remember(was.id, record)


def _queue_again(
    unfinished: list[JobState], owner: HandleOwner, placement: Placement, *, crashes_max: int
) -> None:
    """Jobs that were queued, scheduled or running when their process ended.

    For those that are ready it does at once what `StatusMap.accept` and `Placement.arrive` do
    for each of the others. That takes half of the time: the start may wait for 100,000 of them.
    """
    live, find, now = placement.status.live, placement.registry.find, placement.clock.monotonic()
    lanes = [lane.queue for lane in placement.scheduler.lanes]
    others: list[tuple[JobHandle, JobState]] = []
    unfinished.reverse()
    while unfinished:
        each = unfinished.pop()  # so that the next handle may take its memory
        handle = _handle(each, owner, placement.clock)
        job = handle._job
        live[job._id] = handle
        if each.crashes >= crashes_max - 1:
            placement.suspects.add(handle)
            others.append((handle, each))
        elif (
            handle._ties is None
            and handle._status is _QUEUED
            and (call := find(job._handler)) is not None
            and not call.is_limited
        ):
            handle._call, handle._tally = call, call.tallies[job._priority]
            handle._since = now  # as `FairScheduler.push` does; no worker waits yet
            lanes[job._priority].append(handle)
        else:
            others.append((handle, each))
    for priority, lane in zip(_PRIORITIES, lanes, strict=True):
        placement.status.meters[priority].enqueued += len(lane)
        for tally, count in Counter(map(attrgetter("_tally"), lane)).items():
            tally.enqueued += count
    by_number = {handle._number: handle for handle in live.values() if others}
    for handle, each in others:
        placement.status.accept(handle, find(handle._job._handler))
        if handle._ties is not None or each.enqueued.after:
            bind(handle, each, by_number, placement)
        if find(handle._job._handler) is None:
            placement.registry.expect(handle)
        placement.arrive(handle)


def _handle(each: JobState, owner: HandleOwner, clock: Clock) -> JobHandle:
    enqueued = each.enqueued
    job = _job(enqueued, each.retries)
    first = _SCHEDULED if enqueued.after else _QUEUED
    if each.due is None and each.started is None:  # most jobs; these have not failed either
        return JobHandle(owner, job, first, enqueued.job)
    seconds = 0.0 if each.due is None else seconds_left(each.due, each.delay, clock)
    status = _SCHEDULED if seconds > 0 else first
    handle = JobHandle(owner, job, status, enqueued.job)
    handle._started = each.started
    handle._failure = _failure(each)
    handle._attempts = _attempts(each)
    if seconds > 0:
        handle._due_tick = tick_after(clock.monotonic() + seconds)
    return handle
