"""Memory: what is bounded stays bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lab.filling import WORKERS, Load, Workers, produce
from lab.memory import EXPERIMENT, growth

if TYPE_CHECKING:
    from tests.lab.conftest import Measured

BOUND = 1_000


@pytest.fixture
def tiers(measured: Measured) -> dict[str, Any]:
    found: dict[str, Any] = measured("memory")[1].data["tiers"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["improved", "final"])
def test_no_more_jobs_wait_than_the_bound_allows(tiers: dict[str, Any], tier: str) -> None:
    waiting = tiers[tier]["accepted"] - tiers[tier]["done"]
    assert 0 <= waiting <= BOUND + WORKERS


@pytest.mark.slow
def test_memory_is_looked_at_again_and_again(tiers: dict[str, Any]) -> None:
    for tier in tiers.values():
        assert len(tier["seconds"]) == len(tier["megabytes"]) > 1
        assert tier["seconds"] == sorted(tier["seconds"])
        assert min(tier["megabytes"]) > 0


def test_a_producer_that_never_waits_makes_so_many_jobs_at_most() -> None:
    made: list[bytes] = []
    load = Load("naive", seconds=0.05, rate=2_000, payload_bytes=7, job_seconds=0.0)
    accepted, blocked = produce(load, made.append)
    assert accepted == len(made)
    assert 0 < accepted <= 2_000 * 0.05 + 10
    assert set(made) == {bytes(7)}
    assert blocked < 60


def test_workers_count_what_they_have_done() -> None:
    workers = Workers(0.0)
    for _ in range(3):
        workers.handle(b"")
    assert workers.done == 3


def _tier(megabytes: list[float], done: int, blocked: float) -> dict[str, Any]:
    return {
        "accepted": 9_000, "done": done, "blocked": blocked,
        "seconds": [0.0, 2.0, 4.0], "megabytes": megabytes,
    }  # fmt: skip


def test_growth_is_told_by_the_second_and_is_never_negative() -> None:
    assert growth(_tier([10.0, 50.0, 90.0], 0, 0.0)) == 20.0
    assert growth(_tier([10.0, 9.0, 8.0], 0, 0.0)) == 0.0


@pytest.mark.parametrize(
    "sentence",
    [
        "Without a bound 8,000 jobs waited after 4 s; at that rate 1 GB is full after 50 s.",
        "With a bound of 1,000 a lane, 7,500 waited, and memory stayed at 12 MB",
        "made to wait for 75% of its time",
        "1,000 jobs without a bound, 1,500 with one",
    ],
)
def test_the_report_tells_what_the_data_say(sentence: str) -> None:
    bounded = _tier([12.0, 12.0, 12.0], 1_500, 3.0)
    load = {"rate": 100, "payload_bytes": 10, "job_seconds": 0.001, "seconds": 4.0}
    naive = _tier([10.0, 50.0, 90.0], 1_000, 0.0)
    data = {"load": load, "tiers": {"naive": naive, "improved": bounded, "final": bounded}}
    assert sentence in " ".join(EXPERIMENT.report(data).split())


def test_where_memory_does_not_grow_nobody_says_when_it_is_full() -> None:
    flat = _tier([12.0, 12.0, 12.0], 1_500, 3.0)
    load = {"rate": 100, "payload_bytes": 10, "job_seconds": 0.001, "seconds": 4.0}
    data = {"load": load, "tiers": {"naive": flat, "improved": flat, "final": flat}}
    assert "is full" not in EXPERIMENT.report(data)
