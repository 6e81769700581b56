"""Lanes: who puts, who takes and who closes, in any order of their steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from jobqueue.final import Job, Priority, Status
from jobqueue.final.core.scheduler import FairScheduler
from jobqueue.final.model.handle import HandleOwner, JobHandle
from jobqueue.final.runtime.mutex import Mutex
from jobqueue.final.runtime.parking import Parker
from tests.support import insides
from tests.support.interleavings import Deadlock, ModelledMutex, explore, join, start

pytestmark = pytest.mark.slow
HIGH, MEDIUM, LOW = Priority


def nothing(_name: str) -> None:
    pass


class Lanes:
    """A scheduler, the threads that take from it, and the steps of those who put.

    Args:
        workers: how many threads take jobs.
        handler: called by them, without the mutex, with the name of each job.
        jobs: after so many jobs the model may go on from `await_all`.
    """

    def __init__(
        self,
        workers: int,
        *,
        jobs: int = 0,
        handler: Callable[[str], object] = nothing,
        scheduler: type[FairScheduler] = FairScheduler,
    ) -> None:
        self.mutex = cast("Mutex", ModelledMutex())
        self.scheduler = scheduler(self.mutex, size=10, fairness=2)
        self.taken: list[str] = []
        self._jobs = jobs
        self._handler = handler
        self._all_taken = threading.Event()
        self._workers = start(*[self._work] * workers)

    def _work(self) -> None:
        while True:
            with self.mutex:
                handle = self.scheduler.take_ready()
            if handle is None:
                with self.mutex:
                    handle = self.scheduler.take()
                    if handle is None:
                        return
            self._handler(insides.job_of(handle).id)
            with self.mutex:
                self.taken.append(insides.job_of(handle).id)
                if len(self.taken) == self._jobs:
                    self._all_taken.set()

    def push(self, *names: str, priority: Priority = MEDIUM) -> None:
        for name in names:
            job = Job(id=name, priority=priority)
            handle = JobHandle(cast("HandleOwner", None), job, Status.QUEUED)
            with self.mutex:
                self.scheduler.push(handle, 0.0)
                insides.check_lanes(self.scheduler)

    def await_all(self) -> None:
        """Return when as many jobs have been dealt with as were announced."""
        self._all_taken.wait()

    def stop(self) -> None:
        with self.mutex:
            self.scheduler.stop()

    def join(self) -> None:
        join(self._workers)

    def left(self) -> list[str]:
        return [insides.job_of(handle).id for lane in self.scheduler.lanes for handle in lane.queue]


def test_each_job_is_taken_once_and_none_is_forgotten() -> None:
    def model() -> None:
        lanes = Lanes(workers=2, jobs=5)
        producers = start(
            lambda: lanes.push("a", "b"),
            lambda: lanes.push("c", priority=HIGH),
            lambda: lanes.push("d", "e", priority=LOW),
        )
        lanes.await_all()
        join(producers)
        lanes.stop()
        lanes.join()
        assert sorted(lanes.taken) == ["a", "b", "c", "d", "e"]

    explore(model)


def meet(scheduler: type[FairScheduler] = FairScheduler) -> None:
    """Three jobs each of which needs the other two to run beside it."""
    barrier = threading.Barrier(3)
    lanes = Lanes(workers=3, jobs=3, handler=lambda _name: barrier.wait(), scheduler=scheduler)
    producers = start(lambda: lanes.push("a", "b"), lambda: lanes.push("c", priority=LOW))
    lanes.await_all()
    join(producers)
    lanes.stop()
    lanes.join()


def test_no_worker_sleeps_while_a_job_waits() -> None:
    explore(meet)


def test_stop_sends_every_worker_home_and_leaves_in_order_what_was_not_taken() -> None:
    def model() -> None:
        lanes = Lanes(workers=2)
        callers = start(lambda: lanes.push("1", "2", "3"), lanes.stop)
        join(callers)
        lanes.join()
        assert sorted(lanes.taken) + lanes.left() == ["1", "2", "3"]

    explore(model)


def test_a_pause_loses_no_job_and_resume_wakes_who_slept_through_it() -> None:
    def pause_and_resume(lanes: Lanes) -> None:
        with lanes.mutex:
            lanes.scheduler.pause()
        with lanes.mutex:
            lanes.scheduler.resume()

    def model() -> None:
        lanes = Lanes(workers=2, jobs=3)
        callers = start(lambda: lanes.push("a", "b", "c"), lambda: pause_and_resume(lanes))
        lanes.await_all()
        join(callers)
        lanes.stop()
        lanes.join()

    explore(model)


# --- what the explorer finds, where it is there to be found ----------------------------------


class KeepsTheWakeUp(FairScheduler):
    """A worker that was woken for one of two jobs does not wake another one for the second."""

    def _has_more(self) -> bool:
        return False


class ForgetsWhoWasWoken(FairScheduler):
    """A wake-up counts as under way for ever."""

    def take(self, *args: Any) -> JobHandle | None:
        handle = super().take(*args)
        self._waking = True
        return handle


class LooksOnce(FairScheduler):
    """What a worker was woken for is not looked for again."""

    def take(self, *args: Any) -> JobHandle | None:
        handle = self.take_ready()
        if handle is None and not self.stopped:
            self.not_empty.wait(Parker())
            self._waking = False
            handle = self.take_ready()
        return handle


@pytest.mark.parametrize("scheduler", [KeepsTheWakeUp, ForgetsWhoWasWoken, LooksOnce])
def test_a_lost_wake_up_is_found(scheduler: type[FairScheduler]) -> None:
    with pytest.raises(Deadlock):
        explore(lambda: meet(scheduler))
