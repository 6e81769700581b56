"""Fixtures for pytest, which finds this module by the entry point `jobqueue`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..final.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..final import JobQueue


@pytest.fixture
def job_clock() -> ManualClock:
    """Time that stands still until `job_clock.advance(seconds)`."""
    return ManualClock()


@pytest.fixture
def jobs(job_clock: ManualClock) -> Iterator[JobQueue]:
    """A queue in memory on `job_clock`, which does not start by itself.

    `tasks.bind(jobs)` has calls go to it, and `run_all(jobs)` runs what is due; coroutine functions
    run in a loop of their own. It is closed after the test; what has not run by then is dropped.
    """
    from .doubles import PlainQueue  # what runs no such test does without

    with PlainQueue(start=False, clock=job_clock) as queue:
        yield queue
