"""Durability: what is counted, and that one fsync may be for many jobs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab import drawing
from lab.durability import ALONE, EXPERIMENT, LEVELS, produce, shared

if TYPE_CHECKING:
    from tests.lab.conftest import Measured


@pytest.fixture
def found(measured: Measured) -> dict[str, Any]:
    return measured("durability")[1].data


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LEVELS, ALONE])
def test_jobs_get_through_at_each_level_with_each_number_of_producers(
    found: dict[str, Any], name: str
) -> None:
    assert len(found["jobs"][name]) == len(found["producers"])
    assert min(found["jobs"][name]) > 0


@pytest.mark.slow
def test_in_memory_nothing_is_fsynced(found: dict[str, Any]) -> None:
    assert set(found["fsyncs"]["memory"]) == {0.0}


@pytest.mark.slow
def test_with_fsync_there_are_fsyncs(found: dict[str, Any]) -> None:
    assert min(found["fsyncs"]["fsync"]) > 0


@pytest.mark.slow
def test_alone_each_job_has_an_fsync_of_its_own(found: dict[str, Any]) -> None:
    assert found["jobs"][ALONE] == found["fsyncs"][ALONE]


@pytest.mark.parametrize("producers", [1, 3])
def test_each_call_of_each_producer_counts(producers: int) -> None:
    calls = itertools.count()
    counted = produce(producers, 0.005, lambda: next(calls))
    assert counted == next(calls)


def _data() -> dict[str, Any]:
    jobs = {
        "memory": [1000.0, 500.0],
        "async": [900.0, 800.0],
        "write": [700.0, 400.0],
        "fsync": [100.0, 600.0],
        ALONE: [120.0, 110.0],
    }
    return {
        "producers": [1, 64],
        "jobs": jobs,
        "fsyncs": {**{name: [0.0, 0.0] for name in jobs}, "fsync": [100.0, 30.0]},
    }


def test_how_many_jobs_share_an_fsync_is_jobs_by_fsyncs() -> None:
    assert shared(_data()) == 20.0
    assert shared(_data(), 0) == 1.0


def test_without_an_fsync_none_is_shared() -> None:
    data = _data()
    data["fsyncs"]["fsync"] = [0.0, 0.0]
    assert shared(data) == 0.0


@pytest.mark.parametrize(
    "sentence",
    [
        "reaches 70% of the jobs a second of a queue in memory with one producer, "
        "and 70% to 80% with any number.",
        "with 64, 600, which is 6.0 times as many",
        "only 0.3 times as many fsyncs: each is shared by 20 jobs",
        "there are 110 a second with 64 producers",
        '| jobs that share an fsync under `"fsync"` | 1.0 | 20.0 |',
    ],
)
def test_the_report_tells_what_the_data_say(sentence: str) -> None:
    assert sentence in " ".join(EXPERIMENT.report(_data()).split())


@pytest.mark.slow
@pytest.mark.parametrize("fsynced", [[100.0, 600.0], [10.0, 20.0]], ids=["gained", "lost"])
def test_the_picture_can_be_drawn_whether_sharing_gains_or_not(
    tmp_path: Path, fsynced: list[float]
) -> None:
    pytest.importorskip("matplotlib")
    data = _data()
    data["jobs"]["fsync"] = fsynced
    drawing.save(EXPERIMENT.draw, data, tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").exists()
