"""Changes to a log that is locked, step by step as a queue makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..final.wal.appender import Appender, open_appender
from ..final.wal.files import path_in
from ..final.wal.format.codec import encode_batch, encode_header
from ..final.wal.names import segment_name
from ..final.wal.reading.closed import write_closed
from ..final.wal.reading.cut import recover
from ..final.wal.reading.replay import Replay
from .access import torn_note
from .screen import complain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..final.wal.format.record import Record
    from .access import Log


def make_ready(log: Log, reading: Replay) -> None:
    """Cut off what is torn, as a start does, and say so.

    Args:
        reading: of the whole log, at its end.
    """
    torn = torn_note(log, reading)
    copies = log.room.provide(lambda: recover(log.files, log.directory, reading.torn))
    if torn is not None and copies:
        complain(f"note: {torn}; it was cut off and kept in {', '.join(copies)}")


def start_segment(log: Log, reading: Replay) -> Appender:
    """Start the next segment of a log that is ready; all before it is on the disk."""
    number = reading.next_segment
    path = path_in(log.directory, segment_name(number))
    header = encode_header(number, reading.last + 1)
    return log.room.provide(lambda: open_appender(log.files, path, header, mapped=False))


def append(log: Log, reading: Replay, records: Sequence[Record]) -> None:
    """Write one batch into a segment of its own, fsync it and seal the segment."""
    number = reading.last + 1
    appender = start_segment(log, reading)
    try:
        batch = encode_batch(records, number, reading.last)
        log.room.provide(lambda: appender.append(batch))
        appender.sync_or_raise()
        end = encode_batch([], number + 1, number)
        log.room.provide(lambda: appender.append(end))
    except BaseException:
        appender.abandon()
        raise
    appender.finish()
    write_closed(log.files, log.directory, reading.next_segment, number + 1)
