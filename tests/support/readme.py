"""`python -m tests.support.readme`: writes the README's figures from the measurements.

They stand in its block `<!-- figures -->`; `make bench-report`, which measures, also runs this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
MEASUREMENTS = ROOT / "docs" / "performance" / "measurements.json"
BLOCK = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- /figures -->)", re.DOTALL)

NO_JOB_QUEUES = ("queue.", "queuelib", "ThreadPoolExecutor", "write + fdatasync", "jobqueue")
"""What is measured beside the job queues: what they are made of, and what promises less."""


def figures(measurements: dict[str, Any]) -> str:
    """This queue beside the fastest other job queue that keeps the same promise."""
    return "\n".join(_lines(measurements)) + "\n"


def _lines(measurements: dict[str, Any]) -> Iterator[str]:
    yield "| an accepted job is | jobqueue | the fastest other job queue | |"
    yield "|---|---:|---:|---:|"
    for promise, rows in measurements["series"]["peers"].items():
        (ours,) = (row["jobs/s"] for row in rows if row["name"] == "jobqueue")
        other = max(
            (row for row in rows if "ratio" in row and not row["name"].startswith(NO_JOB_QUEUES)),
            key=lambda row: float(row["jobs/s"]),
        )
        yield (
            f"| {promise} | {ours:,.0f} jobs/s | {other['name']}: {other['jobs/s']:,.0f} jobs/s "
            f"| {other['ratio']:.2g} × |"
        )
    yield ""
    yield "Measured by `make bench-report` on {date}: {cores} cores, {python}, {system}.".format(
        **measurements["machine"]
    )


def main() -> None:
    text = README.read_text(encoding="utf-8")
    measurements = json.loads(MEASUREMENTS.read_text(encoding="utf-8"))
    new = BLOCK.sub(lambda _: f"\n{figures(measurements)}\n", text)
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
