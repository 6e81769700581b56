"""Findings as tables in the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from .comparison import Row
from .measure import Figure, Findings

console = Console(highlight=False)


def measure_all(parts: Sequence[Callable[[], Findings]]) -> Findings:
    """Measure one part after another, telling how each is getting on."""
    all_of_them = Findings()
    for part in parts:
        start = time.perf_counter()
        with console.status(f"{part.__name__} …"):
            findings = part()
        console.print(f"[dim]{part.__name__}: {time.perf_counter() - start:.0f} s[/]")
        all_of_them.figures += findings.figures
        all_of_them.series |= findings.series
    return all_of_them


def print_findings(findings: Findings) -> None:
    """Tables of peers, then one row a figure: what, how much, what it should be, the scale."""
    for title, rows in findings.series.get("peers", {}).items():
        table = Table(title, "jobs/s", "jobqueue is faster by", title_justify="left")
        for column in (1, 2):
            table.columns[column].justify = "right"
        for row in rows:
            table.add_row(*peer_row(row))
        console.print(table)
    print_figures(findings.figures)


def peer_row(row: Row) -> tuple[str, str, str]:
    """The cells of a row of a comparison."""
    if "left out" in row:
        return str(row["name"]), "left out", str(row["left out"])
    return str(row["name"]), f"{row['jobs/s']:,.0f}", f"{row['ratio']:.3g} ×"


def print_figures(figures: Sequence[Figure]) -> None:
    """The figures alone."""
    table = Table("figure", "measured", "wanted", "met", "medians")
    for column in (1, 2):
        table.columns[column].justify = "right"
    for figure in figures:
        table.add_row(*row_of(figure))
    console.print(table)


def row_of(figure: Figure) -> tuple[str, str, str, str, str]:
    """The cells of a figure's row."""
    met = {None: "", True: "yes", False: "no"}[figure.met]
    return figure.name, amount(figure), bound(figure), met, figure.detail


def amount(figure: Figure) -> str:
    """The measured value, with its unit."""
    digits = 1 if figure.measured >= 10 else 2
    return f"{figure.measured:.{digits}f} {figure.unit}".rstrip()


def bound(figure: Figure) -> str:
    """The wanted value, with its unit."""
    if figure.wanted is None:
        return ""
    return f"{'≤' if figure.at_most else '≥'} {figure.wanted:g} {figure.unit}".rstrip()
