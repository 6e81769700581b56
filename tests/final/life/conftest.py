"""What a log promises over the lives of a queue, it promises at each durability."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.queues import LOGS, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=LOGS)
def log_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A log of each durability."""
    store = Store(request.param, tmp_path)
    yield store
    store.close()
