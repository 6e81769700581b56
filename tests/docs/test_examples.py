"""Each example has a short program on its page that runs by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import Block, blocks_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guides" / "examples.md"
LINES_MAX = 30
OF_ANOTHER_PAGE = {"cluster"}  # it needs a PostgreSQL, and no program alone can show it
EXAMPLES = sorted(
    {file.parent.name for file in (ROOT / "examples").glob("*/__main__.py")} - OF_ANOTHER_PAGE
)


def programs() -> list[Block]:
    blocks = blocks_of(PAGE.read_text(encoding="utf-8"))
    return [block for block in blocks if block.info == "python"]


def test_each_example_has_a_program_of_its_own() -> None:
    assert len(programs()) == len(EXAMPLES) == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_program_is_short_uses_tasks_and_runs_alone(number: int, tmp_path: Path) -> None:
    source = programs()[number].source
    assert source.count("\n") <= LINES_MAX
    assert ".task" in source

    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stderr
