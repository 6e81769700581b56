"""The command: `python -m examples.webhooks --help`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..command import play, whole_number
from ..screen import open_screen
from . import results
from .scenario import Scenario

_JOBS_MIN = 100  # with fewer, "half-way" is over before it can be seen
_JOBS_MAX = 100_000


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)

    def story() -> bool:
        with (
            tempfile.TemporaryDirectory(prefix="jobqueue-webhooks-") as home,
            open_screen() as screen,
        ):
            screen.say(
                f"{options.jobs:,} webhooks, seed {options.seed}, durability {options.durability}."
            )
            scenario = Scenario(options.jobs, options.seed, options.durability, Path(home), screen)
            outcome = scenario.run()
        results.show(screen.console, outcome)
        return outcome.audit.ok

    return play("webhooks", story)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.webhooks",
        description="Deliver webhooks, kill the sender half-way, and count what is lost: nothing.",
    )
    parser.add_argument(
        "--jobs",
        type=whole_number(_JOBS_MIN, _JOBS_MAX),
        default=3000,
        help="how many (default: 3000)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of events and faults (default: 1)")
    parser.add_argument(
        "--durability",
        choices=["async", "write", "fsync"],
        default="write",
        help="of the sender's log (default: write)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
