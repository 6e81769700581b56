"""The examples under real servers with four worker processes: one queue for all of them.

Each order that was accepted runs, and each status is known to each worker: while all goes well,
when a worker is killed amid orders, when the server is stopped, and at a rolling restart.
"""

from __future__ import annotations

import http.client
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobqueue import Status
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.names import LOCK_NAME
from tests.support.children import ROOT
from tests.support.left_out import often
from tests.support.served import SERVED_SECONDS_MAX, Served, descendants
from tests.support.waiting import PATIENCE, eventually
from tests.support.web import Site, free_port, statuses_after_a_start

pytest.importorskip("msgspec", reason="what processes say to each other is written by msgspec")
BIN = Path(sys.executable).parent
MISSING = [each for each in ("uvicorn", "gunicorn", "flask") if not (BIN / each).exists()]
pytestmark = [
    pytest.mark.usefixtures("traced"),
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}"),
]

WORKERS = 4
ORDERS, BEFORE = often(60, 120), 30
"""How many there are, and after how many something happens."""
COMMANDS: dict[str, tuple[object, ...]] = {
    "fastapi": ("uvicorn", "tests.support.shops:fastapi", "--workers", WORKERS, "--port"),
    "litestar": ("uvicorn", "tests.support.shops:litestar", "--workers", WORKERS, "--port"),
    "flask": ("gunicorn", "tests.support.shops:flask", "-w", WORKERS, "--bind"),
    "django": ("gunicorn", "tests.support.shops:django", "-w", WORKERS, "--preload", "--bind"),
}


@dataclass
class Shop:
    """An example that is served by several processes.

    Attributes:
        log: of the queue that they have together.
    """

    server: Served
    site: Site
    log: Path

    def order(self, _: object = None) -> str | None:
        """The id of a job; `None` if it was not accepted, or no answer came."""
        try:
            status, answer = self.site.ask("/orders?to=ada", "POST")
        except (OSError, http.client.HTTPException):
            return None
        if status != 202:
            return None
        job: str = answer["job"]
        return job

    def owner(self) -> int:
        """The process that has the log open."""
        owner = Files().owner(os.fspath(self.log / LOCK_NAME))
        assert owner is not None
        assert owner.pid in descendants(self.server.process.pid)
        return owner.pid

    def is_completed(self, job: str) -> bool:
        """Whether one of the workers says so."""
        try:
            status, answer = self.site.ask(f"/jobs/{job}")
        except (OSError, http.client.HTTPException):
            return False
        assert status in (200, 500, 502, 503), answer  # never unknown
        return status == 200 and answer["status"] == "completed"

    def take_orders(self, act: Callable[[], object]) -> list[str]:
        """Those that were accepted, while something happens amid them."""
        with ThreadPoolExecutor(8) as pool:
            orders = [pool.submit(self.order) for _ in range(ORDERS)]
            orders[BEFORE].result(PATIENCE)
            act()
            return [each for order in orders if (each := order.result(60)) is not None]

    def until_each_worker_knows(self, jobs: list[str]) -> None:
        """Wait until as many processes as there are workers have told of each of these jobs."""
        told: dict[str, set[int]] = {job: set() for job in jobs}

        def ask(job: str) -> None:
            pid, status, answer = self.site.ask_whom(f"/jobs/{job}")
            assert (status, answer["status"]) == (200, "completed")
            told[job].add(pid)

        with ThreadPoolExecutor(8) as pool:

            def ask_all() -> bool:
                list(pool.map(ask, jobs))
                return all(len(pids) >= WORKERS for pids in told.values())

            eventually(ask_all, SERVED_SECONDS_MAX)


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    port = free_port()
    *command, where = COMMANDS[request.param]
    address = port if where == "--port" else f"127.0.0.1:{port}"
    env = {"SHOP_DIRECTORY": str(tmp_path), "SHOP_JOBS": str(tmp_path / "jobs")}
    with Served(*command, where, address, directory=ROOT, env=env) as server:
        shop = Shop(server, Site(port), tmp_path / "jobs")
        shop.site.until_there()
        yield shop


def examples(*in_each_run: str, left_out: str = "") -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "shop",
        [
            pytest.param(each, marks=[] if each in in_each_run else [pytest.mark.daily])
            for each in COMMANDS
            if each != left_out
        ],
        indirect=True,
    )


@examples("fastapi")
def test_a_worker_that_is_killed_amid_orders_loses_none(shop: Shop) -> None:
    """Fault 44: it is the one that runs the jobs; another one goes on, and a new one is started."""
    jobs = shop.take_orders(lambda: os.kill(shop.owner(), signal.SIGKILL))
    assert len(jobs) > ORDERS / 2
    for job in jobs:
        eventually(lambda job=job: shop.is_completed(job), SERVED_SECONDS_MAX)  # type: ignore[misc]  # bound at once
    shop.until_each_worker_knows(jobs[::20])
    shop.server.end(signal.SIGTERM)
    assert statuses_after_a_start(shop.log, jobs) == {Status.COMPLETED}


@examples("flask", left_out="litestar")
def test_a_rolling_restart_amid_orders_loses_none(shop: Shop) -> None:
    """Fault 44: each worker is replaced, also the one that runs the jobs."""
    before = shop.owner()
    jobs = shop.take_orders(lambda: shop.server.process.send_signal(signal.SIGHUP))
    assert len(jobs) > ORDERS / 2
    eventually(lambda: before not in descendants(shop.server.process.pid), SERVED_SECONDS_MAX)
    for job in jobs:
        eventually(lambda job=job: shop.is_completed(job), SERVED_SECONDS_MAX)  # type: ignore[misc]  # bound at once
    shop.until_each_worker_knows(jobs[::20])
    shop.server.end(signal.SIGTERM)
    assert statuses_after_a_start(shop.log, jobs) == {Status.COMPLETED}


@examples(left_out="litestar")
def test_a_server_that_is_stopped_amid_orders_leaves_none_undone(shop: Shop) -> None:
    """Fault 44."""
    jobs = shop.take_orders(lambda: shop.server.process.send_signal(signal.SIGTERM))
    assert len(jobs) >= BEFORE
    shop.server.end()
    assert statuses_after_a_start(shop.log, jobs) == {Status.COMPLETED}
