"""The figures of tasks and coroutines are measured, in small, so that they do not rot."""

from __future__ import annotations

import pytest

from benchmarks.figures import tasks


@pytest.mark.slow
def test_each_figure_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOBS", "ROUNDS", "NO_OPS", "SLOTS", "SLEEPS", "AWAITED"):
        monkeypatch.setattr(tasks, name, 1 if "ROUNDS" in name else 3)

    findings = [tasks.calls(), tasks.coroutines(), tasks.awaited()]

    assert [len(each.figures) for each in findings] == [2, 2, 1]
    assert all(figure.measured != 0 for each in findings for figure in each.figures)
