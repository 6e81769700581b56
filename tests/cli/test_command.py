"""Exit codes, and one clear line on stderr for whatever goes wrong."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING
from zlib import crc32

import pytest

from jobqueue.cli import main
from jobqueue.cli.exits import Exit
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.names import LOCK_NAME, segment_name
from tests.support.commands import Command
from tests.support.logs import Image, LogDirectory, done, job, segment

if TYPE_CHECKING:
    from collections.abc import Iterator

READING = ("inspect", "cat", "verify", "dead")
CHANGING = ("repair", "compact")
ALL = READING + CHANGING


@pytest.fixture
def sound(log: LogDirectory) -> LogDirectory:
    log.put(segment(1, 1, [[job(1)], [job(2)], [done(1)]]))
    return log


@pytest.fixture
def locked(sound: LogDirectory) -> Iterator[LogDirectory]:
    files = Files()
    lock = files.lock(str(sound.path / LOCK_NAME))
    yield sound
    files.unlock(lock)


# All is well


@pytest.mark.parametrize("name", ALL)
def test_a_sound_log_ends_in_0(command: Command, sound: LogDirectory, name: str) -> None:
    outcome = command(name)
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize("name", READING)
def test_reading_changes_nothing(command: Command, sound: LogDirectory, name: str) -> None:
    sound.put(Image("00000001.jsonl", sound.content()["00000001.jsonl"] + b"torn"))
    before = sound.content()
    command(name)
    assert sound.content() == before


@pytest.mark.parametrize("name", READING)
def test_a_log_in_use_can_be_read(command: Command, locked: LogDirectory, name: str) -> None:
    assert command(name).code == 0


@pytest.mark.parametrize("name", ALL)
def test_json_is_one_object_a_line_in_ascii(command: Command, log: LogDirectory, name: str) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    outcome = command(name, "--json")
    assert all(isinstance(each, dict) for each in outcome.objects)
    assert outcome.out.isascii()


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["log", "inspect"],
        ["log", "frobnicate", "x"],
        ["log", "cat", "--status", "done", "x"],
        ["log", "cat", "--status-retention", "0", "x"],
        ["log", "cat", "--status-retention", "many", "x"],
        ["log", "dead", "--requeue", "a", "--discard", "b", "x"],
    ],
)
def test_wrong_usage_ends_in_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: jobqueue" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["--frobnicate"], "usage: jobqueue ["),
        (["log", "--frobnicate", "cat", "x"], "usage: jobqueue log ["),
        (["log", "cat", "--frobnicate", "x"], "usage: jobqueue log cat ["),
        (["log", "cat", "x", "y"], "usage: jobqueue log cat ["),
        (["run", "--frobnicate", "x"], "usage: jobqueue run ["),
    ],
)
def test_what_a_command_does_not_know_shows_the_usage_of_that_command(
    arguments: list[str], usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(usage)
    assert f"unrecognized arguments: {'y' if 'y' in arguments else '--frobnicate'}" in shown


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["log", "cat", "x", "--stauts=failed"], "--status"),
        (["run", "x", "--num-workers", "3"], "--workers"),
        (["run", "x", "--persist-pth", "y"], "--persist-path"),
    ],
)
def test_a_misspelt_option_is_told_with_the_one_that_is_meant(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert capsys.readouterr().err.endswith(f"; did you mean {meant!r}?\n")


@pytest.mark.parametrize("arguments", [[], ["log"]])
def test_alone_the_command_is_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(arguments)
    alone = capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*arguments, "--help"])
    assert (code, alone.err) == (0, "")
    assert alone.out == capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["log", "--help"], ["log", "cat", "--help"]])
def test_the_help_tells_every_exit_code(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"\n  {code}  " in text for code in range(7))


def test_the_guide_tells_every_exit_code_and_every_command() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    codes = [part.split(" |")[0] for part in guide.split("\n| ")]
    assert {str(int(code)) for code in Exit} <= {c for part in codes for c in part.split(", ")}
    assert all(f"`jobqueue log {name} PATH" in guide for name in ALL)


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"jobqueue {importlib.metadata.version('jobqueue')}\n"


def test_the_command_works_where_the_package_is_only_on_the_path(
    command: Command, sound: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_installed(_name: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr("jobqueue.cli.command.version", not_installed)
    assert command("verify").code == 0


# Paths


@pytest.mark.parametrize("name", ALL)
def test_a_path_that_is_not_there_ends_in_2_and_is_not_made(
    command: Command, tmp_path: Path, name: str
) -> None:
    path = str(tmp_path / "nowhere")
    outcome = command(name, path=path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"jobqueue: {path}: there is no such directory\n"
    assert not os.path.lexists(path)


@pytest.mark.parametrize("name", ALL)
def test_an_empty_path_is_told_as_that(command: Command, name: str) -> None:
    outcome = command(name, path="")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("jobqueue: PATH is empty; ")


@pytest.mark.parametrize("name", ALL)
def test_an_address_is_no_log_and_its_password_is_not_shown(command: Command, name: str) -> None:
    outcome = command(name, path="postgresql://shop:secret@db/shop")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("jobqueue: PATH is the directory of a log, not an address; ")
    assert "secret" not in outcome.err


@pytest.mark.parametrize("name", ALL)
def test_a_file_is_no_log(command: Command, sound: LogDirectory, name: str) -> None:
    path = str(sound.path / segment_name(1))
    outcome = command(name, path=path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"jobqueue: {path}: not a directory; PATH is the directory of a log\n"


@pytest.mark.parametrize("name", ALL)
def test_a_directory_without_a_log_ends_in_2_and_stays_as_it_is(
    command: Command, log: LogDirectory, name: str
) -> None:
    (log.path / "letter.txt").write_text("dear")
    outcome = command(name)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"jobqueue: {log.path}: there is no log in this directory\n"
    assert log.content() == {"letter.txt": b"dear"}


def test_a_path_cannot_smuggle_controls_into_a_message(command: Command, tmp_path: Path) -> None:
    outcome = command("inspect", path=str(tmp_path / "a\x1b[2J\nb"))
    assert outcome.err.count("\n") == 1
    assert "\\x1b[2J\\nb" in outcome.err


# Locked, of another version, refused


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("repair", ()),
        ("compact", ()),
        ("dead", ("--requeue", "all")),
        ("dead", ("--discard", "job-1")),
    ],
)
def test_a_log_in_use_is_not_changed(
    command: Command, locked: LogDirectory, name: str, options: tuple[str, ...]
) -> None:
    before = locked.content()
    outcome = command(name, *options)
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith(f"jobqueue: {locked.path} is in use by process {os.getpid()}")
    assert "close" in outcome.err
    assert outcome.err.count("\n") == 1
    assert locked.content() == before


def test_an_owner_that_did_not_say_who_it_is_is_another_process(
    command: Command, locked: LogDirectory
) -> None:
    (locked.path / LOCK_NAME).write_text("")
    assert "is in use by another process" in command("compact").err


@pytest.mark.parametrize("name", CHANGING)
def test_the_lock_is_released_at_the_end(command: Command, sound: LogDirectory, name: str) -> None:
    command(name)
    files = Files()
    files.unlock(files.lock(str(sound.path / LOCK_NAME)))


@pytest.mark.parametrize("name", ALL)
def test_another_format_version_is_refused(
    command: Command, sound: LogDirectory, name: str
) -> None:
    head = b'{"format":"jobqueue-log","version":2,"shape":"new"'
    sound.put(Image(segment_name(2), b'%b,"crc":%d}\nwhatever' % (head, crc32(head))))
    before = sound.content()
    outcome = command(name)
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err == (
        f"jobqueue: the log {sound.path} was written by a later release of jobqueue: "
        f"{segment_name(2)}: its format version is 2, this release reads 1. Nothing was changed; "
        "upgrade the library: pip install --upgrade jobqueue\n"
    )
    assert {n: data for n, data in sound.content().items() if n != LOCK_NAME} == before


@pytest.mark.parametrize("name", ["inspect", "cat", "dead", "compact"])
def test_a_damaged_log_ends_in_1_and_a_line_that_names_the_place(
    command: Command, log: LogDirectory, name: str
) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)], [job(3)]])
    start = whole.starts[1]
    log.put(Image(whole.name, whole.data[:start] + b"?" + whole.data[start + 1 :]))
    outcome = command(name)
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert f"{whole.name}, byte {start}: " in outcome.err
    assert f"'jobqueue log repair {log.path}'" in outcome.err


@pytest.mark.parametrize("name", ALL)
def test_what_the_system_refuses_ends_in_5(
    command: Command, sound: LogDirectory, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_files: Files, path: str) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(Files, "open_read", refuse)
    (sound.path / LOCK_NAME).write_text("")
    outcome = command(name)
    assert (outcome.code, outcome.out) == (5, "")
    assert outcome.err.startswith(f"jobqueue: {sound.path}/")
    assert outcome.err.endswith(": Permission denied\n")


def test_an_error_without_a_file_names_the_log(
    command: Command, sound: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_files: Files, _path: str) -> list[str]:
        raise OSError("no luck")

    monkeypatch.setattr(Files, "list_directory", refuse)
    outcome = command("inspect")
    assert (outcome.code, outcome.err) == (5, f"jobqueue: {sound.path}: no luck\n")


def test_ctrl_c_ends_in_130_without_a_traceback(
    command: Command, sound: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_files: Files, _path: str) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Files, "list_directory", interrupt)
    outcome = command("verify")
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "")


# As a process


def run(
    *arguments: str,
    environment: dict[str, str] | None = None,
    stdout: int | IO[bytes] = subprocess.PIPE,
    closed: int | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command; `closed` is a descriptor that it does not get."""
    command = [sys.executable, "-m", "jobqueue.cli", *arguments]
    if closed is not None:
        command = ["sh", "-c", f'exec "$0" "$@" {closed}>&-', *command]
    return subprocess.run(
        command,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        env=environment,
    )


@pytest.mark.slow
def test_the_module_runs_as_the_script_does(sound: LogDirectory) -> None:
    result = run("log", "verify", str(sound.path))
    assert result.returncode == 0, result.stderr
    assert b"sound" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_goes_away_is_no_error(log: LogDirectory, options: tuple[str, ...]) -> None:
    log.put(segment(1, 1, [[job(number) for number in range(1, 3000)]]))
    with subprocess.Popen(
        [sys.executable, "-m", "jobqueue.cli", "log", "cat", *options, str(log.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--help",), ("--version",), ("log", "cat", "--help")])
def test_a_reader_of_the_help_that_goes_away_is_no_error(options: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    try:
        result = run(*options, environment=environment, stdout=writing)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("options", [("verify",), ("cat", "--json"), ("cat",), ("inspect",)])
def test_an_output_that_cannot_be_written_is_told_as_that(
    sound: LogDirectory, options: tuple[str, ...], unbuffered: str
) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("wb") as full:
        result = run("log", *options, str(sound.path), environment=environment, stdout=full)
    why = os.strerror(errno.ENOSPC)
    assert result.stderr.decode() == f"jobqueue: the output cannot be written: {why}\n"
    assert result.returncode == 5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("verify", 0), ("watch", 7)])
def test_without_an_output_the_exit_code_tells(sound: LogDirectory, name: str, code: int) -> None:
    result = run("log", name, str(sound.path), closed=1)
    assert result.returncode == code
    assert b"Traceback" not in result.stderr


@pytest.mark.slow
def test_messages_do_not_go_to_the_output_if_there_is_no_stderr(tmp_path: Path) -> None:
    result = run("log", "cat", "--json", str(tmp_path / "missing"), closed=2)
    assert (result.returncode, result.stdout) == (2, b"")


@pytest.mark.slow
def test_where_the_locale_knows_no_utf_8_it_is_escaped(log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    renamed = log.path.with_name("größe.db")
    log.path.rename(renamed)
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    result = run("log", "inspect", str(renamed), environment=environment)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"gr\\xf6\\xdfe.db" in result.stdout


@pytest.mark.parametrize(
    ("name", "options"), [("compact", ()), ("dead", ("--requeue", "all"))], ids=["compact", "dead"]
)
def test_a_change_is_built_on_what_is_on_the_disk(
    command: Command,
    sound: LogDirectory,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: tuple[str, ...],
) -> None:
    """After an fsync that failed, the kernel shows what never got there."""

    class Watching(Files):
        def sync(self, fd: int) -> int:
            calls.append("sync")
            return super().sync(fd)

        def forget_cached(self, fd: int) -> None:
            calls.append("forget")
            super().forget_cached(fd)

    calls: list[str] = []
    monkeypatch.setattr("jobqueue.cli.access.Files", Watching)
    assert command(name, *options).code == 0
    assert calls[:2] == ["sync", "forget"]
