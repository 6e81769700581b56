"""Errors on their way from the owner to a client: by the name of their class, with their text.

Only the classes of the table are made again; any other error is a `JobQueueError` with the name of
its class before the text. Any thread; no lock.
"""

from __future__ import annotations

from ..errors import (
    ConfigError,
    DuplicateJobError,
    EnqueueCancelledError,
    EnqueueTimeoutError,
    JobCancelledError,
    JobQueueError,
    LogWriteError,
    NoOwnerError,
    QueueClosedError,
    ResultGoneError,
    UnknownHandlerError,
    UnknownJobError,
)
from .messages import Failure

CLOSING = "closing"
"""The owner ends: the call is to be repeated with the next one."""
GIVEN_UP = "given up"
"""The caller had given up before there was room."""

_CLASSES: dict[str, type[BaseException]] = {
    each.__name__: each
    for each in (
        ConfigError,
        DuplicateJobError,
        EnqueueCancelledError,
        EnqueueTimeoutError,
        JobCancelledError,
        JobQueueError,
        NoOwnerError,
        QueueClosedError,
        ResultGoneError,
        UnknownHandlerError,
        UnknownJobError,
        ImportError,
        RuntimeError,
        TimeoutError,
        TypeError,
        ValueError,
    )
}


def failure_of(error: BaseException) -> Failure:
    """An error as it is sent."""
    accepted = tuple(each.id for each in getattr(error, "accepted", ()))
    if isinstance(error, LogWriteError):
        name = None if error.filename is None else str(error.filename)
        return Failure("LogWriteError", error.strerror or str(error), error.errno, name, accepted)
    kind = type(error).__name__
    if kind in _CLASSES and type(error) is _CLASSES[kind]:
        return Failure(kind, str(error), accepted=accepted)
    return Failure("JobQueueError", f"{kind}: {error}", accepted=accepted)


def error_of(failure: Failure) -> BaseException:
    """The error that was sent; what it had accepted is for the caller to add."""
    if failure.kind == "LogWriteError":
        return LogWriteError(failure.errno or 0, failure.message, failure.filename)
    kind = _CLASSES.get(failure.kind, JobQueueError)
    return kind(failure.message)
