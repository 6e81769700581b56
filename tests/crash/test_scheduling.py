"""Crashes of a queue whose jobs are tied to each other, see `tests/support/tied_runs.py`."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.support.crash_runs import OFTEN_AND_DAILY, Way, small_windows
from tests.support.disk_tree import Renamed
from tests.support.left_out import often
from tests.support.tied_runs import a_compaction, a_random_story, a_story, crashes, verify

pytestmark = pytest.mark.slow
each_way = pytest.mark.parametrize("way", OFTEN_AND_DAILY, ids=str)
STEP = often(3, 1)
"""In each run a third of the crashes is tried, by chance which; once a day all."""


@pytest.fixture(autouse=True)
def _quiet_and_narrow() -> Iterator[None]:
    with small_windows():
        yield


@each_way
def test_every_crash_of_jobs_that_are_tied_is_survived(way: Way) -> None:
    """Fault 84 of docs/reliability.md."""
    count = 0
    start = random.randrange(STEP)
    for at, crash, remains in crashes(a_story(way), samples=1):
        if count % STEP == start:
            verify(a_story(way), at, crash, remains)
        count += 1
    assert count > 100


@each_way
def test_every_crash_around_a_compaction_of_jobs_that_are_tied_is_survived(way: Way) -> None:
    """Fault 84 of docs/reliability.md."""
    story = a_compaction(way)
    renamed = [n for n, each in enumerate(story.files.events) if isinstance(each, Renamed)]
    assert any(
        isinstance(each := story.files.events[n], Renamed) and ".snapshot" in each.new
        for n in renamed
    )
    near = {n + step for n in renamed for step in range(-6, 8)}
    last = story.files.now() - 40
    found = [each for each in crashes(story, samples=1) if each[0] in near or each[0] > last]
    assert len(found) > 30
    for at, crash, remains in found[random.randrange(STEP) :: STEP]:
        verify(story, at, crash, remains)


@each_way
def test_every_crash_of_a_run_in_which_anything_comes_is_survived(way: Way) -> None:
    story = a_random_story("1", way, 12)
    for at, crash, remains in crashes(story, samples=0):
        verify(story, at, crash, remains)
