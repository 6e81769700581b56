"""Which tests a run leaves out: those of the lab, while the lab is as it was when they passed.

The lab's tests take real processes, memory and time, and the lab is no part of the package. So they
run when the lab has changed, and once a day by `make check-all`. This also finds what a change of
the package has done to the lab. `lab/tested.sha256` holds the digest of what they have passed for.

`python -m tests.support.left_out` prints the digest of what is there. `make check-all` asks for it
before the tests and writes it down after they have passed.
"""

from __future__ import annotations

import os
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[2]
LAB_TESTS = ROOT / "tests" / "lab"
RUN_ALL = "TEST_ALL"
"""Environment variable: if it is set, nothing is left out."""

REASON = (
    "the lab is as it was when `make check-all` passed; "
    f"`pytest tests/lab` runs these tests, and with {RUN_ALL}=1 so does any run"
)


def is_lab_left_out(root: Path, named: Iterable[Path]) -> bool:
    """Whether a run that was given these paths leaves out the tests of the lab.

    It does not if it was told to run all tests, or if one of the paths is in `tests/lab`.
    """
    tests = root / "tests" / "lab"
    if os.environ.get(RUN_ALL) or any(path.is_relative_to(tests) for path in named):
        return False
    return tested_digest(root) == digest(root)


def often(usually: int, in_full: int) -> int:
    """How many times to do what is much alike each time: `in_full` if nothing is to be left out."""
    return in_full if os.environ.get(RUN_ALL) else usually


def tested_digest(root: Path) -> str | None:
    """What the lab's tests have passed for last, if that was written down."""
    record = root / "lab" / "tested.sha256"
    return record.read_text(encoding="ascii").strip() if record.is_file() else None


def digest(root: Path) -> str:
    """Tells one state of the lab, its tests and what it is drawn with from any other."""
    found = sha256()
    for part in _parts(root):
        found.update(b"%d:" % len(part) + part)
    return found.hexdigest()


def _parts(root: Path) -> Iterator[bytes]:
    for folder in (root / "lab", root / "tests" / "lab"):
        for path in sorted(folder.rglob("*.py")):
            yield path.relative_to(root).as_posix().encode()
            yield path.read_bytes()
    tables = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    for requirement in tables["project"]["optional-dependencies"]["dev"]:
        if requirement.startswith("matplotlib"):
            yield requirement.encode()


if __name__ == "__main__":
    print(digest(ROOT))
