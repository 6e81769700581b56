"""What code in a process can ask and tell of its attempt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue.final import Config, Job, JobQueue, Priority, Progress, Status
from tests.support import process_handlers as handlers
from tests.support.process_handlers import Stage
from tests.support.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("measured_children")]


@pytest.fixture
def jq() -> Iterator[JobQueue]:
    with JobQueue(Config(executor="process", num_workers=1, max_retries=0)) as jq:
        yield jq


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


def test_a_plain_handler_in_a_process_knows_its_job(jq: JobQueue) -> None:
    jq.register("a", handlers.tell_current)
    job = Job(b"x", id="1", handler="a", priority=Priority.LOW, headers={"b": "c"})
    assert jq.enqueue(job).result(PATIENCE) == ("1", b"x", Priority.LOW, {"b": "c"}, 0, "a")


def test_progress_is_read_while_the_attempt_runs_in_a_process_and_at_its_end(
    jq: JobQueue, stage: Stage
) -> None:
    handle = jq.enqueue_with_handler(Job(stage.payload, id="a"), handlers.progress_and_wait)
    assert stage.hear() == "told"
    assert eventually(lambda: handle.progress == Progress(999, 1000, "counting"))
    stage.let_go()
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert handle.progress == Progress(1000, 1000, "done") == jq.info("a").progress


def test_a_plain_handler_in_a_process_can_be_told_to_stop(jq: JobQueue, stage: Stage) -> None:
    handle = jq.enqueue_with_handler(Job(stage.payload), handlers.await_cancel)
    assert stage.hear() == "waits"
    handle.cancel()
    assert handle.result(PATIENCE) is True


def test_a_handler_that_tells_its_progress_starts_no_thread(jq: JobQueue) -> None:
    """An exception that a library raises in the handler might hit it: see `runtime/starting.py`."""
    jq.register("a", handlers.threads_of_first_progress)
    assert jq.enqueue(Job(handler="a")).result(PATIENCE) == []


def test_progress_goes_on_after_a_call_that_an_alarm_of_the_handlers_has_ended(
    jq: JobQueue, stage: Stage
) -> None:
    handle = jq.enqueue_with_handler(Job(stage.payload), handlers.progress_after_alarm)
    assert stage.hear() == "told"
    assert eventually(lambda: handle.progress == Progress(2))
    stage.let_go()
    assert handle.wait(PATIENCE) is Status.COMPLETED


def test_a_signal_handler_that_interrupts_a_call_of_the_attempt_may_tell_its_progress(
    jq: JobQueue,
) -> None:
    jq.register("echo", handlers.echo)
    jq.register("a", handlers.tell_from_signal_handler)
    handle = jq.enqueue(Job(handler="a"))
    assert "from a signal handler" in str(handle.result(PATIENCE))
    assert handle.progress == Progress(1, None, "beat")
    assert jq.handle("child").wait(PATIENCE) is Status.COMPLETED


def test_a_fork_that_a_handler_makes_may_call_progress_though_it_reaches_nobody(
    jq: JobQueue,
) -> None:
    jq.register("a", handlers.progress_in_a_fork)
    handle = jq.enqueue(Job(handler="a"))
    assert handle.result(PATIENCE) == 0
    assert handle.progress is None
