"""`jobqueue web` and `jobqueue run --web`: what is shown, and what is refused."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("starlette", reason="the dashboard is made of it")

from jobqueue.cli import main
from jobqueue.final import Config, Job, JobQueue, RejectJobError, Status
from jobqueue.final.serving import Signals
from tests.cli.test_run import MODULE
from tests.support.served import Served
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.logs import LogDirectory

    Visit = Callable[[str], None]
    Web = Callable[..., dict[str, Any]]

SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


def reject(payload: bytes) -> None:
    raise RejectJobError(f"no {payload.decode()}")


def get(url: str, path: str = "") -> str:
    with urllib.request.urlopen(url + path, timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
    return text


def post(url: str, path: str, **fields: str) -> int:
    data = urllib.parse.urlencode(fields).encode()
    request = urllib.request.Request(url + path, data=data, headers=SAME_SITE)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.fixture(autouse=True)
def _is_not_served_by_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Signals, "wait", lambda _: pytest.fail("it is served"))


@pytest.fixture(autouse=True)
def _records_are_made_as_before() -> Iterator[None]:
    """The command says what of them it wants, and its process ends; this one goes on."""
    logger = logging.getLogger("jobqueue")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Web:
    """Runs `jobqueue web` in this process; in place of a wait for a signal, it is visited."""

    def run(*arguments: str, visit: Visit) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def wait(_signals: object) -> int:
            found.append(json.loads(capsys.readouterr().out))
            visit(found[0]["url"])
            return signal.SIGINT

        monkeypatch.setattr(Signals, "wait", wait)
        assert main(["web", "--json", "--port", "0", *arguments]) == 0
        return found[0]

    return run


@pytest.fixture
def left(log: LogDirectory) -> LogDirectory:
    """A log that a program has left, with a dead letter and a job that waits."""
    with JobQueue(Config(persist_path=log.path), handlers={"mail": reject, "len": len}) as jq:
        assert jq.enqueue(Job(b"ink", id="bad-1", handler="mail")).wait(PATIENCE) is Status.FAILED
        jq.pause()
        jq.enqueue(Job(b"secret", id="waits-1", handler="len"))
    return log


def test_a_log_that_is_closed_is_shown_and_not_changed(web: Web, left: LogDirectory) -> None:
    before = left.content()

    def visit(url: str) -> None:
        assert "bad-1" in get(url, "jobs?status=failed")
        assert "RejectJobError" in get(url, "dead")
        assert "No process runs this queue" in get(url)
        page = get(url, "job?id=waits-1")
        assert "queued" in page
        assert "secret" not in page
        for path in ("", "jobs", "dead", "handlers", "periodic", "job?id=bad-1"):
            page = get(url, path)
            assert not [each for each in ("change", "steer", "tick") if f'action="{each}"' in page]
        assert post(url, "change", do="requeue", id="bad-1") == 403

    told = web(str(left.path), visit=visit)
    assert (told["shows"], told["access"]) == ("stopped", "read")
    assert left.content() == before


def test_payloads_are_shown_if_that_is_asked_for(web: Web, left: LogDirectory) -> None:
    def visit(url: str) -> None:
        assert "secret" in get(url, "job?id=waits-1")

    web(str(left.path), "--payloads", visit=visit)


def test_a_log_that_is_closed_cannot_be_written_to(
    left: LogDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["web", str(left.path), "--access", "write"]) == 7
    assert "leave out --access write" in capsys.readouterr().err


def test_of_a_queue_that_runs_it_is_a_client(web: Web, log: LogDirectory) -> None:
    config = Config(persist_path=log.path, control=True)
    with JobQueue(config, handlers={"mail": reject}) as jq:
        jq.enqueue(Job(id="bad", handler="mail")).wait(PATIENCE)

        def look(url: str) -> None:
            assert "bad" in get(url, "dead")
            assert post(url, "change", do="discard", id="bad") == 403

        assert web(str(log.path), visit=look)["shows"] == "live"
        assert jq.status("bad") is Status.FAILED

        def discard(url: str) -> None:
            assert 'action="change"' in get(url, "dead")
            assert post(url, "change", do="discard", id="bad") == 200
            assert post(url, "steer", do="pause", handler="mail") == 200

        assert web(str(log.path), "--access", "write", visit=discard)["access"] == "write"
        assert not jq.dead_letters()
        assert jq.paused().handlers == {"mail"}


def test_a_queue_that_takes_no_commands_is_told_how_to(
    log: LogDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    with JobQueue(Config(persist_path=log.path)):
        assert main(["web", str(log.path)]) == 3
    assert "Config(control=True)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name the log's directory"),
        (["--demo", "somewhere"], "name the log's directory (somewhere) or give --demo, not both"),
        (["nowhere"], "there is no such directory"),
        (["--demo", "--host", "0.0.0.0"], "--access"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_wrong_usage_ends_in_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["web", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_ends_in_5(
    left: LogDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["web", str(left.path), "--port", str(taken.getsockname()[1])]) == 5
    assert "cannot be served at 127.0.0.1" in capsys.readouterr().err


def test_without_what_it_is_made_of_it_says_what_to_install(
    left: LogDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [each for each in sys.modules if each.startswith("jobqueue.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette.requests", None)
    assert main(["web", str(left.path)]) == 2
    assert "pip install 'jobqueue[cli,web]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.daily)],
    ids=lambda each: each.name,
)
def test_the_demonstration_is_served_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with Served(
        "jobqueue.cli", "web", "--demo", "--port", 0, "--json", directory=tmp_path,
        env={"TMPDIR": str(tmp_path)},
    ) as served:  # fmt: skip
        served.until("\n")
        told = json.loads(served.output)
        assert told["access"] == "write"
        # Its retries take some seconds by themselves.
        eventually(lambda: "sync_crm" in get(told["url"], "dead"), 3 * PATIENCE)
        assert list(tmp_path.glob("jobqueue-demo-*"))
        assert served.end(number) == 0
        assert len(served.output.splitlines()) == 1
    assert not list(tmp_path.glob("jobqueue-demo-*"))


@pytest.mark.slow
def test_a_worker_serves_its_own(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(MODULE)
    with Served("jobqueue.cli", "run", "tasks", "--web", 0, "--json", directory=tmp_path) as served:
        served.until("the dashboard is at ")
        line = next(each for each in served.output.splitlines() if "dashboard" in each)
        url = json.loads(line)["message"].rpartition(" ")[2]
        assert "note" in get(url, "handlers")
        assert served.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--web", "tasks"], "write TARGET before --web"),
        (["tasks", "--web", "70000"], "is no port"),
    ],
    ids=" ".join,
)
def test_a_wrong_port_is_wrong_usage(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run", *arguments])
    assert said in capsys.readouterr().err
