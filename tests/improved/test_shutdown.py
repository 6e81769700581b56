"""How the queue ends: `JobQueue.close`, and the `with` statement."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future

import pytest

from jobqueue.improved import Config, Job, JobQueue, Metrics, Priority, QueueClosedError
from tests.improved.rig import PATIENCE, Rig
from tests.support import insides


def test_graceful_shutdown_finishes_what_is_queued(rig: Rig) -> None:
    jq = rig.open(num_workers=1)
    for n in range(50):
        jq.enqueue(rig.job(str(n), Priority(n % 3)))
    jq.close()

    assert len(rig.next_ran(50)) == 50
    assert jq.metrics() == Metrics(queued=0, processing=0, completed=50, failed=0, retried=0)


def test_graceful_shutdown_finishes_retries(rig: Rig) -> None:
    jq = rig.open(base_delay=0.01)
    jq.enqueue(rig.failing("succeeds at last", times=2))
    jq.enqueue(rig.failing("never succeeds"))
    jq.close()

    assert jq.metrics() == Metrics(queued=0, processing=0, completed=1, failed=1, retried=5)


def test_graceful_shutdown_ends_the_workers(rig: Rig) -> None:
    jq = rig.open(num_workers=3)
    jq.close()

    assert [worker for worker in insides.worker_threads(jq) if worker.is_alive()] == []


def test_graceful_shutdown_refuses_new_jobs_while_it_waits(rig: Rig) -> None:
    jq = rig.open(num_workers=1)
    rig.hold(jq)
    waits = rig.waits(insides.progress(jq))
    closing = rig.call(jq.close)
    waits.get(timeout=PATIENCE)

    with pytest.raises(RuntimeError, match="'late' was refused: the queue is closed") as raised:
        jq.enqueue(rig.job("late"))
    rig.gate.set()
    closing.result(PATIENCE)

    assert raised.type is QueueClosedError
    assert rig.ran.empty()


def test_graceful_shutdown_refuses_a_producer_that_waits_for_room(rig: Rig) -> None:
    jq = rig.open(num_workers=1, queue_size=1)
    rig.hold(jq)
    jq.enqueue(rig.job("accepted"))
    blocked = rig.waits(insides.room(jq, Priority.MEDIUM))
    call = rig.call(jq.enqueue, rig.job("refused"))
    blocked.get(timeout=PATIENCE)
    closing = rig.call(jq.close)

    with pytest.raises(QueueClosedError):
        call.result(PATIENCE)  # while no room has come yet
    rig.gate.set()
    closing.result(PATIENCE)
    assert rig.next_ran(1) == ["accepted"]
    assert rig.ran.empty()


def test_graceful_shutdown_gives_up_after_its_timeout(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    jq = rig.open(num_workers=1, shutdown_timeout=0.02)
    rig.hold(jq)
    jq.enqueue(rig.job("lost"))
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="jobqueue"):
        rig.call(jq.close).result(PATIENCE)

    assert time.monotonic() - began >= 0.02
    assert "1 waiting and 1 running jobs" in caplog.text


def test_graceful_shutdown_that_gave_up_starts_nothing_more(rig: Rig) -> None:
    jq = rig.open(num_workers=1, shutdown_timeout=0.0)
    rig.hold(jq)
    jq.enqueue(rig.job("lost"))
    jq.close()
    rig.gate.set()
    for worker in insides.worker_threads(jq):
        worker.join(PATIENCE)
        assert not worker.is_alive()

    assert rig.ran.empty()


def test_graceful_shutdown_says_nothing_where_all_was_finished(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    jq = rig.open()
    jq.enqueue(rig.job("a"))
    jq.close()

    assert caplog.records == []


def test_graceful_shutdown_may_be_asked_for_again(rig: Rig) -> None:
    jq = rig.open()
    jq.close()
    jq.close()


def test_graceful_shutdown_is_over_for_all_who_asked_at_the_same_time(rig: Rig) -> None:
    jq = rig.open(num_workers=1)
    rig.hold(jq)
    jq.enqueue(rig.job("a"))
    waits = rig.waits(insides.progress(jq))
    calls = [rig.call(jq.close) for _ in range(4)]
    for _ in calls:
        waits.get(timeout=PATIENCE)
    rig.gate.set()

    for call in calls:
        call.result(PATIENCE)
    assert rig.next_ran(1) == ["a"]


def test_a_close_returns_when_another_one_gives_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = rig.open(num_workers=1, shutdown_timeout=3600.0)
    rig.hold(jq)
    waits = rig.waits(insides.progress(jq))
    patient = rig.call(jq.close)
    waits.get(timeout=PATIENCE)
    monkeypatch.setattr(*insides.config(jq), Config(shutdown_timeout=0.0))
    jq.close()

    patient.result(PATIENCE)  # while the handler still runs


def test_a_close_from_a_handler_is_refused(rig: Rig) -> None:
    jq = rig.open(max_retries=0)
    refusal: Future[None] = Future()

    def close() -> None:
        try:
            jq.close()
        except BaseException as error:
            refusal.set_exception(error)
            raise

    jq.enqueue(Job("closes", close))

    with pytest.raises(RuntimeError, match="called from a handler"):
        refusal.result(PATIENCE)
    jq.enqueue(rig.job("the queue is still open"))


def test_the_end_of_the_with_block_closes(rig: Rig) -> None:
    with JobQueue(Config(num_workers=1)) as jq:
        jq.enqueue(rig.job("a"))

    assert jq.metrics().completed == 1
    with pytest.raises(QueueClosedError):
        jq.enqueue(rig.job("late"))


@pytest.mark.parametrize("longest", [1e300, 10**300])
def test_close_may_have_all_the_time_in_the_world(rig: Rig, longest: float) -> None:
    jq = rig.open(num_workers=1, shutdown_timeout=longest)
    rig.hold(jq)
    waits = rig.waits(insides.progress(jq))
    closing = rig.call(jq.close)
    waits.get(timeout=PATIENCE)
    rig.gate.set()

    closing.result(PATIENCE)
