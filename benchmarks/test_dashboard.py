"""The measurement of the dashboard still works, with a few jobs."""

from __future__ import annotations

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'web'")


@pytest.mark.slow
def test_pages_and_throughput_are_measured() -> None:
    from benchmarks.figures.dashboard import dashboard

    findings = dashboard(jobs=2000, dead=1000, turns=2, turn_seconds=0.3)
    assert len(findings.figures) == 4
    assert all(figure.measured > 0 for figure in findings.figures)
