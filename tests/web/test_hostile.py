"""Jobs that somebody made to do harm: all of it is text, and no page is large."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest

from jobqueue import Config, Job, JobQueue, RejectJobError, Unique
from jobqueue.web import as_text
from tests.support.asgi_client import AsgiClient
from tests.web.conftest import Open
from tests.web.test_security import seen

SCRIPT = "<script>alert(1)</script>"
ATTRIBUTE = "\" onmouseover='alert(2)' x=\""
HOSTILE = (
    f"{SCRIPT}{ATTRIBUTE}<img src=//evil.example>{{{{7777*7777}}}}{{% x %}}&lt;\u202e\x00\x1b[31m"
)
LINK = "javascript:alert(3)//https://evil.example/"
PAGE_MAX = 2**20


def hostile_queue(text: str, payload: bytes, count: int = 1) -> JobQueue:
    name = text[:200]
    error = type(name.replace("\x00", ""), (RejectJobError,), {})

    def fail(_: bytes) -> None:
        raise error(text)

    queue = JobQueue(Config(num_workers=1, max_retries=0), handlers={name: fail, LINK: len})
    headers = {text[:100]: text[:1500], LINK: LINK}
    for n in range(count):
        queue.enqueue(
            Job(
                payload,
                id=f"{n}{text}"[:255],
                handler=name,
                key=text[:255],
                headers=headers,
                unique=None if n else Unique(by="key"),
            )
        )
    queue.join()
    queue.periodic(text[:200], timedelta(days=1), lambda: Job(handler=LINK))
    queue.pause(handler=name)
    queue.enqueue(Job(payload, id=LINK, handler=name, key=LINK))
    return queue


def pages_of(job_id: str) -> list[str]:
    quoted = quote(job_id, safe="")
    return [
        *("/", "/jobs", "/jobs?status=failed", "/dead", "/handlers", "/periodic"),
        f"/job?id={quoted}",
        f"/job?id={quote(LINK, safe='')}",
        f"/jobs?text={quoted}",
        f"/jobs?error={quoted[:100]}",
        f"/jobs?key={quoted}",
        f"/job?id=x{quoted}",
        f"/jobs?before={quoted}x",
        f"/{quoted}",
        f"/jobs?{quoted}=1",
    ]


class Tags(HTMLParser):
    """Counts scripts and images."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "img", "iframe", "object"}:
            self.found.append((tag, dict(attrs)))


def test_everything_is_escaped_wherever_it_stands(opened: Open) -> None:
    with hostile_queue(HOSTILE, HOSTILE.encode()) as queue:
        client = opened(queue=queue, payload=as_text)
        job_id = f"0{HOSTILE}"[:255]
        assert queue.status(job_id).value == "failed"
        for page in pages_of(job_id):
            answer = client.get(page)
            assert answer.status_code in {200, 400, 404}, page
            assert seen(answer.text).wrong == [], page
            tags = Tags()
            tags.feed(answer.text)
            assert all(tag == "script" for tag, _ in tags.found), page
            assert len(tags.found) == 2, page
            outside = re.sub(r'value="[^"]*"', "", answer.text)  # what was typed stays as it is
            assert not re.search("[\x00\x1b\u202e]", outside), page
            assert "60481729" not in re.findall(r"{{.*?}}|60481729", html.unescape(answer.text)), (
                page
            )
        told = html.unescape(client.get(f"/job?id={quote(job_id, safe='')}").text)
        assert told.count(SCRIPT) >= 4
        queue.close(0, drain=False)


def test_no_hostile_word_gets_into_a_header(client: AsgiClient) -> None:
    answer = client.post("/find", {"text": "a\r\nset-cookie: x=1"})
    assert answer.headers["location"] == "jobs?text=a%0D%0Aset-cookie%3A%20x%3D1"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("filling", ["&", "\U0001f600", "x\n", "\x00"])
def test_no_page_is_larger_than_a_mebibyte(opened: Open, filling: str) -> None:
    payload = (filling * 2**20).encode()
    with hostile_queue(filling * 5000, payload, count=40) as queue:
        client = opened(queue=queue, payload=as_text)
        for n in range(60):
            name = f"{n}{filling * 200}"[:190]
            queue.register(name, len)
            queue.periodic(name, timedelta(days=1), lambda: Job(handler=LINK))
        _fail_in_many_ways(queue, filling)
        for page in pages_of(f"0{filling * 5000}"[:255]):
            answer = client.get(page)
            assert len(answer.content) <= PAGE_MAX, (page, len(answer.content))
        queue.close(0, drain=False)


def _fail_in_many_ways(queue: JobQueue, filling: str) -> None:
    """So many kinds of errors, with long tracebacks, that all groups together are too many."""
    text = filling.replace("\x00", "\x01") * 4000

    def fail(payload: bytes) -> None:
        raise type(f"Error{payload.decode()}", (Exception,), {})(text)

    queue.register("many", fail)
    handles = [
        queue.enqueue(Job(str(n).encode(), id=f"many {n}{filling * 250}"[:255], handler="many"))
        for n in range(120)
    ]
    for handle in handles:
        handle.wait()


def test_dead_letters_with_hostile_names_are_no_large_page(opened: Open) -> None:
    grows = "\U0010fffd"  # eight bytes where it is shown, twelve in a form

    def failing(n: int) -> Callable[[bytes], None]:
        error = type(grows * 1900 + str(n), (RejectJobError,), {})

        def fail(_: bytes) -> None:
            raise error("'" * 10_000)

        return fail

    handlers = {f"{n}{grows * 250}": failing(n) for n in range(41)}
    with JobQueue(Config(num_workers=1), handlers=handlers) as queue:
        for n, name in enumerate(handlers):
            queue.enqueue(Job(id=f"{n}{grows * 250}", handler=name))
        queue.join()
        page = opened(queue=queue).get("/dead")
        assert len(page.content) <= PAGE_MAX
        assert re.search(r"These are the \d+ largest of 41 groups", page.text)


def test_a_group_whose_error_has_a_long_name_can_be_changed(opened: Open) -> None:
    def fail(_: bytes) -> None:
        raise type("E" * 600, (RejectJobError,), {})

    with JobQueue(handler=fail) as queue:
        queue.enqueue(Job(id="long"))
        queue.join()
        client = opened(queue=queue)
        (error,) = set(re.findall(r'name="error" value="(E+)"', client.get("/dead").text))
        form = {"do": "discard", "to": "dead", "seen": "1", "error": error, "status": "failed"}
        assert client.post("/change", form).headers["location"] == "dead?did=discard&n=1"


def test_a_long_payload_is_text_wherever_it_is_cut() -> None:
    for shift in range(4):
        payload = ("x" * shift + "\U0001f600" * 100_000).encode()
        assert as_text(payload).startswith("x" * shift + "\U0001f600")


def test_a_payload_of_many_mebibytes_is_cut(queue: JobQueue, opened: Open) -> None:
    queue.pause()
    queue.enqueue(Job(b'["' + b"a" * (15 * 2**20) + b'"]', id="long", handler="length"))
    queue.enqueue(Job(b"[" * 100_000, id="deep", handler="length"))
    queue.enqueue(Job(bytes(range(256)) * 2**15, id="binary", handler="length"))
    client = opened(payload=as_text)
    for each in ("long", "deep", "binary"):
        answer = client.get(f"/job?id={each}")
        assert answer.status_code == 200
        assert 1000 < len(answer.content) <= PAGE_MAX
