from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.final.errors import LogCorruptError
from jobqueue.final.wal.format import codec
from jobqueue.final.wal.format.codec import encode_batch, encode_header
from jobqueue.final.wal.format.record import NUMBER_MAX, Discarded, Record
from jobqueue.final.wal.format.stdlib_codec import StdlibLines
from jobqueue.final.wal.names import segment_name, snapshot_name
from jobqueue.final.wal.reading.replay import Replay
from tests.support.logs import Image, LogDirectory, done, job, nothing, previous, segment, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS: list[list[Record]] = [[job(1)], [job(2), job(3)], [done(1)], [job(4)]]
ALL = [record for batch in JOBS for record in batch]
NULS = b"\0" * 700


def cut(image: Image, size: int) -> Image:
    return Image(image.name, image.data[:size])


def extended(image: Image, data: bytes) -> Image:
    return Image(image.name, image.data + data)


def flipped(image: Image, place: int, bit: int = 0) -> Image:
    data = bytearray(image.data)
    data[place] ^= 1 << bit
    return Image(image.name, bytes(data))


def refused(log: LogDirectory) -> LogCorruptError:
    """The error; nothing was modified."""
    before = log.content()
    with pytest.raises(LogCorruptError) as caught:
        log.open()
    assert log.content() == before
    assert caught.value.path == str(log.path)
    return caught.value


def where_refused(log: LogDirectory) -> tuple[str, int]:
    """The file and the offset that the error names; for loops over many damages."""
    with pytest.raises(LogCorruptError) as caught:
        log.read()
    return caught.value.segment, caught.value.offset


# Sound logs


def test_a_new_directory_is_an_empty_log(log: LogDirectory) -> None:
    reading = log.open()
    assert (reading.records, reading.last, reading.next_segment, reading.torn) == ([], 0, 1, None)


def test_records_come_back_in_order_across_segments(log: LogDirectory) -> None:
    log.put(segment(1, 1, JOBS[:2]), segment(2, 3, JOBS[2:]))
    reading = log.open()
    assert reading.records == ALL
    assert (reading.last, reading.next_segment, reading.torn) == (4, 3, None)


def test_a_segment_without_batches_is_sound(log: LogDirectory) -> None:
    log.put(segment(1, 1, []), segment(2, 1, JOBS), segment(3, 5, []))
    reading = log.open()
    assert reading.records == ALL
    assert (reading.last, reading.next_segment, reading.torn) == (4, 4, None)


def test_a_snapshot_stands_for_the_segments_before_it(log: LogDirectory) -> None:
    log.put(segment(1, 1, [[Discarded(9)]]), snapshot(2, 30, JOBS[:3]), segment(3, 30, JOBS[3:]))
    reading = log.open()
    assert reading.records == ALL
    assert (reading.last, reading.next_segment, reading.torn) == (30, 4, None)
    assert not (log.path / segment_name(1)).exists()


def test_a_closed_log_can_be_carried_on(log: LogDirectory) -> None:
    log.put(segment(1, 1, JOBS[:3]))
    log.append(log.open(), *JOBS[3])
    assert log.open().records == ALL


def test_reading_changes_nothing(log: LogDirectory) -> None:
    log.put(extended(segment(1, 1, JOBS, nothing), b"garbage"))
    before = log.content()
    assert log.read().torn is not None
    assert log.content() == before


@pytest.mark.parametrize("through", [1, 2])
def test_the_last_segments_may_be_left_out(log: LogDirectory, through: int) -> None:
    log.put(segment(1, 1, JOBS[:2]), segment(2, 3, JOBS[2:3]), extended(segment(3, 4, []), b"{"))
    reading = Replay(log.files, str(log.path), through)
    expected = [record for batch in JOBS[: through + 1] for record in batch]
    assert [record for records in reading for record in records] == expected


@pytest.mark.parametrize("junk", [b"garbage", NULS])
def test_only_preallocated_space_may_follow_the_last_segment_that_is_read(
    log: LogDirectory, junk: bytes
) -> None:
    image = extended(segment(1, 1, JOBS), junk)
    log.put(image, segment(2, 5, []))
    reading = Replay(log.files, str(log.path), 1)
    if junk == NULS:
        assert [record for records in reading for record in records] == ALL
    else:
        with pytest.raises(LogCorruptError, match="sealed"):
            list(reading)


# Repetitions


@pytest.mark.parametrize("times", [2, 3])
def test_a_file_concatenated_with_itself_counts_once(log: LogDirectory, times: int) -> None:
    """Fault 5 of docs/reliability.md."""
    image = segment(1, 1, JOBS)
    log.put(Image(image.name, image.data * times), segment(2, 5, []))
    reading = log.open()
    assert reading.records == ALL
    assert reading.torn is None


def test_a_snapshot_concatenated_with_itself_counts_once(log: LogDirectory) -> None:
    image = snapshot(1, 5, JOBS)
    log.put(Image(image.name, image.data * 2), segment(2, 5, []))
    assert log.open().records == ALL


def test_single_batches_that_are_repeated_count_once(log: LogDirectory) -> None:
    """Fault 5 of docs/reliability.md."""
    first, second = segment(1, 1, JOBS[:2]), segment(2, 3, JOBS[2:])
    first.add(first.batch(0))
    first.add(first.batch(1))
    second.add(first.batch(0))
    second.add(second.batch(1))
    log.put(first, second)
    reading = log.open()
    assert reading.records == ALL
    assert (reading.last, reading.torn) == (4, None)


def test_another_batch_under_a_known_number_is_damage(log: LogDirectory) -> None:
    image = segment(1, 1, JOBS, nothing)
    end = len(image.data)
    image.add(encode_batch([job(9)], 2, 0))
    log.put(image)
    reading = log.open()
    assert reading.records == ALL
    assert reading.torn is not None
    assert "another batch with the number 2" in reading.torn.problem
    assert reading.torn.cuts[0].offset == end


def test_another_batch_under_a_known_number_is_corruption_where_more_was_promised(
    log: LogDirectory,
) -> None:
    image = segment(1, 1, JOBS)
    end = len(image.data)
    image.add(encode_batch([job(9)], 2, 1))
    image.add(encode_batch([job(5)], 5, 4))
    image.add(encode_batch([job(6)], 6, 5))
    log.put(image)
    assert refused(log).offset == end


# Torn tails


def check_torn(log: LogDirectory, name: str, kept: bytes, lost: bytes) -> None:
    """After opening, the file ends where it should and the rest is set aside; it goes on."""
    reading = log.open()
    assert reading.torn is not None
    content = log.content()
    assert content[name] == kept
    if lost:
        assert content[f"{name}.torn"] == lost
    else:
        assert f"{name}.torn" not in content
    assert log.open().torn is None
    log.append(reading, job(99))
    again = log.open()
    assert again.records == [*reading.records, job(99)]
    assert again.torn is None


def test_a_last_batch_that_is_cut_anywhere_is_cut_off_and_kept_aside(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Fault 2 of docs/reliability.md."""
    image = segment(1, 1, [*JOBS[:2], [Discarded(1)]])
    start = image.starts[-1]
    for size in range(start + 1, len(image.data)):
        log = LogDirectory(tmp_path_factory.mktemp("log"))
        log.put(cut(image, size))
        check_torn(log, image.name, image.data[:start], image.data[start:size])


@pytest.mark.parametrize("size", [1, 512, 4095, 4096, 65536])
def test_a_tail_of_nuls_is_cut_off_without_a_copy(log: LogDirectory, size: int) -> None:
    """Fault 3 of docs/reliability.md."""
    image = segment(1, 1, JOBS)
    log.put(extended(image, b"\0" * size))
    check_torn(log, image.name, image.data, b"")


@pytest.mark.parametrize("size", [1, 4096, 65536])
def test_half_a_batch_and_nuls_are_cut_off_and_kept_aside(log: LogDirectory, size: int) -> None:
    """Fault 3 of docs/reliability.md."""
    image = segment(1, 1, JOBS)
    half = len(image.data) - 20
    log.put(extended(cut(image, half), b"\0" * size))
    start = image.starts[-1]
    check_torn(log, image.name, image.data[:start], image.data[start:half] + b"\0" * size)


def test_nuls_inside_the_last_batch_are_torn(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fault 3 of docs/reliability.md."""
    image = segment(1, 1, JOBS)
    start = image.starts[-1]
    for size in range(1, len(image.data) - start, 3):
        log = LogDirectory(tmp_path_factory.mktemp("log"))
        data = image.data[:start] + b"\0" * size + image.data[start + size :]
        log.put(Image(image.name, data))
        check_torn(log, image.name, image.data[:start], data[start:])


@pytest.mark.parametrize("junk", [b"\n", b"{}\n", b"\xff", NULS + b"x"])
def test_garbage_behind_the_last_batch_is_cut_off_and_kept_aside(
    log: LogDirectory, junk: bytes
) -> None:
    image = segment(1, 1, JOBS)
    log.put(extended(image, junk))
    check_torn(log, image.name, image.data, junk)


@pytest.mark.parametrize("size", [1, 200])
def test_whole_batches_behind_a_hole_are_torn_where_nothing_was_promised(
    log: LogDirectory, size: int
) -> None:
    image = segment(1, 1, JOBS, nothing)
    hole = image.starts[1]
    data = image.data[:hole] + b"\0" * size + image.data[hole + size :]
    log.put(Image(image.name, data))
    check_torn(log, image.name, image.data[:hole], data[hole:])


def test_nuls_in_place_of_a_batch_are_kept_aside_with_the_batches_behind_them(
    log: LogDirectory,
) -> None:
    image = segment(1, 1, JOBS, nothing)
    a, b = image.starts[1:3]
    data = image.data[:a] + b"\0" * (b - a) + image.data[b:]
    log.put(Image(image.name, data))
    check_torn(log, image.name, image.data[:a], data[a:])


def test_a_missing_batch_is_torn_where_nothing_was_promised(log: LogDirectory) -> None:
    image = segment(1, 1, JOBS, nothing)
    a, b = image.starts[1:3]
    log.put(Image(image.name, image.data[:a] + image.data[b:]))
    check_torn(log, image.name, image.data[:a], image.data[b:])


@pytest.mark.parametrize("left", [b"", NULS, b"half a header", encode_header(2, 5)[:-1]])
def test_a_last_segment_without_its_header_is_removed(log: LogDirectory, left: bytes) -> None:
    image = segment(1, 1, JOBS)
    log.put(image, Image(segment_name(2), left))
    reading = log.open()
    assert reading.records == ALL
    assert reading.next_segment == 2
    copies = {f"{segment_name(2)}.torn": left} if left.strip(b"\0") else {}
    assert log.content() == {image.name: image.data, **copies}


def test_a_first_segment_without_its_header_is_removed(log: LogDirectory) -> None:
    log.put(Image(segment_name(1), b'{"format'))
    reading = log.open()
    assert (reading.records, reading.next_segment) == ([], 1)
    assert log.content() == {f"{segment_name(1)}.torn": b'{"format'}


def test_batches_behind_a_damaged_header_are_torn_where_nothing_was_promised(
    log: LogDirectory,
) -> None:
    image = flipped(segment(2, 3, JOBS[2:], nothing), 5)
    log.put(segment(1, 1, JOBS[:2]), image)
    reading = log.open()
    assert reading.records == [record for batch in JOBS[:2] for record in batch]
    assert log.content()[f"{image.name}.torn"] == image.data


def test_the_rest_of_a_torn_log_is_cut_in_all_files(log: LogDirectory) -> None:
    first = segment(1, 1, JOBS, nothing)
    log.put(extended(first, b"torn"), Image(segment_name(2), b"torn too"))
    reading = log.open()
    assert reading.records == ALL
    assert log.content() == {
        first.name: first.data,
        f"{first.name}.torn": b"torn",
        f"{segment_name(2)}.torn": b"torn too",
    }


def test_preallocated_space_of_sealed_segments_is_cut_off(log: LogDirectory) -> None:
    first, second = segment(1, 1, JOBS[:2]), segment(2, 3, JOBS[2:3])
    log.put(extended(first, NULS), extended(second, NULS), segment(3, 4, JOBS[3:]))
    reading = log.open()
    assert reading.records == ALL
    assert reading.torn is not None
    assert log.content()[first.name] == first.data
    assert log.content()[second.name] == second.data
    assert log.open().torn is None


def test_copies_of_torn_tails_never_replace_each_other(log: LogDirectory) -> None:
    image = segment(1, 1, JOBS)
    for junk in (b"one", b"two", b"three"):
        log.put(extended(image, junk))
        log.open()
    content = log.content()
    assert content[f"{image.name}.torn"] == b"one"
    assert content[f"{image.name}.torn.2"] == b"two"
    assert content[f"{image.name}.torn.3"] == b"three"


# Corruption


def test_any_flipped_bit_of_a_promised_batch_is_refused(log: LogDirectory) -> None:
    """Fault 4 of docs/reliability.md."""
    image = segment(1, 1, JOBS)
    start, end = image.starts[1:3]
    for place in range(start, end):
        log.put(flipped(image, place, place % 8))
        assert where_refused(log) == (image.name, start)
    refused(log)


@pytest.mark.usefixtures("no_tracer")
@pytest.mark.slow
def test_any_flipped_bit_of_a_promised_batch_is_refused_bit_by_bit(log: LogDirectory) -> None:
    image = segment(1, 1, JOBS)
    start, end = image.starts[1:3]
    for place in range(start, end):
        for bit in range(8):
            log.put(flipped(image, place, bit))
            assert where_refused(log) == (image.name, start)


def test_any_flipped_bit_of_the_last_batch_is_torn_or_seen(log: LogDirectory) -> None:
    image = segment(1, 1, JOBS)
    start = image.starts[-1]
    for place in range(start, len(image.data)):
        log.put(flipped(image, place, place % 8))
        reading = log.read()
        assert reading.last == 3
        assert reading.torn is not None
        assert reading.torn.cuts[0].offset == start


def test_any_flipped_bit_of_a_header_is_refused(log: LogDirectory) -> None:
    first, second = segment(1, 1, JOBS[:2]), segment(2, 3, JOBS[2:])
    for image, other in ((first, second), (second, first)):
        for place in range(image.starts[0]):
            log.put(flipped(image, place, place % 8), other)
            assert where_refused(log) == (image.name, 0)


def test_any_flipped_bit_of_a_snapshot_is_refused(log: LogDirectory) -> None:
    image = snapshot(1, 5, [[Discarded(1)]])
    log.put(segment(2, 5, []))
    for place in range(len(image.data)):
        log.put(flipped(image, place, place % 8))
        assert where_refused(log)[0] == image.name
    refused(log)


def test_a_snapshot_that_is_cut_anywhere_is_refused(log: LogDirectory) -> None:
    image = snapshot(1, 5, [[Discarded(1)]])
    log.put(segment(2, 5, []))
    for size in range(len(image.data)):
        log.put(cut(image, size))
        assert where_refused(log)[0] == image.name
    refused(log)


def test_a_snapshot_whose_batches_are_out_of_order_is_refused(log: LogDirectory) -> None:
    image = snapshot(1, 5, JOBS)
    a, b = image.starts[1:3]
    log.put(Image(image.name, image.data[:a] + image.data[b:]), segment(2, 5, []))
    assert refused(log).offset == a


@pytest.mark.parametrize("mark", [0, 3, 7])
def test_a_hole_is_judged_by_the_highest_mark_found_anywhere_behind_it(
    log: LogDirectory, mark: int
) -> None:
    image = segment(1, 1, [[job(n)] for n in range(1, 11)], lambda n: mark if n == 9 else 0)
    place = image.starts[4]  # of batch 5
    log.put(flipped(image, place))
    if mark >= 5:
        assert refused(log).offset == place
    else:
        reading = log.open()
        assert reading.last == 4


def test_a_segment_attests_what_came_before_it(log: LogDirectory) -> None:
    first = segment(1, 1, JOBS[:2], nothing)
    log.put(cut(first, len(first.data) - 1), segment(2, 3, JOBS[2:], nothing))
    error = refused(log)
    assert (error.segment, error.offset) == (first.name, first.starts[1])


def test_garbage_at_the_end_of_a_sealed_segment_is_refused(log: LogDirectory) -> None:
    first = segment(1, 1, JOBS[:2])
    log.put(extended(first, b"garbage"), segment(2, 3, JOBS[2:]))
    error = refused(log)
    assert (error.segment, error.offset) == (first.name, len(first.data))


def test_nuls_in_place_of_a_batch_at_the_end_of_a_sealed_segment_are_refused(
    log: LogDirectory,
) -> None:
    first = segment(1, 1, JOBS[:2], nothing)
    start = first.starts[1]
    log.put(extended(cut(first, start), NULS), segment(2, 3, JOBS[2:], nothing))
    error = refused(log)
    assert (error.segment, error.offset) == (first.name, start)


def test_a_batch_from_before_the_snapshot_is_damage(log: LogDirectory) -> None:
    image = segment(2, 30, [[job(5)]], nothing)
    image.add(encode_batch([job(1)], 1, 0))
    log.put(snapshot(1, 30, JOBS), image)
    reading = log.open()
    assert reading.last == 30
    assert reading.torn is not None
    assert reading.torn.cuts[0].offset == image.starts[1]


def test_nuls_between_promised_batches_are_refused(log: LogDirectory) -> None:
    image = segment(1, 1, JOBS)
    at = image.starts[2]
    log.put(Image(image.name, image.data[:at] + NULS + image.data[at:]))
    assert refused(log).offset == at


def test_a_missing_batch_that_was_promised_is_refused(log: LogDirectory) -> None:
    image = segment(1, 1, JOBS)
    a, b = image.starts[1:3]
    log.put(Image(image.name, image.data[:a] + image.data[b:]))
    error = refused(log)
    assert error.offset == a
    assert "batch 2 is missing" in error.problem


def test_missing_segments_are_refused_with_their_names(log: LogDirectory) -> None:
    log.put(segment(1, 1, JOBS[:2]), segment(3, 5, []))
    assert refused(log).segment == segment_name(2)


@pytest.mark.parametrize("first", [1, 2, 4, 9])
def test_a_segment_that_does_not_follow_is_refused(log: LogDirectory, first: int) -> None:
    log.put(segment(1, 1, JOBS[:2]), segment(2, first, JOBS[2:], lambda n: max(0, n - 5)))
    error = refused(log)
    assert (error.segment, error.offset) == (segment_name(2), 0)


@pytest.mark.parametrize(
    "image",
    [
        Image(segment_name(1), segment(2, 1, JOBS).data),
        Image(segment_name(1), snapshot(1, 5, JOBS).data),
        Image(segment_name(1), segment(1, 0, []).data),
        Image(snapshot_name(1), snapshot(2, 5, JOBS).data),
        Image(snapshot_name(1), segment(1, 1, JOBS).data),
        Image(snapshot_name(1), snapshot(1, 0, JOBS).data),
        Image(snapshot_name(1), encode_header(1, 2, 5) + encode_batch([], 2, 0)),
    ],
)
def test_a_header_that_is_not_this_files_is_refused(log: LogDirectory, image: Image) -> None:
    log.put(image)
    if image.name == snapshot_name(1):
        log.put(segment(2, 5, []))
    error = refused(log)
    assert (error.segment, error.offset) == (image.name, 0)
    assert "header" in error.problem


def test_another_version_is_refused_and_named(log: LogDirectory) -> None:
    head = b'{"format":"jobqueue-log","version":7,"segment":1,"first":1'
    log.put(Image(segment_name(1), b'%b,"crc":%d}\n' % (head, crc32(head))))
    assert "version is 7" in refused(log).problem


def test_a_batch_that_attests_itself_is_refused(log: LogDirectory) -> None:
    image = segment(1, 1, JOBS, lambda n: n if n == 3 else 0)
    log.put(image)
    assert refused(log).offset == image.starts[2]


# Untrusted content


def sealed(lines: bytes, count: int, number: int = 1) -> bytes:
    """A batch of any lines, with the right checksum."""
    head = b'{"commit":%d,"records":%d,"synced":0' % (number, count)
    return b'%b%b,"crc":%d}\n' % (lines, head, crc32(head, crc32(lines)))


@pytest.fixture(params=["fast", "stdlib"])
def each_codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "stdlib":
        monkeypatch.setattr(codec, "lines", StdlibLines())


@pytest.mark.usefixtures("each_codec")
def test_a_log_is_read_alike_by_both_codecs(log: LogDirectory) -> None:
    log.put(segment(1, 1, JOBS[:2]), segment(2, 3, JOBS[2:]))
    assert log.open().records == ALL


@pytest.mark.usefixtures("each_codec")
@pytest.mark.parametrize(
    ("lines", "count"),
    [
        (b'{"op":"discarded","job":1}\n', 2),
        (b'{"op":"discarded","job":1}\n', 0),
        (b'{"op":"discarded","job":1}\n\n', 2),
        (b"\n", 1),
        (b"", 1),
        (b"", 10**18),
        (b'{"op":"discarded","job":-1}\n', 1),
        (b'{"op":"evil"}\n', 1),
        (b'{"op":"discarded","job":1e400}\n', 1),
        (b'{"op":"discarded","job":' + b"9" * 10_000 + b"}\n", 1),
        (b"[" * 200_000 + b"\n", 1),
        (b'{"op":' * 100_000 + b"\n", 1),
        (b"\xff\xfe\n", 1),
    ],
)
def test_a_batch_of_no_records_is_refused_with_its_place(
    log: LogDirectory, lines: bytes, count: int
) -> None:
    image = segment(1, 1, JOBS[:1])
    image.add(sealed(lines, count, 2))
    log.put(image)
    error = refused(log)
    assert (error.segment, error.offset) == (image.name, image.starts[1])


def test_absurd_numbers_of_batches_are_no_hang(log: LogDirectory) -> None:
    image = Image(segment_name(1), encode_header(1, 1))
    image.add(sealed(b"", 0, NUMBER_MAX))
    log.put(image)
    reading = log.open()
    assert reading.last == 0
    assert reading.torn is not None


garbage = st.binary(max_size=200)
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
record_like = st.builds(
    lambda op, fields: {"op": op, **fields},
    st.sampled_from(["enqueued", "retried", "completed", "failed", "cancelled", "nonsense"]),
    st.dictionaries(
        st.sampled_from(["job", "id", "priority", "created", "at", "started", "retries", "due"]),
        json_like,
    ),
)


def dumped(value: object) -> bytes:
    import json

    return json.dumps(value, ensure_ascii=True).encode() + b"\n"


def read_or_refuse(factory: pytest.TempPathFactory, data: bytes) -> None:
    log = LogDirectory(factory.mktemp("log"))
    log.put(Image(segment_name(1), data))
    try:
        log.open()
    except LogCorruptError:
        return
    assert log.open().torn is None


@given(garbage)
def test_a_file_of_garbage_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    read_or_refuse(tmp_path_factory, data)
    read_or_refuse(tmp_path_factory, encode_header(1, 1) + data)


@pytest.mark.slow
@pytest.mark.usefixtures("no_tracer")
@given(st.lists(json_like | record_like, max_size=4), st.integers(0, 5))
def test_batches_of_untrusted_records_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], count: int
) -> None:
    """Fault 25 of docs/reliability.md."""
    lines = b"".join(dumped(value) for value in values)
    read_or_refuse(tmp_path_factory, encode_header(1, 1) + sealed(lines, count))
    read_or_refuse(tmp_path_factory, encode_header(1, 1) + sealed(lines, len(values)))


def _cut(image: bytes, a: int, b: int, _junk: bytes) -> bytes:
    return image[:a] + image[b:]


def _overwrite(image: bytes, a: int, b: int, junk: bytes) -> bytes:
    return image[:a] + (junk * (b - a))[: b - a] + image[b:]


def _insert(image: bytes, a: int, _b: int, junk: bytes) -> bytes:
    return image[:a] + junk + image[a:]


def _repeat(image: bytes, a: int, b: int, _junk: bytes) -> bytes:
    return image[:b] + image[a:]


@given(
    st.sampled_from([_cut, _overwrite, _insert, _repeat]),
    st.tuples(st.integers(0, 700), st.integers(0, 700)).map(sorted),
    st.binary(min_size=1, max_size=20),
    st.sampled_from([previous, nothing]),
)
def test_a_damaged_log_gives_a_prefix_of_its_records_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
    damage: Callable[[bytes, int, int, bytes], bytes],
    span: list[int],
    junk: bytes,
    synced: Callable[[int], int],
) -> None:
    image = segment(1, 1, JOBS, synced)
    log = LogDirectory(tmp_path_factory.mktemp("log"))
    log.put(Image(image.name, damage(image.data, span[0], span[1], junk)))
    try:
        reading = log.open()
    except LogCorruptError:
        return
    assert reading.records == ALL[: len(reading.records)]
    assert log.open().records == reading.records
