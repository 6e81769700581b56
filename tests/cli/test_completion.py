"""`jobqueue completion`: what it prints is tried in each shell that is there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobqueue.cli import main

pytest.importorskip("shtab", reason="completions are written with shtab")

_ASK = {
    "bash": 'eval "$(cat script)"; COMP_WORDS=({words} ""); COMP_CWORD={count}; '
    '_shtab_jobqueue; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "fish": 'source script; complete --do-complete "{line} "',
}


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def shell_there(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("jobqueue", {"run", "log", "web", "completion"}),
        ("jobqueue log", {"inspect", "cat", "watch", "dead", "compact"}),
        ("jobqueue log cat --status", {"queued", "failed", "processing"}),
        ("jobqueue completion", {"bash", "zsh", "fish"}),
    ],
)
def test_it_completes(
    shell: str,
    line: str,
    wanted: set[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = shell_there(shell)
    (tmp_path / "script").write_text(script(shell, capsys))
    (tmp_path / "jobqueue").write_text("#!/bin/sh\n")
    (tmp_path / "jobqueue").chmod(0o755)
    words = line.split()
    asked = subprocess.run(
        [program, "-c", _ASK[shell].format(words=" ".join(words), count=len(words), line=line)],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    offered = {each.partition("\t")[0] for each in asked.stdout.splitlines()}
    assert wanted <= offered, asked.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_command_is_told_on_one_line_that_is_whole(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = script(shell, capsys)
    for told in (
        "look into a log and mend it",
        "have the queue that runs start no more jobs, until",
    ):
        (line,) = {each for each in shown.splitlines() if told in each}
        assert line.rstrip("'\"").endswith(("mend it", "until it ends or is resumed"))


def test_zsh_can_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = shell_there("zsh")
    (tmp_path / "_jobqueue").write_text(script("zsh", capsys))
    subprocess.run([program, "-n", str(tmp_path / "_jobqueue")], check=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_paths_and_options_of_run_are_known_to_it(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = script(shell, capsys)
    assert "durability" in text
    assert {
        "bash": "_shtab_compgen_dirs",
        "zsh": "_files -/",
        "fish": "__fish_complete_directories",
    }[shell] in text


def test_without_shtab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'jobqueue[cli]'" in capsys.readouterr().err
