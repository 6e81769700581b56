"""The figures of jobs with ties are measured, in small, so that they do not rot."""

from __future__ import annotations

import pytest

from benchmarks.figures import tied


def test_each_figure_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOBS", "ROUNDS", "KEYED", "KEYS", "KEYED_ROUNDS"):
        monkeypatch.setattr(tied, name, 1 if "ROUNDS" in name else 3)

    figures = tied.ties().figures

    assert len(figures) == 5
    assert all(figure.measured != 0 for figure in figures)
