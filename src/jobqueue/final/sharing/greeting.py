"""How a client and an owner meet: who speaks what. The link's thread; no lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ..errors import JobQueueError
from .frames import FRAME_BYTES_MAX, FrameError, Splitter, framed
from .messages import PROTOCOL, VERSION, Hello, Refusal, Welcome, pack, read_first

if TYPE_CHECKING:
    import socket

    from ..config import Config

READ_BYTES = 64 * 1024
"""More would be mapped and unmapped by the allocator for each read."""
GREETING_SECONDS = 5.0
"""Within which an owner has to answer."""
Wait = Callable[["socket.socket"], None]
"""Returns when a socket has something to read; raises if that is not waited for any more."""


class RefusedError(JobQueueError):
    """The owner does not take this client, or does not answer."""


def greet(sock: socket.socket, wait: Wait) -> tuple[Welcome, Splitter]:
    """Say who this is, and be welcomed.

    Args:
        sock: one that does not block; it does, afterwards.
        wait: waits for the answer.

    Returns:
        What the owner said, and what cuts what it sends from then on.

    Raises:
        RefusedError: it did not.
    """
    try:
        sock.sendall(framed(pack(Hello(PROTOCOL, VERSION, os.getpid()))))
        splitter = Splitter()
        bodies: list[bytes] = []
        while not bodies:
            wait(sock)
            data = sock.recv(READ_BYTES)
            if not data:
                raise RefusedError("the queue's owner ended the connection")
            bodies = list(splitter.split(data))
        first: Welcome | Refusal = read_first(bodies[0])
        sock.setblocking(True)
    except (OSError, FrameError, msgspec.MsgspecError) as error:
        raise RefusedError(f"the queue's owner does not answer: {error}") from error
    if isinstance(first, Refusal):
        raise RefusedError(f"the queue's owner, process {first.pid}, refuses: {first.why}")
    splitter.bytes_max = FRAME_BYTES_MAX
    return first, splitter


def settings_of(config: Config) -> dict[str, str]:
    """The settings that are one owner's for all, by name."""
    own = {"share", "connect_timeout", "control", "persist_path"}
    names = [each for each in config.__slots__ if each not in own]
    return {name: repr(getattr(config, name)) for name in names}
