"""Ledger and bank: what outlives the process that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lab.bank import charges, claim, handler
from lab.ledger import Ledger, read_ledger
from lab.processes import ROOT, search_path


def test_notes_come_back_in_order_each_as_often_as_it_was_noted(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        for word, job_id in (("ran", "b"), ("accepted", "a"), ("ran", "a"), ("ran", "b")):
            ledger.note(word, job_id)
    assert read_ledger(tmp_path / "ledger") == {"ran": ["b", "a", "b"], "accepted": ["a"]}


def test_a_ledger_that_is_not_there_has_no_notes(tmp_path: Path) -> None:
    assert read_ledger(tmp_path / "ledger")["ran"] == []


@pytest.mark.slow
def test_a_note_outlives_a_process_that_is_killed_right_after_it(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from lab.ledger import Ledger\n"
        "Ledger(Path(sys.argv[1])).note('ran', 'a')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "ledger"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    environment["PYTHONPATH"] = search_path(ROOT)
    ended = subprocess.run([sys.executable, "-c", program, str(path)], env=environment, check=False)
    assert ended.returncode == -9
    assert read_ledger(path)["ran"] == ["a"]


def test_only_the_first_claim_wins(tmp_path: Path) -> None:
    assert [claim(tmp_path / "order") for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize(
    ("manner", "asked", "charged"),
    [("plain", 2, 2), ("mark first", 1, 1), ("key", 2, 1), ("record after", 2, 2)],
)
def test_what_a_second_run_of_a_handler_does(
    tmp_path: Path, manner: str, asked: int, charged: int
) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        charge = handler(manner, tmp_path, ledger, 0.0)
        charge("order")
        charge("order")
    assert len(read_ledger(tmp_path / "ledger")["asked"]) == asked
    assert charges(tmp_path, manner) == Counter({"order": charged})


def test_an_order_that_is_marked_is_not_charged_for_though_nobody_was(tmp_path: Path) -> None:
    """Killed between the mark and the charge."""
    with Ledger(tmp_path / "ledger") as ledger:
        charge = handler("mark first", tmp_path, ledger, 0.0)
        claim(tmp_path / "marks" / "order")
        charge("order")
    assert charges(tmp_path, "mark first") == Counter()


def test_an_order_is_recorded_after_it_was_charged_for(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        handler("record after", tmp_path, ledger, 0.0)("order")
    lines = (tmp_path / "ledger").read_text(encoding="utf-8").splitlines()
    assert lines == ["asked order", "recorded order"]
