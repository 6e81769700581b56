from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from jobqueue.final.wal.files import Files
from jobqueue.final.wal.format.record import Cancelled, Enqueued, Failed, Record
from jobqueue.final.wal.names import LOCK_NAME, segment_name
from jobqueue.final.wal.slots import SLOTS_NAME, encode_slots
from tests.support.commands import Command
from tests.support.logs import Image, LogDirectory, done, job, nothing, segment, snapshot

CRC_DIGITS = 40
"""By this much the size of a snapshot may vary: a CRC in decimal has up to ten digits."""

EVENTS: list[list[Record]] = [
    [
        Enqueued(1, "new", 0, 2000.0),
        Enqueued(2, "old", 2, 1000.0),
        Enqueued(3, "later", 2, 3000.0, due=4e9, delay=4e9),
        Enqueued(4, "dead", 1, 10.0, payload="x" * 100),
        Enqueued(5, "done", 1, 11.0, payload="x" * 100),
        Enqueued(6, "dropped", 1, 12.0),
    ],
    [Failed(4, 20.0, 19.0, 0, "E: x", ""), done(5), Cancelled(6, 21.0)],
]


@pytest.fixture
def eventful(log: LogDirectory) -> LogDirectory:
    log.put(segment(1, 1, EVENTS), segment(2, 3, []))
    return log


@pytest.fixture
def locked(eventful: LogDirectory) -> Iterator[LogDirectory]:
    files = Files()
    lock = files.lock(str(eventful.path / LOCK_NAME))
    yield eventful
    files.unlock(lock)


def run_slots(log: LogDirectory, *jobs: int) -> None:
    """Say which jobs were running when the process died, or are."""
    (log.path / SLOTS_NAME).write_bytes(encode_slots(2, list(jobs)))


def test_jobs_are_counted_by_status_and_priority(command: Command, eventful: LogDirectory) -> None:
    none = {"high": 0, "medium": 0, "low": 0}
    assert command("inspect", "--json").object["jobs"] == {
        "queued": none | {"high": 1, "low": 1},
        "scheduled": none | {"low": 1},
        "processing": none,
        "completed": none | {"medium": 1},
        "failed": none | {"medium": 1},
        "cancelled": none | {"medium": 1},
    }


def test_each_file_is_told_with_what_it_holds(command: Command, log: LogDirectory) -> None:
    first, second = snapshot(3, 9, [[job(1)], [job(2)]]), segment(4, 9, [[done(1)]])
    log.put(first, second)
    assert command("inspect", "--json").object["files"] == [
        {
            "name": first.name,
            "kind": "snapshot",
            "bytes": len(first.data),
            "batches": 3,
            "records": 2,
            "last_batch": 3,
        },
        {
            "name": second.name,
            "kind": "segment",
            "bytes": len(second.data),
            "batches": 1,
            "records": 1,
            "last_batch": 9,
        },
    ]


def test_the_oldest_job_is_the_oldest_of_those_that_are_not_finished(
    command: Command, eventful: LogDirectory
) -> None:
    oldest = command("inspect", "--json").object["oldest"]
    assert oldest.pop("age") > 1_000_000_000
    assert oldest == {"id": "old", "status": "queued", "priority": "low", "created": 1000.0}


def test_where_all_is_finished_there_is_no_oldest_job(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)], [done(1)]]))
    assert command("inspect", "--json").object["oldest"] is None
    assert "oldest" not in command("inspect").out


def test_wasted_bytes_are_those_that_a_compaction_frees(
    command: Command, eventful: LogDirectory
) -> None:
    before = command("inspect", "--json").object
    (eventful.path / "00000009.snapshot.jsonl.tmp").write_bytes(bytes(1000))
    with_left_over = command("inspect", "--json").object
    assert with_left_over["wasted_bytes"] == before["wasted_bytes"] + 1000

    command("compact")

    after = command("inspect", "--json").object
    assert after["wasted_bytes"] <= CRC_DIGITS
    freed = with_left_over["bytes"] - after["bytes"]
    assert abs(freed - with_left_over["wasted_bytes"]) <= CRC_DIGITS


def test_jobs_that_were_running_when_the_process_died_are_counted(
    command: Command, eventful: LogDirectory
) -> None:
    run_slots(eventful, 1, 0, 5)
    report = command("inspect", "--json").object
    assert report["interrupted"] == 1  # 5 is completed
    assert report["jobs"]["processing"]["high"] == 0
    assert "running when the process died: 1\n" in command("inspect").out


def test_in_a_log_in_use_they_are_processing(command: Command, locked: LogDirectory) -> None:
    run_slots(locked, 1)
    report = command("inspect", "--json").object
    assert (report["in_use"], report["pid"]) == (True, os.getpid())
    assert report["interrupted"] == 0
    assert report["jobs"]["processing"]["high"] == 1
    assert f"in use by process {os.getpid()}\n" in command("inspect").out


def test_what_a_queue_has_reserved_is_not_wasted(command: Command, locked: LogDirectory) -> None:
    before = command("inspect", "--json").object
    with (locked.path / segment_name(2)).open("ab") as file:
        file.truncate(file.tell() + (1 << 20))

    report = command("inspect", "--json").object

    assert (before["reserved_bytes"], report["reserved_bytes"]) == (0, 1 << 20)
    assert report["wasted_bytes"] == before["wasted_bytes"]
    assert report["bytes"] == before["bytes"] + (1 << 20)
    assert "reserved for what the queue writes next: 1.0 MiB" in command("inspect").out


def test_without_a_queue_a_compaction_frees_what_was_reserved(
    command: Command, eventful: LogDirectory
) -> None:
    before = command("inspect", "--json").object
    with (eventful.path / segment_name(2)).open("ab") as file:
        file.truncate(file.tell() + (1 << 20))
    report = command("inspect", "--json").object
    assert report["reserved_bytes"] == 0
    assert report["wasted_bytes"] == before["wasted_bytes"] + (1 << 20)
    assert "reserved" not in command("inspect").out


def test_people_get_tables(command: Command, eventful: LogDirectory) -> None:
    lines = [line.split() for line in command("inspect").lines]
    assert [str(eventful.path), "not", "in", "use"] == lines[0]
    size = len(eventful.content()[segment_name(1)])
    assert [segment_name(1), *f"{size / 1024:.1f} KiB 2 9 2".split()] in lines
    assert ["queued", "1", "0", "1", "2"] in lines
    assert ["completed", "0", "1", "0", "1"] in lines
    (oldest,) = [line for line in command("inspect").lines if line.startswith("oldest")]
    assert oldest.startswith("oldest unfinished job: old (low, queued), created 1970-01-01")
    assert oldest.endswith("days ago")


def test_a_torn_end_is_told(command: Command, log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)]], nothing)
    log.put(Image(whole.name, whole.data[:-5]))
    place = f"{log.path / whole.name}, byte {whole.starts[1]}"
    torn = f"{place}: torn, a batch that was cut short"
    outcome = command("inspect", "--json")
    assert (outcome.code, outcome.object["torn"]) == (0, torn)
    assert f"{torn}; the next start cuts it off\n" in command("inspect").out


def test_what_was_cut_off_earlier_is_told(command: Command, eventful: LogDirectory) -> None:
    (eventful.path / "00000001.jsonl.torn").write_bytes(b"12345")
    assert command("inspect", "--json").object["kept_aside"] == {"00000001.jsonl.torn": 5}
    assert "kept aside: 00000001.jsonl.torn, 5 B\n" in command("inspect").out


def test_of_a_damaged_log_the_files_are_shown_and_the_place_is_named(
    command: Command, log: LogDirectory
) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)], [job(3)]])
    start = whole.starts[1]
    log.put(Image(whole.name, whole.data[:start] + b"?" + whole.data[start + 1 :]))
    report = command("inspect", "--json").object
    assert report["files"][0]["batches"] == 2
    assert report["damage"]["file"] == whole.name
    assert report["damage"]["offset"] == start
    unknown = ("jobs", "oldest", "wasted_bytes", "interrupted")
    assert [report[name] for name in unknown] == [None] * 4
    assert whole.name in command("inspect").out


def test_only_so_many_finished_jobs_are_remembered(
    command: Command, eventful: LogDirectory
) -> None:
    report = command("inspect", "--json", "--status-retention", "1").object
    finished = report["jobs"]["completed"]["medium"] + report["jobs"]["cancelled"]["medium"]
    assert finished == 1
