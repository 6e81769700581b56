from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.queues import Store


@pytest.fixture
def rng() -> random.Random:
    """Chance, of a seed that is told where the test fails."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed: {seed}")
    return random.Random(seed)


@pytest.fixture(params=["memory", "write"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Memory, and a log at its default durability."""
    store = Store(request.param, tmp_path)
    yield store
    store.close()


@pytest.fixture
def log_store(tmp_path: Path) -> Iterator[Store]:
    store = Store("write", tmp_path)
    yield store
    store.close()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Store]:
    store = Store("memory", tmp_path)
    yield store
    store.close()


@pytest.fixture
def fsynced(tmp_path: Path) -> Iterator[Store]:
    store = Store("fsync", tmp_path)
    yield store
    store.close()
