"""What the dashboard does in a real browser, and what it lets nobody do."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobContext,
    JobQueue,
    QueueClosedError,
    RejectJobError,
    Status,
)
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Locator, Page

    from tests.web.browser.conftest import Serve, Visit

    Handler = Callable[..., object]

pytestmark = pytest.mark.slow
expect = pytest.importorskip("playwright.sync_api", reason="it drives the browser").expect

END_SECONDS_MAX = 3.0


class Mailer:
    """A handler that refuses all jobs until it is mended."""

    def __init__(self) -> None:
        self.is_mended = False

    def __call__(self, payload: bytes) -> str:
        if not self.is_mended:
            raise RejectJobError(f"no such mailbox: {payload.decode()}")
        return "sent"


@pytest.fixture
def mailer() -> Mailer:
    return Mailer()


@pytest.fixture
def queue(mailer: Mailer) -> Iterator[JobQueue]:
    handlers: dict[str, Handler] = {"mail": mailer, "other": Mailer(), "len": len}
    with JobQueue(Config(max_retries=0), handlers=handlers) as jq:
        yield jq
        jq.resume()


def fail(jq: JobQueue, handler: str, count: int) -> None:
    handles = jq.enqueue_many(
        [Job(b"x@example.org", id=f"{handler}-{n}", handler=handler) for n in range(count)]
    )
    assert {each.wait(PATIENCE) for each in handles} == {Status.FAILED}


def figure(page: Page, name: str) -> Locator:
    """A number of the overview."""
    return page.locator("dl.figures div", has_text=name).locator("dd").first


def test_the_overview_moves_while_it_is_open(queue: JobQueue, serve: Serve, visit: Visit) -> None:
    queue.pause()
    page = visit(serve(queue).url).page
    page.evaluate("window.isTheSamePage = true")
    expect(figure(page, "Queued")).to_have_text("0")
    queue.enqueue_many([Job(handler="len") for _ in range(3)])
    expect(figure(page, "Queued")).to_have_text("3")
    queue.resume()
    expect(figure(page, "Queued")).to_have_text("0")
    fail(queue, "mail", 1)
    expect(page).to_have_title("1 thing needs you · Overview · jobqueue")
    assert "warn" in (page.locator("link[rel=icon]").get_attribute("href") or "")
    assert page.evaluate("window.isTheSamePage")


def test_a_hidden_tab_asks_nothing_and_looks_at_once_when_it_is_shown(
    queue: JobQueue, serve: Serve, visit: Visit
) -> None:
    server = serve(queue)
    seen = visit("about:blank")
    page = seen.page
    page.clock.install()
    page.goto(server.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_response(server.url):
        page.clock.run_for(3_000)
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, value: true})")
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []
    page.evaluate("delete document.hidden")
    with page.expect_response(server.url):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_jobs_are_filtered_and_all_that_match_are_queued_again(
    queue: JobQueue, mailer: Mailer, serve: Serve, visit: Visit
) -> None:
    fail(queue, "mail", 45)
    fail(queue, "other", 5)
    mailer.is_mended = True
    page = visit(f"{serve(queue).url}jobs").page
    page.get_by_role("navigation", name="Status").get_by_text("failed").click()
    page.get_by_label("Handler").fill("mail")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("45 jobs match")).to_be_visible()
    assert page.locator("table.jobs tbody tr").count() == 20
    page.get_by_text("Change jobs…").click()
    all_of_them = page.locator(".change", has_text="All 45 that match")
    all_of_them.get_by_role("button", name="Queue again").click()
    eventually(lambda: queue.metrics().by_handler["mail"].completed == 45)
    assert [each.handler for each in queue.dead_letters()] == ["other"] * 5


HOSTILE = (
    "\"'><script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
    "<a href=javascript:window.pwned=1>x</a>{{7777*7777}}\u202e\x1b[2J"
)


def test_a_hostile_job_is_shown_and_does_nothing(serve: Serve, visit: Visit) -> None:
    """Script stands in each field that a page shows, and none of it runs or leads anywhere."""
    text = HOSTILE[:200]

    def rejects(payload: bytes) -> None:
        raise RejectJobError(text)

    def hangs(payload: bytes, context: JobContext) -> None:
        context.progress(1, 2, text)
        context.wait(60)

    def returns(payload: bytes) -> object:
        return {text: text}

    kind = type(HOSTILE, (Exception,), {})

    def raises(payload: bytes) -> None:
        raise kind(text)

    kinds: list[Handler] = [rejects, hangs, returns, raises]
    handlers = {f"{name}{text}": fn for name, fn in zip("abcd", kinds, strict=True)}
    config = Config(max_retries=0, shutdown_timeout=0.0)
    with JobQueue(config, handlers=handlers) as jq:
        jq.periodic(text, timedelta(hours=1), lambda: Job(handler=f"c{text}"))
        jq.pause(periodic=text)
        jq.pause(handler=f"x{text}")
        for name in handlers:
            jq.enqueue(
                Job(
                    HOSTILE.encode(),
                    id=name,
                    key=text,
                    handler=name,
                    headers={text: text},
                    store_result=True,
                )
            )
        eventually(lambda: len(jq.dead_letters()) == 2 and jq.metrics().completed == 1)
        jq.enqueue(Job(id=f"e{text}", handler="nobody" + text))
        url = serve(jq).url
        seen = visit(url)
        page = seen.page
        shown, jobs = "", dict[str, None]()
        for path in ("", "jobs", "dead", "handlers", "periodic", "jobs?status=failed"):
            page.goto(url + path)
            shown += _looked_at(page, url)
            links = page.locator("a.id").all()
            jobs.update((link.get_attribute("href") or "", None) for link in links)
        assert len(jobs) == len(handlers) + 1
        for path in jobs:
            page.goto(url + path)
            shown += _looked_at(page, url)
        # It was seen, with codes for what cannot be: in ids, errors and the rest.
        assert shown.count("{{7777*7777}}\\u202e\\x1b[2J") > 20
        for handle in jq.jobs(status="processing"):
            jq.cancel(handle.id)
        jq.close(0.0, drain=False)


def _looked_at(page: Page, url: str) -> str:
    """What a page has; nothing in it may have come from a job's texts."""
    assert page.evaluate("window.pwned") is None
    assert page.locator("main img, main script, main iframe").count() == 0
    leads = page.evaluate("[...document.links].map(each => each.href)")
    assert all(each.startswith(url) for each in leads), leads
    content: str = page.locator("main").inner_html()
    assert "60481729" not in content
    assert "\u202e" not in content
    assert "\x1b" not in content
    return content


@contextmanager
def elsewhere(page: str) -> Iterator[int]:
    """Another site on this machine, of one page; its port."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        try:
            yield site.server_address[1]
        finally:
            site.shutdown()
            thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same-site", "cross-site"])
def test_a_form_on_another_site_changes_nothing(
    queue: JobQueue, serve: Serve, visit: Visit, host: str
) -> None:
    fail(queue, "mail", 1)
    target = f"{serve(queue).url}change"
    form = (
        f'<form method=post action="{target}"><input name=do value=discard>'
        f"<input name=to value=jobs><input name=id value=mail-0></form>"
        f"<script>document.forms[0].submit()</script>"
    )
    with elsewhere(form) as port:
        seen = visit("about:blank")
        with seen.page.expect_response(target) as answered:
            seen.page.goto(f"http://{host}:{port}/", wait_until="commit")
        assert answered.value.status == 403
        expect(seen.page.get_by_text("sent by another site")).to_be_visible()
        seen.complaints.clear()  # of the 403
    assert queue.status("mail-0") is Status.FAILED


def test_another_site_cannot_frame_it(queue: JobQueue, serve: Serve, visit: Visit) -> None:
    url = serve(queue).url
    with elsewhere(f'<iframe src="{url}"></iframe>') as port:
        seen = visit(f"http://127.0.0.1:{port}/")
        assert "Overview" not in seen.page.frames[1].content()
        assert any("frame-ancestors" in each for each in seen.complaints)
        seen.complaints.clear()


def test_without_javascript_pages_are_read_and_buttons_work(
    queue: JobQueue, mailer: Mailer, serve: Serve, visit: Visit
) -> None:
    fail(queue, "mail", 3)
    mailer.is_mended = True
    page = visit(serve(queue).url, java_script_enabled=False).page
    page.get_by_role("link", name="Dead letters").first.click()
    expect(page.locator("p.error")).to_have_text("RejectJobError: no such mailbox: x@example.org")
    page.get_by_role("button", name="Queue all 3 again").click()
    eventually(lambda: queue.metrics().by_handler["mail"].completed == 3)
    page.get_by_role("link", name="Jobs").click()
    page.get_by_label("Handler").fill("mail")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("3 jobs match")).to_be_visible()
    page.get_by_role("link", name="Handlers").click()
    page.get_by_role("row").filter(has_text="mail").get_by_role("button", name="Pause").click()
    assert queue.paused().handlers == {"mail"}


def test_by_keyboard_one_comes_to_the_content_and_to_its_buttons(
    queue: JobQueue, serve: Serve, visit: Visit
) -> None:
    fail(queue, "mail", 2)
    page = visit(f"{serve(queue).url}dead").page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    button = page.get_by_role("button", name="Queue all 2 again")
    for _ in range(10):
        page.keyboard.press("Tab")
        if button.evaluate("each => each === document.activeElement"):
            break
    expect(button).to_be_focused()
    before = queue.metrics().enqueued
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("2 jobs")
    assert queue.metrics().enqueued == before + 2


def test_texts_without_a_space_fit_a_telephone(serve: Serve, visit: Visit) -> None:
    """Nothing is wider than the window, be a name as long as it may."""
    name = "W" * 220
    with JobQueue(Config(max_retries=0), handlers={name: Mailer()}) as jq:
        jq.periodic(name, timedelta(hours=1), lambda: Job(handler=name))
        jq.pause(handler=f"x{name}")
        job = Job(name.encode(), id=name, key=name, handler=name, headers={name: name})
        jq.enqueue(job).wait(PATIENCE)
        url = serve(jq).url
        seen = visit(url, viewport={"width": 400, "height": 800})
        wider = {}
        for path in ("", "jobs", "dead", "handlers", "periodic", f"job?id={name}"):
            seen.page.goto(url + path)
            wider[path] = seen.overflow()
        assert wider == dict.fromkeys(wider, 0)


def test_what_has_the_focus_stays_the_same_when_others_come_before_it(
    queue: JobQueue, serve: Serve, visit: Visit
) -> None:
    fail(queue, "mail", 2)
    page = visit(f"{serve(queue).url}dead").page
    page.get_by_role("button", name="Queue all 2 again").focus()
    fail(queue, "other", 3)
    expect(page.locator("section.group").first).to_contain_text("other")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("2 jobs")
    eventually(lambda: queue.metrics().by_handler["mail"].failed == 4)


def test_nothing_moves_while_the_pointer_does(queue: JobQueue, serve: Serve, visit: Visit) -> None:
    """Somebody who aims at a button hits it, and not another one that has come to its place."""
    url = serve(queue).url
    page = visit("about:blank").page
    page.clock.install()
    page.goto(url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for place in range(12):
        page.mouse.move(100, 100 + place)
        page.clock.run_for(500)
    assert url not in asked
    with page.expect_response(url):
        page.clock.run_for(3_000)


def test_who_may_only_look_has_no_buttons(queue: JobQueue, serve: Serve, visit: Visit) -> None:
    fail(queue, "mail", 1)
    url = serve(queue, access="read").url
    page = visit(url).page
    for path in ("", "jobs", "dead", "handlers", "periodic", "job?id=mail-0"):
        page.goto(url + path)
        buttons = [each.inner_text() for each in page.get_by_role("button").all()]
        assert set(buttons) <= {"Filter"}


def test_a_page_whose_job_is_gone_says_that_it_is_not_up_to_date(
    queue: JobQueue, serve: Serve, visit: Visit
) -> None:
    fail(queue, "mail", 1)
    seen = visit(f"{serve(queue).url}job?id=mail-0")
    queue.discard("mail-0")
    for _ in range(2):  # after the second answer, what came of the first one is settled
        with seen.page.expect_response(lambda answer: answer.status == 404):
            pass
    assert seen.page.locator("#gone").is_visible()
    assert not seen.page.locator("#lost").is_visible()
    seen.complaints.clear()  # of answers that are errors


def test_a_page_whose_queue_does_not_answer_says_so_and_goes_on(
    queue: JobQueue, serve: Serve, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_to_answer(_job_id: str) -> None:
        raise QueueClosedError("the owner is gone")

    fail(queue, "mail", 1)
    seen = visit(f"{serve(queue).url}job?id=mail-0")
    with monkeypatch.context() as patched:
        patched.setattr(queue, "info", fail_to_answer)
        for _ in range(2):
            with seen.page.expect_response(lambda answer: answer.status == 503):
                pass
        assert seen.page.locator("#lost").is_visible()
    expect(seen.page.locator("#lost")).to_be_hidden()
    seen.complaints.clear()  # of answers that are errors


def test_it_ends_at_once_with_a_page_open_and_the_page_says_so(
    queue: JobQueue, serve: Serve, visit: Visit
) -> None:
    server = serve(queue)
    seen = visit(server.url)
    with seen.page.expect_response(server.url):
        pass  # it asks every two seconds
    began = time.monotonic()
    server.close()
    queue.close()
    assert time.monotonic() - began < END_SECONDS_MAX
    expect(seen.page.locator("#lost")).to_be_visible()
    seen.complaints.clear()  # of requests that nobody answers
