"""The queue in Flask applications."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobqueue import ConfigError, JobQueue, QueueNotOpenError, Tasks
from jobqueue.testing import immediate, recorded
from tests.support.waiting import PATIENCE

pytest.importorskip("flask", reason="needs the extra 'flask'")

from flask import Flask, current_app, g

from jobqueue.contrib.flask import JobQueueExtension


class Shop:
    """An application with an extension and a task."""

    def __init__(self, **settings: Any) -> None:
        self.tasks = Tasks()
        self.torn_down: list[object] = []

        @self.tasks.task(name="greet")
        def greet(name: str) -> str:
            g.name = name
            return f"{current_app.config['GREETING']}, {g.name}"

        self.greet = greet
        self.jobs = JobQueueExtension(tasks=self.tasks)
        self.app = Flask("shop")
        self.app.config.update(GREETING="Hello", **settings)
        self.app.teardown_appcontext(self.torn_down.append)

        @self.app.get("/")
        def index() -> dict[str, object]:
            return {"greeting": greet.enqueue("Ada").result(PATIENCE)}

    def close(self) -> None:
        with self.app.app_context():
            self.jobs.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(JOBQUEUE_PERSIST_PATH=str(tmp_path / "jobs"), JOBQUEUE_NUM_WORKERS=2)
    shop.jobs.init_app(shop.app)
    yield shop
    shop.close()


def test_the_first_request_opens_the_queue(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(QueueNotOpenError):
        shop.greet.enqueue("nobody")
    assert not (tmp_path / "jobs").exists()

    answer = shop.app.test_client().get("/")

    assert answer.json == {"greeting": "Hello, Ada"}
    assert shop.tasks.queue.config.num_workers == 2


def test_each_attempt_has_an_application_context_of_its_own(shop: Shop) -> None:
    client = shop.app.test_client()
    client.get("/")
    client.get("/")
    requests, attempts = 2, 2
    assert len(shop.torn_down) == requests + attempts


def test_a_coroutine_task_has_one_too() -> None:
    shop = Shop(JOBQUEUE_EXECUTOR="asyncio")

    @shop.tasks.task(name="agreet")
    async def agreet() -> str:
        greeting: str = current_app.config["GREETING"]
        return greeting

    shop.jobs.init_app(shop.app)
    with shop.app.app_context():
        assert shop.jobs.queue is shop.tasks.queue
    assert agreet.enqueue().result(PATIENCE) == "Hello"
    shop.close()


def test_a_forked_process_opens_a_queue_of_its_own() -> None:
    """As gunicorn forks its workers after `--preload`."""
    shop = Shop()
    shop.jobs.init_app(shop.app)
    shop.app.test_client().get("/")
    child = os.fork()
    if child == 0:
        try:
            answer = shop.app.test_client().get("/")
            os._exit(0 if answer.json == {"greeting": "Hello, Ada"} else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    shop.close()


def test_a_request_opens_no_queue_while_a_test_records_its_calls(
    shop: Shop, tmp_path: Path
) -> None:
    @shop.app.post("/orders")
    def order() -> str:
        return shop.greet.enqueue("Ada").id

    with recorded(shop.tasks) as calls:
        assert shop.app.test_client().post("/orders").status_code == 200
    assert [call.arguments for call in calls] == [{"name": "Ada"}]
    assert not (tmp_path / "jobs").exists()


def test_in_a_test_a_task_that_runs_at_once_has_an_application_context(shop: Shop) -> None:
    with immediate(shop.tasks):
        assert shop.greet.enqueue("Ada").result(0) == "Hello, Ada"
    assert len(shop.torn_down) == 1


def test_in_a_test_a_task_runs_in_the_context_of_the_application_made_last(shop: Shop) -> None:
    own = Flask("own")
    own.config["GREETING"] = "Good day"
    shop.jobs.init_app(own)
    with immediate(shop.tasks):
        assert shop.greet.enqueue("Ada").result(0) == "Good day, Ada"


def test_a_queue_that_a_test_has_bound_is_used_and_left_open(shop: Shop, tmp_path: Path) -> None:
    with JobQueue() as queue:
        shop.tasks.bind(queue)
        with shop.app.app_context():
            assert shop.jobs.queue is queue
            shop.jobs.close()
        assert not queue.closed
    assert not (tmp_path / "jobs").exists()


def test_a_second_application_is_told_which_one_has_the_queue(shop: Shop) -> None:
    shop.app.test_client().get("/")
    second = Flask("second")
    shop.jobs.init_app(second)
    with second.app_context(), pytest.raises(RuntimeError, match=r"'shop', has the queue.*close"):
        _ = shop.jobs.queue
    shop.close()
    with second.app_context():
        assert shop.jobs.queue is shop.tasks.queue
        shop.jobs.close()


def test_an_extension_that_was_not_initialised_is_told(shop: Shop) -> None:
    with Flask("other").app_context(), pytest.raises(RuntimeError, match="init_app"):
        _ = shop.jobs.queue
    with pytest.raises(RuntimeError, match="outside of application context"):
        _ = shop.jobs.queue


def test_a_second_extension_is_refused(shop: Shop) -> None:
    with pytest.raises(RuntimeError, match="already"):
        JobQueueExtension(shop.app, tasks=Tasks())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"JOBQUEUE_NUM_WORKER": 3}, "did you mean JOBQUEUE_NUM_WORKERS"),
        ({"JOBQUEUE_NUM_WORKERS": 0}, "num_workers must be"),
        ({"JOBQUEUE_EXECUTOR": "process"}, "does not go with Flask"),
    ],
)
def test_a_setting_that_cannot_work_is_told(settings: dict[str, object], told: str) -> None:
    shop = Shop(**settings)
    with pytest.raises(ConfigError, match=told):
        shop.jobs.init_app(shop.app)


def test_what_are_no_tasks_is_refused() -> None:
    with pytest.raises(TypeError, match="tasks=tasks"):
        JobQueueExtension(tasks=[])  # type: ignore[arg-type]  # that is the point


def test_the_commands_look_into_the_applications_log(shop: Shop) -> None:
    shop.app.test_client().get("/")
    shop.close()

    ended = shop.app.test_cli_runner().invoke(args=["jobqueue", "inspect", "--json"])
    assert ended.exit_code == 0
    assert json.loads(ended.output)["jobs"]["completed"]["medium"] == 1
    ended = shop.app.test_cli_runner().invoke(args=["jobqueue", "dead", "--requeue", "nothing"])
    assert ended.exit_code == 6


def test_without_a_log_the_commands_say_so() -> None:
    shop = Shop()
    shop.jobs.init_app(shop.app)
    ended = shop.app.test_cli_runner().invoke(args=["jobqueue", "inspect"])
    assert ended.exit_code == 2
    assert "JOBQUEUE_PERSIST_PATH" in ended.output


def test_a_worker_that_would_never_run_a_job_is_refused(tmp_path: Path) -> None:
    """The settings are those of the web processes beside it."""
    shop = Shop(JOBQUEUE_PERSIST_PATH=str(tmp_path / "jobs"), JOBQUEUE_SHARE="client")
    shop.jobs.init_app(shop.app)
    ended = shop.app.test_cli_runner().invoke(args=["jobqueue", "run"])
    assert ended.exit_code == 2
    assert "JOBQUEUE_SHARE='auto'" in ended.output
