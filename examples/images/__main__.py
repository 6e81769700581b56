"""The command: `python -m examples.images --help`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import __version__ as pillow_version
from rich.console import Console

from ..command import play, whole_number
from . import results
from .audit import audit
from .pictures import draw_broken, draw_pictures
from .pipeline import run


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    console = Console(highlight=False)

    def story() -> bool:
        with tempfile.TemporaryDirectory(prefix="jobqueue-images-") as home:
            return _story(options, Path(home), console)

    return play("images", story)


def _story(options: argparse.Namespace, home: Path, console: Console) -> bool:
    console.print(_machine(), soft_wrap=True)
    originals = home / "originals"
    originals.mkdir()
    pictures = draw_pictures(originals, options.pictures, options.seed)
    broken = draw_broken(originals, pictures[0])
    console.print(f"{len(pictures)} pictures and {len(broken)} broken ones, seed {options.seed}.")
    made = run(options.workers, options.rounds, pictures, broken, home, console.print)
    result = audit(pictures, broken, made)
    results.show(console, made, result)
    return result.ok


def _machine() -> str:
    gil = "on" if getattr(sys, "_is_gil_enabled", lambda: True)() else "off"
    versions = f"CPython {platform.python_version()}, GIL {gil}, Pillow {pillow_version}"
    return f"{versions}, {_cores()} cores."


def _cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.images",
        description="Make pictures smaller in threads and in processes, and see which is faster.",
    )
    parser.add_argument(
        "--pictures", type=whole_number(2, 1000), default=10, help="how many (default: 10)"
    )
    workers = max(2, min(8, _cores()))
    parser.add_argument(
        "--workers",
        type=whole_number(2, 64),
        default=workers,
        help=f"to compare one with (default: as many as cores, here {workers})",
    )
    parser.add_argument(
        "--rounds", type=whole_number(1, 100), default=3, help="of measuring (default: 3)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the pictures (default: 1)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
