"""One client's connection, as the owner has it.

What may keep others waiting is bounded. A client that does not say who it is, or leaves a message
half sent, is sent away by the server's look around. One that does not read its answers is not read
from either, until it does. Bytes that are no message end the connection they came over, and nothing
else.

Whose thread: the server's alone; no lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from .frames import FRAME_BYTES_MAX, FrameError, Splitter, framed
from .messages import (
    GIVE_UP,
    PROTOCOL,
    VERSION,
    Answer,
    Failure,
    Refusal,
    Request,
    pack,
    read_hello,
    read_request,
)

if TYPE_CHECKING:
    import socket

    from .arrivals import Arrival

UNDER_WAY_MAX = 65_536
"""How many calls of one client wait at most; it is not read from while there are more."""
UNREAD_BYTES_MAX = 1024 * 1024
"""Of answers that a client has not read, past which it is not read from."""
WAITING_CALLS_MAX = 4
"""How many calls of one client that wait for the log are carried out at once."""
GREETING_SECONDS = 10.0
"""Within which a client has to say who it is."""
STALLED_SECONDS = 60.0
"""After which a client is sent away that has left a message half sent, or reads nothing."""


class Host(Protocol):
    """What a visitor needs of the server."""

    pid: int
    buffer: memoryview

    def came(self, visitor: Visitor) -> None:
        """A client has said who it is."""

    def take(self, visitor: Visitor, request: Request) -> None:
        """A client calls."""

    def come_to_rest(self) -> None:
        """All has been read that one client has sent so far."""

    def left(self, visitor: Visitor) -> None:
        """A connection has ended."""

    def now(self) -> float:
        """Monotonic time in seconds."""


class Visitor(asyncio.BufferedProtocol):
    """A client.

    Args:
        sock: its socket, from which a forked child cuts itself off.

    Attributes:
        under_way: what waits, by the numbers of the calls: for room, for the log, or for the end of
            the job of this id.
        slots: what calls that wait for the log take one of.
    """

    def __init__(self, host: Host, sock: socket.socket) -> None:
        self._host = host
        self.sock = sock
        self.under_way: dict[int, asyncio.Task[None] | Arrival | str] = {}
        self.slots = asyncio.Semaphore(WAITING_CALLS_MAX)
        self._splitter = Splitter()
        self._bodies: deque[bytes] = deque()  # messages that are not taken yet
        self._transport: Any = None
        self._greeted = False
        self._heard = host.now()  # when something came last, or could go on
        self._reads_answers = True
        self._is_held = False

    # ── called by the loop ───────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        """It is connected."""
        self._transport = transport
        transport.set_write_buffer_limits(high=UNREAD_BYTES_MAX)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes are read to: all clients' in turn, for they are split at once."""
        del sizehint
        return self._host.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Some bytes came."""
        self._heard = self._host.now()
        try:
            self._bodies.extend(self._splitter.split(bytes(self._host.buffer[:nbytes])))
        except FrameError:
            self.send_away()
            return
        self._go_on()

    def _go_on(self) -> None:
        """Take what has come, as long as the client takes what it gets for that."""
        try:
            # guard: who reads no answers is not answered more
            #   without: while self._bodies:
            while self._bodies and self._reads_answers:
                self._take(self._bodies.popleft())
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            self.send_away()  # guard: what is no message ends its connection
        self._host.come_to_rest()
        self.look_at_load()

    def _take(self, body: bytes) -> None:
        if not self._greeted:
            self._greet(body)
        elif not self._transport.is_closing():
            self._host.take(self, read_request(body))

    def _greet(self, body: bytes) -> None:
        hello = read_hello(body)
        if hello.protocol != PROTOCOL or hello.version != VERSION:
            why = f"it speaks version {VERSION}, and process {hello.pid} {hello.version}"
            self.write(framed(pack(Refusal(VERSION, self._host.pid, why))))
            self._transport.close()
            return
        self._greeted = True
        self._splitter.bytes_max = FRAME_BYTES_MAX
        self._host.came(self)

    def pause_writing(self) -> None:
        """The client does not read its answers."""
        self._reads_answers = False
        self._heard = self._host.now()
        self.look_at_load()

    def resume_writing(self) -> None:
        """It has read them."""
        self._reads_answers = True
        self._go_on()

    def connection_lost(self, _: Exception | None) -> None:
        """It is gone."""
        self._host.left(self)

    # ── called by the server ─────────────────────────────────────────────────────────────────

    def look_at_load(self) -> None:
        """Read from the client only if it reads too, and has not too much under way."""
        held = not self._reads_answers or len(self.under_way) > UNDER_WAY_MAX
        if held != self._is_held and not self._transport.is_closing():
            self._is_held = held
            (self._transport.pause_reading if held else self._transport.resume_reading)()

    def is_stalled(self, now: float) -> bool:
        """Whether the client is to be sent away."""
        silent = now - self._heard
        if not self._greeted:
            return silent > GREETING_SECONDS
        is_within = self._splitter.is_within and not self._is_held
        return silent > STALLED_SECONDS and (is_within or not self._reads_answers)

    def send_away(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def unread_bytes(self) -> int:
        """How much of what it was sent the client has not read, nor the kernel taken."""
        size: int = self._transport.get_write_buffer_size()
        return size

    def close(self) -> None:
        """End the connection when what was written to it is sent."""
        if self._transport is not None:
            self._transport.close()

    def write(self, data: bytes) -> None:
        """Send something; what cannot go at once is kept."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def fail(self, number: int, failure: Failure) -> None:
        """Answer with an error."""
        self.write(framed(pack(Answer(number, failure))))

    def answer(self, number: int, value: msgspec.Raw) -> None:
        """Answer with a value that is written already."""
        try:
            self.write(framed(pack(Answer(number, None, value))))
        except ValueError as error:
            self.fail(number, Failure("JobQueueError", f"the answer is too large: {error}"))


def is_give_up(request: Request) -> bool:
    """Whether a request is not a call, but about another one."""
    return request.call == GIVE_UP
