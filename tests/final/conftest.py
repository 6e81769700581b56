"""What the tests of the final tier share: stores, time that stands still, log records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue.final.testing import ManualClock
from tests.support.queues import LOGS, STORES, Store
from tests.support.records import Records


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Memory and a log of each durability: for promises that hold for all of them."""
    yield from _opened(request.param, tmp_path)


@pytest.fixture(params=LOGS)
def log_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A log of each durability."""
    yield from _opened(request.param, tmp_path)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Store]:
    """Memory alone: for what has nothing to do with the store."""
    yield from _opened("memory", tmp_path)


def _opened(kind: str, directory: Path) -> Iterator[Store]:
    store = Store(kind, directory)
    yield store
    store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1_000_000_000.0)


@pytest.fixture
def records() -> Iterator[Records]:
    with Records() as records:
        yield records
