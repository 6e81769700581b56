"""Closing: what the experiment finds is what the tiers promise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.closing import Manner, Work, fill
from lab.ledger import read_ledger
from lab.shutdown import EXPERIMENT, MANNERS, run_what_is_left

if TYPE_CHECKING:
    from tests.lab.conftest import Measured

WITH_A_LOG = [name for name in MANNERS if name.endswith("with a log")]


@pytest.fixture
def found(measured: Measured) -> dict[str, Any]:
    return measured("shutdown")[1].data


@pytest.mark.slow
@pytest.mark.parametrize("name", MANNERS)
def test_every_job_is_accounted_for(found: dict[str, Any], name: str) -> None:
    fate = found["manners"][name]
    assert found["jobs"] == sum(fate[each] for each in ("finished", "later", "cut", "lost"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["drain", *WITH_A_LOG])
def test_who_drains_or_has_a_log_loses_nothing(found: dict[str, Any], name: str) -> None:
    assert found["manners"][name]["lost"] == 0
    assert found["manners"][name]["cut"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [each for each in MANNERS if "in flight" in each])
def test_who_waits_for_what_is_in_flight_cuts_no_handler_off(
    found: dict[str, Any], name: str
) -> None:
    assert found["manners"][name]["cut"] == 0
    assert found["manners"][name]["twice"] == 0


@pytest.mark.slow
def test_without_a_log_nothing_is_run_by_the_next_start(found: dict[str, Any]) -> None:
    later = {name for name, fate in found["manners"].items() if fate["later"]}
    assert later <= set(WITH_A_LOG)


@pytest.mark.parametrize(
    "manner", [Manner("improved"), Manner("final"), Manner("final", log=True, drain=True)], ids=str
)
def test_each_queue_is_filled_with_all_jobs_and_closed(tmp_path: Path, manner: Manner) -> None:
    work = Work(tmp_path, 0.0)
    fill(manner, work, tmp_path, 5)()
    work.close()
    finished = read_ledger(tmp_path / "ledger")["finished"]
    assert sorted(finished) == [f"job-{number}" for number in range(5)]


def test_the_next_start_runs_what_is_left_in_the_log(tmp_path: Path) -> None:
    manner = Manner("final", log=True, timeout=0.0)
    work = Work(tmp_path, 0.0)
    fill(manner, work, tmp_path, 20)()
    work.close()
    run_what_is_left(manner, tmp_path, 0.0)
    assert len(set(read_ledger(tmp_path / "ledger")["finished"])) == 20


@pytest.mark.parametrize(
    "sentence",
    [
        "Closing at once lost 98 of them, 3 in the middle of their handler.",
        "cuts off 0 handlers, and still loses the 80 jobs",
        "Draining loses 0, and takes 2.5 s. Who allows 1 s for it loses 60.",
        "gone after 0.25 s and 0 are lost: the next start ran the other 90 jobs.",
        "Closed at once, it lost 0, but began 4 a second time.",
    ],
)
def test_the_report_tells_what_the_data_say(sentence: str) -> None:
    assert sentence in " ".join(EXPERIMENT.report(_data()).split())


def _data() -> dict[str, Any]:
    counts: list[dict[str, float]] = [
        {"lost": 95, "cut": 3},
        {"lost": 80},
        {"lost": 60},
        {"seconds": 2.5},
        {"twice": 4},
        {"later": 90},
    ]
    none: dict[str, float] = {
        "finished": 0,
        "later": 0,
        "cut": 0,
        "lost": 0,
        "twice": 0,
        "seconds": 0.25,
    }
    manners = {name: {**none, **more} for name, more in zip(MANNERS, counts, strict=True)}
    return {"jobs": 100, "job_seconds": 0.1, "short": 1.0, "manners": manners}
