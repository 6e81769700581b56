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


@dataclass(frozen=True)
class Rates:
    """Pictures per second of one kind of work, by setting."""

    by_setting: Mapping[Setting, float]

    def best(self, executor: str) -> tuple[Setting, float]:
        """The setting of an executor with most workers."""
        setting = max(
            (setting for setting in self.by_setting if setting.executor == executor),
            key=lambda setting: setting.workers,
        )
        return setting, self.by_setting[setting]

    @property
    def base(self) -> float:
        """The rate of one thread."""
        return self.by_setting[Setting("thread", 1)]


def rates(results: Mapping[Setting, Made], pictures: int) -> dict[str, Rates]:
    """The median of the rounds, by the name of the work."""
    return {
        name: Rates({s: pictures / median(made.seconds[name]) for s, made in results.items()})
        for name in WORKS
    }


def show(console: Console, measured: Mapping[str, Rates], result: Audit) -> None:
    console.print(_rates_table(measured))
    for name, of_work in measured.items():
        console.print(finding(name, of_work), soft_wrap=True)
    console.print(_audit_table(result))


def finding(name: str, measured: Rates) -> str:
    """What the numbers say, and no more than that."""
    threads, threaded = measured.best("thread")
    processes, processed = measured.best("process")
    text = (
        f"{name}: {threads} did {threaded / measured.base:.2f} × the work of one, "
        f"{processes} {processed / measured.base:.2f} ×."
    )
    if max(threaded, processed) < WORTH * measured.base:
        return f"{text} Neither was worth it here."
    if processed >= WORTH * threaded:
        return f'{text} Take "process".'
    return f'{text} Take "thread": processes bring nothing that is worth their memory.'


def _rates_table(measured: Mapping[str, Rates]) -> Table:
    table = Table("work", "executor", "workers", "pictures/s", "against 1 thread")
    for column in table.columns[2:]:
        column.justify = "right"
    for name, of_work in measured.items():
        for setting, rate in of_work.by_setting.items():
            table.add_row(
                name,
                setting.executor,
                f"{setting.workers}",
                f"{rate:.1f}",
                f"{rate / of_work.base:.2f} ×",
            )
        table.add_section()
    return table


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
