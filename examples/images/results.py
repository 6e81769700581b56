"""The tables at the end of a run, and what follows from the numbers in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from .audit import Audit
from .pipeline import WORKS, Made, Setting

WORTH = 1.2
"""How many times as fast another setting has to be to be recommended: less is chance, or not
worth its memory."""

STEADY = 1.5
"""How many times as fast as its slowest round a setting's fastest may be."""


@dataclass(frozen=True)
class Rates:
    """Pictures per second of one kind of work in each round, by setting."""

    rounds: Mapping[Setting, Sequence[float]]

    def median(self, setting: Setting) -> float:
        return median(self.rounds[setting])

    @property
    def base(self) -> float:
        """The rate of one thread."""
        return self.median(Setting("thread", 1))

    @property
    def spread(self) -> float:
        """How many times as fast as its slowest round the most unsteady setting's fastest was."""
        return max(max(rates) / min(rates) for rates in self.rounds.values())

    def crowd(self, executor: str) -> Setting:
        """The setting of an executor with most workers."""
        settings = (setting for setting in self.rounds if setting.executor == executor)
        return max(settings, key=lambda setting: setting.workers)


def rates(results: Mapping[Setting, Made], pictures: int) -> dict[str, Rates]:
    """What was measured, by the name of the work."""
    return {
        name: Rates({s: [pictures / t for t in made.seconds[name]] for s, made in results.items()})
        for name in WORKS
    }


def show(console: Console, measured: Mapping[str, Rates], result: Audit) -> None:
    console.print(_rates_table(measured))
    for name, of_work in measured.items():
        console.print(finding(name, of_work), soft_wrap=True)
    console.print(_audit_table(result))


def finding(name: str, measured: Rates) -> str:
    """What the numbers say, and no more than that."""
    threads, processes = measured.crowd("thread"), measured.crowd("process")
    threaded = measured.median(threads) / measured.base
    processed = measured.median(processes) / measured.base
    text = f"{name}: {threads} did {threaded:.2f} × the work of one, {processes} {processed:.2f} ×."
    if measured.spread > STEADY:
        return (
            f"{text} But one round took up to {measured.spread:.1f} × as long as another of the "
            f"same: something else was running. Measure again."
        )
    if max(threaded, processed) < WORTH:
        return f"{text} Neither was worth it here."
    if processed >= WORTH * threaded:
        return f'{text} Take "process".'
    return f'{text} Take "thread": processes bring nothing that is worth their memory.'


def _rates_table(measured: Mapping[str, Rates]) -> Table:
    table = Table("work", "executor", "workers", "pictures/s", "slowest to fastest", "× 1 thread")
    for column in table.columns[2:]:
        column.justify = "right"
    for name, of_work in measured.items():
        for setting, of_rounds in of_work.rounds.items():
            rate = of_work.median(setting)
            table.add_row(
                name,
                setting.executor,
                f"{setting.workers}",
                f"{rate:.1f}",
                f"{min(of_rounds):.1f} to {max(of_rounds):.1f}",
                f"{rate / of_work.base:.2f}",
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
