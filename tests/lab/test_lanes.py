"""The experiment that asks why there are lanes."""

from __future__ import annotations

from typing import Any

import pytest

from lab import lanes


def data(heap: list[float], lane: list[float]) -> dict[str, Any]:
    def waits(medians: list[float]) -> list[dict[str, float]]:
        return [{"median_milliseconds": each, "max_milliseconds": 2 * each} for each in medians]

    return {
        "workers": 2,
        "handler_milliseconds": 2.0,
        "size": 1000,
        "crowds": [0, 64],
        "waits": {"improved": waits(lane), "final": waits(lane), "heap": waits(heap)},
        "lengths": [1000, 100_000],
        "costs": {"final": [10.0, 12.0], "heap": [11.0, 15.5]},
    }


def test_the_report_tells_of_both_ends() -> None:
    text = " ".join(lanes.report(data([0.5, 75.0], [0.4, 0.3])).split())
    assert "High waits 0.5 ms in it, and 0.4 ms in lanes" in text
    assert "75 ms with 64 of them. In lanes it is 0.3 ms" in text
    assert "+3.5 µs a job with 100,000 waiting" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", lanes._contenders())
@pytest.mark.parametrize("crowd", [0, 2])
def test_high_is_started_whatever_waits_before_it(name: str, crowd: int) -> None:
    with lanes._contenders()[name]() as contender:
        waits = lanes._ask(contender, crowd, questions=2)
    assert len(waits) == 2
    assert all(0 < wait < lanes.PATIENCE_SECONDS for wait in waits)


@pytest.mark.parametrize("is_heap", [False, True])
def test_a_job_costs_something(is_heap: bool) -> None:
    assert lanes._cost(50, is_heap=is_heap) > 0
