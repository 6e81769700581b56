"""`jobqueue log compact`: one snapshot of what is still needed, instead of all segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ..final.wal.maintenance.snapshot import compact as replace_by_snapshot
from ..final.wal.maintenance.snapshot import free_inodes
from ..final.wal.names import list_present
from ..final.wal.reading.closed import write_closed
from ..final.wal.reading.cut import distrust_memory
from ..final.wal.reading.replay import replay
from .access import Log, owned_log
from .changes import make_ready, start_segment
from .exits import Exit
from .screen import Screen, count_text, printable, size_text

if TYPE_CHECKING:
    from argparse import Namespace


def compact(arguments: Namespace) -> Exit:
    """Compact a log that no process uses."""
    with owned_log(arguments) as log:
        files_before, bytes_before = _size(log)
        _compact(log, arguments.status_retention)
        files_after, bytes_after = _size(log)
    screen = Screen(as_json=arguments.json)
    if screen.as_json:
        fields = {
            "log": log.directory,
            "files_before": files_before,
            "bytes_before": bytes_before,
            "files_after": files_after,
            "bytes_after": bytes_after,
        }
        screen.tell(fields)
    else:
        before = f"{count_text(files_before, 'file')}, {size_text(bytes_before)}"
        after = f"{count_text(files_after, 'file')}, {size_text(bytes_after)}"
        screen.show(Text(f"{printable(log.directory)}: {before} before; {after} now"))
    return Exit.OK


def _compact(log: Log, status_retention: int) -> None:
    distrust_memory(log.files, log.directory)
    reading = replay(log.files, log.directory)
    for _ in reading:
        pass
    make_ready(log, reading)
    if reading.next_segment == 1:
        return  # all there was is torn
    free_inodes(log.files, log.directory, status_retention, log.room)
    # A snapshot is always followed by a segment: what it replaces is sealed, and one is active.
    start_segment(log, reading).finish()
    write_closed(log.files, log.directory, reading.next_segment, reading.last)
    log.room.provide(
        lambda: replace_by_snapshot(
            log.files, log.directory, reading.next_segment - 1, status_retention
        )
    )


def _size(log: Log) -> tuple[int, int]:
    listing = list_present(log.files, log.directory)
    paths = [file.path for file in listing.files] + listing.stale
    return len(paths), sum(map(log.files.size_of, paths))
