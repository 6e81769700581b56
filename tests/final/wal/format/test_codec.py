from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobqueue.final.wal.format import codec
from jobqueue.final.wal.format.codec import (
    BATCH_END,
    COMMIT_LINE,
    Header,
    RecordError,
    decode_heads,
    decode_lines,
    encode_batch,
    encode_header,
    parse_header,
)
from jobqueue.final.wal.format.record import (
    NUMBER_MAX,
    Cancelled,
    Completed,
    Crashed,
    Discarded,
    Doomed,
    Enqueued,
    Failed,
    Hastened,
    Record,
    Requeued,
    Retried,
    Revoked,
    Ticked,
    payload_bytes,
    payload_fields,
    result_fields,
    result_of,
)
from jobqueue.final.wal.format.stdlib_codec import StdlibLines
from jobqueue.final.wal.reading import fold
from tests.support.left_out import often

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

both_codecs = pytest.mark.parametrize("lines", [codec.lines, StdlibLines()], ids=["fast", "stdlib"])

numbers = st.integers(1, NUMBER_MAX)
counts = st.integers(0, 2**63 - 1)
times = st.floats(allow_nan=False, allow_infinity=False)
delays = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255)


def enqueued_from(payload: bytes, *fields: Any) -> Enqueued:
    job, name, priority, created, handler, max_retries, headers, *rest = fields
    text, binary = payload_fields(payload)
    return Enqueued(
        job, name, priority, created, handler, max_retries, headers, text, binary, *rest
    )


def completed_with(result: bytes, coded: bool) -> Completed:  # a strategy calls it
    record = Completed(1, 3.0, 2.0, 0, *result_fields(result, coded))
    assert result_of(record) == (result, coded)
    return record


enqueued = st.builds(
    enqueued_from,
    st.binary() | texts.map(str.encode),
    numbers,
    names,
    st.integers(0, 2),
    times,
    st.none() | texts,
    st.none() | counts,
    st.none() | st.dictionaries(texts, texts, max_size=3),
    st.none() | times,
    st.none() | delays,
    st.booleans(),
    st.none() | names,
    st.none() | st.sampled_from(["handler+key", "handler+payload", "key", ""]) | texts,
    st.booleans(),
    st.lists(numbers, max_size=3).map(tuple),
    st.none() | times,
    st.none() | delays,
)


def with_children(record: Completed, children: list[Enqueued]) -> Completed:
    record.children = tuple(children)
    return record


completed = st.builds(Completed, numbers, times, times, counts)
records: st.SearchStrategy[Record] = st.one_of(
    enqueued,
    st.builds(Retried, numbers, times, times, counts, times, delays, texts, texts),
    completed,
    st.builds(with_children, completed, st.lists(enqueued, max_size=3)),
    st.builds(completed_with, st.binary() | texts.map(str.encode), st.booleans()),
    st.builds(Failed, numbers, times, st.none() | times, counts, texts, texts),
    st.builds(Cancelled, numbers, times, st.none() | times, counts),
    st.builds(
        Cancelled, numbers, times, st.none() | times, counts, st.none() | texts, st.none() | texts
    ),
    st.builds(Doomed, numbers, names),
    st.builds(Requeued, numbers, times),
    st.builds(Discarded, numbers),
    st.builds(Crashed, numbers, counts),
    st.builds(Revoked, numbers, times),
    st.builds(Ticked, st.text(min_size=1, max_size=255), times, st.just(0) | numbers),
    st.builds(Hastened, numbers, times),
)


@settings(max_examples=often(20, 50))
@given(st.lists(records, max_size=5))
def test_both_codecs_write_the_same_bytes_and_read_them_back(many: list[Record]) -> None:
    data = codec.lines.encode(many)
    assert StdlibLines().encode(many) == data
    assert data.count(b"\n") == len(many)
    assert codec.lines.decode(data) == many
    assert StdlibLines().decode(data) == many


@given(times)
def test_both_codecs_write_floats_alike(value: float) -> None:
    record = Requeued(1, value)
    assert StdlibLines().encode([record]) == codec.lines.encode([record])


@given(st.binary())
def test_any_payload_comes_back_exactly(payload: bytes) -> None:
    """Fault 24 of docs/reliability.md."""
    record = Enqueued(1, "a", 0, 0.0, None, None, {}, *payload_fields(payload))
    (back,) = decode_lines(codec.lines.encode([record]))
    assert isinstance(back, Enqueued)
    assert payload_bytes(back) == payload


@pytest.mark.parametrize(
    "text", ["\n", "\r", "\u2028", "\x85", "\0", '"\\', "\x7f", "\U0010ffff", ""]
)
@both_codecs
def test_an_awkward_payload_stays_on_one_line(text: str, lines: codec.Lines) -> None:
    record = Enqueued(1, "a", 0, 0.0, payload=text)
    data = lines.encode([record])
    assert data.count(b"\n") == 1
    assert lines.decode(data) == [record]


def test_text_payloads_can_be_read_in_the_log() -> None:
    assert payload_fields(b'{"to": "ann"}') == ('{"to": "ann"}', b"")
    assert payload_fields(b"\xff") == ("", b"\xff")


ENQUEUED = b'"op":"enqueued","job":1,"id":"a","priority":1,"created":1.5'

COMPLETED = b'"op":"completed","job":1,"at":3.0,"started":2.0,"retries":0'


@both_codecs
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"op":"unknown","job":1}',
        b'{"op":["enqueued"],"job":1}',
        b'{"op":"discarded"}',
        b'{"op":"discarded","job":null}',
        b'{"op":"discarded","job":"1"}',
        b'{"op":"discarded","job":1.5}',
        b'{"op":"discarded","job":true}',
        b'{"op":"discarded","job":0}',
        b'{"op":"discarded","job":-1}',
        b'{"op":"discarded","job":9223372036854775808}',
        b'{"op":"discarded","job":1' + b"0" * 5000 + b"}",
        b'{"op":"discarded","job":1}x',
        b'{"op":"discarded","job":1} {"op":"discarded","job":1}',
        b'{"op":"requeued","job":1,"at":1e999}',
        b'{"op":"requeued","job":1,"at":-1e999}',
        b'{"op":"requeued","job":1,"at":NaN}',
        b'{"op":"requeued","job":1,"at":Infinity}',
        b'{"op":"requeued","job":1,"at":1' + b"0" * 400 + b"}",
        b'{"op":"crashed","job":1,"crashes":-1}',
        b"{" + ENQUEUED.replace(b'"a"', b'""') + b"}",
        b"{" + ENQUEUED.replace(b'"a"', b'"' + b"a" * 256 + b'"') + b"}",
        b"{" + ENQUEUED.replace(b'"a"', b'"\\ud800"') + b"}",
        b"{" + ENQUEUED.replace(b'"a"', b'"\xff"') + b"}",
        b"{" + ENQUEUED.replace(b'"priority":1', b'"priority":3') + b"}",
        b"{" + ENQUEUED + b',"headers":{"a":1}}',
        b"{" + ENQUEUED + b',"headers":[]}',
        b"{" + ENQUEUED + b',"binary":"!"}',
        b"{" + ENQUEUED + b',"binary":1}',
        b"{" + ENQUEUED + b',"payload":null}',
        b"{" + ENQUEUED + b',"delay":-1}',
        b"{" + ENQUEUED + b',"key":""}',
        b"{" + ENQUEUED + b',"key":5}',
        b"{" + ENQUEUED + b',"key":"' + b"k" * 256 + b'"}',
        b"{" + ENQUEUED + b',"unique":5}',
        b"{" + ENQUEUED + b',"until_started":1}',
        b"{" + ENQUEUED + b',"after":1}',
        b"{" + ENQUEUED + b',"after":null}',
        b"{" + ENQUEUED + b',"after":{"1":2}}',
        b"{" + ENQUEUED + b',"after":["1"]}',
        b"{" + ENQUEUED + b',"after":[0]}',
        b"{" + ENQUEUED + b',"after":[1.5]}',
        b"{" + ENQUEUED + b',"after":[true]}',
        b"{" + ENQUEUED + b',"after":[[[[1]]]]}',
        b"{" + ENQUEUED + b',"expires":1e999}',
        b"{" + ENQUEUED + b',"within":-1}',
        b"{" + COMPLETED + b',"children":{}}',
        b"{" + COMPLETED + b',"children":null}',
        b"{" + COMPLETED + b',"children":[1]}',
        b"{" + COMPLETED + b',"children":[null]}',
        b"{" + COMPLETED + b',"children":[{' + COMPLETED + b"}]}",
        b"{" + COMPLETED + b',"children":[{"op":"discarded","job":1}]}',
        b"{" + COMPLETED + b',"children":[{"op":"enqueued","job":1}]}',
        b"{" + COMPLETED + b',"children":[{' + ENQUEUED + b',"after":[0]}]}',
        b"{" + COMPLETED + b',"children":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"op":"doomed","job":1}',
        b'{"op":"doomed","job":1,"by":""}',
        b'{"op":"doomed","job":1,"by":5}',
        b"{" + ENQUEUED + b',"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_record_is_refused_with_one_error(
    line: bytes, lines: codec.Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "lines", lines)
    try:
        decoded = decode_lines(line + b"\n")
    except RecordError:
        return
    # What remains is found by counting the records.
    assert len(decoded) != 1


@both_codecs
def test_fields_that_a_later_version_may_add_are_passed_over(lines: codec.Lines) -> None:
    line = b'{"op":"discarded","job":1,"why":{"deep":[1,null,"x"]}}\n'
    assert lines.decode(line) == [Discarded(1)]


@pytest.mark.parametrize(
    "line",
    [
        b"{" + COMPLETED + b',"children":[{' + ENQUEUED.partition(b",")[2] + b"}]}",
        b"{" + COMPLETED + b',"children":[{' + ENQUEUED + b',"children":[5]}]}',
        b"{" + COMPLETED + b',"children":[{' + ENQUEUED + b',"later":{"a":[null]}}]}',
        b"{" + COMPLETED + b',"children":[]}',
        b"{" + ENQUEUED + b',"after":[],"key":null,"unique":null}',
    ],
)
def test_both_codecs_read_what_no_release_wrote_alike(line: bytes) -> None:
    found = []
    for lines in (codec.lines, StdlibLines()):
        try:
            found.append(lines.decode(line + b"\n"))
        except ValueError:
            found.append([])
    assert found[0] == found[1]


def test_a_job_that_asks_for_nothing_more_is_written_as_ever() -> None:
    data = codec.lines.encode([Enqueued(1, "a", 1, 1.5)])
    assert data == b'{"op":"enqueued","job":1,"id":"a","priority":1,"created":1.5}\n'


@both_codecs
def test_whole_numbers_are_read_where_a_float_is_expected(lines: codec.Lines) -> None:
    (record,) = lines.decode(b'{"op":"requeued","job":1,"at":5}\n')
    assert isinstance(record, Requeued)
    assert record.at == 5
    assert isinstance(record.at, float)


def test_the_stdlib_codec_refuses_a_key_that_appears_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        StdlibLines().decode(b'{"op":"discarded","job":1,"job":2}\n')


@given(st.binary())
def test_garbage_is_refused_by_both_codecs_with_one_error(data: bytes) -> None:
    for lines in (codec.lines, StdlibLines()):
        try:
            decoded = lines.decode(data)
        except (ValueError, RecursionError, OverflowError):
            continue
        assert decoded == []


def test_a_batch_ends_in_a_commit_line_with_its_checksum() -> None:
    data = encode_batch([Completed(1, 3.0, 2.0, 0)], 17, 15)
    assert data == (
        b'{"op":"completed","job":1,"at":3.0,"started":2.0,"retries":0}\n'
        b'{"commit":17,"records":1,"synced":15,"crc":3762316436}\n'
    )


def test_an_empty_batch_is_a_commit_line_alone() -> None:
    assert encode_batch([], 1, 0).count(b"\n") == 1
    assert COMMIT_LINE.fullmatch(encode_batch([], 1, 0))


@pytest.mark.parametrize(
    "head",
    [
        b'{"commit":01,"records":0,"synced":0',
        b'{"commit":,"records":0,"synced":0',
        b'{"commit":1,"records":-1,"synced":0',
        b'{"commit":1,"records":0,"synced": 0',
        b'{"commit":1,"records":0,"synced":0.5',
        b'{"records":0,"commit":1,"synced":0',
        b"",
    ],
)
@both_codecs
def test_only_the_exact_form_of_a_commit_line_counts(
    head: bytes, lines: codec.Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "lines", lines)
    with pytest.raises(ValueError):
        decode_heads([head])
    assert COMMIT_LINE.fullmatch(head + b',"crc":1}\n') is None


def test_a_checksum_has_no_leading_zero_and_no_space() -> None:
    head = b'{"commit":1,"records":0,"synced":0,"crc":'
    assert COMMIT_LINE.fullmatch(head + b"1}\n")
    for crc in (b"01", b" 1", b"1 ", b"-1", b"1.0", b""):
        assert COMMIT_LINE.fullmatch(head + crc + b"}\n") is None


def test_headers_say_what_file_they_are_of() -> None:
    assert parse_header(encode_header(3, 17)) == Header(1, 3, 17, None)
    assert parse_header(encode_header(3, 1, 40)) == Header(1, 3, 1, 40)
    assert encode_header(3, 17).startswith(
        b'{"format":"jobqueue-log","version":1,"segment":3,"first":17,"crc":'
    )


@pytest.mark.parametrize("header", [encode_header(3, 17), encode_header(3, 1, 40)])
def test_no_bit_of_a_header_can_flip_unseen(header: bytes) -> None:
    for index in range(len(header)):
        for bit in range(8):
            flipped = bytearray(header)
            flipped[index] ^= 1 << bit
            assert parse_header(bytes(flipped)) is None


def test_a_header_of_another_version_is_told_apart_from_damage() -> None:
    head = b'{"format":"jobqueue-log","version":2,"anything":[]'
    assert parse_header(b'%b,"crc":%d}\n' % (head, crc32(head))) == Header(2, 0, 0, None)


@pytest.mark.parametrize("rest", [b',"segment":1', b',"segment":1,"first":1,"next":2', b""])
def test_a_header_with_other_fields_is_damage(rest: bytes) -> None:
    head = b'{"format":"jobqueue-log","version":1' + rest
    assert parse_header(b'%b,"crc":%d}\n' % (head, crc32(head))) is None


def test_the_quick_pattern_finds_every_batch_end() -> None:
    data = encode_batch([Discarded(1)], 1, 0) + encode_batch([], 2, 0)
    assert len(BATCH_END.findall(data)) == 2


@pytest.fixture
def without_msgspec(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports modules of the log as they are if msgspec is not installed."""
    package = "jobqueue.final.wal"

    def imported() -> list[str]:
        return [name for name in sys.modules if name.startswith(bare)]

    bare = (f"{package}.format", fold.__name__)
    names = imported()
    with monkeypatch.context() as patch:
        for name in names:
            parent, _, last = name.rpartition(".")
            patch.delattr(sys.modules[parent], last)
        for name in names:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "msgspec", None)
        yield lambda name: import_module(f"{package}.{name}")
        for name in imported():
            del sys.modules[name]


def test_without_msgspec_the_same_bytes_are_written_and_read(
    without_msgspec: Callable[[str], Any],
) -> None:
    bare_codec = without_msgspec("format.codec")
    bare_record = without_msgspec("format.record")
    assert bare_record.Enqueued is not Enqueued
    fields = (7, "ä", 2, 1764000000.25, "mail", None, {"trace": "1"}, "", b"\xff\0", None, None)
    bare = [bare_record.Enqueued(*fields), bare_record.Cancelled(7, 1.0)]
    data = bare_codec.encode_batch(bare, 1, 0)
    assert data == encode_batch([Enqueued(*fields), Cancelled(7, 1.0)], 1, 0)
    lines = data[: data.index(b'{"commit"')]
    assert bare_codec.decode_lines(lines) == bare
    with pytest.raises(bare_codec.RecordError):
        bare_codec.decode_lines(b'{"op":"discarded","job":0}\n')


def test_without_msgspec_records_are_folded_into_jobs(
    without_msgspec: Callable[[str], Any],
) -> None:
    bare_record = without_msgspec("format.record")
    state = without_msgspec("reading.fold").LogState(10)
    state.apply(bare_record.Enqueued(1, "a", 0, 0.0, payload="text", due=5.0, delay=2.0))
    assert (state.jobs[1].due, state.jobs[1].delay) == (5.0, 2.0)
    state.apply(bare_record.Completed(1, 3.0, 2.0, 1))
    assert (state.jobs[1].status, state.jobs[1].retries) == ("completed", 1)
    assert state.jobs[1].enqueued.payload == ""


def test_a_tuple_of_records_is_encoded_as_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some releases of msgspec leak at each tuple, and others do not: this holds for all."""
    given: list[object] = []

    class Noting(StdlibLines):
        def encode(self, records: Sequence[Record]) -> bytes:
            given.append(records)
            return super().encode(records)

    monkeypatch.setattr(codec, "lines", Noting())
    encode_batch((Discarded(1),), 1, 0)

    assert given == [[Discarded(1)]]


def test_encoding_a_tuple_of_records_leaks_nothing() -> None:
    for records in ((), (Discarded(1),)):
        encode_batch(records, 1, 0)
        before = sys.getallocatedblocks()
        for _ in range(10_000):  # a collection meanwhile may free some of what others left
            encode_batch(records, 1, 0)
        assert sys.getallocatedblocks() - before < 5000
