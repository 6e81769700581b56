"""What the guides on frameworks and deploys tell to copy, started as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.support.children import ROOT
from tests.support.pages import blocks_of
from tests.support.served import Served
from tests.support.waiting import eventually
from tests.support.web import Site, free_port

GUIDES = ROOT / "docs" / "guides"
BIN = Path(sys.executable).parent
MISSING = [
    each for each in ("uvicorn", "gunicorn", "flask", "django-admin") if not (BIN / each).exists()
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}"),
]
PORT_OPTION = {"uvicorn": "--port", "flask": "--port", "gunicorn": "--bind"}


def page(name: str) -> str:
    return (GUIDES / name).read_text(encoding="utf-8")


def blocks(name: str, info: str) -> list[str]:
    return [block.source for block in blocks_of(page(name)) if block.info == info]


SERVERS = [
    line.removeprefix("$ ")
    for name in ("fastapi.md", "flask.md")
    for block in blocks(name, "console")
    for line in block.splitlines()
    if line.startswith(tuple(f"$ {server} " for server in PORT_OPTION))
]


@pytest.mark.parametrize(
    "command",
    [pytest.param(each, marks=[pytest.mark.daily] if n else []) for n, each in enumerate(SERVERS)],
)
def test_an_example_is_served_as_its_guide_says(tmp_path: Path, command: str) -> None:
    name, *arguments = shlex.split(command)
    port = free_port()
    where = [PORT_OPTION[name], port if name != "gunicorn" else f"127.0.0.1:{port}"]
    env = {"SHOP_JOBS": str(tmp_path / "jobs")}
    with Served(name, *arguments, *where, directory=ROOT, env=env):
        site = Site(port)
        site.until_there()
        status, answer = site.ask("/orders?to=ada@example.org", "POST")
        assert status == 202
        eventually(lambda: site.ask(f"/jobs/{answer['job']}")[1]["status"] == "completed")


def test_there_are_servers_in_the_guides() -> None:
    assert {shlex.split(each)[0] for each in SERVERS} == set(PORT_OPTION)


# ── Django: a new project, with what is to be pasted into it ─────────────────────────────────────


def project(tmp_path: Path, settings: str, tasks: str) -> None:
    with Served("django", "startproject", "shop", ".", directory=tmp_path) as made:
        assert made.end() == 0, made.output
    with (tmp_path / "shop" / "settings.py").open("a") as file:
        file.write(f'\nINSTALLED_APPS += ["shop"]\n{settings}')
    (tmp_path / "shop" / "tasks.py").write_text(tasks)


def manage(tmp_path: Path, *arguments: str) -> str:
    with Served("manage", *arguments, directory=tmp_path) as command:
        code = command.end()
        assert code == 0, command.output
        return command.output


def completed(tmp_path: Path) -> int:
    found = json.loads(manage(tmp_path, "jobqueue", "inspect", "--json"))
    count: int = sum(found["jobs"]["completed"].values())
    return count


def calls(code: str) -> str:
    """The lines in a program that has an order, and waits for the jobs that are due."""
    return (
        "from types import SimpleNamespace\n"
        "from shop.tasks import send_mail\n"
        "from jobqueue.contrib.django.queues import queues\n"
        f"order = SimpleNamespace(pk=17)\n{code}\n"
        "from tests.support.waiting import eventually\n"
        "eventually(lambda: queues.get().metrics().completed == 1)\n"
    )


def test_tasks_of_ours_are_pasted_into_a_django_project(tmp_path: Path) -> None:
    settings, tasks, code = blocks("django.md", "text")[3:6]
    assert "JOBQUEUE = " in settings
    project(tmp_path, settings, tasks)
    manage(tmp_path, "check")
    manage(tmp_path, "shell", "-c", calls(code))
    assert completed(tmp_path) == 1


def test_djangos_tasks_are_pasted_into_a_project(tmp_path: Path) -> None:
    pytest.importorskip("django.tasks", reason="needs Django 6, so Python 3.12")
    settings, tasks, code = blocks("django.md", "text")[:3]
    assert "TASKS = " in settings
    project(tmp_path, settings, tasks)
    manage(tmp_path, "check")
    manage(tmp_path, "shell", "-c", calls(code))
    assert completed(tmp_path) == 1


# ── deploys: the commands of the unit, the container, the pod and the Procfile ───────────────────


def commands() -> dict[str, str]:
    text = page("deploys.md")
    found = {
        "systemd": re.search(r"^ExecStart=(.*)$", text, re.MULTILINE),
        "container": re.search(r"^CMD (\[.*\])$", text, re.MULTILINE),
        "Kubernetes": re.search(r"^ *args: \[(.*)\]$", text, re.MULTILINE),
        "Procfile": re.search(r"^worker: (.*)$", text, re.MULTILINE),
    }
    return {name: match[1] for name, match in found.items() if match}


@pytest.mark.parametrize(
    "kind",
    [
        "systemd",
        *(
            pytest.param(each, marks=pytest.mark.daily)
            for each in ("container", "Kubernetes", "Procfile")
        ),
    ],
)
def test_the_command_of_a_deploy_runs_and_ends(tmp_path: Path, kind: str) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "jobs.py").write_text(blocks("deploys.md", "python")[0])
    command = commands()[kind]
    if kind == "container":
        words = json.loads(command)
    elif kind == "Kubernetes":
        words = [each.strip().strip('"') for each in command.split(",")]
    else:
        words = shlex.split(command)
    directory = str(tmp_path / "lib")
    places = ("${STATE_DIRECTORY}", "$DATA_DIRECTORY", "/var/lib/shop")
    for place in places:
        words = [each.replace(place, directory) for each in words]
    assert Path(words[0]).name == "jobqueue"
    with Served("jobqueue.cli", *words[1:], directory=tmp_path) as worker:
        worker.until("serving")
        assert worker.end(signal.SIGTERM) == 0
    assert (tmp_path / "lib" / "jobs").is_dir()
