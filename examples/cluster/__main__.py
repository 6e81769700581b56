"""The command: `python -m examples.cluster --help`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..command import play, whole_number
from ..screen import Screen
from .scenario import Outcome, Scenario

_ORDERS_MIN = 300  # with fewer, mid-load is over before it can be seen
_ORDERS_MAX = 100_000


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)

    def story() -> bool:
        with tempfile.TemporaryDirectory(prefix="jobqueue-cluster-") as home:
            screen = Screen()
            screen.say(f"{options.orders:,} orders, two workers of eight threads each.")
            outcome = Scenario(options.orders, Path(home), screen).run()
        _show(screen, outcome)
        return outcome.audit.ok

    return play("cluster", story)


def _show(screen: Screen, outcome: Outcome) -> None:
    told = outcome.audit
    if outcome.resumed_after is not None:
        screen.say(
            f"All of these jobs had run again {outcome.resumed_after:.1f} s after it "
            f"(heartbeat_timeout: 2 s)."
        )
    screen.say(
        f"In {outcome.seconds:.1f} s: accepted {told.accepted:,}, packed {told.packed:,}, "
        f"of these twice {told.twice}"
    )
    screen.say(f"lost = {len(told.lost)}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.cluster",
        description="Start a PostgreSQL, two workers and a producer, kill a worker in mid-load, "
        "and count what is lost: nothing.",
    )
    parser.add_argument(
        "--orders",
        type=whole_number(_ORDERS_MIN, _ORDERS_MAX),
        default=2000,
        help="how many (default: 2000)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
