"""The log's thread, with records that it cannot write."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from jobqueue.final import Job, JobQueue, LogWriteError, Status, UnknownJobError
from jobqueue.final.testing import ManualClock
from jobqueue.final.wal.format.record import Failed
from tests.support import insides
from tests.support.queues import Store, every_log
from tests.support.waiting import PATIENCE


def _ids(jq: JobQueue) -> set[str]:
    return {id for id in ("before", "odd", "after", "later") if _knows(jq, id)}


def _knows(jq: JobQueue, id: str) -> bool:
    try:
        jq.status(id)
    except UnknownJobError:
        return False
    return True


@pytest.mark.parametrize("log_store", ["write", "fsync"], indirect=True)
def test_a_job_that_cannot_be_encoded_fails_its_own_call_only(log_store: Store) -> None:
    jq = log_store.open(len, start=False)
    jq.enqueue(Job(id="before"))
    with pytest.raises(LogWriteError, match="cannot be encoded") as caught:
        jq.enqueue(insides.spoil(Job(id="odd")))
    assert caught.value.errno == errno.EINVAL
    jq.enqueue(Job(id="after"))
    assert _ids(jq) == {"before", "after"}
    assert jq.metrics().enqueued == 2
    jq.enqueue(Job(id="odd"))  # its id is free
    jq.close()
    assert _ids(log_store.open(len, start=False)) == {"before", "odd", "after"}


@pytest.mark.parametrize("log_store", ["write", "fsync"], indirect=True)
def test_its_neighbours_in_the_batch_are_accepted(log_store: Store) -> None:
    """Fault 51 of docs/reliability.md."""
    jq = log_store.open(len, start=False)
    jobs = [Job(id="before"), insides.spoil(Job(id="odd")), Job(id="after")]
    with pytest.raises(LogWriteError, match="cannot be encoded") as caught:
        jq.enqueue_many(jobs)
    assert [handle.id for handle in caught.value.accepted] == ["before", "after"]
    jq.close()
    assert _ids(log_store.open(len, start=False)) == {"before", "after"}


@pytest.mark.parametrize("log_store", ["async"], indirect=True)
def test_what_was_accepted_already_is_recorded_as_far_as_can_be(log_store: Store) -> None:
    jq = log_store.open(len, start=False)
    jq.enqueue_many([Job(id="before"), insides.spoil(Job(id="odd")), Job(id="after")])
    jq.flush()
    jq.enqueue(Job(id="later"))
    jq.close()
    again = log_store.open(len, start=False)
    assert _ids(again) == {"before", "odd", "after", "later"}
    assert again.info("odd").headers == {"trace": "<object>"}


@every_log
def test_an_outcome_that_cannot_be_encoded_is_recorded_as_far_as_can_be(log_store: Store) -> None:
    """Fault 51 of docs/reliability.md."""

    class Text(str):
        __slots__ = ()

    jq = log_store.open(len, start=False)
    handles = [jq.enqueue(Job(id=id)) for id in ("before", "odd")]
    odd: Any = (Text("boom\ud800"), object())
    with insides.mutex(jq):
        insides.writer(jq).add(Failed(insides.log_number(handles[1]), Text, 1.0, 0, *odd))  # type: ignore[arg-type]  # that is the point
    jq.flush()
    jq.enqueue(Job(id="after"))
    jq.close()
    again = log_store.open(len, start=False)
    assert [again.status(id) for id in ("before", "after")] == [Status.QUEUED] * 2
    info = again.info("odd")
    assert (info.status, info.last_error, info.last_traceback) == (
        Status.FAILED,
        "boom\\ud800",
        "<object>",
    )
    assert (info.started, info.finished) == (1.0, 0.0)


def test_a_dead_letter_whose_return_cannot_be_encoded_stays_one(log_store: Store) -> None:
    jq = log_store.open(handlers={"bad": _fail}, max_retries=0, start=False)
    handle = jq.enqueue(Job(id="odd", handler="bad"))
    jq.start()
    handle.wait(PATIENCE)
    insides.placement(jq).clock = _OddClock()
    with pytest.raises(LogWriteError, match="cannot be encoded"):
        jq.requeue("odd")
    assert jq.status("odd") is Status.FAILED


class _OddClock(ManualClock):
    def time(self) -> float:
        return self  # type: ignore[return-value]  # that is the point


def _fail(_payload: bytes) -> None:
    raise ValueError("boom")
