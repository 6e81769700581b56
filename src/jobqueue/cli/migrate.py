"""`jobqueue migrate`: the jobs of a log go to a database, each once, however often it is killed.

Batch by batch, the database gets jobs and then the log is told that they are gone: those that were
to run count as cancelled there, dead letters as discarded. The log is locked meanwhile, so no queue
runs them there.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.text import Text

from ..final.config import Config
from ..final.model.attempt import Attempt
from ..final.model.job import Job, Priority
from ..final.model.plan import BY, Unique
from ..final.wal.format.record import Cancelled, Discarded, Record, payload_bytes
from ..final.wal.reading.cut import distrust_memory
from .access import owned_log
from .changes import append, make_ready
from .database import reached
from .exits import CommandError, Exit
from .jobs import UNFINISHED, Entry, Jobs, Status
from .screen import Screen, complain, count_text, printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from ..postgres.moving import Destination, Moving
    from .access import Log

BATCH = 500
_SHOWN = 5


class _Summary(NamedTuple):
    """How many jobs went; which did not; and which are to be cancelled, not moved."""

    unfinished: int
    failed: int
    others: list[str]
    left: list[str]


def migrate(arguments: Namespace) -> Exit:
    """Move what is unfinished, and the dead letters, to a database."""
    screen = Screen(as_json=arguments.json)
    with owned_log(arguments) as log, reached(arguments.dsn) as dsn:
        from ..postgres.moving import destination

        distrust_memory(log.files, log.directory)
        jobs = Jobs(log, Config().status_retention)
        _refuse_tied(arguments.path, jobs)
        with destination(dsn) as there:
            summary = _move_all(log, jobs, there)
            for name, tick in jobs.state.ticks.items():
                there.tick(name, tick.at, has_job=bool(tick.job))
            _show(screen, log, there.where, summary)
    return Exit.NO_SUCH_JOB if summary.others else Exit.OK


def _refuse_tied(path: str, jobs: Jobs) -> None:
    """There is no waiting for other jobs in a database; nothing is moved if some do."""
    tied = [entry.id for entry in jobs if entry.status in UNFINISHED and entry.after]
    if tied:
        raise CommandError(
            Exit.USAGE,
            f"{count_text(len(tied), 'job')} in {path} wait for others (after), as {_some(tied)}, "
            f"which is not there on PostgreSQL; let the queue finish them first, by "
            f"close(drain=True), or cancel them; nothing was moved",
        )


def _move_all(log: Log, jobs: Jobs, there: Destination) -> _Summary:
    left = [entry for entry in jobs if entry.status in UNFINISHED and _is_to_end(jobs, entry)]
    staying = {entry.number for entry in left}
    chosen = iter(
        [
            entry
            for entry in jobs
            if entry.status is Status.FAILED
            or (entry.status in UNFINISHED and entry.number not in staying)
        ]
    )
    gone: list[Entry] = []
    others: list[str] = []
    is_ready = False
    while batch := list(islice(chosen, BATCH)):
        refused = set(_take(there, batch, jobs.now))
        others += sorted(refused)
        taken = [entry for entry in batch if entry.id not in refused]
        if taken:
            if not is_ready:
                make_ready(log, jobs.reading)
                is_ready = True
            tell_log(log, jobs, there.where, taken)
            there.let_go([entry.id for entry in taken])
        gone += taken
    failed = sum(entry.status is Status.FAILED for entry in gone)
    return _Summary(len(gone) - failed, failed, others, [entry.id for entry in left])


def _is_to_end(jobs: Jobs, entry: Entry) -> bool:
    """Whether the queue's next start would cancel it: it was cancelled while it ran, say."""
    return entry.doomed_by is not None or entry.number in jobs.state.revoked


def _take(there: Destination, batch: Sequence[Entry], now: float) -> tuple[str, ...]:
    """Have the database take them; which of them it has of its own."""
    try:
        return there.take([_moving(entry, now) for entry in batch]).others
    except ValueError as error:  # a NUL in its id, say
        raise CommandError(Exit.USAGE, f"{error}; cancel this job to move the others") from None


def tell_log(log: Log, jobs: Jobs, where: str, gone: Sequence[Entry]) -> None:
    """Have the log know that these jobs are not its own any more; on the disk."""
    records: list[Record] = [
        Discarded(entry.number)
        if entry.status is Status.FAILED
        else Cancelled(entry.number, jobs.now, error=f"moved to {where}")
        for entry in gone
    ]
    append(log, jobs.reading, records)
    jobs.reading.last += 2  # the batch, and the empty one that seals the segment
    jobs.reading.next_segment += 1


def _moving(entry: Entry, now: float) -> Moving:
    from ..postgres.moving import Moving

    state, was = entry.state, entry.state.enqueued
    has_started = state.started is not None or state.crashes > 0
    is_failed = entry.status is Status.FAILED
    within = None
    if was.expires is not None and not has_started and not is_failed:
        left = min(was.expires - now, was.within or 0.0)
        within = max(left, 0.001)  # one that is too late is cancelled there
    unique = None
    if was.unique in BY:
        until: Any = "started" if was.until_started else "finished"
        unique = Unique(by=was.unique, until=until)
    job = Job(
        payload_bytes(was),
        id=was.id,
        priority=Priority(was.priority),
        handler=was.handler,
        max_retries=was.max_retries,
        headers=was.headers,
        store_result=was.store_result,
        key=was.key,
        unique=unique,
        expires=within,
        _created=was.created,
    )
    due = 0.0 if state.due is None or is_failed else min(max(0.0, state.due - now), state.delay)
    return Moving(
        job,
        due,
        state.retries,
        tuple(Attempt(*each) for each in state.attempts),
        state.started,
        state.error,
        state.traceback,
        state.finished if is_failed else None,
        is_free=was.until_started and has_started,
    )


def _show(screen: Screen, log: Log, where: str, summary: _Summary) -> None:
    if screen.as_json:
        told = {"log": log.directory, "database": where, "unfinished": summary.unfinished}
        told |= {"failed": summary.failed, "not_moved": summary.others, "to_cancel": summary.left}
        screen.tell(told)
        return
    screen.show(*map(Text, _lines(log, where, summary)))
    if summary.others:
        complain(
            f"{where} has other jobs with the ids of {count_text(len(summary.others), 'job')} "
            f"({_some(summary.others)}), which stay in the log"
        )


def _lines(log: Log, where: str, summary: _Summary) -> Iterator[str]:
    yield (
        f"moved to {printable(where)}: {count_text(summary.unfinished, 'unfinished job')}, "
        f"{count_text(summary.failed, 'dead letter')}"
    )
    if summary.left:
        yield (
            f"not moved: {count_text(len(summary.left), 'job')} that the next start of a queue on "
            f"{printable(log.directory)} would cancel"
        )


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return f"{', '.join(map(printable, ids[:_SHOWN]))}{more}"
