"""`jobqueue log watch`: follows a queue that runs; its rates, its lanes, what fails in it.

It asks the queue over its socket, at intervals, and takes the differences. On the main thread.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from rich.live import Live

from ..final.errors import NoOwnerError
from .exits import CommandError, Exit
from .looks import Look, as_json, as_line, as_tables, failures_of
from .owner import ask
from .screen import Screen

if TYPE_CHECKING:
    from argparse import Namespace

    from ..final.sharing.operator import RemoteOperator

INTERVAL_SECONDS_MIN = 0.1


def watch(arguments: Namespace) -> Exit:
    """Show a queue as it runs, until Ctrl-C."""
    screen = Screen(as_json=arguments.json)
    try:
        ask(arguments, lambda queue: _follow(queue, screen, arguments.interval, arguments.count))
    except KeyboardInterrupt:  # that is how it is ended
        return Exit.OK
    return Exit.OK


def _follow(queue: RemoteOperator, screen: Screen, seconds: float, count: int | None) -> None:
    before: Look | None = None
    shown = 0
    live = screen.live()
    with live or nullcontext():
        while True:
            look = _look(queue, before)
            _show(screen, live, look)
            shown += 1
            if shown == count:
                return
            before = look
            time.sleep(seconds)


def _look(queue: RemoteOperator, before: Look | None) -> Look:
    try:
        metrics = queue.metrics()
        failures = failures_of(queue, metrics, before)
    except NoOwnerError:
        raise CommandError(
            Exit.NOT_OPEN, "the queue has ended, and no other one has opened its log since"
        ) from None
    return Look(time.time(), time.monotonic(), metrics, failures, before)


def _show(screen: Screen, live: Live | None, look: Look) -> None:
    if screen.as_json:
        screen.tell(as_json(look))
    elif live is not None:
        live.update(as_tables(look), refresh=True)
    else:
        screen.show(as_line(look))
    screen.flush()
