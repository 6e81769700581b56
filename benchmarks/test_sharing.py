"""The figures of shared queues are measured, in small, so that they do not rot."""

from __future__ import annotations

import pytest

from benchmarks import sharing

pytest.importorskip("msgspec", reason="what processes say to each other is written by msgspec")


@pytest.mark.slow
def test_each_figure_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "ROUND", 10)
    assert min(sharing.owners(1)) > 0
    assert sharing.owners_rate(1) > 0
    assert sharing.latency(20) > 0
    assert sharing.rate_together(2, 10, "pipelined") > 0
    assert min(sharing.handover(10)) > 0
