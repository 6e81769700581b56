"""Changes of jobs that are tied to others, to a limit or to a time, and that are broken off.

As in `test_unfinished.py`: whatever the place, they are finished or never were.
"""

from __future__ import annotations

from typing import Any

import pytest

from jobqueue.final import DuplicateJobError, Job, JobQueue, Limit, Priority, Status, Unique
from tests.support import insides
from tests.support.breaking_off import PAIRS_MIN, PAIRS_STEP, PLACES_MIN, UNKNOWN, Change, try_all
from tests.support.interrupts import each_pair_of_places, each_place
from tests.support.queues import Store


def unique_job(job_id: str, key: str, on_conflict: Any = "existing") -> Job:
    return Job(b"payload", id=job_id, key=key, unique=Unique(on_conflict=on_conflict))


def enqueue_unique(jq: JobQueue, job_id: str, key: str, on_conflict: Any = "existing") -> None:
    jq.enqueue(unique_job(job_id, key, on_conflict))


def enqueue_refused(jq: JobQueue, job_id: str) -> None:
    with pytest.raises(DuplicateJobError):
        enqueue_unique(jq, job_id, job_id, "raise")


def enqueue_chain(jq: JobQueue, job_id: str, *others: str) -> None:
    """A job, and some that wait for it, and one that waits for all of them."""
    jq.enqueue(Job(b"payload", id=job_id))
    seconds = [*others, f"{job_id} second", f"{job_id} also"]
    for each in seconds:
        jq.enqueue(Job(id=each, after=[job_id]))
    jq.enqueue(Job(id=f"{job_id} third", after=seconds))


def enqueue_limited(jq: JobQueue, job_id: str, *others: str) -> None:
    """Some jobs of a handler of their own, whose limit another handler's attempt has used up."""
    limit = Limit(1)
    jq.register(job_id, len, limit=limit)
    insides.use_up(jq, limit)
    for each in (*others, job_id, f"{job_id} next"):
        jq.enqueue(Job(b"payload", id=each, handler=job_id))
    for lane in insides.scheduler(jq).lanes:  # other jobs of earlier tries are not in the way
        lane.queue.rotate(2 + len(others))


def step_aside(jq: JobQueue, job_id: str) -> None:
    enqueue_limited(jq, job_id)
    with insides.mutex(jq):
        insides.lane(jq, Priority.MEDIUM).has_work()


def pass_limit(jq: JobQueue, job_id: str) -> None:
    """A job that a limit has let through waits for a worker; another one waits for the limit."""
    step_aside(jq, job_id)
    with insides.mutex(jq):
        insides.lane(jq, Priority.MEDIUM).has_work()
    insides.give_back(jq, job_id)


CHANGES = {
    "pause of a handler whose job waits for its limit": Change(
        step_aside,
        lambda jq, job_id: jq.pause(handler=job_id),
        Status.QUEUED,
        Status.QUEUED,
    ),
    "pause of a handler whose job has passed its limit": Change(
        pass_limit,
        lambda jq, job_id: jq.pause(handler=job_id),
        Status.QUEUED,
        Status.QUEUED,
    ),
    "enqueue of a unique job that is there": Change(
        lambda jq, job_id: enqueue_unique(jq, f"{job_id} first", job_id),
        lambda jq, job_id: enqueue_unique(jq, job_id, job_id),
        UNKNOWN,
        UNKNOWN,
    ),
    "enqueue of a unique job that is refused": Change(
        lambda jq, job_id: enqueue_unique(jq, f"{job_id} first", job_id),
        enqueue_refused,
        UNKNOWN,
        UNKNOWN,
    ),
    "enqueue of a unique job that replaces": Change(
        lambda jq, job_id: enqueue_unique(jq, f"{job_id} first", job_id),
        lambda jq, job_id: enqueue_unique(jq, job_id, job_id, "replace"),
        UNKNOWN,
        Status.QUEUED,
    ),
    "enqueue of many that replace": Change(
        lambda jq, job_id: enqueue_unique(jq, f"{job_id} first", job_id),
        lambda jq, job_id: jq.enqueue_many(
            [Job(id=f"{job_id} too"), unique_job(job_id, job_id, "replace")]
        ),
        UNKNOWN,
        Status.QUEUED,
    ),
    "enqueue of a job after another": Change(
        lambda jq, job_id: jq.enqueue(Job(id=f"{job_id} first")),
        lambda jq, job_id: jq.enqueue(Job(b"payload", id=job_id, after=[f"{job_id} first"])),
        UNKNOWN,
        Status.SCHEDULED,
    ),
    "enqueue of many after each other": Change(
        lambda jq, job_id: jq.enqueue(Job(id=f"{job_id} first")),
        lambda jq, job_id: jq.enqueue_many(
            [
                Job(id=f"{job_id} second", after=[f"{job_id} first"]),
                Job(id=job_id, after=[f"{job_id} second", f"{job_id} first"]),
            ]
        ),
        UNKNOWN,
        Status.SCHEDULED,
    ),
    "enqueue of a job after one that was cancelled": Change(
        lambda jq, job_id: jq.enqueue(Job(id=f"{job_id} first")).cancel(),
        lambda jq, job_id: jq.enqueue(Job(b"payload", id=job_id, after=[f"{job_id} first"])),
        UNKNOWN,
        Status.CANCELLED,
    ),
    "enqueue of a job that expires": Change(
        lambda _jq, _id: None,
        lambda jq, job_id: jq.enqueue(Job(b"payload", id=job_id, expires=3600.0)),
        UNKNOWN,
        Status.QUEUED,
    ),
    "cancel of a job before others": Change(
        enqueue_chain,
        lambda jq, job_id: jq.cancel(job_id),
        Status.QUEUED,
        Status.CANCELLED,
    ),
    "cancel of a job that waits for another": Change(
        lambda jq, job_id: enqueue_chain(jq, f"{job_id} first", job_id),
        lambda jq, job_id: jq.cancel(job_id),
        Status.SCHEDULED,
        Status.CANCELLED,
    ),
    "cancel of a unique job that expires": Change(
        lambda jq, job_id: jq.enqueue(Job(id=job_id, key=job_id, unique=Unique(), expires=3600.0)),
        lambda jq, job_id: jq.cancel(job_id),
        Status.QUEUED,
        Status.CANCELLED,
    ),
    "cancel of a job that waits for a limit": Change(
        step_aside,
        lambda jq, job_id: jq.cancel(job_id),
        Status.QUEUED,
        Status.CANCELLED,
    ),
    "cancel of a job that has passed a limit": Change(
        pass_limit,
        lambda jq, job_id: jq.cancel(job_id),
        Status.QUEUED,
        Status.CANCELLED,
    ),
    "register in the place of one with a limit": Change(
        step_aside,
        lambda jq, job_id: jq.register(job_id, bytes, limit=Limit(2), replace=True),
        Status.QUEUED,
        Status.QUEUED,
    ),
    "a look at the lanes, by which jobs step aside": Change(
        enqueue_limited,
        lambda jq, _id: insides.look_for_oldest(jq),
        Status.QUEUED,
        Status.QUEUED,
    ),
}

OFTEN = [
    "enqueue of a unique job that replaces",
    "enqueue of a job after one that was cancelled",
    "cancel of a job before others",
]
"""Of these all pairs of places are tried each time; of the others once a day."""
CHANGE_NOTHING = {
    "enqueue of a unique job that is there",
    "enqueue of a unique job that is refused",
}
"""There is nothing to repair then."""
SELDOM = [name for name in CHANGES if name not in {*OFTEN, *CHANGE_NOTHING}]


# CPython drops an exception that comes as a generator is closed.
dropped_ones = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.slow
@dropped_ones
@pytest.mark.parametrize(
    "hasty",
    ["memory", pytest.param("async", marks=pytest.mark.daily), "write", "fsync"],
    indirect=True,
)
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_is_broken_off_is_done_and_recorded_or_never_was(
    hasty: Store, name: str
) -> None:
    """Faults 16 and 85 of docs/reliability.md."""
    assert try_all(hasty, CHANGES[name], each_place()) > PLACES_MIN


@pytest.mark.usefixtures("no_tracer")
@pytest.mark.slow
@pytest.mark.timeout(600)  # all pairs of places take two minutes
@dropped_ones
@pytest.mark.parametrize(
    ("hasty", "name"),
    [
        *(("write", name) for name in OFTEN),
        *(pytest.param("write", name, marks=pytest.mark.daily) for name in SELDOM),
        ("memory", "enqueue of a unique job that replaces"),
    ],
    indirect=["hasty"],
)
def test_so_is_one_whose_repair_is_broken_off_as_well(hasty: Store, name: str) -> None:
    """Faults 16 and 85 of docs/reliability.md."""
    assert try_all(hasty, CHANGES[name], each_pair_of_places(PAIRS_STEP)) > PAIRS_MIN
