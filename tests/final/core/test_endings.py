"""What is called when a job has ended: done callbacks, and `finished` of middleware."""

from __future__ import annotations

import errno
import logging
import threading
from pathlib import Path

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobHandle,
    JobInfo,
    JobQueue,
    LogWriteError,
    Middleware,
    QueueClosedError,
    RejectJobError,
    Status,
    Unique,
)
from tests.support import insides
from tests.support.handlers import Blocker, in_thread
from tests.support.held_files import HeldFiles
from tests.support.process_handlers import echo
from tests.support.queues import Attempts, Store
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually


class Told:
    """A callback that notes what it was called with, and on which thread."""

    def __init__(self) -> None:
        self.handles: list[JobHandle] = []
        self.statuses: list[Status] = []
        self.threads: list[str] = []
        self.event = threading.Event()

    def __call__(self, handle: JobHandle) -> None:
        self.handles.append(handle)
        self.statuses.append(handle.status)
        self.threads.append(threading.current_thread().name)
        self.event.set()

    def wait(self) -> Told:
        assert self.event.wait(PATIENCE)
        return self


def raiser(error: BaseException) -> object:
    raise error


# ── on which thread, and when ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("done", Status.COMPLETED), (RejectJobError("never"), Status.FAILED)],
)
def test_a_callback_is_called_with_the_handle_by_the_worker_that_ended_the_job(
    memory: Store, outcome: object, status: Status
) -> None:
    told = Told()
    jq = memory.open(Attempts(outcome), start=False)
    handle = jq.enqueue(Job())
    handle.add_done_callback(told)
    assert told.handles == []
    jq.start()
    told.wait()
    assert (told.handles, told.statuses) == ([handle], [status])
    assert told.threads[0].startswith("jobqueue-worker")


def test_a_callback_of_a_job_that_has_ended_is_called_at_once_by_its_caller(memory: Store) -> None:
    told = Told()
    handle = memory.open(len).enqueue(Job())
    handle.wait(PATIENCE)
    handle.add_done_callback(told)
    assert told.threads == [threading.current_thread().name]


def test_a_callback_that_nobody_would_await_is_refused(memory: Store) -> None:
    async def awaited(handle: JobHandle) -> None: ...

    jq = memory.open(len, start=False)
    job = Job(unique=Unique(by="handler+payload"))
    for handle in (jq.enqueue(job), jq.enqueue(Job(unique=job.unique))):
        with pytest.raises(TypeError, match=r"plain function.*coroutine function: await the han"):
            handle.add_done_callback(awaited)


def test_a_callback_is_called_once_after_the_last_attempt(memory: Store) -> None:
    told = Told()
    jq = memory.open(Attempts(ValueError("1"), ValueError("2"), "done"), base_delay=0, start=False)
    handle = jq.enqueue(Job())
    handle.add_done_callback(told)
    jq.start()
    assert handle.result(PATIENCE) == "done"
    jq.close(PATIENCE)
    assert told.statuses == [Status.COMPLETED]


def test_callbacks_are_called_in_their_order_without_the_mutex(memory: Store) -> None:
    order: list[object] = []
    jq = memory.open(len, start=False)
    handle = jq.enqueue(Job(b"abc"))
    handle.add_done_callback(lambda _: order.append(in_thread(jq.metrics).result(PATIENCE)))
    handle.add_done_callback(lambda handle: order.append(handle.result(0)))
    jq.start()
    assert eventually(lambda: len(order) == 2)
    assert order[1] == 3


def test_no_job_is_begun_by_a_worker_that_has_callbacks_to_call(memory: Store) -> None:
    statuses: list[Status] = []
    jq = memory.open(len, start=False, num_workers=1)
    first, second = jq.enqueue(Job()), jq.enqueue(Job())
    first.add_done_callback(lambda _: statuses.append(second.status))
    jq.start()
    assert second.wait(PATIENCE) is Status.COMPLETED
    assert statuses == [Status.QUEUED]


def test_a_job_that_is_cancelled_in_its_lane_tells_on_the_cancelling_thread(memory: Store) -> None:
    told = Told()
    handle = memory.open(len, start=False).enqueue(Job())
    handle.add_done_callback(told)
    assert handle.cancel()
    assert (told.statuses, told.threads) == ([Status.CANCELLED], [threading.current_thread().name])


def test_a_job_that_is_cancelled_while_it_runs_tells_when_its_handler_gives_up(
    memory: Store,
) -> None:
    told, blocker = Told(), memory.blocker(ValueError("given up"))
    handle = memory.open(blocker).enqueue(Job())
    handle.add_done_callback(told)
    blocker.await_entered()
    assert handle.cancel()
    assert told.handles == []
    blocker.gate.set()
    assert told.wait().statuses == [Status.CANCELLED]


def test_a_callback_of_a_job_that_was_requeued_tells_of_its_next_end(memory: Store) -> None:
    told = Told()
    jq = memory.open(Attempts(RejectJobError("no"), "done"), num_workers=1)
    handle = jq.enqueue(Job(id="a"))
    handle.wait(PATIENCE)
    jq.pause()
    jq.requeue("a")
    handle.add_done_callback(told)
    assert told.handles == []
    jq.resume()
    assert told.wait().handles == [handle]


# ── what callbacks do wrong ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(1)])
def test_an_error_in_a_callback_is_logged_and_the_others_are_called(
    memory: Store, records: Records, error: BaseException
) -> None:
    told = Told()
    jq = memory.open(len, start=False, num_workers=1)
    handle = jq.enqueue(Job(id="a"))
    handle.add_done_callback(lambda _: raiser(error))
    handle.add_done_callback(told)
    jq.start()
    told.wait()
    record = records.next()
    assert "a callback of job 'a'" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert jq.enqueue(Job()).wait(PATIENCE) is Status.COMPLETED  # by the same worker


def test_an_error_in_a_callback_that_is_called_at_once_is_logged(
    memory: Store, records: Records
) -> None:
    handle = memory.open(len).enqueue(Job())
    handle.wait(PATIENCE)
    handle.add_done_callback(lambda _: raiser(ValueError("boom")))
    assert records.next().levelno == logging.ERROR


def test_what_cannot_be_called_is_refused(memory: Store) -> None:
    handle = memory.open(len).enqueue(Job())
    with pytest.raises(TypeError, match="must be callable"):
        handle.add_done_callback("told")  # type: ignore[arg-type]  # the mistake that is tested


def test_ctrl_c_within_a_callback_reaches_its_caller_after_the_others(memory: Store) -> None:
    told = Told()
    handle = memory.open(len, start=False).enqueue(Job())
    handle.add_done_callback(lambda _: raiser(KeyboardInterrupt()))
    handle.add_done_callback(told)
    with pytest.raises(KeyboardInterrupt):
        handle.cancel()
    assert told.statuses == [Status.CANCELLED]


def test_an_exit_in_a_callback_of_a_job_that_another_takes_along_keeps_nobody_from_being_told(
    memory: Store, records: Records
) -> None:
    told = Told()
    jq = memory.open(len, start=False)
    parent = jq.enqueue(Job())
    jq.enqueue(Job(after=[parent])).add_done_callback(lambda _: raiser(SystemExit(1)))
    jq.enqueue(Job(after=[parent])).add_done_callback(told)
    parent.cancel()
    assert told.wait().statuses == [Status.CANCELLED]
    assert "a callback of a job that has ended was interrupted" in records.next().getMessage()


def test_an_exit_in_a_callback_does_not_keep_close_from_its_end(memory: Store) -> None:
    told = Told()
    jq = memory.open(len, start=False)
    jq.enqueue(Job()).add_done_callback(lambda _: raiser(SystemExit(1)))
    jq.enqueue(Job()).add_done_callback(told)
    with pytest.raises(SystemExit):
        jq.close(drain=False)
    assert told.statuses == [Status.QUEUED]
    assert "jobqueue-timer" not in {each.name for each in threading.enumerate()}
    assert jq.close().remaining == 2


# ── jobs that will not end any more ──────────────────────────────────────────────────────────


def test_a_job_that_close_leaves_tells_that_it_will_not_end(log_store: Store) -> None:
    told, later = Told(), Told()
    jq = log_store.open(len, start=False)
    handle = jq.enqueue(Job())
    handle.add_done_callback(told)
    jq.close(drain=False)
    assert told.statuses == [Status.QUEUED]
    with pytest.raises(QueueClosedError):
        handle.result(0)
    handle.add_done_callback(later)
    assert later.handles == [handle]


def test_a_job_that_close_gives_up_tells_at_once_and_not_again(memory: Store) -> None:
    told, blocker = Told(), memory.blocker()
    jq = memory.open(blocker)
    handle = jq.enqueue(Job())
    handle.add_done_callback(told)
    blocker.await_entered()
    jq.close(0)
    assert told.statuses == [Status.PROCESSING]
    blocker.gate.set()
    assert blocker.left.get(timeout=PATIENCE)
    assert told.statuses == [Status.PROCESSING]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> HeldFiles:
    """What logs that are opened from here on are written through."""
    files = HeldFiles()
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", lambda: files)
    return files


def test_when_the_log_fails_jobs_tell_on_a_thread_that_is_not_the_logs(
    tmp_path: Path, files: HeldFiles
) -> None:
    told = Told()
    with JobQueue(Config(persist_path=tmp_path / "jobs.db"), handler=len, start=False) as jq:
        handle = jq.enqueue(Job())
        handle.add_done_callback(told)
        files.fail("sync", errno.EIO)
        with pytest.raises(LogWriteError):
            jq.flush()
        assert told.wait().handles == [handle]
        assert "log" not in told.threads[0]
        handle.add_done_callback(told)
        assert len(told.handles) == 2  # at once


def test_a_job_that_a_full_disk_refuses_tells(tmp_path: Path, files: HeldFiles) -> None:
    told = Told()
    files.fail("allocate", errno.EOPNOTSUPP, for_ever=True)  # so that it is written call by call
    config = Config(persist_path=tmp_path / "jobs.db", durability="fsync")
    with JobQueue(config, handler=len, start=False) as jq:
        files.hold("write")
        enqueued = in_thread(jq.enqueue, Job(id="a"))
        files.await_held()
        jq.handle("a").add_done_callback(told)
        files.fail("write", errno.ENOSPC)
        files.let_go("write")
        with pytest.raises(LogWriteError):
            enqueued.result(PATIENCE)
        assert told.wait().threads == ["jobqueue-callbacks"]


# ── finished ─────────────────────────────────────────────────────────────────────────────────


class Finishing(Middleware):
    """Notes what has finished."""

    def __init__(self) -> None:
        self.infos: list[JobInfo] = []
        self.threads: list[str] = []

    def finished(self, info: JobInfo) -> None:
        self.infos.append(info)
        self.threads.append(threading.current_thread().name)


def test_finished_is_told_of_each_job_that_has_ended_for_good(memory: Store) -> None:
    noting, blocker = Finishing(), Blocker()
    memory.keep(blocker)
    jq = JobQueue(
        Config(max_retries=1, base_delay=0, num_workers=1),
        handlers={"good": len, "bad": Attempts(ValueError("boom")), "slow": blocker},
        middleware=[noting],
    )
    with jq:
        jq.enqueue(Job(id="good", handler="good")).wait(PATIENCE)
        jq.enqueue(Job(id="bad", handler="bad", headers={"a": "b"})).wait(PATIENCE)
        jq.enqueue(Job(id="slow", handler="slow"))
        blocker.await_entered()
        jq.enqueue(Job(id="cancelled", handler="good")).cancel()
        jq.discard("bad")
        blocker.gate.set()
    told = {info.id: info for info in noting.infos}
    assert {id: info.status for id, info in told.items()} == {
        "good": Status.COMPLETED,
        "bad": Status.FAILED,
        "slow": Status.COMPLETED,
        "cancelled": Status.CANCELLED,
    }
    assert len(noting.infos) == 4
    assert (told["bad"].retries, told["bad"].last_error) == (1, "ValueError: boom")
    assert dict(told["bad"].headers) == {"a": "b"}
    assert told["good"].finished is not None
    assert noting.threads[0].startswith("jobqueue-worker")
    assert noting.threads[2] == threading.current_thread().name


def test_finished_is_told_before_callbacks_and_its_error_is_logged(
    memory: Store, records: Records
) -> None:
    told, order = Told(), list[str]()

    class Failing(Middleware):
        def finished(self, info: JobInfo) -> None:
            order.append(info.id)
            raise ValueError("boom")

    noting = Finishing()
    with JobQueue(handler=len, middleware=[Failing(), noting], start=False) as jq:
        handle = jq.enqueue(Job(id="a"))
        handle.add_done_callback(lambda _: order.append("callback"))
        handle.add_done_callback(told)
        jq.start()
        told.wait()
    assert order == ["a", "callback"]
    assert [info.id for info in noting.infos] == ["a"]
    assert "job 'a'" in records.next().getMessage()
    assert handle.status is Status.COMPLETED


def test_a_requeued_job_finishes_again(memory: Store) -> None:
    noting = Finishing()
    with JobQueue(handler=Attempts(RejectJobError("no"), "done"), middleware=[noting]) as jq:
        jq.enqueue(Job(id="a"))
        assert eventually(lambda: len(noting.infos) == 1)
        jq.requeue("a")
    assert [info.status for info in noting.infos] == [Status.FAILED, Status.COMPLETED]
    assert noting.infos[0].last_error is not None


def test_nothing_is_kept_of_callbacks_that_were_called(memory: Store) -> None:
    jq = memory.open(len)
    handle = jq.enqueue(Job())
    handle.wait(PATIENCE)
    handle.add_done_callback(lambda _: None)
    assert insides.callbacks(handle) == ()


@pytest.mark.slow
def test_a_job_that_ran_in_a_process_tells_in_the_queues(memory: Store) -> None:
    told, noting = Told(), Finishing()
    config = Config(executor="process", num_workers=1)
    with JobQueue(config, handler=echo, middleware=[noting], start=False) as jq:
        handle = jq.enqueue(Job(b"x", id="a"))
        handle.add_done_callback(told)
        jq.start()
        assert told.wait().statuses == [Status.COMPLETED]
    assert [info.id for info in noting.infos] == ["a"]
