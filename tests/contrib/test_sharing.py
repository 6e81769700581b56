"""The processes of a server have one queue together, unless something else is said."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

pytest.importorskip("msgspec", reason="what processes say to each other is written by msgspec")
pytest.importorskip("django", reason="needs the extra 'django'")
pytest.importorskip("flask", reason="needs the extra 'flask'")

from tests.support import django_project

django_project.set_up()

from django.test import override_settings
from flask import Flask

from jobqueue import Config, Job, JobQueue, Tasks
from jobqueue.cli.suited import shared
from jobqueue.contrib.asgi import lifespan
from jobqueue.contrib.django import tasks as django_tasks
from jobqueue.contrib.django.queues import queues
from jobqueue.contrib.flask import JobQueueExtension
from tests.support import insides
from tests.support.waiting import PATIENCE


def test_with_a_log_it_is_shared_if_nothing_is_said(tmp_path: Path) -> None:
    assert shared(Config(persist_path=tmp_path)).share == "auto"
    assert shared(Config()).share is None
    for said in ("off", "client"):
        assert shared(Config(persist_path=tmp_path, share=said)).share == said


def test_a_lifespan_shares_it(tmp_path: Path) -> None:
    async def main() -> str | None:
        async with lifespan(Tasks(), Config(persist_path=tmp_path))(None) as state:
            queue: JobQueue = state["jobqueue"]
            return queue.config.share

    assert asyncio.run(main()) == "auto"


def test_an_extension_shares_it(tmp_path: Path) -> None:
    app = Flask("shop")
    app.config["JOBQUEUE_PERSIST_PATH"] = str(tmp_path)
    jobs = JobQueueExtension(app, tasks=Tasks())
    with app.app_context():
        assert jobs.queue.config.share == "auto"
        jobs.close()


def test_a_django_project_shares_it_with_what_it_forks(tmp_path: Path) -> None:
    """The parent goes on to run the jobs; the child is a client of it."""
    with override_settings(JOBQUEUE={"persist_path": tmp_path}):
        parent = django_tasks.queue
        parent.register("length", len)
        child = os.fork()
        if child == 0:
            try:
                queue = django_tasks.queue
                ran = queue.enqueue(Job(b"abc", handler="length")).result(PATIENCE) == 3
                os._exit(0 if ran and not insides.is_owner(queue) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert parent.metrics().completed == 1
        queues.close()
