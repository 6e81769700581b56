"""Callers that wait for the end of a job, of all jobs or of the queue, in any order of steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobQueue,
    QueueClosedError,
    RejectJobError,
    ShutdownReport,
    Status,
)
from jobqueue.final.core.watchers import Watchers
from jobqueue.final.life import wiring as assembly
from jobqueue.final.runtime.parking import Parker
from tests.support.interleavings import Deadlock, explore, join, start

pytestmark = pytest.mark.slow


def nothing(_payload: bytes) -> None:
    pass


def reject(_payload: bytes) -> None:
    raise RejectJobError


def queue(handler: Callable[[bytes], object] = nothing, *, workers: int = 2) -> JobQueue:
    return JobQueue(Config(num_workers=workers, queue_size=10), handler=handler)


def join_until_idle() -> None:
    """Two threads join while a third enqueues; each of them sees the queue at rest once."""
    jq = queue()
    jq.enqueue(Job(id="first"))
    seen: list[bool] = []
    callers = start(
        lambda: seen.append(jq.join()),
        lambda: seen.append(jq.join()),
        lambda: jq.enqueue(Job(id="second")),
    )
    join(callers)
    assert seen == [True, True]
    jq.close()


def test_join_returns_when_the_last_job_has_ended() -> None:
    explore(join_until_idle)


class LooksOutside(Watchers):
    """Whether to sleep is decided before the mutex is taken, and not looked at again."""

    def wait(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        with self._mutex:
            holds = condition()
        if holds:
            return True
        parker = Parker()
        with self._mutex:
            self.waiting.append((condition, parker))
        return parker.park(timeout)


def test_a_caller_that_falls_asleep_too_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "Watchers", LooksOutside)
    with pytest.raises(Deadlock):
        explore(join_until_idle)


def test_wait_returns_when_the_job_has_ended_however_it_ends() -> None:
    def model() -> None:
        jq = queue(workers=1)
        ends: list[Status] = []
        handle = jq.enqueue(Job(id="a"))
        callers = start(
            lambda: ends.append(handle.wait()),
            lambda: ends.append(handle.wait()),
            lambda: jq.cancel("a"),
        )
        join(callers)
        assert ends[0] is ends[1]
        assert ends[0] in (Status.COMPLETED, Status.CANCELLED)
        jq.close()

    explore(model)


def test_wait_follows_a_job_that_is_requeued_until_it_ends() -> None:
    def model() -> None:
        jq = queue(reject, workers=1)
        handle = jq.enqueue(Job(id="a", max_retries=0))
        ends: list[Status] = []

        def requeue() -> None:
            handle.wait()
            ends.append(jq.requeue("a").wait())

        callers = start(lambda: ends.append(handle.wait()), requeue)
        join(callers)
        assert ends == [Status.FAILED, Status.FAILED]
        jq.close()

    explore(model)


@pytest.mark.parametrize("drain", [True, False])
def test_close_tells_everybody_who_waits_and_all_closers_the_same(drain: bool) -> None:
    def model() -> None:
        jq = queue(workers=1)
        handles = [jq.enqueue(Job(id=name)) for name in "ab"]
        reports: list[ShutdownReport] = []
        told: list[object] = []

        def result() -> None:
            try:
                told.append(handles[1].result())
            except QueueClosedError:
                told.append("closed")

        callers = start(
            lambda: reports.append(jq.close(drain=drain)),
            lambda: reports.append(jq.close(drain=drain)),
            lambda: told.append(jq.join()),
            result,
        )
        join(callers)
        ended = [handle.status is Status.COMPLETED for handle in handles]
        assert reports[0] == reports[1]
        assert reports[0].remaining == ended.count(False)
        assert all(ended) or not drain
        assert set(told) == ({True, None} if all(ended) else {False, "closed"})

    explore(model)


def test_a_pause_during_close_ends_the_drain_and_a_resume_does_not_hang_it() -> None:
    def model() -> None:
        jq = queue(workers=1)
        for name in "ab":
            jq.enqueue(Job(id=name))
        reports: list[ShutdownReport] = []
        callers = start(jq.pause, jq.resume, lambda: reports.append(jq.close(drain=True)))
        join(callers)
        completed = [jq.status(name) for name in "ab"].count(Status.COMPLETED)
        assert reports[0].remaining == 2 - completed

    explore(model)
