"""The example in Django under real servers, and its own worker."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from jobqueue import Config, Status, Tasks
from tests.support.children import ROOT
from tests.support.served import Served
from tests.support.waiting import eventually
from tests.support.web import Site, free_port, statuses_after_a_start

pytest.importorskip("django", reason="needs the extra 'django'")
GUNICORN = Path(sys.executable).parent / "gunicorn"
pytestmark = [
    pytest.mark.usefixtures("traced"),
    pytest.mark.slow,
    pytest.mark.skipif(not GUNICORN.exists(), reason="needs gunicorn"),
]


def order(site: Site) -> str:
    status, answer = site.ask("/orders?to=ada", "POST")
    assert status == 202
    job: str = answer["job"]
    return job


@pytest.mark.parametrize(
    "command",
    [
        ("gunicorn", "examples.django_app:application", "--preload", "--bind"),
        pytest.param(
            ("gunicorn", "examples.django_app:application", "--threads", "4", "--bind"),
            marks=pytest.mark.daily,
        ),
        ("examples.django_app", "runserver", "--noreload"),
    ],
    ids=["gunicorn --preload", "gunicorn --threads", "runserver"],
)
def test_a_server_runs_the_jobs_of_its_requests(tmp_path: Path, command: tuple[str, ...]) -> None:
    port = free_port()
    env = {"SHOP_DIRECTORY": str(tmp_path)}
    with Served(*command, f"127.0.0.1:{port}", directory=ROOT, env=env) as server:
        site = Site(port)
        site.until_there()
        ids = [order(site) for _ in range(10)]
        eventually(lambda: site.ask(f"/jobs/{ids[0]}")[1]["status"] == "completed")
        server.end(signal.SIGTERM if command[0] == "gunicorn" else signal.SIGINT)
    assert statuses_after_a_start(tmp_path / "jobs", ids) == {Status.COMPLETED}


def test_runserver_with_its_reloader_opens_the_log_once(tmp_path: Path) -> None:
    port = free_port()
    env = {"SHOP_DIRECTORY": str(tmp_path)}
    command = ("examples.django_app", "runserver", f"127.0.0.1:{port}")
    with Served(*command, directory=ROOT, env=env) as server:
        site = Site(port)
        site.until_there()
        job = order(site)
        eventually(lambda: site.ask(f"/jobs/{job}")[1]["status"] == "completed")
        assert "LogLockedError" not in server.output


def test_the_projects_own_worker_runs_its_jobs_until_sigterm(tmp_path: Path) -> None:
    tasks = Tasks()

    @tasks.task(name="send_mail", store_result=True)
    def send_mail(to: str) -> None: ...

    with tasks.open(Config(persist_path=tmp_path / "jobs"), start=False):
        id = send_mail.enqueue("ada").id
    env = {"SHOP_DIRECTORY": str(tmp_path)}
    with Served("examples.django_app", "jobqueue", "run", directory=ROOT, env=env) as worker:
        eventually(lambda: _is_completed(tmp_path / "jobs"), 30)
        assert worker.end(signal.SIGTERM) == 0
    assert statuses_after_a_start(tmp_path / "jobs", [id]) == {Status.COMPLETED}


def _is_completed(log: Path) -> bool:
    return any(b'"completed"' in each.read_bytes() for each in log.glob("*.jsonl"))
