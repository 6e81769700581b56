from __future__ import annotations

from pathlib import Path

import pytest

from jobqueue.final.wal.names import LOCK_NAME
from tests.support.commands import Command
from tests.support.logs import Image, LogDirectory, done, job, nothing, segment


@pytest.fixture
def damaged(log: LogDirectory) -> Image:
    """A log whose second batch of four is damaged; the sound file is returned."""
    whole = segment(1, 1, [[job(1)], [job(2), job(3)], [job(4)], [done(1)]])
    data = bytearray(whole.data)
    data[whole.starts[1] + 30] ^= 1
    log.put(Image(whole.name, bytes(data)))
    return whole


def test_the_new_log_is_beside_the_old_one_and_sound(
    command: Command, log: LogDirectory, damaged: Image
) -> None:
    outcome = command("repair", "--json")
    new = f"{log.path}.repaired"
    assert outcome.code == 1
    assert outcome.object["new_log"] == new
    assert command("verify", path=new).code == 0
    found = [each["id"] for each in command("cat", "--json", path=new).objects]
    assert found == ["job-1", "job-4"]


def test_the_old_log_stays_as_it_is(command: Command, log: LogDirectory, damaged: Image) -> None:
    before = log.content()
    command("repair")
    assert {n: data for n, data in log.content().items() if n != LOCK_NAME} == before


def test_scripts_are_told_what_was_salvaged_and_what_was_lost(
    command: Command, log: LogDirectory, damaged: Image
) -> None:
    start, end = damaged.starts[1], damaged.starts[2]
    report = command("repair", "--json").object
    assert report == {
        "log": str(log.path),
        "new_log": f"{log.path}.repaired",
        "salvaged": {"batches": 3, "records": 3},
        "lost": {
            "batches": [{"first": 2, "last": 2, "in_snapshot": False}],
            "bytes": end - start,
        },
        "damages": [
            {
                "file": damaged.name,
                "offset": start,
                "end": end,
                "problem": "a batch whose checksum is wrong; batch 2 is missing",
            }
        ],
    }


def test_people_are_told_the_same(command: Command, log: LogDirectory, damaged: Image) -> None:
    start, end = damaged.starts[1], damaged.starts[2]
    assert command("repair").lines == [
        f"{log.path / damaged.name}, bytes {start} to {end - 1}: "
        "a batch whose checksum is wrong; batch 2 is missing",
        "salvaged: 3 batches, 3 records",
        f"lost: batch 2; {end - start} B that are no batch",
        "jobs whose end was in what is lost are unfinished again and will run",
        f"new log: {log.path}.repaired",
        f"{log.path} is as it was; to use the new log, put it in its place",
    ]


def test_batches_in_a_row_are_told_by_the_first_and_the_last(
    command: Command, log: LogDirectory
) -> None:
    log.put(segment(1, 1, [[job(1)]]), segment(3, 8, [[job(2)]]))
    assert "lost: batches 2 to 7; 0 B that are no batch" in command("repair").lines


def test_what_is_lost_of_a_snapshot_is_told_as_such(command: Command, damaged: Image) -> None:
    new = command("repair", "--json").object["new_log"]
    snapshot = next(Path(new).glob("*.snapshot.jsonl"))
    data = snapshot.read_bytes().replace(b"job-4", b"job-5")
    snapshot.write_bytes(data)
    (lost,) = [line for line in command("repair", path=new).lines if line.startswith("lost")]
    assert lost.startswith("lost: batch 1 of the snapshot; ")


def test_bytes_that_had_no_number_are_told_by_their_size(
    command: Command, log: LogDirectory
) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)]], nothing)
    log.put(Image(whole.name, whole.data[: whole.starts[1] + 7]))
    assert "lost: no batch number is missing; 7 B that are no batch" in command("repair").lines


def test_of_a_sound_log_nothing_is_lost(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    outcome = command("repair")
    assert outcome.code == 0
    assert "lost: nothing" in outcome.lines


def test_another_place_can_be_given(command: Command, damaged: Image, tmp_path: Path) -> None:
    new = str(tmp_path / "deep" / "new")
    outcome = command("repair", "--json", "--output", new)
    assert outcome.object["new_log"] == new
    assert command("verify", path=new).code == 0


def test_what_is_there_already_is_not_replaced(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    command("repair")
    outcome = command("repair")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        f"jobqueue: {log.path}.repaired: there is something at the new log's place; move it away, "
        f"or name another\n"
    )


@pytest.mark.parametrize("place", ["new", "deep/new"])
def test_a_place_within_the_old_log_is_refused(
    command: Command, log: LogDirectory, place: str
) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    outcome = command("repair", "--output", str(log.path / place))
    assert (outcome.code, outcome.out) == (2, "")
    assert "is inside the old log" in outcome.err
    assert not (log.path / place).parent.joinpath("new").exists()


def test_a_slash_at_the_end_of_the_path_does_not_put_it_inside(
    command: Command, log: LogDirectory
) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    report = command("repair", "--json", path=f"{log.path}/").object
    assert report["new_log"] == f"{log.path}.repaired"
