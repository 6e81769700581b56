"""Django's own tasks on our backend, over PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("django", reason="needs the extra 'django'")
pytest.importorskip("django.tasks", reason="needs Django 6, so Python 3.12")

from tests.support import django_project

django_project.set_up()

from django.tasks import TaskResultStatus, task
from django.test import override_settings

from jobqueue.contrib.django.queues import queues
from tests.support.waiting import eventually


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def fail() -> None:
    raise LookupError("there is none")


@pytest.fixture
def _backend(dsn: str) -> Iterator[None]:
    backend = {"BACKEND": django_project.OURS, "OPTIONS": {"dsn": dsn, "num_workers": 1}}
    with override_settings(TASKS={"default": backend}):
        yield
        queues.close()


def finished(result: Any) -> Any:
    eventually(lambda: (result.refresh(), result.is_finished)[1])
    return result


@pytest.mark.usefixtures("_backend")
def test_tasks_run_and_their_results_are_read_by_another_process(dsn: str) -> None:
    result, failed = add.enqueue(1, b=2), fail.enqueue()
    finished(failed)
    assert (failed.status, failed.errors[0].exception_class) == (
        TaskResultStatus.FAILED,
        LookupError,
    )
    assert finished(result).return_value == 3
    queue: Any = queues.get()
    assert queue.config.where == dsn
    queues.close()  # and another process asks
    found = add.get_result(result.id)
    assert (found.status, found.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
