"""The command: `python -m examples.webhooks --help`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from . import results
from .scenario import Scenario, ScenarioError
from .screen import open_screen

_JOBS_MIN = 100  # with fewer, "half-way" is over before it can be seen
_JOBS_MAX = 100_000


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="jobqueue-webhooks-") as home,
            open_screen() as screen,
        ):
            screen.say(
                f"{options.jobs:,} webhooks, seed {options.seed}, durability {options.durability}."
            )
            scenario = Scenario(options.jobs, options.seed, options.durability, Path(home), screen)
            outcome = scenario.run()
    except ScenarioError as error:
        print(f"webhooks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("webhooks: stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    results.show(screen.console, outcome)
    return 0 if outcome.audit.ok else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.webhooks",
        description="Deliver webhooks, kill the sender half-way, and count what is lost: nothing.",
    )
    parser.add_argument("--jobs", type=_jobs, default=3000, help="how many (default: 3000)")
    parser.add_argument("--seed", type=int, default=1, help="of events and faults (default: 1)")
    parser.add_argument(
        "--durability",
        choices=["async", "write", "fsync"],
        default="write",
        help="of the sender's log (default: write)",
    )
    return parser.parse_args(arguments)


def _jobs(text: str) -> int:
    if text.isdecimal() and _JOBS_MIN <= int(text) <= _JOBS_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"must be a whole number from {_JOBS_MIN} to {_JOBS_MAX}, not {text!r}"
    )


def _stop(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)  # unlike the signal's own way, this cleans up


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
