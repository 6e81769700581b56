"""docs/performance.md says what was measured, and compares what promises the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.contents import without
from tests.support.pages import DOCS

pytest.importorskip("msgspec", reason="msgspec cannot be had for this Python")
pytest.importorskip("rich", reason="what prints the figures is not there for this Python")

from benchmarks import plots, report

NUMBERS: dict[str, Any] = json.loads(
    (DOCS / "performance" / "measurements.json").read_text(encoding="utf-8")
)


def test_the_page_is_written_from_the_numbers() -> None:
    """If this fails: `python -m benchmarks.report --draw`, which measures nothing."""
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert without(page) == "\n".join(report.page(NUMBERS)) + "\n"


def test_what_loses_its_jobs_is_not_among_what_is_safe() -> None:
    levels = NUMBERS["series"]["peers"]
    safe = plots.equals("safe from kill -9", levels["safe from kill -9"])
    assert "ThreadPoolExecutor" not in [row["name"] for row in safe]
    beside = [(level, row["name"]) for level, row in plots.yardsticks(levels)]
    assert ("safe from kill -9", "ThreadPoolExecutor") in beside


def test_each_row_is_told_once() -> None:
    levels = NUMBERS["series"]["peers"]
    kept = [(level, row["name"]) for level in levels for row in plots.equals(level, levels[level])]
    beside = [(level, row["name"]) for level, row in plots.yardsticks(levels)]
    assert sorted(kept + beside) == sorted((x, row["name"]) for x in levels for row in levels[x])
