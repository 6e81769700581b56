"""What the guides on frameworks and deploys tell to copy, started as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

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
ADDRESS = {
    "uvicorn": ("--port", "{port}"),
    "flask": ("--port", "{port}"),
    "gunicorn": ("--bind", "127.0.0.1:{port}"),
    "python": ("127.0.0.1:{port}",),
}
"""What has each server listen on a port of the test's, behind the words of the guide."""


def page(name: str) -> str:
    return (GUIDES / name).read_text(encoding="utf-8")


def blocks(name: str, info: str) -> list[str]:
    return [block.source for block in blocks_of(page(name)) if block.info == info]


# ── tests of one's own ───────────────────────────────────────────────────────────────────────────


def test_the_tests_of_the_page_on_fastapi_pass(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(blocks("fastapi.md", "python")[0])
    told = [each for each in blocks("fastapi.md", "text") if "def test_" in each]
    (tmp_path / "test_shop.py").write_text("\n".join(told))
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore"]
    command = [sys.executable, "-m", "pytest", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "shop.jobs").exists()


# ── what a console shows: a server, and what is asked of it ──────────────────────────────────────


@dataclass(frozen=True)
class Console:
    """A block of a guide that starts a server.

    Attributes:
        guide: the name of the page.
        lines: those that are typed, each with what is answered.
    """

    guide: str
    lines: tuple[tuple[str, str], ...]

    @property
    def server(self) -> str:
        return self.lines[0][0]


def consoles() -> list[Console]:
    found = []
    for name in ("fastapi.md", "flask.md", "django.md"):
        for block in blocks(name, "console"):
            typed = [part.partition("\n") for part in block.removeprefix("$ ").split("\n$ ")]
            lines = tuple((command, answer.strip()) for command, _, answer in typed)
            if lines[0][0].split()[0] in ADDRESS:
                found.append(Console(name, lines))
    return found


CONSOLES = [
    pytest.param(
        each,
        id=f"{each.guide}: {each.server}",
        marks=[pytest.mark.daily] if "examples." in each.server else [],
    )
    for each in consoles()
]


@pytest.mark.parametrize("console", CONSOLES)
def test_a_server_is_started_and_asked_as_its_guide_says(tmp_path: Path, console: Console) -> None:
    """The page's first program is pasted into shop.py; the examples are where they are."""
    (tmp_path / "shop.py").write_text("".join(blocks(console.guide, "python")[:1]))
    name, *words = shlex.split(console.server.removeprefix("python -m "))
    server = "python" if console.server.startswith("python") else name
    port = free_port()
    where = [each.format(port=port) for each in ADDRESS[server]]
    env = {"SHOP_JOBS": str(tmp_path / "jobs"), "SHOP_DIRECTORY": str(tmp_path)}
    directory = ROOT if "examples." in console.server else tmp_path
    with Served(name, *words, *where, directory=directory, env=env) as served:
        site, job = Site(port), ""
        site.until_there()
        for command, answer in console.lines[1:]:
            if command.startswith("curl"):
                job = asked(site, command, answer, job)
            else:
                with Served(*command.split()[2:], directory=directory, env=env) as other:
                    assert other.end() == 0, other.output
        if directory == tmp_path:
            served.until("a mail to ada@example.org")
        elif not job:
            job = asked(site, ORDER, '{"job": "…"}', "")
        if directory == ROOT:
            eventually(lambda: site.ask(f"/jobs/{job}")[1]["status"] == "completed")


ORDER = "curl -X POST 'http://127.0.0.1/orders?to=ada@example.org'"


def asked(site: Site, command: str, answer: str, job: str) -> str:
    """Ask as `curl` does, until the answer is that of the guide; the id of the job that is in it.

    `…` in the guide stands for the rest of an id.
    """
    address = urlsplit(re.sub(r"\w+…$", job, shlex.split(command)[-1]))
    path = f"{address.path}?{address.query}"
    if "POST" not in command:
        eventually(lambda: site.ask(path)[1] == json.loads(answer))
        return job
    status, found = site.ask(path, "POST")
    assert status == 202
    assert found.keys() == json.loads(answer).keys() == {"job"}
    return str(found["job"])


def test_each_guide_begins_with_a_server_and_an_order() -> None:
    for guide in ("fastapi.md", "flask.md", "django.md"):
        first = next(each for each in consoles() if each.guide == guide)
        assert [line.split()[0] for line, _ in first.lines][1] == "curl"


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
