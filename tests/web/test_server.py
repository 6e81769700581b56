"""`serve_dashboard`, the thread that takes points, and what a dashboard leaves behind."""

from __future__ import annotations

import gc
import hashlib
import http.client
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from jobqueue import Config, Job, JobQueue, QueueClosedError
from jobqueue.web import Access, dashboard, files, serve_dashboard
from jobqueue.web.concerns import concerns
from jobqueue.web.pacing import Paced
from jobqueue.web.sampling import Samples, next_due, rates
from jobqueue.web.threads import AT_ONCE
from tests.support.asgi_client import AsgiClient
from tests.support.waiting import PATIENCE, eventually
from tests.web.conftest import Open, failed


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("jobqueue-web")]


def test_a_dashboard_is_served_and_closed_with_a_page_open(queue: JobQueue) -> None:
    with serve_dashboard(queue, port=0) as server:
        page = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
        page.request("GET", "/")
        assert b"Lanes" in page.getresponse().read()
        half = socket.create_connection((page.host, page.port), timeout=10)
        half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")  # and never the rest
        began = time.monotonic()
    assert time.monotonic() - began < 3
    half.close()
    page.close()
    assert threads() == []
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((page.host, page.port), timeout=1)


def test_an_address_with_a_slash_too_many_leads_there(queue: JobQueue) -> None:
    with serve_dashboard(queue, port=0) as server, httpx.Client() as client:
        for page in ("", "/", "/jobs", "/static/style.css"):
            assert client.get(f"{server.url}{page}").status_code == 200


def test_two_dashboards_and_a_taken_port(queue: JobQueue) -> None:
    with serve_dashboard(queue, port=0) as one, serve_dashboard(queue, port=0) as other:
        assert one.url != other.url
        with pytest.raises(OSError, match="in use"):
            serve_dashboard(queue, port=urlsplit(one.url).port or 0)
        one.close()  # twice is once
    assert threads() == []


def test_a_dashboard_that_is_dropped_ends_its_thread_and_keeps_no_queue() -> None:
    queue = JobQueue(handler=len)
    pages = dashboard(queue)
    with AsgiClient(pages) as client:
        assert client.get("/").status_code == 200
    assert threads() == ["jobqueue-web-samples"]
    queue.close()
    gone = weakref.ref(queue)
    del pages, client, queue
    gc.collect()
    eventually(lambda: not threads())
    assert gone() is None


def test_the_thread_ends_when_the_queue_is_closed() -> None:
    with JobQueue(handler=len) as queue:
        pages = dashboard(queue)
        pages.begin()
        assert threads() == ["jobqueue-web-samples"]
    eventually(lambda: not threads())


def test_a_queue_that_was_closed_is_told_when_it_has_come_to_rest(opened: Open) -> None:
    ended = threading.Event()
    queue = JobQueue(Config(num_workers=1), handler=lambda _: ended.wait())
    queue.enqueue(Job(id="long"))
    client = opened(queue=queue)
    eventually(lambda: ">long</bdi>" in client.get("/").text)
    closing = threading.Thread(target=queue.close)
    closing.start()
    eventually(lambda: queue.closed)
    assert ">stopped</strong>" not in client.get("/").text
    assert threads() == ["jobqueue-web-samples"]
    ended.set()
    closing.join()
    eventually(lambda: ">stopped</strong>" in client.get("/").text)
    eventually(lambda: not threads())


class Clock:
    """Monotonic time, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_points_tell_rates_and_growth(queue: JobQueue) -> None:
    clock = Clock()
    samples = Samples(queue, clock)
    samples.sample()
    failed(queue, "a", "b", "c")
    clock.seconds += 2
    samples.sample()
    assert rates(samples.points(60), "failed") == [(102.0, 1.5)]
    assert samples.growth(60) == ({"completed": 0, "failed": 3, "retried": 0}, 2.0)
    clock.seconds += 600
    samples.sample()
    assert samples.growth(60)[0]["failed"] == 0
    for _ in range(2000):
        clock.seconds += 1
        samples.sample()
    assert len(samples.points(1e9)) == 900


def test_failures_before_the_first_point_are_told_if_the_queue_is_young(queue: JobQueue) -> None:
    failed(queue, "a", "b")
    since = queue.metrics().since
    for age, grown in ((60.0, 2), (3600.0, 0)):
        clock = Clock()
        samples = Samples(queue, clock, partial(float, since + age))
        samples.sample()
        assert samples.growth(900)[0]["failed"] == grown
        assert samples.growth(900)[1] == pytest.approx(age if grown else 0.0, abs=0.001)
        assert samples.growth(30)[0]["failed"] == 0
        clock.seconds += 1000
        samples.sample()
        assert samples.growth(900)[0]["failed"] == 0


def test_failures_before_the_first_request_need_somebody(
    queue: JobQueue, client: AsgiClient
) -> None:
    failed(queue, "a")
    assert ">giving up</strong>" in client.get("/").text


def test_a_queue_that_does_not_answer_is_told(queue: JobQueue, opened: Open) -> None:
    class Broken:
        """Answers with an error after a while."""

        answers = True

        closed = False

        def __getattr__(self, name: str) -> object:
            if not self.answers:
                raise QueueClosedError("the owner is gone")
            return getattr(queue, name)

    broken = Broken()
    client = opened(queue=broken)
    assert client.get("/").status_code == 200
    broken.answers = False
    answer = client.get("/job?id=a")
    assert answer.status_code == 503
    assert "the owner is gone" in answer.text
    eventually(lambda: "The queue does not answer: the owner is gone" in client.get("/").text)
    assert "That is not known while the queue does not answer." in client.get("/").text
    assert client.get("/dead").status_code == 503


def test_an_error_that_no_queue_should_raise_is_no_all_is_well_and_told_once(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        """Raises what the dashboard knows nothing of."""

        def metrics(self) -> object:
            raise ZeroDivisionError("1/0")

        def __getattr__(self, name: str) -> object:
            return getattr(queue, name)

    logging.getLogger("jobqueue").setLevel(logging.ERROR)
    samples = Samples(queue)
    samples.sample()
    assert samples.latest()[1] is None
    samples.queue = Broken()  # type: ignore[assignment]  # it is called as a queue
    for _ in range(3):
        samples.sample()
    samples.close()
    assert samples.latest()[1] == "ZeroDivisionError; the program's log tells where"
    assert [each.message for each in caplog.records] == [
        "the dashboard could not ask the queue how it is"
    ]


def test_a_file_that_a_queue_cannot_read_is_no_failure_of_the_dashboard(
    queue: JobQueue, opened: Open
) -> None:
    class Gone:
        """Cannot read its log any more."""

        def dead_groups(self, limit: int) -> object:
            raise FileNotFoundError(2, "No such file or directory", "mail.db")

        def __getattr__(self, name: str) -> object:
            return getattr(queue, name)

    answer = opened(queue=Gone()).get("/dead")
    assert answer.status_code == 503
    assert "mail.db" in answer.text


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ("fine", []),
        ("never started", ["stopped"]),
        ("failures", ["giving up"]),
        ("outage", ["giving up", "failing"]),
        ("waiting", ["late"]),
    ],
)
def test_what_needs_a_person_is_told_by_the_rules_of_the_guide(
    state: str, names: list[str]
) -> None:
    def fail(_: bytes) -> None:
        raise ValueError

    config = Config(num_workers=1, max_retries=0)
    handlers = {"fail": fail, "length": len}
    with JobQueue(config, handlers=handlers, start=state != "never started") as queue:
        samples = Samples(queue, Clock())
        samples.sample()
        if state in {"failures", "outage"}:
            failed(queue, *map(str, range(12 if state == "outage" else 2)))
        if state == "waiting":
            queue.pause()
            queue.enqueue(Job(handler="length"))
            eventually(lambda: queue.metrics().oldest_wait > 0)
        samples.sample()
        metrics, trouble = samples.latest()
        samples.close()
        late_after = 0.0 if state == "waiting" else 300.0
        found = concerns(metrics, trouble, queue.paused(), samples, late_after)
        assert [each.name for each in found] == names
        queue.close(0, drain=False)


def test_hung_handlers_are_told(opened: Open) -> None:
    ended = threading.Event()
    config = Config(num_workers=1, job_timeout=0.01)
    with JobQueue(config, handler=lambda _: ended.wait()) as queue:
        queue.enqueue(Job())
        client = opened(queue=queue)
        eventually(lambda: ">stuck</strong>" in client.get("/").text)
        assert 'data-grade="bad"' in client.get("/jobs").text
        ended.set()


# ── what is asked once for many ──────────────────────────────────────────────────────────────────


def test_what_took_long_is_kept_for_longer_unless_something_is_changed() -> None:
    clock, asked = Clock(), []
    paced = Paced(clock)

    def ask() -> int:
        clock.seconds += 0.1
        asked.append(clock.seconds)
        return len(asked)

    assert [paced.get("a", ask) for _ in range(3)] == [1, 1, 1]
    clock.seconds += 39.9
    assert paced.get("a", ask) == 1
    clock.seconds += 0.2
    assert paced.get("a", ask) == 2
    paced.forget()
    assert paced.get("a", ask) == 3


# ── other queues ─────────────────────────────────────────────────────────────────────────────────


def test_a_client_of_another_owner_has_the_same_pages(tmp_path: Path, opened: Open) -> None:
    config = Config(persist_path=tmp_path / "jobs", share="auto", max_retries=0)

    def fail(_: bytes) -> None:
        raise ValueError("<b>")

    with JobQueue(config, handlers={"fail": fail, "length": len}) as owner:
        failed(owner, "a", "b")
        with JobQueue(config) as other:
            client = opened(queue=other)
            for page in ("/", "/jobs", "/job?id=a", "/dead", "/handlers", "/periodic"):
                assert client.get(page).status_code == 200, page
            assert "2 jobs match" in re.sub(r"\s+", " ", client.get("/jobs?status=failed").text)
            assert client.post("/change", {"do": "discard", "id": "a"}).status_code == 303
            assert client.post("/steer", {"do": "pause", "handler": "length"}).status_code == 303
        assert [each.id for each in owner.dead_letters()] == ["b"]
        assert owner.paused().handlers == {"length"}


def test_one_dashboard_is_asked_from_several_event_loops_at_once(queue: JobQueue) -> None:
    """As from a server for WSGI that has a loop for each thread: none waits for another's turn."""
    count = AT_ONCE + 1
    together = threading.Barrier(count)

    def access(_: object) -> Access:
        together.wait(PATIENCE)
        return "read"

    pages = dashboard(queue, access=access)

    def look() -> int:
        with AsgiClient(pages) as client:
            return client.get("/static/style.css").status_code

    with ThreadPoolExecutor(count) as loops:
        statuses = [loops.submit(look) for _ in range(count)]
        assert {each.result(PATIENCE) for each in statuses} == {200}


def test_a_queue_of_many_jobs_says_that_it_counts_no_further(opened: Open) -> None:
    with JobQueue(Config(queue_size=30_000), handler=len, start=False) as queue:
        queue.enqueue_many([Job(key="old" if n < 100 else "new") for n in range(10_500)])
        client = opened(queue=queue)
        page = re.sub(r"<[^>]*>", "", client.get("/jobs").text)
        assert "10,000+ jobs" in page
        page = client.get("/jobs?key=old").text
        assert "among the newest 10,000" in page
        (further,) = re.findall(r'rel="next" href="([^"]+)">Look further back', page)
        page = re.sub(r"\s+", " ", client.get(f"/{further}".replace("&amp;", "&")).text)
        assert ">100+ jobs match<" in page
        assert "among the newest" not in page
        page = client.get(f"/{further}&error=x".replace("&amp;", "&")).text
        assert "No older job is like that." in page
        queue.close(0, drain=False)


# ── what is shipped ──────────────────────────────────────────────────────────────────────────────


def test_htmx_is_the_file_that_was_published() -> None:
    told = json.loads(files.contents("vendored.json"))["htmx.min.js"]
    data = files.contents("htmx.min.js")
    assert hashlib.sha256(data).hexdigest() == told["sha256"]
    assert told["version"].encode() in data
    assert told["licence"] == "0BSD"
    assert b"Permission to use, copy, modify" in files.contents(told["licence_file"])


def test_every_file_is_served_and_no_other() -> None:
    folder = Path(files.__file__).parent / "static"
    assert {each.name for each in folder.iterdir()} == {*files.NAMES, "vendored.json"}
    assert b"http" not in files.contents("live.js")
    assert b"url(" not in files.contents("style.css")


@pytest.mark.slow
def test_a_program_ends_though_a_dashboard_is_open() -> None:
    program = (
        "import urllib.request\n"
        "from jobqueue import JobQueue\n"
        "from jobqueue.web import serve_dashboard\n"
        "queue = JobQueue(handler=len)\n"
        "server = serve_dashboard(queue, port=0)\n"
        "print(urllib.request.urlopen(server.url).status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("200\n", "", 0)


@pytest.mark.parametrize(
    ("began", "ended", "next_one"), [(10.0, 10.1, 11.0), (10.0, 10.5, 15.0), (12.5, 12.5, 12.5)]
)
def test_a_queue_that_takes_long_to_answer_is_asked_less_often(
    began: float, ended: float, next_one: float
) -> None:
    assert next_due(10.0, began, ended) == next_one
