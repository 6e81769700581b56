"""`python -m lab`: runs experiments and writes down what they found."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import drawing
from .experiment import NAMES, Experiment, Settings, load_experiment
from .pages import block_text, pages_around, update
from .progress import progress_bar
from .record import Record, run

ALL = "all"
OUT = Path("docs/lab")
_SILENT = logging.NullHandler()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: as on the command line; `None` takes those.

    Returns:
        0, or 1 if something is missing: matplotlib, or with `--draw` the data.

    Raises:
        SystemExit: with code 2 after wrong usage, with 0 after `--help`.
    """
    logging.getLogger("jobqueue").addHandler(_SILENT)  # what is broken is broken on purpose
    parsed = _parser().parse_args(arguments)
    if not parsed.names:
        _print_questions()
        return 0
    parsed.out.mkdir(parents=True, exist_ok=True)
    try:
        for name in _chosen(parsed.names):
            experiment = load_experiment(name)
            path = parsed.out / f"{name}.json"
            if not parsed.draw:
                _measure(experiment, parsed).save(path)
            _show(experiment, Record.read(path), parsed.out)
    except drawing.MissingMatplotlibError as error:
        print(error, file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(f"there are no data yet: {error.filename}; measure without --draw", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab",
        description="Questions about job queues, answered by running the three tiers. Each "
        "experiment prints what it found and writes data, picture and the numbers of its page.",
        epilog="Without a name, the questions are listed.",
    )
    parser.add_argument(
        "names", nargs="*", type=_name, metavar="NAME", help=f"{', '.join(NAMES)}; or {ALL}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="two seconds each: to see that it runs, not to measure"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is random")
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT,
        metavar="DIR",
        help="where data and pictures go, and whose pages are brought up to date (%(default)s)",
    )
    parser.add_argument(
        "--draw",
        action="store_true",
        help="measure nothing: draw the pictures and write the pages anew from the data in DIR",
    )
    return parser


def _name(text: str) -> str:
    if text not in {*NAMES, ALL}:
        raise argparse.ArgumentTypeError(
            f"there is no {text!r}; there are {', '.join(NAMES)}, {ALL}"
        )
    return text


def _print_questions() -> None:
    width = max(map(len, NAMES))
    for name in NAMES:
        print(f"{name:{width}}  {load_experiment(name).question}")


def _chosen(names: Sequence[str]) -> Sequence[str]:
    return NAMES if ALL in names else list(dict.fromkeys(names))


def _measure(experiment: Experiment, parsed: argparse.Namespace) -> Record:
    with progress_bar(experiment.name) as progress, _scratch(parsed.out) as scratch:
        settings = Settings(parsed.quick, parsed.seed, progress, scratch)
        return run(experiment, settings)


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """An empty directory beside the data: that is on a disk, `/tmp` may be memory."""
    path = Path(tempfile.mkdtemp(prefix=".scratch-", dir=out))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _show(experiment: Experiment, record: Record, out: Path) -> None:
    text = block_text(experiment, record)
    print(f"## {experiment.name}: {experiment.question}\n\n{text}\n")
    update(pages_around(out), experiment.name, text)
    drawing.save(experiment.draw, record.data, out / f"{experiment.name}.svg")
