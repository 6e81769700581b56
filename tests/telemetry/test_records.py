"""Log records: each tells by its attributes which job it is about, and none holds a payload."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from jobqueue import Job, JobContext, Priority, RejectJobError
from jobqueue.cli.logs import JsonLines
from jobqueue.final.testing import ManualClock
from tests.support import process_handlers
from tests.support.queues import Store
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually

SECRET = b"4111-1111-1111-1111"
NAMES = ("job_id", "handler", "attempt", "priority", "queue")


def told(record: logging.LogRecord) -> tuple[object, ...]:
    """What a record says by its attributes."""
    return tuple(vars(record)[name] for name in NAMES)


def test_a_failed_attempts_record_tells_of_its_job(memory: Store, records: Records) -> None:
    def fails(payload: bytes) -> None:
        raise ValueError("boom")

    jq = memory.open(handlers={"mail": fails}, max_retries=1, base_delay=0)
    jq.enqueue(Job(SECRET, id="a", handler="mail", priority=Priority.HIGH)).wait(PATIENCE)

    assert told(records.next()) == ("a", "mail", 0, "high", "memory")
    assert told(records.next()) == ("a", "mail", 1, "high", "memory")


def test_records_count_attempts_as_the_context_does(memory: Store, records: Records) -> None:
    def fails(payload: bytes, context: JobContext) -> None:
        raise ValueError(context.attempt)

    jq = memory.open(fails, max_retries=2, base_delay=0)
    handle = jq.enqueue(Job())
    handle.wait(PATIENCE)

    noted = [records.next() for _ in range(3)]
    seen = [each.exc_info[1].args[0] for each in noted if each.exc_info and each.exc_info[1]]
    assert [vars(each)["attempt"] for each in noted] == seen == [0, 1, 2]
    assert [each.number for each in jq.info(handle.id).attempts] == seen


def test_a_queue_with_a_log_is_called_by_its_directory(log_store: Store, records: Records) -> None:
    def work(payload: bytes, context: JobContext) -> None:
        context.logger.warning("working")
        raise RejectJobError("no")

    jq = log_store.open(work)
    jq.enqueue(Job(id="a"))

    where = os.fspath(log_store.path)
    assert told(records.next()) == told(records.next()) == ("a", None, 0, "medium", where)


def test_in_a_process_too(log_store: Store, records: Records) -> None:
    handlers: dict[str, Callable[..., object]] = {
        "fails": process_handlers.raise_in_depth,
        "logs": process_handlers.names_in_records,
    }
    jq = log_store.open(handlers=handlers, executor="process", num_workers=1, max_retries=0)
    where = os.fspath(log_store.path)
    jq.enqueue(Job(SECRET, id="a", handler="fails")).wait(PATIENCE)

    assert told(records.next()) == ("a", "fails", 0, "medium", where)
    there: Any = jq.enqueue(Job(id="b", handler="logs")).result(PATIENCE)
    assert tuple(there[name] for name in NAMES) == ("b", "logs", 0, "medium", where)


def test_a_record_about_no_job_has_the_names_too(memory: Store, records: Records) -> None:
    """So that a formatter that names them never fails."""
    jq = memory.open()
    jq.enqueue(Job(handler="lacking"))

    record = records.next()
    assert told(record) == (None, None, None, None, "memory")
    text = logging.Formatter("%(job_id)s %(handler)s %(attempt)s %(priority)s %(queue)s")
    assert text.format(record) == "None None None None memory"


def test_an_overrunning_attempts_record_tells_of_its_job(
    memory: Store, clock: ManualClock, records: Records
) -> None:
    blocker = memory.blocker()
    jq = memory.open(handlers={"slow": blocker}, job_timeout=1.0, clock=clock)
    jq.enqueue(Job(SECRET, id="a", handler="slow", priority=Priority.LOW))
    blocker.await_entered()
    clock.advance(1.0)

    record = records.next()
    assert "runs longer" in record.getMessage()
    assert told(record) == ("a", "slow", 0, "low", "memory")


def test_no_record_holds_a_payload(log_store: Store, clock: ManualClock, records: Records) -> None:
    """Whatever becomes of the job: an error, an overrun, a dead letter that is dropped, a crash."""
    blocker = log_store.blocker()

    def fails(payload: bytes) -> None:
        raise RejectJobError("no")

    handlers: dict[str, Callable[..., object]] = {"slow": blocker, "fails": fails}
    jq = log_store.open(handlers=handlers, job_timeout=1.0, clock=clock, max_dead_letters=1)
    jq.enqueue(Job(SECRET, handler="slow"))
    blocker.await_entered()
    clock.advance(1.0)
    for _ in range(3):
        jq.enqueue(Job(SECRET, handler="fails"))
    jq.enqueue(Job(SECRET, handler="lacking"))
    broken = jq.enqueue(Job(SECRET, handler="lacking"), delay=1.0)
    broken.add_done_callback(lambda handle: 1 / 0)
    broken.cancel()
    eventually(lambda: jq.metrics().failed == 3)
    blocker.gate.set()
    jq.close(0.0)

    seen = records.rest()
    assert len(seen) >= 6
    for record in seen:
        assert SECRET.decode() not in JsonLines().format(record)


def test_json_lines_have_them(memory: Store, records: Records) -> None:
    def work(payload: bytes, context: JobContext) -> None:
        context.logger.warning("working")

    memory.open(handlers={"mail": work}).enqueue(Job(id="a", handler="mail")).wait(PATIENCE)

    line = json.loads(JsonLines().format(records.next()))
    assert [line[name] for name in NAMES] == ["a", "mail", 0, "medium", "memory"]


def test_a_clients_records_have_them(log_store: Store, records: Records) -> None:
    pytest.importorskip("msgspec", reason="processes speak by it")
    log_store.open(len, share="auto")
    client = log_store.open(share="client")
    client.enqueue(Job(id="a")).add_done_callback(lambda handle: 1 / 0)

    record = records.next()
    assert "a callback of job 'a' failed" in record.getMessage()
    assert told(record) == ("a", None, None, "medium", os.fspath(log_store.path))
