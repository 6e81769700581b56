"""Errors and what a queue tells of itself travel: pickled, copied, as dictionaries and as JSON."""

from __future__ import annotations

import copy
import dataclasses
import errno
import inspect
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    ConfigError,
    Job,
    JobQueue,
    JobQueueError,
    LogLockedError,
    LogWriteError,
    Priority,
    RetryJobError,
    ShutdownReport,
    Status,
    errors,
)
from tests.support.queues import Store
from tests.support.waiting import PATIENCE

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, JobQueueError)
]
ARGUMENTS: dict[str, tuple[object, ...]] = {
    "LogLockedError": ("/jobs.db", 7),
    "LogCorruptError": ("/jobs.db", "00000001.jsonl", 17, "it reads as NULs"),
    "LogVersionError": ("/jobs.db", "00000001.jsonl", 0, "version 9"),
    "LogWriteError": (errno.ENOSPC, "no space left", "/jobs.db"),
}
NAMED: dict[str, dict[str, Any]] = {"RetryJobError": {"delay": 2.5}}

WAYS: dict[str, Callable[[Any], Any]] = {
    f"pickle {protocol}": lambda value, protocol=protocol: pickle.loads(
        pickle.dumps(value, protocol)
    )
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
} | {"copy": copy.copy, "deepcopy": copy.deepcopy}


def _made(kind: type[JobQueueError]) -> JobQueueError:
    return kind(*ARGUMENTS.get(kind.__name__, ("why",)), **NAMED.get(kind.__name__, {}))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_arrives_as_it_was(kind: type[JobQueueError], way: str) -> None:
    error = _made(kind)
    error.add_note("a note")
    twin = WAYS[way](error)
    assert type(twin) is kind
    assert str(twin) == str(error)
    assert (twin.args, vars(twin)) == (error.args, vars(error))
    if isinstance(error, OSError):
        assert isinstance(twin, OSError)
        assert (twin.errno, twin.filename) == (error.errno, error.filename)


def test_an_error_of_a_users_class_arrives_as_it_was() -> None:
    twin = pickle.loads(pickle.dumps(BusyError(3)))
    assert (type(twin), twin.delay, twin.host, str(twin)) == (BusyError, 3.0, "example.org", "busy")


class BusyError(RetryJobError):
    def __init__(self, seconds: float) -> None:
        super().__init__("busy", delay=seconds)
        self.host = "example.org"


@pytest.mark.parametrize("way", WAYS)
def test_handles_stay_in_their_process(memory: Store, way: str) -> None:
    jq = memory.open(len, queue_size=1, start=False)
    with pytest.raises(JobQueueError) as caught:
        jq.enqueue_many([Job(), Job()], timeout=0)
    (handle,) = caught.value.accepted
    assert WAYS[way](caught.value).accepted == ((handle,) if "copy" in way else ())


@pytest.fixture
def told(memory: Store) -> dict[str, Any]:
    jq = memory.open(handlers={"fails": _fail}, max_retries=0)
    job = Job(b"x", id="a", handler="fails", headers={"trace": "7"}, priority=Priority.HIGH)
    jq.enqueue(job).wait(PATIENCE)
    return {
        "Job": job,
        "Job without headers": Job(b"x"),
        "JobInfo": jq.info("a"),
        "Metrics": jq.metrics(),
        "ShutdownReport": ShutdownReport(1, ("a",), 2),
        "Config": Config(num_workers=2),
    }


def _fail(_payload: bytes) -> None:
    raise ValueError("boom")


@pytest.mark.parametrize("way", WAYS)
def test_what_a_queue_tells_arrives_as_it_was(told: dict[str, Any], way: str) -> None:
    for name, value in told.items():
        twin = WAYS[way](value)
        assert type(twin) is type(value)
        if isinstance(value, Job):
            assert _of(twin) == _of(value), name
            with pytest.raises(TypeError):
                twin.headers["a"] = "b"
        else:
            assert twin == value, name


def _of(job: Job) -> tuple[object, ...]:
    return (
        job.id,
        job.payload,
        job.priority,
        job.handler,
        job.max_retries,
        dict(job.headers),
        job.created,
    )


@pytest.mark.parametrize("name", ["JobInfo", "Metrics", "ShutdownReport", "Config"])
def test_what_a_queue_tells_becomes_a_dictionary_and_json(told: dict[str, Any], name: str) -> None:
    # A payload is bytes, which whoever writes JSON has to turn into text.
    found = json.loads(json.dumps(dataclasses.asdict(told[name]), default=bytes.decode))
    assert set(found) == {field.name for field in dataclasses.fields(told[name])}
    if name == "JobInfo":
        assert (found["status"], found["headers"]) == ("failed", {"trace": "7"})
        assert Status(found["status"]) is Status.FAILED
    if name == "Metrics":
        assert found["by_priority"][str(int(Priority.HIGH))]["failed"] == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.__setitem__("a", 1),
        lambda d: d.__delitem__("a"),
        lambda d: d.update(b=1),
        lambda d: d.setdefault("b", 1),
        lambda d: d.pop("a"),
        lambda d: d.popitem(),
        lambda d: d.clear(),
        lambda d: d.__ior__({"b": 1}),
    ],
)
def test_headers_cannot_be_changed_in_any_way(change: Callable[[Any], object]) -> None:
    headers = Job(headers={"a": "1"}).headers
    with pytest.raises(TypeError, match="read-only"):
        change(headers)
    assert headers == {"a": "1"}


def _open(path: Path) -> None:
    JobQueue(Config(persist_path=path), handler=len).close()


@pytest.mark.slow
def test_a_pool_is_told_of_a_locked_log_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        jq = JobQueue(Config(persist_path=path), handler=len)
        with jq, pytest.raises(LogLockedError, match="in use by process"):
            pool.submit(_open, path).result(60)
        assert pool.submit(_open, path).result(60) is None


def test_each_error_is_one_of_the_package() -> None:
    assert {ConfigError, LogWriteError, LogLockedError} <= set(KINDS)
    assert all(kind.__module__ == "jobqueue.final.errors" for kind in KINDS)
