"""Walks one log file from start to end and tells whole batches from damage.

It knows nothing of the order of batches and never raises on damage: after some it finds the next
whole batch again, by the commit line that says how many lines before it belong to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING
from zlib import crc32

from .codec import (
    BATCH_BYTES_MAX,
    COMMIT_PATTERN,
    VERSION,
    Header,
    decode_crcs,
    decode_heads,
    parse_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .files import Files
    from .segment import LogFile

__all__ = ["Batches", "Damage", "scan"]

_CHUNK_BYTES = 1 << 18
_HEADER_BYTES_MAX = 512
_KEPT_BYTES = 4096
"""When too much that is no batch has piled up, this much of it is looked at again."""

_COMMIT_TAIL_BYTES = len(b',"crc":}\n')
_RECORD_START = b'{"op":'


@dataclass(slots=True)
class Batches:
    """Whole batches that follow each other without a gap between their bytes.

    The lists have one entry for each batch: its number, its number of records, its `synced`, its
    CRC, its record lines, and its commit line up to the CRC.
    """

    file: LogFile
    offset: int
    numbers: list[int]
    counts: list[int]
    synced: list[int]
    crcs: list[int]
    bodies: list[bytes]
    heads: list[bytes]
    _offsets: list[int] = field(default_factory=list)  # filled when first asked for

    def __len__(self) -> int:
        return len(self.numbers)

    def offset_of(self, index: int) -> int:
        """Return where in the file a batch begins; `len(self)` gives the end of the last one."""
        if not self._offsets:
            columns = zip(self.bodies, self.heads, self.crcs, strict=True)
            sizes = (len(b) + len(h) + len(str(c)) + _COMMIT_TAIL_BYTES for b, h, c in columns)
            self._offsets = list(accumulate(sizes, initial=self.offset))
        return self._offsets[index]

    def part(self, start: int, stop: int) -> Batches:
        """Return some of the batches."""
        if start == 0 and stop == len(self):
            return self
        where = slice(start, stop)
        return Batches(
            self.file,
            self.offset_of(start),
            self.numbers[where],
            self.counts[where],
            self.synced[where],
            self.crcs[where],
            self.bodies[where],
            self.heads[where],
        )


@dataclass(slots=True)
class Damage:
    """Bytes that belong to no whole batch; `nuls` where they are nothing but NULs."""

    file: LogFile
    offset: int
    end: int
    problem: str
    nuls: bool


def scan(files: Files, file: LogFile) -> Iterator[Header | Batches | Damage]:
    """Walk a file in bounded memory: its header if it is sound, then batches and damage in order.

    A header line that is repeated later (the file was concatenated with itself) is passed over.
    Damage never touches damage. A file of another version yields its header alone.

    Raises:
        OSError: the file cannot be read.
    """
    fd = files.open_read(file.path)
    try:
        yield from _Scanner(files, file, fd).items()
    finally:
        files.close(fd)


class _Scanner:
    """One walk through one file."""

    def __init__(self, files: Files, file: LogFile, fd: int) -> None:
        self._files = files
        self._file = file
        self._fd = fd
        self._header = b""
        self._damage: Damage | None = None  # not told yet: it may still grow

    def items(self) -> Iterator[Header | Batches | Damage]:
        header = self._read_header()
        if header is not None:
            yield header
            if header.version != VERSION:
                return
        offset = len(self._header)
        rest = b""
        # Reading as much as is left over keeps the cost of a huge batch linear.
        while chunk := self._files.read(self._fd, max(_CHUNK_BYTES, len(rest)), offset + len(rest)):
            rest += chunk
            parts = COMMIT_PATTERN.split(rest)
            yield from self._batches(parts, offset)
            offset += len(rest) - len(parts[-1])
            rest = parts[-1]
            skipped = self._skip(rest, offset)
            offset += skipped
            rest = rest[skipped:]
        yield from self._tail(rest, offset)

    def _read_header(self) -> Header | None:
        start = self._files.read(self._fd, _HEADER_BYTES_MAX, 0)
        line = start[: start.find(b"\n") + 1]
        header = parse_header(line)
        if header is not None:
            self._header = line
        return header

    def _skip(self, rest: bytes, offset: int) -> int:
        """Take bytes off a rest in which no batch can end any more; return how many."""
        if not rest.strip(b"\0"):
            skipped = len(rest)
        elif len(rest) > BATCH_BYTES_MAX:
            skipped = len(rest) - _KEPT_BYTES
        else:
            return 0
        if skipped:
            self._add_damage(offset, rest[:skipped], "bytes that are no batch")
        return skipped

    def _tail(self, rest: bytes, offset: int) -> Iterator[Damage]:
        end = offset + len(rest)
        rest = self._skip_headers(rest)
        if rest:
            self._add_damage(end - len(rest), rest, "a batch that was cut short")
        elif end == 0:
            self._damage = Damage(self._file, 0, 0, "the file is empty", nuls=False)
        yield from self._told_damage()

    def _skip_headers(self, data: bytes) -> bytes:
        while self._header and data.startswith(self._header):
            data = data[len(self._header) :]
        return data

    def _add_damage(self, offset: int, data: bytes, problem: str) -> None:
        nuls = not data.strip(b"\0")
        if self._damage is None:
            problem = "NULs where a batch should be" if nuls else problem
            self._damage = Damage(self._file, offset, offset + len(data), problem, nuls)
        else:
            self._damage.end = offset + len(data)
            self._damage.nuls = self._damage.nuls and nuls

    def _told_damage(self) -> Iterator[Damage]:
        damage, self._damage = self._damage, None
        if damage is not None:
            yield damage

    def _batches(self, parts: list[bytes], offset: int) -> Iterator[Batches | Damage]:
        """Check what ends in a commit line, all at once, or one by one where that fails."""
        heads = parts[1::3]
        if not heads:
            return
        found = Batches(
            self._file, offset, *decode_heads(heads), decode_crcs(parts[2::3]), parts[:-1:3], heads
        )
        if _all_whole(found):
            yield from self._told_damage()
            yield found
        else:
            yield from self._one_by_one(found)

    def _one_by_one(self, found: Batches) -> Iterator[Batches | Damage]:
        for index in range(len(found)):
            batch = found.part(index, index + 1)
            self._drop_front(batch, len(batch.bodies[0]) - len(self._skip_headers(batch.bodies[0])))
            start = _find_start(batch)
            if start is None:
                text = batch.bodies[0] + batch.heads[0]
                self._add_damage(batch.offset, text, "a batch whose checksum is wrong")
                continue
            if start:
                self._add_damage(batch.offset, batch.bodies[0][:start], "bytes that are no batch")
                self._drop_front(batch, start)
            yield from self._told_damage()
            yield batch

    def _drop_front(self, batch: Batches, size: int) -> None:
        """Leave the first bytes before a batch out of it."""
        batch.offset += size
        batch.bodies[0] = batch.bodies[0][size:]


def _all_whole(found: Batches) -> bool:
    pairs = zip(found.bodies, found.heads, strict=True)
    return [crc32(head, crc32(body)) for body, head in pairs] == found.crcs


def _find_start(batch: Batches) -> int | None:
    """Find where in the bytes before its commit line a batch starts; `None`: it is damaged."""
    body, head, crc = batch.bodies[0], batch.heads[0], batch.crcs[0]
    line = _start_of_lines(body, batch.counts[0])
    if line is None:
        return None
    candidates = [line]
    if line < len(body):
        # The line may be glued to what came before it, when that lost its newline.
        candidates.append(body.rfind(_RECORD_START, line, body.find(b"\n", line)))
    for start in candidates:
        if start >= 0 and crc32(head, crc32(body[start:])) == crc:
            return start
    return None


def _start_of_lines(body: bytes, count: int) -> int | None:
    """Return where the last `count` lines of `body` start."""
    start = len(body)
    if count and not body.endswith(b"\n"):
        return None
    for _ in range(count):
        if start == 0:
            return None
        start = body.rfind(b"\n", 0, start - 1) + 1
    return start
