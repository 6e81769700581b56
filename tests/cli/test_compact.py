from __future__ import annotations

import errno
from pathlib import Path

import pytest

from jobqueue.final import Config, Job, JobQueue, Status
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.names import LOCK_NAME, segment_name, snapshot_name
from jobqueue.final.wal.reading.closed import CLOSED_NAME
from tests.support.commands import Command
from tests.support.faulty_files import FaultyFiles
from tests.support.logs import Image, LogDirectory, done, job, nothing, segment


def log_files(log: LogDirectory) -> list[str]:
    return sorted(name for name in log.content() if name not in (LOCK_NAME, CLOSED_NAME))


def test_all_segments_become_a_snapshot_and_an_empty_one(
    command: Command, log: LogDirectory
) -> None:
    log.put(segment(1, 1, [[job(1)], [job(2)]]), segment(2, 3, [[done(1)]]))
    assert command("compact").code == 0
    assert log_files(log) == [snapshot_name(2), segment_name(3)]
    assert command("verify").code == 0


def test_the_jobs_are_the_same(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)], [job(2)]]), segment(2, 3, [[done(1)]]))
    before = command("cat", "--json").out
    command("compact")
    assert command("cat", "--json").out == before


def test_it_can_be_done_again_and_again(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    for _ in range(3):
        assert command("compact").code == 0
    assert log_files(log) == [snapshot_name(3), segment_name(4)]


def test_a_compacted_log_opens_and_goes_on(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)], [job(2)], [done(1)]]))
    command("compact")
    log.append(log.open(), done(2))
    assert [each["status"] for each in command("cat", "--json").objects] == ["completed"] * 2


def test_a_queue_goes_on_with_a_compacted_log(
    command: Command, log: LogDirectory, tmp_path: Path
) -> None:
    config = Config(persist_path=log.path)
    with JobQueue(config, handler=len) as jq:
        finished = jq.enqueue(Job(b"now"))
        finished.wait(10)
        waiting = jq.enqueue(Job(b"later", handler="unknown"))
    assert command("compact").code == 0
    with JobQueue(config, handler=len, handlers={"unknown": len}) as jq:
        assert jq.handle(waiting.id).wait(10) is Status.COMPLETED
        assert jq.status(finished.id) is Status.COMPLETED


def test_it_tells_the_size_before_and_after(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(number)] for number in range(1, 50)]))
    before = sum(map(len, log.content().values()))
    report = command("compact", "--json").object
    after = sum(len(data) for name, data in log.content().items() if name.endswith(".jsonl"))
    assert report == {
        "log": str(log.path),
        "files_before": 1,
        "bytes_before": before,
        "files_after": 2,
        "bytes_after": after,
    }
    size = f"2 files, {after / 1024:.1f} KiB"
    assert command("compact").lines == [f"{log.path}: {size} before; {size} now"]


def test_finished_jobs_beyond_the_retention_are_forgotten(
    command: Command, log: LogDirectory
) -> None:
    log.put(segment(1, 1, [[job(1), job(2), job(3)], [done(1), done(2)]]))
    command("compact", "--status-retention", "1")
    assert [each["id"] for each in command("cat", "--json").objects] == ["job-2", "job-3"]


def test_what_is_torn_is_cut_off_kept_and_told(command: Command, log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)]], nothing)
    log.put(Image(whole.name, whole.data[:-5]))
    outcome = command("compact")
    copy = log.path / f"{whole.name}.torn"
    assert outcome.code == 0
    assert outcome.err.endswith(f"it was cut off and kept in {copy}\n")
    assert copy.read_bytes() == whole.batch(1)[:-5]
    assert [each["id"] for each in command("cat", "--json").objects] == ["job-1"]


def test_a_log_that_is_all_torn_is_left_empty(command: Command, log: LogDirectory) -> None:
    log.put(Image(segment_name(1), b'{"format":"jobq'))
    assert command("compact").code == 0
    assert log_files(log) == [f"{segment_name(1)}.torn"]


@pytest.mark.parametrize("skip", [0, 2, 3])  # 1 is how far the log goes: that may fail
def test_a_full_disk_ends_in_5_and_leaves_a_sound_log(
    command: Command, log: LogDirectory, monkeypatch: pytest.MonkeyPatch, skip: int
) -> None:
    log.put(segment(1, 1, [[job(1)], [job(2)]]))
    files = FaultyFiles()
    files.fail("write", errno.ENOSPC, skip=skip, for_ever=True)
    monkeypatch.setattr("jobqueue.cli.access.Files", lambda: files)
    outcome = command("compact")
    assert (outcome.code, outcome.out) == (5, "")
    assert outcome.err.startswith(f"jobqueue: {log.path}")
    assert ": No space left on device: " in outcome.err
    assert outcome.err.endswith(" are free on its file system\n")
    files.heal()
    assert command("verify").code == 0
    assert len(command("cat", "--json").objects) == 2
    assert command("compact").code == 0
    assert len(command("cat", "--json").objects) == 2


def test_the_lock_is_held_all_the_while(
    command: Command, log: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watching(Files):
        def rename(self, old: str, new: str) -> None:
            assert Files().owner(str(log.path / LOCK_NAME)) is not None
            renamed.append(new)
            super().rename(old, new)

    renamed: list[str] = []
    monkeypatch.setattr("jobqueue.cli.access.Files", Watching)
    log.put(segment(1, 1, [[job(1)]]))
    assert command("compact").code == 0
    assert renamed == [str(log.path / CLOSED_NAME), str(log.path / snapshot_name(1))]
    assert Files().owner(str(log.path / LOCK_NAME)) is None
