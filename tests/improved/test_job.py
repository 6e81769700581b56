from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from jobqueue.improved import Job, Priority


def test_priorities_are_ordered_high_first() -> None:
    assert list(Priority) == [Priority.HIGH, Priority.MEDIUM, Priority.LOW] == [0, 1, 2]


def test_a_job_is_of_medium_priority_unless_told() -> None:
    assert Job("a", print).priority is Priority.MEDIUM


def test_a_plain_number_becomes_a_priority() -> None:
    priority: Any = 2
    assert Job("a", print, priority).priority is Priority.LOW


@pytest.mark.parametrize("priority", [3, -1, "HIGH", None])
def test_an_unknown_priority_is_refused(priority: Any) -> None:
    with pytest.raises(ValueError, match=r"priority of job 'a' must be HIGH .* not "):
        Job("a", print, priority)


@pytest.mark.parametrize("handler", [None, "print", 1])
def test_a_handler_that_cannot_be_called_is_refused(handler: Any) -> None:
    with pytest.raises(TypeError, match="handler of job 'a' must be callable"):
        Job("a", handler)


def test_a_job_cannot_be_changed() -> None:
    job = Job("a", print)
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.priority = Priority.HIGH  # type: ignore[misc] # that it is frozen is the test
