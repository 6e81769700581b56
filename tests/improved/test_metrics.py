from __future__ import annotations

import dataclasses

import pytest

from jobqueue.improved import Metrics
from jobqueue.improved.metrics import Counters


def test_a_job_is_counted_where_it_is() -> None:
    counters = Counters()
    counters.accepted += 1
    assert counters.snapshot() == Metrics(1, 0, 0, 0, 0)
    counters.started += 1
    assert counters.snapshot() == Metrics(0, 1, 0, 0, 0)
    counters.retried += 1
    assert counters.snapshot() == Metrics(1, 0, 0, 0, retried=1)
    counters.started += 1
    assert counters.snapshot() == Metrics(0, 1, 0, 0, retried=1)
    counters.completed += 1
    assert counters.snapshot() == Metrics(0, 0, 1, 0, retried=1)


def test_a_job_is_unfinished_until_it_has_completed_or_failed() -> None:
    counters = Counters(accepted=3, started=3)
    assert counters.unfinished == 3
    counters.completed += 1
    counters.failed += 1
    assert counters.unfinished == 1


def test_a_snapshot_cannot_be_changed() -> None:
    snapshot = Counters().snapshot()
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.queued = 1  # type: ignore[misc] # that it is frozen is the test
