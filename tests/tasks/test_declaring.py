"""`@tasks.task`: what can be a task, and what it is called."""

from __future__ import annotations

import functools
import inspect
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

import jobqueue
from jobqueue import (
    Backoff,
    Config,
    Job,
    JobContext,
    JobQueue,
    Priority,
    QueueNotOpenError,
    Status,
)
from jobqueue.tasks import AsyncTask, Task, Tasks
from jobqueue.tasks.task import BaseTask
from jobqueue.testing import run_all
from tests.support.waiting import PATIENCE

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


def take(x: int) -> int:
    return x


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """As decorators that measure or log are."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


async def pages(path: str) -> AsyncIterator[str]:
    yield path


def test_a_task_is_what_functools_wraps_makes_of_its_function() -> None:
    assert isinstance(thumbnail, Task)
    assert thumbnail.__name__ == "thumbnail"
    assert thumbnail.__doc__ == "Makes a small picture."
    assert list(inspect.signature(thumbnail).parameters) == ["path", "width"]


def test_a_function_may_be_given_together_with_options() -> None:
    own = Tasks()
    first, second = own.task(take, name="first"), own.task(fn=take, name="second", expires=5)
    assert (first.name, second.name) == ("first", "second")
    assert second.job(1).expires == 5


def test_a_called_task_runs_here_and_now() -> None:
    assert thumbnail("cat.png", width=50) == "cat.png@50"


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ({"delay": 5}, r"would lose delay.*\.enqueue\(\.\.\.\).*thumbnail\.job\(.*delay="),
        ({"at": datetime.now(UTC)}, r"would lose at.*\.enqueue\(\.\.\.\).*delay="),
        ({"enqueue_timeout": 1}, r"would lose enqueue_timeout.*\.enqueue\(.*timeout="),
    ],
)
def test_a_job_that_would_lose_an_option_of_the_call_is_refused(
    option: dict[str, Any], instead: str
) -> None:
    with pytest.raises(ValueError, match=instead):
        thumbnail.using(**option).job("x")
    assert thumbnail.using(delay=0).job("x").handler == "thumbnail"


def test_each_call_of_a_task_makes_a_job_with_an_id_of_its_own() -> None:
    first, second = thumbnail.job("x"), thumbnail.job("y")
    assert first.id != second.id
    assert (first.payload, second.payload) == (b'{"path":"x"}', b'{"path":"y"}')
    one = thumbnail.using(id="one", headers={"a": "b"})
    assert (one.job("x").id, one.job("y").id) == ("one", "one")


def test_a_task_that_is_included_after_its_first_call_makes_jobs_of_its_new_name() -> None:
    app, mail = Tasks(), Tasks()
    send: Any = mail.task(name="send")(lambda to: to)
    assert send.job("ann").handler == "send"
    app.include(mail, prefix="mail.")
    assert send.job("ann").handler == "mail.send"


def test_the_package_has_what_most_users_touch() -> None:
    assert {
        "AsyncTask",
        "Backoff",
        "Limit",
        "Middleware",
        "Progress",
        "QueueNotOpenError",
        "Rate",
        "ResultGoneError",
        "Task",
        "Tasks",
        "Unique",
        "as_completed",
        "current_job",
        "gather",
    } <= set(jobqueue.__all__)


def test_declaring_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = threading.active_count()
    more = Tasks()
    more.task(name="f")(lambda x: x)
    assert (threading.active_count(), list(tmp_path.iterdir())) == (before, [])
    with pytest.raises(QueueNotOpenError):
        _ = more.queue


def test_a_task_of_a_coroutine_function_is_no_task_of_a_plain_one_but_of_the_same_base() -> None:
    assert not isinstance(fetch, Task)
    assert isinstance(fetch, BaseTask)
    assert isinstance(thumbnail, BaseTask)


def test_the_options_of_the_function_are_read_when_an_attempt_runs(tmp_path: Path) -> None:
    config = Config(persist_path=tmp_path, base_delay=0)
    tried: list[int] = []

    def flaky() -> None:
        tried.append(1)
        if len(tried) == 1:
            raise OSError

    before, after = Tasks(), Tasks()
    call: Any = before.task(name="flaky", retry_on=())(flaky)
    after.task(name="flaky", retry_on=OSError, backoff=Backoff(base=0))(flaky)
    with before.open(config, start=False):
        job_id = call.enqueue().id
    with after.open(config) as queue:
        assert queue.handle(job_id).wait(PATIENCE) is Status.COMPLETED
    assert len(tried) == 2


def test_a_decorated_function_is_a_task_as_the_one_within_would_be() -> None:
    own = Tasks()
    within = own.task(logged(fetch.__wrapped__), name="within")
    assert isinstance(within, AsyncTask)
    with own.open(Config(executor="asyncio", num_workers=1)):
        assert within.enqueue("abc").result(PATIENCE) == 3
    with pytest.raises(TypeError, match="coroutine function"):
        own.open()
    with pytest.raises(TypeError, match="lines is a generator function"):
        own.task(logged(lines))


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


class Words:
    """A codec."""

    def encode(self, arguments: Mapping[str, object]) -> bytes:
        return " ".join(map(str, arguments.values())).encode()

    def decode(self, payload: bytes) -> Mapping[str, object]:
        return {"text": payload.decode()}


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"name": 3}, TypeError, "name must be text"),
        ({"name": ""}, ValueError, r"name must have 1 to 255 characters.*name=\"mail.send\""),
        ({"name": "x" * 256}, ValueError, "name must have 1 to 255 characters"),
        ({"name": "\ud800"}, ValueError, "name has a lone surrogate"),
        ({"priority": "high"}, ValueError, r"priority must be Priority\.HIGH"),
        ({"max_retries": -1}, ValueError, "max_retries must be 0 to"),
        ({"max_retries": "3"}, TypeError, "max_retries must be a whole number"),
        ({"timeout": "soon"}, TypeError, "timeout must be a number of seconds"),
        ({"retry_on": 3}, TypeError, r"retry_on must be types of exceptions.*not 3"),
        ({"retry_on": ["OSError"]}, TypeError, r"retry_on must be.*\['OSError'\]"),
        ({"backoff": "x"}, TypeError, r"backoff must be a Backoff, as in Backoff\(base=1\.0\)"),
        ({"backoff": Backoff}, TypeError, "backoff must be a Backoff"),
        ({"backoff": fetch.__wrapped__}, TypeError, "backoff must be a Backoff"),
        ({"store_result": "no"}, TypeError, "store_result must be True or False"),
        ({"codec": 3}, TypeError, r"codec must be None, or an object with encode\(arguments\)"),
        ({"codec": Words}, TypeError, r".*not the class Words; write Words\(\.\.\.\)"),
    ],
)
def test_a_wrong_option_of_a_task_is_refused_where_it_is_given(
    options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=rf"^@tasks\.task\(\.\.\.\): {says}"):
        tasks.task(**options)


def test_a_codec_of_the_collection_that_is_none_is_refused_where_it_is_given() -> None:
    with pytest.raises(TypeError, match="codec must be None, or an object with encode"):
        Tasks(codec=3)  # type: ignore[arg-type]
    assert Tasks(codec=Words()).task(name="x")(len).name == "x"


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


@pytest.mark.parametrize(
    ("other", "prefix", "kind", "says"),
    [
        (None, "", TypeError, r"include\(\) takes the Tasks of another module, not None"),
        (Tasks(), 3, TypeError, r"include\(\): prefix must be text"),
        (Tasks(), "\ud800", ValueError, r"include\(\): prefix has a lone surrogate"),
    ],
)
def test_an_include_of_something_else_is_refused(
    other: Any, prefix: Any, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        Tasks().include(other, prefix)


def test_a_prefix_that_makes_a_name_too_long_is_refused_whichever_comes_second() -> None:
    app, mail = Tasks(), Tasks()
    mail.task(name="x" * 200)(len)
    with pytest.raises(ValueError, match="1 to 255 characters"):
        app.include(mail, "y" * 56)
    app.include(mail, "y" * 50)
    with pytest.raises(ValueError, match="the name of task len must have 1 to 255 characters"):
        mail.task(name="x" * 206)(len)


@pytest.mark.parametrize("included_first", [True, False])
def test_a_name_that_an_included_task_has_is_refused_at_the_declaration(
    included_first: bool,
) -> None:
    app, mail = Tasks(), Tasks()
    app.include(mail, "mail.")
    both = [(mail, "send"), (app, "mail.send")]
    (first, name), (second, same_name) = both if included_first else reversed(both)
    first.task(name=name)(len)
    with pytest.raises(ValueError, match=r"'mail.send' is taken by .*@tasks\.task\(name="):
        second.task(name=same_name)(repr)
    with app.open(start=False):  # nothing was half-done
        pass


def test_a_name_is_taken_across_two_modules_that_are_included() -> None:
    app, mail, more = Tasks(), Tasks(), Tasks()
    app.include(mail, "mail.")
    app.include(more)
    mail.task(name="send")(len)
    with pytest.raises(ValueError, match=r"'mail.send' is taken by len of 'builtins'"):
        more.task(name="mail.send")(repr)


def test_the_queue_calls_a_handler_that_any_queue_can_have() -> None:
    with JobQueue(handlers={"thumbnail": thumbnail.handler}, start=False) as jq:
        handle = jq.enqueue(Job(b'{"path":"a","width":3}', handler="thumbnail"))
        run_all(jq)
        assert handle.result(0) == "a@3"


def hourly() -> None: ...


def doubled(x: int) -> int:
    return 2 * x


class Opaque:
    """No codec can carry it."""


def unwritable(x: Opaque) -> None:
    del x


@pytest.mark.parametrize("wrong", [fetch.__wrapped__, unwritable], ids=["awaited", "unwritable"])
def test_tasks_of_which_an_open_queue_refuses_one_are_not_there_at_all(wrong: Any) -> None:
    more, whole = Tasks(), Tasks()
    more.periodic(timedelta(hours=1), name="hourly")(hourly)
    more.task(name="doubled")(doubled)
    more.task(name="wrong")(wrong)
    with whole.open(start=False) as queue:
        for refuses, given in ((whole.include, more), (more.bind, queue)):
            with pytest.raises(TypeError):
                cast("Any", refuses)(given)
            assert [each.name for each in queue.handlers()] == []
            assert queue.periodics() == []


def test_a_task_in_place_of_its_handler_is_refused() -> None:
    with JobQueue(start=False) as jq:
        for given in (("x",), ()):
            with pytest.raises(TypeError, match=r"thumbnail\.handler"):
                jq.handler(*given)(thumbnail)
    with pytest.raises(TypeError, match=r"tasks\.bind\(queue\)"):
        JobQueue(handlers={"x": thumbnail})
    with JobQueue(handlers={"x": thumbnail.handler}, start=False) as jq:
        assert [each.name for each in jq.handlers()] == ["x"]
