"""What the naive tier does right. Its flaws are in `test_flaws.py`."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from jobqueue.naive import Job, JobQueue
from tests.support import insides
from tests.support.records import log_handler_that_raises

PATIENCE = 10.0  # seconds until a wait for what is bound to happen counts as failed


@pytest.fixture
def jq() -> Iterator[JobQueue]:
    with JobQueue(1) as jq:
        yield jq


@pytest.fixture
def ran() -> queue.Queue[str]:
    return queue.Queue()


def test_jobs_run_in_the_order_in_which_they_came(jq: JobQueue, ran: queue.Queue[str]) -> None:
    ids = [str(n) for n in range(100)]

    for job_id in ids:
        jq.enqueue(Job(job_id, partial(ran.put, job_id)))

    assert [ran.get(timeout=PATIENCE) for _ in ids] == ids


def test_as_many_jobs_run_at_once_as_there_are_workers() -> None:
    together = threading.Barrier(3 + 1)

    with JobQueue(3) as jq:
        for n in range(3):
            jq.enqueue(Job(str(n), partial(together.wait, PATIENCE)))
        together.wait(PATIENCE)  # broken unless all three handlers are in it as well


def test_each_job_of_many_producers_runs_exactly_once(ran: queue.Queue[str]) -> None:
    ids = [str(n) for n in range(1_000)]

    def produce(jq: JobQueue, share: list[str]) -> None:
        for job_id in share:
            jq.enqueue(Job(job_id, partial(ran.put, job_id)))

    with JobQueue(4) as jq:
        producers = [threading.Thread(target=produce, args=(jq, ids[n::10])) for n in range(10)]
        for producer in producers:
            producer.start()
        seen = [ran.get(timeout=PATIENCE) for _ in ids]
        for producer in producers:
            producer.join()

    assert sorted(seen) == sorted(ids)
    assert ran.empty()


def test_a_handler_may_enqueue(jq: JobQueue, ran: queue.Queue[str]) -> None:
    jq.enqueue(Job("outer", lambda: jq.enqueue(Job("inner", partial(ran.put, "inner")))))

    assert ran.get(timeout=PATIENCE) == "inner"


def test_a_failure_is_logged_with_its_traceback(
    jq: JobQueue, ran: queue.Queue[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise LookupError("no such customer")

    with caplog.at_level(logging.ERROR, logger="jobqueue"):
        jq.enqueue(Job("invoice-7", fail))
        jq.enqueue(Job("next", partial(ran.put, "next")))
        ran.get(timeout=PATIENCE)

    (record,) = caplog.records
    assert record.name == "jobqueue"
    assert "invoice-7" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_the_worker_outlives_whatever_a_handler_raises(
    jq: JobQueue, ran: queue.Queue[str], raised: type[BaseException]
) -> None:
    def fail() -> None:
        raise raised

    jq.enqueue(Job("bad", fail))
    jq.enqueue(Job("good", partial(ran.put, "good")))

    assert ran.get(timeout=PATIENCE) == "good"


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt])
def test_the_worker_outlives_whatever_a_log_handler_raises(
    jq: JobQueue, ran: queue.Queue[str], raised: type[BaseException]
) -> None:
    with log_handler_that_raises(raised):
        jq.enqueue(Job("bad", lambda: 1 // 0))
        jq.enqueue(Job("good", partial(ran.put, "good")))

        assert ran.get(timeout=PATIENCE) == "good"


def test_after_close_a_job_is_refused(jq: JobQueue) -> None:
    jq.close()

    with pytest.raises(RuntimeError, match="'late' was refused: the queue is closed"):
        jq.enqueue(Job("late", print))


def test_close_ends_idle_workers_and_may_be_called_again(jq: JobQueue) -> None:
    jq.close()
    jq.close()

    for worker in insides.worker_threads(jq):
        worker.join(PATIENCE)
        assert not worker.is_alive()


def test_the_end_of_the_with_block_closes() -> None:
    with JobQueue(1) as jq:
        pass

    with pytest.raises(RuntimeError):
        jq.enqueue(Job("late", print))


def test_a_queue_without_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="num_workers must be at least 1, not 0"):
        JobQueue(0)


@pytest.mark.parametrize("thing", [None, "job", print])
def test_what_is_no_job_is_refused(jq: JobQueue, thing: Any) -> None:
    with pytest.raises(TypeError, match="enqueue takes a Job"):
        jq.enqueue(thing)
