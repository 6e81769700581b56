"""What a process answered to an attempt: what the handler returned, or the error that it raised."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, cast

from ..errors import RejectJobError, RetryJobError, WorkerProcessError
from ..runtime.reporting import describe
from . import wire

if TYPE_CHECKING:
    from ..model.context import Held

_cause: Any = vars(BaseException)["__cause__"]


class RemoteTraceback(Exception):  # noqa: N818  # the cause of an error, shown above it
    """The traceback of an exception that was raised in a process, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def unpacked(kind: int, body: bytes) -> object:
    """What the handler returned; raises what it raised."""
    if kind == wire.RETURNED_NONE:
        return None
    if kind == wire.RAISED:
        remote = wire.RemoteError(*pickle.loads(body))
        error = _error(remote)
        # Not by the error's own `__setattr__`, which a frozen class refuses.
        _cause.__set__(error, RemoteTraceback(remote.trace))
        raise error
    try:
        return pickle.loads(body)
    except BaseException as error:
        raise WorkerProcessError(
            f"what the handler returned cannot be unpickled: {describe(error)[0]}"
        ) from error


def unpacked_jobs(body: bytes) -> list[Held]:
    """Jobs that a handler enqueues by returning, and their delays."""
    try:
        jobs: list[Held] = pickle.loads(body)
    except BaseException as error:
        raise WorkerProcessError(
            f"a job that the handler enqueues cannot be unpickled: {describe(error)[0]}"
        ) from error
    return jobs


def _error(remote: wire.RemoteError) -> BaseException:
    """The exception, or one that says the same."""
    problem = remote.problem
    if remote.error is not None:
        try:
            error = pickle.loads(remote.error)
        except BaseException as inner:  # noqa: BLE001  # its class is the user's code
            problem = describe(inner)[0]
        else:
            if issubclass(type(error), BaseException):
                return cast("BaseException", error)
            problem = f"it is unpickled as {type(error).__name__}"
    if not remote.summary:
        return WorkerProcessError(problem)
    text = f"{remote.summary} (raised in a process; the exception cannot be pickled: {problem})"
    if remote.rejects:
        return RejectJobError(text)
    return (
        WorkerProcessError(text)
        if remote.delay is None
        else RetryJobError(text, delay=remote.delay)
    )
