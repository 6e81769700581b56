"""A client's connection to the queue's owner, whichever process that is at the moment.

A call is a request that is kept until it is answered. A thread of the link's own reads the answers,
and hands each to who waits for it. When the connection breaks, the thread looks for the next owner
(`member.py` has this very process become it, if it may) and sends again what was not answered, with
a mark that it was sent before. So a call that was under way when the owner died goes on, and its
caller notices nothing but the time.

While there is no owner, a call waits `connect_timeout` from when it was made, or from when the
connection broke, and is then a `NoOwnerError`.

Guarantees: no call of `ask` blocks: what the owner does not take at once is kept, and sent by the
thread. Each request is answered once, if by nothing else by the link's end.
Whose thread: callers', and the link's own. `_lock` guards the requests and the connection; it is
never held while a thread sleeps, nor while somebody is told an answer.
"""

from __future__ import annotations

import logging
import math
import os
import select
import socket
import threading
from typing import TYPE_CHECKING, Protocol

import msgspec

from ..errors import NoOwnerError, QueueClosedError
from ..runtime.clock import SystemClock
from . import address
from .faults import CLOSING, failure_of
from .frames import FrameError, framed
from .greeting import READ_BYTES, RefusedError, greet
from .messages import GIVE_UP, Answer, Request, Welcome, pack, read_answer
from .pending import Pending

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_SECONDS_MIN = 0.005
LOOK_SECONDS_MAX = 0.1
"""How soon, and how seldom at most, a client looks again for an owner."""
END_SECONDS = 1.0
"""How long `close` waits for the thread."""


class Seeker(Protocol):
    """What the link asks when it has no owner."""

    def seek(self) -> bool:
        """Becomes the owner, if that may be; whether this process now is. On the link's thread."""

    def met(self, welcome: Welcome) -> None:
        """An owner was found."""

    def report(self, level: int, message: str, error: BaseException | None = None) -> None:
        """Has a log record made."""


class Link:
    """The connection. Thread-safe.

    Args:
        directory: the log's, absolute.
        connect_timeout: seconds that a call waits while there is no owner.
    """

    def __init__(self, directory: str, connect_timeout: float, seeker: Seeker) -> None:
        self._directory = directory
        self._connect_timeout = connect_timeout
        self._seeker = seeker
        self._lock = threading.Lock()
        self._pending: dict[int, Pending] = {}
        self._numbers = 0
        self._socket: socket.socket | None = None  # set once the owner has greeted
        self._unsent = bytearray()
        self._has_left = False  # whether an owner that closes has left calls
        self._lost_at = SystemClock.monotonic()
        self._why = "no process has the queue's log open"
        self._ended: str | None = None
        self._is_forked = False
        self._sleeper, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="jobqueue-share", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    # ── callers' threads ─────────────────────────────────────────────────────────────────────

    def ask(self, call: str, arguments: msgspec.Raw, tell: Callable[[Answer], object]) -> Pending:
        """Send a request, now or once there is an owner. Does not wait.

        Raises:
            QueueClosedError: the link is closed, or the parent process's.
            ValueError: the request is too large.
        """
        now = SystemClock.monotonic()
        if self._is_forked:
            raise self._closed()
        with self._lock:
            # guard: a client that is closed asks nothing more
            if self._ended is not None:
                raise self._closed()
            self._numbers += 1
            pending = Pending(self._numbers, call, arguments, tell, now)
            frame = pending.frame()
            self._pending[pending.number] = pending
            if self._socket is not None:
                pending.sent = True
                self._write(frame)
                return pending
        self.wake()
        return pending

    def give_up(self, pending: Pending) -> bool:
        """Tell that a caller waits for room, or for an end, no more.

        Returns:
            Whether an answer is still to come.
        """
        with self._lock:
            if self._pending.get(pending.number) is not pending:
                return False
            if not pending.sent or self._socket is None:
                # guard: what was not sent is not sent after it was given up
                del self._pending[pending.number]
                return False
            number = msgspec.Raw(pack((pending.number,)))
            self._write(framed(pack(Request(0, GIVE_UP, False, number))))
            return True

    def forget(self, pending: Pending) -> None:
        """Give up a request whose answer nobody needs."""
        self.give_up(pending)
        with self._lock:
            self._pending.pop(pending.number, None)

    def _write(self, data: bytes) -> None:
        """With the lock: send, or keep what the owner does not take at once."""
        if not self._unsent and self._socket is not None:
            try:
                sent = self._socket.send(data, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:  # it is gone: the thread reads that, and all is sent to the next one
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._unsent += data
        self.wake()

    def wake(self) -> None:
        """Have the thread look. Any thread; takes no lock, so a finalizer may call it."""
        try:
            self._waker.send(b"\0")
        except OSError:  # it is full, so the thread will wake anyway; or the link has ended
            pass

    def close(self, why: str = "the queue is closed; make a new one to go on") -> None:
        """End the connection; what is not answered is a `QueueClosedError`. Never waits for long.

        From the link's own thread too.
        """
        if self._is_forked:
            return
        self.stop(why)
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(END_SECONDS)

    def stop(self, why: str) -> None:
        """Have the thread end soon. Takes no lock."""
        if self._ended is None:
            self._ended = why
        self.wake()

    def forked(self) -> None:
        """This is a forked child: the connection is the parent's. Takes no lock."""
        self._is_forked = True
        # guard: a forked child lets go of its parent's connection
        for sock in (self._socket, self._sleeper, self._waker):
            if sock is not None and sock.fileno() >= 0:
                os.close(sock.detach())

    @property
    def is_closed(self) -> bool:
        """Whether it asks nothing any more."""
        return self._ended is not None or self._is_forked

    def _closed(self) -> QueueClosedError:
        if self._is_forked:
            return QueueClosedError(
                "this queue belongs to the parent process; make one of your own after the fork"
            )
        return QueueClosedError(self._ended or "")

    # ── the link's thread ────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        delay = LOOK_SECONDS_MIN
        try:
            while self._ended is None:
                if self._socket is not None:
                    self._exchange()
                    delay = LOOK_SECONDS_MIN
                    continue
                if self._find():
                    continue
                self._expire()
                self._sleep(delay)
                delay = min(2 * delay, LOOK_SECONDS_MAX)
        except BaseException as error:  # noqa: BLE001  # told below, and nobody waits in vain
            self._ended = f"the thread that speaks to the queue's owner died: {error!r}"
            self._seeker.report(logging.ERROR, self._ended, error)
        finally:
            self._end()

    def _sleep(self, seconds: float | None) -> None:
        ready, _, _ = select.select([self._sleeper], [], [], seconds)
        if ready:
            self._sleeper.recv(READ_BYTES)

    def _find(self) -> bool:
        """Find an owner; whether there is anything to do at once."""
        try:
            sock = address.connect(self._directory)
            if sock is not None and self._greet(sock):
                return True
            if self._seeker.seek():
                with self._lock:
                    is_idle = not self._pending
                if is_idle:
                    self._sleep(None)
                return True
        except OSError as error:
            self._why = str(error)
        return False

    def _greet(self, sock: socket.socket) -> bool:
        """Say who this is; the connection counts once the owner has answered."""
        try:
            welcome, self._splitter = greet(sock)
        except RefusedError as error:
            sock.close()
            self._why = str(error)
            return False
        self._seeker.met(welcome)
        self._send_again(sock)
        return True

    def _send_again(self, sock: socket.socket) -> None:
        """Send what is not answered, in the order in which it was asked."""
        with self._lock:
            self._socket = sock
            self._has_left = False
            self._unsent.clear()
            for pending in self._pending.values():
                pending.left_at = None
                # guard: what was sent before is marked
                frame = pending.frame()
                pending.sent = True
                self._write(frame)

    def _exchange(self) -> None:
        """Read what has come, and send what is left to be sent; until the owner is gone."""
        sock = self._socket
        assert sock is not None  # its caller looks
        poll = select.poll()
        poll.register(self._sleeper, select.POLLIN)
        poll.register(sock, select.POLLIN)
        own, has_unsent = self._sleeper.fileno(), False
        while self._ended is None:
            if self._has_left:
                self._expire()
            for fd, _ in poll.poll(1000 * LOOK_SECONDS_MAX if self._has_left else None):
                if fd == own:
                    self._sleeper.recv(READ_BYTES)
                elif not self._read(sock):
                    self._lose(sock)
                    return
            if self._unsent or has_unsent:
                has_unsent = self._send_rest(sock)
                poll.modify(sock, select.POLLIN | (select.POLLOUT if has_unsent else 0))

    def _read(self, sock: socket.socket) -> bool:
        """Hand out the answers that have come; `False` if the owner is gone."""
        try:
            data = sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        if not data:
            return False
        try:
            for body in self._splitter.split(data):
                self._hand_out(read_answer(body))
        except (FrameError, msgspec.MsgspecError) as error:
            self._why = f"the queue's owner sent what is no answer: {error}"
            return False
        return True

    def _hand_out(self, answer: Answer) -> None:
        # guard: a call that an owner leaves is the next one's
        if answer.failure is not None and answer.failure.kind == CLOSING:
            self._leave(answer.number)
            return
        with self._lock:
            pending = self._pending.pop(answer.number, None)
        if pending is not None:
            pending.tell(answer)

    def _leave(self, number: int) -> None:
        """An owner that closes has left a call to the next one. It may take a while to end."""
        with self._lock:
            pending = self._pending.get(number)
            if pending is not None and pending.left_at is None:
                pending.left_at = SystemClock.monotonic()
                self._has_left = True

    def _send_rest(self, sock: socket.socket) -> bool:
        """Send what the owner did not take before; whether something is left."""
        with self._lock:
            try:
                sent = sock.send(self._unsent, socket.MSG_DONTWAIT) if self._unsent else 0
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:  # it is gone: that is read next
                self._unsent.clear()
                sent = 0
            del self._unsent[:sent]
            return bool(self._unsent)

    def _lose(self, sock: socket.socket) -> None:
        """The owner is gone."""
        with self._lock:
            self._socket = None
            self._unsent.clear()
            self._lost_at = SystemClock.monotonic()
        self._why = "its owner ended, and no other process has the queue's log open"
        sock.close()

    def _expire(self) -> None:
        """Let the calls go that have waited for an owner long enough."""
        since = SystemClock.monotonic() - self._connect_timeout
        with self._lock:
            # guard: no call waits for an owner without end
            old = [each for each in self._pending.values() if self._waits_since(each) <= since]
            for each in old:
                del self._pending[each.number]
        for each in old:
            each.tell(Answer(each.number, failure_of(self._no_owner(each))))

    def _waits_since(self, pending: Pending) -> float:
        """With the lock: since when a call has no owner."""
        if self._socket is None:
            return max(self._lost_at, pending.began)
        return math.inf if pending.left_at is None else pending.left_at

    def _no_owner(self, pending: Pending) -> NoOwnerError:
        known = "; an owner that ended had it, and may have carried it out" if pending.sent else ""
        return NoOwnerError(
            f"{pending.call} was not answered within {self._connect_timeout:g} s "
            f"(connect_timeout){known}: {self._directory}: {self._why}; start a process that runs "
            f"the queue, one with Config(share='auto')"
        )

    def _end(self) -> None:
        """Nothing is answered any more."""
        with self._lock:
            left, self._pending = list(self._pending.values()), {}
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            self._ended = self._ended or "the queue is closed"
        for sock in (self._sleeper, self._waker):
            sock.close()
        for each in left:
            each.tell(Answer(each.number, failure_of(self._closed())))
