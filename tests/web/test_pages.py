"""What the pages show, and what their addresses may ask."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest

from jobqueue import Job, JobQueue, Limit, Priority, Rate
from jobqueue.web import as_text
from tests.support.asgi_client import AsgiClient
from tests.support.waiting import eventually
from tests.web.conftest import Open, failed


def text_of(page: str) -> str:
    """The page without its marks, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def shown(client: AsgiClient, page: str) -> str:
    answer = client.get(page)
    assert answer.status_code == 200, answer.text
    return text_of(answer.text)


def test_an_empty_queue_has_all_pages(client: AsgiClient) -> None:
    assert "Nothing needs you" in shown(client, "/")
    assert "There are no jobs" in shown(client, "/jobs")
    assert "no job has failed" in shown(client, "/dead")
    assert "There are no schedules" in shown(client, "/periodic")
    assert "length" in shown(client, "/handlers")


def test_the_overview_tells_what_runs_and_how_far_it_is(
    queue: JobQueue, client: AsgiClient
) -> None:
    queue.enqueue(Job(id="slow one", handler="wait"))
    eventually(lambda: "slow one" in shown(client, "/"))
    page = shown(client, "/")
    assert "wait" in page
    assert "75 %" in page
    assert "most of it" in page


def test_jobs_are_filtered_and_paged_newest_first(queue: JobQueue, client: AsgiClient) -> None:
    queue.pause()
    for n in range(45):
        key = "odd" if n % 2 else "even"
        queue.enqueue(Job(id=f"job-{n}", handler="length", key=key, priority=Priority.LOW))
    page = client.get("/jobs?key=odd").text
    assert "22 jobs match" in text_of(page)
    assert re.findall(r"id=(job-\d+)", page)[:2] == ["job-43", "job-41"]
    (older,) = re.findall(r'rel="next" href="([^"]+)"', page)
    assert re.findall(r"id=(job-\d+)", client.get(f"/{html.unescape(older)}").text)[0] == "job-3"
    assert "No job is like that" in shown(client, "/jobs?key=odd&priority=high")


def test_a_filter_is_a_form_that_leads_to_an_address(opened: Open) -> None:
    form = {"status": "failed", "handler": "", "text": "a & b/?"}
    answer = opened("read").post("/find", form)
    assert answer.status_code == 303
    assert answer.headers["location"] == "jobs?status=failed&text=a%20%26%20b%2F%3F"


def test_a_status_or_a_lane_may_be_written_as_in_python(
    queue: JobQueue, client: AsgiClient
) -> None:
    failed(queue, "a")
    page = client.get("/jobs?status=FAILED&priority=MEDIUM").text
    assert 'href="job?id=a"' in page
    assert "<option selected>medium</option>" in page
    client.post("/change", {"do": "discard", "seen": "1", "status": "FAILED"})
    assert queue.jobs() == []


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("status=done", "status is one of"),
        ("priority=urgent", "high, medium or low"),
        ("colour=red", "no parameter"),
        ("status=failed&status=queued", "twice"),
        ("handler=" + "x" * 300, "255 characters"),
        ("error=" + "x" * 3000, "2048 characters"),
        ("text=%ff", "UTF-8"),
        ("x=1&" * 2000, "too many"),
        ("text=" + "x" * 20_000, "more than 16384 bytes"),
    ],
)
def test_a_wrong_filter_is_400_with_a_sentence(client: AsgiClient, query: str, word: str) -> None:
    answer = client.get(f"/jobs?{query}")
    assert answer.status_code == 400
    assert word in text_of(answer.text)


@pytest.mark.parametrize(
    "page",
    [
        *("/job?id=nobody", "/jobs?before=nobody", "/nothing", "/jobs/", "/static/../app.py"),
        *("/static/none.js", "/job?id=%00", "/job?id=" + "x" * 1000, "/jobs/deep/er"),
    ],
)
def test_what_is_not_there_is_404(client: AsgiClient, page: str) -> None:
    assert client.get(page).status_code == 404


@pytest.mark.parametrize("page", ["handlers", "periodic"])
def test_a_page_past_the_last_one_does_not_say_that_there_are_none(
    queue: JobQueue, client: AsgiClient, page: str
) -> None:
    queue.periodic("nightly", timedelta(days=1), lambda: Job(handler="length"))
    answer = client.get(f"/{page}?from=5000")
    assert "There are no more of them here. To the first" in text_of(answer.text)
    assert f'href="{page}">To the first' in answer.text


def test_a_page_that_was_not_found_finds_its_style(client: AsgiClient) -> None:
    assert 'href="../../static/style.css"' in client.get("/no/such/page").text


def test_a_job_tells_its_whole_story(queue: JobQueue, opened: Open) -> None:
    client = opened(payload=as_text)
    queue.enqueue(Job(b'{"to": "ann"}', id="a", handler="fail", headers={"tenant": "t1"}, key="k1"))
    queue.join()
    page = shown(client, "/job?id=a")
    for word in ("failed", "Attempt 1 started", "given up", "ValueError", "Traceback", "tenant"):
        assert word in page
    assert '"to": "ann"' in page
    queue.enqueue(Job(id="b", handler="length"), delay=3600)
    queue.enqueue(Job(id="c", handler="length", after=["b"]))
    assert "Due" in shown(client, "/job?id=b")
    assert 'href="job?id=b"' in client.get("/job?id=c").text


def test_a_job_tells_how_many_headers_it_has_besides_those_that_are_shown(
    queue: JobQueue, client: AsgiClient
) -> None:
    queue.pause()
    queue.enqueue(Job(id="a", headers={f"h{n}": "x" for n in range(142)}, handler="length"))
    assert "and 42 more" in client.get("/job?id=a").text


def test_a_result_is_shown(queue: JobQueue, opened: Open) -> None:
    queue.enqueue(Job(b"four", id="a", handler="length", store_result=True)).wait()
    assert "Result 4" in shown(opened(payload=str), "/job?id=a")


def test_payloads_are_neither_shown_nor_searched_unless_it_is_allowed(
    queue: JobQueue, opened: Open
) -> None:
    queue.pause()
    queue.enqueue(Job(b"the secret", id="a", handler="length"))
    hidden, allowed = opened(), opened(payload=as_text)
    assert "secret" not in shown(hidden, "/job?id=a")
    assert "No job is like that" in shown(hidden, "/jobs?text=secret")
    assert "the secret" in shown(allowed, "/job?id=a")
    assert "1 job matches" in shown(allowed, "/jobs?text=secret")
    hidden.post("/change", {"do": "cancel", "seen": "1", "text": "secret"})
    assert queue.status("a").value == "queued"


@pytest.mark.parametrize("allows", [True, False])
def test_payloads_are_shown_with_true_and_hidden_with_false(
    queue: JobQueue, opened: Open, *, allows: bool
) -> None:
    queue.pause()
    queue.enqueue(Job(b'{"to":"ann"}', id="a", handler="length"))
    page, found = (opened(payload=allows).get(each) for each in ("/job?id=a", "/jobs?text=ann"))
    assert ("&#34;to&#34;: &#34;ann&#34;" in page.text) is allows
    assert ('href="job?id=a"' in found.text) is allows


def test_what_shows_payloads_may_fail(queue: JobQueue, opened: Open) -> None:
    queue.pause()
    queue.enqueue(Job(b"x", id="a", handler="length"))
    page = shown(opened(payload=lambda _: 1 / 0), "/job?id=a")
    assert "It cannot be shown: payload= raised ZeroDivisionError" in page
    assert "it returned no text" in shown(opened(payload=lambda _: None), "/job?id=a")


def test_dead_letters_are_told_by_handler_and_error(queue: JobQueue, client: AsgiClient) -> None:
    failed(queue, "a", "b")
    failed(queue, "c", handler="reject")
    page = shown(client, "/dead")
    assert "Dead letters 3" in page
    assert page.index("fail ValueError 2") < page.index("reject RejectJobError 1")
    assert "Traceback (most recent call last)" in page
    assert "Queue all 2 again" in page


def test_handlers_are_told_with_their_errors(queue: JobQueue, client: AsgiClient) -> None:
    failed(queue, "a", "b")
    queue.pause(handler="length")
    page = shown(client, "/handlers")
    assert "100 % ValueError 2" in page
    assert "length paused" in page


def test_what_holds_a_handler_back_is_told_in_words(queue: JobQueue, client: AsgiClient) -> None:
    queue.register("card", len, limit=Limit(1, per_key=True), rate=Rate(1200, per=60), timeout=2.0)
    queue.register("label", len, limit=Limit(2), retry_on=(OSError, ValueError))
    page = shown(client, "/handlers")
    assert "timeout 2 s" in page
    assert "limit 1 for each key" in page
    assert "rate 1,200 in 60 s" in page
    assert "limit 2" in page
    assert "retry_on OSError, ValueError" in page


def test_the_overview_says_what_gives_up_most_and_why(queue: JobQueue, client: AsgiClient) -> None:
    shown(client, "/")  # it counts from here on
    failed(queue, "a", "b", payload=b"the key has expired")
    failed(queue, "c", handler="reject")
    said = "<bdi>fail</bdi>: 2, the last for “<bdi>ValueError: the key has expired</bdi>”."
    eventually(lambda: said in client.get("/").text)


def test_schedules_are_told(queue: JobQueue, client: AsgiClient) -> None:
    queue.periodic("report", timedelta(hours=1), lambda: Job(handler="length"))
    page = shown(client, "/periodic")
    assert re.search(r"report every 1 h UTC – in \d+ (s|min|h)\b", page)


@pytest.mark.parametrize("page", ["/", "/jobs", "/dead", "/handlers", "/periodic"])
def test_the_live_part_comes_alone_and_asks_for_itself(client: AsgiClient, page: str) -> None:
    part = client.get(page, headers={"hx-request": "true"}).text
    assert part.startswith('<div id="live"')
    assert "<html" not in part
    assert 'data-hx-trigger="every 2s' in part
    assert f'data-hx-get="{page.removeprefix("/") or "./"}"' in part
    assert 'data-title="All is well' in part


def test_many_handlers_and_schedules_come_page_by_page(queue: JobQueue, client: AsgiClient) -> None:
    for n in range(60):
        queue.register(f"handler-{n:03}", len)
        queue.periodic(f"schedule-{n:03}", timedelta(days=1), lambda: Job(handler="length"))
    for page, name in (("handlers", "handler-059"), ("periodic", "schedule-059")):
        first = client.get(f"/{page}").text
        assert name not in first
        (following,) = re.findall(r'rel="next" href="([^"]+)"', first)
        assert name in client.get(f"/{following}").text
        assert client.get(f"/{page}?from=-1").status_code == 400


def test_a_handler_that_jobs_wait_for_is_told(client: AsgiClient, queue: JobQueue) -> None:
    queue.enqueue(Job(handler="nobody"))
    assert "nobody not registered 1" in re.sub(r"\s+", " ", shown(client, "/handlers"))
    queue.cancel_jobs()
