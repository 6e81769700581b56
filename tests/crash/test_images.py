"""What a power cut or kill -9 could leave of a queue's disk, at any point, is recovered.

Faults 2, 3, 6, 7, 8 and 9 of docs/reliability.md. Runs of real queues are recorded on a disk in
memory. Of each recording come the disks that a crash could have left after each of its events (the
model of a file system is told in `tests/support/power_cut.py`); each is opened and held to what
the queue had promised by then.
"""

from __future__ import annotations

import errno
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from jobqueue.final import Config, LogCorruptError
from jobqueue.final.life.recovery import open_log
from jobqueue.final.wal.format.codec import decode_crcs, encode_batch
from jobqueue.final.wal.format.record import Record
from jobqueue.final.wal.maintenance import snapshot as compact
from jobqueue.final.wal.reading import scan
from jobqueue.final.wal.slots import Slots
from jobqueue.final.wal.writing import active_segment
from jobqueue.final.wal.writing.active_segment import ActiveSegment
from jobqueue.final.wal.writing.batch import OpenBatch
from jobqueue.final.wal.writing.writer import LogWriter
from tests.support import insides
from tests.support.crash_check import Revival
from tests.support.crash_points import Point, points
from tests.support.crash_runs import OFTEN_AND_DAILY, WAYS, CrashRun, Way, small_windows
from tests.support.disk_tree import Event, Made, Renamed, Tree, Unlinked, Written
from tests.support.ledger import NOT_THERE
from tests.support.left_out import often
from tests.support.recording_files import CHANGES, LOG, SYNCS, RandomFaults, RecordingFiles

pytestmark = pytest.mark.slow
each_way = pytest.mark.parametrize("way", OFTEN_AND_DAILY, ids=str)
MAPPED, FSYNC = WAYS[1], WAYS[3]
STEP = often(3, 1)
"""In each run a third of the crashes is tried, by chance which; once a day all."""


@pytest.fixture(autouse=True)
def _quiet_and_narrow() -> Iterator[None]:
    with small_windows():
        yield


@cache
def a_life(way: Way) -> CrashRun:
    """A queue that is asked for a bit of everything, is closed now and then, and opened again."""
    with CrashRun("life", way) as run:
        run.open()
        run.script(10)
        run.resume()
        run.hold()
        run.enqueue_many(plan=["fail", "reject"])
        run.advance()
        run.requeue()
        run.discard()
        run.enqueue_delayed()
        run.cancel()
        run.script(15)
        run.close()
    return run


@cache
def a_compaction(way: Way) -> CrashRun:
    """A queue that compacts its log, for it remembers few of the jobs that have finished."""
    with CrashRun("compaction", way, forgetful=True) as run:
        run.open()
        run.script(12)
        run.until_compacted()
        run.script(4)
        run.close()
    return run


def crashes(run: CrashRun, *, all_up_to: int = 8, samples: int = 2) -> list[Point]:
    """The crashes of a run."""
    with untraced():
        return list(points(run, Random(1), all_up_to=all_up_to, samples=samples))


def recover(found: list[Point]) -> None:
    """Recover from each of the crashes that this run tries; tell of the first broken promises."""
    with untraced():
        for point in found[random.randrange(STEP) :: STEP]:
            problems = point.verdict().problems
            assert not problems, f"{point.crash} after {point.at} events: " + "\n".join(problems)


@contextmanager
def untraced() -> Iterator[None]:
    """Have nothing measured: that takes three times as long, and shows the same lines each time."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


# ── crashes ──────────────────────────────────────────────────────────────────────────────────


@each_way
def test_every_crash_of_a_life_is_survived(way: Way) -> None:
    found = crashes(a_life(way))
    assert len(found) > 200
    recover(found)


@each_way
def test_every_crash_around_a_compaction_is_survived(way: Way) -> None:
    found = crashes(a_compaction(way))
    assert len(found) > 200
    recover(found)


@each_way
def test_every_combination_of_what_a_crash_may_leave_of_a_few_jobs_is_survived(way: Way) -> None:
    with CrashRun("few", way, fsync_interval=3600) as run:
        run.open()
        run.enqueue_parked()
        run.enqueue_many(plan=["ok"])
        run.cancel()
        run.close()
    recover(crashes(run, all_up_to=256, samples=16))


@each_way
def test_a_crash_in_the_recovery_from_a_crash_is_survived(way: Way) -> None:
    """The recovery is recorded in turn: after kill -9 what was unsynced still is."""
    rng = Random("again")
    for number, point in enumerate(rng.sample(crashes(a_life(way)), 4)):
        again = point.go_on(f"again {number}", way, requests=2)
        recover(crashes(again, samples=1))


def test_each_crash_in_a_chain_of_crashed_recoveries_is_survived() -> None:
    rng = Random("chain")
    for way in WAYS:
        point = rng.choice(crashes(a_compaction(way)))
        for link in range(3):
            run = point.go_on(f"link {link}", way, requests=1)
            found = crashes(run, all_up_to=4, samples=1)
            recover(found)
            point = rng.choice(found)


def killed_around(run: CrashRun, is_meant: Callable[[Event], bool], after: int) -> list[Point]:
    """The kills from such an event on, through so many that follow it."""
    starts = [index for index, event in enumerate(run.files.events) if is_meant(event)]
    assert starts
    near = {start + step for start in starts for step in range(after + 1)}
    found = points(run, Random(1), all_up_to=0, samples=0)
    return [point for point in found if point.crash == "kill -9" and point.at in near]


@pytest.mark.parametrize("way", [MAPPED, FSYNC], ids=str)
def test_a_power_cut_after_a_kill_at_any_step_of_compaction_is_survived(way: Way) -> None:
    """Fault 7 of docs/reliability.md.

    The rename of the snapshot may still be undone when the next start tidies up after it.
    """

    def is_rename(event: Event) -> bool:
        return isinstance(event, Renamed) and event.new.endswith(".snapshot.jsonl")

    for point in killed_around(a_compaction(way), is_rename, 7):
        again = point.go_on(f"after {point.at}", way, requests=1)
        recover(crashes(again, all_up_to=16, samples=1))


def test_a_power_cut_after_a_kill_at_any_step_of_the_first_start_is_survived() -> None:
    """The directory of the log itself may not be on the disk yet."""

    def is_first(event: Event) -> bool:
        return isinstance(event, Made) and event.path == LOG

    for point in killed_around(a_life(FSYNC), is_first, 10):
        again = point.go_on(f"after {point.at}", FSYNC, requests=4)
        recover(crashes(again, samples=1))


@each_way
def test_a_queue_that_is_opened_after_a_crash_runs_what_is_there_and_nothing_else(way: Way) -> None:
    for point in Random("revival").sample(crashes(a_life(way)), 12):
        found = point.verdict()
        assert not found.problems
        revival = Revival(point.remains, found, way.durability, maps=way.mapped)
        assert not revival.run(), f"{point.crash} after {point.at} events"


@each_way
@pytest.mark.parametrize("left", [None, b"", bytes(700)], ids=["nothing", "empty", "NULs"])
def test_a_log_whose_end_is_lost_after_it_was_closed_is_refused(
    way: Way, left: bytes | None
) -> None:
    """Fault 36 of docs/reliability.md: what a close leaves is enough to tell."""
    whole = a_life(way).files.image()
    last = max(path for path in whole if path.endswith(".jsonl"))
    image = {path: data for path, data in whole.items() if path != last}
    files = RecordingFiles(Tree(image if left is None else image | {last: left}), maps=False)
    before = files.image()
    with pytest.raises(LogCorruptError):
        open_log(LOG, Config(), files)
    unchanged = {path: data for path, data in files.image().items() if path != f"{LOG}/LOCK"}
    assert unchanged == {path: data for path, data in before.items() if path != f"{LOG}/LOCK"}


# ── faults of the disk, then crashes ─────────────────────────────────────────────────────────


@each_way
def test_every_crash_of_a_queue_on_a_disk_that_is_full_now_and_then_is_survived(way: Way) -> None:
    with CrashRun("full", way) as run:
        run.open()
        run.files.inject = RandomFaults(Random(1), 0.08, dict.fromkeys(CHANGES, errno.ENOSPC))
        run.script(25)
        while not run.files.injected:
            run.enqueue_many()
        run.files.inject = None
        run.close()
    recover(crashes(run))


@each_way
def test_every_crash_of_a_queue_whose_fsyncs_fail_now_and_then_is_survived(way: Way) -> None:
    """It is opened anew each time: what is in memory alone by then must not be built upon."""
    for seed in range(4):
        with CrashRun(f"failing {seed}", way) as run:
            run.open()
            run.files.inject = RandomFaults(Random(seed), 0.2, dict.fromkeys(SYNCS, errno.EIO))
            run.script(10)
            while not run.files.injected:
                run.flush()
            run.close()
            run.files.inject = None
            run.open()
            run.script(5)
            run.close()
        recover(crashes(run, samples=1))


@pytest.mark.parametrize("method", ["create", "write", "allocate", "sync", "sync_directory"])
@pytest.mark.parametrize("way", [MAPPED, FSYNC], ids=str)
def test_a_segment_that_could_not_be_started_may_come_back_after_a_crash(
    way: Way, method: str
) -> None:
    """Its header tells what had been written by then, and contradicts what is written later."""
    with CrashRun("no segment", way) as run:
        run.open()
        with patch.object(
            *insides.starting_segment(ActiveSegment), _failing_once(run.files, method)
        ):
            while not run.files.injected and _segments(run) < 2:
                run.enqueue_parked()
            for _ in range(4):
                run.enqueue_parked()
        run.close()
    recover(crashes(run, all_up_to=64))


def _segments(run: CrashRun) -> int:
    return len([name for name in run.files.list_directory(LOG) if name.endswith(".jsonl")])


def _failing_once(files: RecordingFiles, method: str) -> Callable[[ActiveSegment, int], Any]:
    """Starts a segment, but for the first time, where a call fails."""
    start = getattr(*insides.starting_segment(ActiveSegment))
    number = errno.EIO if "sync" in method else errno.ENOSPC
    fails = RandomFaults(Random(1), 1.0, {method: number})

    def failing(self: ActiveSegment, segment: int) -> Any:
        files.inject = None if files.injected else fails
        try:
            return start(self, segment)
        finally:
            files.inject = None

    return failing


# ── that the runs are what they are meant to be ──────────────────────────────────────────────


@each_way
def test_the_recorded_life_holds_a_bit_of_everything(way: Way) -> None:
    run = a_life(way)
    standings = Counter(
        step.standing.status for each in run.ledger.histories.values() for step in each.steps
    )
    assert standings.keys() == {"absent", "queued", "completed", "failed", "cancelled"}
    steps = [step.standing for each in run.ledger.histories.values() for step in each.steps[1:]]
    assert NOT_THERE in steps, "nothing was discarded"
    assert any(step.retries for step in steps), "nothing was retried"
    assert any(step.due is not None and not step.retries for step in steps), "nothing was delayed"
    made = [event.path for event in run.files.events if isinstance(event, Made)]
    assert f"{LOG}/00000003.jsonl" in made
    assert any(
        e.mapped for e in run.files.events if isinstance(e, Written) and len(e.data) > 8
    ) == (way.mapped)


@each_way
def test_the_recorded_compaction_replaces_segments(way: Way) -> None:
    events = a_compaction(way).files.events
    assert any(isinstance(e, Renamed) and e.new.endswith(".snapshot.jsonl") for e in events)
    assert any(isinstance(e, Unlinked) and e.path.endswith(".jsonl") for e in events)


def test_the_crashes_leave_torn_tails_and_whole_logs() -> None:
    found = Random(1).sample(crashes(a_life(MAPPED)), 150)
    torn = [point.verdict().was_torn for point in found]
    assert torn.count(True) > 5
    assert torn.count(False) > 5


# ── that broken code would be found ──────────────────────────────────────────────────────────


class Agreeing(list[int]):
    """Different from nothing."""

    def __ne__(self, other: object) -> bool:
        return False


def _no_fsync() -> Any:
    return patch.object(RecordingFiles, "sync", lambda _self, _fd: 0)


def _no_fsync_of_snapshots() -> Any:
    sync = RecordingFiles.sync

    def hasty(self: RecordingFiles, fd: int) -> int:
        if self._tree.names.get(f"{LOG}/SLOTS.tmp") != self._open_files[fd] and any(
            path.endswith(".tmp") and inode == self._open_files[fd]
            for path, inode in self._tree.names.items()
        ):
            return 0
        return sync(self, fd)

    return patch.object(RecordingFiles, "sync", hasty)


def _no_fsync_of_directories() -> Any:
    return patch.object(RecordingFiles, "sync_directory", lambda _self, _path: None)


def _no_checksum() -> Any:
    return patch.object(scan, "decode_crcs", lambda column: Agreeing(decode_crcs(column)))


def _ack_before_fsync() -> Any:
    written = getattr(*insides.writing(LogWriter))

    def early(self: LogWriter, batch: OpenBatch) -> bool:
        must_sync = bool(written(self, batch))
        if must_sync:
            insides.settle_before_fsync(self, batch)
        return must_sync

    return patch.object(*insides.writing(LogWriter), early)


def _ack_before_write() -> Any:
    def early(self: LogWriter, *, inline: bool = True) -> None:
        insides.settle_before_write(self)

    return patch.object(LogWriter, "commit", early)


def _attest_what_is_not_fsynced() -> Any:
    def boast(records: list[Record], number: int, synced: int) -> bytes:
        return encode_batch(records, number, number - 1)

    return patch.object(active_segment, "encode_batch", boast)


def _replaced_files_first() -> Any:
    """Segments are removed before the snapshot that replaces them is there for good."""
    write = compact.write_snapshot

    def hasty(files: RecordingFiles, *args: Any) -> int:
        with patch.object(RecordingFiles, "sync_directory", lambda _self, _path: None):
            return write(files, *args)

    return patch.object(compact, "write_snapshot", hasty)


def _no_copy_of_what_is_cut() -> Any:
    return patch.object(*insides.keeping_copies(), lambda _files, _cut: None)


def _no_slots() -> Any:
    return patch.object(Slots, "set", lambda _self, _slot, _job: None)


RECORDINGS_MAX = 10
SABOTAGE = [
    (_no_fsync, FSYNC, a_life),
    (_no_fsync_of_directories, FSYNC, a_life),
    (_no_fsync_of_snapshots, FSYNC, a_compaction),
    (_no_checksum, MAPPED, a_life),
    (_ack_before_fsync, FSYNC, a_life),
    (_ack_before_write, MAPPED, a_life),
    (_attest_what_is_not_fsynced, MAPPED, a_life),
    (_replaced_files_first, FSYNC, a_compaction),
    (_no_copy_of_what_is_cut, MAPPED, a_life),
    (_no_slots, MAPPED, a_life),
]


@pytest.mark.parametrize(
    ("sabotage", "way", "record"), SABOTAGE, ids=[each[0].__name__[1:] for each in SABOTAGE]
)
def test_sabotaged_code_breaks_a_promise(
    sabotage: Callable[[], AbstractContextManager[Any]], way: Way, record: Any
) -> None:
    """Which threads run when decides whether a recording shows it: some are made."""
    with sabotage(), untraced():
        assert any(breaks_a_promise(record.__wrapped__(way)) for _ in range(RECORDINGS_MAX))


def breaks_a_promise(run: CrashRun) -> bool:
    found = points(run, Random(1), all_up_to=8, samples=4)
    return any(point.verdict().problems for point in found)
