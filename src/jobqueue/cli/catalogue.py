"""`jobqueue log cat`: the jobs of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .access import read_log, torn_note
from .exits import Exit
from .jobs import Entry, Jobs, as_json, as_lines
from .screen import Screen, complain

if TYPE_CHECKING:
    from argparse import Namespace

    from .access import Log


def cat(arguments: Namespace) -> Exit:
    """Show the jobs that pass all filters."""
    screen = Screen(as_json=arguments.json)

    jobs, torn = read_log(arguments, lambda log: load(log, arguments.status_retention))
    for entry in jobs:
        if _passes(entry, arguments):
            show(screen, entry, full=arguments.full)
    if torn is not None:
        complain(f"note: {torn}; what follows there does not count")
    return Exit.OK


def load(log: Log, status_retention: int) -> tuple[Jobs, str | None]:
    """Read the jobs of a log, and where it is torn."""
    jobs = Jobs(log, status_retention)
    return jobs, torn_note(log, jobs.reading)


def show(screen: Screen, entry: Entry, *, full: bool) -> None:
    """Show one job."""
    if screen.as_json:
        screen.tell(as_json(entry))
    else:
        screen.show(*as_lines(entry, full=full))


def _passes(entry: Entry, arguments: Namespace) -> bool:
    handler = entry.state.enqueued.handler or ""
    return (
        (not arguments.status or entry.status in arguments.status)
        and (not arguments.priority or entry.priority in arguments.priority)
        and (not arguments.handler or handler in arguments.handler)
        and (not arguments.id or entry.id in arguments.id)
    )
