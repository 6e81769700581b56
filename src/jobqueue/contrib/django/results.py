"""What Django's `TaskResult` says of a job. Any thread; nothing here waits.

A job of a Django task has the task's path, queue and priority in its headers, and the arguments as
its payload. The log forgets the payload of a completed job. So the job's own result holds the
arguments beside the value, if they are not large.
"""

from __future__ import annotations

import builtins
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.tasks import Task, TaskResult, TaskResultStatus
from django.tasks.base import TaskError
from django.utils.module_loading import import_string

from ...final import ResultGoneError, Status

if TYPE_CHECKING:
    from ...final import JobHandle, JobInfo, JobQueue

PATH, QUEUE, PRIORITY, RUN_AFTER = "task", "queue", "priority", "run-after"
"""Names of headers."""
KEPT_BYTES_MAX = 16 * 1024
"""Arguments that are larger are not kept beyond the job's completion."""
_CLASS = "(class "
_STATUSES = {
    Status.QUEUED: TaskResultStatus.READY,
    Status.SCHEDULED: TaskResultStatus.READY,
    Status.PROCESSING: TaskResultStatus.RUNNING,
    Status.COMPLETED: TaskResultStatus.SUCCESSFUL,
    Status.FAILED: TaskResultStatus.FAILED,
    Status.CANCELLED: TaskResultStatus.FAILED,
}


def task_of(headers: dict[str, str] | Any, backend: str) -> Task:
    """The task that a job runs.

    Raises:
        ImportError: its function is not there any more.
        TypeError: what is there is no task.
    """
    found = import_string(headers[PATH])
    if not isinstance(found, Task):
        raise TypeError(f"{headers[PATH]} is no task of Django's, but {found!r:.80}")
    after = headers.get(RUN_AFTER)
    return found.using(
        priority=int(headers[PRIORITY]),
        queue_name=headers[QUEUE],
        backend=backend,
        run_after=None if after is None else datetime.fromisoformat(after),
    )


def result_of(queue: JobQueue, info: JobInfo, backend: str, worker: str) -> TaskResult:
    """All that is known of a job, as Django's tasks tell it."""
    handle: JobHandle = queue.handle(info.id)
    kept = _kept(handle) if info.status is Status.COMPLETED else None
    arguments = kept if kept is not None else _decoded(handle.job.payload)
    attempts = 0 if info.started is None else info.retries + 1
    result = TaskResult(
        task=task_of(info.headers, backend),
        id=info.id,
        status=_STATUSES[info.status],
        enqueued_at=time_of(info.created),
        started_at=time_of(info.started),
        finished_at=time_of(info.finished),
        last_attempted_at=time_of(info.started),
        args=arguments.get("args") or [],
        kwargs=arguments.get("kwargs") or {},
        backend=backend,
        errors=[] if info.status is Status.COMPLETED else _errors(info),
        worker_ids=[worker] * attempts,
    )
    if kept is not None:
        object.__setattr__(result, "_return_value", kept.get("value"))
    return result


def kept_with(value: object, payload: bytes) -> dict[str, Any]:
    """What a job keeps as its result: the value, and the arguments if they are not large."""
    arguments = _decoded(payload) if len(payload) <= KEPT_BYTES_MAX else {}
    return {"value": value, **arguments}


def encoded(args: list[Any], kwargs: dict[str, Any]) -> bytes:
    """The payload of a job."""
    return json.dumps({"args": args, "kwargs": kwargs}, separators=(",", ":")).encode()


def decoded(payload: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The arguments in a payload."""
    arguments = _decoded(payload)
    return arguments["args"], arguments["kwargs"]


def _decoded(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload) if payload else {}
    return found


def _kept(handle: JobHandle) -> dict[str, Any] | None:
    try:
        found = handle.result(0)
    except ResultGoneError:
        return None
    return found if isinstance(found, dict) else None


def time_of(seconds: float | None) -> datetime | None:
    """A Unix time, as Django has it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


# ── errors ───────────────────────────────────────────────────────────────────────────────────────


def note_class(error: BaseException) -> None:
    """Have the traceback that is kept end with the path of the error's class, see `_errors`."""
    kind = type(error)
    error.add_note(f"{_CLASS}{kind.__module__}.{kind.__qualname__})")


def _errors(info: JobInfo) -> list[TaskError]:
    """The last error: its class by the note, which is taken off, or by its name."""
    if info.last_error is None:
        return []
    name = info.last_error.partition(":")[0]
    path = f"builtins.{name}" if hasattr(builtins, name) else "builtins.Exception"
    trace = info.last_traceback or info.last_error
    head, _, last = trace.rstrip("\n").rpartition("\n")
    if last.startswith(_CLASS) and last.endswith(")"):
        path, trace = last[len(_CLASS) : -1], f"{head}\n"
    return [TaskError(exception_class_path=path, traceback=trace)]
