"""Frames: a stream is cut into the messages that were put into it, however it arrives."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.final.sharing import frames
from jobqueue.final.sharing.frames import FrameError, Splitter, framed


@given(
    bodies=st.lists(st.binary(max_size=50), max_size=10),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_messages_come_out_as_they_were_put_in(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(framed, bodies))
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    splitter, found = Splitter(), []
    for begin, end in pairwise(places):
        found += list(splitter.split(stream[begin:end]))
    assert found == bodies
    assert not splitter.is_within


def test_some_of_a_message_is_kept_until_the_rest_comes() -> None:
    splitter = Splitter()
    assert list(splitter.split(framed(b"abc")[:-1])) == []
    assert splitter.is_within
    assert list(splitter.split(b"c")) == [b"abc"]


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_length_out_of_bounds_is_refused_before_anything_is_kept(in_pieces: bool) -> None:
    data = struct.pack(">I", 11)
    splitter = Splitter(10)
    pieces = [data[:2], data[2:]] if in_pieces else [data]
    with pytest.raises(FrameError, match="11 bytes"):
        for piece in pieces:
            list(splitter.split(piece))


def test_what_no_receiver_would_take_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "FRAME_BYTES_MAX", 10)
    assert framed(bytes(10))
    with pytest.raises(ValueError, match="enqueue fewer jobs"):
        framed(bytes(11))
