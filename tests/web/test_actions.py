"""What the buttons do."""

from __future__ import annotations

import html
import logging
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest

from jobqueue import Config, Job, JobQueue, LogWriteError
from tests.support.asgi_client import AsgiClient
from tests.web.conftest import Open, failed


def forms(page: str) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The forms of a page: action, the button's text, the hidden fields."""
    found = []
    of_form = re.compile(r'<form method="post" action="(\w+)">(.*?)</form>', re.DOTALL)
    for action, inside in of_form.findall(page):
        fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', inside)
        (text,) = re.findall(r"<button[^>]*>([^<]*)</button>", inside)
        found.append((action, text, [(name, html.unescape(value)) for name, value in fields]))
    return found


def press(client: AsgiClient, page: str, button: str, nth: int = 0) -> Any:
    """Press a button of a page, as a browser without scripts does; gives the page that follows."""
    buttons = [each for each in forms(client.get(page).text) if each[1] == button]
    action, _, fields = buttons[nth]
    data: dict[str, list[str]] = {}
    for name, value in fields:
        # A browser sends any line end of a field as two characters.
        data.setdefault(name, []).append(re.sub("\r\n|\r|\n", "\r\n", value))
    answer = client.post(f"/{action}", data)
    assert answer.status_code == 303, answer.text
    return client.get("/" + answer.headers["location"].removeprefix("./"))


def statuses(queue: JobQueue) -> dict[str, str]:
    return {job.id: job.status.value for job in queue.jobs(limit=1000)}


def test_these_of_a_page_are_cancelled_and_no_others(queue: JobQueue, client: AsgiClient) -> None:
    queue.pause()
    for n in range(25):
        queue.enqueue(Job(id=f"job-{n}", handler="length"))
    after = press(client, "/jobs", "Cancel")
    assert "20 jobs were cancelled" in after.text
    assert [*statuses(queue).values()].count("cancelled") == 20
    assert statuses(queue)["job-4"] == "queued"


def test_all_that_match_are_queued_again(queue: JobQueue, client: AsgiClient) -> None:
    failed(queue, *(f"job-{n}" for n in range(30)))
    failed(queue, "other", handler="reject")
    queue.pause()
    after = press(client, "/jobs?status=failed&error=ValueError", "Queue again", nth=1)
    assert "30 jobs were queued again" in after.text
    assert statuses(queue)["other"] == "failed"
    assert queue.metrics().queued == 30


def test_no_more_are_changed_than_were_counted(queue: JobQueue, client: AsgiClient) -> None:
    failed(queue, "a", "b", "c")
    client.post("/change", {"do": "discard", "status": "failed", "seen": "2"})
    assert [*statuses(queue)] == ["c"]


@pytest.mark.parametrize("seen", ["", "0", "-1", "10001", "99999999999", "many"])
def test_changes_of_all_are_counted_and_capped(
    queue: JobQueue, client: AsgiClient, seen: str
) -> None:
    failed(queue, "a")
    assert client.post("/change", {"do": "discard", "seen": seen}).status_code == 400
    assert client.post("/change", {"do": "discard"}).status_code == 400
    assert statuses(queue) == {"a": "failed"}


@pytest.mark.parametrize(
    ("before", "do", "word"),
    [
        ("failed", "requeue", "queued again"),
        ("failed", "discard", "discarded"),
        ("queued", "cancel", "cancelled"),
        ("scheduled", "run", "queued now"),
    ],
)
def test_one_job_is_changed(
    queue: JobQueue, client: AsgiClient, before: str, do: str, word: str
) -> None:
    if before == "failed":
        failed(queue, "a")
    queue.pause()
    if before != "failed":
        queue.enqueue(Job(id="a", handler="length"), delay=3600.0 * (before == "scheduled"))
    buttons = {"requeue": "Queue again", "discard": "Discard it", "run": "Run now"}
    after = press(client, "/job?id=a", buttons.get(do, "Cancel"))
    assert f"1 job was {word}" in after.text
    left = statuses(queue).get("a")
    assert left == {"requeue": "queued", "run": "queued", "cancel": "cancelled"}.get(do)


def test_a_job_that_is_gone_is_404_and_one_that_has_changed_is_told(
    queue: JobQueue, client: AsgiClient
) -> None:
    assert client.post("/change", {"do": "cancel", "id": "nobody"}).status_code == 404
    none = client.post("/change", {"do": "cancel", "id": ["nobody", "none"]})
    assert none.status_code == 404
    assert "None of these 2 jobs" in none.text
    queue.enqueue(Job(id="a", handler="length")).wait()
    answer = client.post("/change", {"do": "cancel", "id": "a", "to": "job"})
    assert "No job was cancelled" in client.get("/" + answer.headers["location"]).text


def test_a_group_of_dead_letters_is_queued_again_or_discarded(
    queue: JobQueue, client: AsgiClient
) -> None:
    failed(queue, "a", "b")
    failed(queue, "c", handler="reject")
    after = press(client, "/dead", "Discard all 2")
    assert "2 jobs were discarded" in after.text
    assert statuses(queue) == {"c": "failed"}


def test_a_group_of_the_default_handler_is_that_alone(opened: Open) -> None:
    def fail(_: bytes) -> None:
        raise ValueError("x")

    config = Config(max_retries=0)
    with JobQueue(config, handler=fail, handlers={"named": fail}) as queue:
        failed(queue, "a", handler="named")
        queue.enqueue(Job(id="b")).wait()
        queue.enqueue(Job(id="c")).wait()
        client = opened(queue=queue)
        names = [text for _, text, _ in forms(client.get("/dead").text)]
        assert "Discard all 2" in names
        press(client, "/dead", "Discard all 2")
        assert statuses(queue) == {"a": "failed"}


@pytest.mark.parametrize(
    ("page", "what"),
    [
        ("/", {"priority": "high"}),
        ("/handlers", {"handler": "fail"}),
        ("/periodic", {"periodic": "report"}),
    ],
)
def test_lanes_handlers_and_schedules_are_paused_and_resumed(
    queue: JobQueue, client: AsgiClient, page: str, what: dict[str, str]
) -> None:
    queue.periodic("report", timedelta(hours=1), lambda: Job(handler="length"))
    after = press(client, page, "Pause")
    assert "Paused." in after.text
    paused = queue.paused()
    assert [len(each) for each in (paused.priorities, paused.handlers, paused.periodics)] == [
        *(int(each in what) for each in ("priority", "handler", "periodic"))
    ]
    assert "Resumed." in press(client, page, "Resume").text
    assert queue.paused() == type(paused)(False, frozenset(), frozenset(), frozenset())


def test_what_nobody_knows_is_not_paused(queue: JobQueue, client: AsgiClient) -> None:
    for name in ("handler", "periodic"):
        assert client.post("/steer", {"do": "pause", name: "nobody"}).status_code == 404
    queue.pause("once")  # a program that is another by now did it
    assert client.post("/steer", {"do": "resume", "handler": "once"}).status_code == 303
    assert not queue.paused().handlers


def test_everything_is_paused_and_resumed(queue: JobQueue, client: AsgiClient) -> None:
    press(client, "/", "Pause the whole queue")
    assert queue.paused().all
    press(client, "/", "Resume")
    assert not queue.paused().all


def test_a_schedule_is_run_now(queue: JobQueue, client: AsgiClient) -> None:
    queue.periodic("report", timedelta(hours=1), lambda: Job(handler="length"))
    assert "A job of the schedule is queued" in press(client, "/periodic", "Run now").text
    queue.join()
    assert queue.metrics().completed == 1
    assert client.post("/tick", {"periodic": "nobody"}).status_code == 404


@pytest.mark.parametrize("error", [KeyError("no template"), OSError("no template")], ids=repr)
def test_a_schedule_whose_function_fails_is_named(
    queue: JobQueue, client: AsgiClient, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail() -> Job:
        raise error

    logging.getLogger("jobqueue").setLevel(logging.ERROR)
    queue.periodic("<report>", timedelta(hours=1), fail)
    answer = client.post("/tick", {"periodic": "<report>"})
    said = f"The function of schedule '<report>' made no job ({type(error).__name__})"
    assert answer.status_code == 500
    assert said in html.unescape(answer.text)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_named_jobs_are_not_changed_if_the_page_that_follows_cannot_be(
    queue: JobQueue, client: AsgiClient
) -> None:
    failed(queue, "a")
    queue.pause()
    assert client.post("/change", {"do": "requeue", "id": "a", "status": "x"}).status_code == 400
    assert statuses(queue) == {"a": "failed"}


def test_a_change_that_the_log_cannot_take_is_not_called_done(
    queue: JobQueue, opened: Open
) -> None:
    class Full:
        """Has no room for a record: it has cancelled the job, or has not, as the log had failed."""

        def cancel_jobs(self, **_like: object) -> int:
            raise LogWriteError(28, "No space left on device", "mail.db/000001.log")

        def __getattr__(self, name: str) -> object:
            return getattr(queue, name)

    queue.pause()
    queue.enqueue(Job(id="a", handler="length"))
    answer = opened(queue=Full()).post("/change", {"do": "cancel", "id": "a"})
    assert answer.status_code == 503
    assert "<h1>The log cannot be written</h1>" in answer.text
    assert "So it may not be done" in answer.text
    assert "No space left on device" in answer.text


def test_an_id_goes_through_a_form_whatever_is_in_it(queue: JobQueue, client: AsgiClient) -> None:
    hostile = "a\r\nb\x00\u202e&\"'<>%41+ \ud7ff😀"
    failed(queue, hostile)
    queue.pause()
    page = f"/job?id={quote(hostile, safe='')}"
    assert "1 job was queued again" in press(client, page, "Queue again").text
    assert statuses(queue) == {hostile: "queued"}


@pytest.mark.parametrize(
    ("action", "form"),
    [
        ("change", "do=delete&id=a"),
        ("change", "do=cancel&id=a&to=http://evil.example"),
        ("change", "&".join(["do=cancel", *(f"id={n}" for n in range(200))])),
        ("change", "do=requeue&seen=1&status=lost"),
        ("change", f"do=requeue&seen=000000001{'0' * 5000}"),
        ("change", "do=requeue&seen=00000000100000000"),
        ("steer", "do=stop"),
        ("steer", "do=pause&handler=a&priority=low"),
        ("steer", "do=pause&priority=urgent"),
        ("steer", "do=pause&to=//evil.example"),
        ("find", "status=lost"),
    ],
)
def test_a_form_that_makes_no_sense_is_400(client: AsgiClient, action: str, form: str) -> None:
    data: dict[str, list[str]] = {}
    for name, value in parse_qsl(form):
        data.setdefault(name, []).append(value)
    assert client.post(f"/{action}", data).status_code == 400
