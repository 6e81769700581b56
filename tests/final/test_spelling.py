"""Names that nobody knows: what was meant is told, and nothing is loaded for that before."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import subprocess
import sys
from copy import copy

import pytest

from jobqueue.final import Config, Job, JobQueue, UnknownHandlerError
from jobqueue.final.spelling import did_you_mean, nearest, tells_names
from jobqueue.tasks import Tasks
from tests.support.queues import Store, every_store
from tests.support.records import Records


@pytest.mark.parametrize(
    ("name", "found"),
    [("send_mial", "send_mail"), ("SEND_MAIL", "send_mail"), ("quux", None), ("", None)],
)
def test_the_name_that_is_most_alike_is_found(name: str, found: str | None) -> None:
    assert nearest(name, ["render", "send_mail", "send_a_letter"]) == found
    assert did_you_mean(name, []) == ""


def test_a_name_with_another_number_is_not_what_was_meant() -> None:
    assert nearest("tenant-1.sync", ["tenant-2.sync", "tenant-12.sink"]) == "tenant-12.sink"
    assert nearest("tenant-1.sync", ["tenant-2.sync"]) is None


# Keywords


def test_a_misspelt_setting_is_told_with_the_one_that_is_meant() -> None:
    with pytest.raises(TypeError) as refused:
        Config(num_wokers=8)  # type: ignore[call-arg]  # the mistake that is tested
    assert str(refused.value) == "Config has no setting 'num_wokers'; did you mean 'num_workers'?"
    with pytest.raises(TypeError, match="no setting 'fsync_intervall'; did you mean 'fsync_inter"):
        dataclasses.replace(Config(), fsync_intervall=1)  # type: ignore[call-arg]  # likewise


def test_one_that_is_like_none_is_told_with_all_there_are() -> None:
    with pytest.raises(TypeError, match="no setting 'xyz'; there are num_workers, queue_size, "):
        Config(xyz=1)  # type: ignore[call-arg]  # likewise


def test_settings_are_a_dataclass_as_before() -> None:
    parameters = inspect.signature(Config).parameters
    assert list(parameters) == [each.name for each in dataclasses.fields(Config)]
    assert parameters["num_workers"].default == 4
    assert pickle.loads(pickle.dumps(Config(num_workers=2))) == Config(num_workers=2)


def test_a_misspelt_option_of_a_task_is_told() -> None:
    tasks = Tasks()
    with pytest.raises(TypeError) as refused:
        tasks.task(max_retry=5)(len)  # type: ignore[call-overload]  # likewise
    wanted = "@tasks.task(...) has no option 'max_retry'; did you mean 'max_retries'?"
    assert str(refused.value) == wanted
    with pytest.raises(TypeError, match="has no option 'shedule'; did you mean 'schedule'"):
        tasks.periodic("@daily", shedule="@hourly")  # type: ignore[call-arg]  # likewise


def test_a_misspelt_option_of_a_call_is_told() -> None:
    task = Tasks().task(len)
    with pytest.raises(TypeError) as refused:
        task.using(max_retry=5)  # type: ignore[call-arg]  # likewise
    assert str(refused.value) == "using(...) has no option 'max_retry'; did you mean 'max_retries'?"


def test_a_setting_in_place_of_a_config_is_told_with_what_there_is() -> None:
    with pytest.raises(TypeError) as refused:
        JobQueue(num_workers=2)  # type: ignore[call-arg]  # likewise
    assert str(refused.value).startswith(
        "JobQueue(...) has no argument 'num_workers'; there are config, handler, handlers, start"
    )
    with pytest.raises(TypeError, match=r"^open\(...\) has no argument 'persist_path'; there are "):
        Tasks().open(persist_path="jobs")  # type: ignore[call-arg]  # likewise


def test_too_many_arguments_for_a_queue_are_told_of_the_queue() -> None:
    with pytest.raises(TypeError, match=r"^JobQueue.__init__\(\) takes from 1 to 2 positional"):
        JobQueue(Config(), len)  # type: ignore[call-arg]  # likewise


def test_other_type_errors_stay_as_they_are() -> None:
    @tells_names("f has no", lambda: ["given"])
    def f(given: int) -> int:
        return given + 1

    assert f(given=1) == 2
    with pytest.raises(TypeError, match="unsupported operand"):
        f(given=None)  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        f()  # type: ignore[call-arg]  # likewise


def test_nothing_that_compares_names_is_loaded_before_an_error() -> None:
    program = (
        "import sys, jobqueue; jobqueue.JobQueue(handler=len).close(); "
        "assert 'difflib' not in sys.modules; "
        "import pytest; pytest.raises(TypeError, jobqueue.Config, num_wokers=1)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# Handlers


@every_store
def test_a_queue_with_all_its_handlers_refuses_an_unknown_one(store: Store) -> None:
    jq = store.open(handlers={"send_mail": len, "render": len}, unknown_handlers="refuse")
    with pytest.raises(UnknownHandlerError) as refused:
        jq.enqueue(Job(id="a", handler="send_mial"))
    assert str(refused.value) == (
        "job 'a' was not accepted: its handler 'send_mial' is not registered, and the queue waits "
        "for none (unknown_handlers='refuse'); register it first; did you mean 'send_mail'?"
    )
    assert str(copy(refused.value)) == str(refused.value)
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)
    with pytest.raises(UnknownHandlerError):
        jq.enqueue(Job(id="a", handler="send_mial"), delay=10)
    with pytest.raises(UnknownHandlerError):
        jq.enqueue_many([Job(id="b", handler="render"), Job(id="a", handler="send_mial")])
    with pytest.raises(UnknownHandlerError):
        jq.enqueue_together([Job(id="b", handler="render"), Job(id="a", handler="send_mial")])
    assert jq.metrics().enqueued == 0
    jq.register("send_mial", len)
    assert jq.enqueue(Job(b"abc", id="a", handler="send_mial")).result(10) == 3


def test_a_handler_may_enqueue_no_job_of_an_unknown_name_either(memory: Store) -> None:
    def parent(payload: bytes, context: object) -> None:
        context.enqueue(Job(handler="chidl"))  # type: ignore[attr-defined]  # it is a JobContext

    jq = memory.open(
        handlers={"parent": parent, "child": len}, unknown_handlers="refuse", max_retries=0
    )
    handle = jq.enqueue(Job(handler="parent"))
    with pytest.raises(UnknownHandlerError, match="did you mean 'child'"):
        handle.result(10)


def test_jobs_of_the_log_wait_for_their_names_all_the_same(
    log_store: Store, records: Records
) -> None:
    log_store.open().enqueue(Job(b"abc", id="a", handler="send_mail"))
    log_store.queues.pop().close()
    assert "not registered: send_mail; register" in records.next().getMessage()

    jq = log_store.open(handlers={"sendmail": len}, unknown_handlers="refuse")
    message = records.next().getMessage()
    assert "not registered: send_mail (did you mean 'sendmail'?); register them" in message
    jq.register("send_mail", len)
    assert jq.handle("a").wait(10) == "completed"


def test_a_queue_that_waits_tells_what_may_be_meant_when_too_many_wait(memory: Store) -> None:
    jq = memory.open(handlers={"send_mail": len}, queue_size=1)
    jq.enqueue(Job(handler="send_mial"))
    with pytest.raises(UnknownHandlerError, match="wait; did you mean 'send_mail'"):
        jq.enqueue(Job(handler="send_mial"))
