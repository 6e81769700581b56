"""`jobqueue log watch`: follows a queue that runs; its rates, its lanes, what fails in it.

It asks the queue over its socket, at intervals, and takes the differences. Of a queue that takes no
commands it reads the log. On the main thread.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from rich.live import Live

from ..final.errors import NoOwnerError
from . import owner
from .access import find_log, log_owner
from .exits import CommandError, Exit
from .logged import LoggedQueue
from .looks import READ_FROM_THE_LOG, Look, as_json, as_line, as_tables, failures_of
from .screen import Screen, complain
from .selection import pause

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from ..final.sharing.operator import RemoteOperator

_SUCCESSOR_SECONDS = 0.1
"""Between two looks whether another process has opened a log."""


def watch(arguments: Namespace) -> Exit:
    """Show a queue as it runs, until Ctrl-C."""
    screen = Screen(as_json=arguments.json)
    try:
        if owner.mute_owner(arguments) is not None:
            _follow_log(arguments, screen)
        else:
            owner.ask(arguments, lambda queue: _follow_queue(arguments, screen, queue))
    except KeyboardInterrupt:  # that is how it is ended
        return Exit.OK
    return Exit.OK


def _follow_queue(arguments: Namespace, screen: Screen, queue: RemoteOperator) -> None:
    _follow(
        screen,
        lambda before: _look(queue, before),
        lambda: pause(arguments.interval),
        arguments.count,
    )


def _follow_log(arguments: Namespace, screen: Screen) -> None:
    logged = LoggedQueue(arguments)

    def rest() -> None:
        pause(max(arguments.interval, logged.rest_seconds))
        _await_owner(arguments)

    _follow(screen, logged.look, rest, arguments.count)


def _await_owner(arguments: Namespace) -> None:
    """Return if a queue has the log open; its successor is waited for."""
    directory = find_log(arguments.path)
    until = time.monotonic() + owner.ANSWER_SECONDS
    while log_owner(directory, arguments.allow_shared) is None:
        if time.monotonic() >= until:
            raise _has_ended()
        time.sleep(_SUCCESSOR_SECONDS)


def _follow(
    screen: Screen,
    look_at: Callable[[Look | None], Look],
    rest: Callable[[], None],
    count: int | None,
) -> None:
    before: Look | None = None
    shown = 0
    live = screen.live()
    with live or nullcontext():
        while True:
            look = look_at(before)
            if look.came is not None and before is None and live is None:  # else tables say so
                complain(f"note: {READ_FROM_THE_LOG}")
            _show(screen, live, look)
            shown += 1
            if shown == count:
                return
            before = look
            rest()


def _look(queue: RemoteOperator, before: Look | None) -> Look:
    try:
        metrics = queue.metrics()
        failures = failures_of(queue, metrics, before)
    except NoOwnerError:
        raise _has_ended() from None
    return Look(time.time(), time.monotonic(), metrics, failures, before)


def _has_ended() -> CommandError:
    return CommandError(
        Exit.NOT_OPEN, "the queue has ended, and no other one has opened its log since"
    )


def _show(screen: Screen, live: Live | None, look: Look) -> None:
    if screen.as_json:
        screen.tell(as_json(look))
    elif live is not None:
        live.update(as_tables(look), refresh=True)
    else:
        screen.show(as_line(look))
    screen.flush()
