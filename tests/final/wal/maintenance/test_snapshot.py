from __future__ import annotations

import errno
from pathlib import Path

import pytest

from jobqueue.final.errors import LogCorruptError
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.format.record import (
    Cancelled,
    Crashed,
    Discarded,
    Enqueued,
    Failed,
    Record,
    Requeued,
    Retried,
    Revoked,
    Ticked,
)
from jobqueue.final.wal.maintenance.snapshot import (
    PAYLOAD_BYTES_PER_BATCH,
    CompactionStoppedError,
    compact,
)
from jobqueue.final.wal.names import list_log, segment_name, snapshot_name
from jobqueue.final.wal.reading.fold import LogState
from tests.support.dying_files import DiedError, DyingFiles
from tests.support.faulty_files import FaultyFiles
from tests.support.logs import HastyFiles, LogDirectory, done, job, segment

RETENTION = 100

EVENTFUL: list[list[list[Record]]] = [
    [[job(1), job(2)], [done(1)], [job(3)], [Retried(3, 5.0, 4.0, 1, 6.0, 1.0, "E: x", "trace")]],
    [[job(4)], [Failed(4, 7.0, 6.5, 3, "E: y", "trace")], [job(5)], [Cancelled(5, 8.0)]],
    [
        [job(6), job(7)],
        [Crashed(6, 2, 3), Revoked(6, 8.5), Ticked("report", 8.0), Ticked("nightly", 8.5, 6)],
        [Failed(7, 9.0, 8.5, 0, "E: z", "")],
        [Discarded(7)],
    ],
]
ACTIVE: list[list[Record]] = [[job(8)], [Requeued(4, 10.0)], [done(2)]]


def write_log(path: Path) -> LogDirectory:
    """Three sealed segments and an active one, in which most things happen that can."""
    log = LogDirectory(path)
    first = 1
    for number, batches in enumerate([*EVENTFUL, ACTIVE], start=1):
        log.put(segment(number, first, batches))
        first += len(batches)
    return log


def state_of(log: LogDirectory, retention: int = RETENTION) -> LogState:
    state = LogState(retention)
    state.apply_all(log.open().records)
    return state


def test_a_snapshot_holds_the_same_jobs_as_the_segments_that_it_replaces(tmp_path: Path) -> None:
    log = write_log(tmp_path)
    before = state_of(log)

    compact(log.files, str(tmp_path), 3, RETENTION)

    assert state_of(log).jobs == before.jobs
    assert state_of(log).ticks == before.ticks != {}
    assert sorted(log.content()) == [snapshot_name(3), segment_name(4)]


def test_a_temporary_file_that_somebody_else_is_writing_is_left_alone(tmp_path: Path) -> None:
    log = write_log(tmp_path)
    (tmp_path / "SLOTS.tmp").write_bytes(b"slots")

    result = compact(log.files, str(tmp_path), 3, RETENTION)

    assert (tmp_path / "SLOTS.tmp").read_bytes() == b"slots"
    assert result.files == 3


def test_batches_go_on_after_a_snapshot_with_the_number_that_follows(tmp_path: Path) -> None:
    log = write_log(tmp_path)
    last = log.read().last

    compact(log.files, str(tmp_path), 3, RETENTION)

    assert log.read().last == last


def test_a_snapshot_is_compacted_with_the_segments_that_follow(tmp_path: Path) -> None:
    log = write_log(tmp_path)
    before = state_of(log).jobs

    compact(log.files, str(tmp_path), 1, RETENTION)
    compact(log.files, str(tmp_path), 3, RETENTION)

    assert state_of(log).jobs == before
    assert sorted(log.content()) == [snapshot_name(3), segment_name(4)]


def test_finished_jobs_beyond_the_retention_are_dropped(tmp_path: Path) -> None:
    log = LogDirectory(tmp_path)
    jobs: list[Record] = [job(n) for n in range(1, 51)]
    ends: list[Record] = [done(n) for n in range(1, 51)]
    log.put(segment(1, 1, [jobs, ends]), segment(2, 3, [[job(51)]]))

    compact(log.files, str(tmp_path), 1, 10)

    assert sorted(state_of(log).jobs) == [*range(41, 52)]


def test_the_result_tells_what_was_replaced(tmp_path: Path) -> None:
    log = write_log(tmp_path)
    replaced = sum(len(log.content()[segment_name(n)]) for n in (1, 2, 3))

    result = compact(log.files, str(tmp_path), 3, RETENTION)

    assert (result.through, result.files, result.bytes_before) == (3, 3, replaced)
    assert result.bytes_after == len(log.content()[snapshot_name(3)])


def test_a_snapshot_is_for_its_owner_alone(tmp_path: Path) -> None:
    log = write_log(tmp_path)

    compact(Files(), str(tmp_path), 3, RETENTION)

    assert (tmp_path / snapshot_name(3)).stat().st_mode & 0o777 == 0o600
    assert log.read().torn is None


@pytest.mark.parametrize("after", range(3))
def test_told_to_stop_it_changes_nothing(tmp_path: Path, after: int) -> None:
    log = write_log(tmp_path)
    before = log.content()
    answers = iter([False] * after + [True] * 100)

    with pytest.raises(CompactionStoppedError):
        compact(log.files, str(tmp_path), 3, RETENTION, lambda: next(answers))

    assert log.content() == before


def test_a_damaged_segment_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    log = write_log(tmp_path)
    path = tmp_path / segment_name(3)
    path.write_bytes(path.read_bytes()[:-3])
    before = log.content()

    with pytest.raises(LogCorruptError, match=segment_name(3)):
        compact(log.files, str(tmp_path), 3, RETENTION)

    assert log.content() == before


def test_a_full_disk_changes_nothing_and_the_next_attempt_works(tmp_path: Path) -> None:
    log = write_log(tmp_path)
    before = log.content()
    files = FaultyFiles()
    files.fail("write", errno.ENOSPC, skip=1, partial=10)

    with pytest.raises(OSError, match="No space"):
        compact(files, str(tmp_path), 3, RETENTION)
    assert log.content() == before

    compact(files, str(tmp_path), 3, RETENTION)
    assert sorted(log.content()) == [snapshot_name(3), segment_name(4)]


def test_what_is_replaced_is_removed_only_after_the_snapshot_is_on_the_disk(
    tmp_path: Path,
) -> None:
    write_log(tmp_path)
    files = DyingFiles()

    compact(files, str(tmp_path), 3, RETENTION)

    order = files.made
    renamed = order.index("rename")
    assert order[renamed - 1] == "sync"
    assert order[renamed + 1] == "sync_directory"
    assert "unlink" not in order[order.index("create") : renamed]


def _calls_of_a_compaction(path: Path) -> int:
    path.mkdir()
    write_log(path)
    files = DyingFiles()
    compact(files, str(path), 3, RETENTION)
    return len(files.made)


def test_killed_at_any_step_the_log_holds_the_same_jobs(tmp_path: Path) -> None:
    """Fault 7 of docs/reliability.md."""
    for calls in range(_calls_of_a_compaction(tmp_path / "whole")):
        path = tmp_path / str(calls)
        path.mkdir()
        log = write_log(path)
        before = state_of(log).jobs

        with pytest.raises(DiedError):
            compact(DyingFiles(calls), str(path), 3, RETENTION)

        assert state_of(log).jobs == before, f"killed after {calls} calls"
        listing = list_log(HastyFiles(), str(path))
        assert not listing.stale, f"killed after {calls} calls"


def test_killed_again_during_the_recovery_the_log_holds_the_same_jobs(tmp_path: Path) -> None:
    """Fault 7 of docs/reliability.md."""
    for calls in range(_calls_of_a_compaction(tmp_path / "whole")):
        for again in range(8):
            path = tmp_path / f"{calls}-{again}"
            path.mkdir()
            log = write_log(path)
            before = state_of(log).jobs
            with pytest.raises(DiedError):
                compact(DyingFiles(calls), str(path), 3, RETENTION)

            log.files = DyingFiles(again)
            try:
                log.open()
            except DiedError:
                pass
            log.files = HastyFiles()

            assert state_of(log).jobs == before, f"killed after {calls} and {again} calls"


def test_large_payloads_are_spread_over_many_batches_of_a_snapshot(tmp_path: Path) -> None:
    """A batch is held in memory, by whoever writes it and whoever reads it."""
    large = [Enqueued(number, f"job-{number}", 1, 1.5, payload="x" * 400_000) for number in (1, 2)]
    small: list[Record] = [job(number) for number in range(3, 2000)]
    log = LogDirectory(tmp_path)
    log.put(segment(1, 1, [[*large, *small], [*_more(2000, 10)]]), segment(2, 3, []))
    before = state_of(log, 5000).jobs

    compact(log.files, str(tmp_path), 1, 5000)

    assert state_of(log, 5000).jobs == before
    batches = _batches_of(tmp_path / snapshot_name(1))
    assert max(len(text) for text in batches) < 2 * PAYLOAD_BYTES_PER_BATCH
    assert len(batches) > 5


def _more(first: int, count: int) -> list[Record]:
    return [
        Enqueued(number, f"job-{number}", 1, 1.5, binary=b"\xff" * 400_000)
        for number in range(first, first + count)
    ]


def _batches_of(path: Path) -> list[bytes]:
    return path.read_bytes().split(b'{"commit":')[:-1]
