from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.improved.rig import Rig


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    rig = Rig(monkeypatch)
    yield rig
    rig.close()
