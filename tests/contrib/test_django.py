"""The queue in Django projects of every version: settings, connections, commands."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("django", reason="needs the extra 'django'")

from tests.support import django_project

django_project.set_up()

from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import override_settings

from jobqueue import JobQueue, RejectJobError, Status, Tasks
from jobqueue.contrib.django import tasks
from jobqueue.contrib.django.queues import Options, queues
from jobqueue.testing import immediate
from tests.support.waiting import PATIENCE

seen: list[object] = []


@tasks.task(name="look_at_connection")
def look_at_connection() -> int:
    seen.append(connection.connection)
    connection.ensure_connection()
    assert connection.connection is not None
    return threading.get_ident()


@tasks.task(name="refuse_always")
def refuse() -> None:
    raise RejectJobError("no")


parcels = Tasks()


@parcels.task(name="pack")
def pack() -> str:
    return "packed"


tasks.include(parcels)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    with override_settings(JOBQUEUE={"persist_path": tmp_path / "jobs", "num_workers": 1}):
        seen.clear()
        yield tmp_path / "jobs"
        queues.close()


def test_the_first_call_opens_the_queue_of_the_settings(log: Path) -> None:
    assert not log.exists()
    look_at_connection.enqueue().result(PATIENCE)
    assert log.exists()
    assert tasks.queue.config.num_workers == 1
    assert tasks.queue.config.max_retries == 0


def test_the_first_call_of_an_included_task_opens_it_too(log: Path) -> None:
    assert pack.enqueue().result(PATIENCE) == "packed"


def test_the_first_awaited_call_opens_the_queue_without_holding_up_the_loop(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_get, may_open = queues.get, threading.Event()

    def get() -> JobQueue:
        assert may_open.wait(PATIENCE)
        return really_get()

    async def main() -> object:
        enqueueing = asyncio.ensure_future(look_at_connection.aenqueue())
        await asyncio.sleep(0)
        may_open.set()
        return await (await enqueueing)

    monkeypatch.setattr(queues, "get", get)
    assert asyncio.run(main()) != threading.get_ident()


def test_no_attempt_finds_a_connection_of_the_one_before(log: Path) -> None:
    threads = {look_at_connection.enqueue().result(PATIENCE) for _ in range(3)}
    assert len(threads) == 1
    assert seen == [None] * 3


def test_in_a_test_a_task_can_run_at_once_and_opens_nothing(log: Path) -> None:
    with immediate(tasks):
        assert look_at_connection.enqueue().result(0) == threading.get_ident()
    assert not log.exists()


def test_a_forked_process_opens_a_queue_of_its_own() -> None:
    """As gunicorn forks its workers after `--preload`."""
    with override_settings(JOBQUEUE={}):
        look_at_connection.enqueue().result(PATIENCE)
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if look_at_connection.enqueue().result(PATIENCE) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        queues.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_worker": 3}, "'num_worker' is no option; did you mean 'num_workers'?"),
        ({"on_comit": True}, "'on_comit' is no option; did you mean 'on_commit'?"),
        ({"quux": 3}, "'quux' is no option; there are 'on_commit' and the fields of jobqueue.Conf"),
        ({"num_workers": 0}, "num_workers must be"),
        ({"executor": "process"}, "does not go with Django"),
        ({"on_commit": "yes"}, "on_commit must be"),
    ],
)
def test_an_option_that_cannot_work_is_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=re.escape(told)):
        Options.of(options)


def test_the_command_tells_of_such_an_option_without_a_traceback() -> None:
    with (
        override_settings(JOBQUEUE={"persist_pth": "jobs"}),
        pytest.raises(CommandError, match="did you mean 'persist_path'"),
    ):
        call_command("jobqueue", "inspect")


def test_without_settings_a_call_says_what_to_write() -> None:
    with override_settings():
        from django.conf import settings

        del settings.JOBQUEUE
        with pytest.raises(ImproperlyConfigured, match="JOBQUEUE = "):
            look_at_connection.enqueue()


def test_the_command_looks_into_the_log(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look_at_connection.enqueue().result(PATIENCE)
    queues.close()

    call_command("jobqueue", "inspect", "--json")

    assert json.loads(capsys.readouterr().out)["jobs"]["completed"]["medium"] == 1
    with pytest.raises(SystemExit) as caught:
        call_command("jobqueue", "requeue", "nothing")
    assert caught.value.code == 6


def test_the_command_queues_failed_jobs_again_while_they_are_served(log: Path) -> None:
    failed = refuse.enqueue()
    assert failed.wait(PATIENCE) is Status.FAILED
    tasks.queue.pause()
    call_command("jobqueue", "requeue", failed.id)
    assert tasks.queue.status(failed.id) is Status.QUEUED
    tasks.queue.cancel(failed.id)


def test_without_a_log_the_command_says_so() -> None:
    with override_settings(JOBQUEUE={}), pytest.raises(CommandError, match="in memory"):
        call_command("jobqueue", "inspect")


def test_a_worker_that_would_never_run_a_job_is_refused(tmp_path: Path) -> None:
    """The settings are those of the web processes beside it."""
    settings = {"persist_path": tmp_path / "jobs", "share": "client"}
    with (
        override_settings(JOBQUEUE=settings),
        pytest.raises(CommandError, match="'share': 'auto'"),
    ):
        call_command("jobqueue", "run")


def test_without_a_log_but_on_a_database_the_command_says_so() -> None:
    with (
        override_settings(JOBQUEUE={"dsn": "postgresql://nobody@127.0.0.1:1/jobs"}),
        pytest.raises(CommandError, match="on PostgreSQL"),
    ):
        call_command("jobqueue", "inspect")
