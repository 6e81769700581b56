"""The dashboard over a queue on PostgreSQL, and the calls that it and telemetry make."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from jobqueue import (
    DuplicateJobError,
    Job,
    JobContext,
    Limit,
    Priority,
    RejectJobError,
    Status,
    Unique,
    UnknownJobError,
)
from tests.postgres.conftest import Opened
from tests.support.waiting import PATIENCE, eventually

HIGH, MEDIUM, LOW = Priority
PASSWORD = "hunter2-of-the-test"


def fail(payload: bytes) -> None:
    raise ValueError(payload.decode())


def reject(_: bytes) -> None:
    raise RejectJobError("no such customer")


@pytest.fixture
def wait() -> Iterator[Callable[..., None]]:
    """A handler that runs until the test's end."""
    released = threading.Event()

    def wait(_: bytes, context: JobContext) -> None:
        context.progress(3, 4, "most of it")
        while not context.cancelled and not released.wait(0.01):
            pass

    yield wait
    released.set()


def with_password(opened: Opened) -> None:
    """The server trusts everybody, so any password will do."""
    opened.dsn = opened.dsn.replace("postgres@", f"postgres:{PASSWORD}@", 1)


def in_all_states(opened: Opened, wait: Any) -> Any:
    """A queue with jobs in all states; what is queued has no handler in this process."""
    handlers = {"fail": fail, "reject": reject, "length": len, "wait": wait}
    queue = opened(handlers=handlers, max_retries=0, num_workers=2)
    queue.enqueue(Job(b"abc", id="done", handler="length")).wait(PATIENCE)
    for n in range(3):
        queue.enqueue(Job(b"boom: %d" % n, id=f"dead-{n}", handler="fail", priority=LOW))
    queue.enqueue(Job(id="refused", handler="reject"))
    eventually(lambda: queue.metrics().dead == 4)
    queue.enqueue(Job(id="later", handler="length"), delay=3600)
    queue.enqueue(Job(id="gone", handler="length"), delay=3600).cancel()
    queue.enqueue(Job(b"needle", id="waits", handler="elsewhere", key="a key", headers={"h": "v"}))
    queue.enqueue(Job(id="runs", handler="wait", priority=HIGH))
    eventually(lambda: queue.status("runs") is Status.PROCESSING)
    queue.periodic("report", timedelta(hours=1), lambda: Job(b"tick", handler="elsewhere"))
    return queue


STATES = {
    **dict.fromkeys(("dead-0", "dead-1", "dead-2", "refused"), "failed"),
    "done": "completed",
    "later": "scheduled",
    "gone": "cancelled",
    "waits": "queued",
    "runs": "processing",
}


def ids(look: Any) -> list[str]:
    return [each.id for each in look.jobs]


# ── the calls that pages make ────────────────────────────────────────────────────────────────────


def test_a_look_ends_after_so_many_jobs_and_tells_where_to_go_on(opened: Opened) -> None:
    queue = opened(start=False)
    queue.enqueue_many(
        [Job(b"x", id=f"job-{n}", handler="h", key="odd" if n % 2 else "even") for n in range(30)]
    )
    first = queue.look(key="odd", limit=3, within=20)
    assert ids(first) == ["job-29", "job-27", "job-25"]
    assert (first.matching, first.looked_at, first.last) == (10, 20, "job-10")
    assert all((each.payload, each.attempts) == (None, ()) for each in first.jobs)
    rest = queue.look(key="odd", before=first.last, within=20)
    assert (ids(rest)[0], rest.matching, rest.looked_at, rest.last) == ("job-9", 5, 10, None)
    assert queue.look(key="none").jobs == ()
    with pytest.raises(UnknownJobError):
        queue.look(before="nothing")
    with pytest.raises(ValueError, match="1 or more"):
        queue.look(within=0)


def test_a_look_finds_what_runs_and_has_failed_whatever_came_after(
    opened: Opened, wait: Any
) -> None:
    queue = in_all_states(opened, wait)
    queue.enqueue_many([Job(handler="elsewhere") for _ in range(50)])
    for status in ("failed", "processing"):
        found = queue.look(status=status, within=5)
        assert set(ids(found)) == {each for each, state in STATES.items() if state == status}
        assert found.last is None
    (running,) = queue.look(status="processing").jobs
    assert (running.progress.done, running.progress.message) == (3, "most of it")
    assert ids(queue.look(status=["failed", "queued"], handler="reject")) == ["refused"]
    assert ids(queue.look(text="needle")) == ["waits"]
    assert ids(queue.look(text="needle", in_payload=False)) == []


def test_dead_letters_are_told_by_handler_and_kind_of_error(opened: Opened, wait: Any) -> None:
    queue = in_all_states(opened, wait)
    found = queue.dead_groups()
    assert [(each.handler, each.error, each.count) for each in found.groups] == [
        ("fail", "ValueError", 3),
        ("reject", "RejectJobError", 1),
    ]
    assert (found.letters, found.kinds) == (4, 2)
    last = max(queue.dead_letters(), key=lambda each: (each.handler == "fail", each.finished))
    assert found.groups[0].last.id == last.id
    assert "ValueError: boom" in (found.groups[0].last.last_traceback or "")
    few = queue.dead_groups(1)
    assert (len(few.groups), few.letters, few.kinds) == (1, 4, 2)
    queue.discard_jobs()
    assert queue.dead_groups().groups == ()


def test_changes_are_for_these_ids_if_they_are_given(opened: Opened, wait: Any) -> None:
    queue = in_all_states(opened, wait)
    assert queue.discard_jobs(ids=["dead-0", "done", "nothing", "nul\0", "dead-0"]) == 1
    assert queue.requeue_jobs(ids=["refused", "dead-1"], handler="fail") == 1
    eventually(lambda: queue.status("dead-1") is Status.FAILED)
    assert queue.cancel_jobs(ids=["waits", "done"]) == 1
    assert queue.run_now(ids=["later", "runs"]) == 1
    queue.enqueue_many([Job(id=each, handler="elsewhere") for each in "abc"])
    assert queue.cancel_jobs(ids=["c", "b", "a"], limit=2) == 2
    assert [queue.status(each).value for each in "abc"] == ["queued", "cancelled", "cancelled"]
    with pytest.raises(TypeError, match="list of jobs' ids"):
        queue.cancel_jobs(ids="abc")
    assert queue.cancel_jobs(ids=[]) == 0


def test_a_schedule_runs_now_besides_its_ticks(opened: Opened) -> None:
    queue = opened(len, start=False, queue_size=1)
    queue.enqueue(Job(b"takes all the room"))
    queue.periodic(
        "report",
        timedelta(hours=1),
        lambda: Job(b"1", unique=Unique("key", on_conflict="raise"), key="k"),
    )
    queue.pause(periodic="report")
    handle = queue.run_periodic("report")
    assert handle.job.payload == b"1"
    assert queue.status(handle.id) is Status.QUEUED
    with pytest.raises(DuplicateJobError):
        queue.run_periodic("report")
    with pytest.raises(ValueError, match="no schedule 'other'"):
        queue.run_periodic("other")


def test_handlers_count_the_newest_jobs_that_wait(opened: Opened) -> None:
    queue = opened(handlers={"old": len, "new": len}, start=False)
    queue.enqueue_many([Job(handler="old") for _ in range(5)])
    queue.enqueue_many([Job(handler="new") for _ in range(5)])

    def queued(within: int | None) -> dict[str, int]:
        return {each.name: each.queued for each in queue.handlers(within=within)}

    assert queued(7) == {"old": 2, "new": 5}
    assert queued(None) == {"old": 5, "new": 5}


def test_metrics_tell_lanes_of_handlers_and_what_no_handler_here_is_for(
    opened: Opened, wait: Any
) -> None:
    queue = in_all_states(opened, wait)
    metrics = queue.metrics()
    assert (metrics.dead, metrics.by_priority[LOW].dead, metrics.workers.size) == (4, 3, 2)
    lane = metrics.by_handler["fail"].by_priority[LOW]
    assert (lane.enqueued, lane.failed, lane.completed) == (3, 3, 0)
    assert lane.run_time.count == lane.queue_wait.count == 3
    assert list(metrics.by_handler["fail"].by_priority) == [LOW]
    assert metrics.by_handler["wait"].by_priority[HIGH].enqueued == 1
    assert metrics.unregistered.by_priority[MEDIUM].enqueued == 1  # "waits"
    other = opened(start=False).metrics()
    assert other.by_handler == {}
    assert other.unregistered.by_priority[LOW].failed == 3
    assert other.unregistered.by_priority[LOW].run_time.count == 0  # they ran elsewhere


def test_jobs_at_a_limit_are_counted_as_queued(opened: Opened, wait: Any) -> None:
    queue = opened(num_workers=2, start=False)
    queue.register("wait", wait, limit=Limit(1))
    queue.enqueue_many([Job(handler="wait") for _ in range(3)])
    queue.start()
    eventually(lambda: queue.metrics().processing == 1)
    assert (queue.metrics().queued, queue.metrics().limited) == (2, 0)


def test_no_counter_goes_down_if_a_handler_is_registered_later(opened: Opened) -> None:
    pytest.importorskip("prometheus_client", reason="needs the extra 'prometheus'")
    from prometheus_client import CollectorRegistry

    from jobqueue.telemetry.prometheus import JobQueueCollector

    queue = opened(start=False)
    registry = CollectorRegistry()
    registry.register(JobQueueCollector(queue))

    def enqueued(handler: str) -> float | None:
        labels = {"queue": "default", "handler": handler, "priority": "medium"}
        return registry.get_sample_value("jobqueue_jobs_enqueued_total", labels)

    queue.enqueue_many([Job(handler="mail"), Job(handler="mail")])
    assert enqueued("(unregistered)") == 2
    queue.register("mail", len)
    assert (enqueued("(unregistered)"), enqueued("mail")) == (2, 2)
    assert registry.get_sample_value("jobqueue_engine_connected", {"queue": "default"}) == 1
    assert registry.get_sample_value("jobqueue_engine_processes", {"queue": "default"}) == 1


# ── the pages ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def client_of() -> Iterator[Callable[[Any], Any]]:
    """Opens the dashboard of a queue."""
    for module in ("starlette", "jinja2", "uvicorn", "httpx"):
        pytest.importorskip(module, reason="needs the extra 'web'")
    from jobqueue.web import as_text, dashboard
    from tests.support.asgi_client import AsgiClient

    made: list[Any] = []

    def open_dashboard(queue: Any) -> Any:
        pages = dashboard(queue, access=lambda _: "write", payload=as_text)
        made.append((pages, AsgiClient(pages)))
        return made[-1][1]

    yield open_dashboard
    for pages, client in made:
        pages.close()
        client.__exit__(None, None, None)


def test_every_page_answers_and_none_has_the_password(
    opened: Opened, wait: Any, client_of: Any
) -> None:
    with_password(opened)
    queue = in_all_states(opened, wait)
    assert {each.id: each.status.value for each in queue.jobs()} == STATES
    client = client_of(queue)
    pages = ["/", "/jobs", "/dead", "/handlers", "/periodic"]
    pages += [f"/jobs?status={status.value}" for status in Status]
    pages += ["/jobs?text=needle", "/jobs?handler=fail&error=ValueError&priority=low&key=a"]
    pages += [f"/job?id={quote(job_id)}" for job_id in STATES]
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 200, (page, answer.text)
        assert PASSWORD not in answer.text, page
    for status in Status:
        shown = set(re.findall(r"id=([\w-]+)", client.get(f"/jobs?status={status.value}").text))
        assert shown == {each for each, state in STATES.items() if state == status.value}
    assert "ValueError" in client.get("/dead").text
    assert "needle" in client.get("/job?id=waits").text
    missing = client.get("/job?id=nothing")
    assert missing.status_code == 404
    assert PASSWORD not in missing.text


def test_all_of_a_dead_group_are_queued_again(opened: Opened, wait: Any, client_of: Any) -> None:
    queue = in_all_states(opened, wait)
    queue.pause()
    client = client_of(queue)
    page = client.get("/dead").text
    (form,) = [
        inside
        for inside in re.findall(
            r'<form method="post" action="change">(.*?)</form>', page, re.DOTALL
        )
        if re.search(r"<button[^>]*>Queue all 3 again", inside)
    ]
    fields = re.findall(r'name="([^"]*)" value="([^"]*)"', form)
    answer = client.post("/change", {name: html.unescape(value) for name, value in fields})
    assert answer.status_code == 303, answer.text
    assert {each.id for each in queue.look(status="queued").jobs} == {
        *("dead-0", "dead-1", "dead-2", "waits")
    }
    assert queue.status("refused") is Status.FAILED


def test_the_buttons_of_a_schedule_and_of_a_pause(
    opened: Opened, wait: Any, client_of: Any
) -> None:
    queue = in_all_states(opened, wait)
    client = client_of(queue)
    assert client.post("/tick", {"periodic": "report"}).status_code == 303
    assert len(queue.look(status="queued", handler="elsewhere").jobs) == 2
    assert client.post("/steer", {"do": "pause", "handler": "length"}).status_code == 303
    assert queue.paused().handlers == {"length"}
