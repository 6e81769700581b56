"""The queue in Django projects of every version: settings, connections, commands."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("django", reason="needs the extra 'django'")

from tests.support import django_project

django_project.set_up()

from asgiref.sync import async_to_sync
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from django.test import override_settings

from jobqueue import (
    JobHandle,
    JobQueue,
    RejectJobError,
    Status,
    Tasks,
    Unique,
    UnknownJobError,
    as_completed,
)
from jobqueue.contrib.django import tasks
from jobqueue.contrib.django.queues import Options, queues
from jobqueue.tasks import chain
from jobqueue.testing import immediate
from tests.support.waiting import PATIENCE, eventually

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


# ── with on_commit ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def by_commits() -> Iterator[None]:
    with override_settings(JOBQUEUE={"on_commit": True, "num_workers": 1}):
        yield
        queues.close()


@pytest.mark.usefixtures("by_commits")
def test_with_on_commit_a_call_is_accepted_when_its_transaction_commits() -> None:
    with transaction.atomic():
        handle = pack.enqueue()
        assert tasks.queue.jobs() == []
    assert handle.result(PATIENCE) == "packed"
    assert tasks.queue.info(handle.id).status is Status.COMPLETED


@pytest.mark.usefixtures("by_commits")
def test_with_on_commit_a_handle_says_so_before() -> None:
    with transaction.atomic():
        handle = pack.enqueue()
        with pytest.raises(UnknownJobError, match="not accepted before its transaction commits"):
            handle.result(PATIENCE)
        assert "on commit" in repr(handle)


@pytest.mark.usefixtures("by_commits")
def test_with_on_commit_what_is_rolled_back_is_never_accepted() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        pack.enqueue()
        raise ZeroDivisionError
    assert tasks.queue.jobs() == []


@pytest.mark.usefixtures("by_commits")
def test_with_on_commit_a_call_outside_of_a_transaction_is_accepted_at_once() -> None:
    assert pack.using(id="now").enqueue().id == "now"
    assert tasks.queue.handle("now").result(PATIENCE) == "packed"


@pytest.mark.usefixtures("by_commits")
def test_with_on_commit_a_chain_is_accepted_in_one_at_the_commit() -> None:
    with transaction.atomic():
        first, last = chain(pack.call(), pack.call())
        assert tasks.queue.jobs() == []
    assert (last.result(PATIENCE), first.status) == ("packed", Status.COMPLETED)


@pytest.mark.usefixtures("by_commits")
def test_with_on_commit_a_delay_counts_from_the_call() -> None:
    with transaction.atomic():
        handle = pack.using(delay=60).enqueue()
        called = time.time()
        eventually(lambda: time.time() > called + 0.2)
        committed = time.time()
    due = tasks.queue.info(handle.id).due
    assert due is not None
    assert due < committed + 60
    handle.cancel()


@pytest.mark.usefixtures("by_commits")
def test_with_on_commit_a_handle_is_that_of_the_job_that_was_there() -> None:
    alike = pack.using(key="k", unique=Unique(by="handler+key"), delay=60)
    first = alike.enqueue()
    with transaction.atomic():
        handle = alike.enqueue()
        assert not handle.existing
    assert (handle.existing, handle.id) == (True, first.id)
    assert handle.cancel()


@pytest.mark.usefixtures("by_commits")
def test_with_on_commit_an_awaited_call_is_in_the_transaction_of_the_thread_it_came_from() -> None:
    seen.clear()

    async def call() -> JobHandle[str]:
        handle = await pack.aenqueue()
        seen.append(tasks.queue.jobs())
        return handle

    with transaction.atomic():
        handle = async_to_sync(call)()
    assert (handle.result(PATIENCE), seen) == ("packed", [[]])


@pytest.mark.usefixtures("by_commits")
def test_with_on_commit_callbacks_and_waits_work_after_the_commit() -> None:
    told: list[object] = []
    with transaction.atomic():
        handle = pack.enqueue()
    handle.add_done_callback(told.append)
    assert list(as_completed([handle], PATIENCE)) == [handle]
    eventually(lambda: told == [handle])


# ── settings that cannot work ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_worker": 3}, "'num_worker' is no option; did you mean 'num_workers'?"),
        ({"on_comit": True}, "'on_comit' is no option; did you mean 'on_commit'?"),
        ({"quux": 3}, "'quux' is no option; there are 'on_commit' and the fields of jobqueue.Conf"),
        ({"num_workers": 0}, "num_workers must be"),
        ({"executor": "process"}, "does not go with Django"),
        ({"on_commit": "yes"}, "on_commit must be"),
        (Path("jobs"), "the options are a dictionary of names and values"),
        ({1: 2}, "the options are a dictionary of names and values"),
    ],
)
def test_an_option_that_cannot_work_is_told(options: Any, told: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=re.escape(told)):
        Options.of(options)


def test_the_command_tells_of_such_an_option_without_a_traceback() -> None:
    with (
        override_settings(JOBQUEUE={"persist_pth": "jobs"}),
        pytest.raises(CommandError, match="did you mean 'persist_path'"),
    ):
        call_command("jobqueue", "inspect")


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({"num_worker": 3}, ["jobqueue.E001"]),
        ({}, ["jobqueue.W001"]),
        ({"persist_path": "jobs"}, []),
        (None, []),
    ],
)
def test_the_system_checks_look_at_the_setting(options: Any, ids: list[str]) -> None:
    with override_settings(JOBQUEUE=options):
        found = [each.id for each in run_checks()]
    assert [each for each in found if each is not None and "jobqueue" in each] == ids


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
