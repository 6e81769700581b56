"""What `module:name` stands for, and what is said of what stands for nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue import Config, JobQueue, Tasks
from jobqueue.cli import main
from jobqueue.cli.exits import CommandError, Exit
from jobqueue.cli.target import find, find_config

MODULE = """
from jobqueue import Config, JobQueue, Tasks

tasks = Tasks()
config = Config(num_workers=7)

@tasks.task
def mail() -> None: ...

def make() -> JobQueue:
    return JobQueue(handler=len)

def needs(path): ...
def gives_none(): ...

class place:
    inner = tasks
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "shop_jobs.py").write_text(MODULE)
    (tmp_path / "shop_broken.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("shop_jobs", "shop_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("target", ["shop_jobs:tasks", "shop_jobs", "shop_jobs:place.inner"])
def test_tasks_are_found(target: str) -> None:
    assert isinstance(find(target), Tasks)


def test_a_function_makes_the_queue() -> None:
    queue = find("shop_jobs:make")
    assert isinstance(queue, JobQueue)
    queue.close()


def test_settings_are_found() -> None:
    assert find_config("shop_jobs") == Config(num_workers=7)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("", "write module:name"),
        ("shop_jobs:", "write module:name"),
        ("shop_jbos:tasks", "no module 'shop_jbos'.*--app-dir"),
        ("shop_jobs.py:tasks", "without .py"),
        ("shop_broken", "could not be imported.*not_there_at_all"),
        ("shop_jobs:taks", "has no 'taks'.*in there is shop_jobs:tasks"),
        ("shop_jobs:place.outer", "has no 'place.outer'"),
        ("shop_jobs:config", "neither a Tasks nor a JobQueue.*shop_jobs:tasks"),
        ("shop_jobs:mail", "name the Tasks that it was declared with"),
        ("shop_jobs:needs", "could not be called without arguments.*TypeError"),
        ("shop_jobs:gives_none", "a function that made None"),
    ],
)
def test_what_names_no_queue_is_told(target: str, told: str) -> None:
    with pytest.raises(CommandError, match=f"(?s){told}") as caught:
        find(target)
    assert caught.value.code is Exit.USAGE


@pytest.mark.parametrize("target", ["shop_jobs:tasks", "shop_jobs:settings", "shop_jobs:Config"])
def test_settings_that_are_there_are_named(target: str) -> None:
    with pytest.raises(CommandError, match=r"; in there is shop_jobs:config$"):
        find_config(target)


def test_what_is_no_config_is_told() -> None:
    with pytest.raises(CommandError, match=r"name a jobqueue\.Config"):
        find_config("shop_jobs:tasks")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["shop_jobs:nothing"], "has no 'nothing'"),
        (["shop_jobs", "--workers", "0"], "num_workers must be"),
        (["shop_jobs:make", "--workers", "2"], "leave out --workers"),
        (["shop_jobs", "--reload", "--reload-dir", "/nowhere/at/all"], "there is no directory"),
    ],
)
def test_the_command_ends_with_a_line_that_says_what_to_do(
    options: list[str],
    told: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "--reload" in options:
        pytest.importorskip("watchfiles", reason="needs the extra 'reload'")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("jobqueue.cli.worker.set_up", lambda *_: None)
    monkeypatch.setattr("jobqueue.cli.reload.set_up", lambda *_: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["run", *options]) == Exit.USAGE
    error = capfd.readouterr().err
    assert error.startswith("jobqueue run: ")
    assert told in error


@pytest.mark.parametrize("command", [["run", "--help"], ["--help"]])
def test_the_help_tells_of_it(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(command)
    assert "run the jobs of a queue" in capsys.readouterr().out.lower()
