"""`jobqueue postgres install`, `upgrade` and `verify`: the tables of a queue on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from .database import reached
from .exits import Exit
from .screen import Screen, printable

if TYPE_CHECKING:
    from argparse import Namespace

DONE = {
    "install": "the tables of jobqueue are there, and those of this release",
    "upgrade": "the tables of jobqueue are those of this release",
    "verify": "a queue of this release can be opened",
}


def run(arguments: Namespace) -> Exit:
    """Make the tables, bring them up to date, or look whether they are."""
    screen = Screen(as_json=arguments.json)
    with reached(arguments.dsn) as dsn:
        from ..postgres import schema
        from ..postgres.errors import masked

        {"install": schema.install, "upgrade": schema.upgrade, "verify": schema.verify}[
            arguments.action
        ](dsn)
        where = masked(dsn)
    if screen.as_json:
        screen.tell({"database": where, arguments.action: "done"})
    else:
        screen.show(Text(f"{printable(where)}: {DONE[arguments.action]}"))
    return Exit.OK
