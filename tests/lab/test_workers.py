"""The experiment that asks how many workers."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from typing import Any

import pytest

from lab import Settings, load, workers
from lab.workers import COMPUTING, WAITING, Line

FULL = Settings(quick=False)


def line(kind: str, where: str, *rates: float) -> dict[str, Any]:
    return {
        "kind": kind,
        "where": where,
        "workers": [2**place for place in range(len(rates))],
        "jobs_per_second": list(rates),
        "cores": [1.0 for _ in rates],
        "run_milliseconds": [5.0 * 2**place for place in range(len(rates))],
    }


def data(*lines: dict[str, Any]) -> dict[str, Any]:
    return {
        "cores": 2,
        "gil": True,
        "free_threaded": {"version": "3.13.5", "gil": False},
        "kinds": {
            "computing": {"waits": 0, "computes": 5},
            "waiting": {"waits": 19, "computes": 1},
        },
        "lines": list(lines),
    }


def test_each_worker_gets_the_same_number_of_jobs_and_more_than_one() -> None:
    for each in workers._loads(Line(WAITING, "threads", (1, 3, 64)), loops=10, seconds=0.01):
        assert each.jobs % each.workers == 0
        assert each.jobs >= 2 * each.workers


def test_handlers_that_compute_get_the_calibrated_loops() -> None:
    (each,) = workers._loads(Line(COMPUTING, "processes", (1,)), loops=10, seconds=0.01)
    assert (each.executor, each.wait_milliseconds, each.loops) == ("process", 0, 50)


def test_the_report_compares_with_one_worker() -> None:
    report = workers.report(data(line("computing", "threads", 200.0, 202.0, 190.0)))
    text = " ".join(report.split())
    assert "2 workers on 2 cores do 1.01 times the work of one; 4 do 0.95 times as much" in text
    assert "takes 20 ms, where it takes 5 ms with one worker" in text


def test_the_report_says_from_where_on_more_workers_bring_little() -> None:
    text = workers.report(data(line("waiting", "threads", 50.0, 100.0, 195.0, 200.0)))
    assert "up to about 4 of them (3.9 times the work of one" in " ".join(text.split())


def test_numbers_that_were_not_measured_stay_empty() -> None:
    lines = (line("computing", "threads", 1.0, 2.0), line("computing", "processes", 3.0))
    rows = workers.report(data(*lines)).splitlines()
    assert "| 2 | 2 (1.0) |  |" in rows


@pytest.fixture
def one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Line(WAITING, "threads", (1, 2))
    monkeypatch.setattr(workers, "_lines", lambda _settings: iter([one]))
    monkeypatch.setattr(workers, "SECONDS", 0.01)


@pytest.mark.usefixtures("one_line")
@pytest.mark.slow
def test_another_python_is_given_the_same_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[load.Load] = []

    def measure_with(_python: str, loads: list[load.Load]) -> dict[str, Any]:
        asked.extend(loads)
        yields = [asdict(load.Yield(7.0 * each.workers, 0.5, 1.0)) for each in loads]
        return {"version": "3.14.0", "gil": False, "yields": yields}

    monkeypatch.setattr(workers, "free_threaded_python", lambda: "python3.14t")
    monkeypatch.setattr(workers, "_measure_with", measure_with)
    measured = workers.measure(FULL)
    assert [each.workers for each in asked] == [1, 2] * workers.ROUNDS
    assert measured["free_threaded"] == {"version": "3.14.0", "gil": False}
    free = workers._line(measured, "waiting", "free")
    assert free is not None
    assert free["jobs_per_second"] == [7.0, 14.0]


@pytest.mark.usefixtures("one_line")
@pytest.mark.slow
def test_without_another_python_its_lines_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "free_threaded_python", lambda: None)
    measured = workers.measure(FULL)
    assert measured["free_threaded"] is None
    assert [each["where"] for each in measured["lines"]] == ["threads"]


@pytest.mark.slow
def test_another_python_measures_with_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GIL_OFF", {})  # the Python of the test may be unable to do so
    answer = workers._measure_with(sys.executable, [load.Load("thread", 1, 1, 1, 1)])
    assert len(answer["yields"]) == 1


def test_the_python_that_is_named_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/found/{name}")
    monkeypatch.setenv(workers.FREE_THREADED, "/named/python")
    assert workers.free_threaded_python() == "/named/python"


def test_without_a_name_one_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"python3.13t": "/found/python3.13t"}
    monkeypatch.setattr(shutil, "which", found.get)
    monkeypatch.delenv(workers.FREE_THREADED, raising=False)
    assert workers.free_threaded_python() == "/found/python3.13t"


def test_there_may_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.delenv(workers.FREE_THREADED, raising=False)
    assert workers.free_threaded_python() is None
