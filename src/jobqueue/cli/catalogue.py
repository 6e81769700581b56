"""`jobqueue log cat`: the jobs of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .selection import show_jobs

if TYPE_CHECKING:
    from argparse import Namespace

    from .exits import Exit
    from .jobs import Entry

_FILTERS = ("status", "priority", "handler", "id", "since")


def cat(arguments: Namespace) -> Exit:
    """Show the jobs that pass all filters."""
    filtered = any(getattr(arguments, name) for name in _FILTERS)
    return show_jobs(
        arguments,
        lambda jobs: (entry for entry in jobs if _passes(entry, arguments)),
        lambda entry: entry.state.enqueued.created,
        "no job passes the filters" if filtered else "no jobs",
    )


def _passes(entry: Entry, arguments: Namespace) -> bool:
    handler = entry.state.enqueued.handler or ""
    return (
        (not arguments.status or entry.status in arguments.status)
        and (not arguments.priority or entry.priority in arguments.priority)
        and (not arguments.handler or handler in arguments.handler)
        and (not arguments.id or entry.id in arguments.id)
    )
