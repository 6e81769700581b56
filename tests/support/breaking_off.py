"""Changes that are broken off at each of their places in turn, and what has to hold then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobqueue.final import Job, JobQueue, Status, UnknownJobError
from tests.support import insides
from tests.support.left_out import often
from tests.support.ties import until_looked_after
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.interrupts import Interruption
    from tests.support.queues import Store

UNKNOWN = None
PLACES_MIN, PAIRS_MIN = 15, 60
PAIRS_STEP = often(3, 1)
"""In each run a third of the pairs is tried, once a day all."""
OTHERS = ("first", "second", "third")
"""How the jobs are called that a change is about besides, behind its id."""


def fails(_payload: bytes) -> None:
    """A handler that does."""
    raise ValueError


@dataclass(frozen=True)
class Change:
    """One kind of change.

    Attributes:
        prepare: has the queue, which is paused, know a job with this id.
        make: makes the change.
        before, after: the status of the job.
        requeues: whether it queues a failed job again.
        also: what the id of another job ends in that is there with this one, or not at all.
    """

    prepare: Callable[[JobQueue, str], object]
    make: Callable[[JobQueue, str], object]
    before: Status | None
    after: Status | None
    requeues: bool = False
    also: str = ""


def bury(jq: JobQueue, job_id: str) -> None:
    """Have a job fail for good."""
    handle = jq.enqueue(Job(b"payload", id=job_id, handler="fails"))
    jq.resume()
    assert handle.wait(PATIENCE) is Status.FAILED
    jq.pause()


def open_paused(store: Store) -> JobQueue:
    """A queue whose worker takes nothing."""
    jq = store.open(
        len, handlers={"fails": fails, "ok": len}, num_workers=1, queue_size=100_000, max_retries=0
    )
    jq.pause()
    jq.jobs(limit=1)  # from now on the order of all jobs is kept
    return jq


def status_of(jq: JobQueue, job_id: str) -> Status | None:
    """The status of a job; `None` if it is not known."""
    try:
        return jq.status(job_id)
    except UnknownJobError:
        return UNKNOWN


def break_off(interruption: Interruption, make: Callable[[], object]) -> None:
    """Make a change, and have it interrupted."""
    try:
        with interruption:
            make()
    except KeyboardInterrupt:
        pass


def check_whole(jq: JobQueue) -> None:
    """All that is counted fits what is there, and each job is where it belongs, once."""
    until_looked_after(jq)  # also what the log's thread was left with
    metrics = jq.metrics()
    with insides.mutex(jq):
        status, journal = insides.status_map(jq), insides.journal(jq)
        live = list(status.live.values())
        statuses = [insides.recorded_status(handle) for handle in live]
        assert metrics.queued == statuses.count(Status.QUEUED)
        assert metrics.scheduled == statuses.count(Status.SCHEDULED)
        assert metrics.processing == 0
        insides.check_lanes(insides.scheduler(jq))
        insides.check_places(jq)
        insides.check_ties(jq)
        insides.check_order(jq)
        if journal is not None:
            jobs = [*map(insides.job_of, live), *(letter.job for letter in status.dead.values())]
            assert journal.payload_bytes == sum(len(job.payload) for job in jobs)


def check_log(store: Store, jq: JobQueue, statuses: dict[str, Status | None]) -> None:
    """The next start finds the jobs as the last run has left them."""
    jq.close(drain=False)
    if store.kind == "memory":
        return
    again = store.open(handlers={"fails": fails, "ok": len}, start=False)
    assert {job_id: status_of(again, job_id) for job_id in statuses} == statuses
    again.close(drain=False)


def check_others(
    where: str | None,
    first: Status | None,
    second: Status | None,
    third: Status | None,
    status: Status | None,
) -> None:
    """What a job's end means for those before and after it."""
    if second is not None and status is Status.CANCELLED:
        assert second is third is Status.CANCELLED, where
    if third is Status.CANCELLED:
        assert second is Status.CANCELLED, where
    if first is Status.CANCELLED and status is None:
        assert where is not None, "it was cancelled for nothing"


def try_all(store: Store, change: Change, interruptions: Iterator[Interruption]) -> int:
    """Make a change again and again, each time with another interruption; returns how often."""
    jq = open_paused(store)
    broken_off = insides.placement(jq).broken_off
    current: list[Interruption] = []

    def broken_off_twice() -> None:
        current[-1].go_on()
        broken_off()

    insides.placement(jq).broken_off = broken_off_twice  # type: ignore[method-assign]
    statuses: dict[str, Status | None] = {}
    for number, interruption in enumerate(interruptions):
        job_id = f"job {number}"
        current.append(interruption)
        change.prepare(jq, job_id)

        break_off(interruption, lambda: change.make(jq, job_id))  # noqa: B023  # called at once

        assert not insides.is_owned(insides.mutex(jq)), interruption.where
        status = status_of(jq, job_id)
        assert status in {change.before, change.after}, interruption.where
        if interruption.where is None or number % 50 == 0:
            check_whole(jq)
        if change.requeues and status is Status.QUEUED:
            jq.cancel(job_id)  # before `bury` has it run; it fails in the log if it is dead there
        eventually(lambda: not insides.bindings(jq).has_doomed)
        for each in (job_id, *(f"{job_id} {name}" for name in OTHERS)):
            statuses[each] = status_of(jq, each)
        if change.also:
            other = f"{job_id}{change.also}"
            statuses[other] = status_of(jq, other)
            assert (statuses[other] is UNKNOWN) == (status is UNKNOWN), interruption.where
        first, second, third = (statuses[f"{job_id} {name}"] for name in OTHERS)
        check_others(interruption.where, first, second, third, statuses[job_id])
    assert status is change.after  # the last was not interrupted
    check_log(store, jq, statuses)
    return number
