"""The example in FastAPI under real servers: the jobs of each order that was accepted run."""

from __future__ import annotations

import http.client
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobqueue import Status
from tests.support.children import ROOT
from tests.support.served import Served
from tests.support.waiting import PATIENCE, eventually
from tests.support.web import Site, free_port, statuses_after_a_start

BIN = Path(sys.executable).parent
MISSING = [each for each in ("uvicorn", "gunicorn", "hypercorn") if not (BIN / each).exists()]
pytestmark = [
    pytest.mark.usefixtures("traced"),
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}"),
]

APP = "examples.fastapi_app:app"
SERVERS = {
    "uvicorn": ("uvicorn", APP, "--port"),
    "gunicorn": ("gunicorn", APP, "-k", "asgi", "--bind"),
    "hypercorn": ("hypercorn", APP, "--bind"),
}


def serve(tmp_path: Path, name: str, *options: object) -> tuple[Served, Site]:
    port = free_port()
    *command, where = SERVERS[name]
    address = port if where == "--port" else f"127.0.0.1:{port}"
    server = Served(
        *command,
        where,
        address,
        *options,
        directory=ROOT,
        env={"SHOP_JOBS": str(tmp_path / "jobs")},
    )
    return server, Site(port)


def order(site: Site) -> str | None:
    """The id of a job; `None` if the server is not there any more."""
    try:
        status, answer = site.ask("/orders?to=ada", "POST")
    except (OSError, http.client.HTTPException):
        return None
    if status != 202:
        return None
    job: str = answer["job"]
    return job


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("uvicorn", signal.SIGTERM),
        ("uvicorn", signal.SIGKILL),
        pytest.param("gunicorn", signal.SIGTERM, marks=pytest.mark.daily),
        pytest.param("hypercorn", signal.SIGTERM, marks=pytest.mark.daily),
    ],
)
def test_a_signal_amid_orders_loses_none_that_was_accepted(
    tmp_path: Path, name: str, number: signal.Signals
) -> None:
    server, site = serve(tmp_path, name)
    with server:
        site.until_there()
        first = order(site)
        eventually(lambda: site.ask(f"/jobs/{first}")[1]["status"] == "completed")
        with ThreadPoolExecutor(4) as pool:
            orders = [pool.submit(order, site) for _ in range(200)]
            orders[20].result(PATIENCE)
            server.process.send_signal(number)
            ids = [each for order in orders if (each := order.result(PATIENCE)) is not None]
        server.end()
        assert "Traceback" not in server.output
    assert len(ids) >= 20
    statuses = statuses_after_a_start(tmp_path / "jobs", ids)
    assert statuses == {Status.COMPLETED}


def test_under_a_reloader_the_worker_has_the_log_and_a_new_one_gets_it(tmp_path: Path) -> None:
    """The reloader's own process never opens it."""
    watched = tmp_path / "watched"
    watched.mkdir()
    server, site = serve(tmp_path, "uvicorn", "--reload", "--reload-dir", watched)
    with server:
        site.until_there()
        first = order(site)
        (watched / "changed.py").write_text("")
        server.until("Reloading")
        server.until("Application startup complete", times=2)
        site.until_there()
        eventually(lambda: site.ask(f"/jobs/{first}")[1]["status"] == "completed")
        server.end(signal.SIGTERM)
        assert "LogLockedError" not in server.output
