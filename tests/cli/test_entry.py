"""The package without rich, in processes that cannot import it."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.logs import job, segment

if TYPE_CHECKING:
    from tests.support.logs import LogDirectory

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if f"{{name}}.".startswith("{missing}."):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
AS_A_SCRIPT = "from jobqueue.cli import main; sys.exit(main())"
AS_A_MODULE = "import runpy; runpy.run_module('jobqueue.cli', run_name='__main__', alter_sys=True)"
A_QUEUE = """
from jobqueue import Config, Job, JobQueue
with JobQueue(Config(persist_path=sys.argv[1]), handler=len) as jq:
    print(jq.enqueue(Job(b"four")).result(timeout=60))
with JobQueue(Config(persist_path=sys.argv[1]), handler=len) as jq:
    print(jq.metrics().completed)
assert "rich" not in sys.modules
"""


def run_without(missing: str, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing) + program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("program", [AS_A_SCRIPT, AS_A_MODULE], ids=["script", "module"])
@pytest.mark.parametrize("options", [("log", "verify"), ("log", "cat", "--json")])
def test_without_rich_the_command_says_what_to_install(
    log: LogDirectory, program: str, options: tuple[str, ...]
) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    ended = run_without("rich", program, *options, str(log.path))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "jobqueue: this command prints with rich, which is not installed: "
        "pip install 'jobqueue[cli]'\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "extras"),
    [(("web", "--demo"), "cli,web"), (("postgres", "verify"), "cli,postgres")],
)
def test_without_rich_all_that_a_command_needs_is_named(
    options: tuple[str, ...], extras: str
) -> None:
    ended = run_without("rich", AS_A_SCRIPT, *options)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith(f"pip install 'jobqueue[{extras}]'\n")


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--help",), ("log", "cat", "--help")])
def test_without_rich_there_is_help(options: tuple[str, ...]) -> None:
    ended = run_without("rich", AS_A_SCRIPT, *options)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("usage: jobqueue")


@pytest.mark.slow
def test_another_module_that_is_missing_is_not_taken_for_rich() -> None:
    ended = run_without("jobqueue.cli.live", AS_A_SCRIPT, "log", "verify", "x")
    assert ended.returncode == 1
    assert "No module named 'jobqueue.cli.live'" in ended.stderr
    assert "pip install" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["rich", "nothing"])
def test_a_queue_with_a_log_needs_no_rich_and_imports_none(log: LogDirectory, missing: str) -> None:
    ended = run_without(missing, A_QUEUE, str(log.path))
    assert (ended.returncode, ended.stdout) == (0, "4\n0\n"), ended.stderr


def test_nothing_is_installed_with_the_package_but_msgspec() -> None:
    required = importlib.metadata.requires("jobqueue") or []
    assert [line for line in required if ";" not in line] == ["msgspec>=0.20"]
