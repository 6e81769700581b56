"""Compaction as a queue's user sees it: the log does not grow for ever, and nothing is blocked."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import Job, JobQueue, RejectJobError, Status
from jobqueue.final.wal.maintenance.snapshot import Compaction, compact
from jobqueue.final.wal.writing import compactor, upkeep
from jobqueue.final.wal.writing.compactor import Compactor
from tests.support.queues import Store
from tests.support.waiting import PATIENCE, eventually

SEGMENT_BYTES = 4096


def log_bytes(path: Path) -> int:
    """Size of the log's segments and snapshots; one that is replaced meanwhile does not count."""
    return sum(len(data) for data in _contents(path))


def _contents(path: Path) -> list[bytes]:
    found = []
    for file in path.glob("*.jsonl"):
        try:
            found.append(file.read_bytes().rstrip(b"\0"))
        except FileNotFoundError:
            continue
    return found


def has_snapshot(path: Path) -> bool:
    return any(re.fullmatch(r"\d+\.snapshot\.jsonl", file.name) for file in path.iterdir())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store("write", tmp_path)
    yield store
    store.close()


def finish(jq: JobQueue, count: int) -> None:
    for handle in jq.enqueue_many([Job(b"x" * 50) for _ in range(count)]):
        assert handle.wait(10) is Status.COMPLETED
    jq.flush()


@pytest.mark.usefixtures("no_tracer")
@pytest.mark.slow
def test_the_log_stays_small_however_many_jobs_finish(store: Store) -> None:
    jq = store.open(lambda _payload: None, segment_bytes=SEGMENT_BYTES, status_retention=20)
    needed = 20 * 210  # two records for each job that is remembered
    bound = 2 * needed + 3 * SEGMENT_BYTES

    for _ in range(200):
        finish(jq, 10)

    assert eventually(lambda: log_bytes(store.path) <= bound), log_bytes(store.path)
    store.close()
    assert log_bytes(store.path) <= bound


@pytest.mark.slow
def test_old_unfinished_jobs_and_dead_letters_do_not_pin_segments(store: Store) -> None:
    def reject(_payload: bytes) -> None:
        raise RejectJobError("no")

    jq = store.open(
        lambda _payload: None,
        handlers={"reject": reject},
        segment_bytes=SEGMENT_BYTES,
        status_retention=20,
    )
    waits = jq.enqueue(Job(b"old", handler="not there yet"))
    later = jq.enqueue(Job(b"later"), delay=3600)
    dead = jq.enqueue(Job(b"dead", handler="reject"))
    dead.wait(10)
    for _ in range(10):
        finish(jq, 100)
    assert eventually(lambda: not (store.path / "00000001.jsonl").exists())
    store.close()

    jq = store.open(start=False)

    assert jq.status(waits.id) is Status.QUEUED
    assert jq.status(later.id) is Status.SCHEDULED
    assert [letter.id for letter in jq.dead_letters()] == [dead.id]
    assert jq.requeue(dead.id).job.payload == b"dead"


@pytest.mark.slow
def test_the_log_counts_what_a_snapshot_has_replaced(store: Store) -> None:
    jq = store.open(lambda _payload: None, segment_bytes=SEGMENT_BYTES, status_retention=20)
    for _ in range(10):
        finish(jq, 100)
    assert eventually(lambda: has_snapshot(store.path))

    def is_exact() -> bool:
        log = jq.metrics().log
        return log is not None and log.bytes == log_bytes(store.path)

    assert eventually(is_exact)


@pytest.fixture
def compactions(monkeypatch: pytest.MonkeyPatch) -> list[Compaction]:
    """What each compaction has done."""
    done: list[Compaction] = []

    def watched(*args: Any) -> Compaction:
        done.append(compact(*args))
        return done[-1]

    monkeypatch.setattr(compactor, "compact", watched)
    return done


def is_idle() -> bool:
    return not any(thread.name == "jobqueue-compact" for thread in threading.enumerate())


@pytest.mark.slow
def test_what_is_all_needed_is_not_written_again_to_free_nothing(
    store: Store, compactions: list[Compaction]
) -> None:
    """Fault 81 of docs/reliability.md."""
    jq = store.open(lambda _payload: None, segment_bytes=SEGMENT_BYTES, queue_size=10_000)
    for _ in range(400):
        jq.enqueue(Job(b"x" * 1000), delay=3600)
    assert len(list(store.path.glob("*.jsonl"))) > 100
    assert eventually(is_idle)
    assert compactions == []


@pytest.mark.slow
def test_jobs_larger_than_they_look_are_written_again_when_the_log_has_doubled(
    store: Store, compactions: list[Compaction]
) -> None:
    """Fault 81 of docs/reliability.md. Headers are not in the estimate of what is needed."""
    jq = store.open(lambda _payload: None, segment_bytes=SEGMENT_BYTES, queue_size=10_000)
    for _ in range(400):
        jq.enqueue(Job(headers={"trace": "x" * 1000}), delay=3600)
        assert eventually(is_idle)
    assert 1 <= len(compactions) <= 7
    assert sum(each.bytes_after for each in compactions) < 2 * log_bytes(store.path)


@pytest.mark.usefixtures("no_tracer")
@pytest.mark.slow
def test_what_is_needed_no_more_is_freed_for_no_more_than_it_takes(
    store: Store, compactions: list[Compaction]
) -> None:
    """Fault 81 of docs/reliability.md."""
    jq = store.open(lambda _payload: None, segment_bytes=SEGMENT_BYTES, status_retention=20)
    kept = [jq.enqueue(Job(b"x" * 1000), delay=3600) for _ in range(50)]
    for _ in range(100):
        finish(jq, 20)
    for handle in kept:
        handle.cancel()
    finish(jq, 20)
    assert eventually(lambda: log_bytes(store.path) < 5 * SEGMENT_BYTES), log_bytes(store.path)
    written = sum(each.bytes_after for each in compactions)
    freed = sum(each.bytes_before - each.bytes_after for each in compactions)
    assert 0 < written < freed + SEGMENT_BYTES


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the log's thread has looked whether to compact: often, and without anything to do."""
    when: list[float] = []
    step = Compactor.step

    def noted(self: Compactor, now: float, *, wrote: bool) -> None:
        step(self, now, wrote=wrote)
        when.append(now)

    monkeypatch.setattr(compactor, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(Compactor, "step", noted)
    return when


def until_looked_again(looks: list[float]) -> None:
    seen = len(looks)
    assert eventually(lambda: len(looks) > seen + 20)


def test_what_ends_while_the_log_is_compacted_is_freed_without_another_write(
    store: Store, looks: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 81 of docs/reliability.md."""
    began, gate = threading.Event(), threading.Event()

    def held(*args: Any) -> Compaction:
        began.set()
        gate.wait(PATIENCE)
        return compact(*args)

    monkeypatch.setattr(compactor, "compact", held)
    jq = store.open(lambda _payload: None, segment_bytes=SEGMENT_BYTES, status_retention=20)
    while not began.is_set():
        finish(jq, 20)
    for _ in range(10):
        finish(jq, 20)
    until_looked_again(looks)

    gate.set()

    assert eventually(lambda: log_bytes(store.path) < 5 * SEGMENT_BYTES), log_bytes(store.path)


def test_nothing_is_written_in_vain_for_jobs_whose_end_is_not_sealed_yet(
    store: Store, compactions: list[Compaction], looks: list[float]
) -> None:
    """Fault 81 of docs/reliability.md."""
    jq = store.open(lambda _payload: None, segment_bytes=SEGMENT_BYTES, status_retention=20)
    for handle in [jq.enqueue(Job(b"x" * 20_000), delay=3600) for _ in range(3)]:
        handle.cancel()  # these records are in the active segment
    until_looked_again(looks)
    assert eventually(is_idle)
    assert compactions == []

    for _ in range(3):
        finish(jq, 20)

    assert eventually(lambda: log_bytes(store.path) < 5 * SEGMENT_BYTES), log_bytes(store.path)


@pytest.mark.slow
def test_the_files_that_restarts_leave_are_compacted(store: Store) -> None:
    for number in range(25):
        jq = store.open(lambda _payload: None, start=False)
        jq.enqueue(Job(id=f"job-{number}"))
        jq.close()

    jq = store.open(lambda _payload: None)
    jq.enqueue(Job())  # the log's thread looks when there is something to do

    assert eventually(lambda: has_snapshot(store.path))
    assert jq.join(10)
    assert jq.metrics().completed == 26


def test_a_damaged_segment_stops_compaction_and_not_the_queue(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    jq = store.open(lambda _payload: None, segment_bytes=SEGMENT_BYTES, status_retention=20)
    first = store.path / "00000001.jsonl"
    finish(jq, 10)
    first.write_bytes(first.read_bytes().replace(b'"op":"completed"', b'"op":"forgotten"'))

    for _ in range(5):
        finish(jq, 100)

    assert eventually(lambda: "could not be compacted" in caplog.text)
    assert jq.enqueue(Job()).wait(10) is Status.COMPLETED
