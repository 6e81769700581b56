"""The cluster example: its accounts, one whole run, and what its Compose file starts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")

from examples.cluster import __main__ as command
from examples.cluster.audit import Record, audit
from examples.cluster.server import find_bin
from jobqueue.cli import main
from tests.support.example_runs import ROOT, assert_refused, run_example
from tests.support.postgres import need


def test_an_order_is_lost_if_it_was_accepted_and_not_packed() -> None:
    record = Record()
    record.add(["began 1 7", "packed 1 7", "began 2 7", "began 3 8", "packed 3 8"])
    result = audit([1, 2, 3], record, killed=7)
    assert (result.accepted, result.packed, result.twice) == (3, 2, 0)
    assert result.interrupted == 1
    assert result.lost == {2}
    assert not result.ok


def test_an_order_that_ran_again_is_packed_twice_and_not_lost() -> None:
    record = Record()
    record.add(["began 1 7", "packed 1 7", "began 1 8", "packed 1 8"])
    assert audit([1], record, killed=7).twice == 1
    assert audit([1], record, killed=7).ok


def test_only_numbers_in_range_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(command.main, "--orders", "10", capsys)


@pytest.mark.slow
def test_a_worker_is_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    pytest.importorskip("pgqueuer", reason="the extra 'postgres' is not installed")
    need()
    assert find_bin() is not None
    out, _ = run_example("cluster", "--orders", "300", home=tmp_path)
    assert re.search(r"Worker \d+ got a SIGKILL, in the middle of [1-9]", out)
    assert "accepted 300, packed 300" in out
    assert out.endswith("lost = 0\n")


def test_the_containers_run_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "examples" / "cluster" / "compose.yaml").read_text(encoding="utf-8")
    commands = re.findall(r"^    command: (.+)$", text, re.MULTILINE)
    assert len(commands) == 4
    for line in commands:
        name, *arguments = line.split()
        if name == "jobqueue":
            with pytest.raises(SystemExit) as ended:
                main([*arguments, "--help"])
            assert ended.value.code == 0
        for module in (each for each in arguments if each.startswith("examples.")):
            assert Path(ROOT, *module.split(".")).with_suffix(".py").exists()
