"""How results that are kept are written and read."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.final import JobQueueError, Priority, RejectJobError
from jobqueue.final.model.results import (
    RESULT_BYTES_MAX,
    StoredResult,
    read_result,
    stored_result,
)

hashable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.binary()
    | st.text(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
built_in = st.recursive(
    hashable | st.binary().map(bytearray) | st.sets(hashable, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$dict", "$bytes", "a"]), inner)
    ),
    max_leaves=8,
)


class Reversing:
    """A codec of bytes, to which it does something that shows."""

    def encode(self, result: object) -> bytes:
        assert isinstance(result, bytes)
        return result[::-1]

    def decode(self, data: bytes) -> object:
        return data[::-1]


class Failing:
    def encode(self, result: object) -> bytes:
        return "no bytes"  # type: ignore[return-value]  # as a user's may

    def decode(self, data: bytes) -> object:
        raise KeyError("lost")


@pytest.mark.usefixtures("no_tracer")
@given(built_in)
def test_a_result_of_built_in_types_is_read_as_what_it_was(result: object) -> None:
    read = read_result("a", stored_result("a", result, None), None)
    assert repr(read) == repr(result) or (read == result and type(read) is type(result))


def test_what_json_has_is_written_as_plain_json() -> None:
    result = {"files": ["ä.png", 2, 1.5], "done": True, "error": None}
    written = '{"files":["ä.png",2,1.5],"done":true,"error":null}'
    assert stored_result("a", result, None) == StoredResult(written.encode(), coded=False)


def test_no_number_is_read_as_no_number() -> None:
    read = read_result("a", stored_result("a", [math.nan, -math.inf], None), None)
    assert repr(read) == "[nan, -inf]"


@pytest.mark.parametrize("result", [object(), Priority.HIGH, [{1j}], "\ud800", {"a": print}])
def test_what_would_be_read_as_something_else_is_refused(result: object) -> None:
    with pytest.raises(RejectJobError, match=r"job 'a' ran, but its result, .* return built-in"):
        stored_result("a", result, None)


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(RejectJobError, match="RecursionError"):
        stored_result("a", endless, None)


def test_the_largest_result_is_taken_and_a_larger_one_is_not() -> None:
    largest = "x" * (RESULT_BYTES_MAX - 2)  # and quotes
    assert len(stored_result("a", largest, None).data) == 64 * 1024
    with pytest.raises(RejectJobError, match=r"has 65537 bytes .* at most 65536 .* elsewhere"):
        stored_result("a", largest + "x", None)


def test_the_codec_of_the_handler_writes_and_reads() -> None:
    stored = stored_result("a", b"ab", Reversing())
    assert stored == StoredResult(b"ba", coded=True)
    assert read_result("a", stored, Reversing()) == b"ab"


def test_what_was_written_before_the_handler_had_a_codec_is_read_without_it() -> None:
    assert read_result("a", stored_result("a", b"ab", None), Failing()) == b"ab"


def test_what_a_codec_wrote_is_not_read_without_it() -> None:
    with pytest.raises(JobQueueError, match="register it first"):
        read_result("a", StoredResult(b"1", coded=True), None)


def test_a_codec_that_fails_is_told() -> None:
    with pytest.raises(RejectJobError, match="TypeError: encode must return bytes, not str; look"):
        stored_result("a", 1, Failing())
    with pytest.raises(JobQueueError, match="cannot be read: KeyError: 'lost'"):
        read_result("a", StoredResult(b"1", coded=True), Failing())
