"""Opens a log and brings what it holds back into the queue.

Guarantees: every job that is not finished is there again, once, with its retries; nothing is
imported by name. When opening fails, the log is unlocked and no thread has been started.
Relies on: being called before any other thread knows the queue; so no lock is taken.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from .job import NO_HEADERS, Job, JobHandle, Priority
from .outcomes import report
from .status import DeadLetter, Finished, StatusMap
from .timer import tick_after
from .transitions import Status
from .wal.files import Files
from .wal.record import Enqueued, payload_bytes
from .wal.replay import distrust_memory, recover, replay
from .wal.segment import LOCK_NAME, list_log
from .wal.slots import Interrupted, read_slots
from .wal.state import CANCELLED, COMPLETED, FAILED, QUEUED, JobState, LogState

if TYPE_CHECKING:
    from .clock import Clock
    from .config import Config
    from .dispatch import Dispatch
    from .job import HandleOwner
    from .journal import Journal


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


def open_log(path: str | os.PathLike[str], config: Config, files: Files | None = None) -> LockedLog:
    """Lock, replay and, where its tail is torn, repair a log.

    Raises:
        LogLockedError: somebody else has it open.
        LogCorruptError: it is damaged; nothing was changed.
        OSError: the directory cannot be made, read or written; the error names it.
    """
    files = Files() if files is None else files
    directory = os.path.abspath(os.fspath(path))
    files.make_directory(directory)
    lock = files.lock(os.path.join(directory, LOCK_NAME))
    try:
        return _read(files, directory, lock, config.status_retention)
    except BaseException:
        files.unlock(lock)
        raise


def _read(files: Files, directory: str, lock: int, retention: int) -> LockedLog:
    state = LogState(retention)
    distrust_memory(files, directory)
    reading = replay(files, directory)
    for records in reading:
        state.apply_all(records)
    torn = reading.torn
    copies = recover(files, directory, torn)
    if copies and torn is not None:
        report(
            logging.WARNING,
            f"the log {directory} ended in a torn batch ({torn.problem}), as after a power cut; it "
            f"was cut off and kept in {', '.join(copies)}. No acknowledged job is lost",
        )
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
        interrupted=read_slots(files, directory),
    )


def restore(log: LockedLog, config: Config, owner: HandleOwner, dispatch: Dispatch) -> None:
    """Put the jobs of a log into the queue: unfinished ones are queued or scheduled again."""
    journal = dispatch.journal
    assert journal is not None  # there is a log
    finished: list[JobState] = []
    failed: list[JobState] = []
    _count_crashes(log, config.max_crashes, journal, dispatch.clock)
    for each in log.state.jobs.values():
        if each.status in (COMPLETED, CANCELLED):
            finished.append(each)
        elif each.status == FAILED:
            failed.append(each)
        else:
            is_suspect = each.crashes >= config.max_crashes - 1
            _queue_again(each, owner, dispatch, is_suspect=is_suspect)
    _remember_all(finished, dispatch.status)
    failed.sort(key=lambda each: each.finished or 0.0)
    _bury(failed, config.max_dead_letters, dispatch.status, journal)
    kept = [handle.job for handle in dispatch.status.live.values()]
    kept += [letter.job for letter in dispatch.status.dead.values()]
    journal.payload_bytes = sum(len(job.payload) for job in kept)


def _count_crashes(log: LockedLog, crashes_max: int, journal: Journal, clock: Clock) -> None:
    """Each job that was running when the process died has one more crash to its name."""
    for number in sorted(log.interrupted.jobs):
        each = log.state.jobs.get(number)
        if each is None or each.status != QUEUED or each.crashed_run == log.interrupted.run:
            continue
        each.crashes += 1
        journal.crashed(number, each.crashes, log.interrupted.run)
        if each.crashes >= crashes_max:
            _fail_poisonous(each, journal, clock.time())


def _fail_poisonous(each: JobState, journal: Journal, wall: float) -> None:
    error = (
        f"the process died {each.crashes} times in a row while this job was running "
        f"(max_crashes); it is not run again by itself"
    )
    journal.poisoned(each.enqueued.job, error, wall, each.retries)
    each.status, each.error, each.traceback, each.finished = FAILED, error, "", wall
    report(logging.ERROR, f"job {each.enqueued.id!r} failed: {error}")


def _job(enqueued: Enqueued, retries: int) -> Job:
    job = Job(
        payload_bytes(enqueued),
        id=enqueued.id,
        priority=Priority(enqueued.priority),
        max_retries=enqueued.max_retries,
        headers=enqueued.headers or None,
        _created=enqueued.created,
    )
    job._handler = enqueued.handler
    job._retries = retries
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
    )


def _bury(failed: list[JobState], letters_max: int, status: StatusMap, journal: Journal) -> None:
    """Keep the youngest of the failed jobs; the limit may be smaller than it was."""
    count = max(0, len(failed) - letters_max)
    for each in failed[:count]:
        journal.dropped(each.enqueued.job)
    for each in failed[count:]:
        status.bury(_letter(each))
    if count:
        report(
            logging.WARNING,
            f"{count} dead letters were dropped, {failed[0].enqueued.id!r} first: there were more "
            f"than {letters_max} (max_dead_letters)",
        )


def _remember_all(finished: list[JobState], status: StatusMap) -> None:
    """Remember finished jobs, oldest first.

    An id that was used again after it had been forgotten stands for its last job: where more are
    retained now than then, the log still has the earlier one.
    """
    finished.sort(key=lambda each: each.finished or 0.0)
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
        MappingProxyType(was.headers) if was.headers else NO_HEADERS,
        each.retries,
        _failure(each),
        was.created,
        each.started,
        each.finished or 0.0,
    )
    status.remember(was.id, record)


def _queue_again(
    each: JobState, owner: HandleOwner, dispatch: Dispatch, *, is_suspect: bool
) -> None:
    """A job that was queued, scheduled or running when its process ended."""
    seconds = _seconds_left(each, dispatch.clock)
    job = _job(each.enqueued, each.retries)
    status = Status.SCHEDULED if seconds > 0 else Status.QUEUED
    handle = JobHandle(owner, job, status, each.enqueued.job)
    handle._failure = _failure(each)
    handle._started = each.started
    if seconds > 0:
        handle._due_tick = tick_after(dispatch.clock.monotonic() + seconds)
    if is_suspect:
        dispatch.suspects.add(handle)
    dispatch.status.accept(handle)
    dispatch.arrive(handle)


def _seconds_left(each: JobState, clock: Clock) -> float:
    """What is left of a delay; never more than was asked for, should the wall clock have jumped."""
    if each.due is None:
        return 0.0
    return min(max(0.0, each.due - clock.time()), each.delay)
