"""Records to lines and back; commit and header lines with their checksums.

Lines are encoded and decoded by msgspec if it can be had, else by the standard library
(`stdlib_codec`), to the same bytes. Everything that a log can hold is untrusted: whatever is
wrong with a line, decoding raises `RecordError` and nothing else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol
from zlib import crc32

from . import record as _record
from .base import HAVE_MSGSPEC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .record import Record

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_END",
    "COMMIT_LINE",
    "COMMIT_LINE_BYTES_MAX",
    "VERSION",
    "Header",
    "Lines",
    "RecordError",
    "UnencodableError",
    "decode_crcs",
    "decode_heads",
    "decode_lines",
    "encode_batch",
    "encode_header",
    "lines",
    "parse_header",
]

VERSION = 1
BATCH_BYTES_MAX = 1 << 30
"""No batch may be larger: it bounds the memory that reading a damaged file takes."""

_N = rb"(?:0|[1-9][0-9]{0,18})"

BATCH_END = re.compile(rb',"crc":([0-9]{1,10})\}\n')
"""What follows the bytes that a CRC covers. Quick to find, but a record might hold it too."""

COMMIT_LINE = re.compile(
    rb'(\{"commit":(%b),"records":(%b),"synced":(%b)),"crc":(0|[1-9][0-9]{0,9})\}\n' % ((_N,) * 3)
)
"""A commit line. Groups: its head, which is all of it that the CRC covers; the four numbers."""

COMMIT_LINE_BYTES_MAX = 110
"""No commit line is longer than this."""

_HEAD = b'{"commit":,"records":,"synced":'
"""A head without its numbers."""

_HEADER_PATTERN = re.compile(
    rb'(\{"format":"jobqueue-log","version":(%b)(,[^\n]*)?),"crc":(0|[1-9][0-9]{0,9})\}\n' % _N
)
"""Groups: all that the CRC covers, version, the rest (which depends on the version), crc."""

_NUMBERS_PATTERN = re.compile(
    rb',"segment":(%b),"first":(%b)|,"snapshot":(%b),"first":(%b),"next":(%b)' % ((_N,) * 5)
)


class RecordError(ValueError):
    """A batch whose checksum is right holds something that is no record."""


class UnencodableError(ValueError):
    """Some records cannot be encoded; those beside them can.

    Attributes:
        errors: what is wrong with each, by its place in the batch.
    """

    def __init__(self, errors: dict[int, Exception]) -> None:
        super().__init__(f"{len(errors)} records cannot be encoded")
        self.errors = errors


class Header(NamedTuple):
    """A parsed header line.

    `number` is the segment's or the snapshot's; `first` the number of the first batch in the
    file. `next` is `None` in a segment; in a snapshot it is the number of the first batch of the
    segment that follows.
    """

    version: int
    number: int
    first: int
    next: int | None


class Lines(Protocol):
    """A codec of record lines, each of which ends with a newline; usable from any thread."""

    def encode(self, records: Sequence[Record]) -> bytes:
        """Return one line for each record."""
        ...

    def decode(self, data: bytes) -> list[Record]:
        """Return the records of `data`; raises `ValueError` or `RecursionError`."""
        ...

    def integers(self, data: bytes) -> list[int]:
        """Decode a JSON array of integers that is known to be one."""
        ...


class _MsgspecLines:
    """msgspec's codec: one call for any number of lines."""

    def __init__(self) -> None:
        from msgspec import json

        self.encode = json.Encoder().encode_lines
        self.decode = json.Decoder(_record.Record).decode_lines
        self.integers = json.Decoder(list[int]).decode


def _make_lines() -> Lines:
    if HAVE_MSGSPEC:
        return _MsgspecLines()
    from .stdlib_codec import StdlibLines  # here, since it takes a while to import

    return StdlibLines()


lines = _make_lines()
"""The codec in use."""


def decode_lines(data: bytes) -> list[Record]:
    """Decode record lines.

    Raises:
        RecordError: whatever is wrong with them.
    """
    try:
        return lines.decode(data)
    except (ValueError, RecursionError, OverflowError) as error:
        raise RecordError(str(error)) from error


def encode_batch(records: Sequence[Record], number: int, synced: int) -> bytes:
    """Return a whole batch: record lines and commit line.

    Args:
        records: may be empty; the batch then only carries `synced`.
        number: the batch's number.
        synced: number of the last batch known to be fsynced, 0 for none; below `number`.

    Raises:
        UnencodableError: it names the records that keep the batch from being encoded.
    """
    # guard: msgspec is given no tuple
    #   without: listed = records
    # It would leak 48 bytes at each call (0.22).
    listed = records if isinstance(records, list) else list(records)
    try:
        body = lines.encode(listed)
    except Exception as error:
        errors = _unencodable(listed)
        if not errors:  # as if there is no memory for all of them at once
            raise
        raise UnencodableError(errors) from error
    head = b'{"commit":%d,"records":%d,"synced":%d' % (number, len(records), synced)
    return b'%b%b,"crc":%d}\n' % (body, head, crc32(head, crc32(body)))


def _unencodable(records: list[Record]) -> dict[int, Exception]:
    """What is wrong with each record that cannot be encoded, by its place."""
    errors: dict[int, Exception] = {}
    for place, record in enumerate(records):
        try:
            lines.encode([record])
        except Exception as error:  # noqa: BLE001  # whatever the value in it raises
            errors[place] = error
    return errors


def encode_header(number: int, first: int, next_batch: int | None = None) -> bytes:
    """Return the header line of a segment, or of a snapshot if `next_batch` is given."""
    kind = b"segment" if next_batch is None else b"snapshot"
    head = b'{"format":"jobqueue-log","version":%d,"%b":%d,"first":%d' % (
        VERSION,
        kind,
        number,
        first,
    )
    if next_batch is not None:
        head += b',"next":%d' % next_batch
    return b'%b,"crc":%d}\n' % (head, crc32(head))


def decode_crcs(column: list[bytes]) -> list[int]:
    """Convert CRCs, all in one call; raises `ValueError`."""
    return lines.integers(b"[%b]" % b",".join(column))


def decode_heads(heads: Sequence[bytes]) -> tuple[list[int], list[int], list[int]]:
    """Take the heads of commit lines apart, all in one call.

    Returns:
        Numbers, numbers of records, and `synced`.

    Raises:
        ValueError: there is something else than numbers in the places of numbers.
    """
    joined = b",".join(heads)
    if joined.translate(None, b"0123456789") != b",".join([_HEAD] * len(heads)):
        raise ValueError("not the head of a commit line")
    numbers = lines.integers(b"[%b]" % joined.translate(None, _HEAD.replace(b",", b"")))
    return numbers[0::3], numbers[1::3], numbers[2::3]


def parse_header(line: bytes) -> Header | None:
    """Parse a header line with its newline, or return `None` if anything in it is wrong.

    A version that is not `VERSION` is the caller's to refuse; its numbers are all 0.
    """
    match = _HEADER_PATTERN.fullmatch(line)
    if match is None or crc32(match[1]) != int(match[4]):
        return None
    version = int(match[2])
    if version != VERSION:
        return Header(version, 0, 0, None)
    numbers = _NUMBERS_PATTERN.fullmatch(match[3] or b"")
    if numbers is None:
        return None
    if numbers[1] is not None:
        return Header(version, int(numbers[1]), int(numbers[2]), None)
    return Header(version, int(numbers[3]), int(numbers[4]), int(numbers[5]))
