"""What the tests of the command share: a log, and a way to run the command on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Command
from tests.support.logs import LogDirectory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> LogDirectory:
    """An empty directory named jobs.db."""
    path = tmp_path / "jobs.db"
    path.mkdir()
    return LogDirectory(path)


@pytest.fixture
def command(log: LogDirectory, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `jobqueue log NAME` on that directory."""
    return Command(log, capsys)
