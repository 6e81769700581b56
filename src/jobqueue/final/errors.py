"""Every exception of the final tier.

Those that tell the caller of a mistake or a limit stand first (`ConfigError`,
`EnqueueTimeoutError`, `DuplicateJobError`, …). Those that tell of faults outside of the program
follow (`LogLockedError`, `LogCorruptError`, `LogWriteError`, `WorkerProcessError`). The two that
handlers raise come last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exact import check_seconds
from .spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .exact import Seconds


class JobQueueError(Exception):
    """Base of every exception that this package raises on purpose.

    Attributes:
        accepted: the handles (`JobHandle`) of the jobs that a call had accepted before it failed;
            only `enqueue_many` fills it. They belong to this process: a copied error has the same
            ones, a pickled one has none.
    """

    accepted: Sequence[Any] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """It is made again without `__init__`, which may take other arguments than it keeps."""
        arguments = super().__reduce__()[1]
        kept = dict(self.__dict__)
        if self.accepted:
            kept["accepted"] = _Handles(self.accepted)
        return _made_again, (type(self), *arguments), kept


class _Handles(tuple[Any, ...]):
    """Handles on their way into a copy of their error."""

    __slots__ = ()

    def __deepcopy__(self, memo: object) -> _Handles:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, they are none."""
        return tuple, ()


def _made_again(kind: type[JobQueueError], *arguments: object) -> JobQueueError:
    return kind.__new__(kind, *arguments)


class ConfigError(JobQueueError, ValueError):
    """A `Config` field has a value that cannot work; the message names field and value."""


class EnqueueTimeoutError(JobQueueError, TimeoutError):
    """The job's lane stayed full for the whole timeout. The job was not accepted."""


class EnqueueCancelledError(JobQueueError):
    """The caller's event was set while `enqueue` waited for room. The job was not accepted."""


class QueueClosedError(JobQueueError, RuntimeError):
    """The queue is closed, or is closing, or belongs to the parent process."""


class DuplicateJobError(JobQueueError, ValueError):
    """A job with this id is already known to the queue."""


class UnknownJobError(JobQueueError, KeyError):
    """No job with this id is known: it never was, was discarded, or has been forgotten."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""  # KeyError would show the repr


class UnknownHandlerError(JobQueueError, LookupError):
    """The job names no handler and there is no default one, or one that is not registered.

    The latter are refused if too many of them wait, or by `Config(unknown_handlers="refuse")`. The
    message says which registered name is most like the job's.

    Args:
        name: the handler that the job names.
        known: the names that are registered.
    """

    _name: str | None = None
    _known: Sequence[str] = ()

    def __init__(
        self, *arguments: object, name: str | None = None, known: Sequence[str] = ()
    ) -> None:
        super().__init__(*arguments)
        self._name, self._known = name, known

    def __str__(self) -> str:
        """The message. Names are compared here, and not by the call that raises."""
        told = super().__str__()
        return told if self._name is None else told + did_you_mean(self._name, self._known)


class JobCancelledError(JobQueueError):
    """The result of a cancelled job was asked for."""


class NoOwnerError(JobQueueError):
    """No process runs the shared queue, so a client's call could not be carried out.

    A call that had reached an owner which then ended may have been carried out: the message says.
    """


class NotSupportedError(JobQueueError, NotImplementedError):
    """The engine that this queue runs on does not have what was asked for; nothing was done.

    Which engine has what is told in one table: docs/postgres.md.
    """


class JobFailedError(JobQueueError):
    """The job failed in another process; the text is what its handler raised last."""


class ResultGoneError(JobQueueError):
    """The job is completed, but what it returned is not kept any more."""


class LogLockedError(JobQueueError):
    """Another queue, in this process or in another, has this log open.

    Attributes:
        path: the log's directory.
        pid: the owner's process id, or `None` if it cannot be told.

    Args:
        own: whether it is a queue of this very process.
    """

    def __init__(self, path: str, pid: int | None, *, own: bool = False) -> None:
        owner = "another process" if pid is None else f"process {pid}"
        if own:
            owner = f"another JobQueue of this very process ({pid})"
        super().__init__(
            f"the log {path} is in use by {owner}; close that queue first, "
            f"or give this one a persist_path of its own"
        )
        self.path = path
        self.pid = pid


class LogCorruptError(JobQueueError):
    """The log lost something that the disk had promised to keep, or was altered.

    Attributes:
        path: the log's directory.
        segment: name of the damaged file in it.
        offset: byte offset of the damage in that file.
        problem: what is wrong there.
    """

    def __init__(self, path: str, segment: str, offset: int, problem: str) -> None:
        super().__init__(self._told(path, segment, offset, problem))
        self.path = path
        self.segment = segment
        self.offset = offset
        self.problem = problem

    @staticmethod
    def _told(path: str, segment: str, offset: int, problem: str) -> str:
        return (
            f"the log {path} is corrupt: {segment}, byte {offset}: {problem}. Nothing was changed; "
            f"'jobqueue log repair {path}' salvages all whole batches into a new log"
        )


class LogVersionError(LogCorruptError):
    """The log was written by a later release of the library, in a format that this one cannot read.

    It is not damaged: upgrade the library. The attributes are those of `LogCorruptError`.
    """

    @staticmethod
    def _told(path: str, segment: str, offset: int, problem: str) -> str:
        return (
            f"the log {path} was written by a later release of jobqueue: {segment}: {problem}. "
            f"Nothing was changed; upgrade the library: pip install --upgrade jobqueue"
        )


class LogWriteError(JobQueueError, OSError):
    """The log could not be written or fsynced.

    After a full disk the queue goes on once there is space again. After a failed fsync the
    log is failed for good: close the queue, mend the disk, open it again.

    Attributes:
        report: the `ShutdownReport`, if `close` raised this; else `None`.
    """

    report: Any = None


def again(error: LogWriteError) -> LogWriteError:
    """The same error for one more caller: a new object, which that caller may raise."""
    copy = LogWriteError(error.errno, error.strerror, error.filename)
    copy.report = error.report
    copy.__cause__ = error
    return copy


class WorkerProcessError(JobQueueError):
    """A handler's process died or could not be started, or what came of it cannot be brought back.

    Only with `executor="process"`. The attempt has failed, and is retried as usual.
    """


def thread_died(which: str, error: BaseException) -> JobQueueError:
    """The fault of a queue one of whose own threads ended by an error: nothing runs any more."""
    fault = JobQueueError(
        f"{which} died: {type(error).__name__}: {error}; nothing runs any more: close this queue "
        f"and open another, which goes on with the jobs of its log"
    )
    fault.__cause__ = error
    return fault


def repeated(job_id: str) -> DuplicateJobError:
    """Of a call that is given several jobs."""
    return DuplicateJobError(
        f"job {job_id!r} stands more than once in this call; give each job an id of its own"
    )


def reentered() -> RuntimeError:
    """The error for a call from within the queue's own code, which waits until that returns."""
    return RuntimeError(
        "the queue was called from a signal handler, or a finalizer, that interrupted the queue's "
        "own code on this thread; call it from the program's normal flow"
    )


class RejectJobError(JobQueueError):
    """Raised by a handler: the job can never succeed; it fails at once, without retries."""


class RetryJobError(JobQueueError):
    """Raised by a handler: try again after exactly `delay` seconds, counted as a retry.

    Attributes:
        delay: seconds until the next attempt, finite and not negative.

    Args:
        message: what is told of the failure.
        delay: in seconds, or as a `timedelta`.
    """

    def __init__(self, message: str = "", *, delay: Seconds) -> None:
        self.delay = check_seconds("delay", delay)
        super().__init__(message or f"retry after {self.delay:g} s")
