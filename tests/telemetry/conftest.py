"""What the tests of telemetry share: queues in memory, time that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue.final.testing import ManualClock
from tests.support.queues import Store


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Store]:
    """Queues in memory."""
    store = Store("memory", tmp_path)
    yield store
    store.close()


@pytest.fixture
def log_store(tmp_path: Path) -> Iterator[Store]:
    """Queues with a log."""
    store = Store("write", tmp_path)
    yield store
    store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1_000_000_000.0)
