"""What is told of failures: in the log records of `logging`, and as text with the job."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

ERROR_CHARACTERS_MAX = 2 * 1024
TRACEBACK_BYTES_MAX = 8 * 1024
_OWN = "jobqueue.final."
logger = logging.getLogger("jobqueue")

Failure = tuple[str, str]
"""Error and traceback, as text."""


def begun_in_handler(error: BaseException) -> BaseException:
    """The error, with a traceback that begins in the handler, if it got that far.

    Frame and error are the handler's, so neither the name of its module nor a method of the
    error's class is relied on.
    """
    trace = error.__traceback__
    while trace is not None and _is_own(trace.tb_frame):
        trace = trace.tb_next
    return error if trace is None else BaseException.with_traceback(error, trace)


def _is_own(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__")
    return isinstance(module, str) and module.startswith(_OWN)


def describe(error: BaseException) -> Failure:
    """Error and traceback as text that any log can hold.

    The text comes from the handler's world, so its own `str` may fail, or hold what UTF-8 cannot.
    """
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException as inner:  # noqa: BLE001  # the error's own __str__ is broken; say so in its place
        text = f"<its text cannot be had: {type(inner).__name__}>"
    try:
        trace = "".join(traceback.format_exception(error))
    except BaseException as inner:  # noqa: BLE001  # as above: one of its causes' __str__ is broken
        trace = f"<no traceback: {type(inner).__name__}>"
    summary = (f"{name}: {text}" if text else name)[:ERROR_CHARACTERS_MAX]
    end = trace.encode("utf-8", "backslashreplace")[-TRACEBACK_BYTES_MAX:]
    return _encodable(summary), end.decode(errors="ignore")  # it may begin within a character


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def report(level: int, message: str, error: BaseException | None = None) -> None:
    """A log record, whatever the user's log handlers make of it. Without any lock."""
    try:
        logger.log(level, message, exc_info=error)
    except Exception:  # noqa: BLE001  # a filter or handler of the user's is broken; the queue goes on
        if logging.raiseExceptions:
            traceback.print_exc(file=sys.stderr)
