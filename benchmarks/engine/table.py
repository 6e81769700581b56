"""What was measured, as Markdown; kept in a file, and written into the page from there."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from ..report import machine
from .contenders import CONTENDERS, OURS, PLAIN

DOCS = Path(__file__).resolve().parents[2] / "docs"
NUMBERS = DOCS / "performance" / "engine.json"
PAGE = DOCS / "guides" / "many-machines.md"
_TABLE = re.compile(r"(<!-- make bench-engine -->\n).*(<!-- end -->)", re.DOTALL)

Rows = Mapping[str, Mapping[str, Sequence[float]]]


def table(series: Rows) -> Iterator[str]:
    """A row for each thing that was measured, a column for each queue; medians of the turns."""
    names = [name for name in CONTENDERS if any(name in row for row in series.values())]
    yield f"| | {' | '.join(names)} | {OURS} ÷ {PLAIN} |"
    yield f"|---|{'---:|' * (len(names) + 1)}"
    for row, samples in series.items():
        cells = [_number(median(samples[name])) if name in samples else "" for name in names]
        yield f"| {row} | {' | '.join(cells)} | {ratio(samples)} |"


def ratio(samples: Mapping[str, Sequence[float]]) -> str:
    """The median of the ratios of ours to plain PgQueuer's in the same turn."""
    if OURS not in samples or PLAIN not in samples:
        return ""
    return f"{median(a / b for a, b in zip(samples[OURS], samples[PLAIN], strict=True)):.2f}"


def keep(series: Rows) -> None:
    """Keep rows, in place of those of the last time, and write all into the page."""
    kept = json.loads(NUMBERS.read_text(encoding="utf-8")) if NUMBERS.exists() else {"rows": {}}
    rows = {
        row: {name: [_rounded(value) for value in values] for name, values in samples.items()}
        for row, samples in series.items()
    }
    kept = {"machine": machine(), "rows": kept["rows"] | rows}
    NUMBERS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    draw()


def draw() -> None:
    """Write the table into the page."""
    kept = json.loads(NUMBERS.read_text(encoding="utf-8"))
    rows = {row: _numbers(samples) for row, samples in kept["rows"].items()}
    text = "\n".join(["", *table(rows), "", ""])
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_TABLE.sub(lambda found: found[1] + text + found[2], page), encoding="utf-8")


def _rounded(value: float) -> float | None:
    """Four significant digits; `None` for what never came, which JSON has no number for."""
    return None if math.isinf(value) else float(f"{value:.4g}")


def _numbers(samples: Mapping[str, Sequence[float | None]]) -> dict[str, list[float]]:
    return {
        name: [math.inf if value is None else value for value in values]
        for name, values in samples.items()
    }


def _number(value: float) -> str:
    if math.isinf(value):
        return "never"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
