"""`JobQueueBackend`: runs Django's own tasks, `django.tasks` of Django 6."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import close_old_connections, transaction
from django.tasks import Task, TaskContext, TaskResult, TaskResultStatus, task_backends
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.exceptions import TaskResultDoesNotExist
from django.tasks.signals import task_enqueued, task_finished, task_started
from django.utils import timezone
from django.utils.json import normalize_json

from ...final import (
    Job,
    JobContext,
    JobInfo,
    JobQueue,
    Middleware,
    Priority,
    RejectJobError,
    UnknownJobError,
)
from .checks import check_options
from .queues import HANDLER, queues
from .results import (
    PATH,
    PRIORITY,
    QUEUE,
    RUN_AFTER,
    decoded,
    encoded,
    kept_with,
    note_class,
    result_of,
    time_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = ["JobQueueBackend"]

_ALIAS = "backend"  # the header that names the alias


class JobQueueBackend(BaseTaskBackend):
    """Runs tasks in threads of the process that enqueues them, or that owns the log. Thread-safe.

    `OPTIONS` are the fields of `jobqueue.Config`, but that `max_retries` is 0 unless it is given,
    and `on_commit`: `True` enqueues when the transaction that goes on commits. Priorities of -100
    to -1 are Low, 0 is Medium, 1 to 100 are High. Results are kept as JSON, 64 KiB at most.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.worker_id = f"{socket.gethostname()}:{os.getpid()}"

    @property
    def queue(self) -> JobQueue:
        """The queue that it enqueues into; opened by the first that asks."""
        return queues.get(self.alias)

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: dict[str, Any]) -> TaskResult:
        """Accept a task; with `on_commit`, when the transaction commits."""
        job, delay, result = self._prepared(task, args, kwargs)
        if self._on_commit():
            transaction.on_commit(partial(self._enqueue, job, delay, result))
        else:
            self._enqueue(job, delay, result)
        return result

    async def aenqueue(self, task: Task, args: Sequence[Any], kwargs: dict[str, Any]) -> TaskResult:
        """The same, without holding up the event loop."""
        if self._on_commit():  # the transaction is that of Django's thread for such calls
            waited: TaskResult = await super().aenqueue(task, args, kwargs)
            return waited
        job, delay, result = self._prepared(task, args, kwargs)
        if queues.opened(self.alias) is None:
            await asyncio.to_thread(getattr, self, "queue")  # opens it
        await self.queue.aenqueue(job, delay=delay)
        _note_enqueued(job, result)
        # Receivers that are no coroutine functions may use the database: not on the loop.
        await task_enqueued.asend(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """Where a task stands, and what came of it."""
        try:
            info = self.queue.info(result_id)
        except (UnknownJobError, TypeError):
            raise TaskResultDoesNotExist(result_id) from None
        if info.handler != HANDLER:
            raise TaskResultDoesNotExist(result_id)
        return result_of(self.queue, info, self.alias, self.worker_id)

    async def aget_result(self, result_id: str) -> TaskResult:
        """The same, in a thread: if another process runs the tasks, that one is asked."""
        return await asyncio.to_thread(self.get_result, result_id)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """System checks: the options."""
        whose = f"task backend {self.alias!r}"
        return [*super().check(**kwargs), *check_options(self.options, whose, "OPTIONS", self)]

    def _on_commit(self) -> bool:
        return bool(self.options.get("on_commit", False))

    def _prepared(
        self, task: Task, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Job, float, TaskResult]:
        self.validate_task(task)
        result = TaskResult(
            task=task,
            id=uuid.uuid4().hex,
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        headers = {
            PATH: task.module_path,
            QUEUE: task.queue_name,
            PRIORITY: str(int(task.priority)),
            _ALIAS: self.alias,
        }
        if task.run_after is not None:
            headers[RUN_AFTER] = task.run_after.isoformat()
        job = Job(
            encoded(result.args, result.kwargs),
            id=result.id,
            handler=HANDLER,
            priority=_priority(task.priority),
            headers=headers,
            store_result=True,
        )
        return job, _delay(task.run_after), result

    def _enqueue(self, job: Job, delay: float, result: TaskResult) -> None:
        self.queue.enqueue(job, delay=delay)
        _note_enqueued(job, result)
        task_enqueued.send(type(self), task_result=result)


def _note_enqueued(job: Job, result: TaskResult) -> None:
    object.__setattr__(result, "enqueued_at", time_of(job.created))  # it is frozen for others


def _priority(priority: int) -> Priority:
    if priority == 0:
        return Priority.MEDIUM
    return Priority.HIGH if priority > 0 else Priority.LOW


def _delay(run_after: datetime | None) -> float:
    if run_after is None:
        return 0.0
    if timezone.is_naive(run_after):  # allowed if USE_TZ is off
        run_after = timezone.make_aware(run_after)
    seconds: float = (run_after - timezone.now()).total_seconds()
    return max(0.0, seconds)


# ── what runs a task ─────────────────────────────────────────────────────────────────────────────

_told: dict[str, TaskResultStatus] = {}
"""Of jobs that are about to end: what `task_finished` has said. Each step is one call of it."""


def run_task(payload: bytes, context: JobContext) -> object:
    """The handler of all tasks of Django's, on a worker's thread."""
    headers = context.job.headers
    alias = headers[_ALIAS]
    backend = task_backends[alias]
    try:
        result = backend.get_result(context.job.id)
        args, kwargs = decoded(payload)
    except Exception as error:
        raise RejectJobError(
            f"task {headers[PATH]} cannot be run ({type(error).__name__}: {error}); mend that, "
            f"and requeue the job"
        ) from error
    task = result.task
    task_started.send(sender=type(backend), task_result=result)
    try:
        first = (TaskContext(task_result=result),) if task.takes_context else ()
        value = normalize_json(task.call(*first, *args, **kwargs))
    except BaseException as error:
        if _is_last(error, context, alias):
            # In here, as Django's own backends do it: receivers may ask for the exception.
            _tell_finished(backend, result, TaskResultStatus.FAILED)
        note_class(error)
        raise
    _tell_finished(backend, result, TaskResultStatus.SUCCESSFUL)
    return kept_with(value, payload)


def _is_last(error: BaseException, context: JobContext, alias: str) -> bool:
    """Whether no attempt will follow one that ends with this error."""
    retries = context.job.max_retries
    if retries is None:
        retries = queues.get(alias).config.max_retries
    return isinstance(error, RejectJobError) or context.attempt >= retries


def _tell_finished(backend: JobQueueBackend, result: TaskResult, status: TaskResultStatus) -> None:
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "finished_at", timezone.now())
    _told[result.id] = status
    # Django logs the error of a receiver. The work is done: it neither fails nor is repeated.
    task_finished.send_robust(type(backend), task_result=result)


class Finished(Middleware):
    """Sends `task_finished` for tasks that have ended in another way than the handler had seen.

    That is those which were cancelled, expired or given up after crashes, or whose result was too
    large to be kept.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def finished(self, info: JobInfo) -> None:
        """On the thread that ended the job."""
        if info.handler != HANDLER:
            return
        told = _told.pop(info.id, None)
        backend = task_backends[self._alias]
        close_old_connections()
        try:
            result = backend.get_result(info.id)
            if result.status != told:
                task_finished.send_robust(type(backend), task_result=result)
        finally:
            close_old_connections()
