"""The choices that the lab puts in place of the final tier's."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from jobqueue.final import Config, EnqueueTimeoutError, Job, JobQueue, Priority, Status
from jobqueue.final.testing import ManualClock
from lab.schedulers import by_age, by_lot, choose_by, use_one_heap

if TYPE_CHECKING:
    from collections.abc import Iterator

HIGH, MEDIUM, LOW = Priority
WAIT_SECONDS_MAX = 10.0


class Lab:
    """A queue that writes down which jobs it starts, in order."""

    def __init__(self, size: int = 10_000) -> None:
        self.order: list[str] = []
        self.clock = ManualClock()
        config = Config(num_workers=1, queue_size=size)
        self.queue = JobQueue(config, handler=self._note, start=False, clock=self.clock)

    def _note(self, payload: bytes) -> None:
        self.order.append(payload.decode())

    def put(self, *priorities: Priority) -> None:
        for priority in priorities:
            self.queue.enqueue(Job(priority.name[0].encode(), priority=priority), timeout=0)

    def run(self) -> str:
        self.queue.start()
        assert self.queue.join(WAIT_SECONDS_MAX)
        return "".join(self.order)


@pytest.fixture
def lab() -> Iterator[Lab]:
    each = Lab()
    yield each
    each.queue.close(0.0)


def test_weighted_choice_gives_each_lane_about_its_share(lab: Lab) -> None:
    choose_by(lab.queue, by_lot({HIGH: 9, MEDIUM: 1, LOW: 1}, Random(1)))
    for priority in (HIGH, LOW):
        lab.put(*[priority] * 1000)
    first = lab.run()[:1000]
    assert 0.87 < first.count("H") / len(first) < 0.93


def test_weighted_choice_is_the_same_with_the_same_seed(lab: Lab) -> None:
    other = Lab()
    for each in (lab, other):
        choose_by(each.queue, by_lot({HIGH: 2, MEDIUM: 1, LOW: 1}, Random(7)))
        each.put(*[HIGH, MEDIUM, LOW] * 50)
    assert lab.run() == other.run()
    other.queue.close()


def test_weighted_choice_serves_a_lane_that_is_the_only_one_with_work(lab: Lab) -> None:
    choose_by(lab.queue, by_lot({HIGH: 10**6, MEDIUM: 1, LOW: 1}, Random(1)))
    lab.put(LOW, LOW)
    assert lab.run() == "LL"


@pytest.mark.parametrize(("head_start", "order"), [(0.4, "LH"), (0.6, "HL")])
def test_with_ageing_low_overtakes_once_it_has_waited_for_two_steps_more(
    lab: Lab, head_start: float, order: str
) -> None:
    choose_by(lab.queue, by_age(head_start))
    lab.put(LOW)
    lab.clock.advance(1.0)
    lab.put(HIGH)
    assert lab.run() == order


def test_with_ageing_jobs_of_the_same_age_run_by_priority(lab: Lab) -> None:
    choose_by(lab.queue, by_age(0.1))
    lab.put(LOW, MEDIUM, HIGH, LOW, MEDIUM, HIGH)
    assert lab.run() == "HHMMLL"


def test_heap_gives_out_by_priority_and_then_by_arrival(lab: Lab) -> None:
    use_one_heap(lab.queue)
    for number, priority in enumerate((LOW, HIGH, MEDIUM, HIGH, LOW)):
        lab.queue.enqueue(Job(f"{priority.name[0]}{number}".encode(), priority=priority))
    assert lab.run() == "H1H3M2L0L4"


def test_heap_full_of_low_refuses_high() -> None:
    lab = Lab()
    use_one_heap(lab.queue, 2)
    lab.put(LOW, LOW)
    with pytest.raises(EnqueueTimeoutError):
        lab.put(HIGH)
    lab.queue.close(0.0)


def test_lanes_full_of_low_take_high() -> None:
    lab = Lab(2)
    lab.put(LOW, LOW)
    lab.put(HIGH)
    assert lab.queue.metrics().queued == 3
    lab.queue.close(0.0)


def test_heap_has_room_again_when_a_job_has_been_taken() -> None:
    lab = Lab()
    use_one_heap(lab.queue, 1)
    lab.put(LOW)
    lab.run()
    lab.put(HIGH)
    assert lab.run() == "LH"
    lab.queue.close()


def test_heap_wakes_workers_that_wait(lab: Lab) -> None:
    use_one_heap(lab.queue)
    lab.queue.start()
    handles = [lab.queue.enqueue(Job(b"L")) for _ in range(3)]
    assert [handle.wait(WAIT_SECONDS_MAX) for handle in handles] == [Status.COMPLETED] * 3
