"""What is told of a log that no queue has open is what a queue tells that opens it."""

from __future__ import annotations

import shutil
from argparse import Namespace
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli.stopped import StoppedQueue
from jobqueue.final import (
    Config,
    Job,
    JobInfo,
    JobQueue,
    JobQueueError,
    Priority,
    RejectJobError,
    RetryJobError,
    Status,
    UnknownJobError,
)
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.logs import LogDirectory

FILTERS: list[dict[str, Any]] = [
    {},
    {"status": "failed"},
    {"status": ["failed", "queued"]},
    {"handler": "flaky"},
    {"priority": Priority.LOW},
    {"key": "k"},
    {"error": "RejectJobError"},
    {"text": "no-"},
    {"text": "later"},
    {"before": "no-2"},
    {"limit": 2},
]


def refuse(payload: bytes) -> None:
    raise RejectJobError(f"no {payload.decode()}")


def flaky(payload: bytes) -> str:
    if payload:
        raise RetryJobError("later", delay=3600)
    return "done"


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log that a program has left."""
    path = tmp_path_factory.mktemp("left") / "jobs.db"
    handlers = {"no": refuse, "flaky": flaky, "len": len}
    with JobQueue(Config(persist_path=path), handlers=handlers) as jq:
        jq.periodic("tick", timedelta(hours=1), Job)
        for number in range(3):
            jq.enqueue(Job(b"%d" % number, id=f"no-{number}", handler="no")).wait(PATIENCE)
        jq.enqueue(Job(b"x", id="again", handler="flaky", key="k"))
        jq.enqueue(
            Job(b"", id="kept", handler="flaky", priority=Priority.HIGH, store_result=True)
        ).wait(PATIENCE)
        jq.enqueue(Job(id="later", handler="len", headers={"a": "b"}), delay=7200)
        jq.pause(handler="len")
        jq.enqueue(Job(b"\xff", id="waits", handler="len", priority=Priority.LOW))
        jq.enqueue(Job(id="after", handler="len", after=["waits"]))
        jq.cancel("later")
    return path


@pytest.fixture
def log(left: Path, log: LogDirectory) -> LogDirectory:
    """A copy of it."""
    shutil.copytree(left, log.path, dirs_exist_ok=True)
    return log


@pytest.fixture
def stopped(log: LogDirectory) -> StoppedQueue:
    return StoppedQueue(Namespace(path=str(log.path), allow_shared=False, status_retention=100_000))


@pytest.fixture
def opened(log: LogDirectory, tmp_path: Path) -> Iterator[JobQueue]:
    """A queue that has opened a copy of it."""
    copy = tmp_path / "copy"
    shutil.copytree(log.path, copy)
    handlers = {"no": refuse, "flaky": flaky, "len": len}
    with JobQueue(Config(persist_path=copy), handlers=handlers, start=False) as jq:
        yield jq


def told(infos: list[JobInfo] | tuple[JobInfo, ...]) -> list[JobInfo]:
    """Due times are rounded by a queue."""
    return [replace(each, due=each.due and round(each.due, 1)) for each in infos]


@pytest.mark.parametrize("like", FILTERS, ids=str)
def test_the_same_jobs_are_found(
    stopped: StoppedQueue, opened: JobQueue, like: dict[str, Any]
) -> None:
    assert told(stopped.jobs(**like)) == told(opened.jobs(**like))
    one, other = stopped.look(**like), opened.look(**like)
    assert told(one.jobs) == told(other.jobs)
    assert (one.matching, one.last) == (other.matching, other.last)


def test_a_look_goes_on_where_the_last_one_ended(stopped: StoppedQueue) -> None:
    first = stopped.look(within=3)
    assert (first.looked_at, len(first.jobs)) == (3, 3)
    second = stopped.look(within=100, before=first.last)
    ids = [each.id for each in (*first.jobs, *second.jobs)]
    assert ids == [each.id for each in stopped.jobs()]
    assert second.last is None


def test_one_job_is_told_of_whole(stopped: StoppedQueue, opened: JobQueue) -> None:
    for each in opened.jobs():
        assert told([stopped.info(each.id)]) == told([opened.info(each.id)])
        assert stopped.status(each.id) is each.status
        handle, other = stopped.handle(each.id), opened.handle(each.id)
        assert handle.status is other.status
        if each.finished is None:  # of others a queue keeps less
            assert repr(handle.job) == repr(other.job)
            assert handle.job.after == other.job.after
    assert stopped.info("kept").result == "done"
    assert "RejectJobError" in (stopped.info("no-1").last_traceback or "")
    with pytest.raises(UnknownJobError):
        stopped.info("none")
    with pytest.raises(UnknownJobError):
        stopped.look(before="none")


def test_dead_letters_and_their_groups(stopped: StoppedQueue, opened: JobQueue) -> None:
    assert stopped.dead_letters() == opened.dead_letters()
    assert stopped.dead_groups() == opened.dead_groups()
    assert stopped.dead_groups().groups[0].count == 3


def test_the_numbers_are_those_of_the_log(stopped: StoppedQueue) -> None:
    metrics = stopped.metrics()
    assert (metrics.completed, metrics.failed, metrics.cancelled) == (1, 3, 1)
    assert (metrics.queued, metrics.scheduled, metrics.retried) == (1, 2, 1)
    assert metrics.by_priority[Priority.LOW].queued == 1
    assert metrics.oldest_wait > 0
    assert metrics.log is not None
    assert metrics.log.bytes > 0
    by_name = {each.name: each for each in stopped.handlers()}
    assert by_name["no"].failures == {"RejectJobError": 3}
    assert by_name["flaky"].failures == {"RetryJobError": 1}
    assert by_name["no"].run_time.max > 0
    assert metrics.by_handler["no"].failed == 3


def test_jobs_wait_on(stopped: StoppedQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    waits_since = stopped.info("waits").created
    monkeypatch.setattr("jobqueue.cli.stopped.time.time", lambda: waits_since + 1000.0)
    metrics = stopped.metrics()
    assert metrics.oldest_wait == pytest.approx(1000.0)
    assert metrics.by_priority[Priority.LOW].oldest_wait == pytest.approx(1000.0)
    assert metrics.by_priority[Priority.HIGH].oldest_wait == 0.0


def test_schedules_are_known_by_their_last_tick(stopped: StoppedQueue, opened: JobQueue) -> None:
    assert not opened.periodics()
    (tick,) = stopped.periodics()
    assert (tick.name, tick.next) == ("tick", None)
    assert not stopped.paused().all


def test_nothing_is_changed(stopped: StoppedQueue, log: LogDirectory) -> None:
    before = log.content()
    changes: list[Callable[[], object]] = [
        lambda: stopped.cancel("waits"),
        lambda: stopped.requeue("no-1"),
        lambda: stopped.discard("no-1"),
        lambda: stopped.requeue_jobs(handler="no"),
        stopped.pause,
        lambda: stopped.run_periodic("tick"),
    ]
    for change in changes:
        with pytest.raises(JobQueueError, match="nothing in it is changed"):
            change()
    assert log.content() == before


def test_what_changes_meanwhile_is_seen(
    stopped: StoppedQueue, log: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stopped.status("waits") is Status.QUEUED
    with JobQueue(Config(persist_path=log.path), handlers={"len": len, "no": refuse}) as jq:
        jq.handle("waits").wait(PATIENCE)
    monkeypatch.setattr("jobqueue.cli.stopped.time.monotonic", lambda: float("inf"))
    assert stopped.status("waits") is Status.COMPLETED


def test_a_log_that_is_gone_meanwhile_is_told_at_each_call(
    stopped: StoppedQueue, log: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.cli.stopped.time.monotonic", lambda: float("inf"))
    for each in log.path.iterdir():
        each.unlink()
    for _ in range(2):
        with pytest.raises(JobQueueError, match="there is no log in this directory"):
            stopped.status("waits")
