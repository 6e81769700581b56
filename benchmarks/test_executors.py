"""The comparison of executors runs, in small, so that it does not rot."""

from __future__ import annotations

import pytest

from benchmarks import executors


@pytest.mark.slow
def test_table_has_a_row_for_each_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMPUTING_JOBS", "IDLE_JOBS", "WARM_UP_JOBS"):
        monkeypatch.setattr(executors, name, 3)

    table = executors.table(*executors.measure(1, milliseconds=0.01))

    rows = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    assert [(executor.strip(), int(workers)) for executor, workers in rows] == [
        (f'`"{setting.executor}"`', setting.workers) for setting in executors.SETTINGS
    ]
