"""Each page of the demonstration as it is seen: narrow and wide, light and dark, by a checker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jobqueue.web.demo.orders import REFUSED
from tests.support.browser import ARTEFACTS
from tests.support.left_out import often
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.final import JobQueue
    from tests.web.browser.conftest import Visit

pytestmark = pytest.mark.slow

PAGES = {
    "overview": "",
    "jobs": "jobs",
    "failed": "jobs?status=failed&handler=sync_crm",
    "nothing": "jobs?handler=nobody",
    "dead": "dead",
    "handlers": "handlers",
    "periodic": "periodic",
    "job": "job?id={dead}",
    "missing": "job?id=nobody",
}
SIGHTS = [(width, scheme) for width in (400, 1280, 2560) for scheme in ("dark", "light")]
USUAL = [(400, "dark"), (1280, "light")]


@pytest.fixture
def letter(demo: tuple[JobQueue, str]) -> str:
    """The id of a dead letter, once all are there."""
    queue, _ = demo
    eventually(lambda: queue.metrics().by_handler["sync_crm"].failed >= REFUSED)
    return queue.dead_groups().groups[0].last.id


@pytest.mark.parametrize(("width", "scheme"), SIGHTS if often(0, 1) else USUAL)
def test_pages_fit_and_nothing_serious_is_wrong_with_them(
    demo: tuple[JobQueue, str], letter: str, visit: Visit, width: int, scheme: str
) -> None:
    _, url = demo
    seen = visit(url, viewport={"width": width, "height": 900}, color_scheme=scheme)
    found: dict[str, object] = {}
    for name, path in PAGES.items():
        seen.page.goto(url + path.format(dead=letter))
        found[name] = (seen.overflow(), seen.faults())
        seen.picture(f"{name}-{width}-{scheme}")
    seen.complaints[:] = [each for each in seen.complaints if "404" not in each]  # "missing" is
    assert found == dict.fromkeys(PAGES, (0, []))
    kept = {path.stem for path in ARTEFACTS.glob(f"*-{width}-{scheme}.png")}
    assert kept >= {f"{name}-{width}-{scheme}" for name in PAGES}


def test_somebody_new_finds_what_fails_and_why_and_queues_it_again(
    demo: tuple[JobQueue, str], letter: str, visit: Visit
) -> None:
    """Three clicks from the first page, with what each page says."""
    queue, url = demo
    page = visit(url).page
    needs = page.get_by_role("region", name="What needs you")
    needs.get_by_role("listitem").filter(has_text="giving up").get_by_role("link").click()
    worst = page.locator("section.group").first
    assert "sync_crm" in worst.inner_text()
    assert "the API key ending in 7f3a has expired" in worst.inner_text()
    worst.get_by_role("button", name=f"Queue all {REFUSED} again").click()
    page.get_by_text(f"{REFUSED} jobs", exact=False).first.wait_for()
    eventually(lambda: queue.metrics().by_handler["sync_crm"].completed == REFUSED, 60.0)
    assert queue.look(status="failed", handler="sync_crm").matching == 0
