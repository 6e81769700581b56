from __future__ import annotations

import queue
import threading
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import cast
from unittest.mock import Mock, patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.final import Job, Priority, Status
from jobqueue.final.core import lane as lane_module
from jobqueue.final.core.lane import Lane
from jobqueue.final.core.scheduler import FairScheduler
from jobqueue.final.model.handle import HandleOwner, JobHandle
from jobqueue.final.runtime.mutex import Mutex, WorkerCondition, make_mutex
from jobqueue.final.runtime.parking import Parker
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.turns import Turns
from tests.support.waiting import PATIENCE, eventually

HIGH, MEDIUM, LOW = Priority


class Lanes:
    """A scheduler alone, with its mutex taken for each step and its invariants checked after it."""

    def __init__(self, size: int = 1000, fairness: int = 10) -> None:
        self.mutex = make_mutex()
        self.scheduler = FairScheduler(self.mutex, size=size, fairness=fairness)
        self._workers: list[Future[JobHandle | None]] = []

    def push(self, priority: Priority, name: str | None = None) -> JobHandle:
        job = JobHandle(cast("HandleOwner", None), Job(id=name, priority=priority), Status.QUEUED)
        with self.mutex:
            self.scheduler.push(job, 0.0)
            insides.check_lanes(self.scheduler)
        return job

    def take(self) -> JobHandle:
        """The next job, which must be there."""
        assert any(lane.queue for lane in self.scheduler.lanes)
        with self.mutex:
            handle = self.scheduler.take()
            insides.check_lanes(self.scheduler)
        assert handle is not None
        return handle

    def take_all(self) -> list[JobHandle]:
        return [self.take() for _ in range(sum(lane.qsize() for lane in self.scheduler.lanes))]

    def cancel(self, handle: JobHandle) -> None:
        with self.mutex:
            insides.set_status(handle, Status.CANCELLED)
            self.scheduler.lanes[insides.job_of(handle).priority].cancelled_one(handle)
            insides.check_lanes(self.scheduler)

    def sweep(self, priority: Priority) -> bool:
        """One step of a sweep, as the timer's thread makes it; returns whether there are more."""
        with self.mutex:
            goes_on = self.scheduler.lanes[priority].sweep()
            insides.check_lanes(self.scheduler)
        return goes_on

    def worker(self) -> Future[JobHandle | None]:
        """A thread that takes one job; returns when it sleeps."""
        asleep = insides.idle_workers(self.scheduler)

        def take() -> JobHandle | None:
            with self.mutex:
                return self.scheduler.take()

        taken = in_thread(take)
        self._workers.append(taken)
        assert eventually(lambda: insides.idle_workers(self.scheduler) == asleep + 1)
        return taken

    def stop(self) -> None:
        with self.mutex:
            self.scheduler.stop()
        for worker in self._workers:
            worker.result(PATIENCE)


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    lanes = Lanes()
    yield lanes
    lanes.stop()


def ids(handles: list[JobHandle]) -> list[str]:
    return [insides.job_of(handle).id for handle in handles]


# --- order ----------------------------------------------------------------------------------


def test_higher_lanes_go_first(lanes: Lanes) -> None:
    for name, priority in (("c", LOW), ("b", MEDIUM), ("a", HIGH)):
        lanes.push(priority, name)

    assert ids(lanes.take_all()) == ["a", "b", "c"]


@pytest.mark.parametrize("priority", Priority)
def test_jobs_of_a_lane_start_in_the_order_in_which_they_came(
    lanes: Lanes, priority: Priority
) -> None:
    names = [str(number) for number in range(30)]
    for name in names:
        lanes.push(priority, name)

    assert ids(lanes.take_all()) == names


def test_of_1200_starts_of_flooded_lanes_each_lower_one_gets_its_share(lanes: Lanes) -> None:
    served: Counter[Priority] = Counter()
    for priority in Priority:
        lanes.push(priority)
    for _ in range(1200):
        priority = insides.job_of(lanes.take()).priority
        served[priority] += 1
        lanes.push(priority)

    assert 960 <= served[HIGH] <= 1030
    assert served[MEDIUM] >= 90
    assert served[LOW] >= 90


@pytest.mark.parametrize("fairness", [1, 2, 10])
def test_a_lone_low_job_waits_for_no_more_than_the_fairness_of_higher_ones(fairness: int) -> None:
    lanes = Lanes(fairness=fairness)
    for _ in range(fairness + 3):
        lanes.push(HIGH)
    lanes.push(LOW)

    priorities = [insides.job_of(handle).priority for handle in lanes.take_all()]

    assert priorities.index(LOW) == fairness


def test_medium_jobs_that_overtake_low_ones_spend_their_tokens_too() -> None:
    lanes = Lanes(fairness=3)
    for _ in range(5):
        lanes.push(MEDIUM)
    lanes.push(LOW)

    assert [insides.job_of(handle).priority for handle in lanes.take_all()].index(LOW) == 3


def test_tokens_are_not_spent_while_a_lane_has_no_work() -> None:
    lanes = Lanes(fairness=2)
    for _ in range(10):
        lanes.push(HIGH)
        lanes.take()
    for priority in (LOW, HIGH, HIGH, HIGH):
        lanes.push(priority)

    priorities = [insides.job_of(handle).priority for handle in lanes.take_all()]

    assert priorities == [HIGH, HIGH, LOW, HIGH]


@given(
    fairness=st.integers(1, 12),
    steps=st.lists(
        st.tuples(st.sampled_from(["push", "take", "cancel", "sweep"]), st.integers(0, 2)),
        max_size=300,
    ),
)
@patch.multiple(lane_module, _SWEPT_AT_ONCE=2, _STALE_MIN=1)
def test_no_arrivals_break_the_bound_on_overtaking(
    fairness: int, steps: list[tuple[str, int]]
) -> None:
    lanes, turns = Lanes(fairness=fairness), Turns(fairness)
    waiting: dict[Priority, deque[JobHandle]] = {each: deque() for each in Priority}

    def take() -> None:
        with_work = [priority for priority in Priority if waiting[priority]]
        taken = lanes.take()
        turns.serve(insides.job_of(taken).priority, with_work)
        assert taken is waiting[insides.job_of(taken).priority].popleft()

    for step, number in steps:
        lane = waiting[Priority(number)]
        if step == "push":
            lane.append(lanes.push(Priority(number)))
        elif step == "cancel" and lane:
            index = len(lane) // 2
            lanes.cancel(lane[index])
            del lane[index]
        elif step == "sweep":
            lanes.sweep(Priority(number))
        elif step == "take" and any(waiting.values()):
            take()
    while any(waiting.values()):
        take()


@given(fairness=st.integers(1, 30), rounds=st.integers(1, 20))
def test_flooded_lanes_share_the_starts_as_tokens_say(fairness: int, rounds: int) -> None:
    lanes, turns = Lanes(fairness=fairness), Turns(fairness)
    for priority in Priority:
        lanes.push(priority)
    for _ in range(rounds * (fairness + 2)):
        taken = insides.job_of(lanes.take()).priority
        turns.serve(taken, tuple(Priority))
        lanes.push(taken)

    assert turns.served == {HIGH: rounds * fairness, MEDIUM: rounds, LOW: rounds}


# --- cancelled jobs -------------------------------------------------------------------------


def test_a_cancelled_job_is_passed_over(lanes: Lanes) -> None:
    handles = [lanes.push(MEDIUM, name) for name in "abcde"]
    lanes.cancel(handles[0])
    lanes.cancel(handles[2])

    assert ids([lanes.take() for _ in range(3)]) == ["b", "d", "e"]


@pytest.mark.parametrize("priority", Priority)
def test_a_job_whose_cancelling_was_cut_short_is_not_given_out(
    lanes: Lanes, priority: Priority
) -> None:
    cut_short, other = lanes.push(priority), lanes.push(priority)
    insides.set_status(cut_short, Status.CANCELLED)  # and nothing has been counted

    assert lanes.scheduler.take_ready() is other


def test_a_lane_of_cancelled_jobs_has_no_work(lanes: Lanes) -> None:
    lane = lanes.scheduler.high
    handles = [lanes.push(HIGH) for _ in range(3)]
    low = lanes.push(LOW)
    for handle in handles:
        lanes.cancel(handle)

    assert lane.oldest() is None
    assert lanes.take() is low


@pytest.mark.usefixtures("no_tracer")
def test_cancelled_jobs_are_swept_out_when_they_are_more_than_half(lanes: Lanes) -> None:
    handles = [lanes.push(MEDIUM, str(n)) for n in range(2000)]
    for handle in reversed(handles[1:1501]):
        lanes.cancel(handle)

    steps = 0
    while lanes.sweep(MEDIUM):
        steps += 1
        lanes.push(MEDIUM, f"new {steps}")
    assert steps == 5  # of 500 jobs, with those that came meanwhile
    assert lanes.scheduler.medium.qsize() == 500 + 5
    assert ids(lanes.take_all()) == [
        "0",
        *map(str, range(1501, 2000)),
        *(f"new {n}" for n in range(1, 6)),
    ]


def test_a_sweep_ends_though_jobs_were_cancelled_that_waited_elsewhere(lanes: Lanes) -> None:
    handles = [lanes.push(MEDIUM) for _ in range(200)]
    elsewhere = JobHandle(cast("HandleOwner", None), Job(), Status.CANCELLED)
    with lanes.mutex:
        for _ in range(1000):
            lanes.scheduler.medium.cancelled_one(elsewhere)
    lanes.cancel(handles[100])

    assert lanes.sweep(MEDIUM)
    assert not lanes.sweep(MEDIUM)
    assert lanes.scheduler.medium.qsize() == 199


@pytest.mark.usefixtures("no_tracer")
def test_a_worker_that_is_quicker_than_a_sweep_misses_no_job(lanes: Lanes) -> None:
    handles = [lanes.push(MEDIUM, str(n)) for n in range(2000)]
    for handle in reversed(handles[1:1501]):
        lanes.cancel(handle)
    assert lanes.sweep(MEDIUM)

    assert ids([lanes.take()]) == ["0"]
    assert ids([lanes.take() for _ in range(499)]) == [*map(str, range(1501, 2000))]
    assert not lanes.sweep(MEDIUM)


def test_a_lane_tells_its_oldest_job(lanes: Lanes) -> None:
    first, second = lanes.push(LOW), lanes.push(LOW)
    assert lanes.scheduler.low.oldest() is first
    lanes.cancel(first)
    assert lanes.scheduler.low.oldest() is second


# --- a lane is a queue.Queue ----------------------------------------------------------------


def test_a_lane_is_a_queue_that_never_waits(lanes: Lanes) -> None:
    lane = lanes.scheduler.high
    assert isinstance(lane, queue.Queue)
    handle = JobHandle(cast("HandleOwner", None), Job(priority=HIGH), Status.QUEUED)
    lane.put(handle)

    assert lane.qsize() == 1
    assert lane.get() is handle
    with pytest.raises(queue.Empty):
        lane.get()


def test_what_is_put_into_a_lane_wakes_a_worker(lanes: Lanes) -> None:
    taken = lanes.worker()
    handle = JobHandle(cast("HandleOwner", None), Job(priority=LOW), Status.QUEUED)
    lanes.scheduler.low.put(handle)

    assert taken.result(PATIENCE) is handle


# --- workers that wait ----------------------------------------------------------------------


@pytest.mark.parametrize("priority", Priority)
def test_a_worker_waits_for_all_lanes_at_once(lanes: Lanes, priority: Priority) -> None:
    taken = lanes.worker()
    assert lanes.push(priority) is taken.result(PATIENCE)


def test_each_of_several_jobs_that_come_in_one_step_wakes_a_worker(lanes: Lanes) -> None:
    workers = [lanes.worker() for _ in range(4)]
    with lanes.mutex:
        pushed = {lanes.push(MEDIUM) for _ in range(4)}

    assert {worker.result(PATIENCE) for worker in workers} == pushed


def test_a_job_that_comes_while_a_wake_up_is_under_way_is_not_forgotten(lanes: Lanes) -> None:
    first, second = lanes.worker(), lanes.worker()
    with lanes.mutex:
        lanes.push(MEDIUM)
        taken = lanes.scheduler.take()  # by a third worker, which was faster
        pushed = lanes.push(MEDIUM)

    assert taken is not pushed
    assert eventually(lambda: first.done() or second.done())
    assert (first if first.done() else second).result() is pushed


class Counting(WorkerCondition):
    """A condition that counts its wake-ups."""

    def __init__(self, mutex: Mutex) -> None:
        super().__init__(mutex)
        self.notified = 0

    def notify(self) -> None:
        self.notified += 1
        super().notify()


@pytest.fixture
def counting(lanes: Lanes) -> Counting:
    counting = Counting(lanes.mutex)
    counting.sleepers = lanes.scheduler.not_empty.sleepers  # it is looked at, too
    lanes.scheduler.not_empty = counting
    return counting


def test_at_most_one_wake_up_is_under_way(lanes: Lanes, counting: Counting) -> None:
    for _ in range(3):
        lanes.worker()
    with lanes.mutex:
        for _ in range(3):
            lanes.push(HIGH)
        assert counting.notified == 1


def test_a_push_that_nobody_waits_for_wakes_nobody(lanes: Lanes, counting: Counting) -> None:
    lanes.push(HIGH)
    lanes.take()

    assert counting.notified == 0


def test_a_paused_scheduler_gives_out_nothing_until_it_is_resumed(lanes: Lanes) -> None:
    with lanes.mutex:
        lanes.scheduler.pause()
    workers = [lanes.worker() for _ in range(2)]
    jobs = {lanes.push(MEDIUM), lanes.push(LOW)}
    assert eventually(
        lambda: (
            insides.idle_workers(lanes.scheduler) == 2 and not insides.is_waking(lanes.scheduler)
        )
    )
    assert not any(worker.done() for worker in workers)

    with lanes.mutex:
        lanes.scheduler.resume()

    assert {worker.result(PATIENCE) for worker in workers} == jobs


def test_stop_sends_all_workers_home(lanes: Lanes) -> None:
    workers = [lanes.worker() for _ in range(3)]
    with lanes.mutex:
        lanes.scheduler.stop()

    assert [worker.result(PATIENCE) for worker in workers] == [None] * 3


def test_nothing_is_given_out_after_stop(lanes: Lanes) -> None:
    lanes.push(HIGH)
    with lanes.mutex:
        lanes.scheduler.stop()
        assert lanes.scheduler.take() is None


# --- jobs that run alone --------------------------------------------------------------------


def test_a_job_that_is_to_run_alone_waits_until_nothing_else_runs(lanes: Lanes) -> None:
    suspect = JobHandle(cast("HandleOwner", None), Job(), Status.QUEUED)
    running = 1
    lanes.scheduler.count_running = lambda: running
    with lanes.mutex:
        lanes.scheduler.push_suspect(suspect, 0.0)
        assert lanes.scheduler.take_ready() is None
        running = 0
        assert lanes.scheduler.take_ready() is suspect


def test_while_a_job_runs_alone_no_other_is_given_out(lanes: Lanes) -> None:
    lone, next_lone = (JobHandle(cast("HandleOwner", None), Job(), Status.QUEUED) for _ in range(2))
    other = lanes.push(HIGH)
    with lanes.mutex:
        lanes.scheduler.push_suspect(lone, 0.0)
        lanes.scheduler.push_suspect(next_lone, 0.0)
        for expected in (lone, next_lone):
            assert lanes.scheduler.take_ready() is expected
            assert lanes.scheduler.take_ready() is None
            lanes.scheduler.isolated_job_ended()
        assert lanes.scheduler.take_ready() is other


# --- many at once ---------------------------------------------------------------------------


@pytest.mark.slow
def test_no_wake_up_is_lost_between_many_producers_and_workers() -> None:
    lanes = Lanes(fairness=3)
    producers, each, workers = 8, 250, 6
    taken: list[list[JobHandle]] = [[] for _ in range(workers)]
    all_taken = threading.Semaphore(0)

    def work(mine: list[JobHandle]) -> None:
        while True:
            with lanes.mutex:
                handle = lanes.scheduler.take()
            if handle is None:
                return
            mine.append(handle)
            all_taken.release()

    def produce(number: int) -> None:
        for count in range(each):
            lanes.push(Priority(count % 3), f"{number}-{count}")

    at_work = [in_thread(work, mine) for mine in taken]
    done = [in_thread(produce, number) for number in range(producers)]
    for _ in range(producers * each):
        assert all_taken.acquire(timeout=PATIENCE), "a job lies in its lane and nobody looks"
    for future in done:
        future.result(PATIENCE)
    lanes.stop()
    for future in at_work:
        future.result(PATIENCE)

    names = Counter(insides.job_of(handle).id for mine in taken for handle in mine)
    assert names == Counter(f"{p}-{c}" for p in range(producers) for c in range(each))


# --- room -----------------------------------------------------------------------------------


def wait_for_room(lanes: Lanes, priority: Priority = HIGH) -> Parker:
    """Where a producer sleeps that waits."""
    parker = Parker()
    lanes.scheduler.lanes[priority].producers.append(parker)
    return parker


def test_a_place_that_becomes_free_wakes_the_producer_that_has_waited_longest() -> None:
    lanes = Lanes(size=2)
    lane = lanes.scheduler.high
    lane.room = 0
    first, second = wait_for_room(lanes), wait_for_room(lanes)
    with lanes.mutex:
        lane.room += 1
        lane.wake_producer()

    assert insides.is_woken(first)
    assert not insides.is_woken(second)
    assert lane.room == 1


def free_places(lane: Lane, count: int) -> None:
    """So many jobs leave the lane."""
    with lane.mutex:
        for _ in range(count):
            lane.room += 1
            lane.wake_producer()


def test_one_producer_is_woken_however_many_places_become_free_until_it_looks() -> None:
    lanes = Lanes(size=100)
    lane = lanes.scheduler.high
    lane.room = 0
    alarms = [wait_for_room(lanes) for _ in range(64)]
    free_places(lane, 100)
    assert [insides.is_woken(each) for each in alarms] == [True] + [False] * 63


def test_a_producer_that_has_looked_wakes_the_next() -> None:
    lanes = Lanes(size=2)
    lane = lanes.scheduler.high
    lane.room = 0
    alarms = [wait_for_room(lanes) for _ in range(3)]
    free_places(lane, 2)
    with lanes.mutex:
        lane.looks(alarms[0])
        lane.wake_producer()

    assert [insides.is_woken(each) for each in alarms] == [True, True, False]


def test_a_producer_that_comes_by_is_not_taken_for_the_one_that_was_woken() -> None:
    lanes = Lanes(size=2)
    lane = lanes.scheduler.high
    lane.room = 0
    alarms = [wait_for_room(lanes) for _ in range(3)]
    free_places(lane, 1)
    with lanes.mutex:
        lane.looks(Parker())
    free_places(lane, 1)
    assert [insides.is_woken(each) for each in alarms] == [True, False, False]


def test_a_producer_that_is_held_up_does_not_hold_up_the_line() -> None:
    lanes = Lanes(size=2)
    lane = lanes.scheduler.high
    lane.room = 0
    alarms = [wait_for_room(lanes) for _ in range(3)]
    free_places(lane, 1)
    insides.lose_patience(lane)
    free_places(lane, 1)
    assert [insides.is_woken(each) for each in alarms] == [True, True, False]


def test_a_coroutine_that_was_woken_is_not_waited_for() -> None:
    """Its loop may be busy with something else."""
    lanes = Lanes(size=2)
    lane = lanes.scheduler.high
    lane.room = 0
    lane.producers.append(Mock())
    alarm = wait_for_room(lanes)
    free_places(lane, 2)
    assert insides.is_woken(alarm)


def test_a_full_lane_wakes_no_producer() -> None:
    lanes = Lanes(size=1)
    lane = lanes.scheduler.low
    lane.room = 0
    alarm = wait_for_room(lanes, LOW)
    with lanes.mutex:
        lane.wake_producer()

    assert not insides.is_woken(alarm)


def test_room_of_one_lane_is_not_that_of_another() -> None:
    lanes = Lanes(size=1)
    lanes.scheduler.high.room = lanes.scheduler.low.room = 0
    alarm = wait_for_room(lanes, LOW)
    with lanes.mutex:
        lanes.scheduler.high.room += 1
        lanes.scheduler.high.wake_producer()

    assert not insides.is_woken(alarm)


def test_the_invariants_are_checked() -> None:
    lanes = Lanes()
    handle = lanes.push(HIGH)
    insides.set_status(handle, Status.CANCELLED)  # behind the lane's back
    with pytest.raises(AssertionError):
        insides.check_lanes(lanes.scheduler)
