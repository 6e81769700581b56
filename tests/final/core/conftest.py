"""What the tests of the core share: a store on a disk that takes no time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue.final.life import recovery as recovery_module
from tests.support.logs import HastyFiles
from tests.support.queues import Store


@pytest.fixture
def hasty(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """A store on a disk that takes no time."""
    monkeypatch.setattr(recovery_module, "Files", HastyFiles)
    monkeypatch.setattr(logging.getLogger("jobqueue"), "disabled", True)
    store = Store(getattr(request, "param", "write"), tmp_path)
    yield store
    store.close()
