"""Raw connections to an owner: what clients are that do not behave."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobqueue.final import Job
from jobqueue.final.sharing import address
from jobqueue.final.sharing.frames import FRAME_BYTES_MAX, Splitter, framed
from jobqueue.final.sharing.greeting import greet
from jobqueue.final.sharing.messages import (
    ENQUEUE,
    Answer,
    One,
    Request,
    pack,
    read_answer,
    wire_job,
)
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


@contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    """A connection over which nothing has been said."""
    sock = address.connect(str(path))
    assert sock is not None
    with sock:
        sock.settimeout(PATIENCE)
        yield sock


@contextmanager
def greeted(path: Path) -> Iterator[socket.socket]:
    """A connection of a client that has been welcomed."""
    with connected(path) as sock:
        greet(sock, lambda _: None)
        sock.settimeout(PATIENCE)
        yield sock


def request(number: int, call: str, arguments: Any = (), *, again: bool = False) -> bytes:
    """A request as it is sent."""
    return framed(pack((number, call, again, arguments)))


def enqueue(number: int, job: Job) -> bytes:
    """A request to enqueue a job."""
    return request(number, ENQUEUE, One(wire_job(job)))


def answers(sock: socket.socket, count: int) -> list[Answer]:
    """The next answers."""
    found: list[Answer] = []
    splitter = Splitter(FRAME_BYTES_MAX)
    while len(found) < count:
        data = sock.recv(1 << 16)
        assert data, "the owner has ended the connection"
        found += [read_answer(body) for body in splitter.split(data)]
    return found


def is_ended(sock: socket.socket) -> bool:
    """Whether the owner has ended a connection; reads what came before."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


__all__ = ["Request", "answers", "connected", "enqueue", "greeted", "is_ended", "request"]
