"""Programs move to PostgreSQL by another config: tasks, the examples, the command, frameworks."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobqueue import CONTEXT, JobContext, NotSupportedError, Tasks, chain, group
from jobqueue.final.ports import Opener, Queue
from jobqueue.futures import JobQueueExecutor
from tests.support.pages import blocks_of
from tests.support.served import Served
from tests.support.waiting import PATIENCE, eventually

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guides" / "examples.md"
SETTINGS = re.compile(r"open\(Config\((?:persist_path=\"[^\"]*\", )?")
Opened = Any


def open_on(dsn: str, tasks: Tasks, **settings: Any) -> Any:
    from jobqueue.postgres import PostgresConfig

    config: Opener = PostgresConfig(dsn, base_delay=0.001, **settings)
    return tasks.open(config)


def output(source: str, directory: Path) -> str:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_an_example_does_the_same_when_one_line_is_changed(
    dsn: str, number: int, tmp_path: Path
) -> None:
    blocks = blocks_of(PAGE.read_text(encoding="utf-8"))
    source = [block for block in blocks if block.info == "python"][number].source
    moved, lines = SETTINGS.subn(f'open(PostgresConfig("{dsn}", ', source)
    assert lines == 1
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()

    told = output(source, before)
    assert output(f"from jobqueue.postgres import PostgresConfig\n{moved}", after) == told
    assert told.count("\n") >= 3


def test_a_task_is_called_and_gives_what_it_returned(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task(name="add")
    def add(left: int, right: int = 1) -> int:
        return left + right

    @tasks.task(name="path", store_result=True)
    async def path(name: str) -> Path:
        await asyncio.sleep(0)
        return Path(name)

    with open_on(dsn, tasks, executor="asyncio") as queue:
        is_port: Queue = queue
        assert add.enqueue(1, right=2).result(PATIENCE) == 3
        assert path.enqueue("a").result(PATIENCE) == Path("a")
        assert list(add.map(range(20))) == list(range(1, 21))
        assert is_port.status(add.enqueue(1).id) in ("queued", "processing", "completed")


def test_an_atomic_task_enqueues_by_its_completion(dsn: str) -> None:
    tasks = Tasks()
    noted: list[str] = []

    @tasks.task(name="note")
    def note(text: str) -> None:
        noted.append(text)

    @tasks.task(name="twice", atomic=True, max_retries=1)
    def twice(context: JobContext = CONTEXT) -> None:
        note.enqueue(f"attempt {context.attempt}")
        if not context.attempt:
            raise OSError

    with open_on(dsn, tasks) as queue:
        twice.enqueue()
        assert queue.join(PATIENCE)
    assert noted == ["attempt 1"]


def test_groups_run_and_chains_are_refused(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task(name="double")
    def double(number: int) -> int:
        return 2 * number

    with open_on(dsn, tasks) as queue:
        handles = group(double.call(each) for each in range(3))
        assert [each.result(PATIENCE) for each in handles] == [0, 2, 4]
        with pytest.raises(NotSupportedError, match="after"):
            chain(double.call(1), double.call(2))
        with pytest.raises(ValueError, match="keeps its jobs"):
            JobQueueExecutor(queue)


def test_a_periodic_task_runs_once_in_the_cluster(dsn: str) -> None:
    ran: list[str] = []

    def collection() -> Tasks:
        tasks = Tasks()

        @tasks.periodic(timedelta(milliseconds=100), name="tick")
        def tick(context: JobContext = CONTEXT) -> None:
            ran.append(context.job.id)

        return tasks

    with open_on(dsn, collection()) as here, open_on(dsn, collection()) as there:
        assert eventually(lambda: len(ran) >= 4)
        (schedule,) = there.periodics()
        assert (schedule.name, schedule.paused) == ("tick", False)
        assert schedule.last is not None
        here.pause(periodic="tick")
        (schedule,) = there.periodics()
        assert (schedule.paused, schedule.next) == (True, None)
        assert here.join(PATIENCE)
    assert len(set(ran)) == len(ran)


def test_ticks_that_were_missed_are_caught_up_with(opened: Opened, databases: Any) -> None:
    from jobqueue import Job

    queue = opened(len, start=False)
    hour = timedelta(hours=1)
    queue.periodic("hourly", hour, Job, catch_up="all")
    assert queue.jobs() == []
    queue.close()
    databases.execute(
        "UPDATE jobqueue_periodic SET settled = settled - 3 * 3600",
        database=queue.config.dsn.rpartition("/")[2],
    )
    again = opened(len, start=False)
    again.periodic("hourly", hour, Job, catch_up="all")

    assert eventually(lambda: len(again.jobs()) == 3)
    assert all(each.id.startswith("hourly@") for each in again.jobs())
    with pytest.raises(ValueError, match="taken by another schedule"):
        again.periodic("hourly", timedelta(hours=2), Job)


def test_schedules_whose_functions_ask_the_queue_leave_it_a_connection(opened: Opened) -> None:
    from jobqueue import Job

    queue = opened(len, start=False, pool_size=2)

    def make() -> Job:
        assert queue.jobs(limit=1) is not None
        assert {each.name for each in queue.periodics()} == names
        return Job()

    names = {"a", "b", "c"}
    begin = threading.Event()

    def make_later() -> Job:
        assert begin.wait(PATIENCE)
        return make()

    for name in sorted(names):
        queue.periodic(name, timedelta(milliseconds=100), make_later)
    begin.set()
    assert eventually(lambda: len({each.id.partition("@")[0] for each in queue.jobs()}) == 3)


# ── the command ──────────────────────────────────────────────────────────────────────────────────

MODULE = """
from jobqueue import Tasks
from jobqueue.postgres import PostgresConfig

tasks = Tasks()


@tasks.task
def note(name: str) -> None:
    with open("done", "a") as file:
        print(name, file=file)
"""


@pytest.fixture
def app(tmp_path: Path, dsn: str) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "jobs.py").write_text(
        f"{MODULE}\nconfig = PostgresConfig({dsn!r}, num_workers=2)\n"
    )
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("by", ["environment", "config"])
def test_jobqueue_run_serves_the_database_until_it_is_told_to_stop(
    app: Path, dsn: str, by: str
) -> None:
    tasks = Tasks()

    @tasks.task(name="note")
    def note(name: str) -> None: ...

    from jobqueue.postgres import PostgresConfig

    queue = PostgresConfig(dsn).open(start=False)
    with queue:
        tasks.bind(queue)
        handle = note.enqueue("anna")
        environment = os.environ | ({"JOBQUEUE_DSN": dsn} if by == "environment" else {})
        options = ["--workers", "3"] if by == "environment" else ["--config", "shop.jobs:config"]
        served = Served(
            "jobqueue.cli", "run", "shop.jobs:tasks", *options, directory=app, env=environment
        )
        with served:
            assert handle.wait(PATIENCE).value == "completed"
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(PATIENCE) == 0
    assert (app / "done").read_text() == "anna\n"
    assert "in memory" not in served.output
    assert f"({by})" not in served.output


@pytest.mark.slow
def test_jobqueue_run_says_what_is_wrong_with_the_database(app: Path, databases: Any) -> None:
    for dsn, options, told in (
        (databases.make(installed=False), [], "jobqueue postgres install"),
        (databases.dsn("not_there"), [], "createdb"),
        ("postgresql://127.0.0.1:1/x", [], "start the server"),
        ("postgresql:///x", ["--durability", "fsync"], "--durability"),
    ):
        run = subprocess.run(
            [sys.executable, "-m", "jobqueue.cli", "run", "shop.jobs", *options],
            cwd=app,
            env=os.environ | {"JOBQUEUE_DSN": dsn},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert told in run.stderr, run.stderr
        assert run.returncode in (2, 5)
        assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_the_example_of_many_machines_runs_on_two_at_once(databases: Any) -> None:
    from jobqueue.postgres import schema

    dsn = databases.make(installed=False)
    schema.install(dsn)
    orders = "CREATE TABLE orders (id serial, what text)"
    databases.execute(orders, database=dsn.rpartition("/")[2])
    command = [sys.executable, "-W", "error", "-m", "examples.many_machines", dsn]
    runs = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = "".join(run.communicate(timeout=60)[0] for run in runs)

    assert [run.returncode for run in runs] == [0, 0]
    assert told.count("is sent") == told.count("an order of nothing") == 2
