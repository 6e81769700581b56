from __future__ import annotations

import re
import sys
import tracemalloc
from typing import TYPE_CHECKING
from unittest.mock import patch
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.final.wal.files import Files
from jobqueue.final.wal.format import codec
from jobqueue.final.wal.format.codec import Header, encode_batch, encode_header
from jobqueue.final.wal.format.record import Enqueued
from jobqueue.final.wal.names import LogFile
from jobqueue.final.wal.reading import scan as scan_module
from jobqueue.final.wal.reading.scan import Batches, Damage, scan
from tests.support import insides
from tests.support.logs import Image, job, segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NULS = b"\0" * 700


@pytest.fixture
def image() -> Image:
    """A segment of four batches, of 1, 2, 0 and 1 records."""
    return segment(1, 1, [[job(1)], [job(2), job(3)], [], [job(4)]])


def scanned(directory: Path, data: bytes) -> list[Header | Batches | Damage]:
    path = directory / "segment"
    path.write_bytes(data)
    return list(scan(Files(), LogFile(str(path), 1)))


def numbers_in(items: list[Header | Batches | Damage]) -> list[int]:
    return [n for item in items if isinstance(item, Batches) for n in item.numbers]


def damage_in(items: list[Header | Batches | Damage]) -> list[tuple[int, int]]:
    return [(item.offset, item.end) for item in items if isinstance(item, Damage)]


def check_offsets(items: list[Header | Batches | Damage], data: bytes) -> None:
    """Each batch is where it says, and damage fills exactly what is between batches."""
    for item in items:
        if isinstance(item, Batches):
            for index, covered in enumerate(item.covered):
                start, end = item.offset_of(index), item.offset_of(index + 1)
                assert data[start:end].startswith(covered)
                assert data[:end].endswith(b',"crc":%d}\n' % item.crcs[index])


def test_a_sound_file_is_its_header_and_its_batches(tmp_path: Path, image: Image) -> None:
    header, batches = scanned(tmp_path, image.data)
    assert header == Header(1, 1, 1, None)
    assert isinstance(batches, Batches)
    assert batches.numbers == [1, 2, 3, 4]
    assert batches.counts == [1, 2, 0, 1]
    assert batches.synced == [0, 1, 2, 3]
    assert [batches.offset_of(index) for index in range(5)] == [*image.starts, len(image.data)]
    assert batches.texts[2] == b""
    assert len(batches) == 4


def test_part_of_the_batches_knows_its_place(tmp_path: Path, image: Image) -> None:
    _, batches = scanned(tmp_path, image.data)
    assert isinstance(batches, Batches)
    part = batches.part(1, 3)
    assert part.numbers == [2, 3]
    assert part.offset == image.starts[1]
    assert part.offset_of(2) == image.starts[3]


@pytest.mark.parametrize("chunk", [1, 7, 100, 1000])
def test_batches_may_lie_across_the_chunks_that_are_read(
    tmp_path: Path, image: Image, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*insides.chunk_bytes(), chunk)
    items = scanned(tmp_path, image.data)
    assert numbers_in(items) == [1, 2, 3, 4]
    assert damage_in(items) == []
    check_offsets(items, image.data)


@pytest.mark.usefixtures("no_tracer")
@pytest.mark.parametrize("index", range(4))
def test_other_batches_are_found_whatever_bit_of_one_flips(
    tmp_path: Path, image: Image, index: int
) -> None:
    others = {1, 2, 3, 4} - {index + 1}
    start = image.starts[index]
    for place in range(start, start + len(image.batch(index))):
        data = bytearray(image.data)
        data[place] ^= 1 << (place % 8)
        items = scanned(tmp_path, bytes(data))
        assert set(numbers_in(items)) == others
        assert len(damage_in(items)) == 1
        assert damage_in(items)[0][0] == start
        check_offsets(items, bytes(data))


@pytest.mark.usefixtures("no_tracer")
@pytest.mark.slow
def test_other_batches_are_found_whatever_bit_flips(tmp_path: Path, image: Image) -> None:
    for place in range(image.starts[0], len(image.data)):
        for bit in range(8):
            data = bytearray(image.data)
            data[place] ^= 1 << bit
            assert len(numbers_in(scanned(tmp_path, bytes(data)))) == 3


def test_batches_are_found_behind_a_damaged_header(tmp_path: Path, image: Image) -> None:
    for place in range(image.starts[0]):
        data = bytearray(image.data)
        data[place] ^= 1
        items = scanned(tmp_path, bytes(data))
        assert numbers_in(items) == [1, 2, 3, 4]
        assert damage_in(items) == [(0, image.starts[0])]


def test_garbage_between_batches_is_told_with_its_place(tmp_path: Path, image: Image) -> None:
    at = image.starts[2]
    for garbage in (b"garbage\n", b"garbage", b"\n\n", NULS, b'{"commit":1,"records":9}\n'):
        data = image.data[:at] + garbage + image.data[at:]
        items = scanned(tmp_path, data)
        assert numbers_in(items) == [1, 2, 3, 4]
        assert damage_in(items) == [(at, at + len(garbage))]
        check_offsets(items, data)


def test_a_record_that_looks_like_a_batch_end_does_not_mislead(
    tmp_path: Path, image: Image
) -> None:
    odd = b'{"op":"later","crc":5}\n'
    head = b'{"commit":5,"records":1,"synced":0'
    data = image.data + b'%b%b,"crc":%d}\n' % (odd, head, crc32(odd + head))
    items = scanned(tmp_path, data)
    assert numbers_in(items) == [1, 2, 3, 4, 5]
    assert damage_in(items) == []


def test_a_tail_of_nuls_is_told_apart_from_other_damage(tmp_path: Path, image: Image) -> None:
    for size in (1, 4096, 65536, 3 << 20):
        *_, damage = scanned(tmp_path, image.data + b"\0" * size)
        assert isinstance(damage, Damage)
        assert damage.nuls
        assert (damage.offset, damage.end) == (len(image.data), len(image.data) + size)
    for junk in (NULS + b"x" + NULS, b"\0" * (1 << 20) + b"x", b"x" + b"\0" * (1 << 20)):
        *_, damage = scanned(tmp_path, image.data + junk)
        assert isinstance(damage, Damage)
        assert not damage.nuls


def test_nuls_before_a_whole_batch_do_not_hide_it(tmp_path: Path, image: Image) -> None:
    data = image.data + NULS + encode_batch([job(5)], 5, 0)
    items = scanned(tmp_path, data)
    assert numbers_in(items) == [1, 2, 3, 4, 5]
    assert damage_in(items) == [(len(image.data), len(image.data) + len(NULS))]


def test_a_repeated_header_is_passed_over(tmp_path: Path, image: Image) -> None:
    data = image.data * 3 + encode_header(1, 1)
    items = scanned(tmp_path, data)
    assert numbers_in(items) == [1, 2, 3, 4] * 3
    assert damage_in(items) == []
    check_offsets(items, data)


def test_a_header_that_is_repeated_very_often_costs_no_more_than_its_bytes(
    tmp_path: Path,
) -> None:
    data = encode_header(1, 1) * 50_000
    (header,) = scanned(tmp_path, data)
    assert isinstance(header, Header)


def test_an_empty_file_is_damaged(tmp_path: Path) -> None:
    (damage,) = scanned(tmp_path, b"")
    assert isinstance(damage, Damage)
    assert (damage.offset, damage.end, damage.nuls) == (0, 0, False)


def test_a_file_of_another_version_is_not_read_further(tmp_path: Path, image: Image) -> None:
    head = b'{"format":"jobqueue-log","version":2'
    data = b'%b,"crc":%d}\n' % (head, crc32(head))
    (header,) = scanned(tmp_path, data + image.data)
    assert isinstance(header, Header)
    assert header.version == 2


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_no_garbage_is_taken_for_a_batch(
    tmp_path_factory: pytest.TempPathFactory, before: bytes, after: bytes
) -> None:
    batch = encode_batch([job(1)], 1, 0)
    data = encode_header(1, 1) + before + b"\n" + batch + after
    items = scanned(tmp_path_factory.mktemp("log"), data)
    assert numbers_in(items) == [1]
    check_offsets(items, data)


def test_memory_is_bounded_by_the_largest_batch_not_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    with path.open("wb") as file:
        file.write(encode_header(1, 1))
        for number in range(1, 41):
            file.write(encode_batch([job(n) for n in range(1, 2000)], number, 0))
        file.truncate(1 << 30)  # NULs that take no room on the disk
    tracemalloc.start()
    try:
        items = scan(Files(), LogFile(str(path), 1))
        next(items)
        for _ in range(4):
            next(items)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
        items.close()


def test_what_is_no_batch_does_not_pile_up_in_memory(
    tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "BATCH_BYTES_MAX", 100_000)
    monkeypatch.setattr(*insides.chunk_bytes(), 10_000)
    garbage = b"no newline here " * 200_000
    data = image.data + garbage + b"\n" + encode_batch([job(5)], 5, 0)
    (tmp_path / "segment").write_bytes(data)
    tracemalloc.start()
    try:
        items = list(scan(Files(), LogFile(str(tmp_path / "segment"), 1)))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert numbers_in(items) == [1, 2, 3, 4, 5]
    assert damage_in(items) == [(len(image.data), len(image.data) + len(garbage) + 1)]


def test_a_huge_batch_is_read_in_few_pieces(tmp_path: Path) -> None:
    reads = []

    class Counting(Files):
        def read(self, fd: int, size: int, offset: int) -> bytes:
            reads.append(size)
            return super().read(fd, size, offset)

    batch = encode_batch([Enqueued(1, "a", 1, 1.0, payload="x" * (8 << 20))], 1, 0)
    (tmp_path / "segment").write_bytes(encode_header(1, 1) + batch)
    items = list(scan(Counting(), LogFile(str(tmp_path / "segment"), 1)))
    assert numbers_in(items) == [1]
    assert len(reads) < 12


def test_a_file_is_closed_when_the_walk_is_given_up(tmp_path: Path, image: Image) -> None:
    closed = []

    class Watched(Files):
        def close(self, fd: int) -> None:
            closed.append(fd)
            super().close(fd)

    (tmp_path / "segment").write_bytes(image.data)
    walk = scan(Watched(), LogFile(str(tmp_path / "segment"), 1))
    next(walk)
    walk.close()
    assert len(closed) == 1


# ── what a hostile file costs ────────────────────────────────────────────────────────────────

WRONG = b'{"commit":1,"records":0,"synced":0,"crc":1}\n'
HOSTILE = {
    "commit lines whose checksum is wrong": WRONG,
    "commit lines of more records than there are": WRONG.replace(
        b":0,", b":999999999999999999,", 1
    ),
    "ends of commit lines": b',"crc":1}\n',
    "beginnings of commit lines": b'{"commit":1,"records":0,"synced":',
    "records without a commit line": b'{"op":\n',
    "empty lines and a commit line": b"\n" * 1000 + WRONG.replace(b":0,", b":999,", 1),
    "a record glued to a commit line": b'{"op":\n' + WRONG.replace(b":0,", b":1,", 1),
    "headers": encode_header(1, 1),
    "one batch again and again": encode_batch((), 1, 0),
    "one batch again and again among damage": encode_batch((), 1, 0) + WRONG,
}
"""What is repeated; each once cost a thousand times as much as to read it."""
HOSTILE_BYTES = 200_000
each_hostile = pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)


def hostile_file(directory: Path, line: bytes, size: int) -> LogFile:
    path = directory / f"hostile {size}"
    path.write_bytes(encode_header(1, 1) + b"damaged\n" + line * (size // len(line)))
    return LogFile(str(path), 1)


@each_hostile
def test_a_hostile_file_is_walked_in_little_more_memory_than_its_size(
    tmp_path: Path, line: bytes
) -> None:
    """Fault 38 of docs/reliability.md.

    The bytes behind the last commit line are kept, since a batch may end behind them. They are
    twice there while more is added.
    """
    file = hostile_file(tmp_path, line, HOSTILE_BYTES)
    with patch.object(*insides.chunk_bytes(), 4096):
        tracemalloc.start()
        try:
            for _ in scan(Files(), file):
                pass
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 3 * HOSTILE_BYTES


def test_a_batch_without_records_counts_only_with_its_checksum(tmp_path: Path) -> None:
    items = list(scan(Files(), hostile_file(tmp_path, WRONG + encode_batch((), 7, 0) + WRONG, 150)))
    assert numbers_in(items) == [7]
    assert len(damage_in(items)) == 2


class Looked:
    """A pattern that counts the bytes that it looks through."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.bytes = 0
        self._pattern = pattern

    def split(self, data: bytes) -> list[bytes]:
        self.bytes += len(data)
        return self._pattern.split(data)

    def finditer(self, data: bytes, start: int) -> Iterator[re.Match[bytes]]:
        self.bytes += len(data) - start
        return self._pattern.finditer(data, start)


@each_hostile
def test_no_byte_of_a_hostile_file_is_looked_through_often(tmp_path: Path, line: bytes) -> None:
    """Fault 38 of docs/reliability.md."""
    file = hostile_file(tmp_path, line, HOSTILE_BYTES)
    ends, lines = Looked(codec.BATCH_END), Looked(codec.COMMIT_LINE)
    with (
        patch.object(*insides.chunk_bytes(), 4096),
        patch.object(scan_module, "BATCH_END", ends),
        patch.object(scan_module, "COMMIT_LINE", lines),
    ):
        for _ in scan(Files(), file):
            pass
    assert ends.bytes < 3 * HOSTILE_BYTES
    assert lines.bytes < 3 * HOSTILE_BYTES


@each_hostile
def test_each_line_of_a_hostile_file_costs_a_few_calls(tmp_path: Path, line: bytes) -> None:
    """Fault 38 of docs/reliability.md."""
    file = hostile_file(tmp_path, line, HOSTILE_BYTES // 10)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    profile = sys.getprofile()
    sys.setprofile(count)
    try:
        for _ in scan(Files(), file):
            pass
    finally:
        sys.setprofile(profile)
    assert calls < 40 * (HOSTILE_BYTES // 10 // len(line)) + 200
