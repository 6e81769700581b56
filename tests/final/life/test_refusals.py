"""A start that refuses a log changes nothing in it, and `jobqueue log verify` says the same.

Fault 36 of docs/reliability.md.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from jobqueue.final import Config, Job, JobQueue, LogCorruptError, LogVersionError, Status
from jobqueue.final.life import opening
from jobqueue.final.timing.timer import Timer
from jobqueue.final.wal.format.codec import encode_batch, encode_header
from jobqueue.final.wal.format.record import (
    COUNT_MAX,
    NUMBER_MAX,
    Crashed,
    Enqueued,
    Record,
    Retried,
)
from jobqueue.final.wal.names import (
    FILE_NUMBER_MAX,
    LOCK_NAME,
    segment_name,
    snapshot_name,
)
from jobqueue.final.wal.slots import SLOTS_NAME, encode_slots
from jobqueue.final.wal.writing.writer import LogWriter
from jobqueue.final.workers.pool import WorkerPool
from tests.support.commands import Command
from tests.support.logs import Image, LogDirectory, done, job, segment, snapshot
from tests.support.waiting import PATIENCE

NULS = bytes(4096)
FIRST = segment(3, 4, [[job(3)], [done(1)], []])
MIDDLE = segment(4, 7, [])  # as `jobqueue log compact` leaves one, or a start that was killed
LAST = segment(5, 7, [[job(4)], [job(5)], []])


@pytest.fixture
def log(tmp_path: Path) -> LogDirectory:
    """A snapshot, a segment that was sealed, one without batches, and the last one."""
    path = tmp_path / "jobs.db"
    path.mkdir()
    log = LogDirectory(path)
    log.put(snapshot(2, 4, [[job(1), job(2)]]), FIRST, MIDDLE, LAST)
    return log


@pytest.fixture
def command(log: LogDirectory, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `jobqueue log NAME` on it."""
    return Command(log, capsys)


Damage = Callable[[Path], object]


def write(name: str, data: bytes) -> Damage:
    """Have a file hold nothing but `data`."""
    return lambda path: (path / name).write_bytes(data)


def extend(image: Image, data: bytes) -> Damage:
    """Have a file end in more than its batches."""
    return write(image.name, image.data + data)


def flip(image: Image, place: int) -> Damage:
    """Change one byte of a file."""
    data = bytearray(image.data)
    data[place] ^= 1
    return write(image.name, bytes(data))


def remove(name: str) -> Damage:
    """Have a file be gone."""
    return lambda path: (path / name).unlink()


def replace_by_directory(name: str) -> Damage:
    """Have a directory be in a file's place."""

    def do(path: Path) -> None:
        (path / name).unlink(missing_ok=True)
        (path / name).mkdir()

    return do


def replace_by_link(name: str) -> Damage:
    """Have a symbolic link be in a file's place."""

    def do(path: Path) -> None:
        (path / name).unlink(missing_ok=True)
        (path / name).symlink_to(path.parent / "elsewhere")

    return do


DAMAGED: dict[str, Damage] = {
    "segment without batches is NULs": write(MIDDLE.name, bytes(len(MIDDLE.data))),
    "segment without batches is many NULs": write(MIDDLE.name, NULS),
    "segment without batches is empty": write(MIDDLE.name, b""),
    "segment without batches is cut": write(MIDDLE.name, MIDDLE.data[:-1]),
    "segment without batches is garbage": write(MIDDLE.name, b"garbage"),
    "segment without batches is gone": remove(MIDDLE.name),
    "sealed segment is NULs": write(FIRST.name, NULS),
    "sealed segment is empty": write(FIRST.name, b""),
    "sealed segment is gone": remove(FIRST.name),
    "sealed segment has lost its end": write(FIRST.name, FIRST.data[: FIRST.starts[-1]]),
    "sealed segment ends in NULs instead of a batch": write(
        FIRST.name, FIRST.data[: FIRST.starts[1]] + NULS
    ),
    "sealed segment ends in garbage": extend(FIRST, b"garbage"),
    "sealed segment has another's header": write(FIRST.name, MIDDLE.data),
    "a byte of a sealed segment": flip(FIRST, FIRST.starts[1] + 20),
    "a byte of a promised batch of the last segment": flip(LAST, LAST.starts[0] + 20),
    "snapshot is NULs": write(snapshot_name(2), NULS),
    "snapshot is empty": write(snapshot_name(2), b""),
    "snapshot is gone": remove(snapshot_name(2)),
    "a directory in place of a segment": replace_by_directory(FIRST.name),
    "a link in place of a segment": replace_by_link(FIRST.name),
    "a directory in place of a temporary file": replace_by_directory("x.tmp"),
    "a directory in place of a replaced segment": replace_by_directory(segment_name(1)),
    "a directory in place of the slots' temporary file": replace_by_directory("SLOTS.tmp"),
}


def boundless(number: int) -> dict[str, Damage]:
    """Numbers that a queue could only go on from once, or not at all."""
    after = segment(6, 10, [[job(number)]])
    batch = encode_batch([job(6)], number, 9)
    start = encode_header(6, number)
    crashes = segment(6, 10, [[Crashed(number, 1)]])
    replaced = encode_header(5, 1, number) + encode_batch((), 1, 0)
    return {
        f"a job has the number {number}": write(after.name, after.data),
        f"a batch has the number {number}": extend(LAST, batch),
        f"a segment starts with batch {number}": write(segment_name(6), start),
        f"a crash is told of job {number}": write(crashes.name, crashes.data),
        f"batch {number} follows the snapshot": write(snapshot_name(5), replaced),
    }


DAMAGED |= {name: do for n in (NUMBER_MAX + 1, 2**63 - 1) for name, do in boundless(n).items()}
for number in (FILE_NUMBER_MAX + 1, 10**18 - 1):
    DAMAGED |= {
        f"a segment has the number {number}": write(
            segment_name(number), segment(number, 10, [[job(6)]]).data
        ),
        f"a snapshot has the number {number}": write(
            snapshot_name(number), snapshot(number, 10, [[job(1)]]).data
        ),
        f"a segment without a header has the number {number}": write(segment_name(number), NULS),
    }

TORN_TOO = extend(LAST, b"half a batch")
"""What a start would cut off, if it found nothing worse."""
IN_THE_LAST = ("a byte of a promised batch of the last segment", "a batch has the number")


def content(path: Path) -> dict[str, bytes | str]:
    """All that is in a directory, but for the owner's process id."""
    return {
        each.name: str(each.readlink())
        if each.is_symlink()
        else "directory"
        if each.is_dir()
        else each.read_bytes()
        for each in path.iterdir()
        if each.name != LOCK_NAME
    }


def refuse(log: LogDirectory) -> str:
    with pytest.raises((LogCorruptError, OSError)) as caught:
        JobQueue(Config(persist_path=log.path), handler=len, start=False)
    return str(caught.value)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_start_that_refuses_changes_nothing_and_verify_agrees(
    log: LogDirectory, command: Command, name: str
) -> None:
    if not name.startswith(IN_THE_LAST):
        TORN_TOO(log.path)
    (log.path / "SLOTS.tmp").touch()  # a start would remove it
    DAMAGED[name](log.path)
    before = content(log.path)

    first = refuse(log)

    assert content(log.path) == before
    assert refuse(log) == first
    outcome = command("verify", "--json")
    assert outcome.code == 1
    assert outcome.object["verdict"] == "corrupt"
    assert content(log.path) == before


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_what_repair_makes_of_a_log_that_is_refused_can_be_opened_again_and_again(
    log: LogDirectory, command: Command, damage: Damage
) -> None:
    damage(log.path)
    command("repair")
    new = f"{log.path}.repaired"
    assert command("verify", "--json", path=new).object["verdict"] == "sound"

    for number in range(3):
        with JobQueue(Config(persist_path=new), handler=len, start=False) as jq:
            jq.enqueue(Job(id=f"new {number}"))
            assert all(jq.status(f"new {each}") for each in range(number + 1))


@pytest.mark.parametrize("damage", [replace_by_directory(SLOTS_NAME), replace_by_link(SLOTS_NAME)])
def test_a_start_that_cannot_read_the_slots_changes_nothing(
    log: LogDirectory, damage: Damage
) -> None:
    TORN_TOO(log.path)
    damage(log.path)
    before = content(log.path)

    assert SLOTS_NAME in refuse(log)

    assert content(log.path) == before
    assert refuse(log)


def test_a_directory_in_place_of_a_temporary_file_is_named(log: LogDirectory) -> None:
    (log.path / "x.tmp").mkdir()

    assert "x.tmp" in refuse(log)

    (log.path / "x.tmp").rmdir()
    JobQueue(Config(persist_path=log.path), handler=len, start=False).close()


@pytest.mark.parametrize(
    "damage",
    [lambda _path: None, DAMAGED["sealed segment is NULs"], DAMAGED["sealed segment is gone"]],
    ids=["whole", "damaged", "a segment is gone"],
)
@pytest.mark.parametrize("name", [segment_name(6), snapshot_name(2)])
def test_a_log_of_a_later_format_is_named_as_such_whatever_else_it_looks_like(
    log: LogDirectory, command: Command, name: str, damage: Damage
) -> None:
    damage(log.path)
    head = b'{"format":"jobqueue-log","version":3,"shape":"new"'
    write(name, b'%b,"crc":%d}\nwhat follows is new' % (head, crc32(head)))(log.path)
    before = content(log.path)

    with pytest.raises(LogVersionError) as caught:
        JobQueue(Config(persist_path=log.path), handler=len, start=False)

    assert caught.value.segment == name
    assert "format version is 3, this release reads 1" in str(caught.value)
    assert "upgrade" in str(caught.value)
    assert "repair" not in str(caught.value)
    for each in ("verify", "cat", "repair"):
        outcome = command(each)
        assert (outcome.code, outcome.err) == (4, f"jobqueue: {caught.value}\n")
    assert content(log.path) == before
    assert [path.name for path in log.path.parent.iterdir()] == [log.path.name]


def test_an_earlier_format_that_never_was_is_damage(log: LogDirectory) -> None:
    head = b'{"format":"jobqueue-log","version":0,"segment":4,"first":7'
    write(MIDDLE.name, b'%b,"crc":%d}\n' % (head, crc32(head)))(log.path)
    assert "repair" in refuse(log)


def test_what_is_damaged_here_is_whole_without_it(log: LogDirectory, command: Command) -> None:
    assert command("verify", "--json").object["verdict"] == "sound"
    with JobQueue(Config(persist_path=log.path), handler=len, start=False) as jq:
        assert jq.metrics().queued == 4


def test_the_segment_behind_a_snapshot_is_never_removed(tmp_path: Path) -> None:
    log = LogDirectory(tmp_path)
    log.put(snapshot(1, 3, [[job(1)]]))
    for data in (b"", NULS, segment(2, 3, []).data[:-1]):
        write(segment_name(2), data)(tmp_path)
        before = content(tmp_path)
        assert segment_name(2) in refuse(log)
        assert content(tmp_path) == before


@pytest.mark.parametrize("after", [b"", NULS], ids=["cut", "reserved"])
def test_a_last_segment_of_nothing_but_nuls_was_never_begun(
    log: LogDirectory, command: Command, after: bytes
) -> None:
    write(segment_name(6), after + NULS)(log.path)
    assert command("verify", "--json").object["verdict"] == "sound"
    with JobQueue(Config(persist_path=log.path), handler=len, start=False) as jq:
        assert jq.metrics().queued == 4


# ── counts at their bound ────────────────────────────────────────────────────────────────────

AT_THE_BOUND: dict[str, list[Record]] = {
    "crashes": [Enqueued(1, "old", 1, 1.0), Crashed(1, COUNT_MAX, COUNT_MAX)],
    "retries": [
        Enqueued(1, "old", 1, 1.0, max_retries=COUNT_MAX),
        Retried(1, 1.0, 1.0, COUNT_MAX, 1.0, 0.0, "ValueError: no", ""),
    ],
    "retries but one": [
        Enqueued(1, "old", 1, 1.0, max_retries=COUNT_MAX),
        Retried(1, 1.0, 1.0, COUNT_MAX - 1, 1.0, 0.0, "ValueError: no", ""),
    ],
}


@pytest.mark.parametrize("records", AT_THE_BOUND.values(), ids=AT_THE_BOUND)
def test_what_is_counted_on_from_the_bound_can_be_read_again(
    tmp_path: Path, records: list[Record]
) -> None:
    """Fault 36 of docs/reliability.md."""
    log = LogDirectory(tmp_path)
    log.put(segment(1, 1, [records]))
    (tmp_path / SLOTS_NAME).write_bytes(encode_slots(1, [1]))

    def fail(_payload: bytes) -> None:
        raise ValueError("no")

    config = Config(persist_path=tmp_path, base_delay=0, jitter=0)
    for _ in range(3):
        with JobQueue(config, handler=fail) as jq:
            assert jq.join(PATIENCE)
            assert jq.status("old") is Status.FAILED


# ── starts that fail after the log was read ──────────────────────────────────────────────────


def no_thread(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def full(*_arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("owner", "name", "failing"),
    [
        (opening, "Slots", full),
        (Timer, "start", no_thread),
        (LogWriter, "start", no_thread),
        (WorkerPool, "start", no_thread),
    ],
    ids=["slots", "timer", "log", "workers"],
)
def test_starts_that_fail_leave_no_segment_each(
    log: LogDirectory,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    failing: Callable[..., None],
) -> None:
    """Fault 36 of docs/reliability.md."""
    before = sorted(path.name for path in log.path.glob("*.jsonl"))
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            with pytest.raises((OSError, RuntimeError)):
                JobQueue(Config(persist_path=log.path), handlers={"none": len})
        assert sorted(path.name for path in log.path.glob("*.jsonl")) == before

    with JobQueue(Config(persist_path=log.path), handler=len, start=False) as jq:
        jq.enqueue(Job(id="new"))
        assert jq.metrics().queued == 5
    with JobQueue(Config(persist_path=log.path), handler=len, start=False) as jq:
        assert jq.metrics().queued == 5


def test_the_first_start_of_all_that_fails_leaves_no_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(opening, "Slots", full)
        with pytest.raises(OSError, match="No space"):
            JobQueue(Config(persist_path=tmp_path / "new"), handler=len)
    assert not list((tmp_path / "new").glob("*.jsonl"))
    JobQueue(Config(persist_path=tmp_path / "new"), handler=len).close()
