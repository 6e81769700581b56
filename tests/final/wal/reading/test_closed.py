from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jobqueue.final import Config, Job, JobQueue, LogCorruptError
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.names import LOCK_NAME, segment_name
from jobqueue.final.wal.reading.closed import CLOSED_NAME, Closed, read_closed, write_closed
from tests.support.commands import Command
from tests.support.dying_files import DiedError, DyingFiles
from tests.support.faulty_files import FaultyFiles
from tests.support.logs import Image, LogDirectory, done, job, segment, snapshot

ONE, TWO = segment(1, 1, [[job(1)], [job(2)], []]), segment(2, 4, [[done(1)], [job(3)], []])


@pytest.fixture
def command(log: LogDirectory, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `jobqueue log NAME` on the log."""
    return Command(log, capsys)


def closed(log: LogDirectory, segment: int = 2, batch: int = 6) -> LogDirectory:
    """The log after a close."""
    log.put(ONE, TWO)
    write_closed(log.files, str(log.path), segment, batch)
    return log


def refused(log: LogDirectory, command: Command) -> LogCorruptError:
    """The error of a start, which changes nothing; `verify` finds the log damaged too."""
    before = log.content()
    with pytest.raises(LogCorruptError) as caught:
        log.open()
    assert log.content() == before
    assert command("verify", "--json").object["verdict"] == "corrupt"
    return caught.value


def test_what_was_written_is_read(log: LogDirectory) -> None:
    assert read_closed(log.files, str(log.path)) is None
    for each in (Closed(1, 0), Closed(17, 10**17)):
        write_closed(log.files, str(log.path), *each)
        assert read_closed(log.files, str(log.path)) == each


def test_a_log_that_is_as_it_was_closed_opens_and_goes_on(log: LogDirectory) -> None:
    reading = closed(log).open()
    assert (reading.last, reading.torn) == (6, None)
    log.append(reading, job(4))
    assert log.open().last == 7


def test_it_is_for_its_owner_alone(log: LogDirectory) -> None:
    write_closed(Files(), str(log.path), 1, 1)
    assert (log.path / CLOSED_NAME).stat().st_mode & 0o777 == 0o600


def batch_of(data: bytes, index: int) -> int:
    """Where a batch begins; the one before the first commit line is 0."""
    lines = data.splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if i == 0 or line.startswith(b'{"commit"')]
    return len(b"".join(lines[: ends[index] + 1]))


LOSSES: dict[str, Callable[[bytes], bytes | None]] = {
    "NULs": lambda data: bytes(len(data)),
    "many NULs": lambda _data: bytes(1 << 16),
    "empty": lambda _data: b"",
    "missing": lambda _data: None,
    "half of its header": lambda data: data[:30],
    "a header alone": lambda data: data[: batch_of(data, 0)],
    "without its last batch": lambda data: data[: batch_of(data, -2)],
    "without half of its last batch": lambda data: data[:-9],
    "NULs from a batch on": lambda data: data[: batch_of(data, -2)] + bytes(900),
    "NULs from the header on": lambda data: data[: batch_of(data, 0)] + bytes(9),
}


def lose(path: Path, how: str) -> None:
    """Have a file be what is left of it."""
    left = LOSSES[how](path.read_bytes())
    if left is None:
        path.unlink()
    else:
        path.write_bytes(left)


@pytest.mark.parametrize("how", LOSSES)
def test_a_last_segment_that_lost_something_after_a_close_is_refused(
    log: LogDirectory, command: Command, how: str
) -> None:
    """Fault 36 of docs/reliability.md."""
    lose(closed(log).path / TWO.name, how)
    assert refused(log, command).segment == TWO.name


@pytest.mark.parametrize("how", list(LOSSES)[:5])
def test_a_last_segment_without_batches_is_missed_too(
    log: LogDirectory, command: Command, how: str
) -> None:
    closed(log, 3, 6).put(segment(3, 7, []))
    lose(log.path / segment_name(3), how)
    assert refused(log, command).segment == segment_name(3)


def test_a_log_of_which_nothing_is_left_is_refused(log: LogDirectory, command: Command) -> None:
    closed(log)
    for image in (ONE, TWO):
        (log.path / image.name).unlink()
    assert "missing" in refused(log, command).problem


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize("restarts", [0, 2])
def test_a_queue_that_was_closed_is_not_opened_without_a_part_of_its_end(
    tmp_path: Path, restarts: int, how: str
) -> None:
    """Fault 36 of docs/reliability.md."""
    config = Config(persist_path=tmp_path / "jobs.db")
    with JobQueue(config, handler=len, start=False) as jq:
        jq.enqueue(Job())
    for _ in range(restarts):
        JobQueue(config, handler=len, start=False).close()
    last = max((tmp_path / "jobs.db").glob("*.jsonl"))
    whole = last.read_bytes()
    lose(last, how)

    with pytest.raises(LogCorruptError):
        JobQueue(config, handler=len, start=False)

    last.write_bytes(whole)
    with JobQueue(config, handler=len, start=False) as jq:
        assert jq.metrics().queued == 1


def test_what_was_appended_after_the_last_close_may_be_torn(log: LogDirectory) -> None:
    closed(log, 1, 3)
    log.put(Image(TWO.name, TWO.data[:-9]))
    assert log.open().last == 5
    log.put(Image(TWO.name, b""))
    assert log.open().last == 3


def test_nothing_is_missed_of_a_log_that_was_never_closed(log: LogDirectory) -> None:
    """As the first release left it; or the queue was killed."""
    log.put(ONE, Image(TWO.name, TWO.data[:-9]))
    assert log.open().last == 5
    (log.path / TWO.name).unlink()
    assert log.open().last == 3


def test_a_snapshot_stands_for_what_was_closed(log: LogDirectory) -> None:
    closed(log)
    for image in (ONE, TWO):
        (log.path / image.name).unlink()
    log.put(snapshot(2, 7, [[job(2), job(3)]]), segment(3, 7, []))
    assert log.open().last == 6


@pytest.mark.parametrize("place", range(0, 70, 7))
def test_a_file_that_is_damaged_itself_tells_nothing(log: LogDirectory, place: int) -> None:
    path = closed(log).path / CLOSED_NAME
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 4
    path.write_bytes(data)
    assert read_closed(log.files, str(log.path)) is None
    assert log.open().last == 6


def test_killed_at_any_step_it_says_what_it_said_or_what_it_should(tmp_path: Path) -> None:
    """Fault 36 of docs/reliability.md."""
    for calls in range(6):
        path = tmp_path / str(calls)
        path.mkdir()
        log = closed(LogDirectory(path), 1, 3)
        try:
            write_closed(DyingFiles(calls), str(path), 2, 6)
        except DiedError:
            pass
        assert read_closed(log.files, str(path)) in (Closed(1, 3), Closed(2, 6))
        assert log.open().last == 6
        assert not list(path.glob("*.tmp"))
        write_closed(log.files, str(path), 2, 6)
        assert read_closed(log.files, str(path)) == Closed(2, 6)


@pytest.mark.parametrize("method", ["create", "write", "sync", "rename", "sync_directory"])
def test_a_full_disk_leaves_what_it_said_before(log: LogDirectory, method: str) -> None:
    closed(log, 1, 3)
    files = FaultyFiles()
    files.fail(method, errno.EIO if "sync" in method else errno.ENOSPC)
    write_closed(files, str(log.path), 2, 6)
    assert read_closed(log.files, str(log.path)) in (Closed(1, 3), Closed(2, 6))
    assert not list(log.path.glob("*.tmp"))


def test_it_has_its_name_only_when_it_is_on_the_disk(log: LogDirectory) -> None:
    files = DyingFiles()
    write_closed(files, str(log.path), 2, 6)
    assert files.made == ["create", "write", "sync", "rename", "sync_directory"]


def test_commands_that_change_a_log_write_down_how_far_it_goes(
    log: LogDirectory, command: Command
) -> None:
    log.put(ONE, TWO)
    command("compact")
    assert read_closed(log.files, str(log.path)) == Closed(3, 6)
    shutil.copytree(log.path, log.path.with_name("other"))
    (log.path / segment_name(3)).write_bytes(b"")
    assert refused(log, command).segment == segment_name(3)
    command("repair")
    new = LogDirectory(Path(f"{log.path}.repaired"))
    assert read_closed(new.files, str(new.path)) == Closed(4, 0)
    assert LOCK_NAME not in new.content()


def test_something_else_in_its_place_is_refused(log: LogDirectory, command: Command) -> None:
    log.put(ONE, TWO, Image("elsewhere", b""))
    (log.path / CLOSED_NAME).symlink_to(log.path / "elsewhere")
    with pytest.raises(OSError, match=CLOSED_NAME):
        log.open()
    outcome = command("verify", "--json").object
    assert (outcome["verdict"], outcome["damages"][0]["file"]) == ("corrupt", CLOSED_NAME)
