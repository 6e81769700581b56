"""No thread enters the queue's mutex twice: only a signal's handler could, and it is refused."""

from __future__ import annotations

import errno
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import pytest

from jobqueue.final import Config, Job, JobQueue, LogWriteError, RetryJobError, Status
from jobqueue.final.core.outcomes import Outcomes
from jobqueue.final.core.status_map import StatusMap
from jobqueue.final.runtime.mutex import make_mutex
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.held_files import HeldFiles
from tests.support.leading import left_to_callers
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobqueue.final import JobContext
    from jobqueue.final.config import Durability
    from jobqueue.final.runtime.mutex import Mutex

LEVELS = ["async", "write", "fsync"]


class WatchedMutex(type(make_mutex())):  # type: ignore[misc]  # whose class is not told
    """The mutex of a queue, which notes who enters it while it holds it."""

    entries: list[str]
    """Where the mutex was entered twice."""
    count: int
    """How often it was entered."""

    def _look(self) -> None:
        self.count += 1
        if insides.is_owned(cast("Mutex", self)):
            self.entries.append("".join(traceback.format_stack()[:-2]))

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self._look()
        return bool(super().acquire(blocking, timeout))

    def __enter__(self) -> bool:
        self._look()
        return bool(super().__enter__())


@pytest.fixture(autouse=True)
def mutex(monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedMutex]:
    """The mutex of the queues that are made; at the end, nobody has entered it twice."""
    mutex = WatchedMutex()
    mutex.claimant = mutex.unfinished = None
    mutex.entries, mutex.count = [], 0
    monkeypatch.setattr("jobqueue.final.life.wiring.make_mutex", lambda: cast("Mutex", mutex))
    yield mutex
    assert mutex.count
    assert mutex.entries == []


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> HeldFiles:
    """What logs that are opened are written through."""
    files = HeldFiles()
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", lambda: files)
    return files


def _config(tmp_path: Path, level: str, *, fsync_interval: float = 0.0) -> Config:
    return Config(
        persist_path=tmp_path / "log",
        durability=cast("Durability", level),
        fsync_interval=fsync_interval,
        segment_bytes=4096,
        num_workers=2,
        queue_size=2,
        base_delay=0.001,
        max_retries=1,
    )


def handle(payload: bytes, context: JobContext) -> int:
    if payload == b"again" and not context.attempt:
        raise RetryJobError(delay=0.001)
    if payload == b"fails":
        raise ValueError
    return len(payload)


def _live(jq: JobQueue) -> None:
    """Make use of everything that a queue can do."""
    with jq:
        jq.enqueue(Job(b"again")).result(PATIENCE)
        jq.enqueue(Job(), delay=0.001).wait(PATIENCE)
        for job_id in ("a", "b"):
            jq.enqueue(Job(b"fails", id=job_id)).wait(PATIENCE)
        jq.requeue("a").wait(PATIENCE)
        jq.discard("b")
        jq.pause()
        jq.enqueue_many([Job(id="c"), Job(id="d")])
        waits = in_thread(jq.enqueue, Job(id="e"))
        eventually(lambda: insides.producers(jq))
        jq.cancel("c")
        waits.result(PATIENCE)
        jq.resume()
        assert jq.join(PATIENCE)
        for number in range(40):  # so that segments are sealed
            jq.enqueue(Job(bytes(200), id=str(number)))
        if jq.metrics().log is not None:
            jq.flush()
        assert jq.status("d") is Status.COMPLETED
        assert len(jq.dead_letters()) == 1
        jq.register("named", len)


@pytest.mark.parametrize("level", LEVELS)
def test_nobody_enters_it_twice_while_all_goes_well(tmp_path: Path, level: str) -> None:
    _live(JobQueue(_config(tmp_path, level), handler=handle))
    JobQueue(_config(tmp_path, level), handler=handle).close()


def test_nobody_enters_it_twice_in_memory() -> None:
    _live(JobQueue(Config(queue_size=2, base_delay=0.001, max_retries=1), handler=handle))


@pytest.mark.parametrize("level", LEVELS)
def test_nobody_enters_it_twice_when_an_fsync_fails(
    tmp_path: Path, files: HeldFiles, level: str
) -> None:
    jq = JobQueue(_config(tmp_path, level, fsync_interval=3600.0), handler=handle, start=False)
    jq.enqueue(Job(id="queued"))
    files.hold("sync")
    waiting = [in_thread(jq.flush)]
    files.await_held()
    waiting += [in_thread(jq.flush), in_thread(jq.handle("queued").wait), in_thread(jq.join)]
    eventually(lambda: insides.waiting_for_rest(jq))
    files.fail("sync", errno.EIO)
    files.let_go("sync")

    for each in waiting:
        with pytest.raises(LogWriteError):
            each.result(PATIENCE)
    jq.close(PATIENCE)


def test_nobody_enters_it_twice_when_the_fsync_of_a_caller_that_leads_fails(
    tmp_path: Path, files: HeldFiles
) -> None:
    jq = JobQueue(_config(tmp_path, "fsync"), handler=handle)
    left_to_callers(jq)
    files.fail("sync", errno.EIO)
    with pytest.raises(LogWriteError):
        jq.enqueue(Job())
    jq.close(PATIENCE)


@pytest.mark.parametrize("level", LEVELS)
def test_nobody_enters_it_twice_when_the_disk_is_full(
    tmp_path: Path, files: HeldFiles, level: str
) -> None:
    files.fail("allocate", errno.EOPNOTSUPP, for_ever=True)
    jq = JobQueue(_config(tmp_path, level), handler=handle)
    files.fail("write", errno.ENOSPC, for_ever=True, partial=3)
    if level == "async":
        jq.enqueue(Job())
    else:
        with pytest.raises(LogWriteError):
            jq.enqueue(Job())
    eventually(lambda: (log := jq.metrics().log) is not None and log.error)
    files.faults.pop()
    jq.flush()
    jq.enqueue(Job()).result(PATIENCE)
    jq.close(PATIENCE)


PLACES: dict[str, tuple[object, str]] = {
    "log": (HeldFiles, "write"),
    "worker": (Outcomes, "begin"),
    "timer": (StatusMap, "due"),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("place", PLACES)
def test_nobody_enters_it_twice_when_a_thread_dies(
    tmp_path: Path, files: HeldFiles, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def die(*_args: object) -> None:
        raise MemoryError

    files.fail("allocate", errno.EOPNOTSUPP, for_ever=True)
    jq = JobQueue(_config(tmp_path, "async"), handler=handle)
    with monkeypatch.context() as patched:
        patched.setattr(*PLACES[place], die)
        jq.enqueue(Job(), delay=0.001)
        assert eventually(lambda: insides.fault(jq) is not None)
    with suppress(LogWriteError):  # if it is the log's thread, the job is lost unless it has run
        jq.close(0.0)
