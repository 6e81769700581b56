"""`python -m benchmarks.engine [PART ...]`: queues on one PostgreSQL, side by side, in turns."""

from __future__ import annotations

import argparse
import sys
import time

from .arena import opened
from .parts import PARTS
from .table import draw, keep, table


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--queue", action="append", help="only this one; several times for more")
    parser.add_argument("--write", action="store_true", help="keep the numbers, and the page")
    parser.add_argument("--draw", action="store_true", help="measure nothing: write the page anew")
    options = parser.parse_args(arguments)
    if options.draw:
        draw()
        return
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in options.parts or PARTS:
        begin = time.monotonic()
        with opened(options.queue) as arena:
            series = PARTS[name](arena, options.rounds)
        print("\n".join(table(series)), flush=True)
        if options.write:
            keep(series)
        print(f"\n{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
