"""`jobqueue run`: a process that is nothing but a worker, from the command line.

It needs nothing that is not installed with the package, but for `--reload` and `--prometheus`. All
of it runs on the main thread. Until the queue is open, SIGTERM ends the process as Ctrl-C does;
`jobqueue.run` sees to the signals from then on.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from contextlib import contextmanager
from dataclasses import replace
from textwrap import fill
from typing import TYPE_CHECKING, Any, NoReturn, cast, get_args

from ..final.config import Config, Durability, Executor
from ..final.errors import (
    ConfigError,
    JobQueueError,
    LogCorruptError,
    LogLockedError,
    LogVersionError,
)
from ..final.job_queue import JobQueue
from ..final.serving import Signals, exit_code, serve
from ..tasks import QueueNotOpenError, Tasks
from .database import dsn_given, on_postgres
from .exits import CommandError, Exit
from .logs import FORMATS, LEVELS, logger, set_up
from .options import Parser
from .serving import PORT, add_access, port_number
from .serving import serve as serve_dashboard
from .suited import no_worker, shared, tell_start
from .target import find, find_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from ..final.ports import Opener

_OPTIONS = {  # of the command: field of `Config`, type, and what it is for
    "--persist-path": (
        "persist_path",
        str,
        "directory of the log; without one nothing outlives it",
    ),
    "--workers": ("num_workers", int, "how many jobs run at a time"),
    "--executor": ("executor", str, "what runs them: threads, processes, or an event loop"),
    "--durability": ("durability", str, "what an enqueue waits for"),
    "--queue-size": ("queue_size", int, "how many jobs of each priority may wait"),
    "--max-retries": ("max_retries", int, "retries after the first attempt"),
    "--job-timeout": ("job_timeout", float, "seconds after which an attempt is told to stop"),
    "--shutdown-timeout": ("shutdown_timeout", float, "seconds that it waits for jobs in the end"),
    "--share": (
        "share",
        str,
        "auto, the default with a log: stand by while another process runs the queue, and take "
        "over when it ends; off: be refused then",
    ),
    "--lock-timeout": (
        "lock_timeout",
        float,
        "seconds that it waits, with --share off, for a log that another process has open",
    ),
}
_ON_POSTGRES = (
    *("num_workers", "executor", "queue_size", "max_retries", "job_timeout", "shutdown_timeout"),
)
"""The fields that a queue on PostgreSQL has, too."""
_SHORT = {"--persist-path": "-p", "--workers": "-w"}
_CHOICES = {
    "executor": get_args(Executor),
    "durability": get_args(Durability),
    "share": ("auto", "off"),  # a "client" never runs jobs
}
_EPILOG = """\
JOBQUEUE_DSN in the environment names a PostgreSQL database as the place of the queue, if neither
--config nor --persist-path is given.

SIGTERM and Ctrl-C close the queue: what runs is finished, what waits stays in the log. A second one
gives up what still runs.

exit codes:
  0  nothing was left unfinished, nothing was lost
  1  something was, or the log failed or is corrupt
  2  wrong usage, or TARGET names no queue
  3  the log is in use by another process
  4  the log has a format version that this release does not know
  5  the operating system refused: permissions, a full disk, an I/O error
"""
SUMMARY = "run the jobs of a queue, until SIGTERM or Ctrl-C"


class _Stopped(KeyboardInterrupt):
    """A SIGTERM, before the queue was open."""


def main(arguments: Sequence[str]) -> int:
    """Run the command `jobqueue run` with these arguments.

    Returns:
        The exit code, as the help tells.

    Raises:
        SystemExit: with code 2 after wrong usage, with 0 after `--help`.
    """
    parser = Parser(prog="jobqueue run", **about())
    add_options(parser)
    parsed = parser.parse_args(arguments)
    try:
        if parsed.reload:
            from .reload import supervise

            return supervise(parsed, arguments)
        return _work(parsed)
    except CommandError as error:
        print(f"jobqueue run: {error}", file=sys.stderr)
        return error.code


def about() -> dict[str, Any]:
    """What a parser of this command says of it."""
    return {
        "description": fill(f"{SUMMARY[0].upper()}{SUMMARY[1:]}."),
        "epilog": _EPILOG,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command understands."""
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="where the queue is: module:name, name being a Tasks, a JobQueue, or a function that "
        "makes one; without a name it is 'tasks'",
    )
    settings = parser.add_argument_group("settings (those of Config)")
    settings.add_argument("--config", metavar="TARGET", help="a Config to begin with: module:name")
    for option, (field, kind, summary) in _OPTIONS.items():
        settings.add_argument(
            *filter(None, (_SHORT.get(option), option)),
            dest=field,
            type=kind,
            choices=_CHOICES.get(field),
            metavar=None if field in _CHOICES else {int: "N", float: "SECONDS", str: "PATH"}[kind],
            help=summary,
        )
    logs = parser.add_argument_group("logs, on stderr")
    logs.add_argument("--log-format", choices=FORMATS, default=FORMATS[0], help="default: text")
    logs.add_argument(
        "--json", dest="log_format", action="store_const", const="json", help="--log-format json"
    )
    logs.add_argument("--log-level", choices=LEVELS, default="info", help="default: info")
    seen = parser.add_argument_group("seen from outside")
    seen.add_argument(
        "--prometheus",
        metavar="[HOST:]PORT",
        help="serve /metrics for Prometheus there, on 127.0.0.1 unless HOST says otherwise (needs "
        "the extra 'prometheus')",
    )
    code = parser.add_argument_group("code")
    code.add_argument(
        "--app-dir", metavar="DIR", default=".", help="where modules are looked for first: here"
    )
    code.add_argument(
        "--reload",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="start anew when the code changes, for development (needs the extra 'reload')",
    )
    code.add_argument(
        "--reload-dir",
        metavar="DIR",
        action="append",
        default=[],
        help="what to watch in place of the --app-dir; may be given several times",
    )
    web = parser.add_argument_group("dashboard (needs the extra 'web')")
    web.add_argument(
        "--web",
        type=_web_port,
        nargs="?",
        const=PORT,
        metavar="PORT",
        help=f"serve the dashboard, on port {PORT} if none is given; TARGET does not follow it",
    )
    add_access(web, "web-")
    parser.add_argument("--lifeline", type=int, help=argparse.SUPPRESS)


def _work(parsed: argparse.Namespace) -> int:
    """Open the queue and serve it."""
    set_up(parsed.log_format, parsed.log_level)
    if parsed.lifeline is not None:
        threading.Thread(target=_end_with, args=(parsed.lifeline,), daemon=True).start()
    signal.signal(signal.SIGTERM, _stop)
    queue: JobQueue | None = None
    code: int | None = None
    try:
        queue = _open(parsed)
        with _closed_on_error(queue), Signals() as signals, _dashboard(parsed, queue):
            tell_start(parsed.target, queue)
            with _scraped(parsed.prometheus, queue):
                code = serve(queue, signals)
    except KeyboardInterrupt:  # a `_Stopped` is one, too
        if code is None:
            logger.info("stopped before the queue was served")
            code = Exit.OK if queue is None else exit_code(queue.close())
    return code


def _web_port(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write TARGET before --web")
    return port_number(text)


@contextmanager
def _dashboard(parsed: argparse.Namespace, queue: JobQueue) -> Iterator[None]:
    """Serve the dashboard if it is asked for, until the queue is closed."""
    if parsed.web is None:
        yield
        return
    with serve_dashboard(
        queue,
        parsed.web_host,
        parsed.web,
        parsed.web_access,
        payloads=parsed.web_payloads,
        option="--web-access",
    ) as server:
        logger.info("the dashboard is at %s", server.url)
        yield


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise _Stopped


def _open(parsed: argparse.Namespace) -> JobQueue:
    """The queue that the target names.

    Raises:
        CommandError: there is none, or it cannot be opened.
    """
    given = {
        field: value
        for field, _, _ in _OPTIONS.values()
        if (value := getattr(parsed, field)) is not None
    }
    sys.path.insert(0, os.path.abspath(parsed.app_dir))
    try:
        base = None if parsed.config is None else find_config(parsed.config)
        found = find(parsed.target)
        queue = found if isinstance(found, JobQueue) else _opened(found)
        if queue is not None:
            with _closed_on_error(queue):
                _refuse_settings(parsed, given)
                _refuse_client(queue.config, "share='auto' where it is opened")
            return queue
        assert isinstance(found, Tasks)
        config = _settings(base, given)
        return found.open(config, start=False)  # nothing runs before signals are seen to
    except ConfigError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    except LogLockedError as error:
        raise CommandError(
            Exit.LOCKED,
            f"{error}; or let this start wait for it, by --lock-timeout, or stand by "
            f"until that process ends, by --share auto in both",
        ) from None
    except LogVersionError as error:
        raise CommandError(Exit.VERSION, str(error)) from None
    except LogCorruptError as error:
        raise CommandError(Exit.DAMAGED, str(error)) from None
    except ImportError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    except OSError as error:
        raise CommandError(Exit.SYSTEM, f"the queue could not be opened: {error}") from None
    except JobQueueError as error:  # as a database without the tables
        raise CommandError(Exit.USAGE, str(error)) from None


def _settings(base: Opener | None, given: dict[str, Any]) -> Opener:
    """The settings that the command line and the environment give.

    Raises:
        CommandError, ConfigError, ImportError: they cannot be.
    """
    dsn = dsn_given() if base is None and "persist_path" not in given else None
    if dsn is None and (base is None or isinstance(base, Config)):
        config = shared(replace(base or Config(), **given))
        _refuse_client(config, "--share auto")
        return config
    strange = given.keys() - set(_ON_POSTGRES)
    wrong = [option for option, (field, _, _) in _OPTIONS.items() if field in strange]
    if wrong:
        raise CommandError(
            Exit.USAGE, f"{', '.join(wrong)}: there is no such setting of a queue on PostgreSQL"
        )
    return on_postgres(dsn, **given) if dsn is not None else replace(cast("Any", base), **given)


def _refuse_client(config: Config, remedy: str) -> None:
    why = no_worker(config, remedy)
    if why is not None:
        raise CommandError(Exit.USAGE, why)


def _opened(found: Tasks) -> JobQueue | None:
    """The queue that the module has opened for its tasks by itself, if it has."""
    try:
        return found.queue
    except QueueNotOpenError:
        return None


@contextmanager
def _closed_on_error(queue: JobQueue) -> Iterator[None]:
    """Close the queue if an error comes: nobody else would."""
    try:
        yield
    except BaseException:
        queue.close()
        raise


def _refuse_settings(parsed: argparse.Namespace, given: dict[str, object]) -> None:
    """A queue that is made has its settings already."""
    names = [option for option, (field, _, _) in _OPTIONS.items() if field in given]
    names += ["--config"] if parsed.config is not None else []
    if names:
        raise CommandError(
            Exit.USAGE,
            f"the queue of {parsed.target} is open already, with settings of its own; leave out "
            f"{', '.join(names)}, or name a Tasks for which none is open",
        )


@contextmanager
def _scraped(where: str | None, queue: JobQueue) -> Iterator[None]:
    """Serve what the queue counts to Prometheus meanwhile."""
    if where is None:
        yield
        return
    from .scraped import scraped  # imported here: it needs an extra

    with _closed_on_error(queue), scraped(where, queue):
        yield


def _end_with(lifeline: int) -> None:
    """End as by a SIGTERM when the process at the other end of a pipe has ended."""
    try:
        os.read(lifeline, 1)
    except OSError:
        traceback.print_exc()
    os.kill(os.getpid(), signal.SIGTERM)
