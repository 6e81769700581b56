"""`@tasks.task`: what can be a task, and what it is called."""

from __future__ import annotations

import functools
import inspect
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from jobqueue import Job, JobContext, JobQueue, Priority, Status
from jobqueue.tasks import AsyncTask, Task, Tasks
from jobqueue.testing import run_all

tasks = Tasks()


@tasks.task
def thumbnail(path: str, width: int = 200) -> str:
    """Makes a small picture."""
    return f"{path}@{width}"


@tasks.task(name="mail.send", priority=Priority.HIGH, max_retries=5)
def send_email(to: str) -> None: ...


@tasks.task()
async def fetch(url: str) -> int:
    return len(url)


class Photo:
    def shrink(self, width: int) -> None: ...

    @staticmethod
    def sharpen(width: int) -> None: ...


def lines(path: str) -> Iterator[str]:
    yield path


async def pages(path: str) -> AsyncIterator[str]:
    yield path


def test_a_task_is_what_functools_wraps_makes_of_its_function() -> None:
    assert isinstance(thumbnail, Task)
    assert thumbnail.__name__ == "thumbnail"
    assert thumbnail.__doc__ == "Makes a small picture."
    assert list(inspect.signature(thumbnail).parameters) == ["path", "width"]


def test_a_called_task_runs_here_and_now() -> None:
    assert thumbnail("cat.png", width=50) == "cat.png@50"


def test_a_coroutine_function_gives_an_async_task_whose_call_is_the_coroutine() -> None:
    assert isinstance(fetch, AsyncTask)
    coroutine = fetch("abc")
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value == 3


def test_the_name_in_the_log_is_the_qualname_or_the_one_that_was_given() -> None:
    assert (thumbnail.name, send_email.name) == ("thumbnail", "mail.send")
    assert thumbnail.job("x").handler == "thumbnail"


def test_a_task_is_pickled_by_the_name_of_its_function() -> None:
    assert pickle.loads(pickle.dumps(thumbnail)) is thumbnail


def test_a_name_that_is_taken_is_refused_with_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"'mail.send' is taken.*name="):
        tasks.task(name="mail.send")(len)


@pytest.mark.parametrize(
    ("function", "kind", "says"),
    [
        (Photo.shrink, TypeError, "Photo.shrink is a method"),
        (Photo().shrink, TypeError, "is a method"),
        (Photo.__dict__["sharpen"], TypeError, "is a method"),
        (Photo, TypeError, "Photo is a class"),
        (lines, TypeError, "lines is a generator function"),
        (pages, TypeError, "pages is a generator function"),
        (functools.partial(lines, "x"), TypeError, "must be a function"),
        (lambda x: x, ValueError, r"lambda or a local function.*name="),
    ],
)
def test_what_cannot_be_a_task_is_refused_with_what_to_do(
    function: Callable[..., object], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        Tasks().task(function)


def test_a_local_function_with_a_name_is_a_task() -> None:
    more = Tasks()

    @more.task(name="local")
    def local(x: int) -> int:
        return x + 1

    with more.open():
        assert local.enqueue(1).result(10) == 2


def test_an_annotation_that_is_not_there_at_run_time_is_told_when_the_task_is_used() -> None:
    def draw(shape: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    task: Any = Tasks().task(name="draw")(draw)
    with pytest.raises(TypeError, match=r"task 'draw'.*'Missing'.*at run time"):
        task.job(1)


def test_the_options_of_the_task_are_those_of_its_jobs_and_using_changes_them_for_a_copy() -> None:
    job = send_email.job("ann@example.org")
    assert (job.priority, job.max_retries) == (Priority.HIGH, 5)
    other = send_email.using(priority=Priority.LOW, max_retries=0, headers={"a": "b"}, id="one")
    changed = other.job("ann@example.org")
    assert (changed.priority, changed.max_retries, changed.id) == (Priority.LOW, 0, "one")
    assert changed.headers == {"a": "b"}
    assert send_email.job("x").priority is Priority.HIGH


@pytest.mark.parametrize(
    ("error", "status", "attempts"),
    [(OSError, Status.COMPLETED, 2), (ValueError, Status.FAILED, 1)],
)
def test_retries_go_by_the_options_of_the_function(
    error: type[Exception], status: Status, attempts: int
) -> None:
    more = Tasks()
    tried: list[int] = []

    @more.task(name="flaky", retry_on=OSError, backoff=lambda attempt, error: 0.0)
    def flaky() -> None:
        tried.append(1)
        if len(tried) == 1:
            raise error

    with more.open():
        assert flaky.enqueue().wait(10) is status
    assert len(tried) == attempts


def test_a_timeout_of_the_function_goes_before_that_of_the_queue() -> None:
    more = Tasks()
    stopped: list[bool] = []

    @more.task(name="slow", timeout=timedelta(milliseconds=20), max_retries=0)
    def slow(context: JobContext) -> None:
        stopped.append(context.wait(10))

    with more.open():
        assert slow.enqueue().wait(10) is Status.FAILED
    assert stopped == [True]


def test_retry_on_takes_types_of_exceptions_only() -> None:
    with pytest.raises(TypeError, match="retry_on"):
        tasks.task(name="x", retry_on=["OSError"])  # type: ignore[list-item]


def test_a_task_declared_later_is_registered_at_once() -> None:
    more = Tasks()
    with more.open():

        @more.task(name="late")
        def late() -> str:
            return "here"

        assert late.enqueue().result(10) == "here"


def test_included_tasks_get_the_prefix_and_are_bound_with_the_others() -> None:
    app, mail = Tasks(), Tasks()

    @mail.task(name="send")
    def send(to: str) -> str:
        return to

    app.include(mail, prefix="mail.")
    assert send.name == "mail.send"
    with app.open() as queue:
        assert send.enqueue("ann").result(10) == "ann"
        assert mail.queue is queue


def test_an_include_that_cannot_be_is_refused() -> None:
    app, mail = Tasks(), Tasks()
    app.task(name="send")(len)
    mail.task(name="send")(len)
    with pytest.raises(ValueError, match="'send' would be there twice"):
        app.include(mail)
    app.include(mail, prefix="mail.")
    with pytest.raises(ValueError, match="included in a collection already"):
        Tasks().include(mail)
    with pytest.raises(ValueError, match="cannot include itself"):
        mail.include(app)
    with pytest.raises(RuntimeError, match="included in others"):
        mail.open()


def test_the_queue_calls_a_handler_that_any_queue_can_have() -> None:
    with JobQueue(handlers={"thumbnail": thumbnail.handler}, start=False) as jq:
        handle = jq.enqueue(Job(b'{"path":"a","width":3}', handler="thumbnail"))
        run_all(jq)
        assert handle.result(0) == "a@3"
