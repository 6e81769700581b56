"""The tables at the end of a run."""

from __future__ import annotations

from collections.abc import Collection

from rich.console import Console
from rich.table import Table

from .audit import Audit
from .scenario import Outcome


def show(console: Console, outcome: Outcome) -> None:
    console.print(_table(outcome))
    replies = ", ".join(f"{reply} × {n}" for reply, n in sorted(outcome.replies.items()))
    console.print(f"The server's replies: {replies}.")


def _table(outcome: Outcome) -> Table:
    result = outcome.audit
    table = Table("", "e-mails", "")
    table.columns[1].justify = "right"
    table.add_row("in a mailbox", f"{result.delivered}", "each once, byte for byte")
    table.add_row("dead-lettered", f"{result.dead.total()}", "")
    for reason, count in result.dead.most_common():
        table.add_row("", f"{count}", reason)
    table.add_row(
        "found in the log", f"{outcome.recovered}", "unfinished after the kill: sent then"
    )
    _add_copies(table, result)
    for name, mail_ids in _alarms(result):
        style = "bold red" if mail_ids else "bold green"
        table.add_row(name, f"{len(mail_ids)}", "", style=style)
    rate = result.delivered / outcome.seconds
    table.add_row("throughput", f"{rate:.0f}/s", f"{outcome.seconds:.1f} s, with the restart")
    return table


def _add_copies(table: Table, result: Audit) -> None:
    table.add_row(
        "sent twice",
        f"{result.copies_by_kill}",
        "taken, but killed before its log knew",
    )
    table.add_row("", f"{result.copies_by_doubt}", "taken, but the reply came too late")


def _alarms(result: Audit) -> list[tuple[str, Collection[str]]]:
    return [
        ("sent twice for no reason", result.unexplained),
        ("altered", result.altered),
        ("never accepted", result.unaccepted),
        ("lost", result.lost),
    ]
