from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.logs import LogDirectory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> LogDirectory:
    return LogDirectory(tmp_path)
