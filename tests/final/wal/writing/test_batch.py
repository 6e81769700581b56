from __future__ import annotations

import errno
import threading

import pytest

from jobqueue.final import LogWriteError
from jobqueue.final.runtime.parking import Parker
from jobqueue.final.wal.writing.batch import OpenBatch
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
