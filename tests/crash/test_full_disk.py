"""A full disk: who waits is refused and leaves no trace, and with space back the queue goes on.

Injected where the exact call matters, and once for real: on a small file system in memory, and
against the limit on the size of files.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobContext,
    JobQueue,
    LogWriteError,
    RetryJobError,
    Status,
    UnknownJobError,
)
from tests.support import insides
from tests.support.children import Child, read_acks
from tests.support.handlers import Blocker, Recorder, in_thread
from tests.support.held_files import HeldFiles
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually

# How the log is written: into a map of blocks that are reserved ahead, or call by call; those with
# "fsync" under that level, the others under "write".
WAYS = ["mapped", "plain", "mapped fsync", "fsync"]
LARGE = b"x" * 400_000  # a few of these and the map must be moved on


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> HeldFiles:
    """What logs that are opened from here on are written through."""
    files = HeldFiles()
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", lambda: files)
    return files


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


def _open(
    log: str,
    level: str = "write",
    handler: Callable[..., object] = len,
    *,
    start: bool = False,
    fsync_interval: float = 0.01,
    segment_bytes: int = 1 << 26,
    queue_size: int = 1000,
) -> JobQueue:
    config = Config(
        persist_path=log,
        durability=level,  # type: ignore[arg-type]  # one of the three
        fsync_interval=fsync_interval,
        segment_bytes=segment_bytes,
        queue_size=queue_size,
        num_workers=1,
        max_retries=0,
    )
    return JobQueue(config, handler=handler, start=start)


def _fill(jq: JobQueue, files: HeldFiles, way: str) -> str:
    """Have the disk full until `files.heal()`; returns the id of a job that was refused."""
    for method in ("allocate", "write"):
        files.fail(method, errno.ENOSPC, for_ever=True, partial=40)
    n = -1
    with pytest.raises(LogWriteError) as caught:
        while n < 100:
            n += 1
            jq.enqueue(Job(LARGE if "mapped" in way else b"x", id=f"filling-{n}"))
    assert caught.value.errno == errno.ENOSPC
    return f"filling-{n}"


def _open_by(
    way: str,
    log: str,
    files: HeldFiles,
    *,
    queue_size: int = 1000,
    segment_bytes: int = 1 << 26,
) -> JobQueue:
    if "mapped" not in way:
        files.fail("allocate", errno.EOPNOTSUPP)
    level = "fsync" if "fsync" in way else "write"
    return _open(log, level, queue_size=queue_size, segment_bytes=segment_bytes)


def _reopened(log: str, records: Records) -> JobQueue:
    """What the next start finds, which must be no torn end; closed already."""
    records.rest()
    jq = _open(log)
    jq.close()
    assert not [each for each in records.rest() if "torn" in each.getMessage()]
    return jq


def _error(jq: JobQueue) -> str | None:
    log = jq.metrics().log
    assert log is not None
    return log.error


# --- enqueue ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_enqueue_raises_and_the_id_is_free_again(log: str, way: str, files: HeldFiles) -> None:
    jq = _open_by(way, log, files)

    refused = _fill(jq, files, way)

    with pytest.raises(UnknownJobError):
        jq.status(refused)
    assert "No space left" in str(_error(jq))
    files.heal()
    assert jq.enqueue(Job(b"second try", id=refused)).status is Status.QUEUED
    assert _error(jq) is None
    jq.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_job_counts_nowhere_and_takes_no_room(
    log: str, way: str, files: HeldFiles
) -> None:
    jq = _open_by(way, log, files, queue_size=20)
    _fill(jq, files, way)
    accepted = jq.metrics().queued
    payload = LARGE if "mapped" in way else b"x"
    for _ in range(25):
        with pytest.raises(LogWriteError):
            jq.enqueue(Job(payload), timeout=0)

    assert (jq.metrics().enqueued, jq.metrics().queued) == (accepted, accepted)
    files.heal()
    for _ in range(20 - accepted):
        jq.enqueue(Job(), timeout=0)
    jq.close()


@pytest.mark.parametrize("way", WAYS)
def test_with_space_back_the_queue_goes_on_and_nothing_of_the_refused_is_left(
    log: str, way: str, files: HeldFiles, records: Records
) -> None:
    """Fault 9 of docs/reliability.md."""
    jq = _open_by(way, log, files)
    jq.enqueue(Job(b"before", id="before"))
    refused = _fill(jq, files, way)
    files.heal()
    jq.enqueue(Job(b"after", id="after"))
    accepted = ["before", "after", *_filling(jq)]
    jq.close()

    after = _reopened(log, records)

    assert {after.status(job_id) for job_id in accepted} == {Status.QUEUED}
    assert after.metrics().queued == len(accepted)
    with pytest.raises(UnknownJobError):
        after.status(refused)


def _filling(jq: JobQueue) -> list[str]:
    return [job_id for job_id in insides.status_map(jq).live if job_id.startswith("filling")]


@pytest.mark.parametrize("way", ["plain", "fsync"])
@pytest.mark.parametrize("partial", [0, 1, 100, 10_000])
def test_a_write_that_broke_off_is_cut_off_again(
    log: str, way: str, partial: int, files: HeldFiles, records: Records
) -> None:
    jq = _open_by(way, log, files)
    for n in range(3):
        files.fail("write", errno.ENOSPC, partial=partial)
        with pytest.raises(LogWriteError):
            jq.enqueue(Job(b"x" * 500, id="refused"))
        jq.enqueue(Job(id=str(n)))
    copy = shutil.copytree(log, f"{log}-copy")  # as kill -9 would leave it
    jq.close()

    after = _reopened(str(copy), records)

    assert [after.status(str(n)) for n in range(3)] == [Status.QUEUED] * 3
    with pytest.raises(UnknownJobError):
        after.status("refused")


@pytest.mark.parametrize("way", ["plain", "fsync"])
def test_a_write_that_cannot_be_cut_off_breaks_the_log(
    log: str, way: str, files: HeldFiles
) -> None:
    jq = _open_by(way, log, files)
    jq.enqueue(Job(id="a"))
    files.fail("write", errno.ENOSPC, partial=30)
    files.fail("truncate", errno.EIO)

    with pytest.raises(LogWriteError):
        jq.enqueue(Job(b"x" * 500, id="b"))
    before = files.calls.count("write")
    for _ in range(2):
        with pytest.raises(LogWriteError):
            jq.enqueue(Job())
    jq.close(PATIENCE)

    assert files.calls.count("write") == before
    files.heal()
    with _open(log) as jq:
        assert jq.status("a") is Status.QUEUED


def test_the_whole_batch_fails_and_none_of_its_ids_is_taken(
    log: str, files: HeldFiles, records: Records
) -> None:
    files.fail("allocate", errno.EOPNOTSUPP)  # no map, so that all is written call by call
    jq = _open(log, "fsync")
    files.hold("write")
    first = in_thread(jq.enqueue, Job(id="first"))
    files.await_held()
    others = [in_thread(jq.enqueue, Job(id=f"other-{n}")) for n in range(5)]
    others.append(in_thread(jq.enqueue_many, [Job(id="many-0"), Job(id="many-1")]))
    eventually(lambda: jq.metrics().queued == 8)

    files.fail("write", errno.ENOSPC, skip=1, partial=200)
    files.let_go("write")

    assert first.result(PATIENCE).id == "first"
    for each in others:
        with pytest.raises(LogWriteError) as caught:
            each.result(PATIENCE)
        assert list(caught.value.accepted) == []
    ids = [*(f"other-{n}" for n in range(5)), "many-0", "many-1"]
    for job_id in ids:
        with pytest.raises(UnknownJobError):
            jq.status(job_id)
    handles = jq.enqueue_many([Job(id=job_id) for job_id in ids])
    assert [handle.status for handle in handles] == [Status.QUEUED] * 7
    jq.close()
    assert _reopened(log, records).metrics().queued == 8


def test_enqueue_many_tells_what_it_had_accepted_before(log: str, files: HeldFiles) -> None:
    blocker = Blocker()
    files.fail("allocate", errno.EOPNOTSUPP)  # no map, so that all is written call by call
    jq = _open(log, "fsync", blocker, start=True, queue_size=2)
    jq.enqueue(Job(id="held"))
    blocker.await_entered()
    many = in_thread(jq.enqueue_many, [Job(id=str(n)) for n in range(4)])
    eventually(lambda: insides.producers(jq))  # after the first two

    files.fail("write", errno.ENOSPC, for_ever=True)
    blocker.gate.set()

    with pytest.raises(LogWriteError) as caught:
        many.result(PATIENCE)
    files.heal()
    accepted = [handle.id for handle in caught.value.accepted]
    assert accepted == ["0", "1"]
    for job_id in ("2", "3"):
        with pytest.raises(UnknownJobError):
            jq.status(job_id)
    jq.close()


@pytest.mark.parametrize("way", WAYS)
def test_jobs_that_were_accepted_run_while_the_disk_is_full(
    log: str, way: str, files: HeldFiles
) -> None:
    jq = _open_by(way, log, files)
    handle = jq.enqueue(Job(b"abc"))
    _fill(jq, files, way)

    jq.start()

    assert handle.result(PATIENCE) == 3
    jq.close()


# --- outcomes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["plain", "fsync"])
def test_an_outcome_that_could_not_be_recorded_is_recorded_later(
    log: str, way: str, files: HeldFiles, records: Records
) -> None:
    """Fault 9 of docs/reliability.md."""
    jq = _open_by(way, log, files)
    jq.enqueue(Job(id="good"))
    jq.enqueue(Job(b"bad", id="bad", handler="bad"))
    jq.register("bad", _fail_job)
    files.fail("write", errno.ENOSPC, for_ever=True, partial=10)
    jq.start()
    assert jq.join(PATIENCE)
    eventually(lambda: _error(jq) is not None)

    files.heal()

    eventually(lambda: _error(jq) is None)
    jq.flush()
    jq.close()
    after = _reopened(log, records)
    assert after.status("good") is Status.COMPLETED
    assert after.info("bad").last_error == "ValueError: boom"


def _fail_job(_payload: bytes) -> None:
    raise ValueError("boom")


@pytest.mark.parametrize("way", ["plain", "fsync"])
def test_an_outcome_that_was_never_recorded_means_that_the_job_runs_again(
    log: str, way: str, files: HeldFiles, records: Records
) -> None:
    jq = _open_by(way, log, files)
    jq.enqueue(Job(id="a"))
    files.fail("write", errno.ENOSPC, for_ever=True)
    jq.start()
    assert jq.join(PATIENCE)
    assert jq.close(PATIENCE).unfinished == ()
    files.heal()

    assert _reopened(log, records).status("a") is Status.QUEUED


class NarrowFiles(HeldFiles):
    """A disk that has room for no more than a part of a large batch."""

    write_bytes_max = 1 << 30

    def write(self, fd: int, data: bytes, offset: int) -> None:
        if len(data) > self.write_bytes_max:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(fd, data, offset)


def test_of_outcomes_that_have_no_room_together_those_that_have_are_recorded(
    log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = NarrowFiles()
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", lambda: files)
    jq = _open(log, handler=lambda _payload: bytes(30_000))
    files.fail("allocate", errno.ENOSPC, for_ever=True)
    jq.enqueue_many([Job(store_result=True) for _ in range(40)])
    files.fail("write", errno.ENOSPC, for_ever=True)
    jq.start()
    assert jq.join(PATIENCE)
    assert eventually(lambda: _error(jq) is not None)

    files.write_bytes_max = 1_000_000  # less than all results take together
    files.heal()

    jq.flush()
    jq.close()
    with _open(log) as jq:
        assert jq.metrics().queued == 0


def test_close_tells_how_many_jobs_have_run_and_run_again(
    log: str, files: HeldFiles, records: Records
) -> None:
    """Fault 9 of docs/reliability.md."""
    jq = _open_by("plain", log, files)
    jq.enqueue_many([Job(id="good"), Job(id="other"), Job(b"bad", id="bad", handler="bad")])
    jq.register("bad", _fail_job)
    files.fail("write", errno.ENOSPC, for_ever=True)
    jq.start()
    assert jq.join(PATIENCE)

    jq.close(PATIENCE)

    told = [each.getMessage() for each in records.rest() if "run again" in each.getMessage()]
    assert len(told) == 1
    assert "3 jobs are run again at the next start, though they have ended" in told[0]
    assert "No space left on device" in told[0]
    files.heal()
    assert _reopened(log, records).metrics().queued == 3


# --- other changes ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["plain", "fsync"])
def test_a_cancellation_that_could_not_be_recorded_raises_and_is_recorded_later(
    log: str, way: str, files: HeldFiles, records: Records
) -> None:
    jq = _open_by(way, log, files)
    jq.enqueue(Job(id="a"))
    files.fail("write", errno.ENOSPC, for_ever=True)

    with pytest.raises(LogWriteError):
        jq.cancel("a")

    files.heal()
    assert jq.status("a") is Status.CANCELLED
    jq.close()
    assert _reopened(log, records).status("a") is Status.CANCELLED


@pytest.mark.parametrize("way", ["plain", "fsync"])
def test_a_requeue_that_could_not_be_recorded_raises_and_leaves_the_dead_letter(
    log: str, way: str, files: HeldFiles, records: Records
) -> None:
    jq = _open_by(way, log, files)
    jq.register("bad", _fail_job)
    jq.start()
    jq.enqueue(Job(b"payload", id="a", handler="bad")).wait(PATIENCE)
    jq.flush()
    jq.pause()
    files.fail("write", errno.ENOSPC)

    with pytest.raises(LogWriteError):
        jq.requeue("a")

    assert jq.status("a") is Status.FAILED
    assert jq.info("a").last_error == "ValueError: boom"
    metrics = jq.metrics()
    assert (metrics.enqueued, metrics.failed, metrics.queued) == (1, 1, 0)
    assert jq.requeue("a").status is Status.QUEUED
    jq.close()
    assert _reopened(log, records).status("a") is Status.QUEUED


def test_a_dead_letter_that_could_not_be_requeued_still_tells_its_retries(
    log: str, files: HeldFiles, records: Records
) -> None:
    def fail_twice(_payload: bytes, context: JobContext) -> None:
        raise RetryJobError(delay=0) if context.attempt == 0 else ValueError("boom")

    files.fail("allocate", errno.EOPNOTSUPP)  # no map, so that all is written call by call
    jq = _open(log, "fsync", fail_twice, start=True)
    jq.enqueue(Job(id="a", max_retries=1)).wait(PATIENCE)
    jq.flush()
    before = jq.info("a")
    files.fail("write", errno.ENOSPC)

    with pytest.raises(LogWriteError):
        jq.requeue("a")

    assert jq.info("a") == before
    assert before.retries == 1
    jq.close()
    assert _reopened(log, records).info("a").retries == 1


@pytest.mark.parametrize("way", ["plain", "fsync"])
def test_a_discard_that_could_not_be_recorded_raises_and_is_recorded_later(
    log: str, way: str, files: HeldFiles, records: Records
) -> None:
    jq = _open_by(way, log, files)
    jq.register("bad", _fail_job)
    jq.start()
    jq.enqueue(Job(id="a", handler="bad")).wait(PATIENCE)
    jq.flush()
    files.fail("write", errno.ENOSPC, for_ever=True)

    with pytest.raises(LogWriteError):
        jq.discard("a")

    files.heal()
    jq.close()
    with pytest.raises(UnknownJobError):
        _reopened(log, records).status("a")


@pytest.mark.parametrize("way", ["plain", "fsync"])
def test_flush_raises_while_the_disk_is_full_and_works_again_afterwards(
    log: str, way: str, files: HeldFiles
) -> None:
    jq = _open_by(way, log, files)
    jq.enqueue(Job(id="a"))
    files.fail("write", errno.ENOSPC, for_ever=True)  # before there is an outcome to write
    jq.start()
    assert jq.join(PATIENCE)

    with pytest.raises(LogWriteError):
        jq.flush()

    files.heal()
    jq.flush()
    jq.close()


@pytest.mark.parametrize("way", WAYS)
def test_no_job_is_written_into_what_was_given_up_for_outcomes(
    log: str, way: str, files: HeldFiles
) -> None:
    jq = _open_by(way, log, files)
    failures = [OSError(errno.ENOSPC, "full")]

    def record_outcomes() -> None:
        if failures:
            raise failures.pop()

    insides.log_room(jq).provide(record_outcomes)
    files.fail("create", errno.ENOSPC, for_ever=True)  # so the reserve cannot be taken again

    with pytest.raises(LogWriteError) as caught:
        jq.enqueue(Job(id="a"))

    assert caught.value.errno == errno.ENOSPC
    files.heal()
    assert jq.enqueue(Job(id="a")).status is Status.QUEUED
    jq.close()


# --- async --------------------------------------------------------------------------------------


def test_async_keeps_what_it_accepted_and_refuses_more_until_there_is_space(
    log: str, files: HeldFiles, records: Records
) -> None:
    jq = _open(log, "async")
    files.fail("write", errno.ENOSPC, for_ever=True, partial=100)
    accepted = [jq.enqueue(Job(id=str(n))).id for n in range(3)]
    eventually(lambda: _error(jq) is not None)

    with pytest.raises(LogWriteError) as caught:
        jq.enqueue(Job(id="refused"))
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(UnknownJobError):
        jq.status("refused")

    files.heal()
    eventually(lambda: _error(jq) is None)
    accepted.append(jq.enqueue(Job(id="refused")).id)
    jq.close()
    after = _reopened(log, records)
    assert {after.status(job_id) for job_id in accepted} == {Status.QUEUED}
    assert after.metrics().queued == 4


def test_async_runs_each_kept_job_once(log: str, files: HeldFiles) -> None:
    recorder = Recorder()
    jq = _open(log, "async", recorder, start=True)
    files.fail("write", errno.ENOSPC, for_ever=True)
    jq.enqueue(Job(id="a"))
    assert recorder.next().id == "a"
    eventually(lambda: _error(jq) is not None)

    files.heal()
    eventually(lambda: _error(jq) is None)

    assert jq.join(PATIENCE)
    assert recorder.ids() == []
    assert jq.metrics().completed == 1
    jq.close()


def test_async_still_knows_a_job_that_ended_while_others_had_filled_the_disk(
    log: str, files: HeldFiles, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = _open(log, "async", start=True)
    files.fail("write", errno.ENOSPC, for_ever=True)
    monkeypatch.setattr(files, "free", lambda _directory: (4096, 1 << 30))
    jq.enqueue(Job(id="a", headers={"large": "x" * 4096})).wait(PATIENCE)
    tries = files.calls.count("write")
    assert eventually(lambda: files.calls.count("write") > tries + 2)

    files.heal()

    jq.close()
    assert _reopened(log, records).status("a") is Status.COMPLETED


def test_async_writes_what_it_accepted_when_there_is_space_again_while_it_closes(
    log: str, files: HeldFiles, records: Records
) -> None:
    jq = _open(log, "async")
    files.fail("write", errno.ENOSPC, for_ever=True, partial=20)
    jq.enqueue(Job(id="a"))
    closing = in_thread(jq.close)
    assert eventually(lambda: insides.is_closing(insides.writer(jq)))
    tries = files.calls.count("write")
    assert eventually(lambda: files.calls.count("write") > tries + 1)
    assert not closing.done()

    files.heal()

    assert closing.result(PATIENCE).remaining == 1
    assert _reopened(log, records).status("a") is Status.QUEUED


@pytest.mark.parametrize(
    "level",
    [
        pytest.param("async", marks=pytest.mark.slow),  # it waits a second for space
        "write",
        "fsync",
    ],
)
def test_close_returns_while_the_disk_is_full_and_unlocks_the_log(
    log: str, level: str, files: HeldFiles
) -> None:
    jq = _open(log, level)
    jq.enqueue(Job())
    files.fail("write", errno.ENOSPC, for_ever=True, partial=20)
    files.fail("allocate", errno.ENOSPC, for_ever=True)

    if level == "async":
        with pytest.raises(LogWriteError):  # the job is in no log
            jq.close(0)
    else:
        assert jq.close(0).remaining == 1

    files.heal()
    _open(log).close()


# --- between segments ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["create", "write", "allocate"])
def test_a_disk_that_is_full_between_two_segments_is_no_harm(
    log: str, way: str, method: str, files: HeldFiles, records: Records
) -> None:
    jq = _open_by(way, log, files, segment_bytes=4096)
    files.fail(method, errno.ENOSPC, skip=1 if method == "write" else 0)
    accepted, refused = [], []

    for n in range(60):
        try:
            accepted.append(jq.enqueue(Job(b"x" * 200, id=str(n))).id)
        except LogWriteError:
            refused.append(str(n))

    assert len(refused) <= 1
    jq.close()
    files.heal()
    after = _reopened(log, records)
    assert {after.status(job_id) for job_id in accepted} == {Status.QUEUED}
    assert after.metrics().queued == len(accepted)


# --- for real -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 6 MiB in memory.

    Not below `tmp_path`: a run that is killed would leave it mounted where pytest cleans up.
    """
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    path = Path(tempfile.mkdtemp(prefix="jobqueue-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        path.rmdir()
        pytest.skip(f"no file system could be mounted: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)
        path.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize("level", ["async", "write", "fsync"])
def test_a_disk_that_is_really_full_loses_nothing_that_was_accepted(
    small_disk: Path, tmp_path: Path, level: str
) -> None:
    """Fault 9 of docs/reliability.md."""
    (small_disk / "ballast").write_bytes(b"x" * (2 << 20))

    _fill_for_real(small_disk / "jobs.db", tmp_path / "acks", level, small_disk / "ballast")


@pytest.mark.slow
@pytest.mark.parametrize("level", ["async", "write", "fsync"])
def test_a_limit_on_the_size_of_files_loses_nothing_that_was_accepted(
    tmp_path: Path, level: str
) -> None:
    _fill_for_real(tmp_path / "jobs.db", tmp_path / "acks", level, None)


def _fill_for_real(log: Path, acks: Path, level: str, ballast: Path | None) -> None:
    """A child enqueues until it is refused, gets space, and goes on."""
    with Child("fill_disk", log, acks, level, ballast or "") as child:
        assert child.end() == 0, child.stderr

    accepted = {line.split()[1] for line in read_acks(acks) if line.startswith("accepted")}
    refused = {line.split()[1] for line in read_acks(acks) if line.startswith("refused")}
    assert refused
    assert len(accepted) > 20
    recorder = Recorder()
    config = Config(persist_path=log, num_workers=1)
    with JobQueue(config, handler=recorder) as jq:
        assert jq.join(PATIENCE)
    assert sorted(recorder.ids()) == sorted(accepted)
