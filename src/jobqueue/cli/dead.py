"""`jobqueue log dead`: failed jobs; to list them, to queue them again, to drop them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ..final.wal.format.record import Discarded, Record, Requeued
from ..final.wal.reading.cut import distrust_memory
from .access import owned_log, read_log
from .catalogue import load, show
from .changes import append, make_ready
from .exits import CommandError, Exit
from .jobs import Entry, Jobs, Status
from .screen import Screen, complain, count_text

if TYPE_CHECKING:
    from argparse import Namespace

ALL = "all"


def dead(arguments: Namespace) -> Exit:
    """List the dead letters, or change some."""
    if arguments.requeue or arguments.discard:
        return _change(arguments)
    jobs, torn = read_log(arguments, lambda log: load(log, arguments.status_retention))
    screen = Screen(as_json=arguments.json)
    for entry in _letters(jobs):
        show(screen, entry, full=arguments.full)
    if torn is not None:
        complain(f"note: {torn}; what follows there does not count")
    return Exit.OK


def _letters(jobs: Jobs) -> list[Entry]:
    """Return the failed jobs; the one that failed first comes first."""
    failed = [entry for entry in jobs if entry.status is Status.FAILED]
    return sorted(failed, key=lambda entry: entry.state.finished or 0.0)


def _change(arguments: Namespace) -> Exit:
    with owned_log(arguments) as log:
        distrust_memory(log.files, log.directory)
        jobs = Jobs(log, arguments.status_retention)
        letters = _letters(jobs)
        if arguments.discard:
            chosen = _named(letters, arguments.discard)
            records: list[Record] = [Discarded(each.number) for each in chosen]
        else:
            chosen = letters if ALL in arguments.requeue else _named(letters, arguments.requeue)
            records = [Requeued(each.number, jobs.now) for each in chosen]
        if records:
            make_ready(log, jobs.reading)
            append(log, jobs.reading, records)
    _show_change(arguments, [each.id for each in chosen])
    return Exit.OK


def _named(letters: list[Entry], ids: list[str]) -> list[Entry]:
    """Find the letters with these ids; each of them must be there."""
    by_id = {entry.id: entry for entry in letters}
    unknown = [each for each in ids if each not in by_id]
    if unknown:
        raise CommandError(
            Exit.NO_SUCH_JOB, f"no dead letter has the id {', '.join(unknown)}; nothing was changed"
        )
    return [by_id[each] for each in dict.fromkeys(ids)]


def _show_change(arguments: Namespace, ids: list[str]) -> None:
    screen = Screen(as_json=arguments.json)
    verb = "discarded" if arguments.discard else "requeued"
    if screen.as_json:
        screen.tell({verb: ids})
    else:
        screen.show(Text(f"{verb}: {count_text(len(ids), 'job')}"))
