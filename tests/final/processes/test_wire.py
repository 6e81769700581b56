"""Frames between a queue and its processes, over real sockets."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from jobqueue.final.processes.wire import Channel, GarbledError
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.waiting import PATIENCE

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, two = socket.socketpair()
    with one, two:
        yield one, two


@pytest.mark.parametrize("size", [0, 1, 8174, 8175, 8176, 65_536, 65_537, 3_000_000])
def test_frame_of_any_size_arrives(pair: Pair, size: int) -> None:
    sender, receiver = map(Channel, pair)
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)

    sending = in_thread(sender.send, 3, 2**40, body)

    assert receiver.receive() == (3, 2**40, body)
    sending.result(PATIENCE)


def test_frames_that_arrive_together_are_told_apart(pair: Pair) -> None:
    sender, receiver = map(Channel, pair)
    frames = [(1, 10, b"a"), (2, 20, b""), (3, 30, bytes(9000)), (4, 40, b"d")]
    for frame in frames:
        sender.send(*frame)

    assert [receiver.receive() for _ in frames] == frames


def test_frame_that_arrives_byte_by_byte_is_put_together(pair: Pair) -> None:
    spy, its_end = socket.socketpair()
    with spy, its_end:
        Channel(its_end).send(5, 6, b"body")
        whole = spy.recv(100)
    receiving = in_thread(Channel(pair[1]).receive)

    for byte in whole:
        pair[0].send(bytes([byte]))

    assert receiving.result(PATIENCE) == (5, 6, b"body")


@pytest.mark.parametrize("sent", [0, 1, 20])
def test_end_of_the_other_side_is_told_also_amid_a_frame(pair: Pair, sent: int) -> None:
    spy, its_end = socket.socketpair()
    with spy, its_end:
        Channel(its_end).send(5, 6, b"body")
        pair[0].send(spy.recv(100)[:sent])
    pair[0].close()

    with pytest.raises(EOFError):
        Channel(pair[1]).receive()


def test_end_with_something_unread_is_an_end(pair: Pair) -> None:
    receiver = Channel(pair[1])
    receiver.send(1, 1)
    pair[0].close()

    with pytest.raises(EOFError):
        receiver.receive()


def test_what_was_sent_before_the_end_is_received(pair: Pair) -> None:
    receiver = Channel(pair[1])
    receiver.send(1, 1)  # which is not read: the other end is reset
    Channel(pair[0]).send(2, 2, b"last words")
    pair[0].close()

    assert receiver.receive() == (2, 2, b"last words")


@pytest.mark.parametrize("place", [0, 8, 16, 17, 21, 25], ids=lambda n: f"byte {n}")
def test_frame_with_a_wrong_byte_is_refused_though_more_was_to_come(pair: Pair, place: int) -> None:
    """A head of which a byte is wrong is refused at once, whatever length it tells."""
    spy, its_end = socket.socketpair()
    with spy, its_end:
        Channel(its_end).send(5, 6, b"body")
        frame = bytearray(spy.recv(100))
    frame[place] ^= 0x40
    pair[0].send(frame)

    with pytest.raises(GarbledError):
        in_thread(Channel(pair[1]).receive).result(PATIENCE)


def test_what_was_written_between_two_frames_is_refused(pair: Pair) -> None:
    sender, receiver = map(Channel, pair)
    sender.send(1, 1, b"first")
    pair[0].send(b"\0" * 100)

    assert receiver.receive() == (1, 1, b"first")
    with pytest.raises(GarbledError):
        in_thread(receiver.receive).result(PATIENCE)


def test_channel_is_quiet_until_something_comes_that_was_not_received(pair: Pair) -> None:
    sender, receiver = map(Channel, pair)
    assert receiver.is_quiet()

    sender.send(1, 1)
    assert not receiver.is_quiet()
    receiver.receive()
    assert receiver.is_quiet()

    pair[0].send(b"xy")
    assert not receiver.is_quiet()
    with pytest.raises(EOFError):
        pair[0].close()
        receiver.receive()  # which has taken what came, and waits for more
    assert not receiver.is_quiet()


def test_channel_whose_other_side_is_gone_is_not_quiet(pair: Pair) -> None:
    pair[0].close()

    assert not Channel(pair[1]).is_quiet()


def test_other_side_that_is_gone_is_noticed_though_somebody_has_its_end(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*insides.look_time(), struct.pack("ll", 0, 20_000))
    asked = []

    def is_gone() -> bool:
        asked.append(True)
        if len(asked) == 2:  # it was there, then ended with its last words just sent
            Channel(pair[0]).send(2, 2, b"last words")
        return len(asked) > 1

    channel = Channel(pair[1], is_gone)

    assert channel.receive() == (2, 2, b"last words")
    with pytest.raises(EOFError):
        channel.receive()
