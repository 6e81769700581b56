"""The dashboard mounted under a path, within each framework: its pages and links are found."""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'fastapi'")
pytest.importorskip("flask", reason="needs the extra 'flask'")
pytest.importorskip("a2wsgi", reason="needs the extra 'wsgi'")
pytest.importorskip("litestar", reason="needs litestar")
pytest.importorskip("httpx", reason="needs httpx")
pytest.importorskip("django", reason="needs the extra 'django'")

from tests.support import django_project
from tests.support.asgi_client import AsgiClient
from tests.support.waiting import eventually

django_project.set_up()

from django.core.management import call_command
from django.test import Client, override_settings
from fastapi import FastAPI
from flask import Flask
from litestar import Litestar
from litestar.testing import TestClient as LitestarClient
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from werkzeug.test import Client as WsgiClient
from werkzeug.test import create_environ

from jobqueue import JobQueue, Tasks
from jobqueue.contrib.asgi import lifespan
from jobqueue.contrib.django.queues import queues
from jobqueue.contrib.django.web import dashboard as django_dashboard
from jobqueue.contrib.django.web import mount_wsgi
from jobqueue.contrib.flask import JobQueueExtension

pytestmark = [pytest.mark.slow]

Get = Callable[[str], tuple[int, str, str]]
"""Asks for an address; gives the status, the page, and the address after redirects."""
PREFIX = "/back/jobs"


def tasks() -> Tasks:
    made = Tasks()

    @made.task(name="greet")
    def greet(name: str) -> str:
        return f"hello {name}"

    return made


def who(request: Any) -> str:
    return "read" if request.headers.get("x-who") != "nobody" else "none"


def by(client: Any) -> Get:
    def get(path: str) -> tuple[int, str, str]:
        answer = client.get(path)
        while answer.status_code in {303, 307}:
            path = urljoin(path, answer.headers["location"])
            answer = client.get(path)
        return answer.status_code, answer.text, path

    return get


def starlette() -> Iterator[Get]:
    async def everything(_: Any) -> PlainTextResponse:
        return PlainTextResponse("the application's own")

    app = Starlette(
        routes=[Route("/{path:path}", everything)],
        lifespan=lifespan(tasks(), web=PREFIX, access=who),  # type: ignore[arg-type]
    )
    with AsgiClient(app) as client:
        assert client.get("/elsewhere").text == "the application's own"
        yield by(client)
    assert len(app.router.routes) == 1


def fastapi_below_a_root_path() -> Iterator[Get]:
    app = FastAPI(lifespan=lifespan(tasks(), web=PREFIX, access=who))  # type: ignore[arg-type]
    with AsgiClient(app, root_path="/api") as client:

        def get(path: str) -> tuple[int, str, str]:
            status, page, place = by(client)(f"/api{path}")
            return status, page, place.removeprefix("/api")

        yield get


def fastapi_behind_a_proxy_that_strips() -> Iterator[Get]:
    """The program is under /api, and never gets to see that in a path."""
    app = FastAPI(lifespan=lifespan(tasks(), web=PREFIX, access=who))  # type: ignore[arg-type]
    with AsgiClient(app, root_path="/api") as client:
        yield by(client)


def litestar() -> Iterator[Get]:
    app = Litestar([], lifespan=[lifespan(tasks(), web=PREFIX, access=who)], logging_config=None)  # type: ignore[arg-type]
    for turn in range(2):  # an application may be started anew
        with LitestarClient(app) as client:
            client.follow_redirects = False
            if not turn:
                assert client.get(f"{PREFIX}/").status_code == 200
            else:
                yield by(client)


def flask() -> Iterator[Get]:
    jobs = JobQueueExtension(tasks=tasks(), web=PREFIX, access=who)  # type: ignore[arg-type]
    app = Flask("shop")
    jobs.init_app(app)

    @app.get("/elsewhere")
    def elsewhere() -> str:
        return "the application's own"

    client = WsgiClient(app)
    assert client.get("/elsewhere").text == "the application's own"
    yield by(client)
    with app.app_context():
        jobs.close()


def a2wsgi() -> Iterator[Get]:
    from a2wsgi import ASGIMiddleware
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    from jobqueue.web import dashboard

    with JobQueue(handler=len) as queue:
        pages: Any = dashboard(queue, access=who)  # type: ignore[arg-type]
        carried: Any = ASGIMiddleware(pages)
        app = DispatcherMiddleware(Flask("shop"), {PREFIX: carried})
        yield by(WsgiClient(app))
        pages.close()


@pytest.mark.parametrize(
    "framework",
    [
        *(starlette, fastapi_below_a_root_path, fastapi_behind_a_proxy_that_strips),
        *(litestar, flask, a2wsgi),
    ],
)
def test_all_pages_are_found_by_their_links(framework: Callable[[], Iterator[Get]]) -> None:
    served = framework()
    get = next(served)
    try:
        status, page, place = get(PREFIX)
        assert status == 200
        assert place == f"{PREFIX}/"
        for link in re.findall(r'(?:href|src)="([^"#]+)"', page):
            status, found, _ = get(f"{PREFIX}/{link.removeprefix('./')}")
            assert status == 200, link
            assert found
        assert 'aria-current="page">Jobs<' in get(f"{PREFIX}/jobs")[1]
        assert get(f"{PREFIX}/nothing")[0] == 404
    finally:
        for _ in served:
            pass


# ── Django ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    call_command("migrate", verbosity=0)


def session_of(name: str, *permissions: str) -> str:
    """The cookie of somebody who is logged in, one of the staff."""
    from django.contrib.auth.models import Permission, User

    user, _ = User.objects.get_or_create(username=name, defaults={"is_staff": True})
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return str(client.cookies["sessionid"].value)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    with override_settings(JOBQUEUE={"persist_path": tmp_path / "jobs"}):
        yield queues.get()
        queues.close()


def test_in_django_the_admin_sites_permissions_count(queue: JobQueue) -> None:
    queue.pause()
    app = Starlette(routes=[Mount("/jobs", django_dashboard())])
    looks, acts = (
        session_of("looks", "view_backgroundjob"),
        session_of("acts", "view_backgroundjob", "change_backgroundjob"),
    )
    form = {"do": "resume"}
    with AsgiClient(app) as client:
        assert client.get("/jobs/").status_code == 403
        client.client.cookies.set("sessionid", session_of("staff only"))
        assert client.get("/jobs/").status_code == 403
        client.client.cookies.set("sessionid", looks)
        assert client.get("/jobs/").status_code == 200
        assert client.post("/jobs/steer", form).status_code == 403
        client.client.cookies.set("sessionid", acts)
        assert client.post("/jobs/steer", form).status_code == 303
    assert not queue.paused().all


def test_in_django_by_wsgi(queue: JobQueue) -> None:
    def django(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"the project's own"]

    app = mount_wsgi("/jobs", django)
    client = WsgiClient(app)
    assert client.get("/elsewhere").text == "the project's own"
    assert client.get("/jobs/").status_code == 403
    client.set_cookie("sessionid", session_of("looks", "view_backgroundjob"))
    assert "Lanes" in by(client)("/jobs")[1]
    app.close()


@pytest.mark.parametrize("missing", ["a2wsgi", "jinja2"])
@pytest.mark.parametrize("framework", ["flask", "django"])
def test_by_wsgi_one_extra_is_named_that_brings_all(
    monkeypatch: pytest.MonkeyPatch, framework: str, missing: str
) -> None:
    from jobqueue.contrib.django.web import mount_wsgi

    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"needs {missing}, .*'jobqueue\[wsgi\]'"):
        if framework == "flask":
            JobQueueExtension(tasks=tasks(), web=PREFIX, access=who)  # type: ignore[arg-type]
        else:
            mount_wsgi(PREFIX, object())


def test_nothing_keeps_a_loop_after_the_mount_is_closed() -> None:
    jobs = JobQueueExtension(tasks=tasks(), web=PREFIX, access=who)  # type: ignore[arg-type]
    app = Flask("shop")
    jobs.init_app(app)
    assert WsgiClient(app).get(f"{PREFIX}/").status_code == 200
    with app.app_context():
        jobs.close()
        assert WsgiClient(app).get(f"{PREFIX}/").status_code == 200
        jobs.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("jobqueue-web")]


def pending_tasks() -> set[object]:
    return {each for each in gc.get_objects() if isinstance(each, asyncio.Task) and not each.done()}


@pytest.mark.parametrize("leaves", [True, False])
def test_a_client_that_takes_no_page_to_its_end_leaves_nothing_behind(leaves: bool) -> None:
    before = pending_tasks()
    jobs = JobQueueExtension(tasks=tasks(), web=PREFIX, access=who)  # type: ignore[arg-type]
    app = Flask("shop")
    jobs.init_app(app)
    answer: Any = iter(app(create_environ(f"{PREFIX}/"), lambda *_: lambda _: None))
    assert next(answer)
    if leaves:
        answer.close()  # as a server does then
        eventually(lambda: pending_tasks() <= before)
    with app.app_context():
        jobs.close()
    assert pending_tasks() <= before
