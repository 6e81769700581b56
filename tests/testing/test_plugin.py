"""The fixtures that pytest finds by the entry point of the installed package."""

from __future__ import annotations

import asyncio

from jobqueue import Job, JobQueue, Status, Tasks
from jobqueue.testing import ManualClock, run_all

tasks = Tasks()


@tasks.task
def remind(who: str) -> str:
    return f"remind {who}"


def test_jobs_is_a_queue_that_goes_by_job_clock(jobs: JobQueue, job_clock: ManualClock) -> None:
    tasks.bind(jobs)
    handle = remind.using(delay=24 * 3600).enqueue("ann")
    run_all(jobs)
    assert handle.status is Status.SCHEDULED
    job_clock.advance(24 * 3600)
    run_all(jobs)
    assert handle.result(0) == "remind ann"


def test_jobs_is_closed_after_each_test(jobs: JobQueue) -> None:
    tasks.bind(jobs)  # which is refused as long as the queue of the test before is open
    assert not jobs.closed


def test_jobs_runs_coroutine_functions_too(jobs: JobQueue) -> None:
    async def double(payload: bytes) -> bytes:
        await asyncio.sleep(0)
        return payload * 2

    for _ in range(2):  # the same function again is no other handler
        jobs.register("double", double)
    handle = jobs.enqueue(Job(b"ab", handler="double"))
    run_all(jobs)
    assert handle.result(0) == b"abab"
