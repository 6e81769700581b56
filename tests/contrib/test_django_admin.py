"""The admin page of background jobs, by Django's test client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("django", reason="needs the extra 'django'")

from tests.support import django_project

django_project.set_up()

from django.core.management import call_command
from django.test import Client, override_settings

from jobqueue import Config, Job, JobQueue, RejectJobError, Status
from jobqueue.contrib.django import tasks
from jobqueue.contrib.django.queues import queues
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from django.contrib.auth.models import User

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced")]
LIST = "/admin/jobqueue/backgroundjob/"


@tasks.task(name="greet")
def greet(name: str) -> str:
    return f"hello {name}"


@tasks.task(name="refuse")
def refuse(why: str) -> None:
    raise RejectJobError(why)


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    call_command("migrate", verbosity=0)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    with override_settings(JOBQUEUE={"persist_path": tmp_path / "jobs"}):
        yield tasks.queue
        queues.close()


def user(name: str, *permissions: str, is_superuser: bool = False) -> User:
    from django.contrib.auth.models import Permission, User

    found, _ = User.objects.get_or_create(
        username=name, defaults={"is_staff": True, "is_superuser": is_superuser}
    )
    found.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return found


def client_of(found: User) -> Client:
    client = Client()
    client.force_login(found)
    return client


@pytest.fixture
def client(queue: JobQueue) -> Client:
    return client_of(user("root", is_superuser=True))


def page(client: Client, path: str = LIST, **query: str) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200
    text: str = answer.content.decode()
    return text


def act(client: Client, path: str = LIST, **fields: Any) -> str:
    """What the page says after an action."""
    answer = client.post(path, fields, follow=True)
    assert answer.status_code == 200
    said: str = answer.content.decode()
    found = "messagelist"
    return said[said.index(found) :].partition("</ul>")[0] if found in said else ""


def failed(id: str) -> None:
    job = refuse.job("because")
    handle = tasks.queue.enqueue(Job(job.payload, id=id, handler=job.handler, headers=job.headers))
    assert handle.wait(PATIENCE) is Status.FAILED


def test_it_is_in_the_index_and_lists_the_jobs(client: Client) -> None:
    done = greet.enqueue("<b>ada</b>")
    done.result(PATIENCE)
    failed("broken")
    assert LIST in page(client, "/admin/")
    shown = page(client)
    assert done.id in shown
    assert "because" in shown
    assert "1 completed, 1 failed" in shown
    assert "<b>ada" not in shown


def test_its_filters_and_its_pages_tell_jobs_apart(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.contrib.django.admin.PAGE", 1)
    failed("one")
    failed("two")
    first = page(client, status="failed", handler="refuse")
    assert "/two/" in first
    assert "/one/" not in first
    assert "?status=failed&amp;handler=refuse&amp;before=two" in first
    assert "/one/" in page(client, before="two")
    assert "/one/" in page(client, text="one")
    assert "No jobs." in page(client, status="cancelled")


def test_a_job_is_shown_with_its_traceback_and_payload(client: Client) -> None:
    failed("broken/1")
    link = "/admin/jobqueue/backgroundjob/broken_2F1/change/"
    assert link in page(client)
    shown = page(client, link)
    assert "RejectJobError: because" in shown
    assert "Traceback" in shown
    assert client.get("/admin/jobqueue/backgroundjob/none/change/").status_code == 404


def test_failed_jobs_are_queued_again_or_dropped(client: Client, queue: JobQueue) -> None:
    failed("one")
    failed("two")
    queue.pause()
    assert "1 done" in act(client, action="requeue", job=["one"])
    assert queue.status("one") is Status.QUEUED
    said = act(client, action="discard", job=["two", "one"])
    assert "1 done" in said
    assert "not possible for one" in said
    assert not queue.dead_letters()


def test_jobs_are_cancelled_or_run_at_once(client: Client, queue: JobQueue) -> None:
    first, second = (greet.using(delay=3600).enqueue(name) for name in "ab")
    assert "1 done" in act(client, action="cancel", job=[first.id])
    assert first.status is Status.CANCELLED
    assert "1 done" in act(client, action="run_now", job=[second.id])
    assert second.result(PATIENCE) == "hello b"
    assert "not possible" in act(client, action="run_now", job=[second.id])
    assert "No jobs were selected" in act(client, action="cancel")
    assert "No action" in act(client)


def test_handlers_and_the_queue_are_paused_and_resumed(client: Client, queue: JobQueue) -> None:
    act(client, action="pause", handler="greet")
    assert queue.paused().handlers == {"greet"}
    assert 'value="resume"' in page(client)
    act(client, action="pause")
    assert queue.paused().all
    act(client, action="resume", handler="greet")
    act(client, action="resume")
    assert queue.paused() == type(queue.paused())(False, frozenset(), frozenset(), frozenset())


def test_a_process_that_does_not_run_the_jobs_shows_and_steers_them(tmp_path: Path) -> None:
    pytest.importorskip("msgspec", reason="what processes say to each other is written by msgspec")
    path = tmp_path / "jobs"

    def reject(payload: bytes) -> None:
        raise RejectJobError("because")

    with (
        JobQueue(Config(persist_path=path, share="auto"), handlers={"refuse": reject}) as owner,
        override_settings(JOBQUEUE={"persist_path": path, "share": "client"}),
    ):
        client = client_of(user("root", is_superuser=True))
        assert owner.enqueue(Job(id="broken", handler="refuse")).wait(PATIENCE) is Status.FAILED
        assert "because" in page(client)
        assert "Traceback" in page(client, f"{LIST}broken/change/")
        act(client, action="pause", handler="refuse")
        assert owner.paused().handlers == {"refuse"}
        act(client, action="requeue", job=["broken"])
        assert owner.status("broken") is Status.QUEUED
        queues.close()


def test_who_may_only_look_changes_nothing(queue: JobQueue) -> None:
    failed("one")
    client = client_of(user("viewer", "view_backgroundjob"))
    shown = page(client)
    assert "one" in shown
    assert 'name="action"' not in shown
    assert client.post(LIST, {"action": "discard", "job": "one"}).status_code == 403
    assert queue.status("one") is Status.FAILED


def test_who_has_no_permission_sees_nothing(queue: JobQueue) -> None:
    client = client_of(user("stranger"))
    assert client.get(LIST).status_code == 403
    assert client.get(f"{LIST}one/change/").status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403


def test_without_a_queue_the_page_says_so(client: Client, tmp_path: Path) -> None:
    queues.close()
    settings = {"persist_path": tmp_path / "j", "share": "client", "connect_timeout": 0.05}
    with override_settings(JOBQUEUE=settings):
        assert "connect_timeout" in page(client)
        queues.close()


def test_without_a_queue_the_page_of_a_job_leads_to_the_list_which_says_so(
    client: Client, tmp_path: Path
) -> None:
    queues.close()
    settings = {"persist_path": tmp_path / "j", "share": "client", "connect_timeout": 0.05}
    with override_settings(JOBQUEUE=settings):
        response = client.get(f"{LIST}any/change/", follow=True)
        assert "connect_timeout" in response.content.decode()
        queues.close()


def test_nothing_is_to_be_migrated(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("makemigrations", "--check", "--dry-run")
    assert "No changes" in capsys.readouterr().out
