"""The tables at the end of a run, and what follows from the numbers in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from .audit import Audit
from .pipeline import WORKS, Made, Setting

WORTH = 1.2
"""How many times as fast another setting has to be to be recommended: less is chance, or not
worth its memory."""

FREE = 0.75
"""For how much of its time a handler in a process of its own computes, at least, if other
programs leave it a core."""


@dataclass(frozen=True)
class Measured:
    """What one kind of work took in one setting.

    Attributes:
        rate: pictures per second.
        computing: for how much of its time a handler computed.
    """

    rate: float
    computing: float


def measured(made: Made, name: str) -> Measured:
    """The median of the rounds, and what all attempts took together."""
    attempts = made.attempts[name]
    pictures = len(attempts) / len(made.seconds[name])
    return Measured(
        rate=pictures / median(made.seconds[name]),
        computing=sum(a.cpu_seconds for a in attempts) / sum(a.wall_seconds for a in attempts),
    )


def show(console: Console, results: Mapping[Setting, Made], result: Audit) -> None:
    if result.ok:  # else there is nothing to compare
        table = {
            name: {setting: measured(made, name) for setting, made in results.items()}
            for name in WORKS
        }
        console.print(_rates_table(table))
        for name, row in table.items():
            console.print(finding(name, row), soft_wrap=True)
    console.print(_audit_table(result))


def finding(name: str, row: Mapping[Setting, Measured]) -> str:
    """What the numbers say, and no more than that."""
    threads, processes = _crowd(row, "thread"), _crowd(row, "process")
    base = row[Setting("thread", 1)].rate
    threaded, processed = row[threads].rate / base, row[processes].rate / base
    text = f"{name}: {threads} did {threaded:.2f} × the work of one, {processes} {processed:.2f} ×."
    if row[processes].computing < FREE:
        return (
            f"{text} But a process had a core for only {row[processes].computing:.0%} of its time: "
            f"something else is running. Measure again."
        )
    if max(threaded, processed) < WORTH:
        return f"{text} Neither was worth it here."
    if processed >= WORTH * threaded:
        return f'{text} Take "process".'
    return f'{text} Take "thread": processes bring nothing that is worth their memory.'


def _crowd(row: Mapping[Setting, Measured], executor: str) -> Setting:
    """The setting of an executor with most workers."""
    settings = (setting for setting in row if setting.executor == executor)
    return max(settings, key=lambda setting: setting.workers)


def _rates_table(table: Mapping[str, Mapping[Setting, Measured]]) -> Table:
    shown = Table("work", "executor", "workers", "pictures/s", "× 1 thread", "computing")
    for column in shown.columns[2:]:
        column.justify = "right"
    for name, row in table.items():
        base = row[Setting("thread", 1)].rate
        for setting, found in row.items():
            shown.add_row(
                name,
                setting.executor,
                f"{setting.workers}",
                f"{found.rate:.1f}",
                f"{found.rate / base:.2f}",
                f"{found.computing:.0%}",
            )
        shown.add_section()
    shown.caption = "computing: for how much of its time a handler had a core"
    return shown


def _audit_table(result: Audit) -> Table:
    table = Table("", "", "")
    table.columns[1].justify = "right"
    table.add_row("made", f"{result.made}", "files and placeholders, all settings together")
    table.add_row("dead-lettered", f"{len(result.dead)}", "by each setting; nothing else was")
    for reason, count in Counter(result.dead.values()).items():
        table.add_row("", f"{count}", reason)
    for name, found in [
        ("missing", result.missing),
        ("of a wrong size", result.wrong),
        ("not the same everywhere", result.different),
        ("wrongly dead or alive", result.undead),
    ]:
        style = "bold red" if found else "bold green"
        table.add_row(name, f"{len(found)}", ", ".join(sorted(found)[:3]), style=style)
    return table
