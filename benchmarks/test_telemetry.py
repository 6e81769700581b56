"""What is measured of telemetry is measured, in small, so that it does not rot."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the SDK of OpenTelemetry")
pytest.importorskip("prometheus_client", reason="needs the extra 'prometheus'")

from benchmarks import telemetry


def test_each_figure_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HANDLERS", "JOBS", "ROUNDS"):
        monkeypatch.setattr(telemetry, name, 2)

    figures = [*telemetry.scrapes(), *telemetry.traces()]

    assert len(figures) == 12
    assert all(figure.measured != 0 for figure in figures)
