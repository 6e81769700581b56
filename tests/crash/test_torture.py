"""`make torture` does what it says, and ends with an error where a promise is broken."""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, cast
from unittest.mock import patch

import pytest

from tests import torture
from tests.support import loop_disk
from tests.support.acknowledged import problems_of
from tests.support.children import run
from tests.support.recording_files import RecordingFiles

if TYPE_CHECKING:
    from tests.support.ledger import Durability

pytestmark = pytest.mark.slow


def a_round_of_images(kind: int = 1) -> str:
    """The name of one."""
    names = (f"1.{number}" for number in range(30))
    kinds = {name: Random(name).choices((1, 2, 3, 4), (6, 4, 1, 1))[0] for name in names}
    return next(name for name in kinds if kinds[name] == kind)


def test_it_runs_for_its_time_and_tells_what_it_did(capfd: pytest.CaptureFixture[str]) -> None:
    assert torture.main(["--seconds", "1", "--seed", "1", "--jobs", "1"]) == 0
    first, *_, last = capfd.readouterr().out.splitlines()
    assert first == "seed 1, 1 s"
    assert re.fullmatch(r"\d+ s: [\d,]+ crash images recovered, .*; 0 violations", last)


def test_a_round_of_images_recovers_from_many_crashes() -> None:
    tally = torture.play(a_round_of_images(), time.monotonic() + 2)
    assert tally.images > 20
    assert tally.violations == []


def test_a_round_of_ties_runs_what_many_crashes_leave() -> None:
    tally = torture.play(a_round_of_images(2), time.monotonic() + 3)
    assert tally.images > 10
    assert tally.violations == []


def test_a_broken_promise_is_told_with_the_round_and_what_it_was_found_in(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    images = a_round_of_images()
    with patch.object(RecordingFiles, "sync", lambda _self, _fd: None):
        assert torture.main(["--round", images, "--seconds", "20"]) == 1
    told = capsys.readouterr().out
    assert f"--round {images}'" in told
    (kept, *_) = re.findall(r"kept in (\S+)", told)
    assert "LOCK" in {file.name for file in Path(kept).iterdir()}
    assert (Path(kept) / "recording.txt").read_text(encoding="utf-8")


def test_a_round_that_fails_by_itself_is_a_violation() -> None:
    with patch.object(torture, "CrashRun", side_effect=RuntimeError("boom")):
        round_ = torture.Round("x", time.monotonic() + 10)
        with patch.object(Random, "choices", lambda *_args, **_options: [round_.images]):
            tally = round_.play()
    assert len(tally.violations) == 1
    assert "boom" in tally.violations[0]


@pytest.mark.parametrize("durability", ["write", "fsync"])
def test_what_is_missing_from_a_real_log_is_told(tmp_path: Path, durability: str) -> None:
    log, acks = tmp_path / "jobs.db", tmp_path / "acks"
    run("batches_of_jobs", log, acks, durability)
    lines = [*(f"tried job-{number}" for number in range(200)), *acks.read_text().splitlines()]
    level = cast("Durability", durability)

    assert list(problems_of(log, lines, level, "kill -9")) == []
    assert list(problems_of(log, lines[200:], level, "kill -9")) != []
    assert list(problems_of(log, [*lines, "accepted other"], level, "kill -9")) == [
        "job 'other' was acknowledged and is lost"
    ]
    lost = list(problems_of(log, [*lines, "accepted other"], level, "power cut"))
    assert bool(lost) == (durability == "fsync")


@pytest.mark.skipif(bool(loop_disk.missing()), reason=loop_disk.missing() or "it can be mounted")
def test_a_mounted_disk_loses_what_was_not_fsynced_when_its_power_is_cut(tmp_path: Path) -> None:
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(loop_disk.LoopDisk(tmp_path))
        except OSError as error:
            pytest.skip(f"no file system can be mounted: {error}")
        fd = os.open(disk.root / "synced", os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(fd, b"y")
        os.fsync(fd)
        os.close(fd)
        (disk.root / "unsynced").write_bytes(b"z")
        with disk.after_power_cut() as place:
            assert (place / "synced").read_bytes() == b"y"
            assert not (place / "unsynced").exists()
