"""Where the command writes to: also if that is closed, is full, or nobody reads it any more."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .exits import CommandError, Exit
from .words import complain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def open_what_is_closed() -> None:
    """Have a stream that is closed (`>&-`) lead to nowhere.

    Python has `None` in its place, so that messages would go to the other stream, and a file of a
    log would be opened as the one that programs write to.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # to the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # likewise


@contextmanager
def written() -> Iterator[None]:
    """Within this only the output is written to: an error is one of the output, not of a log.

    After one, what is still written leads to nowhere: it is told once, also at Python's exit.

    Raises:
        BrokenPipeError: nobody reads it any more.
        CommandError: it cannot be written.
    """
    try:
        yield
    except BrokenPipeError:
        _lead_to_nowhere()
        raise
    except OSError as error:
        _lead_to_nowhere()
        raise CommandError(
            Exit.SYSTEM, f"the output cannot be written: {error.strerror or error}"
        ) from None


def _lead_to_nowhere() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def with_output(work: Callable[[], int]) -> int:
    """Do the work of a command, and see that what it printed has arrived.

    Returns:
        The exit code.

    Raises:
        SystemExit: as the work raised it, once what it printed is written.
    """
    open_what_is_closed()
    try:
        try:
            return work()
        finally:
            with written():
                sys.stdout.flush()
    except BrokenPipeError:
        _lead_to_nowhere()
        return Exit.BROKEN_PIPE
    except CommandError as error:
        complain(str(error))
        return error.code
