"""Fixtures that the tests of several rooms share: stores, time that stands still, log records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue.final.testing import ManualClock
from tests.support.queues import Store
from tests.support.records import Records


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A log at its default durability; each kind of store with `every_store`."""
    yield from _opened(getattr(request, "param", "write"), tmp_path)


@pytest.fixture
def log_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """The same, for what needs a log; one of each durability with `every_log`."""
    yield from _opened(getattr(request, "param", "write"), tmp_path)


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
