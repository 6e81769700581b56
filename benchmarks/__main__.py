"""`python -m benchmarks [PART ...]`: measure all parts, or some, and print what was found."""

import sys

from benchmarks.comparison import compare
from benchmarks.figures import PARTS
from benchmarks.show import measure_all, print_findings

ALL = [*PARTS, compare]


def main(names: list[str]) -> None:
    known = [part.__name__ for part in ALL]
    if unknown := set(names) - set(known):
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    print_findings(measure_all([part for part in ALL if not names or part.__name__ in names]))


if __name__ == "__main__":
    main(sys.argv[1:])
