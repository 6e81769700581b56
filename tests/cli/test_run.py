"""`jobqueue run`, as a process that gets signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from jobqueue import Config, Tasks
from tests.support.served import Served, descendants
from tests.support.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced")]

MODULE = """
import logging
import time

from jobqueue import CONTEXT, JobContext, Tasks

tasks = Tasks()


@tasks.task
def note(name: str) -> None:
    with open("done", "a") as file:
        print(name, file=file)


@tasks.task
def hang(context: JobContext = CONTEXT) -> None:
    context.logger.warning("hanging")
    while True:
        time.sleep(0.01)
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "jobs.py").write_text(MODULE)
    return tmp_path


def put(app: Path, *names: str, hang: bool = False) -> None:
    """Enqueue into the log, as a program that has ended since did."""
    tasks = Tasks()

    @tasks.task(name="note")
    def note(name: str) -> None: ...

    @tasks.task(name="hang")
    def hangs() -> None: ...

    with tasks.open(Config(persist_path=app / "jobs.db"), start=False):
        for name in names:
            note.enqueue(name)
        if hang:
            hangs.enqueue()


def done(app: Path) -> list[str]:
    path = app / "done"
    return path.read_text().split() if path.exists() else []


def work(app: Path, *options: object, env: dict[str, str] | None = None) -> Served:
    return Served(
        "jobqueue.cli", "run", "shop.jobs:tasks", "-p", "jobs.db", *options, directory=app, env=env
    )


def test_it_runs_the_jobs_of_the_log_until_sigterm(app: Path) -> None:
    put(app, "a", "b", "c")
    with work(app) as worker:
        eventually(lambda: sorted(done(app)) == ["a", "b", "c"])
        assert worker.end(signal.SIGTERM) == 0
        assert "SIGTERM: closing" in worker.output
        assert "the queue is closed; " in worker.output


def test_a_second_sigterm_gives_up_at_once_and_the_exit_code_is_1(app: Path) -> None:
    put(app, hang=True)
    with work(app, "--shutdown-timeout", 3600, "--log-format", "json") as worker:
        worker.until("hanging")
        worker.process.send_signal(signal.SIGTERM)
        worker.until("SIGTERM: closing")
        assert worker.end(signal.SIGTERM) == 1
        lines = [json.loads(line) for line in worker.output.splitlines()]
    hanging = next(line for line in lines if line["message"] == "hanging")
    assert (hanging["logger"], hanging["task_name"], hanging["attempt"]) == (
        "jobqueue.job",
        "hang",
        0,
    )
    assert "given up while they ran: 1" in lines[-1]["message"]
    assert lines[-1]["level"] == "warning"


def test_the_next_worker_waits_for_the_one_that_still_drains(app: Path) -> None:
    """As in a deploy that starts the new one before it ends the old one."""
    put(app, "a", hang=True)
    with work(app, "--share", "off", "--shutdown-timeout", 0.5) as old:
        old.until("hanging")
        with work(app, "--share", "off", "--workers", 1) as impatient:
            assert impatient.end() == 3
            assert "--lock-timeout" in impatient.output
        with work(app, "--share", "off", "--lock-timeout", 60) as new:
            assert old.end(signal.SIGTERM) == 1
            new.until("hanging")


def test_a_second_worker_stands_by_and_goes_on_when_the_first_is_killed(app: Path) -> None:
    pytest.importorskip("msgspec", reason="processes speak by it")
    put(app, "a", hang=True)
    with work(app) as first:
        first.until("hanging")
        with work(app) as second, work(app) as third:
            for each in (second, third):
                each.until("stands by")
            first.process.kill()
            eventually(lambda: "hanging" in second.output + third.output)
            idle = third if "hanging" in second.output else second
            assert idle.end(signal.SIGTERM) == 0
            assert "the queue is closed" in idle.output


def test_settings_of_a_client_are_refused(app: Path) -> None:
    (app / "settings.py").write_text(
        "from jobqueue import Config\nconfig = Config(persist_path='jobs.db', share='client')\n"
    )
    with work(app, "--config", "settings") as worker:
        assert worker.end() == 2
        assert "--share auto" in worker.output


def test_a_queue_that_is_opened_as_a_client_is_refused(app: Path) -> None:
    pytest.importorskip("msgspec", reason="processes speak by it")
    (app / "opened.py").write_text(
        "from jobqueue import Config, JobQueue\n"
        "queue = JobQueue(Config(persist_path='jobs.db', share='client'))\n"
    )
    with Served("jobqueue.cli", "run", "opened:queue", directory=app) as worker:
        assert worker.end() == 2
        assert "share='auto' where it is opened" in worker.output


def test_sigterm_ends_a_start_that_waits_for_the_log(app: Path) -> None:
    put(app, hang=True)
    with work(app) as old:
        old.until("hanging")
        with work(app, "--share", "off", "--lock-timeout", 3600) as waiting:
            eventually(lambda: _handles(waiting.process.pid, signal.SIGTERM))
            assert waiting.end(signal.SIGTERM) == 0


def _handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("no /proc here")
    line = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(line.split()[1], 16) & 1 << number - 1)


def test_systemd_is_told_of_the_start_and_the_end(app: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(app / "notify"))
        receiver.settimeout(60)
        with work(app, env={"NOTIFY_SOCKET": str(app / "notify")}) as worker:
            assert receiver.recv(100) == b"READY=1"
            assert worker.end(signal.SIGTERM) == 0
        assert receiver.recv(100) == b"STOPPING=1"


def test_as_process_1_it_ends_by_sigterm(app: Path) -> None:
    """The kernel delivers no signal to process 1 that it has no handler for."""
    prefix = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no process namespaces here: {tried.stderr.strip()}")
    put(app, "a")
    with Served(
        "jobqueue.cli", "run", "shop.jobs", "-p", "jobs.db", directory=app, prefix=prefix
    ) as unshare:
        eventually(lambda: done(app) == ["a"], 60)
        (worker,) = descendants(unshare.process.pid)
        os.kill(worker, signal.SIGTERM)
        assert unshare.end() == 0
        assert "SIGTERM: closing" in unshare.output


def test_reload_starts_it_anew_when_the_code_changes(app: Path) -> None:
    pytest.importorskip("watchfiles")
    module = app / "shop" / "jobs.py"
    with work(app, "--reload") as supervisor:
        supervisor.until("serving")
        module.write_text("no python")
        supervisor.until("SyntaxError")
        supervisor.until("it starts anew on a change")
        module.write_text(MODULE.replace("print(name,", "print(name.upper(),"))
        supervisor.until("serving", times=2)
        assert "changed: shop/jobs.py" in supervisor.output
        assert supervisor.end(signal.SIGTERM) == 0
    put(app, "a")
    with work(app) as worker:
        eventually(lambda: done(app) == ["A"])
        worker.end(signal.SIGTERM)


def test_a_worker_whose_reloader_was_killed_ends(app: Path) -> None:
    pytest.importorskip("watchfiles")
    with work(app, "--reload") as supervisor:
        supervisor.until("serving")
        (worker,) = descendants(supervisor.process.pid)
        supervisor.process.kill()
        eventually(lambda: not Path(f"/proc/{worker}").exists(), PATIENCE)
    deadline = time.monotonic() + PATIENCE
    put(app)  # the log is free
    assert time.monotonic() < deadline


# ── what Prometheus sees ─────────────────────────────────────────────────────────────────────────


def scrape(worker: Served) -> str:
    """What the worker serves, on the port that it told."""
    eventually(lambda: "/metrics" in worker.output)
    url = next(word for word in worker.output.split() if word.endswith("/metrics"))
    with urllib.request.urlopen(url, timeout=PATIENCE) as page:
        text: str = page.read().decode()
    return text


def test_it_serves_metrics_to_prometheus_on_the_loopback_alone(app: Path) -> None:
    pytest.importorskip("prometheus_client", reason="needs the extra 'prometheus'")
    put(app, "a", "b")
    with work(app, "--prometheus", 0) as worker:
        eventually(lambda: len(done(app)) == 2)
        sample = (
            'jobqueue_jobs_completed_total{handler="note",priority="medium",queue="default"} 2.0'
        )
        eventually(lambda: sample in scrape(worker))
        assert "http://127.0.0.1:" in worker.output
        assert worker.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("where", ["x", "localhost", "1:2:x", "65536", "-1", ""])
def test_what_is_no_port_for_prometheus_is_refused(app: Path, where: str) -> None:
    pytest.importorskip("prometheus_client", reason="needs the extra 'prometheus'")
    with work(app, f"--prometheus={where}") as worker:
        assert worker.end() == 2
        assert f"--prometheus takes PORT or HOST:PORT, not {where!r}" in worker.output


def test_a_port_for_prometheus_that_is_taken_is_told(app: Path) -> None:
    pytest.importorskip("prometheus_client", reason="needs the extra 'prometheus'")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with work(app, "--prometheus", taken.getsockname()[1]) as worker:
            assert worker.end() == 5
            assert "cannot be served" in worker.output
