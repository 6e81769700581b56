"""Who may do what: each protection, and the order in which a request is looked at."""

from __future__ import annotations

import asyncio
import logging
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from jobqueue import JobQueue, Tasks
from jobqueue.web import dashboard, serve_dashboard
from tests.support.asgi_client import SAME_ORIGIN, AsgiClient
from tests.web.conftest import Open, failed

PAGES = ("/", "/jobs", "/dead", "/handlers", "/periodic", "/job?id=a")
ACTIONS = ("/change", "/steer", "/tick")
PAUSE = {"do": "pause"}


@pytest.mark.parametrize("page", [*PAGES, "/static/style.css", "/nothing", "/jobs?status=no"])
def test_who_may_see_nothing_gets_403_whatever_is_asked(opened: Open, page: str) -> None:
    client = opened("none")
    assert client.get(page).status_code == 403
    assert client.post(page).status_code == 403
    assert "may not see" in client.get(page).text
    assert not re.search("(href|src)=", client.get(page).text)  # of files that are refused, too


@pytest.mark.parametrize("page", PAGES[:5])
def test_by_default_everybody_may_look_and_nobody_may_act(opened: Open, page: str) -> None:
    client = opened(access=None)
    answer = client.get(page)
    assert answer.status_code == 200
    # The filter of jobs changes nothing.
    assert set(re.findall(r'action="(\w+)"', answer.text)) <= {"find"}


@pytest.mark.parametrize("action", ACTIONS)
def test_the_server_refuses_readers_to_act_whatever_they_send(
    queue: JobQueue, opened: Open, action: str
) -> None:
    client = opened("read")
    assert client.post(action, PAUSE).status_code == 403
    assert client.post(action, {"no": "sense"}).status_code == 403
    assert not queue.paused().all


def test_access_may_be_a_coroutine_function_and_sees_the_request(opened: Open) -> None:
    async def who(request: Any) -> str:
        await asyncio.sleep(0)
        return "read" if request.headers.get("authorization") == "secret" else "none"

    client = opened(access=who)
    assert client.get("/").status_code == 403
    assert client.get("/", headers={"authorization": "secret"}).status_code == 200


@pytest.mark.parametrize("answer", [None, True, "admin", "WRITE", ["write"]])
def test_access_that_gives_no_such_word_lets_nobody_in_and_is_told_in_the_log(
    opened: Open, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    caplog.set_level(logging.ERROR, "jobqueue")
    client = opened(access=lambda _: answer)
    assert client.get("/").status_code == 403
    assert client.post("/steer", PAUSE).status_code == 403
    assert f"must return 'none', 'read' or 'write', not {answer!r}" in caplog.text


def test_access_that_fails_lets_nobody_in_and_is_told_in_the_log(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    def who(_: Any) -> str:
        raise LookupError("secret of the database")

    caplog.set_level(logging.ERROR, "jobqueue")
    answer = opened(access=who).get("/")
    assert answer.status_code == 403
    assert "LookupError" in answer.text
    assert "secret" not in answer.text
    assert "secret of the database" in caplog.text
    names = logging.Formatter("%(job_id)s %(handler)s %(attempt)s %(priority)s %(queue)s")
    assert names.format(caplog.records[-1]).startswith("None None None None None")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


# ── other sites ──────────────────────────────────────────────────────────────────────────────────

HOST = "127.0.0.1"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site", "origin": f"http://{HOST}"},
        {},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"origin": "http://evil.example"},
        {"origin": f"http://{HOST}.evil.example"},
        {"origin": f"http://{HOST}:8080"},
        {"origin": f"ftp://{HOST}"},
        {"origin": HOST},
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        [("origin", f"http://{HOST}"), ("origin", "http://evil.example")],
        {"referer": f"http://{HOST}/"},
    ],
    ids=str,
)
def test_a_form_of_another_site_changes_nothing(
    queue: JobQueue, client: AsgiClient, headers: Any
) -> None:
    answer = client.post("/steer", PAUSE, headers=headers)
    assert answer.status_code == 403
    assert not queue.paused().all


@pytest.mark.parametrize(
    "headers", [SAME_ORIGIN, {"origin": f"http://{HOST}"}, {"origin": f"https://{HOST}"}], ids=str
)
def test_a_form_of_the_dashboard_is_carried_out(
    queue: JobQueue, client: AsgiClient, headers: dict[str, str]
) -> None:
    assert client.post("/steer", PAUSE, headers=headers).status_code == 303
    assert queue.paused().all


def test_a_form_that_breaks_off_does_nothing_and_is_no_error_in_the_log(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("jobqueue").setLevel(logging.INFO)
    pages = dashboard(queue, access=lambda _: "write")
    parts = [
        {"type": "http.request", "body": b"do=pau", "more_body": True},
        {"type": "http.disconnect"},
    ]
    headers = {**SAME_ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/steer",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(pages(scope, receive, send))
    assert sent[0]["status"] == 400
    assert caplog.records == []
    assert not queue.paused().all


@pytest.mark.parametrize(
    ("path", "form"),
    [("/steer", {"do": "no"}), ("/tick", {"periodic": "unknown"}), ("/nothing", {}), ("/jobs", {})],
)
def test_the_origin_is_looked_at_before_the_rest(
    client: AsgiClient, path: str, form: dict[str, str]
) -> None:
    assert client.post(path, form, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post(path, form).status_code in {400, 404, 405}


@pytest.mark.parametrize("action", [*ACTIONS, "/find"])
def test_nothing_is_done_by_a_link(client: AsgiClient, action: str) -> None:
    assert client.get(f"{action}?do=pause").status_code == 405


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(client: AsgiClient, method: str) -> None:
    assert client.request(method, "/").status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/steer", "POST"), ("POST", "/jobs", "GET, HEAD"), ("PUT", "/", "GET, HEAD")],
)
def test_a_refused_method_is_told_which_ones_there_are(
    client: AsgiClient, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path, headers=SAME_ORIGIN)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_a_form_of_another_kind_or_size_is_refused(queue: JobQueue, client: AsgiClient) -> None:
    def sent(content: bytes, kind: str) -> int:
        headers = {**SAME_ORIGIN, "content-type": kind}
        return client.request("POST", "/steer", content=content, headers=headers).status_code

    form = "application/x-www-form-urlencoded"
    assert sent(b'{"do": "pause"}', "application/json") == 400
    assert sent(b"do=pause", "text/plain") == 400
    assert sent(b"do=pause&do=resume", form) == 400
    assert sent(b"do=pause&x=1", form) == 400
    assert sent(b"do=%ff", form) == 400
    assert sent(b"do=\xff", form) == 400
    assert sent(b"a=1&" * 5000, form) == 400
    assert sent(b"do=" + b"x" * 300_000, form) == 413
    assert not queue.paused().all


# ── what browsers are told ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", [*PAGES, "/nothing", "/static/live.js", "/jobs?status=no"])
def test_each_answer_has_the_headers_that_protect_it(
    queue: JobQueue, client: AsgiClient, page: str
) -> None:
    headers = client.get(page).headers
    told = headers["content-security-policy"].split(";")
    policy = dict(each.strip().split(" ", 1) for each in told)
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self'"
    for kind in ("script-src", "style-src", "img-src", "connect-src"):
        assert policy[kind] == "'self'"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


class Seen(HTMLParser):
    """Notes what a page has that its policy, or we, do not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.forms = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name, value in attrs:
            if name.startswith(("on", "data-hx-on")) or name == "style":
                self.wrong.append(f"{tag} {name}")
            if name in {"href", "src", "action", "data-hx-get"} and not self.is_own(value or ""):
                self.wrong.append(f"{tag} {name}={value}")
        if tag == "style" or (tag == "script" and "src" not in given):
            self.wrong.append(tag)
        if tag == "form":
            self.forms += 1
            if given.get("method") != "post" or not given.get("action"):
                self.wrong.append(f"form {given}")

    @staticmethod
    def is_own(address: str) -> bool:
        """Whether it is relative; pages that were not found go up to the dashboard's root."""
        own = r"^(\.\./)*(#main|\./|[a-z]+(/[\w.-]+)?)?(\?[^#]*)?$"
        return re.match(own, address) is not None and address != ""


def seen(page: str) -> Seen:
    found = Seen()
    found.feed(page)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_pages_have_nothing_inline_and_lead_nowhere_else(
    queue: JobQueue, client: AsgiClient, page: str
) -> None:
    failed(queue, "a", "b")
    answer = client.get(page)
    assert answer.status_code == 200
    found = seen(answer.text)
    assert found.wrong == []
    assert found.forms or page == "/periodic"


# ── a server of one's own ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_beyond_this_machine_it_has_to_be_said_who_may_see_it(queue: JobQueue, host: str) -> None:
    with pytest.raises(ValueError, match="access=lambda request"):
        serve_dashboard(queue, host=host, port=0)


@pytest.mark.parametrize("host", [None, b"127.0.0.1", 2130706433])
def test_a_host_that_is_no_text_is_told(queue: JobQueue, host: Any) -> None:
    with pytest.raises(TypeError, match="host must be a name or an address"):
        serve_dashboard(queue, host=host, port=0)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "[::1", ""]
)
def test_a_name_that_was_made_to_lead_here_is_refused(queue: JobQueue, host: str) -> None:
    import httpx

    with serve_dashboard(queue, port=0, access=lambda _: "write") as server:
        port = server.url.rstrip("/").rpartition(":")[2]
        with httpx.Client(base_url=server.url) as client:
            for name, status in ((f"localhost:{port}", 200), (f"127.0.0.1:{port}", 200)):
                assert client.get("/", headers={"host": name}).status_code == status
            assert client.get("/", headers={"host": host}).status_code in {400, 403}


@pytest.mark.parametrize("wrong", [{"access": "write"}, {"payload": "yes"}])
def test_arguments_of_another_kind_are_told(queue: JobQueue, wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be a function"):
        serve_dashboard(queue, port=0, **wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"port": -1}, "port must be a number from 0 to 65535"),
        ({"port": 65_536}, "port must be a number from 0 to 65535"),
        ({"port": "8099"}, "not '8099'"),
        ({"late_after": -1}, "late_after must be so many seconds"),
        ({"late_after": "5 min"}, "not '5 min'"),
    ],
)
def test_numbers_that_cannot_be_are_told(queue: JobQueue, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        serve_dashboard(queue, **{"port": 0, **wrong})


@pytest.mark.parametrize("what", [None, "mail.db", Tasks()])
def test_what_is_no_queue_is_told_at_once(what: Any) -> None:
    with pytest.raises(TypeError, match=r"has no metrics\(\); give it the JobQueue itself"):
        serve_dashboard(what, port=0)
