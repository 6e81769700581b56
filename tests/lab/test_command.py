"""`python -m lab`, with an experiment that measures nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Data, Experiment, Settings, command, drawing, load_experiment
from lab.processes import ROOT
from lab.record import Record

NAMES = ("crash", "memory")
seen: list[Settings] = []


def _measure(settings: Settings) -> Data:
    seen.append(settings)
    (settings.scratch / "log").touch()
    settings.progress.expect(1)
    settings.progress.begin("counting")
    settings.progress.advance()
    return {"jobs": [1, 2, 3], "lost": settings.pick(full=7, quick=0)}


def _draw(data: Data, figure: Any) -> None:
    figure.subplots().plot(data["jobs"])


TOY = Experiment("crash", "Is this a toy?", _measure, lambda data: f"{data['lost']} lost.", _draw)


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(command, "NAMES", NAMES)
    monkeypatch.setattr(command, "load_experiment", lambda _name: TOY)
    monkeypatch.setattr(drawing, "save", lambda _draw, _data, path: path.touch())
    yield
    seen.clear()


def test_a_run_writes_data_and_picture_and_prints_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["crash", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crash.json", "crash.svg"]
    assert Record.read(tmp_path / "crash.json").data == {"jobs": [1, 2, 3], "lost": 7}
    assert "7 lost." in capsys.readouterr().out


def test_lists_of_numbers_stand_in_one_line(tmp_path: Path) -> None:
    command.main(["crash", "--out", str(tmp_path)])
    assert "[1, 2, 3]" in (tmp_path / "crash.json").read_text(encoding="utf-8")


def test_a_run_brings_the_page_up_to_date_and_says_how_it_was_measured(tmp_path: Path) -> None:
    page = tmp_path / "crash.md"
    page.write_text("<!-- lab:crash -->\n<!-- /lab -->\n", encoding="utf-8")
    command.main(["crash", "--quick", "--out", str(tmp_path)])
    text = page.read_text(encoding="utf-8")
    assert "0 lost." in text
    assert "`python -m lab crash --quick`" in text


def test_quick_and_seed_reach_the_measurement(tmp_path: Path) -> None:
    command.main(["crash", "--quick", "--seed", "5", "--out", str(tmp_path)])
    assert [(settings.quick, settings.seed) for settings in seen] == [(True, 5)]


def test_drawing_again_measures_nothing(tmp_path: Path) -> None:
    command.main(["crash", "--out", str(tmp_path)])
    (tmp_path / "crash.svg").unlink()
    assert command.main(["crash", "--draw", "--out", str(tmp_path)]) == 0
    assert len(seen) == 1
    assert (tmp_path / "crash.svg").exists()


def test_drawing_without_data_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["crash", "--draw", "--out", str(tmp_path)]) == 1
    assert "measure without --draw" in capsys.readouterr().err


def test_all_runs_each_once(tmp_path: Path) -> None:
    command.main(["all", "crash", "--out", str(tmp_path)])
    assert len(seen) == len(NAMES)


def test_without_a_name_the_questions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert lines[0].endswith("Is this a toy?")


def test_a_name_that_is_none_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        command.main(["crush"])
    assert exit_.value.code == 2
    assert "crash" in capsys.readouterr().err


def test_loading_a_name_that_is_none_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        load_experiment("command")


def test_without_matplotlib_it_says_what_to_install_and_keeps_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(command, "NAMES", NAMES)
    monkeypatch.setattr(command, "load_experiment", lambda _name: TOY)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert command.main(["crash", "--out", str(tmp_path)]) == 1
    assert "pip install matplotlib" in capsys.readouterr().err
    assert (tmp_path / "crash.json").exists()


@pytest.mark.slow
def test_python_dash_m_lists_the_real_questions() -> None:
    command_line = [sys.executable, "-m", "lab"]
    ended = subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(line.endswith("?") for line in ended.stdout.splitlines())
    assert ended.stdout.startswith("crash ")
