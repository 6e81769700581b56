"""The parser, and which error ends in which exit code."""

from __future__ import annotations

import argparse
import io
import math
import sys
from importlib.metadata import PackageNotFoundError, version
from textwrap import fill
from typing import TYPE_CHECKING

from ..final.errors import LogCorruptError
from .completion import SHELLS, script
from .database import DSN
from .exits import EXIT_CODES, CommandError, Exit
from .options import (
    Parser,
    add,
    add_allow_shared,
    add_choice,
    add_full,
    add_json,
    add_path,
    add_plain,
    add_retention,
    count,
    later,
    show_help,
)
from .output import written
from .serving import PORT, add_access, port_number
from .words import ALL, INTERVAL_SECONDS_MIN, PRIORITIES, Status, complain
from .worker import SUMMARY, about, add_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .options import Commands, Run

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: as on the command line; `None` takes those.

    Returns:
        The exit code, see `exits.Exit`.

    Raises:
        SystemExit: with code 2 after wrong usage, with 0 after `--help` and `--version`.
        BrokenPipeError: nobody reads the output any more.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # if the locale is not UTF-8
    parsed = _parser().parse_args(arguments)
    try:
        return _run(parsed.run, parsed)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _run(run: Run, parsed: argparse.Namespace) -> Exit:
    try:
        return run(parsed)
    except CommandError as error:
        complain(str(error))
        return error.code
    except LogCorruptError as error:
        complain(str(error))
        return Exit.DAMAGED
    except BrokenPipeError:
        raise
    except OSError as error:
        about = error.filename or getattr(parsed, "path", None)
        complain(f"{about or 'the system'}: {error.strerror or error}")
        return Exit.SYSTEM


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="jobqueue", description="Runs the jobs of a queue, and looks into the logs of queues."
    )
    parser.set_defaults(run=show_help(parser))
    parser.add_argument("--version", action="version", version=f"jobqueue {_version()}")
    groups = parser.add_subparsers(title="commands", metavar="COMMAND")
    # `entry` has gone another way with it; it is here for the help, and for completion.
    add_options(groups.add_parser("run", help=SUMMARY, **about()))
    _add_web(groups)
    log = groups.add_parser(
        "log",
        help="look into a log and mend it",
        description=fill(
            "Look into a queue's log and mend it, and steer the queue that has it open. inspect, "
            "cat, verify and a dead that lists only read, also while a queue has the log open. "
            "dead, cancel and discard change jobs: the queue does it if it takes commands, as one "
            "with share='auto' or control=True does; without a queue they change the log. pause "
            "and resume are for a queue that runs; compact and repair need a log that is closed."
        ),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    log.set_defaults(run=show_help(log))
    commands = log.add_subparsers(title="commands", metavar="COMMAND")
    _add_inspect(commands)
    _add_cat(commands)
    _add_verify(commands)
    _add_repair(commands)
    _add_compact(commands)
    _add_dead(commands)
    _add_changes(commands)
    _add_postgres(groups)
    _add_migrate(groups)
    _add_watch(commands)
    _add_completion(groups, parser)
    return parser


def _version() -> str:
    try:
        return version("jobqueue")
    except PackageNotFoundError:
        return "of an unknown version: it is not installed"


def _add_dsn(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dsn",
        metavar="DSN",
        nargs="?",
        help=f"where the database is, as in postgresql://user@host/shop; without it {DSN} in the "
        f"environment says so. A password is better in there, or in a passfile: others see what "
        f"stands on a command line",
    )


def _add_postgres(groups: Commands) -> None:
    parser = groups.add_parser(
        "postgres",
        help="make the tables of a queue on PostgreSQL",
        description=fill("Make the tables of a queue on PostgreSQL, upgrade and verify them."),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=show_help(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, summary in (
        ("install", "make the tables and functions; what is there is brought up to date"),
        ("upgrade", "bring the tables and functions up to date with this release"),
        ("verify", "look whether a queue of this release can be opened; change nothing"),
    ):
        action = add_plain(commands, name, later("postgres", "run"), summary)
        action.set_defaults(action=name, path="the database")
        _add_dsn(action)


def _add_migrate(groups: Commands) -> None:
    parser = add_plain(
        groups,
        "migrate",
        later("migrate", "migrate"),
        "move the jobs of a log to PostgreSQL",
        "Move what is unfinished in the log of a queue that has ended, scheduled jobs and dead "
        "letters to a database with the tables of a queue: each once, also if this is killed and "
        "run again. In the log they count as cancelled then.",
    )
    add_path(parser)
    _add_dsn(parser)


def _add_inspect(commands: Commands) -> None:
    parser = add(
        commands,
        "inspect",
        later("inspection", "inspect"),
        "files, jobs per status and priority, the oldest job, wasted bytes",
    )
    add_retention(parser)


def _add_cat(commands: Commands) -> None:
    parser = add(
        commands,
        "cat",
        later("catalogue", "cat"),
        "the jobs; each filter may be given several times",
        "The jobs, in the order in which they were accepted. A filter that is given several times "
        "lets through what matches any of them.",
    )
    parser.add_argument("--status", action="append", choices=[each.value for each in Status])
    parser.add_argument("--priority", action="append", choices=PRIORITIES)
    parser.add_argument(
        "--handler", action="append", metavar="NAME", help="'' is the queue's default handler"
    )
    parser.add_argument("--id", action="append")
    add_choice(parser, "were enqueued")
    add_full(parser)
    add_retention(parser)


def _add_verify(commands: Commands) -> None:
    add(
        commands,
        "verify",
        later("examination", "verify"),
        "read all of it; name each damage with its file and byte offset",
    )


def _add_repair(commands: Commands) -> None:
    parser = add(
        commands,
        "repair",
        later("salvage", "repair"),
        "salvage all whole batches into a new log, and leave the old one as it is",
    )
    parser.add_argument(
        "--output", metavar="NEW", help="directory of the new log (default: PATH.repaired)"
    )


def _add_compact(commands: Commands) -> None:
    parser = add(
        commands,
        "compact",
        later("compaction", "compact"),
        "replace all segments by a snapshot of what is still needed",
    )
    add_retention(parser)


def _add_dead(commands: Commands) -> None:
    parser = add(
        commands,
        "dead",
        later("dead", "dead"),
        "the failed jobs: list them, queue them again, drop them",
        "The failed jobs, who failed first comes first. Both changes may be given several times; "
        "where an id is unknown, nothing is changed.",
    )
    change = parser.add_mutually_exclusive_group()
    change.add_argument(
        "--requeue",
        action="append",
        default=[],
        metavar=f"ID|{ALL}",
        help=f"queue a job again, its retries back at 0; '{ALL}': every one",
    )
    change.add_argument(
        "--discard", action="append", default=[], metavar="ID", help="drop a job; its id is free"
    )
    add_choice(parser, "failed")
    add_full(parser)
    add_retention(parser)


def _add_changes(commands: Commands) -> None:
    parser = add(
        commands,
        "cancel",
        later("steering", "cancel"),
        "cancel jobs; one that is running is asked to stop",
    )
    parser.add_argument("ids", nargs="+", metavar="ID")
    add_retention(parser)
    parser = add(
        commands,
        "discard",
        later("steering", "discard"),
        "drop failed jobs; their ids are free then",
    )
    parser.add_argument("ids", nargs="+", metavar="ID")
    add_retention(parser)
    for name, summary in (
        ("pause", "have the queue that runs start no more jobs, until it ends or is resumed"),
        ("resume", "have it start them again"),
    ):
        parser = add(commands, name, later("steering", name), summary)
        parser.add_argument("--handler", metavar="NAME", help="only those of this handler")
        parser.add_argument("--priority", choices=PRIORITIES, help="only those of this priority")
        parser.add_argument("--periodic", metavar="NAME", help="only this schedule")


def _add_watch(commands: Commands) -> None:
    parser = add(
        commands,
        "watch",
        later("watching", "watch"),
        "follow a queue that runs: its rates, its lanes, what fails in it; until Ctrl-C",
    )
    parser.add_argument(
        "--interval",
        type=_interval,
        default=1.0,
        metavar="SECONDS",
        help="between two looks (default: %(default)s)",
    )
    parser.add_argument("--count", type=count, metavar="N", help="end after so many looks")
    add_retention(parser)


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not INTERVAL_SECONDS_MIN <= seconds < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of seconds from {INTERVAL_SECONDS_MIN} on"
        )
    return seconds


def _add_web(groups: Commands) -> None:
    parser = groups.add_parser(
        "web",
        help="serve the dashboard of a queue, of a log that no queue has open, or of a "
        "demonstration",
        description=fill(
            "Serve the dashboard until Ctrl-C. With PATH it is that of the queue that has this log "
            "open, if it takes commands; if no queue has it open, it shows what is in the log, "
            "which is only read. With --demo it is that of a queue that is busy and in some "
            "trouble, to try things out."
        ),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "path", metavar="PATH", nargs="?", help="the log's directory (persist_path)"
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="show a demonstration: nothing leaves the machine, and nothing is kept",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="another demonstration (default: 1)"
    )
    parser.add_argument(
        "--port",
        type=port_number,
        default=PORT,
        help="where the dashboard listens (default: %(default)s); 0: any that is free",
    )
    add_access(parser)
    add_json(parser)
    add_allow_shared(parser)
    add_retention(parser)
    parser.set_defaults(run=later("dashboard", "web"))


def _add_completion(groups: Commands, whole: argparse.ArgumentParser) -> None:
    summary = "print what a shell needs to complete this command"
    parser = groups.add_parser(
        "completion",
        help=summary,
        description=fill(
            "Print what a shell needs to complete this command. In bash: "
            'eval "$(jobqueue completion bash)"; docs/cli.md tells where to put it.'
        ),
    )
    parser.add_argument("shell", choices=SHELLS)

    def complete(arguments: argparse.Namespace) -> Exit:
        with written():
            print(script(whole, arguments.shell))
        return Exit.OK

    parser.set_defaults(run=complete)
