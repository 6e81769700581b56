"""What the three commands have in common: how they end, and how they read a number."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from .children import StoryError


def play(name: str, story: Callable[[], bool]) -> int:
    """Run a story, which returns whether its audit found nothing; return the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        return 0 if story() else 1
    except StoryError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        return 128 + signal.SIGINT


def whole_number(smallest: int, largest: int) -> Callable[[str], int]:
    """Make a type for `argparse`, which refuses what is not in that range."""

    def parse(text: str) -> int:
        if text.isdecimal() and smallest <= int(text) <= largest:
            return int(text)
        raise argparse.ArgumentTypeError(
            f"must be a whole number from {smallest} to {largest}, not {text!r}"
        )

    return parse


def _stop(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)  # unlike the signal's own way, this cleans up
