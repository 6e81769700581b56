"""Which ticks are run, and which are left out; with a clock that is moved by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobqueue.final import Job, JobQueue, PeriodicInfo, Status
from jobqueue.final.core.periodic import AHEAD_SECONDS_MAX, Entry, PeriodicRoom
from jobqueue.final.testing import ManualClock
from jobqueue.final.timing.schedules import parse
from tests.support.handlers import Recorder, in_thread
from tests.support.queues import Store, every_store
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually

HOUR, DAY = 3600.0, 86_400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(at("2026-11-29T09:20"))


def hourly(jq: JobQueue, **options: Any) -> None:
    jq.periodic("report", "@hourly", lambda: Job(b"report"), **options)


def hours(jq: JobQueue, *wanted: str) -> list[str]:
    """Those of these hours of the day whose tick the queue knows."""
    known = []
    for each in wanted:
        try:
            jq.status(f"report@2026-11-29T{each}:00:00Z")
        except KeyError:
            continue
        known.append(each)
    return known


def only(jq: JobQueue) -> PeriodicInfo:
    (info,) = jq.periodics()
    return info


@every_store
def test_each_tick_enqueues_one_job_whose_id_is_its_time(store: Store, clock: ManualClock) -> None:
    recorder = Recorder()
    jq = store.open(recorder, clock=clock, num_workers=1)
    hourly(jq)
    clock.advance(0.66 * HOUR)
    assert jq.metrics().enqueued == 0
    clock.advance(0.01 * HOUR)
    assert jq.status("report@2026-11-29T10:00:00Z")
    for _ in range(2):
        clock.advance(HOUR)
    assert jq.join(10)
    ran = [recorder.next() for _ in range(3)]
    assert [job.id for job in ran] == [f"report@2026-11-29T{hour}:00:00Z" for hour in (10, 11, 12)]
    assert [job.payload for job in ran] == [b"report"] * 3


def test_what_is_told_of_a_schedule(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(len, clock=clock)
    assert jq.periodics() == []
    jq.periodic("b", "0 4 * * *", Job, tz="Europe/Berlin")
    jq.periodic("a", timedelta(hours=1), Job)
    ten, four = at("2026-11-29T10:00"), at("2026-11-30T03:00")
    assert jq.periodics() == [
        PeriodicInfo("b", "0 4 * * *", "Europe/Berlin", None, four, False),
        PeriodicInfo("a", timedelta(hours=1), "UTC", None, ten, False),
    ]
    clock.advance(HOUR)
    jq.pause(periodic="b")
    assert jq.periodics() == [
        PeriodicInfo("b", "0 4 * * *", "Europe/Berlin", None, None, True),
        PeriodicInfo("a", timedelta(hours=1), "UTC", ten, ten + HOUR, False),
    ]


@pytest.mark.parametrize(
    ("catch_up", "wanted"),
    [("none", ["12"]), ("last", ["12"]), ("all", ["10", "11", "12"])],
)
def test_of_ticks_that_one_advance_jumps_over_the_last_is_run_or_all_if_so_asked(
    memory: Store, clock: ManualClock, catch_up: str, wanted: list[str]
) -> None:
    jq = memory.open(len, clock=clock)
    hourly(jq, catch_up=catch_up)
    clock.advance(3 * HOUR)
    assert hours(jq, "10", "11", "12", "13") == wanted


@pytest.mark.parametrize(
    ("catch_up", "wanted"), [("none", []), ("last", ["12"]), ("all", ["10", "11", "12"])]
)
def test_ticks_that_came_while_the_process_was_down(
    log_store: Store, clock: ManualClock, catch_up: str, wanted: list[str]
) -> None:
    jq = log_store.open(len, clock=clock)
    hourly(jq, catch_up=catch_up)
    jq.close()
    clock.advance(3 * HOUR)
    jq = log_store.open(len, clock=clock)
    hourly(jq, catch_up=catch_up)
    assert hours(jq, "10", "11", "12", "13") == wanted
    assert only(jq).next == at("2026-11-29T13:00")
    clock.advance(HOUR)
    assert hours(jq, "13") == ["13"]


def test_a_restart_within_a_tick_does_not_add_it_again(
    log_store: Store, clock: ManualClock
) -> None:
    recorder = Recorder()
    for start in range(3):
        jq = log_store.open(recorder, clock=clock)
        hourly(jq, catch_up="last")
        clock.advance(60 if start else 0.7 * HOUR)
        assert jq.join(10)
        jq.close()
    assert recorder.ids() == ["report@2026-11-29T10:00:00Z"]


def test_the_log_remembers_the_last_tick_longer_than_its_job(
    log_store: Store, clock: ManualClock
) -> None:
    recorder = Recorder()
    for start in range(2):  # one worker: the other job ends last, and is the one that is kept
        jq = log_store.open(recorder, clock=clock, status_retention=1, num_workers=1)
        if start == 1:
            assert hours(jq, "10") == []
        hourly(jq, catch_up="all")
        clock.advance(60 if start else 0.7 * HOUR)
        jq.enqueue(Job(id=f"other-{start}"))
        assert jq.join(10)
        assert only(jq).last == at("2026-11-29T10:00")
        jq.close()
    assert recorder.ids().count("report@2026-11-29T10:00:00Z") == 1


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_pause_and_a_restart_forget_no_tick_that_enqueued_a_job(
    log_store: Store, clock: ManualClock, is_compacted: bool
) -> None:
    jq = log_store.open(len, clock=clock)
    hourly(jq)
    clock.advance(0.7 * HOUR)
    assert only(jq).last == at("2026-11-29T10:00")
    jq.pause(periodic="report")
    clock.advance(2 * HOUR)
    jq.resume(periodic="report")
    jq.close()
    if is_compacted:
        log_store.compact()

    again = log_store.open(len, clock=clock)
    hourly(again)
    assert only(again).last == at("2026-11-29T10:00")
    clock.advance(HOUR)
    assert only(again).last == at("2026-11-29T13:00")


def test_of_two_threads_that_find_the_same_tick_one_takes_it() -> None:
    entry = Entry("report", "@hourly", "UTC", parse("@hourly", "UTC"), Job, "none")
    entry.begins(None, at("2026-11-29T09:20"))
    room = PeriodicRoom({})
    room.entries["report"] = entry
    before, ten = entry.settled, at("2026-11-29T10:00")
    taken = [room.take(entry, before, ten, ten + HOUR) for _ in range(2)]
    assert taken == [True, False]
    assert (entry.settled, entry.next) == (ten, ten + HOUR)


def test_ticks_of_a_year_are_bounded_and_a_record_tells_of_it(
    memory: Store, clock: ManualClock, records: Records
) -> None:
    jq = memory.open(len, clock=clock, start=False)
    jq.periodic("minute", "* * * * *", Job, catch_up="all")
    clock.advance(365 * DAY)
    assert jq.metrics().enqueued == 1000
    assert jq.status("minute@2027-11-29T09:20:00Z") is Status.QUEUED
    record = records.next()
    assert record.levelname == "WARNING"
    assert "'minute' has missed more than 1000" in record.getMessage()


def test_a_paused_schedule_leaves_out_its_ticks_whatever_its_catch_up(
    log_store: Store, clock: ManualClock
) -> None:
    jq = log_store.open(len, clock=clock)
    hourly(jq, catch_up="all")
    clock.advance(HOUR)
    jq.pause(periodic="report")
    clock.advance(HOUR)
    jq.resume(periodic="report")
    jq.resume(periodic="report")  # which changes nothing
    assert only(jq).next == at("2026-11-29T12:00")
    clock.advance(HOUR)
    assert hours(jq, "10", "11", "12", "13") == ["10", "12"]
    jq.pause(periodic="report")
    clock.advance(HOUR)
    jq.resume(periodic="report")
    jq.close()
    jq = log_store.open(len, clock=clock)
    hourly(jq, catch_up="all")
    assert hours(jq, "10", "11", "12", "13") == ["10", "12"]


@pytest.mark.parametrize("catch_up", ["last", "all"])
def test_a_restart_catches_up_with_no_tick_that_came_while_a_schedule_was_paused(
    log_store: Store, clock: ManualClock, catch_up: str
) -> None:
    jq = log_store.open(len, clock=clock)
    hourly(jq, catch_up=catch_up)
    clock.advance(HOUR)
    jq.pause(periodic="report")
    clock.advance(HOUR)
    jq.close()

    jq = log_store.open(len, clock=clock)
    hourly(jq, catch_up=catch_up)
    clock.advance(HOUR)

    assert hours(jq, "10", "11", "12") == ["10", "12"]


class SetClock(ManualClock):
    """Its wall clock can be set forward, of which nobody is told."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def test_ticks_that_nobody_saw_as_a_schedule_was_paused_are_left_out_too(log_store: Store) -> None:
    clock = SetClock(at("2026-11-29T09:20"))
    jq = log_store.open(len, clock=clock)
    hourly(jq, catch_up="all")
    jq.pause(periodic="report")
    clock.ahead = HOUR
    jq.resume(periodic="report")
    jq.close()

    jq = log_store.open(len, clock=clock)
    hourly(jq, catch_up="all")
    clock.advance(HOUR)

    assert hours(jq, "10", "11") == ["11"]


def test_to_pause_a_schedule_leaves_the_workers_at_work(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(len, clock=clock)
    hourly(jq)
    jq.pause(periodic="report")
    assert jq.enqueue(Job()).wait(10) is Status.COMPLETED


def test_a_tick_is_added_though_the_job_before_still_runs_and_takes_no_room(
    memory: Store, clock: ManualClock
) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker, clock=clock, queue_size=1, num_workers=1)
    hourly(jq)
    clock.advance(HOUR)
    blocker.await_entered()
    for _ in range(3):
        clock.advance(HOUR)
    assert hours(jq, "11", "12", "13") == ["11", "12", "13"]
    jq.enqueue(Job(id="mine"), timeout=0)  # the one place is free
    assert jq.status("mine") is Status.QUEUED


def test_the_factorys_job_is_left_as_it_is(memory: Store, clock: ManualClock) -> None:
    mine = Job(b"x", id="mine", headers={"a": "b"})
    jq = memory.open(len, clock=clock)
    jq.periodic("report", "@hourly", lambda: mine)
    for _ in range(2):
        clock.advance(HOUR)
    assert jq.join(10)
    assert (mine.id, mine.retries) == ("mine", 0)
    assert hours(jq, "10", "11") == ["10", "11"]
    assert jq.info("report@2026-11-29T11:00:00Z").headers == {"a": "b"}


def test_a_clock_that_was_set_back_brings_no_tick_a_second_time(
    log_store: Store, clock: ManualClock
) -> None:
    jq = log_store.open(len, clock=clock)
    hourly(jq, catch_up="all")
    clock.advance(3 * HOUR)
    assert jq.join(10)
    jq.close()
    earlier = ManualClock(at("2026-11-29T10:30"))
    jq = log_store.open(len, clock=earlier)
    hourly(jq, catch_up="all")
    assert only(jq).next == at("2026-11-29T13:00")
    earlier.advance(2 * HOUR)
    assert jq.metrics().enqueued == 0
    earlier.advance(HOUR)
    assert hours(jq, "13") == ["13"]


def test_a_clock_that_was_far_ahead_keeps_no_schedule_from_its_ticks(log_store: Store) -> None:
    wrong = ManualClock(at("2040-01-01T09:20"))
    jq = log_store.open(len, clock=wrong)
    hourly(jq, catch_up="all")
    wrong.advance(HOUR)
    jq.close()
    right = ManualClock(at("2026-11-29T09:20"))
    jq = log_store.open(len, clock=right)
    hourly(jq, catch_up="all")
    right.advance(HOUR)
    assert hours(jq, "10") == ["10"]


def test_a_clock_that_goes_far_back_under_a_queue_keeps_no_schedule_from_its_ticks(
    memory: Store,
) -> None:
    class Set(ManualClock):
        offset = 0.0

        def time(self) -> float:
            return super().time() + self.offset

    clock = Set(at("2026-11-29T09:20"))
    clock.offset = AHEAD_SECONDS_MAX + 3 * HOUR
    jq = memory.open(len, clock=clock)
    hourly(jq)
    clock.offset = 0.0
    clock.advance(1)
    assert only(jq).next == at("2026-11-29T10:00")
    clock.advance(HOUR)
    assert hours(jq, "10") == ["10"]


def test_a_queue_with_schedules_alone_is_at_rest(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(len, clock=clock)
    hourly(jq)
    assert jq.join(0)
    report = jq.close()
    assert (report.remaining, report.unfinished) == (0, ())


def test_no_tick_comes_once_close_has_begun(memory: Store, clock: ManualClock) -> None:
    called: list[Job] = []

    def factory() -> Job:
        called.append(Job())
        return called[-1]

    blocker = memory.blocker()
    jq = memory.open(blocker, clock=clock)
    jq.periodic("report", "@hourly", factory)
    jq.enqueue(Job())
    blocker.await_entered()
    closing = in_thread(jq.close)
    assert eventually(lambda: jq.closed)
    clock.advance(HOUR)
    blocker.gate.set()
    closing.result(PATIENCE)
    clock.advance(HOUR)
    assert not called
    assert [info.name for info in jq.periodics()] == ["report"]
