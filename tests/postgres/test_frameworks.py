"""The frameworks' modules take a database as they take a log."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from jobqueue import ConfigError, QueueNotOpenError, Tasks
from tests.support.waiting import PATIENCE


@pytest.fixture(autouse=True)
def _tables(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBQUEUE_DSN", dsn)


def shop() -> Any:
    tasks = Tasks()

    @tasks.task(name="double")
    def double(number: int) -> int:
        return 2 * number

    return tasks, double


def test_a_lifespan_opens_it_by_settings_or_by_the_environment(dsn: str) -> None:
    from jobqueue.contrib.asgi import lifespan
    from jobqueue.postgres import PostgresConfig, PostgresQueue

    async def use(config: Any) -> None:
        tasks, double = shop()
        async with lifespan(tasks, config)(object()) as state:
            assert isinstance(state["jobqueue"], PostgresQueue)
            handle = await double.aenqueue(4)
            assert await handle == 8
        with pytest.raises(QueueNotOpenError):
            double.enqueue(1)

    asyncio.run(use(PostgresConfig(dsn)))
    asyncio.run(use(None))


@pytest.mark.parametrize("by", ["settings", "environment"])
def test_an_application_of_flask_has_it(dsn: str, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flask = pytest.importorskip("flask")
    from jobqueue.contrib.flask import JobQueueExtension

    tasks, double = shop()
    app = flask.Flask("shop")
    if by == "settings":
        monkeypatch.delenv("JOBQUEUE_DSN")
        app.config.update(JOBQUEUE_DSN=dsn, JOBQUEUE_NUM_WORKERS=2)
    extension = JobQueueExtension(tasks=tasks)
    extension.init_app(app)
    with app.app_context():
        queue: Any = extension.queue
        assert double.enqueue(4).result(PATIENCE) == 8
        assert queue.config.where == dsn
    queue.close()

    wrong = flask.Flask("wrong")
    wrong.config.update(JOBQUEUE_DSN=dsn, JOBQUEUE_PERSIST_PATH="a")
    with pytest.raises(ConfigError, match="persist_path"):
        JobQueueExtension(tasks=shop()[0]).init_app(wrong)


def test_django_has_it_by_its_settings(dsn: str) -> None:
    pytest.importorskip("django")
    from tests.support import django_project

    django_project.set_up()
    from django.core.exceptions import ImproperlyConfigured
    from django.test import override_settings

    from jobqueue.contrib.django import tasks
    from jobqueue.contrib.django.queues import Options, queues

    @tasks.task(name="on_postgres")
    def on_postgres() -> int:
        return threading.get_ident()

    with override_settings(JOBQUEUE={"dsn": dsn, "num_workers": 1}):
        try:
            assert on_postgres.enqueue().result(PATIENCE) != threading.get_ident()
            queue: Any = queues.get()
            assert queue.config.where == dsn
        finally:
            queues.close()
    with pytest.raises(ImproperlyConfigured, match="heartbeat_timeout"):
        Options.of({"dsn": dsn, "heartbeat_timeout": -1})
    with pytest.raises(ImproperlyConfigured, match="persist_path"):
        Options.of({"dsn": dsn, "persist_path": "a"})
