"""One damage has one name: verify and repair, inspect and cat, and a start tell it alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jobqueue.final import Config, JobQueue, LogCorruptError
from jobqueue.final.wal.names import segment_name
from tests.support.logs import Image, LogDirectory, job, segment, snapshot

if TYPE_CHECKING:
    from tests.support.commands import Command

FIRST = segment(1, 1, [[job(1)], [job(2)], [job(3)]])
SECOND = segment(2, 4, [[job(4)], [job(5)]])
SNAPSHOT = snapshot(1, 4, [[job(1)]])
B, C = FIRST.starts[1:]
CASES: dict[str, tuple[list[Image], str]] = {
    "a byte": (
        [Image(FIRST.name, FIRST.data[: B + 30] + b"?" + FIRST.data[B + 31 :]), SECOND],
        f"{FIRST.name}, byte {B}: a batch whose checksum is wrong",
    ),
    "the header": (
        [Image(FIRST.name, b"?" + FIRST.data[1:]), SECOND],
        f"{FIRST.name}, byte 0: the header is damaged",
    ),
    "half a header of NULs": (
        [Image(FIRST.name, bytes(20) + FIRST.data[20:]), SECOND],
        f"{FIRST.name}, byte 0: the header is damaged",
    ),
    "the header of a snapshot": (
        [Image(SNAPSHOT.name, b"?" + SNAPSHOT.data[1:]), SECOND],
        f"{SNAPSHOT.name}, byte 0: the header is damaged",
    ),
    "other bytes": (
        [Image(FIRST.name, FIRST.data[:B] + b"garbage\n" + FIRST.data[B:]), SECOND],
        f"{FIRST.name}, byte {B}: bytes that are no batch",
    ),
    "NULs": (
        [Image(FIRST.name, FIRST.data[:B] + bytes(C - B) + FIRST.data[C:]), SECOND],
        f"{FIRST.name}, byte {B}: NULs where a batch should be",
    ),
    "a batch": (
        [Image(FIRST.name, FIRST.data[:B] + FIRST.data[C:]), SECOND],
        f"{FIRST.name}, byte {B}: batch 2 is missing",
    ),
    "batches": (
        [Image(FIRST.name, FIRST.data[:B]), SECOND],
        f"{SECOND.name}, byte 0: batches 2 to 3 are missing",
    ),
    "a segment": ([SECOND], f"{segment_name(1)}, byte 0: the segment is missing"),
    "nothing left of a file": (
        [Image(FIRST.name, b""), SECOND],
        f"{FIRST.name}, byte 0: the file is empty",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_all_that_read_a_log_have_the_same_name_for_a_damage(
    command: Command, log: LogDirectory, case: str
) -> None:
    images, name = CASES[case]
    log.put(*images)
    where, _, problem = name.partition(": ")

    with pytest.raises(LogCorruptError) as refused:
        JobQueue(Config(persist_path=log.path), handler=len)
    assert f"the log {log.path} is corrupt: {name}" in str(refused.value)
    assert name in command("inspect").err
    assert name in command("cat").err
    for reader in ("verify", "repair"):
        found = command(reader, "--json").object["damages"][0]
        assert f"{found['file']}, byte {found['offset']}" == where
        assert found["problem"].partition("; ")[0] == problem
    assert command("verify").lines[-1].startswith("corrupt: ")
