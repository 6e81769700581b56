from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobqueue.final.errors import LogCorruptError
from jobqueue.final.wal.format.codec import encode_batch, encode_header
from jobqueue.final.wal.format.record import Record
from jobqueue.final.wal.names import segment_name, snapshot_name
from jobqueue.final.wal.reading.closed import CLOSED_NAME
from jobqueue.final.wal.reading.damage_scan import FINDINGS_MAX, DamageScan, Lost
from jobqueue.final.wal.reading.walk import Finding
from tests.support.left_out import often
from tests.support.logs import HastyFiles, Image, LogDirectory, done, job, segment, snapshot

if TYPE_CHECKING:
    from pathlib import Path


def scan(log: LogDirectory, *, growing: bool = False) -> tuple[list[Record], DamageScan]:
    """Walk through a log to its end."""
    walk = DamageScan(log.files, str(log.path), growing=growing)
    return [record for records in walk for record in records], walk


def problems(log: LogDirectory, *, growing: bool = False) -> list[str]:
    """What is wrong, each as FILE:OFFSET-END PROBLEM."""
    _, walk = scan(log, growing=growing)
    return [f"{f.file}:{f.offset}-{f.end} {f.problem}" for f in walk.findings]


def two_segments() -> tuple[Image, Image]:
    return segment(1, 1, [[job(1)], [job(2)], []]), segment(2, 4, [[job(3), done(1)], [done(2)]])


ALL: list[Record] = [job(1), job(2), job(3), done(1), done(2)]


# What is no damage


def test_a_sound_log_gives_all_its_records_and_no_finding(log: LogDirectory) -> None:
    log.put(*two_segments())
    records, walk = scan(log)
    assert records == ALL
    assert walk.findings == []
    assert walk.lost == []
    assert walk.batches == 5


def test_a_snapshot_comes_before_the_segments_that_follow_it(log: LogDirectory) -> None:
    log.put(snapshot(3, 40, [[job(1)], [job(2)]]), segment(4, 40, [[done(2)]]))
    records, walk = scan(log)
    assert records == [job(1), job(2), done(2)]
    assert walk.findings == []
    assert walk.lost == []


def test_what_a_file_holds_is_counted(log: LogDirectory) -> None:
    first, second = two_segments()
    log.put(first, second)
    _, walk = scan(log)
    counts = [(f.file.name, f.bytes, f.batches, f.records, f.last) for f in walk.files]
    assert counts == [
        (first.name, len(first.data), 3, 2, 3),
        (second.name, len(second.data), 2, 3, 5),
    ]


def test_reserved_space_at_the_end_of_a_segment_is_no_damage(log: LogDirectory) -> None:
    first, second = two_segments()
    log.put(Image(first.name, first.data + bytes(5000)), Image(second.name, second.data + bytes(9)))
    records, walk = scan(log)
    assert records == ALL
    assert walk.findings == []


def test_a_repetition_is_left_out_and_no_damage(log: LogDirectory) -> None:
    first, second = two_segments()
    log.put(Image(first.name, first.data * 2), second)
    records, walk = scan(log)
    assert records == ALL
    assert walk.findings == []
    assert walk.batches == 5


def test_a_repetition_behind_the_end_of_a_snapshot_is_no_damage(log: LogDirectory) -> None:
    whole = snapshot(3, 40, [[job(1)], [job(2)]])
    log.put(Image(whole.name, whole.data + whole.batch(0)), segment(4, 40, [[done(2)]]))
    records, walk = scan(log)
    assert records == [job(1), job(2), done(2)]
    assert walk.findings == []
    assert is_sound(log)


def test_an_empty_directory_has_nothing_wrong_with_it(log: LogDirectory) -> None:
    records, walk = scan(log)
    assert (records, walk.findings, walk.lost) == ([], [], [])


@pytest.mark.parametrize("size", [0, 1, 40, 90])
def test_the_end_of_a_log_in_use_is_being_written(log: LogDirectory, size: int) -> None:
    first, second = two_segments()
    log.put(first, Image(second.name, second.data[: len(second.data) - 120 + size]))
    assert problems(log)
    assert problems(log, growing=True) == []


def test_damage_before_the_end_of_a_log_in_use_is_damage(log: LogDirectory) -> None:
    first, second = two_segments()
    start, end = first.starts[0], first.starts[1]
    log.put(Image(first.name, first.data[: start + 3] + b"?" + first.data[start + 4 :]), second)
    assert problems(log, growing=True) == [
        f"{first.name}:{start}-{end} a batch whose checksum is wrong; batch 1 is missing"
    ]


# Each damage by its place


@pytest.mark.slow
def test_a_flipped_bit_costs_its_batch_alone(tmp_path: Path) -> None:
    log = LogDirectory(tmp_path)
    whole = segment(1, 1, [[job(1)], [done(1)], [job(3)], [done(3)]])
    start, end = whole.starts[1], whole.starts[2]
    kept = [job(1), job(3), done(3)]
    for bit in range(start * 8, end * 8):
        data = bytearray(whole.data)
        data[bit // 8] ^= 1 << bit % 8
        log.put(Image(whole.name, bytes(data)))
        records, walk = scan(log)
        assert records == kept, bit
        assert [(f.file, f.offset, f.end) for f in walk.findings] == [(whole.name, start, end)], bit
        assert walk.lost == [Lost(2, 2, in_snapshot=False)]


def test_each_of_many_damages_is_named(log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(number)] for number in range(1, 8)])
    data = bytearray(whole.data)
    for index in (1, 3, 4):
        data[whole.starts[index] + 30] ^= 1
    log.put(Image(whole.name, bytes(data)))
    records, walk = scan(log)
    assert records == [job(1), job(3), job(6), job(7)]
    assert walk.findings == [
        Finding(
            whole.name,
            whole.starts[1],
            whole.starts[2],
            "a batch whose checksum is wrong; batch 2 is missing",
        ),
        Finding(
            whole.name,
            whole.starts[3],
            whole.starts[5],
            "a batch whose checksum is wrong; batches 4 to 5 are missing",
        ),
    ]
    assert walk.lost == [Lost(2, 2, in_snapshot=False), Lost(4, 5, in_snapshot=False)]


def test_a_batch_that_was_cut_out_is_missing_at_the_seam(log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)], [job(3)]])
    seam = whole.starts[1]
    log.put(Image(whole.name, whole.data[:seam] + whole.batch(2)))
    assert problems(log) == [f"{whole.name}:{seam}-{seam} batch 2 is missing"]


def test_a_segment_that_lost_its_end_misses_what_the_next_header_tells_of(
    log: LogDirectory,
) -> None:
    first, second = two_segments()
    start = first.starts[1]
    log.put(Image(first.name, first.data[: start + 5]), second)
    records, walk = scan(log)
    assert records == [job(1), job(3), done(1), done(2)]
    assert walk.findings == [
        Finding(
            first.name,
            start,
            start + 5,
            "a batch that was cut short; batches 2 to 3 are missing",
        )
    ]


def test_a_sealed_segment_that_ends_in_nuls_instead_of_its_batches_is_damaged(
    log: LogDirectory,
) -> None:
    first, second = two_segments()
    start, size = first.starts[2], len(first.data)
    log.put(Image(first.name, first.data[:start] + bytes(size - start)), second)
    assert problems(log) == [
        f"{first.name}:{start}-{size} NULs where a batch should be; batch 3 is missing"
    ]


def test_nuls_between_batches_are_damage(log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)]])
    seam = whole.starts[1]
    log.put(Image(whole.name, whole.data[:seam] + bytes(10) + whole.data[seam:]))
    assert problems(log) == [f"{whole.name}:{seam}-{seam + 10} NULs where a batch should be"]


def test_a_torn_end_is_named(log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)]])
    log.put(Image(whole.name, whole.data[:-5]))
    size = len(whole.data) - 5
    assert problems(log) == [f"{whole.name}:{whole.starts[1]}-{size} a batch that was cut short"]


def test_a_damaged_header_costs_no_batch(log: LogDirectory) -> None:
    first, second = two_segments()
    log.put(first, Image(second.name, b"?" + second.data[1:]))
    records, walk = scan(log)
    assert records == ALL
    assert walk.findings == [Finding(second.name, 0, second.starts[0], "the header is damaged")]
    assert walk.lost == []


def test_space_before_a_segment_whose_header_is_damaged_is_no_damage_of_its_own(
    log: LogDirectory,
) -> None:
    first, second = two_segments()
    log.put(Image(first.name, first.data + bytes(100)), Image(second.name, b"?" + second.data[1:]))
    assert problems(log) == [f"{second.name}:0-{second.starts[0]} the header is damaged"]


def test_an_empty_segment_that_was_sealed_is_damage(log: LogDirectory) -> None:
    first, second = two_segments()
    log.put(Image(first.name, b""), second)
    assert problems(log) == [f"{first.name}:0-0 the file is empty; batches 1 to 3 are missing"]


def test_a_header_of_another_file_is_told_and_its_batches_are_kept(log: LogDirectory) -> None:
    first, second = two_segments()
    log.put(first, Image(second.name, encode_header(7, 4) + second.data[second.starts[0] :]))
    records, walk = scan(log)
    assert records == ALL
    assert [f.problem for f in walk.findings] == ["the header is that of another file"]


def test_impossible_numbers_in_a_header_are_told(log: LogDirectory) -> None:
    log.put(Image(segment_name(1), encode_header(1, 0)))
    assert problems(log) == [f"{segment_name(1)}:0-0 the header's batch numbers are impossible"]


def test_a_segment_that_starts_too_early_is_told(log: LogDirectory) -> None:
    first, _ = two_segments()
    late = segment(2, 2, [[job(3)]])
    log.put(first, late)
    _, walk = scan(log)
    assert [f.problem for f in walk.findings] == [
        "it starts with batch 2; batch 4 should follow",
        "another batch with the number 2",
    ]
    assert [f.whole for f in walk.findings] == [False, True]


def test_a_missing_segment_is_told_and_what_follows_is_read(log: LogDirectory) -> None:
    first, _ = two_segments()
    log.put(first, segment(4, 9, [[done(3)]]))
    records, walk = scan(log)
    assert records == [job(1), job(2), done(3)]
    assert [(f.file, f.problem) for f in walk.findings] == [
        (segment_name(2), f"the segment is missing, and so are all up to {segment_name(3)}"),
        (segment_name(4), "batches 4 to 8 are missing"),
    ]
    assert walk.lost == [Lost(4, 8, in_snapshot=False)]


def test_a_snapshot_without_the_segment_that_follows_is_told(log: LogDirectory) -> None:
    log.put(snapshot(3, 40, [[job(1)]]))
    assert problems(log) == [f"{segment_name(4)}:0-0 the segment is missing"]


def test_damage_in_a_snapshot_is_lost_from_the_snapshot(log: LogDirectory) -> None:
    whole = snapshot(3, 40, [[job(1)], [job(2)]])
    data = bytearray(whole.data)
    data[whole.starts[0] + 20] ^= 1
    log.put(Image(whole.name, bytes(data)), segment(4, 40, [[done(2)]]))
    records, walk = scan(log)
    assert records == [job(2), done(2)]
    assert walk.lost == [Lost(1, 1, in_snapshot=True)]


def test_a_snapshot_that_was_cut_between_batches_is_told(log: LogDirectory) -> None:
    whole = snapshot(3, 40, [[job(1)], [job(2)]])
    end = whole.starts[2]
    log.put(Image(whole.name, whole.data[:end]), segment(4, 40, []))
    assert problems(log) == [
        f"{snapshot_name(3)}:{end}-{end} the snapshot does not end as a snapshot does"
    ]


def test_nuls_at_the_end_of_a_snapshot_are_damage(log: LogDirectory) -> None:
    whole = snapshot(3, 40, [[job(1)]])
    size = len(whole.data)
    log.put(Image(whole.name, whole.data + bytes(5)), segment(4, 40, []))
    assert problems(log) == [f"{whole.name}:{size}-{size + 5} NULs where a batch should be"]


def test_behind_a_snapshot_without_header_numbers_start_where_the_segment_says(
    log: LogDirectory,
) -> None:
    whole = snapshot(3, 40, [[job(1)]])
    log.put(Image(whole.name, b"?" + whole.data[1:]), segment(4, 40, [[job(2)], [done(1)]]))
    records, walk = scan(log)
    assert records == [job(1), job(2), done(1)]
    assert [f.problem for f in walk.findings] == ["the header is damaged"]
    assert walk.lost == []


def test_a_batch_that_comes_late_is_told_and_kept(log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)], [job(3)]])
    head, late = whole.data[: whole.starts[1]], whole.batch(1)
    log.put(Image(whole.name, head + whole.batch(2) + late))
    records, walk = scan(log)
    assert records == [job(1), job(3), job(2)]
    assert [f.problem for f in walk.findings] == [
        "batch 2 is missing",
        "batch 2 stands behind batch 3",
    ]
    assert walk.lost == []


def test_a_batch_from_before_the_snapshot_is_told_and_nothing_else_is_missing(
    log: LogDirectory,
) -> None:
    late = segment(4, 40, [[job(2)]])
    late.add(encode_batch([job(7)], 5, 0))
    log.put(snapshot(3, 40, [[job(1)]]), late)
    records, walk = scan(log)
    assert records == [job(1), job(2), job(7)]
    assert [f.problem for f in walk.findings] == ["batch 5 stands behind batch 40"]
    assert walk.lost == []
    assert not is_sound(log)


def test_the_first_batch_behind_a_snapshot_may_not_come_from_before_it(log: LogDirectory) -> None:
    log.put(snapshot(3, 40, [[job(1)]]), segment(4, 40, []))
    path = log.path / segment_name(4)
    path.write_bytes(path.read_bytes() + encode_batch([job(7)], 5, 0))
    _, walk = scan(log)
    assert [f.problem for f in walk.findings] == ["batch 5 stands behind batch 39"]
    assert not is_sound(log)


def test_another_batch_with_the_same_number_is_told_and_kept(log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)]])
    other = encode_batch([job(7)], 2, 1)
    log.put(Image(whole.name, whole.data + other))
    records, walk = scan(log)
    assert records == [job(1), job(2), job(7)]
    size = len(whole.data)
    problem = "another batch with the number 2"
    assert walk.findings == [Finding(whole.name, size, size + len(other), problem, whole=True)]


def test_a_batch_that_says_it_is_on_the_disk_itself_is_told_and_kept(log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)]], synced=lambda number: number))
    records, walk = scan(log)
    assert records == [job(1)]
    assert [f.whole for f in walk.findings] == [True]


@pytest.mark.parametrize(
    "text",
    [b'{"op":"unheard of"}\n', b"{}\n", b'{"op":"completed","job":-1}\n', b"[" * 5000 + b"\n"],
)
def test_a_record_that_is_none_costs_its_batch(log: LogDirectory, text: bytes) -> None:
    body = text + b'{"commit":2,"records":1,"synced":1'
    bad = b'%b,"crc":%d}\n' % (body, crc32(body))
    whole = segment(1, 1, [[job(1)]])
    data = whole.data + bad + encode_batch([job(3)], 3, 2)
    log.put(Image(whole.name, data))
    records, walk = scan(log)
    assert records == [job(1), job(3)]
    (finding,) = walk.findings
    start = len(whole.data)
    assert (finding.offset, finding.end, finding.whole) == (start, start + len(bad), False)
    assert finding.problem.startswith("a record that cannot be decoded")
    assert walk.lost == [Lost(2, 2, in_snapshot=False)]
    assert walk.batches == 2


def test_a_batch_with_a_blank_line_for_a_record_is_told(log: LogDirectory) -> None:
    body = b'\n{"commit":1,"records":1,"synced":0'
    log.put(Image(segment_name(1), encode_header(1, 1) + b'%b,"crc":%d}\n' % (body, crc32(body))))
    _, walk = scan(log)
    assert [f.problem for f in walk.findings] == ["it should hold 1 records and holds 0"]


def test_a_file_of_another_version_is_told(log: LogDirectory) -> None:
    head = b'{"format":"jobqueue-log","version":2,"shape":"new"'
    log.put(Image(segment_name(1), b'%b,"crc":%d}\n' % (head, crc32(head))))
    assert problems(log) == [f"{segment_name(1)}:0-0 its format version is 2, this release reads 1"]


# What cannot be read


def test_a_symbolic_link_is_told_and_the_rest_is_read(log: LogDirectory, tmp_path: Path) -> None:
    first, second = two_segments()
    log.put(first, second)
    (tmp_path / first.name).rename(tmp_path / "elsewhere")
    (tmp_path / first.name).symlink_to("elsewhere")
    records, walk = scan(log)
    assert records == [job(3), done(1), done(2)]
    assert walk.findings[0].file == first.name
    assert "symbolic link" in walk.findings[0].problem


class Failing(HastyFiles):
    """Files of which one cannot be opened, or be read."""

    def __init__(self, method: str, number: int) -> None:
        self._method = method
        self._errno = number

    def open_read(self, path: str) -> int:
        if self._method == "open_read":
            raise OSError(self._errno, os.strerror(self._errno), path)
        return super().open_read(path)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        if self._method == "read":
            raise OSError(self._errno, os.strerror(self._errno))
        return super().read(fd, size, offset)


@pytest.mark.parametrize("method", ["open_read", "read"])
@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ENOENT, errno.ENOMEM]
)
def test_an_error_that_is_not_the_files_own_is_raised(
    tmp_path: Path, method: str, number: int
) -> None:
    log = LogDirectory(tmp_path, Failing(method, number))
    log.put(segment(1, 1, [[job(1)]]))
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        scan(log)
    assert caught.value.errno == number
    first = CLOSED_NAME if method == "open_read" and number != errno.ENOENT else segment_name(1)
    assert caught.value.filename == str(tmp_path / first)


# It and a start are of one mind


def is_sound(log: LogDirectory) -> bool:
    """Whether a start would change nothing but reserved space."""
    try:
        torn = log.read().torn
    except LogCorruptError:
        return False
    return torn is None or not any(cut.keep for cut in torn.cuts)


IMAGES = (
    snapshot(1, 3, [[job(1), job(2)], [done(1)]]),
    segment(2, 3, [[job(3)], [job(4), done(3)]]),
    segment(3, 5, []),
    segment(4, 5, [[], [job(5)]]),
)
SIZES = [len(image.data) for image in IMAGES]

KINDS = ["flip", "cut", "nuls", "all nuls", "append nuls", "append text", "double", "drop", "gone"]

damages = st.lists(
    st.tuples(
        st.sampled_from(range(len(IMAGES))),
        st.sampled_from(KINDS),
        st.integers(0, max(SIZES) - 1),
        st.integers(1, 200),
    ),
    max_size=3,
)


def apply(data: bytes | None, kind: str, offset: int, size: int) -> bytes | None:
    """What is left of a file; `None`: nothing."""
    if data is None or kind == "gone":
        return None
    offset %= len(data) or 1
    match kind:
        case "flip" if data:
            return data[:offset] + bytes([data[offset] ^ (1 << size % 8)]) + data[offset + 1 :]
        case "cut":
            return data[:offset]
        case "nuls":
            return data[:offset] + bytes(len(data[offset : offset + size])) + data[offset + size :]
        case "all nuls":
            return bytes(len(data))
        case "append nuls":
            return data + bytes(size)
        case "append text":
            return data + b"x" * size
        case "double":
            return data * 2
        case "drop":
            return data[:offset] + data[offset + size :]
    return data


@pytest.fixture(scope="module")
def reused(tmp_path_factory: pytest.TempPathFactory) -> LogDirectory:
    """A log whose files each example writes anew."""
    return LogDirectory(tmp_path_factory.mktemp("log"))


@pytest.mark.usefixtures("no_tracer")
@pytest.mark.slow
@settings(max_examples=often(150, 500))
@given(plan=damages)
@example(plan=[(1, "append nuls", 0, 1), (2, "all nuls", 0, 1), (3, "all nuls", 0, 1)])
def test_there_is_a_finding_just_where_a_start_would_refuse_or_cut(
    reused: LogDirectory, plan: list[tuple[int, str, int, int]]
) -> None:
    """Fault 36 of docs/reliability.md. And a start that refuses changes nothing."""
    log = reused
    for path in log.path.iterdir():
        path.unlink()
    contents: list[bytes | None] = [image.data for image in IMAGES]
    for index, kind, offset, size in plan:
        contents[index] = apply(contents[index], kind, offset, size)
    for image, data in zip(IMAGES, contents, strict=True):
        if data is not None:
            log.put(Image(image.name, data))
    before = log.content()
    records, walk = scan(log)
    assert (walk.findings == []) is is_sound(log)
    if not walk.findings:
        assert records == log.read().records
    try:
        opened = log.open()
    except LogCorruptError:
        assert log.content() == before
    else:
        assert log.read().records == opened.records
        assert scan(log)[1].findings == []


def test_of_very_many_damages_the_last_is_told_with_how_many_follow(log: LogDirectory) -> None:
    """Fault 38 of docs/reliability.md."""
    sound = encode_batch((), 1, 0)
    damaged = b"x" * 10
    count = FINDINGS_MAX + 7
    log.put(Image(segment_name(1), encode_header(1, 1) + (sound + damaged) * count))
    _, walk = scan(log)
    assert len(walk.findings) == FINDINGS_MAX
    assert walk.findings[-1].problem.endswith("; and 7 more damages from here on")
    assert walk.bytes_lost == len(damaged) * count
