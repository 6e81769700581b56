from __future__ import annotations

import errno
import threading
import time
from typing import TYPE_CHECKING, Literal

import pytest

from jobqueue.final.wal.format.record import Enqueued
from jobqueue.final.wal.writing.active_segment import INLINE_RECORDS_MAX, ActiveSegment
from jobqueue.final.wal.writing.batch import LogOptions, OpenBatch
from tests.support.faulty_files import FaultyFiles
from tests.support.logs import LogDirectory, done, job

if TYPE_CHECKING:
    from pathlib import Path

SEGMENT_BYTES = 300

Durability = Literal["write", "fsync"]


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyFiles()


def active_segment(
    files: FaultyFiles, path: Path, durability: Durability, segment_bytes: int = SEGMENT_BYTES
) -> ActiveSegment:
    options = LogOptions(
        durability=durability,
        fsync_interval=1.0,
        segment_bytes=segment_bytes,
        segment=1,
        batch=0,
        bytes_before=0,
        files_before=0,
        status_retention=10,
    )
    return ActiveSegment(files, str(path), options, threading.RLock(), time.monotonic)


def test_a_segment_is_fsynced_with_the_word_that_it_was_before_the_next_one_is_there(
    files: FaultyFiles, tmp_path: Path
) -> None:
    # The header of the next one says that all before it is on the disk, that word included.
    files.fail("allocate", errno.EOPNOTSUPP)  # no map, so that each write is a call
    log = active_segment(files, tmp_path, "fsync")
    log.write([job(1)])
    files.calls.clear()

    log.write([job(2)])
    log.finish()

    started = files.calls.index("create")
    assert files.calls[:started] == ["sync", "write", "sync"]


@pytest.mark.parametrize("durability", ["write", "fsync"])
def test_the_last_word_of_a_segment_says_that_all_before_it_was_fsynced(
    files: FaultyFiles, tmp_path: Path, durability: Durability
) -> None:
    log = active_segment(files, tmp_path, durability)
    log.write([job(1)])
    log.seal()
    log.finish()

    assert log.synced == log.number == 2
    (segment,) = LogDirectory(tmp_path).content().values()
    assert segment.rstrip(b"\0").endswith(b"\n")
    assert b'"synced":1' in segment.splitlines()[-1]


def test_records_go_on_in_the_next_segment_where_one_is_full(
    files: FaultyFiles, tmp_path: Path
) -> None:
    log = active_segment(files, tmp_path, "fsync")
    for number in range(1, 6):
        log.write([job(number)])
    log.seal()
    log.finish()

    reading = LogDirectory(tmp_path).read()
    assert reading.records == [job(number) for number in range(1, 6)]
    assert reading.torn is None
    assert log.segment == reading.next_segment - 1 > 1


def test_a_caller_writes_a_batch_by_one_call_if_there_is_no_map(
    files: FaultyFiles, tmp_path: Path
) -> None:
    files.maps = False
    log = active_segment(files, tmp_path, "write", segment_bytes=1 << 24)
    batch = OpenBatch()
    files.calls.clear()
    for number in (1, 2):
        batch.records = [job(number)]
        assert log.copy(batch)
        assert (batch.records, list(log.copied)) == ([], [job(number)])
    assert files.calls == ["write", "write"]
    assert (log.number, log.batches, log.unsynced_records) == (2, 2, 2)
    log.abandon()  # as kill -9 leaves it
    assert LogDirectory(tmp_path).read().records == [job(1), job(2)]


@pytest.mark.parametrize("partial", [0, 1, 60])
def test_a_batch_that_a_caller_cannot_write_is_the_logs_threads(
    files: FaultyFiles, tmp_path: Path, partial: int
) -> None:
    files.maps = False
    log = active_segment(files, tmp_path, "write", segment_bytes=1 << 24)
    batch = OpenBatch()
    batch.records = [job(1), job(2)]
    files.fail("write", errno.ENOSPC, partial=partial)
    assert not log.copy(batch)
    assert (batch.records, log.number) == ([job(1), job(2)], 0)
    assert not log.copy(batch)  # nor once more, before what is left has been cut off
    with pytest.raises(OSError, match="No space"):
        log.write([job(1)])  # shorter than what is left
    files.heal()
    log.write([job(1)])
    batch.records = [job(3)]
    assert log.copy(batch)
    log.abandon()
    reading = LogDirectory(tmp_path).read()
    assert (reading.records, reading.torn) == ([job(1), job(3)], None)


def test_what_an_interrupted_caller_has_written_is_there_once(
    files: FaultyFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. The batch is written. 2. An exception comes, from a signal's handler, before the caller
    # has noted that. 3. The batch is still open, and the log's thread writes it, with more.
    files.maps = False
    log = active_segment(files, tmp_path, "write", segment_bytes=1 << 24)
    batch = OpenBatch()
    batch.records = [job(1)]
    write_now = files.write_now

    def interrupted(fd: int, data: bytes, offset: int) -> int:
        write_now(fd, data, offset)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(files, "write_now", interrupted)
        with pytest.raises(KeyboardInterrupt):
            log.copy(batch)
    assert (batch.records, log.number) == ([job(1)], 0)
    assert not log.copy(batch)
    log.write([job(1), job(2)])
    log.abandon()
    assert LogDirectory(tmp_path).read().records == [job(1), job(2)]


def test_a_caller_does_not_copy_a_batch_that_takes_long_to_encode(
    files: FaultyFiles, tmp_path: Path
) -> None:
    log = active_segment(files, tmp_path, "write", segment_bytes=1 << 24)
    batch = OpenBatch()
    batch.records = [done(number) for number in range(1, INLINE_RECORDS_MAX + 2)]
    assert not log.copy(batch)
    batch.records.pop()
    assert log.copy(batch)
    log.finish()


def test_a_batch_that_no_reader_takes_is_not_cut_within_jobs_that_were_accepted_in_one(
    files: FaultyFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.final.wal.writing.active_segment.BATCH_BYTES_MAX", 400)
    log = active_segment(files, tmp_path, "write", segment_bytes=1 << 24)
    joined = [Enqueued(number, str(number), 1, 0.0, joined=True) for number in (3, 4)]
    log.write([job(1), job(2), *joined, job(5), job(6)])
    log.write([job(7), Enqueued(8, "8", 1, 0.0, payload="x" * 400, joined=True)])
    log.finish()

    (segment,) = LogDirectory(tmp_path).content().values()
    batches = segment.split(b'"commit"')
    assert [batch.count(b'"op"') for batch in batches] == [1, 3, 2, 2, 0]
