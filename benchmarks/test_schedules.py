"""The figures of schedules are measured, in small, so that they do not rot."""

from __future__ import annotations

import pytest

from benchmarks.figures import schedules


@pytest.mark.slow
def test_each_figure_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "TICKS", 3)

    findings = schedules.ticks()

    assert len(findings.figures) == len(schedules.KINDS)
    assert all(figure.measured > 0 for figure in findings.figures)
