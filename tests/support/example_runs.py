"""How the examples are run as their users run them, and what all of them do alike."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 60


def run_example(name: str, *options: str, home: Path) -> tuple[str, list[list[str]]]:
    """Run an example to its good end, in a process of its own that leaves nothing behind.

    Args:
        name: a package of `examples`.
        options: of its command.
        home: an empty directory for what it writes.

    Returns:
        What it printed, and the cells of the tables in that, line by line.
    """
    run = subprocess.run(
        [sys.executable, "-m", f"examples.{name}", *options],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(home), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    assert list(home.iterdir()) == []
    cells = [[cell.strip() for cell in line.split("│")] for line in run.stdout.splitlines()]
    return run.stdout, cells


def assert_refused(
    main: Callable[[list[str]], object], option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command does not take an option, and names it and its value."""
    with pytest.raises(SystemExit):
        main([option, value])
    error = capsys.readouterr().err
    assert option in error
    assert repr(value) in error
