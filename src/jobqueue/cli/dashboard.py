"""`jobqueue web`: the dashboard of a queue that runs, of a closed log, or of a demonstration.

All of it on the main thread, until SIGTERM or Ctrl-C; the server has threads of its own.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ..final.serving import Signals
from .access import find_log, log_owner
from .exits import CommandError, Exit
from .owner import asking
from .screen import Screen, printable
from .serving import is_this_machine, serve
from .stopped import StoppedQueue

if TYPE_CHECKING:
    from argparse import Namespace

_LIVE, _STOPPED, _DEMO = "live", "stopped", "demo"


def web(arguments: Namespace) -> Exit:
    """Serve the dashboard until a signal comes."""
    if arguments.demo and arguments.path is not None:
        raise CommandError(
            Exit.USAGE,
            f"name the log's directory ({arguments.path}) or give --demo, not both: a "
            f"demonstration has a log of its own",
        )
    if not arguments.demo and arguments.path is None:
        raise CommandError(
            Exit.USAGE, "name the log's directory, as in 'jobqueue web mail.db', or give --demo"
        )
    with ExitStack() as stack:
        kind, queue = _queue(arguments, stack)
        signals = stack.enter_context(Signals())
        access = arguments.access
        if kind == _DEMO and access is None and is_this_machine(arguments.host):
            access = "write"
        server = stack.enter_context(
            serve(
                queue,
                arguments.host,
                arguments.port,
                access,
                payloads=arguments.payloads or kind == _DEMO,
            )
        )
        _tell(arguments, kind, server.url, access or "read")
        signals.wait()
    return Exit.OK


def _queue(arguments: Namespace, stack: ExitStack) -> tuple[str, Any]:
    """What is shown, and what kind of queue it is."""
    if arguments.demo:
        try:
            from ..web.demo import demonstration
        except ModuleNotFoundError as error:
            raise CommandError(
                Exit.USAGE,
                f"the dashboard needs {error.name}, which is not installed: "
                "pip install 'jobqueue[cli,web]'",
            ) from None
        # Its jobs fail by the hundred, which is what the dashboard is to show.
        logging.getLogger("jobqueue").setLevel(logging.CRITICAL)
        return _DEMO, stack.enter_context(demonstration(arguments.seed))
    if log_owner(find_log(arguments.path), arguments.allow_shared) is not None:
        return _LIVE, stack.enter_context(asking(arguments))
    if arguments.access == "write":
        raise CommandError(
            Exit.NOT_OPEN,
            f"{arguments.path}: no queue has this log open, so there is none to steer, and the log "
            f"is only shown; leave out --access write",
        )
    return _STOPPED, StoppedQueue(arguments)


def _tell(arguments: Namespace, kind: str, url: str, access: str) -> None:
    screen = Screen(as_json=arguments.json)
    if screen.as_json:
        screen.tell({"url": url, "shows": kind, "path": arguments.path, "access": access})
    else:
        path = printable(arguments.path or "")
        what = {
            _LIVE: f"the queue that has {path} open",
            _STOPPED: f"what is in {path}; no queue has it open, and nothing in it is changed",
            _DEMO: "a demonstration; nothing leaves this machine, and nothing is kept",
        }[kind]
        may = "look and steer" if access == "write" else "look"
        screen.show(Text(f"{url}  {what}"), Text(f"Who opens it may {may}. Ctrl-C ends it."))
    screen.flush()
