"""`jobqueue log dead`: failed jobs; to list them, to queue them again, to drop them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ..final.wal.format.record import Discarded, Record, Requeued
from ..final.wal.reading.cut import distrust_memory
from .changes import append, make_ready
from .exits import CommandError, Exit
from .jobs import Entry, Jobs, Status
from .owner import change
from .screen import Screen, count_text
from .selection import show_jobs
from .words import ALL

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from ..final.sharing.operator import RemoteOperator
    from .access import Log


def dead(arguments: Namespace) -> Exit:
    """List the dead letters, or change some."""
    if (arguments.discard or arguments.requeue) and (
        arguments.since is not None or arguments.limit is not None or arguments.follow
    ):
        raise CommandError(
            Exit.USAGE,
            "--since, --limit and --follow choose what is listed; leave them out, and name the "
            "jobs to be changed by their ids",
        )
    if arguments.discard:
        return discard_letters(arguments, arguments.discard)
    if arguments.requeue:
        return _requeue(arguments)
    empty = "no dead letters" if arguments.since is None else "no dead letters since then"
    return show_jobs(arguments, _letters, _failed_at, empty)


def _letters(jobs: Jobs) -> list[Entry]:
    """Return the failed jobs; the one that failed first comes first."""
    failed = [entry for entry in jobs if entry.status is Status.FAILED]
    return sorted(failed, key=_failed_at)


def _failed_at(entry: Entry) -> float:
    return entry.state.finished or 0.0


def discard_letters(arguments: Namespace, ids: list[str]) -> Exit:
    """Drop these failed jobs."""

    def in_queue(queue: RemoteOperator) -> list[str]:
        chosen = _named_of(queue, ids)
        for each in chosen:
            queue.discard(each)
        return chosen

    def in_log(log: Log) -> list[str]:
        return _write(log, arguments, ids, lambda entry, _: Discarded(entry.number))

    return _show_change(arguments, "discarded", change(arguments, in_queue, in_log))


def _requeue(arguments: Namespace) -> Exit:
    every = ALL in arguments.requeue
    ids = [each for each in arguments.requeue if each != ALL]

    def in_queue(queue: RemoteOperator) -> list[str]:
        chosen = _named_of(queue, ids, every=every)
        for each in chosen:
            queue.requeue(each)
        return chosen

    def in_log(log: Log) -> list[str]:
        return _write(
            log, arguments, ids, lambda entry, now: Requeued(entry.number, now), every=every
        )

    return _show_change(arguments, "requeued", change(arguments, in_queue, in_log))


def _named_of(queue: RemoteOperator, ids: list[str], *, every: bool = False) -> list[str]:
    return _known([info.id for info in queue.dead_letters()], ids, every=every)


def _write(
    log: Log,
    arguments: Namespace,
    ids: list[str],
    record: Callable[[Entry, float], Record],
    *,
    every: bool = False,
) -> list[str]:
    """Write a record of each of these jobs, or of every dead letter, all in one batch."""
    distrust_memory(log.files, log.directory)
    jobs = Jobs(log, arguments.status_retention)
    letters = {entry.id: entry for entry in _letters(jobs)}
    chosen = _known(list(letters), ids, every=every)
    if chosen:
        make_ready(log, jobs.reading)
        append(log, jobs.reading, [record(letters[each], jobs.now) for each in chosen])
    return chosen


def _known(letters: list[str], ids: list[str], *, every: bool) -> list[str]:
    """The ids, each once, or every letter's; each of the ids must be a letter's."""
    there = set(letters)
    unknown = [each for each in ids if each not in there]
    if unknown:
        raise CommandError(
            Exit.NO_SUCH_JOB, f"no dead letter has the id {', '.join(unknown)}; nothing was changed"
        )
    return letters if every else list(dict.fromkeys(ids))


def _show_change(arguments: Namespace, verb: str, ids: list[str]) -> Exit:
    screen = Screen(as_json=arguments.json)
    if screen.as_json:
        screen.tell({verb: ids})
    else:
        screen.show(Text(f"{verb}: {count_text(len(ids), 'job')}"))
    return Exit.OK
