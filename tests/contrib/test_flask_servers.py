"""The example in Flask under real servers, and its own worker."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest

pytest.importorskip("flask", reason="needs the extra 'flask'")

import examples.flask_app
from jobqueue import Config, Status
from tests.support.children import ROOT
from tests.support.served import SERVED_SECONDS_MAX, Served
from tests.support.waiting import eventually
from tests.support.web import Site, free_port, statuses_after_a_start

BIN = Path(sys.executable).parent
MISSING = [each for each in ("flask", "gunicorn") if not (BIN / each).exists()]
pytestmark = [
    pytest.mark.usefixtures("traced"),
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}"),
]
APP = "examples.flask_app:create_app()"


def order(site: Site) -> str:
    status, answer = site.ask("/orders?to=ada", "POST")
    assert status == 202
    job: str = answer["job"]
    return job


def until_done(site: Site, job: str) -> None:
    eventually(lambda: site.ask(f"/jobs/{job}")[1]["status"] == "completed")


@pytest.mark.parametrize(
    "options",
    [["-k", "sync", "--preload"], pytest.param(["-k", "gthread"], marks=pytest.mark.daily)],
    ids=" ".join,
)
def test_gunicorns_worker_opens_it_and_closes_it_at_its_end(
    tmp_path: Path, options: list[str]
) -> None:
    port, jobs = free_port(), tmp_path / "jobs"
    bind = f"127.0.0.1:{port}"
    with Served(
        "gunicorn", APP, "--bind", bind, *options, directory=ROOT, env={"SHOP_JOBS": str(jobs)}
    ) as server:
        site = Site(port)
        site.until_there()
        ids = [order(site) for _ in range(10)]
        until_done(site, ids[0])
        assert server.end(signal.SIGTERM) == 0
    assert statuses_after_a_start(jobs, ids) == {Status.COMPLETED}


def test_the_applications_own_worker_runs_its_jobs_until_sigterm(tmp_path: Path) -> None:
    env = {"SHOP_JOBS": str(tmp_path / "jobs"), "FLASK_APP": "examples.flask_app"}
    with examples.flask_app.tasks.open(Config(persist_path=tmp_path / "jobs"), start=False):
        examples.flask_app.send_mail.enqueue("ada")
    with Served("flask", "jobqueue", "run", directory=ROOT, env=env) as worker:
        eventually(lambda: _completed(env) == 1, SERVED_SECONDS_MAX)
        assert worker.end(signal.SIGTERM) == 0
        assert "the queue is closed" in worker.output


def _completed(env: dict[str, str]) -> int:
    with Served("flask", "jobqueue", "inspect", "--json", directory=ROOT, env=env) as inspect:
        inspect.end()
        found = json.loads(inspect.output)
    count: int = found["jobs"]["completed"]["medium"]
    return count


def test_under_the_debug_reloader_the_new_process_gets_the_log(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "flask_app.py", tmp_path / "shop_app.py")
    # The reloader that looks at files, also if watchdog is there: that one watches all that is
    # installed, for which the kernel's queue of events may be too short on a busy machine.
    (tmp_path / "watchdog.py").write_text("raise ImportError")
    port = free_port()
    env = {"SHOP_JOBS": str(tmp_path / "jobs"), "FLASK_APP": "shop_app"}
    with Served("flask", "--debug", "run", "--port", port, directory=tmp_path, env=env) as server:
        site = Site(port)
        site.until_there()
        first = order(site)
        app = tmp_path / "shop_app.py"
        app.write_text(app.read_text() + "\n# changed\n")
        server.until("Restarting", 2)
        site.until_there()
        until_done(site, first)
        server.process.send_signal(signal.SIGINT)
        assert "LogLockedError" not in server.output
