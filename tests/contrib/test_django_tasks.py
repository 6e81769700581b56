"""Django's own tasks on our backend."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("django", reason="needs the extra 'django'")
pytest.importorskip("django.tasks", reason="needs Django 6, so Python 3.12")

from tests.support import django_project

django_project.set_up()

from django.core.checks import Error, Warning
from django.db import connection, transaction
from django.tasks import TaskContext, TaskResultStatus, task, task_backends
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
from django.tasks.signals import task_enqueued, task_finished, task_started
from django.test import override_settings
from django.utils import timezone

from jobqueue import Priority, Status
from jobqueue.contrib.django.backend import JobQueueBackend
from jobqueue.contrib.django.checks import check_setting
from jobqueue.contrib.django.queues import queues
from tests.support.children import ROOT
from tests.support.waiting import PATIENCE, eventually

gate = threading.Event()


pytestmark = pytest.mark.usefixtures("traced")


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def fail() -> None:
    raise LookupError("there is none")


@task
async def greet(name: str) -> dict[str, str]:
    await asyncio.sleep(0)
    return {"hello": name}


@task(takes_context=True)
def tell_attempt(context: TaskContext) -> list[Any]:
    return [context.attempt, context.task_result.id]


@task
def hold() -> None:
    assert gate.wait(PATIENCE)


@pytest.fixture
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobQueueBackend]:
    options = {"persist_path": tmp_path / "jobs", "num_workers": 1, **getattr(request, "param", {})}
    gate.clear()
    with override_settings(
        TASKS={
            "default": {
                "BACKEND": django_project.OURS,
                "OPTIONS": options,
                "QUEUES": ["default", "mails"],
            }
        }
    ):
        yield task_backends["default"]
        gate.set()
        queues.close()


def finished(result: Any) -> Any:
    eventually(lambda: (result.refresh(), result.is_finished)[1])
    return result


def test_a_task_runs_and_its_result_is_kept(backend: JobQueueBackend) -> None:
    result = add.enqueue(1, b=2)
    assert result.status == TaskResultStatus.READY
    finished(result)
    queues.close()  # and another process asks
    found = add.get_result(result.id)
    assert (found.status, found.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
    assert (found.args, found.kwargs, found.attempts) == ([1], {"b": 2}, 1)
    assert found.task == add


def test_a_failure_has_its_class_and_its_traceback(backend: JobQueueBackend) -> None:
    (error,) = finished(fail.enqueue()).errors
    assert error.exception_class is LookupError
    assert error.traceback.endswith("LookupError: there is none\n")


def test_coroutines_contexts_and_awaited_calls_work(backend: JobQueueBackend) -> None:
    async def main() -> Any:
        return await greet.aenqueue("Ada")

    assert finished(asyncio.run(main())).return_value == {"hello": "Ada"}
    result = finished(tell_attempt.enqueue())
    assert result.return_value == [1, result.id]


def test_a_result_is_asked_for_without_holding_up_the_loop(
    backend: JobQueueBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue may be another process's, which takes its time to answer."""
    result, may_answer = add.enqueue(1, 2), threading.Event()
    really_info = backend.queue.info

    def info(job_id: str) -> Any:
        assert may_answer.wait(PATIENCE)
        return really_info(job_id)

    async def main() -> Any:
        asking = asyncio.ensure_future(add.aget_result(result.id))
        await asyncio.sleep(0)
        may_answer.set()
        return await asking

    monkeypatch.setattr(backend.queue, "info", info)
    assert asyncio.run(main()).id == result.id


def test_the_first_awaited_call_opens_the_queue_without_holding_up_the_loop(
    backend: JobQueueBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_get, may_open = queues.get, threading.Event()

    def get(alias: str, *, start: bool = True) -> Any:
        assert may_open.wait(PATIENCE)
        return really_get(alias, start=start)

    async def main() -> Any:
        enqueueing = asyncio.ensure_future(add.aenqueue(1, 2))
        await asyncio.sleep(0)
        may_open.set()
        return await enqueueing

    monkeypatch.setattr(queues, "get", get)
    assert finished(asyncio.run(main())).return_value == 3


def test_who_hears_of_an_awaited_call_may_use_the_database(backend: JobQueueBackend) -> None:
    heard: list[str] = []

    def receive(sender: Any, task_result: Any, **kwargs: Any) -> None:
        connection.ensure_connection()  # refused on the thread of an event loop
        heard.append(task_result.id)

    async def main() -> Any:
        return await add.aenqueue(1, 2)

    task_enqueued.connect(receive)
    try:
        result = asyncio.run(main())
    finally:
        task_enqueued.disconnect(receive)
    assert heard == [result.id]


@pytest.mark.parametrize(
    ("priority", "lane"),
    [
        (-100, Priority.LOW),
        (-1, Priority.LOW),
        (0, Priority.MEDIUM),
        (1, Priority.HIGH),
        (100, Priority.HIGH),
    ],
)
def test_priorities_are_lanes(backend: JobQueueBackend, priority: int, lane: Priority) -> None:
    result = add.using(priority=priority, queue_name="mails").enqueue(1, 2)
    assert backend.queue.info(result.id).priority is lane
    assert backend.get_result(result.id).task == add.using(priority=priority, queue_name="mails")


def test_a_task_can_run_later(backend: JobQueueBackend) -> None:
    later = add.using(run_after=timezone.now() + timedelta(hours=1))
    result = later.enqueue(1, 2)
    assert backend.queue.status(result.id) is Status.SCHEDULED
    assert backend.get_result(result.id).task == later


def test_signals_are_sent_once_each(backend: JobQueueBackend) -> None:
    told: list[tuple[str, str]] = []

    def note(name: str) -> Any:
        def receive(sender: Any, task_result: Any, **kwargs: Any) -> None:
            told.append((name, str(task_result.status)))

        return receive

    receivers = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}
    made = {name: note(name) for name in receivers}
    for name, sent in receivers.items():
        sent.connect(made[name])
    try:
        finished(add.enqueue(1, 2))
        hold.enqueue()
        waiting = add.enqueue(3, 4)
        backend.queue.cancel(waiting.id)  # it ends without having begun
        eventually(lambda: len(told) == 7)
    finally:
        for name, sent in receivers.items():
            sent.disconnect(made[name])
    assert told[:3] == [("enqueued", "READY"), ("started", "RUNNING"), ("finished", "SUCCESSFUL")]
    assert told.count(("finished", "FAILED")) == 1


def test_who_hears_of_the_end_and_raises_changes_nothing(
    backend: JobQueueBackend, caplog: pytest.LogCaptureFixture
) -> None:
    def receive(sender: Any, **kwargs: Any) -> None:
        raise LookupError("of the receiver")

    task_finished.connect(receive)
    try:
        result = finished(add.enqueue(1, 2))
    finally:
        task_finished.disconnect(receive)
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
    assert "of the receiver" in caplog.text


@pytest.mark.parametrize("backend", [{"on_commit": True}], indirect=True)
def test_with_on_commit_the_commit_enqueues(backend: JobQueueBackend) -> None:
    with transaction.atomic():
        result = add.enqueue(1, 2)
        assert result.enqueued_at is None
        with pytest.raises(TaskResultDoesNotExist):
            backend.get_result(result.id)
    assert finished(result).return_value == 3


@pytest.mark.parametrize("backend", [{"on_commit": True}], indirect=True)
def test_with_on_commit_a_rollback_enqueues_nothing(backend: JobQueueBackend) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        result = add.enqueue(1, 2)
        raise ZeroDivisionError
    with pytest.raises(TaskResultDoesNotExist):
        backend.get_result(result.id)


def test_what_no_backend_could_run_is_refused(backend: JobQueueBackend) -> None:
    with pytest.raises(InvalidTask, match="Queue 'other'"):
        add.using(queue_name="other")
    with pytest.raises(TypeError, match="Unsupported type"):
        add.enqueue(object(), 2)


def test_the_system_checks_look_at_the_options() -> None:
    def found(**options: Any) -> list[Any]:
        return JobQueueBackend("default", {"OPTIONS": options}).check()

    assert found(persist_path="jobs") == []
    assert [type(each) for each in found()] == [Warning]
    assert [type(each) for each in found(num_workers=0)] == [Error]


@pytest.mark.parametrize("ids", [[], ["jobqueue.W002"]])
def test_a_setting_that_the_backends_options_replace_is_told(
    backend: JobQueueBackend, ids: list[str]
) -> None:
    with override_settings(JOBQUEUE={"persist_path": "other"} if ids else backend.options):
        assert [each.id for each in check_setting()] == ids


@pytest.mark.slow
def test_djangos_own_tests_of_task_backends_pass(tmp_path: Path) -> None:
    """But for those named in the program, each with its reason."""
    source = os.environ.get("DJANGO_SOURCE")
    if source is None:
        pytest.skip("DJANGO_SOURCE does not name a source release of Django, with its tests")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.programs.djangos_own_tests", source, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
