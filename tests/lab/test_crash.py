"""The kill: what the experiment finds is what the tiers promise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.final import Config, Job, JobQueue
from lab.crash import EXPERIMENT, LOGS, ORDERS_OF_STEPS, Fate, fate_after_restart
from lab.tiers import Kind
from lab.victim import Shop, Till

if TYPE_CHECKING:
    from tests.lab.conftest import Measured

BEFORE, AFTER, KEY, PERSIST_LAST = (case.name for case in ORDERS_OF_STEPS)


@pytest.fixture
def found(measured: Measured) -> dict[str, Any]:
    return measured("crash")[1].data


@pytest.mark.slow
@pytest.mark.parametrize("case", LOGS, ids=lambda case: case.name)
def test_every_accepted_job_ran_before_or_after_or_is_lost(
    found: dict[str, Any], case: Any
) -> None:
    fate = found["logs"][case.name]
    assert fate["accepted"] > 0
    assert fate["accepted"] == fate["before"] + fate["restarted"] + fate["lost"]


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["naive", "improved"])
def test_a_queue_in_memory_runs_nothing_after_a_kill(found: dict[str, Any], tier: str) -> None:
    assert found["logs"][tier]["restarted"] == 0
    assert found["logs"][tier]["twice"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("level", ['final, "write"', 'final, "fsync"'])
def test_where_enqueue_waits_for_the_kernel_a_kill_loses_nothing(
    found: dict[str, Any], level: str
) -> None:
    assert found["logs"][level]["lost"] == 0


@pytest.mark.slow
def test_with_the_finish_recorded_first_none_is_charged_twice(found: dict[str, Any]) -> None:
    assert found["orders"][BEFORE]["twice"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("case", [AFTER, KEY])
def test_with_the_finish_recorded_last_each_is_charged(found: dict[str, Any], case: str) -> None:
    assert found["orders"][case]["lost"] == 0


@pytest.mark.slow
def test_with_a_key_none_is_charged_twice_whatever_ran_twice(found: dict[str, Any]) -> None:
    assert found["orders"][KEY]["twice"] == 0


# ── a restart, without a kill ────────────────────────────────────────────────────────────────


def _noted(home: Path, lines: Sequence[str]) -> None:
    (home / "ledger").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_what_a_queue_in_memory_had_not_run_is_lost(tmp_path: Path) -> None:
    _noted(tmp_path, ["accepted a", "asked a", "accepted b"])
    shop = Shop(tmp_path, Kind("naive"))
    assert fate_after_restart(shop) == Fate(accepted=2, before=1, lost=1)


def test_what_is_in_a_log_is_run_by_the_restart(tmp_path: Path) -> None:
    with JobQueue(Config(persist_path=tmp_path / "log"), start=False, handler=len) as jq:
        jq.enqueue_many([Job(id="a"), Job(id="b")])
    _noted(tmp_path, ["accepted a", "asked a", "accepted b"])  # a: killed before its finish
    shop = Shop(tmp_path, Kind("final", "write"), seconds=0.0)
    fate = fate_after_restart(shop)
    assert fate == Fate(accepted=2, before=1, restarted=1, lost=0, twice=1, ran_twice=1)


def test_what_has_no_record_is_sent_again_and_charged_twice(tmp_path: Path) -> None:
    _noted(tmp_path, ["accepted a", "asked a", "recorded a", "accepted b", "asked b", "accepted c"])
    shop = Shop(tmp_path, Kind("improved"), "record after", seconds=0.0)
    fate = fate_after_restart(shop)
    assert fate == Fate(accepted=3, before=2, restarted=1, lost=0, twice=1, ran_twice=1)


def test_a_handler_that_ran_twice_is_told_though_the_key_had_it_charge_once(tmp_path: Path) -> None:
    _noted(tmp_path, ["accepted a", "asked a", "asked a"])
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a").touch()
    fate = fate_after_restart(Shop(tmp_path, Kind("naive"), "key"))
    assert fate == Fate(accepted=1, before=1, ran_twice=1)


def test_orders_that_nobody_was_promised_do_not_count(tmp_path: Path) -> None:
    _noted(tmp_path, ["asked a", "asked a"])
    assert fate_after_restart(Shop(tmp_path, Kind("naive"))) == Fate()


def test_an_order_counts_as_accepted_when_the_queue_has_it(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Kind("final", "write"), seconds=0.0)
    till = Till(shop)
    till.order("a")
    till.close()
    fate = fate_after_restart(shop)  # of what it had not run when it was closed, too
    assert (fate.accepted, fate.lost) == (1, 0)


def test_a_shop_can_be_told_to_another_process(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Kind("final", "fsync"), "key", 8)
    assert Shop.of(shop.as_settings()) == shop


def test_fates_add_up() -> None:
    assert Fate(3, 2, lost=1) + Fate(4, 1, 3, twice=1) == Fate(7, 3, 3, 1, 1)


# ── the report ───────────────────────────────────────────────────────────────────────────────


def _data() -> dict[str, Any]:
    def fate(**counts: int) -> dict[str, int]:
        none = ("accepted", "before", "restarted", "lost", "twice", "ran_twice")
        return {**dict.fromkeys(none, 0), "accepted": 1000, **counts}

    logs = {case.name: fate() for case in LOGS}
    logs["naive"] = fate(lost=251)
    logs['final, "async"'] = fate(lost=17)
    orders = {
        BEFORE: fate(lost=31),
        AFTER: fate(twice=32),
        KEY: fate(ran_twice=33),
        PERSIST_LAST: fate(restarted=340, twice=34),
    }
    return {"kills": 3, "logs": logs, "orders": orders}


@pytest.mark.parametrize(
    "sentence",
    [
        "`naive` lost 25% of the jobs",
        'and 17 with `"async"`',
        "Finish recorded first: 31 orders never charged, 0 charged twice.",
        "Finish recorded last: 0 never, 32 twice.",
        "although 33 handlers ran twice",
        'persist" lost 340 of 1,000 accepted orders',
        "then it charged 34 twice",
    ],
)
def test_the_report_tells_what_the_data_say(sentence: str) -> None:
    assert sentence in " ".join(EXPERIMENT.report(_data()).split())
