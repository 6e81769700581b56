from __future__ import annotations

import errno
import threading

import pytest

from jobqueue.final import LogWriteError
from jobqueue.final.runtime.parking import Parker
from jobqueue.final.wal.format.record import (
    Cancelled,
    Completed,
    Discarded,
    Enqueued,
    Failed,
    Record,
    Ticked,
)
from jobqueue.final.wal.writing.batch import PIECE_BYTES, PIECE_RECORDS, OpenBatch
from tests.support.handlers import in_thread
from tests.support.waiting import PATIENCE, eventually


@pytest.fixture
def lock() -> threading.RLock:
    return threading.RLock()


def test_nobody_waits_for_a_batch_that_is_done(lock: threading.RLock) -> None:
    batch = OpenBatch()
    batch.done = True
    in_thread(batch.wait, lock, Parker()).result(PATIENCE)
    assert not batch.waiters


def test_each_who_waits_for_a_batch_is_told_what_went_wrong(lock: threading.RLock) -> None:
    batch = OpenBatch()
    waiting = [in_thread(batch.wait, lock, Parker()) for _ in range(3)]
    assert eventually(lambda: len(batch.waiters) == 3)
    with lock:
        batch.done = True
        batch.error = LogWriteError(errno.EIO, "broken")
        for waiter in batch.waiters:
            waiter.unpark()

    errors = [each.exception(PATIENCE) for each in waiting]
    assert [type(error) for error in errors] == [LogWriteError] * 3
    assert len({id(error) for error in errors}) == 3


def test_a_wait_for_a_batch_ends_with_its_time(lock: threading.RLock) -> None:
    OpenBatch().wait(lock, Parker(), 0.001)


def _accepted(number: int, payload: str = "x") -> Enqueued:
    return Enqueued(number, str(number), 1, 0.0, payload=payload)


def _completed(number: int) -> Completed:
    return Completed(number, 2.0, 1.0, 0)


def test_of_a_job_that_was_discarded_before_it_was_written_nothing_is_kept() -> None:
    batch = OpenBatch()
    batch.records = [
        _accepted(1),
        _accepted(2),
        Failed(1, 2.0, 1.0, 0, "boom", ""),
        Discarded(1),
        Discarded(3),  # it is in the log
    ]

    batch.thin()

    assert batch.records == [_accepted(2), Discarded(3)]


def test_jobs_that_ended_first_are_forgotten_first_and_those_that_have_not_are_kept() -> None:
    batch = OpenBatch()
    batch.records = [*map(_accepted, range(1, 5)), *map(_completed, (9, 3, 1, 8, 4))]

    records, forgotten = batch.without_some_ended(lambda _ended: 2)

    assert forgotten == 1
    assert records == [
        *(_accepted(2), _completed(9)),
        *(_accepted(1), _completed(1), _completed(8), _accepted(4), _completed(4)),
    ]


def test_a_job_that_others_wait_for_or_that_enqueued_some_is_not_forgotten() -> None:
    batch = OpenBatch()
    parent, waits = _completed(1), _accepted(3)
    parent.children, waits.after = (_accepted(9),), (2,)
    batch.records = [
        *(_accepted(1), _accepted(2), waits, _accepted(4), _completed(4)),
        *(Cancelled(2, 2.0), parent, _completed(9)),
    ]

    records, forgotten = batch.without_some_ended(lambda _ended: 0)

    assert forgotten == 1
    assert records == [each for each in batch.records if each.job != 4]


def test_a_tick_is_kept_for_which_nothing_of_its_job_is() -> None:
    batch = OpenBatch()
    tick = Ticked("report", 5.0, 1)
    batch.records = [_accepted(1), tick, Failed(1, 2.0, 1.0, 0, "boom", ""), Discarded(1)]
    batch.thin()
    assert batch.records == [tick]

    batch.records = [_accepted(1), tick, _completed(1)]
    assert batch.without_some_ended(lambda _ended: 0) == ([tick], 1)


def test_the_tick_of_a_job_that_was_not_taken_does_not_move_on_to_the_next_batch() -> None:
    batch = OpenBatch()
    others: list[Record] = [_completed(2), Ticked("new", 5.0), Ticked("earlier", 5.0, 3)]
    batch.records = [_accepted(1), Ticked("report", 5.0, 1), *others]
    assert batch.outcomes() == others
    assert batch.take_early() == others


def test_no_piece_of_a_batch_ends_between_a_job_without_payload_and_its_end() -> None:
    batch = OpenBatch()
    ended = range(1, 2 * PIECE_RECORDS)
    others = range(ended.stop, ended.stop + PIECE_RECORDS)
    batch.records = [
        *(_accepted(number, "") for number in ended),
        *map(_accepted, others),
        *map(_completed, ended),
        *map(_accepted, range(others.stop, others.stop + PIECE_RECORDS + 1)),
    ]

    pieces = list(batch.pieces())

    assert pieces == [2 * len(ended) + len(others), PIECE_RECORDS, 1]


def test_a_batch_with_large_payloads_has_small_pieces() -> None:
    batch = OpenBatch()
    batch.records = [_accepted(number, "x" * PIECE_BYTES) for number in (1, 2, 3)]
    assert list(batch.pieces()) == [1, 1, 1]


def _joined(number: int, payload: str = "x") -> Enqueued:
    return Enqueued(number, str(number), 1, 0.0, payload=payload, joined=True)


def test_no_piece_of_a_batch_ends_within_jobs_that_were_accepted_in_one() -> None:
    batch = OpenBatch()
    large = "x" * PIECE_BYTES
    batch.records = [_accepted(1, large), _joined(2, large), _joined(3), _accepted(4, large)]
    assert list(batch.pieces()) == [3, 1]


def test_jobs_that_were_accepted_in_one_stay_so_without_payloads() -> None:
    batch = OpenBatch()
    batch.records = [_accepted(1), _joined(2), _completed(2)]
    batch.thin()
    assert list(batch.pieces()) == [3]
    assert batch.records[1] == _joined(2, "")


def test_jobs_that_were_accepted_in_one_fail_in_one() -> None:
    batch = OpenBatch()
    first, second, third = _accepted(1), _joined(2), _joined(3)
    batch.records = [_accepted(7), first, second, third, _accepted(8)]

    failed = batch.sort_out({2: ValueError("odd")}, fail_calls=True)

    assert failed == [first, second, third]
    assert set(batch.refused) == {1, 2, 3}
    assert batch.records == [_accepted(7), _accepted(8)]
