"""Walks one log file from start to end and tells whole batches from damage.

It knows nothing of the order of batches and never raises on damage. Behind damage it finds the
next whole batch by its commit line, which says how many lines before it belong to the batch.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING
from zlib import crc32

from ..format.codec import (
    BATCH_BYTES_MAX,
    BATCH_END,
    COMMIT_LINE,
    COMMIT_LINE_BYTES_MAX,
    VERSION,
    Header,
    decode_crcs,
    decode_heads,
    parse_header,
)

if TYPE_CHECKING:
    import re
    from collections.abc import Generator, Iterator, Sequence

    from ..files import Files
    from ..names import LogFile

__all__ = ["Batches", "Damage", "blames_the_file", "scan"]

_CHUNK_BYTES = 1 << 18
_HEADER_BYTES_MAX = 512
_KEPT_BYTES = 4096
"""When too much that is no batch has piled up, this much of it is looked at again."""

_RECORD_START = b'{"op":'
_NEWLINE = ord("\n")

_NO_LOG_FILE = frozenset({errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.EMLINK, errno.ENXIO})


def blames_the_file(error: OSError) -> bool:
    """Tell whether something else than a regular file is in a log file's place."""
    return error.errno in _NO_LOG_FILE


@dataclass(slots=True)
class Batches:
    """Whole batches that follow each other without a gap between their bytes.

    The lists have one entry for each batch: its number, its number of records, its `synced`, its
    CRC, the bytes that the CRC covers, and its record lines without the last newline.
    """

    file: LogFile
    offset: int
    numbers: list[int]
    counts: list[int]
    synced: list[int]
    crcs: list[int]
    covered: Sequence[bytes]
    texts: Sequence[bytes]
    _offsets: list[int] = field(default_factory=list)  # filled when first asked for

    def __len__(self) -> int:
        return len(self.numbers)

    def offset_of(self, index: int) -> int:
        """Return where in the file a batch begins; `len(self)` gives the end of the last one."""
        if not self._offsets:
            columns = zip(self.covered, self.crcs, strict=True)
            sizes = (len(covered) + len(b',"crc":%d}\n' % crc) for covered, crc in columns)
            self._offsets = list(accumulate(sizes, initial=self.offset))
        return self._offsets[index]

    def singly(self) -> Iterator[Batches]:
        """Yield each batch by itself."""
        return (self.part(index, index + 1) for index in range(len(self)))

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
            self.covered[where],
            self.texts[where],
        )


@dataclass(slots=True)
class Damage:
    """Bytes that belong to no whole batch; `nuls` if they are nothing but NULs."""

    file: LogFile
    offset: int
    end: int
    problem: str
    nuls: bool


def scan(files: Files, file: LogFile) -> Generator[Header | Batches | Damage, None, None]:
    """Walk a file in bounded memory: its header if it is sound, then batches and damage in order.

    A header line that is repeated later (the file was concatenated with itself) is passed over.
    Damage never touches damage. A file of another version yields its header alone. The file is
    open until the end, or until the generator is closed.

    Raises:
        OSError: the file cannot be read; the error names it.
    """
    fd = files.open_read(file.path)
    try:
        yield from _Scanner(files, file, fd).items()
    finally:
        files.close(fd)


def _read(files: Files, file: LogFile, fd: int, size: int, offset: int) -> bytes:
    """Read a part of a file; an error names the file and, if the disk is failing, the way out."""
    try:
        return files.read(fd, size, offset)
    except OSError as error:
        problem = error.strerror
        if error.errno == errno.EIO:
            problem = (
                f"the disk cannot read it near byte {offset} ({error.strerror}); copy the log's "
                "directory to a sound disk, this file with ddrescue, then repair the copy"
            )
        raise OSError(error.errno, problem, file.path) from error


class _Scanner:
    """One walk through one file."""

    def __init__(self, files: Files, file: LogFile, fd: int) -> None:
        self._files = files
        self._file = file
        self._fd = fd
        self._header = b""
        self._offset = 0  # where in the file `_rest` begins
        self._rest = b""  # what has been read and not told of
        self._searched = 0  # how much of `_rest` holds no beginning of a commit line
        self._damage: Damage | None = None  # not told of yet: it may still grow

    def items(self) -> Iterator[Header | Batches | Damage]:
        header = self._read_header()
        if header is not None:
            yield header
            if header.version != VERSION:
                return
        while self._read_more():
            self._skip_headers()
            # guard: what grows is not taken apart anew each time
            #   without: whole = self._take_whole()
            whole = self._take_whole() if len(self._rest) <= _CHUNK_BYTES * 2 else None
            if whole is None:
                yield from self._take_damaged()
            elif whole:
                yield from self._told_damage()
                yield whole
            self._skip_hopeless()
        yield from self._tail()

    def _read_header(self) -> Header | None:
        start = _read(self._files, self._file, self._fd, _HEADER_BYTES_MAX, 0)
        line = start[: start.find(b"\n") + 1]
        header = parse_header(line)
        if header is not None:
            self._header = line
            self._offset = len(line)
        return header

    def _read_more(self) -> bool:
        # Reading as much as is left over keeps the cost of a huge batch linear.
        size = max(_CHUNK_BYTES, len(self._rest))
        offset = self._offset + len(self._rest)
        chunk = _read(self._files, self._file, self._fd, size, offset)
        self._rest += chunk
        return bool(chunk)

    def _drop(self, size: int) -> None:
        self._offset += size
        self._rest = self._rest[size:]
        self._searched = max(0, self._searched - size)

    def _take_whole(self) -> Batches | None:
        """Take all batches off the rest, all at once; `None` if anything is unusual."""
        parts = BATCH_END.split(self._rest)
        covered = parts[:-1:2]
        try:
            crcs = decode_crcs(parts[1::2])
            if list(map(crc32, covered)) != crcs:  # guard: checksum test of batches in a row
                return None
            split = [data.rpartition(b"\n") for data in covered]
            numbers = decode_heads([head for _, _, head in split])
        except ValueError:
            return None
        texts = [text for text, _, _ in split]
        found = Batches(self._file, self._offset, *numbers, crcs, covered, texts)
        self._drop(len(self._rest) - len(parts[-1]))
        return found

    def _take_damaged(self) -> Iterator[Batches | Damage]:
        """Take what ends in commit lines off the rest, one by one.

        Nothing is kept of what was looked through, and nothing is looked through twice: the rest
        may be large, and hold nothing but commit lines.
        """
        rest, begin, base = self._rest, 0, self._offset
        for match in COMMIT_LINE.finditer(rest, self._searched):
            begin += self._headers_at(rest, begin, match.start())
            start = _find_start(rest, begin, match)
            if start is None:
                self._add_damage(
                    base + begin, base + match.end(), "a batch whose checksum is wrong"
                )
            else:
                if start > begin:
                    nuls = not rest[begin:start].strip(b"\0")
                    self._add_damage(base + begin, base + start, "bytes that are no batch", nuls)
                yield from self._told_damage()
                self._offset = base + start
                yield self._one_batch(rest[start : match.start()], match)
            begin = match.end()
        self._offset, self._rest = base + begin, rest[begin:]
        self._searched = max(0, len(self._rest) - COMMIT_LINE_BYTES_MAX)

    def _one_batch(self, body: bytes, line: re.Match[bytes]) -> Batches:
        number, count, synced, crc = map(int, line.groups()[1:])
        covered, text = body + line[1], body[:-1]
        return Batches(
            self._file, self._offset, [number], [count], [synced], [crc], [covered], [text]
        )

    def _headers_at(self, data: bytes, start: int, end: int) -> int:
        """Size of the header lines that come again: the file was concatenated with itself."""
        size, header = 0, self._header
        while header and data.startswith(header, start + size, end):
            size += len(header)
        return size

    def _skip_headers(self) -> None:
        """Leave such header lines out at the start of the rest."""
        size = self._headers_at(self._rest, 0, len(self._rest))
        if size:
            self._drop(size)

    def _skip_hopeless(self) -> None:
        """Take bytes off the rest in which no batch can end any more."""
        size = len(self._rest)
        nuls = not self._rest.strip(b"\0")
        if not nuls:
            size = size - _KEPT_BYTES if size > BATCH_BYTES_MAX else 0
        if size:
            self._add_damage(self._offset, self._offset + size, "bytes that are no batch", nuls)
            self._drop(size)

    def _tail(self) -> Iterator[Damage]:
        self._skip_headers()
        end = self._offset + len(self._rest)
        if self._rest:
            nuls = not self._rest.strip(b"\0")
            self._add_damage(self._offset, end, "a batch that was cut short", nuls)
        elif end == 0:
            self._damage = Damage(self._file, 0, 0, "the file is empty", nuls=False)
        yield from self._told_damage()

    def _add_damage(self, start: int, end: int, problem: str, nuls: bool = False) -> None:
        """Note that what stands there in the file belongs to no batch."""
        if self._damage is None:
            problem = "NULs where a batch should be" if nuls else problem
            self._damage = Damage(self._file, start, end, problem, nuls)
        else:
            self._damage.end = end
            self._damage.nuls = self._damage.nuls and nuls

    def _told_damage(self) -> Iterator[Damage]:
        damage, self._damage = self._damage, None
        if damage is not None:
            if damage.offset == 0 < damage.end and not damage.nuls:
                damage.problem = "the header is damaged"
            yield damage


def _find_start(data: bytes, begin: int, line: re.Match[bytes]) -> int | None:
    """Find where a batch starts whose commit line was found; `None`: it is damaged."""
    head, end, count, crc = line[1], line.start(), int(line[3]), int(line[5])
    if not count or begin == end:
        # guard: checksum test of a batch without records beside damage
        #   without: whole = not count
        whole = not count and crc32(head) == crc
        return end if whole else None
    first = _start_of_lines(data, begin, end, count)
    if first is None:
        return None
    # The first line may be glued to what came before it, when that lost its newline.
    glued = data.rfind(_RECORD_START, first, data.find(b"\n", first, end))
    for start in (first, glued):
        # guard: checksum test of a batch beside damage
        #   without: if start >= 0:
        if start >= 0 and crc32(head, crc32(memoryview(data)[start:end])) == crc:
            return start
    return None


def _start_of_lines(data: bytes, begin: int, end: int, count: int) -> int | None:
    """Return where the last `count` lines between two places start; `count` is above 0."""
    if data[end - 1] != _NEWLINE:
        return None
    left = count + 1  # newlines from the end, to the one before the first of these lines
    while end > begin:
        start = max(begin, end - _KEPT_BYTES)
        found = data.count(b"\n", start, end)
        if found >= left:
            return start + len(data[start:end].rsplit(b"\n", left)[0]) + 1
        left -= found
        end = start
    return begin if left == 1 else None
