"""The command: `python -m examples.email --help`."""

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

_MAILS_MIN = 100  # with fewer, "half-way" is over before it can be seen
_MAILS_MAX = 100_000


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)

    def story() -> bool:
        with (
            tempfile.TemporaryDirectory(prefix="jobqueue-email-") as home,
            open_screen() as screen,
        ):
            screen.say(f"{options.mails:,} e-mails, seed {options.seed}.")
            outcome = Scenario(options.mails, options.seed, Path(home), screen).run()
        results.show(screen.console, outcome)
        return outcome.audit.ok

    return play("email", story)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.email",
        description="Send e-mails, kill the sender half-way, and account for each: none is lost.",
    )
    parser.add_argument(
        "--mails",
        type=whole_number(_MAILS_MIN, _MAILS_MAX),
        default=500,
        help="how many (default: 500)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of e-mails and faults (default: 1)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
