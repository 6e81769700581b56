"""`python -m benchmarks [PART ...]`: measure all parts, or some, and print what was found."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.comparison import compare
from benchmarks.figures import PARTS
from benchmarks.show import measure_all, print_findings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.measure import Findings

ALL = [*PARTS, compare]


def parts_of(names: Sequence[str]) -> list[Callable[[], Findings]]:
    """The parts of these names; all if none is named."""
    known = [part.__name__ for part in ALL]
    if unknown := set(names) - set(known):
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [part for part in ALL if not names or part.__name__ in names]


def main(names: list[str]) -> None:
    print_findings(measure_all(parts_of(names)))


if __name__ == "__main__":
    main(sys.argv[1:])
