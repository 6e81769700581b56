"""How the job of a tick is let in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobHandle,
    JobQueue,
    Middleware,
    Status,
    Unique,
    UnknownJobError,
)
from jobqueue.final.model.plan import OnConflict
from jobqueue.final.testing import ManualClock
from tests.support.queues import Store
from tests.support.records import Records

HOUR = 3600.0


def test_a_full_lane_holds_up_no_tick_and_a_tick_takes_no_place(
    memory: Store, clock: ManualClock
) -> None:
    jq = memory.open(len, clock=clock, start=False, queue_size=2)
    jq.periodic("hourly", timedelta(hours=1), Job)
    clock.advance(HOUR)
    jq.enqueue_many([Job(), Job()], timeout=0)
    clock.advance(HOUR)
    assert jq.metrics().queued == 4


class Tagging(Middleware):
    """Marks each job, and refuses those of one payload."""

    def enqueue(self, job: Job, call_next: object) -> JobHandle:
        if job.payload == b"refused":
            raise PermissionError("not today")
        return call_next(job.with_headers({"tagged": "yes"}))  # type: ignore[operator,no-any-return]


def test_a_tick_goes_through_the_middleware(clock: ManualClock, records: Records) -> None:
    with JobQueue(Config(), handler=len, clock=clock, middleware=[Tagging()]) as jq:
        jq.periodic("hourly", timedelta(hours=1), Job)
        jq.periodic("refused", timedelta(hours=1), lambda: Job(b"refused"))
        clock.advance(HOUR)
        tick = jq.periodics()[0].last
        assert tick is not None
        assert jq.join(10)
        assert jq.metrics().enqueued == 1
        assert "'refused' left out its tick" in records.next().getMessage()


def test_the_job_of_a_handler_that_is_missing_waits_for_it(
    memory: Store, clock: ManualClock, records: Records
) -> None:
    jq = memory.open(len, clock=clock)
    jq.periodic("hourly", timedelta(hours=1), lambda: Job(handler="later"))
    clock.advance(HOUR)
    assert "not registered: later" in records.next().getMessage()
    jq.register("later", len)
    assert jq.join(10)
    assert jq.metrics().completed == 1


@pytest.mark.parametrize("log_store", ["async", "write", "fsync"], indirect=True)
def test_the_record_of_a_tick_stands_behind_its_job_in_the_same_batch(
    log_store: Store, clock: ManualClock
) -> None:
    jq = log_store.open(len, clock=clock, start=False)
    jq.periodic("hourly", timedelta(hours=1), Job)
    jq.flush()
    clock.advance(HOUR)
    jq.close(drain=False)
    lines = "".join(each.read_text() for each in sorted(log_store.path.glob("*.jsonl")))
    kinds = [line.split('"')[3] if '"op"' in line else line[2:8] for line in lines.splitlines()]
    first = kinds.index("enqueued")
    assert kinds[first - 2 : first] == ["ticked", "commit"]
    assert kinds[first : first + 3] == ["enqueued", "ticked", "commit"]


@pytest.mark.parametrize(
    ("on_conflict", "wanted"), [("existing", [10]), ("raise", [10]), ("replace", [11])]
)
def test_a_tick_whose_job_is_to_be_unique_meets_the_one_before(
    log_store: Store, on_conflict: OnConflict, wanted: list[int]
) -> None:
    clock = ManualClock(datetime(2026, 11, 29, 9, 30, tzinfo=UTC).timestamp())
    unique = Unique(on_conflict=on_conflict)
    for start in range(2):
        jq = log_store.open(len, clock=clock, start=False, queue_size=1)
        jq.periodic("hourly", timedelta(hours=1), lambda: Job(key="a", unique=unique))
        if not start:
            jq.enqueue(Job())  # the lane is full
            for _ in range(2):
                clock.advance(HOUR)
        statuses = {hour: _status(jq, f"hourly@2026-11-29T{hour}:00:00Z") for hour in (10, 11)}
        assert [hour for hour, each in statuses.items() if each is Status.QUEUED] == wanted
        assert jq.metrics().queued == 2
        jq.close(drain=False)


def _status(jq: JobQueue, job_id: str) -> Status | None:
    try:
        return jq.status(job_id)
    except UnknownJobError:
        return None
