"""The example applications with the dashboard that they mount, under real servers, in Chromium."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("a2wsgi", reason="needs the extra 'wsgi'")
pytest.importorskip("django", reason="needs the extra 'django'")
pytest.importorskip("fastapi", reason="needs the extra 'fastapi'")
pytest.importorskip("flask", reason="needs the extra 'flask'")

from playwright.sync_api import expect

from tests.support.children import ROOT
from tests.support.served import Served
from tests.support.waiting import eventually
from tests.support.web import Site, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Request

    from tests.web.browser.conftest import Visit

BIN = Path(sys.executable).parent
MISSING = [each for each in ("uvicorn", "gunicorn") if not (BIN / each).exists()]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}")]

PREFIX = "/dashboard/"
COMMANDS = {
    "fastapi": ("uvicorn", "examples.fastapi_app:app", "--port", "{port}"),
    "flask": ("gunicorn", "examples.flask_app:create_app()", "--bind", "127.0.0.1:{port}"),
    "django": ("examples.django_app", "runserver", "--noreload", "127.0.0.1:{port}"),
}
LOG_IN = """
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
call_command("migrate", verbosity=0)
client = Client()
client.force_login(User.objects.create_superuser("ada"))
print(client.cookies["sessionid"].value)
"""
"""The program of a project that prints the cookie of somebody who may do all there is."""


@dataclass
class Shop:
    """An example that is served.

    Attributes:
        cookies: of somebody whom it knows.
    """

    site: Site
    url: str
    cookies: list[Any]

    def order(self) -> str:
        """Have the application enqueue a job; its id."""
        status, answer = self.site.ask("/orders?to=ada", "POST")
        assert status == 202
        job: str = answer["job"]
        return job

    def status(self, job: str) -> str:
        """What the application says of a job."""
        status: str = self.site.ask(f"/jobs/{job}")[1]["status"]
        return status


@pytest.fixture(params=COMMANDS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    name, port = request.param, free_port()
    env = {
        "SHOP_DIRECTORY": str(tmp_path),
        "SHOP_JOBS": str(tmp_path / "jobs"),
    }
    url = f"http://127.0.0.1:{port}"
    cookies: list[Any] = []
    if name == "django":  # its admin site knows who may use the dashboard
        with Served("examples.django_app", "shell", "-c", LOG_IN, directory=ROOT, env=env) as made:
            assert made.end() == 0, made.output
        session = made.output.split()[-1]
        cookies = [{"name": "sessionid", "value": session, "url": url}]
    command = [each.format(port=port) for each in COMMANDS[name]]
    with Served(*command, directory=ROOT, env=env):
        site = Site(port)
        site.until_there()
        yield Shop(site, url, cookies)


def test_an_example_shows_its_jobs_and_is_steered_by_its_dashboard(
    shop: Shop, visit: Visit
) -> None:
    """All that the pages ask for, and all that they send, is under the path of the mount."""
    first = shop.order()
    eventually(lambda: shop.status(first) == "completed")
    seen = visit("about:blank")
    page = seen.page
    seen.context.add_cookies(shop.cookies)
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))  # noqa: PLW0108  # it marks it

    page.goto(shop.url + PREFIX.rstrip("/"))
    assert page.url == shop.url + PREFIX
    assert page.evaluate("typeof htmx") == "object"
    assert page.evaluate("document.styleSheets[0].cssRules.length") > 0

    page.get_by_role("link", name="Jobs").click()
    row = page.get_by_role("row").filter(has=page.locator(f"a.id[href*='{first}']"))
    expect(row).to_contain_text("completed")

    page.get_by_role("link", name="Handlers").click()
    handler = page.get_by_role("row").filter(has_text="send_mail")
    handler.get_by_role("button", name="Pause").click()
    expect(handler.get_by_role("button", name="Resume")).to_be_visible()
    second = shop.order()
    assert shop.status(second) == "queued"
    handler.get_by_role("button", name="Resume").click()
    eventually(lambda: shop.status(second) == "completed")

    paths = [urlsplit(each.url).path for each in asked]
    assert [each for each in paths[1:] if not each.startswith(PREFIX)] == []
    assert [urlsplit(each.url).path for each in asked if each.method == "POST"] == [
        f"{PREFIX}steer"
    ] * 2
