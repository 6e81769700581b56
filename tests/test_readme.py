"""The README's Python blocks do what they say: each runs in a fresh interpreter."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
EXPECTED = re.compile(r"^\s*print\(.*\)  # (.+)$", flags=re.MULTILINE)


def test_the_readme_has_its_quick_start() -> None:
    assert len(BLOCKS) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_the_readme_prints_what_its_comments_say(block: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    missing = [line for line in EXPECTED.findall(block) if line not in run.stdout.splitlines()]
    assert not missing, run.stdout
