"""What the commands' parsers are made of: help, usage, and the options that several have."""

from __future__ import annotations

import argparse
import importlib
from textwrap import fill
from typing import TYPE_CHECKING, Any

from ..final.config import Config
from ..final.spelling import did_you_mean
from .exits import EXIT_CODES, Exit
from .moments import since

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Run = Callable[[argparse.Namespace], Exit]
    Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class Parser(argparse.ArgumentParser):
    """Refuses what it does not know by itself, with its own usage.

    argparse leaves that to the outermost parser, whose usage has none of a command's options.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but nothing is left over."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            option = next((each for each in unknown if each.startswith("--")), "")
            meant = did_you_mean(option.partition("=")[0], self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return parsed, unknown


def later(module: str, name: str) -> Run:
    """A function of this package that is imported when it is called.

    So help needs none of what the commands need, above all no rich.
    """

    def run(parsed: argparse.Namespace) -> Exit:
        function: Run = getattr(importlib.import_module(f".{module}", __package__), name)
        return function(parsed)

    return run


def show_help(parser: argparse.ArgumentParser) -> Run:
    """What a command does that is given no other: it shows its help."""

    def run(_parsed: argparse.Namespace) -> Exit:
        parser.print_help()
        return Exit.OK

    return run


def add(
    commands: Commands, name: str, run: Run, summary: str, description: str = ""
) -> argparse.ArgumentParser:
    """Add a command that works on a log."""
    parser = add_plain(commands, name, run, summary, description)
    add_path(parser)
    return parser


def add_plain(
    commands: Commands, name: str, run: Run, summary: str, description: str = ""
) -> argparse.ArgumentParser:
    """Add a command, with the options that each has."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=fill(description or f"{summary[0].upper()}{summary[1:]}."),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option of output for scripts."""
    parser.add_argument(
        "--json", action="store_true", help="for scripts: one JSON object a line, in ASCII"
    )


def add_path(parser: argparse.ArgumentParser) -> None:
    """Add the log, and whose it may be."""
    parser.add_argument("path", metavar="PATH", help="the log's directory (persist_path)")
    add_allow_shared(parser)


def add_allow_shared(parser: argparse.ArgumentParser) -> None:
    """Add the option of a log that others may write to."""
    parser.add_argument(
        "--allow-shared",
        action="store_true",
        help="also a log that belongs to another user, or that others may write to: whoever can "
        "write to it can make this command read anything",
    )


def add_retention(parser: argparse.ArgumentParser) -> None:
    """Add the option of how many finished jobs are remembered."""
    parser.add_argument(
        "--status-retention",
        type=count,
        default=Config().status_retention,
        metavar="N",
        help="how many finished jobs are remembered: the queue's own setting, where it is not "
        "the default (%(default)s)",
    )


def count(text: str) -> int:
    """A number of things as it stands on the command line."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _limit(text: str) -> int:
    return 0 if text == "0" else count(text)


def add_choice(parser: argparse.ArgumentParser, moment: str) -> None:
    """Add the options of commands that list jobs."""
    parser.add_argument(
        "--since",
        type=since,
        metavar="TIME",
        help=f"only those that {moment} since then: 90s, 15m, 2h or 3d ago, or a time in UTC, as "
        f"'2025-11-24 16:00'",
    )
    parser.add_argument("--limit", type=_limit, metavar="N", help="only the last N of them")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="go on, until Ctrl-C: each that comes, and each anew when its status changes",
    )


def add_full(parser: argparse.ArgumentParser) -> None:
    """Add the option of what is shown cut otherwise."""
    parser.add_argument("--full", action="store_true", help="whole payloads, and tracebacks")
