from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from jobqueue.final.wal.format.record import Completed, Enqueued, Record, Retried, payload_bytes
from jobqueue.final.wal.names import segment_name
from jobqueue.final.wal.reading.closed import CLOSED_NAME, Closed, read_closed
from tests.support.logs import Image, LogDirectory

DOC = (Path(__file__).parents[4] / "docs" / "wal_format.md").read_text(encoding="utf-8")


EXAMPLES = re.findall(r"```json\n(.*?)```", DOC, re.DOTALL)


def test_the_mark_of_a_close_in_the_documentation_is_a_real_one(log: LogDirectory) -> None:
    (log.path / CLOSED_NAME).write_text(EXAMPLES[0])
    assert read_closed(log.files, str(log.path)) == Closed(9, 1204)


def test_the_segment_in_the_documentation_is_a_real_one(log: LogDirectory) -> None:
    _, example = EXAMPLES
    log.put(Image(segment_name(1), example.encode()))
    reading = log.open()
    assert [type(r) for r in reading.records] == [Enqueued, Enqueued, Completed, Retried]
    second = reading.records[1]
    assert isinstance(second, Enqueued)
    assert payload_bytes(second) == b"\x89PNG\r\n\x1a\n"
    assert (reading.last, reading.torn) == (3, None)


def test_every_record_and_field_is_documented() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", DOC, re.MULTILINE))
    for cls in get_args(Record):
        row = rows[cls.__name__.lower()]
        for name in cls.__struct_fields__:
            assert name == "job" or f"`{name}`" in row
