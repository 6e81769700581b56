"""The tables at the end of a run."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from .scenario import Outcome


def show(console: Console, outcome: Outcome) -> None:
    console.print(_deliveries(outcome))
    console.print(_waits(outcome))
    answers = ", ".join(f"{answer} × {n}" for answer, n in sorted(outcome.answers.items()))
    console.print(f"The receiver's answers: {answers}.")


def _deliveries(outcome: Outcome) -> Table:
    result = outcome.audit
    table = Table("", "events", "")
    table.columns[1].justify = "right"
    table.add_row("delivered", f"{result.delivered}", "")
    table.add_row("delivered twice", f"{result.twice}", "cut off by the kill, or answered too late")
    table.add_row("dead-lettered", f"{result.dead.total()}", "")
    for reason, count in result.dead.most_common():
        table.add_row("", f"{count}", reason)
    table.add_row(
        "never accepted", f"{len(result.unaccepted)}", "", style=_alarm(result.unaccepted)
    )
    table.add_row("lost", f"{len(result.lost)}", "", style=_alarm(result.lost))
    rate = result.delivered / outcome.seconds
    table.add_row("throughput", f"{rate:.0f}/s", f"{outcome.seconds:.1f} s, with the restart")
    return table


def _alarm(event_ids: frozenset[str]) -> str:
    return "bold red" if event_ids else "bold green"


def _waits(outcome: Outcome) -> Table:
    table = Table("queue wait", "p50", "p99")
    for priority, lane in outcome.lanes.items():
        p50, p99 = lane.wait_p50_seconds, lane.wait_p99_seconds
        table.add_row(priority.name.lower(), f"{p50 * 1000:.0f} ms", f"{p99 * 1000:.0f} ms")
    return table
