"""The log's open batch, handed from callers to the log's thread and back, in any order of steps."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import pytest

from jobqueue.final import LogWriteError
from jobqueue.final.runtime.parking import Parker
from jobqueue.final.wal import appender
from jobqueue.final.wal.format.record import Completed, Enqueued, Record
from jobqueue.final.wal.reading.replay import replay
from jobqueue.final.wal.writing import active_segment
from jobqueue.final.wal.writing.batch import LogOptions, OpenBatch
from jobqueue.final.wal.writing.writer import LogWriter
from tests.support.disk_tree import SyncBegan, Synced, SyncFailed, Tree, Written
from tests.support.interleavings import Broken, ModelledMutex, explore, join, start
from tests.support.logs import done, job
from tests.support.recording_files import EMPTY_DISK, LOG, RecordingFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.slow

Durability = Literal["async", "write", "fsync"]

LONG_SECONDS = 1000.0
WAYS = [
    ("async", False),
    ("write", False),
    ("write", True),
    ("fsync", False),
    ("fsync", True),
]
"""Levels of durability, and whether the log is written through a map."""
COMMIT = re.compile(rb'"commit":(\d+),"records":\d+,"synced":(\d+)')


class Log:
    """A writer over files in memory, and the steps that a queue makes with it."""

    def __init__(
        self,
        durability: Durability,
        maps: bool,
        *,
        segment_bytes: int = 1 << 20,
        writer: type[LogWriter] = LogWriter,
    ) -> None:
        self.added: list[Record] = []
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.settled: set[int] = set()
        self.has_ended = False
        self._closed = False
        self._is_fsync = durability == "fsync"
        self._is_async = durability == "async"
        self.files = RecordingFiles(Tree(EMPTY_DISK), maps=maps, sync_seconds=0)
        self.files.make_directory(LOG)
        self.lock = ModelledMutex()
        self.writer = writer(
            self.files,
            LOG,
            LogOptions(
                durability=durability,
                fsync_interval=LONG_SECONDS,
                segment_bytes=segment_bytes,
                segment=1,
                batch=0,
                bytes_before=0,
                files_before=0,
                status_retention=10,
            ),
            lock=self.lock,
            on_durable=self._on_durable,
            on_failed=lambda _error: None,
            on_ended=self._end,
            new_parker=Parker,
            needed=int,
            ends=int,
            report=self._report,
            monotonic=time.monotonic,
        )
        self.writer.start()

    def _on_durable(
        self, records: Sequence[Record], error: LogWriteError | None, _written: bool
    ) -> None:
        if error is None:
            self.settled.update(each.job for each in records if isinstance(each, Enqueued))

    def _end(self) -> None:
        self.has_ended = True

    def _report(self, error: BaseException) -> None:
        raise error

    # Steps.

    def enqueue(self, *numbers: int) -> None:
        for number in numbers:
            try:
                self._enqueue(number)
            except LogWriteError:
                self.refused.add(number)
            else:
                assert number in self.settled
                assert self._is_written(number) or self._is_async
                assert self._is_synced(number) or not self._is_fsync
                self.acknowledged.add(number)

    def _enqueue(self, number: int) -> None:
        with self.lock:
            if self._closed:
                raise LogWriteError(errno.EBADF, "closed")
            self.writer.check()
            self._add(job(number))
            batch = self.writer.commit()
        if batch is not None:
            self.writer.wait(batch)

    def finish(self, number: int) -> None:
        """A job has ended; nobody waits for its record."""
        with self.lock:
            self._add(done(number))

    def _add(self, record: Record) -> None:
        self.added.append(record)
        self.writer.add(record)

    def flush(self) -> None:
        with self.lock:
            before = {each.job for each in self.added if isinstance(each, Enqueued)}
        try:
            self.writer.flush()
        except LogWriteError:
            return
        assert all(self._is_synced(number) for number in before - self.refused)

    def close(self) -> None:
        with self.lock:
            self._closed = True
        self.writer.close(LONG_SECONDS)
        assert self.has_ended

    # What is on the disk.

    def _writes(self, number: int) -> list[tuple[int, int]]:
        """Where it was written: the times, and into which files."""
        mark = b'"job-%d"' % number
        return [
            (now, event.inode)
            for now, event in enumerate(self.files.events)
            if isinstance(event, Written) and mark in event.data
        ]

    def _is_written(self, number: int) -> bool:
        return bool(self._writes(number))

    def _is_synced(self, number: int) -> bool:
        syncs = [event for event in self.files.events if isinstance(event, Synced)]
        return any(
            sync.target == inode and sync.began >= written
            for written, inode in self._writes(number)
            for sync in syncs
        )

    def _check_attestations(self) -> None:
        """Whatever a batch calls fsynced was so, by an fsync that began after it was written."""
        written: dict[int, int] = {}  # when, by number of the batch
        synced = 0
        for now, event in enumerate(self.files.events):
            if isinstance(event, Synced):
                reached = [number for number, when in written.items() if when < event.began]
                synced = max([synced, *reached])
            elif isinstance(event, Written):
                for number, attested in COMMIT.findall(event.data):
                    written[int(number)] = now
                    assert int(attested) <= synced

    def read(self) -> list[Record]:
        self._check_attestations()
        reading = replay(self.files, LOG)
        records = [record for records in reading for record in records]
        assert reading.torn is None
        return records


@pytest.mark.parametrize(("durability", "maps"), WAYS)
def test_what_is_acknowledged_has_its_level_and_the_log_keeps_the_order(
    durability: Durability, maps: bool
) -> None:
    def model() -> None:
        log = Log(durability, maps)
        callers = start(
            lambda: log.enqueue(1, 2), lambda: log.enqueue(3), lambda: log.finish(7), log.flush
        )
        join(callers)
        log.close()
        assert log.acknowledged == {1, 2, 3}
        assert log.read() == log.added
        assert time.monotonic() < 1  # nobody waited for a timer

    explore(model, orders=150)


@pytest.mark.parametrize(("durability", "maps"), WAYS)
def test_what_close_finds_is_in_the_log_or_refused_and_nobody_hangs(
    durability: Durability, maps: bool
) -> None:
    def model() -> None:
        log = Log(durability, maps)
        callers = start(
            lambda: log.enqueue(1, 2), lambda: log.enqueue(3), log.flush, log.close, log.close
        )
        join(callers)
        assert log.acknowledged | log.refused == {1, 2, 3}
        assert log.read() == log.added
        assert {each.job for each in log.added} == log.acknowledged

    explore(model, orders=75)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_after_a_failed_fsync_everybody_is_told_and_it_is_never_tried_again(nth: int) -> None:
    def model() -> None:
        log = Log("fsync", maps=False)
        log.files.inject = _Once("sync", nth, errno.EIO)
        callers = start(lambda: log.enqueue(1, 2), lambda: log.enqueue(3), log.flush)
        join(callers)
        log.close()
        assert log.acknowledged | log.refused == {1, 2, 3}
        syncs = [e for e in log.files.events if isinstance(e, SyncBegan | SyncFailed)]
        failures = [e for e in syncs if isinstance(e, SyncFailed)]
        assert all(e is syncs[-1] for e in failures)
        if failures:
            with pytest.raises(LogWriteError):
                log.writer.check()

    explore(model, orders=75)


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("nth", [1, 2])
def test_of_a_batch_that_found_the_disk_full_nothing_stays_but_what_nobody_waits_for(
    nth: int, maps: bool
) -> None:
    def model() -> None:
        log = Log("fsync", maps=maps)
        log.files.inject = _Once("write", nth, errno.ENOSPC)
        callers = start(lambda: log.enqueue(1, 2), lambda: log.enqueue(3), lambda: log.finish(7))
        join(callers)
        log.flush()
        log.close()
        assert log.acknowledged | log.refused == {1, 2, 3}
        found = log.read()
        assert {each.job for each in found if isinstance(each, Enqueued)} == log.acknowledged
        assert [each.job for each in found if isinstance(each, Completed)] == [7]

    explore(model, orders=75)


class _Once:
    """The nth call of one method fails."""

    def __init__(self, method: str, nth: int, number: int) -> None:
        self._method = method
        self._left = nth
        self._number = number

    def __call__(self, method: str) -> int:
        self._left -= method == self._method
        return self._number if self._left == 0 and method == self._method else 0


@pytest.mark.parametrize(("durability", "maps"), WAYS)
def test_segments_are_sealed_and_compacted_beside_producers(
    durability: Durability, maps: bool
) -> None:
    def model() -> None:
        log = Log(durability, maps, segment_bytes=200)
        callers = start(lambda: log.enqueue(1, 2, 3), lambda: log.enqueue(4, 5, 6), log.flush)
        join(callers)
        log.close()
        found = log.read()
        assert sorted(each.job for each in found) == [1, 2, 3, 4, 5, 6]

    explore(model, orders=45)


# --- what the explorer finds, where it is there to be found ----------------------------------


class CopiesBesideTheThread(LogWriter):
    """Does not care whether the log's thread has the tail to itself."""

    def commit(self, *, inline: bool = True) -> OpenBatch | None:
        writing, self._writing = self._writing, None
        try:
            return super().commit(inline=inline)
        finally:
            self._writing = writing


class SleepsBeforeItLooks(LogWriter):
    """What came while the log's thread was busy waits until somebody else comes."""

    def _sleep(self) -> None:
        self._work.wait()


@pytest.mark.parametrize(
    ("writer", "durability", "found"),
    [
        (CopiesBesideTheThread, "write", "assert|LogCorruptError"),
        (SleepsBeforeItLooks, "fsync", "deadlock"),
    ],
)
def test_a_broken_hand_over_is_found(
    writer: type[LogWriter], durability: Durability, found: str
) -> None:
    def model() -> None:
        log = Log(durability, maps=True, writer=writer)
        callers = start(
            lambda: log.enqueue(1, 2), lambda: log.enqueue(3), lambda: log.finish(7), log.flush
        )
        join(callers)
        log.close()
        assert log.read() == log.added

    with pytest.raises(Broken, match=found):
        explore(model, within=(active_segment, appender))
